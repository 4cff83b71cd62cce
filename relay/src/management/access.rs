//! `/tunnels/ID/access`: who may do what with a tunnel. The SDKs send the same with the whole tunnel.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use super::caller::RequestCaller;
use super::{on_disk, tunnels};
use crate::model::AccessControl;
use crate::problem::Problem;
use crate::relay::Relay;
use crate::scopes::Scope;

/// `GET`: the rules.
pub(super) async fn show(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path(id): Path<String>,
) -> Result<Json<AccessControl>, Problem> {
    let record = relay.admit(&id, &caller, &[Scope::Manage])?;
    Ok(Json(record.tunnel.access_control.clone().unwrap_or_default()))
}

/// `PUT`: these rules instead. What goes on against them ends.
pub(super) async fn put(
    State(relay): State<Arc<Relay>>,
    caller: RequestCaller,
    Path(id): Path<String>,
    Json(control): Json<AccessControl>,
) -> Result<Json<AccessControl>, Problem> {
    let record = relay.admit(&id, &caller, &[Scope::Manage])?;
    tunnels::check_rules(&control)?;
    let changed = on_disk(&relay, move |relay| {
        relay.store.update_same(&record, |old| {
            let mut record = old.clone();
            record.tunnel.access_control = Some(control);
            Some(record)
        })
    });
    let record = changed.await?.ok_or_else(|| Problem::not_found("tunnel"))?;
    tracing::info!(target: "audit", tunnel = %record.tunnel.tunnel_id, by = %caller.shown(), "access rules changed");
    relay.access_changed(&record);
    Ok(Json(record.tunnel.access_control.clone().unwrap_or_default()))
}
