//! `/tunnels` and `/tunnels/ID`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::caller::RequestCaller;
use super::{READ, full, on_disk, ports, shown};
use crate::access::{Credential, parse_range};
use crate::model::{AccessControl, CLUSTER, Port, Tunnel, is_tunnel_id};
use crate::problem::Problem;
use crate::relay::{Relay, TOKEN_LIFETIME};
use crate::scopes::{Scope, Scopes};
use crate::store::Record;

/// What requests ask for behind the `?`. Unknown names are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Asked {
    include_ports: Option<bool>,
    /// Separated by commas.
    token_scopes: Option<String>,
    labels: Option<String>,
    all_labels: Option<String>,
    domain: Option<String>,
    limit: Option<usize>,
}

/// What a request says about a tunnel; what it leaves out stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Change {
    name: Option<String>,
    domain: Option<String>,
    description: Option<String>,
    labels: Option<Vec<String>>,
    options: Option<Value>,
    custom_expiration: Option<u64>,
    access_control: Option<AccessControl>,
    ports: Option<Vec<Port>>,
}

pub(super) async fn list(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
    // An empty list would say that there are none.
    if let Credential::None | Credential::Bad(_) = caller.credential {
        return Err(caller.is_no_operator().into());
    }
    let wanted = |text: &Option<String>| -> Vec<String> {
        text.iter()
            .flat_map(|text| text.split(','))
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (any, all) = (wanted(&asked.labels), wanted(&asked.all_labels));
    let matches = |tunnel: &Tunnel| {
        (any.is_empty() || any.iter().any(|label| tunnel.labels.contains(label)))
            && all.iter().all(|label| tunnel.labels.contains(label))
            && asked.domain.as_ref().is_none_or(|domain| tunnel.domain.as_ref() == Some(domain))
    };
    let tunnels: Vec<Tunnel> = relay
        .store
        .tunnels()
        .iter()
        .filter(|record| matches(&record.tunnel) && is_listed(&caller, record))
        .take(asked.limit.unwrap_or(MAX_LIST).min(MAX_LIST))
        .map(|record| shown(&relay, &caller, record))
        .collect();
    Ok(Json(json!({ "value": [{ "regionName": CLUSTER, "clusterId": CLUSTER, "value": tunnels }] })))
}

/// Listing is for those whose tunnels they are: what is open to everybody is not shown to everybody.
fn is_listed(caller: &RequestCaller, record: &Record) -> bool {
    let is_theirs = match &caller.credential {
        Credential::Admin => true,
        // A token for one tunnel says nothing about its maker's others.
        Credential::Token(token) => !token.grant.is_elsewhere(record) && token.grant.subject == record.owner,
        Credential::None | Credential::Bad(_) => false,
    };
    is_theirs && caller.scopes(record).has_any(READ)
}

pub(super) async fn show(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    if let Some(name) = id.strip_suffix(":checkNameAvailability") {
        caller.require_create()?;
        return Ok(Json(relay.store.tunnel(name).is_none()).into_response());
    }
    let record = relay.admit(&id, &caller, READ)?;
    Ok(Json(answer(&relay, &caller, &record, &asked).await?).into_response())
}

pub(super) async fn put(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    Json(change): Json<Change>,
) -> Result<Response, Problem> {
    let must_be_new = headers.contains_key(IF_NONE_MATCH) || headers.contains_key("if-not-match");
    let must_exist = headers.contains_key(IF_MATCH);
    match relay.store.tunnel(&id) {
        Some(_) if must_be_new => {
            // Ids are no secrets, but only who may make tunnels may try them.
            caller.require_create()?;
            Err(id_taken())
        }
        Some(record) => {
            if let Err(refusal) = relay.admit(&record.tunnel.tunnel_id, &caller, &[Scope::Manage]) {
                // The answer is that of an id which is free.
                if !must_exist {
                    caller.require_create()?;
                }
                return Err(refusal);
            }
            check(&relay, &record.tunnel.tunnel_id, &change)?;
            let changed = on_disk(&relay, move |relay| {
                // Looked at within the change, or many who ask for a name at once would all get it.
                let mut is_free = true;
                let changed = relay.store.update_same(&record, |old| {
                    let mut record = old.clone();
                    change.apply(&mut record.tunnel);
                    let tunnel = &record.tunnel;
                    is_free = tunnel.name == old.tunnel.name || check_name(relay, tunnel).is_ok();
                    is_free.then_some(record)
                });
                Ok(changed?.ok_or(is_free))
            });
            let record = changed.await?.map_err(|is_free| match is_free {
                true => Problem::not_found("tunnel"),
                false => name_taken(),
            })?;
            tracing::info!(target: "audit", tunnel = %record.tunnel.tunnel_id, by = %caller.shown(), "tunnel changed");
            relay.access_changed(&record);
            Ok(Json(answer(&relay, &caller, &record, &asked).await?).into_response())
        }
        None if must_exist => Err(relay.unknown(&caller)),
        None => {
            caller.require_create()?;
            check(&relay, &id, &change)?;
            let record = create(&relay, &caller, id, change).await?;
            let body = Json(answer(&relay, &caller, &record, &asked).await?);
            Ok((StatusCode::CREATED, body).into_response())
        }
    }
}

async fn create(
    relay: &Arc<Relay>,
    caller: &RequestCaller,
    id: String,
    change: Change,
) -> Result<Arc<Record>, Problem> {
    let owner = caller.subject().to_owned();
    let now = relay.now();
    let mut tunnel = Tunnel {
        tunnel_id: id.clone(),
        cluster_id: CLUSTER.into(),
        created: i64::try_from(now).ok().and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok()),
        ..Tunnel::default()
    };
    change.apply(&mut tunnel);
    let record = Record::new(tunnel, owner, now)?;
    let created = on_disk(relay, move |relay| {
        // Looked at within the change, or many who ask at once would all be let in.
        let mut refusal = id_taken();
        let created = relay.store.create_if(record, |new| {
            // The id may have become another's name.
            let is_free = relay.store.tunnel(&new.tunnel.tunnel_id).is_none();
            let checked = check_name(relay, &new.tunnel).and_then(|()| check_owner(relay, &new.owner));
            is_free && checked.map_err(|problem| refusal = problem).is_ok()
        });
        Ok(created?.ok_or(refusal))
    });
    let record = created.await??;
    tracing::info!(target: "audit", tunnel = %id, by = %caller.shown(), "tunnel made");
    Ok(record)
}

