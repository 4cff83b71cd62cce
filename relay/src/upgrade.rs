//! `/t/ID/host` and `/t/ID/client`: everything is decided before the 101, since an SDK never comes back from a WebSocket
//! that closes before its SSH handshake is done.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ssh_core::Channel;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::access::{Caller, Credential};
use crate::client_leg::{self, CLIENT_STREAM};
use crate::host_leg;
use crate::live::{Admission, ClientLink, HostLink, Leave, LiveTunnel, Version};
use crate::management::RequestCaller;
use crate::metrics;
use crate::problem::Problem;
use crate::relay::Relay;
use crate::scopes::Scope;
use crate::websocket_stream::{Counted, WebSocketStream};

/// The sub-protocols of hosts and of clients, newest first.
const HOST: Names = [("tunnel-relay-host-v2-dev", Version::V2), ("tunnel-relay-host", Version::V1)];
const CLIENT: Names = [("tunnel-relay-client-v2-dev", Version::V2), ("tunnel-relay-client", Version::V1)];
type Names = [(&'static str, Version); 2];

/// When whoever could not be served is asked to come back.
const COME_BACK: Duration = Duration::from_secs(5);
/// A host that is there has this long to open a channel for a client.
const OPEN: Duration = Duration::from_secs(10);

/// A host wants in.
pub(crate) async fn host(
    State(relay): State<Arc<Relay>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let decided = decide_host(Arc::clone(&relay), id, request).await;
    relay.metrics.upgrade(metrics::Role::Host, decided.is_ok());
    decided
}

/// A client wants in.
pub(crate) async fn client(
    State(relay): State<Arc<Relay>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let decided = decide_client(Arc::clone(&relay), id, request).await;
    relay.metrics.upgrade(metrics::Role::Client, decided.is_ok());
    decided
}

async fn decide_host(relay: Arc<Relay>, id: String, request: Request) -> Result<Response, Problem> {
    let (caller, offer, upgrade) = look(&relay, request, HOST).await?;
    let record = relay.admit(&id, &caller, &[Scope::Host])?;
    refuse_while_draining(&relay)?;
    let (name, version) = offer.first(HOST).ok_or_else(|| unknown_protocol(HOST))?;
    let tunnel = relay.live.tunnel(&record.tunnel.tunnel_id);
    let admission = Admission::new(caller, Scope::Host, relay.now());
    let accepted = offer.accepted(name);
    let counted = relay.metrics.connect(metrics::Role::Host, version);
    tokio::spawn(async move {
        if let Some(stream) = upgraded(&relay, upgrade).await {
            host_leg::run(Arc::clone(&relay), Arc::clone(&tunnel), version, admission, stream).await;
        }
        let id = tunnel.id.clone();
        drop((tunnel, counted));
        relay.live.tidy(&id);
    });
    accepted
}

async fn decide_client(relay: Arc<Relay>, id: String, request: Request) -> Result<Response, Problem> {
    let (caller, offer, upgrade) = look(&relay, request, CLIENT).await?;
    let record = relay.admit(&id, &caller, &[Scope::Connect])?;
    refuse_while_draining(&relay)?;
    offer.first(CLIENT).ok_or_else(|| unknown_protocol(CLIENT))?;
    // What was asked for may be a name, which another tunnel may have later.
    let id = record.tunnel.tunnel_id.clone();
    let tunnel = Tidy { relay: Arc::clone(&relay), tunnel: Some(relay.live.tunnel(&id)) };
    let live = tunnel.tunnel();
    let limits = &relay.config.limits;
    check_room(&relay, live.client_count(), relay.live.clients_of(&record.owner), 1)?;
    let host = wait_for_host(live, limits.host_wait).await?;
    let (name, version) = offer.fitting(CLIENT, host.version).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "the host speaks the first version of the protocol, which this client does not",
        )
    })?;
    let client = Arc::new(ClientLink {
        number: relay.live.number(),
        owner: record.owner.clone(),
        admission: Admission::new(caller, Scope::Connect, relay.now()),
        leave: Leave::default(),
        bandwidth: relay.bandwidths.of(&record.owner),
    });
    let of_tunnel = live.client_came(Arc::clone(&client));
    let gone = Gone { tunnel, number: client.number };
    // Many may have waited for the host with this one, the right may have been withdrawn meanwhile, the relay told to
    // stop. What changes from here on finds the client on the list.
    check_room(&relay, of_tunnel, relay.live.clients_of(&record.owner), 0)?;
    relay.admit(&id, &client.admission.caller, &[Scope::Connect])?;
    relay.still_holds(&client.admission)?;
    refuse_while_draining(&relay)?;
    let channel = match version {
        Version::V1 => Some(client_stream(&host).await?),
        Version::V2 => None,
    };
    let accepted = offer.accepted(name);
    let counted = relay.metrics.connect(metrics::Role::Client, version);
    let (who, address) = (client.admission.caller.shown(), client.admission.caller.address);
    tokio::spawn(async move {
        let live = Arc::clone(gone.tunnel.tunnel());
        if let Some(stream) = upgraded(&relay, upgrade).await {
            tracing::info!(target: "audit", tunnel = %live.id, client = client.number, ?version, by = %who, from = %address, "client connected");
            match channel {
                Some(channel) => drop(client_leg::run_v1(&relay, &client, stream, channel).await),
                None => client_leg::run_v2(Arc::clone(&relay), live, Arc::clone(&client), stream).await,
            }
            tracing::info!(target: "audit", tunnel = %id, client = client.number, "client gone");
        }
        drop((gone, counted));
    });
    accepted
}

