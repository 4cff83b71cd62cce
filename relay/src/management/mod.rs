//! The part of the Dev Tunnels management API that the SDKs call.

mod access;
mod caller;
mod endpoints;
mod ports;
mod tokens;
mod tunnels;

pub(crate) use caller::{PeerAddress, RequestCaller};

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::access::Caller;
use crate::model::{CLUSTER, Tunnel, TunnelStatus};
use crate::problem::Problem;
use crate::relay::Relay;
use crate::scopes::Scope;
use crate::store::{Record, StoreError};

/// The routes.
pub(crate) fn router(relay: Arc<Relay>) -> Router {
    let body_bytes = relay.config.limits.body_bytes;
    Router::new()
        .route("/clusters", get(clusters))
        .route("/clusters/recommendations", get(recommendations))
        .route("/tunnels", get(tunnels::list))
        .route("/tunnels/{id}", get(tunnels::show).put(tunnels::put).delete(tunnels::delete))
        .route("/tunnels/{id}/ports", get(ports::list))
        .route("/tunnels/{id}/ports/{port}", get(ports::show).put(ports::put).delete(ports::delete))
        .route("/tunnels/{id}/endpoints/{endpoint}", put(endpoints::put).delete(endpoints::delete))
        .route("/tunnels/{id}/events", post(events))
        .route("/tunnels/{id}/access", get(access::show).put(access::put))
        .route("/tokens", post(tokens::create))
        .route("/tokens/revoke", post(tokens::revoke))
        .route("/tokens/{id}", delete(tokens::delete))
        .route("/userlimits", get(user_limits))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this is not done with that method")
        })
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(from_fn_with_state(Arc::clone(&relay), in_time))
        .layer(map_response(name_ourselves))
        .with_state(relay)
}

/// A body that comes a byte at a time holds a connection no longer than any other.
async fn in_time(State(relay): State<Arc<Relay>>, request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(relay.config.limits.request_time, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "the request did not come in time");
        ([(CONNECTION, HeaderValue::from_static("close"))], problem).into_response()
    })
}

/// SDKs take a refusal without this header for a firewall's.
async fn name_ourselves(mut response: Response) -> Response {
    let name = HeaderName::from_static("x-served-by");
    response.headers_mut().insert(name, HeaderValue::from_static("tunnels-adit"));
    response
}

async fn clusters(State(relay): State<Arc<Relay>>, uri: Uri, headers: axum::http::HeaderMap) -> Json<Value> {
    let base = relay.base_url(&uri, &headers);
    Json(json!([{ "clusterId": CLUSTER, "uri": base, "azureLocation": CLUSTER }]))
}

async fn recommendations() -> Json<Value> {
    Json(json!({ "recommendedClusterId": CLUSTER, "recommendations": [] }))
}

async fn user_limits() -> Json<Value> {
    Json(json!([]))
}

/// SDKs report what happens to them. It is for the log; nothing is kept.
async fn events(
    State(relay): State<Arc<Relay>>,
    caller: caller::RequestCaller,
    axum::extract::Path(id): axum::extract::Path<String>,
    Json(events): Json<Vec<Event>>,
) -> Result<StatusCode, Problem> {
    let record = relay.admit(&id, &caller, READ)?;
    for event in events.iter().take(MAX_EVENTS) {
        let name = crate::printable(&event.name);
        tracing::debug!(tunnel = %record.tunnel.tunnel_id, event = %name, "client event");
    }
    Ok(StatusCode::ACCEPTED)
}

#[derive(serde::Deserialize)]
struct Event {
    #[serde(default)]
    name: String,
}

/// Events of one request that are looked at.
const MAX_EVENTS: usize = 100;

/// Whoever may do anything with a tunnel may look at it.
pub(crate) const READ: &[crate::scopes::Scope] = {
    use crate::scopes::Scope::{Connect, Host, Inspect, Manage, ManagePorts};
    &[Manage, ManagePorts, Host, Inspect, Connect]
};

/// Runs what waits for the disk where waiting is allowed.
async fn on_disk<T: Send + 'static>(
    relay: &Arc<Relay>,
    change: impl FnOnce(&Relay) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let relay = Arc::clone(relay);
    let done = tokio::task::spawn_blocking(move || change(&relay)).await;
    let done = done.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the relay failed"))?;
    Ok(done?)
}

/// 429: `limit` is reached, and what makes room is a deed, not time.
fn full(limit: &str, value: u32, remedy: &str) -> Problem {
    let detail = format!("the limit `{limit}` of {value} is reached; {remedy}");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
}

/// A tunnel as answers show it. Its rules name people and networks, so they are for those who may change them.
fn shown(relay: &Relay, caller: &Caller, record: &Record) -> Tunnel {
    let mut tunnel = record.tunnel.clone();
    if !caller.scopes(record).has(Scope::Manage) {
        tunnel.access_control = None;
        for port in &mut tunnel.ports {
            port.access_control = None;
        }
    }
    let live = relay.live_counts(&tunnel.tunnel_id);
    tunnel.status = Some(TunnelStatus {
        port_count: u32::try_from(tunnel.ports.len()).unwrap_or(u32::MAX),
        host_connection_count: u32::from(live.host),
        client_connection_count: live.clients,
    });
    for port in &mut tunnel.ports {
        port.cluster_id = Some(CLUSTER.into());
        port.tunnel_id = Some(tunnel.tunnel_id.clone());
    }
    tunnel
}