/// Fails if the owner has as many tunnels as one may.
fn check_owner(relay: &Relay, owner: &str) -> Result<(), Problem> {
    let limit = relay.config.limits.tunnels_per_owner;
    let owned = relay.store.tunnels().iter().filter(|record| record.owner == owner).count();
    if owned >= limit as usize {
        return Err(full("tunnels_per_owner", limit, "`adit tunnel delete` makes room"));
    }
    Ok(())
}

/// Fails if another tunnel has its name, as its name or its id.
fn check_name(relay: &Relay, tunnel: &Tunnel) -> Result<(), Problem> {
    let Some(name) = tunnel.name.as_ref().filter(|name| **name != tunnel.tunnel_id) else { return Ok(()) };
    if relay.store.tunnel(name).is_some_and(|other| other.tunnel.tunnel_id != tunnel.tunnel_id) {
        return Err(name_taken());
    }
    Ok(())
}

fn id_taken() -> Problem {
    Problem::new(StatusCode::CONFLICT, "there is a tunnel of that id; choose another")
}

fn name_taken() -> Problem {
    Problem::new(StatusCode::CONFLICT, "there is a tunnel of that name; choose another")
}

pub(super) async fn delete(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let record = relay.admit(&id, &caller, &[Scope::Manage])?;
    let id = record.tunnel.tunnel_id.clone();
    let deleted = on_disk(&relay, move |relay| {
        relay.store.delete_if(&record.tunnel.tunnel_id, |newest| newest.is_same_tunnel(&record))
    });
    if !deleted.await? {
        return Err(Problem::not_found("tunnel"));
    }
    tracing::info!(target: "audit", tunnel = %id, by = %caller.shown(), "tunnel deleted");
    relay.tunnel_deleted(&id);
    Ok(StatusCode::NO_CONTENT)
}

