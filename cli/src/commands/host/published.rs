//! A tunnel at somebody's relay: made or taken over by its management API.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay::AccessToken;
use relay::dial::http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::wanted::Wanted;
use super::{Listing, Place, lifetime, rules};
use crate::args::{ApiArgs, HostArgs, NamedPort, Who};
use crate::commands::api::Api;
use crate::commands::blocking::blocking;
use crate::commands::tunnel::{items, path};
use crate::error::{CliError, Code};
use crate::output::Output;

/// Makes the tunnel, or takes over the one that there is.
pub(super) async fn prepare(
    args: &HostArgs,
    ports: &[NamedPort],
    wanted: &Wanted,
    key: &[u8],
    output: &Output,
) -> Result<Place, CliError> {
    let relay = &wanted.api.relay;
    let of_api = wanted.api.clone();
    let api = blocking(move || Api::new(&of_api)).await?;
    let known = if wanted.is_named {
        match api.ask(Method::GET, &path(&wanted.id), None).await {
            Ok(tunnel) => Some(tunnel),
            Err(error) if error.code == Code::RemoteRefused => None,
            Err(error) => return Err(error),
        }
    } else {
        None
    };
    let id = match &known {
        Some(tunnel) => {
            let id = tunnel.get("tunnelId").and_then(Value::as_str).unwrap_or_default().to_owned();
            take_over(&api, args, ports, &id, tunnel, output).await?;
            id
        }
        None => {
            wanted.make(&api, make(&api, args, ports, wanted)).await?;
            wanted.id.clone()
        }
    };
    let endpoint = json!({
        "id": format!("{id}-relay"),
        "hostId": id,
        "hostPublicKeys": [STANDARD.encode(key)],
        "connectionMode": "TunnelRelay",
    });
    let endpoint =
        api.ask(Method::PUT, &format!("{}/endpoints/{id}-relay", path(&id)), Some(endpoint)).await?;
    let host_url = endpoint.get("hostRelayUri").and_then(Value::as_str).ok_or_else(|| {
        CliError::new(Code::Protocol, format!("{relay} is no relay: it did not say where hosts connect"))
    })?;
    let lifetime = lifetime(args);
    let host_token = host_token(&api, &id, lifetime).await?.map(|token| {
        let (api, id) = (wanted.api.clone(), id.clone());
        AccessToken::renewed_by(token, move || another_host_token(api.clone(), id.clone(), lifetime))
    });
    let everybody = args.allow.contains(&Who::Anonymous);
    let connect_token = if everybody { None } else { token(&api, &id, "connect", lifetime).await? };
    if connect_token.is_none() && !everybody {
        output.warning("the token may not make tokens for clients, so there is none in the link");
    }
    Ok(Place {
        relay: relay.trim_end_matches('/').to_owned(),
        tunnel: id,
        host_url: host_url.to_owned(),
        host_token,
        connect_token,
        listing: Listing::Published(Arc::new(api)),
    })
}

async fn make(api: &Api, args: &HostArgs, ports: &[NamedPort], wanted: &Wanted) -> Result<(), CliError> {
    let ports: Vec<Value> = ports.iter().map(port).collect();
    let mut body = json!({ "tunnelId": wanted.id, "ports": ports });
    if let Some(fields) = body.as_object_mut() {
        if let Some(seconds) = wanted.expiration(args) {
            fields.insert("customExpiration".into(), json!(seconds));
        }
        if !args.allow.is_empty() {
            let rules = rules::with_allowed(&[], &args.allow);
            fields.insert("accessControl".into(), json!({ "entries": rules }));
        }
    }
    api.ask_if(Method::PUT, &path(&wanted.id), Some(body), Some("if-none-match")).await?;
    Ok(())
}