/// A tunnel's row goes when the last one that is interested in it goes.
struct Tidy {
    relay: Arc<Relay>,
    tunnel: Option<Arc<LiveTunnel>>,
}

impl Tidy {
    #[expect(clippy::expect_used, reason = "it is taken when this is dropped, and never before")]
    fn tunnel(&self) -> &Arc<LiveTunnel> {
        self.tunnel.as_ref().expect("it is there until the end")
    }
}

impl Drop for Tidy {
    fn drop(&mut self) {
        if let Some(tunnel) = self.tunnel.take() {
            let id = tunnel.id.clone();
            drop(tunnel);
            self.relay.live.tidy(&id);
        }
    }
}

/// Takes a client off the list, however its connection ends.
struct Gone {
    tunnel: Tidy,
    number: u64,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.tunnel.tunnel().client_went(self.number);
    }
}

/// Fails if there is no room for so many more.
fn check_room(relay: &Relay, of_tunnel: u32, of_owner: usize, more: u32) -> Result<(), Problem> {
    let limits = &relay.config.limits;
    if of_tunnel.saturating_add(more) > limits.clients_per_tunnel {
        return Err(Problem::limited("clients_per_tunnel", limits.clients_per_tunnel.into(), COME_BACK));
    }
    if of_owner.saturating_add(more as usize) > limits.clients_per_owner as usize {
        return Err(Problem::limited("clients_per_owner", limits.clients_per_owner.into(), COME_BACK));
    }
    Ok(())
}

async fn wait_for_host(tunnel: &LiveTunnel, wait: Duration) -> Result<Arc<HostLink>, Problem> {
    let mut hosts = tunnel.host.subscribe();
    let found = tokio::time::timeout(wait, hosts.wait_for(Option::is_some)).await;
    match found {
        Ok(Ok(host)) => host.clone(),
        _ => None,
    }
    .ok_or_else(|| {
        Problem::unavailable("the tunnel has no host now; start it, or try again later", COME_BACK)
    })
}

async fn client_stream(host: &HostLink) -> Result<Channel, Problem> {
    match tokio::time::timeout(OPEN, host.session.open_channel(CLIENT_STREAM)).await {
        Ok(Ok(channel)) => Ok(channel),
        _ => Err(Problem::unavailable("the host takes no client now; try again", COME_BACK)),
    }
}

