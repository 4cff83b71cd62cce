//! `/tunnels/ID/endpoints/EID`: where the host of a tunnel is met.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};

use super::caller::RequestCaller;
use super::on_disk;
use crate::model::Endpoint;
use crate::problem::Problem;
use crate::relay::Relay;
use crate::scopes::Scope;

/// A host's public keys: one of each kind and some to come.
const MAX_KEYS: usize = 8;
/// Base64 of a key's blob, in bytes. RSA of 16384 bits has under 3000.
const MAX_KEY_LEN: usize = 4096;

pub(super) async fn put(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path((id, endpoint_id)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    Json(mut endpoint): Json<Endpoint>,
) -> Result<Json<Endpoint>, Problem> {
    let record = relay.admit(&id, &caller, &[Scope::Host])?;
    if endpoint.connection_mode != MODE {
        return Err(Problem::field("connectionMode", "this relay has TunnelRelay alone"));
    }
    let keys = endpoint.host_public_keys.as_deref().unwrap_or_default();
    if keys.len() > MAX_KEYS || keys.iter().any(|key| key.len() > MAX_KEY_LEN) {
        return Err(Problem::field(
            "hostPublicKeys",
            format!("there may be {MAX_KEYS} keys of {MAX_KEY_LEN} bytes"),
        ));
    }
    if endpoint_id.len() > MAX_ID || endpoint.host_id.len() > MAX_ID {
        return Err(Problem::field("id", format!("may have {MAX_ID} bytes")));
    }
    endpoint.id = endpoint_id;
    let base = relay.base_url(&uri, &headers).replacen("http", "ws", 1);
    let tunnel = &record.tunnel.tunnel_id;
    endpoint.host_relay_uri = Some(format!("{base}/t/{tunnel}/host"));
    endpoint.client_relay_uri = Some(format!("{base}/t/{tunnel}/client"));
    let stored = endpoint.clone();
    let changed = on_disk(&relay, move |relay| {
        relay.store.update_same(&record, |old| {
            let mut record = old.clone();
            // Clients refuse a tunnel with the endpoints of two hosts.
            record.tunnel.endpoints = vec![stored];
            Some(record)
        })
    });
    changed.await?.ok_or_else(|| Problem::not_found("tunnel"))?;
    Ok(Json(endpoint))
}

pub(super) async fn delete(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path((id, endpoint_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let record = relay.admit(&id, &caller, &[Scope::Host])?;
    if !record.tunnel.endpoints.iter().any(|endpoint| endpoint.id == endpoint_id) {
        return Err(Problem::not_found("endpoint"));
    }
    on_disk(&relay, move |relay| {
        relay.store.update_same(&record, |old| {
            let mut record = old.clone();
            record.tunnel.endpoints.retain(|endpoint| endpoint.id != endpoint_id);
            Some(record)
        })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

const MODE: &str = "TunnelRelay";
/// Ids are UUIDs with a suffix.
const MAX_ID: usize = 128;