/// Makes its ports and rules ours. Rules are touched only if there is something to change, for which the right to host is
/// not enough; who has no other does not see them either.
async fn take_over(
    api: &Api,
    args: &HostArgs,
    ports: &[NamedPort],
    id: &str,
    tunnel: &Value,
    output: &Output,
) -> Result<(), CliError> {
    change_ports(api, id, items(tunnel, "ports"), ports).await?;
    let asked;
    let old = match tunnel.get("accessControl") {
        Some(control) => items(control, "entries"),
        None if args.allow.is_empty() => {
            asked = rules_of(api, id, output).await?;
            items(&asked, "entries")
        }
        // Who may not see them may not change them either, and is told so.
        None => &[],
    };
    let rules = rules::with_allowed(old, &args.allow);
    if rules != old {
        let control = json!({ "entries": rules });
        api.ask(Method::PUT, &format!("{}/access", path(id)), Some(control)).await?;
    }
    if args.allow.is_empty() && rules::let_everybody_in(&rules) {
        output.warning(format!(
            "everybody may connect to {id} without the token of the link, by a rule of the tunnel; `adit tunnel access {id}` \
             shows its rules, and --clear takes them back"
        ));
    }
    Ok(())
}

/// The rules of a tunnel that is shown without: it has none, or they are not for us.
async fn rules_of(api: &Api, id: &str, output: &Output) -> Result<Value, CliError> {
    match api.ask(Method::GET, &format!("{}/access", path(id)), None).await {
        Err(error) if error.code == Code::Auth => {
            output.warning(format!(
                "the token may not see the rules of {id}, so nobody has looked whether one lets everybody connect without the \
                 token of the link; give one with the scope `manage` too, or look with one: `adit tunnel access {id}`"
            ));
            Ok(Value::Null)
        }
        // Not every relay shows them apart.
        Err(error) if error.code == Code::RemoteRefused => Ok(Value::Null),
        answer => answer,
    }
}

/// Makes these the ports that the relay shows.
///
/// # Errors
/// The relay cannot be reached, or refuses.
pub(super) async fn show(api: &Api, id: &str, ports: &[NamedPort]) -> Result<(), CliError> {
    let old = api.ask(Method::GET, &format!("{}/ports", path(id)), None).await?;
    change_ports(api, id, items(&old, "value"), ports).await
}

/// Old ones go first: a tunnel may have only so many.
async fn change_ports(api: &Api, id: &str, old: &[Value], ports: &[NamedPort]) -> Result<(), CliError> {
    let base = format!("{}/ports", path(id));
    let old = old.iter().filter_map(|port| port.get("portNumber").and_then(Value::as_u64));
    for number in old.filter(|number| !ports.iter().any(|port| u64::from(port.port) == *number)) {
        api.ask(Method::DELETE, &format!("{base}/{number}"), None).await?;
    }
    for port in ports {
        api.ask(Method::PUT, &format!("{base}/{}", port.port), Some(self::port(port))).await?;
    }
    Ok(())
}

fn port(port: &NamedPort) -> Value {
    let mut body = json!({ "portNumber": port.port, "protocol": "auto" });
    if let (Some(fields), Some(name)) = (body.as_object_mut(), &port.name) {
        fields.insert("name".into(), json!(name));
    }
    body
}

/// What lets this host in: a token of its own, or the one that was given if that may not make one.
async fn host_token(api: &Api, id: &str, lifetime: Duration) -> Result<Option<Zeroizing<String>>, CliError> {
    let own = token(api, id, "host", lifetime).await?;
    Ok(own.or_else(|| api.token().cloned()))
}

/// Once the relay refuses the host's token: by then the file may hold another, and the old one may make another.
async fn another_host_token(args: ApiArgs, id: String, lifetime: Duration) -> Option<Zeroizing<String>> {
    let api = tokio::task::spawn_blocking(move || Api::new(&args)).await.ok()?;
    let made = async { host_token(&api?, &id, lifetime).await }.await;
    made.inspect_err(|error| tracing::debug!(%error, "there is no other token")).ok().flatten()
}

/// A token of this scope; none if ours may not make one.
async fn token(
    api: &Api,
    id: &str,
    scope: &str,
    lifetime: Duration,
) -> Result<Option<Zeroizing<String>>, CliError> {
    let wanted = json!({ "tunnelId": id, "scopes": [scope], "expiresIn": lifetime.as_secs() });
    match api.ask(Method::POST, "/tokens", Some(wanted)).await {
        Ok(made) => {
            Ok(made.get("token").and_then(Value::as_str).map(|token| Zeroizing::new(token.to_owned())))
        }
        Err(error) if error.code == Code::Auth => Ok(None),
        Err(error) => Err(error),
    }
}
