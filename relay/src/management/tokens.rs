//! `/tokens`: making tokens, and taking them back. The SDKs' API has nothing of the kind; this is the relay's own.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;
use zeroize::Zeroizing;

use super::caller::RequestCaller;
use super::on_disk;
use crate::access::{Credential, Refusal};
use crate::problem::Problem;
use crate::relay::Relay;
use crate::scopes::{Scope, Scopes};
use crate::store::Record;
use crate::tokens::{Grant, MAX_LIFETIME};

/// What a token shall be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wanted {
    /// Its tunnel. Without one it is about all tunnels of its subject, and the operator alone may make it.
    tunnel_id: Option<String>,
    scopes: Vec<String>,
    /// In seconds; an hour unless given.
    #[serde(default = "an_hour")]
    expires_in: u64,
    /// The principal; who asks unless given, and the operator alone may give it.
    subject: Option<String>,
}

/// A token that was made. It is shown this once.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Made {
    token: Zeroizing<String>,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel_id: Option<String>,
    scopes: String,
    subject: String,
    #[serde(with = "rfc3339")]
    expiration: OffsetDateTime,
}

/// A token to be taken back.
#[derive(Deserialize)]
pub(super) struct Unwanted {
    token: Zeroizing<String>,
}

/// A principal's name, in bytes.
const MAX_SUBJECT: usize = 128;

/// `POST /tokens`: 201 with the token. It needs `manage` of the tunnel, or the scopes that are asked for. The new token
/// ends when the caller's is revoked, and lives no longer, save one to host or connect that a manager makes.
pub(super) async fn create(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Json(wanted): Json<Wanted>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let scopes = Scopes::parse(&wanted.scopes.join(" "))
        .map_err(|error| Problem::field("scopes", error.to_string()))?;
    if scopes.is_empty() {
        return Err(Problem::field("scopes", "name at least one scope"));
    }
    if wanted.expires_in == 0 || wanted.expires_in > MAX_LIFETIME.as_secs() {
        let most = MAX_LIFETIME.as_secs();
        return Err(Problem::field("expiresIn", format!("has to be from 1 to {most} seconds")));
    }
    let is_admin = caller.credential == Credential::Admin;
    let subject = match wanted.subject {
        Some(_) if !is_admin => return Err(Refusal::Operator.into()),
        Some(subject) if subject.is_empty() || subject.len() > MAX_SUBJECT => {
            return Err(Problem::field("subject", format!("has 1 to {MAX_SUBJECT} bytes")));
        }
        // The operator's own name would make whoever holds the token an owner of the operator's tunnels.
        Some(subject) if subject == "admin" && wanted.tunnel_id.is_none() => {
            return Err(Problem::field("subject", "`admin` is the operator; choose another"));
        }
        Some(subject) => subject,
        None if is_admin && wanted.tunnel_id.is_none() => {
            return Err(Problem::field("subject", "name whose tunnels it is about, or give tunnelId"));
        }
        None => caller.subject().to_owned(),
    };
    let lifetime = Duration::from_secs(wanted.expires_in);
    let (issued, grant) = match &wanted.tunnel_id {
        None if is_admin => {
            let grant = Grant::everywhere(subject, scopes);
            (relay.tokens.issue(&grant, lifetime, relay.now())?, grant)
        }
        None => return Err(caller.is_no_operator().into()),
        Some(id) if is_admin => {
            let record = relay.admit(id, &caller, super::READ)?;
            let grant = Grant::at(&record, subject, scopes);
            (relay.tokens.issue(&grant, lifetime, relay.now())?, grant)
        }
        Some(id) => {
            let record = relay.admit(id, &caller, super::READ)?;
            relay
                .token_by(&caller, &record, scopes, lifetime)?
                .ok_or_else(|| caller.may_make_no(scopes, relay.now()))?
        }
    };
    tracing::info!(
        target: "audit",
        token = %issued.id,
        tunnel = grant.tunnel.as_deref().unwrap_or("*"),
        subject = %crate::printable(&grant.subject),
        scopes = %grant.scopes,
        expires = issued.expires,
        by = %caller.shown(),
        "token made"
    );
    let expiration =
        i64::try_from(issued.expires).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let made = Made {
        token: issued.token,
        id: issued.id,
        tunnel_id: grant.tunnel,
        scopes: grant.scopes.to_string(),
        subject: grant.subject,
        expiration: expiration.unwrap_or(OffsetDateTime::UNIX_EPOCH),
    };
    Ok((StatusCode::CREATED, Json(made)))
}

/// `POST /tokens/revoke`: 204. The token itself is given, so that nobody can take back what they have never seen; the
/// operator, whoever manages its tunnel, and its own holder may.
pub(super) async fn revoke(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Json(unwanted): Json<Unwanted>,
) -> Result<StatusCode, Problem> {
    let verified = relay
        .tokens
        .verify(&unwanted.token, &relay.store, relay.now())
        .map_err(|error| Problem::field("token", error.to_string()))?;
    let may = match &caller.credential {
        Credential::Admin => true,
        Credential::Token(own) if own.id == verified.id => true,
        Credential::Token(_) => {
            let tunnel = verified.grant.tunnel.as_deref().and_then(|id| relay.store.tunnel(id));
            tunnel.is_some_and(|record: Arc<Record>| caller.scopes(&record).has(Scope::Manage))
        }
        Credential::None | Credential::Bad(_) => false,
    };
    if !may {
        return Err(caller.lacks(Scope::Manage.into()).into());
    }
    // Those that were made with it may live longer.
    let until = if verified.grant.scopes.has(Scope::Manage) { forgotten(&relay) } else { verified.expires };
    take_back(&relay, &caller, verified.id, until).await
}

/// `DELETE /tokens/ID`: 204, for the operator, who knows the id from the audit log alone.
pub(super) async fn delete(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if caller.credential != Credential::Admin {
        return Err(caller.is_no_operator().into());
    }
    // Ids are 16 characters of base64url.
    if id.len() != 16 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(Problem::field("id", "a token's id has 16 characters of base64url"));
    }
    take_back(&relay, &caller, id, forgotten(&relay)).await
}

/// When no token that has been made until now holds any more, in seconds since 1970.
fn forgotten(relay: &Relay) -> u64 {
    relay.now().saturating_add(MAX_LIFETIME.as_secs())
}

async fn take_back(
    relay: &Arc<Relay>,
    caller: &RequestCaller,
    id: String,
    expires: u64,
) -> Result<StatusCode, Problem> {
    tracing::info!(target: "audit", token = %id, by = %caller.shown(), "token revoked");
    on_disk(relay, move |relay| relay.revoke(&id, expires)).await?;
    Ok(StatusCode::NO_CONTENT)
}

const fn an_hour() -> u64 {
    3600
}