/// A tunnel with the tokens that were asked for, of the scopes that the caller has itself.
async fn answer(
    relay: &Relay,
    caller: &RequestCaller,
    record: &Record,
    asked: &Asked,
) -> Result<Tunnel, Problem> {
    let mut tunnel = shown(relay, caller, record);
    // Hosts forget their ports over an answer without, so they are left out only where that was said.
    if asked.include_ports == Some(false) {
        tunnel.ports.clear();
    }
    let mut tokens = BTreeMap::new();
    for text in asked.token_scopes.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()) {
        let scopes = Scopes::parse(text).map_err(|error| Problem::field("tokenScopes", error.to_string()))?;
        if let Some((issued, _)) = relay.token_by(caller, record, scopes, TOKEN_LIFETIME)? {
            tokens.insert(text.to_owned(), issued.token.to_string());
        }
    }
    if !tokens.is_empty() {
        tunnel.access_tokens = Some(tokens);
    }
    Ok(tunnel)
}

/// Fails if what the change says is nothing that a tunnel can have, whatever others have.
fn check(relay: &Relay, id: &str, change: &Change) -> Result<(), Problem> {
    if !is_tunnel_id(id) && relay.store.tunnel(id).is_none() {
        let detail = "an id has 3 to 49 of a-z, 0-9 and -, and no - at its ends";
        return Err(Problem::field("tunnelId", detail));
    }
    let texts = [
        ("name", &change.name, 60),
        ("domain", &change.domain, 255),
        ("description", &change.description, 400),
    ];
    for (field, text, longest) in texts {
        if text.as_ref().is_some_and(|text| text.chars().count() > longest) {
            return Err(Problem::field(field, format!("may have {longest} characters")));
        }
    }
    if change.name.as_ref().is_some_and(|name| !name.is_empty() && !is_tunnel_id(name)) {
        return Err(Problem::field("name", "a name has 3 to 49 of a-z, 0-9 and -, and no - at its ends"));
    }
    if change
        .labels
        .as_ref()
        .is_some_and(|labels| labels.len() > 100 || labels.iter().any(|label| label.len() > 50))
    {
        return Err(Problem::field("labels", "there may be 100 labels of 50 bytes"));
    }
    change.access_control.as_ref().map_or(Ok(()), check_rules)?;
    change.ports.as_ref().map_or(Ok(()), |list| ports::check_list(relay, list))
}

/// Whether these may be the rules of a tunnel. Kinds that only the service knows are stored: they match nobody.
pub(super) fn check_rules(control: &AccessControl) -> Result<(), Problem> {
    if control.entries.len() > MAX_RULES {
        return Err(Problem::field("accessControl", format!("there may be {MAX_RULES} entries")));
    }
    for entry in &control.entries {
        if entry.subjects.len() > MAX_SUBJECTS {
            return Err(Problem::field("accessControl", format!("a rule may have {MAX_SUBJECTS} subjects")));
        }
        if entry.kind == "IPAddressRanges"
            && let Some(range) = entry.subjects.iter().find(|range| parse_range(range).is_err())
        {
            let detail = format!("{} is no address and no CIDR range", crate::printable(range));
            return Err(Problem::field("accessControl", detail));
        }
    }
    Ok(())
}

impl Change {
    fn apply(self, tunnel: &mut Tunnel) {
        let Self { name, domain, description, labels, options, custom_expiration, access_control, ports } =
            self;
        if let Some(name) = name {
            tunnel.name = Some(name).filter(|name| !name.is_empty());
        }
        tunnel.domain = domain.or_else(|| tunnel.domain.take());
        tunnel.description = description.or_else(|| tunnel.description.take());
        tunnel.options = options.or_else(|| tunnel.options.take());
        tunnel.custom_expiration = custom_expiration.or(tunnel.custom_expiration);
        tunnel.access_control = access_control.or_else(|| tunnel.access_control.take());
        if let Some(labels) = labels {
            tunnel.labels = labels;
        }
        if let Some(mut ports) = ports {
            for port in &mut ports {
                ports::strip(port);
            }
            ports.sort_by_key(|port| port.port_number);
            tunnel.ports = ports;
        }
    }
}

/// A list has at most as many.
const MAX_LIST: usize = 1000;
/// Access rules of a tunnel.
const MAX_RULES: usize = 40;
/// Principals or ranges of a rule.
const MAX_SUBJECTS: usize = 100;
