//! `/tunnels/ID/ports`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};

use super::caller::RequestCaller;
use super::{READ, full, on_disk, shown};
use crate::model::{List, Port};
use crate::problem::Problem;
use crate::relay::Relay;
use crate::scopes::Scope;

/// Who may change ports.
const CHANGE: &[Scope] = &[Scope::Manage, Scope::ManagePorts, Scope::Host];

pub(super) async fn list(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path(id): Path<String>,
) -> Result<Json<List<Port>>, Problem> {
    let record = relay.admit(&id, &caller, READ)?;
    Ok(Json(List { value: shown(&relay, &caller, &record).ports }))
}

pub(super) async fn show(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path((id, number)): Path<(String, u16)>,
) -> Result<Json<Port>, Problem> {
    let record = relay.admit(&id, &caller, READ)?;
    let port = shown(&relay, &caller, &record).ports.into_iter().find(|port| port.port_number == number);
    port.map(Json).ok_or_else(|| Problem::not_found("port"))
}

pub(super) async fn put(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path((id, number)): Path<(String, u16)>,
    headers: HeaderMap,
    Json(mut port): Json<Port>,
) -> Result<(StatusCode, Json<Port>), Problem> {
    let record = relay.admit(&id, &caller, CHANGE)?;
    let must_be_new = headers.contains_key(IF_NONE_MATCH) || headers.contains_key("if-not-match");
    let must_exist = headers.contains_key(IF_MATCH);
    if port.port_number == 0 {
        port.port_number = number;
    }
    if port.port_number != number {
        return Err(Problem::field("portNumber", "the path and the body name two ports"));
    }
    strip(&mut port);
    let exists = record.tunnel.ports.iter().any(|known| known.port_number == number);
    if exists && must_be_new {
        return Err(Problem::new(StatusCode::CONFLICT, "the tunnel has that port"));
    }
    if !exists && must_exist {
        return Err(Problem::not_found("port"));
    }
    let mut ports = record.tunnel.ports.clone();
    ports.retain(|known| known.port_number != number);
    ports.push(port.clone());
    check_list(&relay, &ports)?;
    let limit = relay.config.limits.ports_per_tunnel as usize;
    let changed = on_disk(&relay, move |relay| {
        relay.store.update_same(&record, |old| {
            let mut record = old.clone();
            record.tunnel.ports.retain(|known| known.port_number != number);
            record.tunnel.ports.push(port);
            record.tunnel.ports.sort_by_key(|port| port.port_number);
            (record.tunnel.ports.len() <= limit).then_some(record)
        })
    });
    let record = changed.await?.ok_or_else(|| Problem::not_found("tunnel"))?;
    let port = shown(&relay, &caller, &record).ports.into_iter().find(|port| port.port_number == number);
    let status = if exists { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(port.ok_or_else(|| Problem::not_found("port"))?)))
}

pub(super) async fn delete(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path((id, number)): Path<(String, u16)>,
) -> Result<StatusCode, Problem> {
    let record = relay.admit(&id, &caller, CHANGE)?;
    if !record.tunnel.ports.iter().any(|port| port.port_number == number) {
        return Err(Problem::not_found("port"));
    }
    on_disk(&relay, move |relay| {
        relay.store.update_same(&record, |old| {
            let mut record = old.clone();
            record.tunnel.ports.retain(|port| port.port_number != number);
            Some(record)
        })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether these may be the ports of a tunnel.
pub(super) fn check_list(relay: &Relay, ports: &[Port]) -> Result<(), Problem> {
    let limit = relay.config.limits.ports_per_tunnel;
    if ports.len() > limit as usize {
        return Err(full("ports_per_tunnel", limit, "offer fewer, or spread them over more tunnels"));
    }
    let mut numbers = HashSet::new();
    for port in ports {
        if port.port_number == 0 || !numbers.insert(port.port_number) {
            return Err(Problem::field("portNumber", "a port has a number of 1 to 65535 that no other has"));
        }
    }
    Ok(())
}

/// What answers add is not kept.
pub(super) fn strip(port: &mut Port) {
    port.cluster_id = None;
    port.tunnel_id = None;
    port.access_tokens = None;
}