fn refuse_while_draining(relay: &Relay) -> Result<(), Problem> {
    if relay.is_draining() {
        return Err(Problem::unavailable("the relay is about to stop; come back", COME_BACK));
    }
    Ok(())
}

fn unknown_protocol(names: Names) -> Problem {
    let [(newest, _), (oldest, _)] = names;
    Problem::new(StatusCode::BAD_REQUEST, format!("the sub-protocol must be {newest} or {oldest}"))
}

/// What an upgrade asks for.
struct Offer {
    protocols: Vec<String>,
    accept: HeaderValue,
}

impl Offer {
    /// The client's first choice among ours.
    fn first(&self, names: Names) -> Option<(&'static str, Version)> {
        let known = |offered: &String| names.iter().find(|(name, _)| offered == name).copied();
        self.protocols.iter().find_map(known)
    }

    /// The first choice that goes with the host.
    fn fitting(&self, names: Names, host: Version) -> Option<(&'static str, Version)> {
        let names =
            names.map(|(name, version)| (name, version, host == Version::V2 || version == Version::V1));
        let known = |offered: &String| {
            names
                .iter()
                .find(|(name, _, fits)| offered == name && *fits)
                .map(|(name, version, _)| (*name, *version))
        };
        self.protocols.iter().find_map(known)
    }

    fn accepted(&self, protocol: &'static str) -> Result<Response, Problem> {
        let headers = [
            (CONNECTION, HeaderValue::from_static("upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (SEC_WEBSOCKET_ACCEPT, self.accept.clone()),
            (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol)),
        ];
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        response.headers_mut().extend(headers);
        Ok(response)
    }
}

/// Checks that it is an upgrade to a WebSocket, and who asks.
async fn look(
    relay: &Arc<Relay>,
    request: Request,
    names: Names,
) -> Result<(Caller, Offer, OnUpgrade), Problem> {
    let (mut parts, _) = request.into_parts();
    let headers = &parts.headers;
    let is_upgrade = parts.method == Method::GET
        && has_word(headers, &CONNECTION, "upgrade")
        && has_word(headers, &UPGRADE, "websocket")
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().filter(|key| is_key(key) && keys.next().is_none());
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    if !is_upgrade {
        return Err(Problem::upgrade_required());
    }
    let (Some(key), Some(upgrade)) = (key, upgrade) else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "the Sec-WebSocket-Key has to be 16 bytes in base64",
        ));
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the key of the WebSocket cannot be read"))?;
    let mut protocols = Vec::new();
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let text = value.to_str().unwrap_or_default();
        protocols.extend(text.split(',').map(|name| name.trim().to_owned()).take(MAX_PROTOCOLS));
    }
    protocols.truncate(MAX_PROTOCOLS);
    let last = protocols.last().cloned().unwrap_or_default();
    let Ok(RequestCaller(mut caller)) = RequestCaller::from_request_parts(&mut parts, relay).await;
    // A browser cannot send the header: its token is the last of the sub-protocols.
    if caller.credential == Credential::None
        && !last.is_empty()
        && names.iter().all(|(name, _)| *name != last)
    {
        caller.credential = relay.credential(&last);
    }
    Ok((caller, Offer { protocols, accept }, upgrade))
}

/// 16 bytes in base64 (RFC 6455 §4.1).
fn is_key(key: &HeaderValue) -> bool {
    STANDARD.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == 16)
}

/// Sub-protocols that are looked at.
const MAX_PROTOCOLS: usize = 16;

fn has_word(headers: &HeaderMap, name: &axum::http::HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(word))
}

async fn upgraded(relay: &Relay, upgrade: OnUpgrade) -> Option<WebSocketStream<TokioIo<Upgraded>>> {
    match upgrade.await {
        Ok(stream) => {
            let metrics = &relay.metrics;
            let count = Counted { received: metrics.received.clone(), sent: metrics.sent.clone() };
            Some(WebSocketStream::new(TokioIo::new(stream), Role::Server).await.counted(count))
        }
        Err(error) => {
            tracing::debug!(%error, "an upgrade was not completed");
            None
        }
    }
}
