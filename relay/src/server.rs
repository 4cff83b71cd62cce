//! The listener: connections, their limits, and HTTP on them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use dashmap::DashMap;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use crate::guard::guard;
use crate::management::{self, PeerAddress};
use crate::problem::Problem;
use crate::relay::{Relay, source};
use crate::store::StoreError;
use crate::tls::Tls;
use crate::{forwarded, status, upgrade};

/// Accepts connections and serves them, for as long as it is polled.
#[derive(Debug)]
pub struct Server {
    relay: Arc<Relay>,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    connections: Arc<Connections>,
}

/// Connections at once, all and by source.
#[derive(Debug, Default)]
struct Connections {
    all: AtomicU32,
    by_source: DashMap<IpAddr, u32>,
}

impl Server {
    /// Binds the relay's address; port 0 chooses one.
    ///
    /// # Errors
    /// The system's.
    pub async fn bind(relay: Arc<Relay>, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { relay, listener, tls: None, connections: Arc::default() })
    }

    /// With TLS.
    #[must_use]
    pub fn tls(mut self, tls: Arc<Tls>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves. It never ends by itself; dropping it closes the listener, and connections go on in their tasks.
    ///
    /// # Cancel safety
    /// Connections that have been accepted are served.
    pub async fn run(self) {
        let router = router(Arc::clone(&self.relay));
        let relay = Arc::clone(&self.relay);
        // It ends with this future.
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                relay.end_expired();
            }
        });
        let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
        loop {
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most often: going on at once would spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let relay = Arc::clone(&self.relay);
            let (admitted, router) = match Connections::admit(&self.connections, address.ip(), &relay) {
                Ok(admitted) => (Turn::Admitted(admitted), router.clone()),
                // An SDK never comes back from a connection that ends without an answer.
                Err(over) => match Arc::clone(&refusals).try_acquire_owned() {
                    Ok(permit) => (Turn::Refused(permit), refusing(over)),
                    Err(_) => continue,
                },
            };
            let tls = self.tls.as_ref().map(|tls| tls.acceptor());
            tokio::spawn(async move {
                prepare(&stream);
                match tls {
                    None => serve(&relay, router, stream, address).await,
                    Some(tls) => {
                        let shaken =
                            tokio::time::timeout(relay.config.limits.header_time, tls.accept(stream)).await;
                        match shaken {
                            Ok(Ok(stream)) => serve(&relay, router, stream, address).await,
                            Ok(Err(error)) => tracing::debug!(%address, %error, "a TLS handshake failed"),
                            Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
                        }
                    }
                }
                drop(admitted);
            });
        }
    }
}

/// By what right a connection is served; it counts for as long as this is held.
enum Turn {
    Admitted(#[expect(dead_code, reason = "it counts until it is dropped")] Admitted),
    Refused(#[expect(dead_code, reason = "it counts until it is dropped")] OwnedSemaphorePermit),
}

/// A limit that is reached.
#[derive(Debug, Clone, Copy)]
struct Over {
    limit: &'static str,
    value: u32,
}

/// Answers everything with the limit that is in the way, and closes.
fn refusing(over: Over) -> Router {
    Router::new().fallback(async move || {
        let problem = Problem::limited(over.limit, over.value.into(), REFUSED);
        ([(CONNECTION, HeaderValue::from_static("close"))], problem)
    })
}

/// When it is worth trying again to connect.
const REFUSED: Duration = Duration::from_secs(10);
/// Connections past a limit that are told so at once; more are closed without a word.
const MAX_REFUSALS: usize = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A connection on which nothing passes is probed after this, and then at this interval; the system gives up after so many
/// probes, where it can be told to: after 75 s.
const SILENCE: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_secs(5);
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", windows))]
const PROBES: u32 = 9;
/// Data on its way to a peer is given up after this, as nothing is probed meanwhile; without it Linux would go on for a quarter of
/// an hour. It is what silence and the probes come to. A peer that takes nothing for so long is given up too: our ends and the
/// SDKs always read, and hold up single streams by the windows of SSH.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(75);
/// Connections with an expired token are looked for this often.
const LOOK: Duration = Duration::from_secs(2);

/// Sets what a connection's socket is to do by itself. What the system does not know stays as it is.
fn prepare(stream: &TcpStream) {
    // Small packets of interactive streams must not wait for the acknowledgement of the ones before.
    let _ = stream.set_nodelay(true);
    // A client of v1 may have gone without a word. Where nothing is sent to it, nothing else would show that; where something
    // is, that would take long.
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(PROBE);
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", windows))]
    let keepalive = keepalive.with_retries(PROBES);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

async fn serve<S>(relay: &Relay, router: Router, stream: S, address: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let proxies = relay.config.proxies.clone();
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let peer = forwarded::source(&proxies, address.ip(), request.headers());
        request.extensions_mut().insert(PeerAddress(peer));
        request
    });
    let limits = &relay.config.limits;
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_headers(MAX_HEADERS)
        .max_buf_size(limits.header_bytes.max(SMALLEST_BUFFER))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%address, %error, "a connection ended badly");
    }
}

/// What a browser shows for a link, whose secrets stay behind its `#`. Whether there is such a tunnel is not looked at.
const LINK_HELP: &str = "This is the link of a tunnel. Bring its ports to your machine with:\n\n    adit connect 'LINK'\n\n\
    LINK being all of the address, with what stands behind the #.\n";

/// Header lines of a request.
const MAX_HEADERS: usize = 64;
/// Less is not taken below.
const SMALLEST_BUFFER: usize = 8192;

fn router(relay: Arc<Relay>) -> Router {
    let live = Router::new()
        .route("/t/{id}/host", get(upgrade::host))
        .route("/t/{id}/client", get(upgrade::client))
        .route("/t/{id}", get(async || LINK_HELP))
        .route("/status", get(status::show))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(async |State(relay): State<Arc<Relay>>| relay.metrics.text()))
        .with_state(Arc::clone(&relay));
    management::router(Arc::clone(&relay))
        .merge(live)
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "the relay has nothing under this path"))
        .layer(from_fn_with_state(Arc::clone(&relay), guard))
        .layer(from_fn_with_state(relay, watch))
}

/// Holds every request to the rate of its source, and writes the access log.
async fn watch(State(relay): State<Arc<Relay>>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
    let (method, path) = (request.method().clone(), shown_path(request.uri().path()));
    let started = now();
    let limit = relay.config.limits.requests_per_minute;
    let over = address.and_then(|address| relay.rates.take(address, limit, started).err());
    let response = match over {
        Some(reset) => Problem::limited("requests_per_minute", limit.into(), reset).into_response(),
        None => explained(next.run(request).await).await,
    };
    let status = response.status().as_u16();
    relay.metrics.answered(status);
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::info!(target: "access", %address, %method, path, status, micros);
    response
}

/// Paths hold ids of tunnels and no secrets. What is too long to be an id may be a token that somebody has put there by mistake,
/// and is left out, as is everything behind a `?`.
fn shown_path(path: &str) -> String {
    let shown = |segment: &str| match segment.len() {
        0..=LONGEST_ID => segment.to_owned(),
        _ => "[..]".to_owned(),
    };
    crate::printable(&path.split('/').map(shown).collect::<Vec<_>>().join("/"))
}

/// Ids and names of tunnels, endpoints and tokens are not longer, in bytes.
const LONGEST_ID: usize = 64;

/// Refusals of the framework are texts; the API's are problem details.
async fn explained(response: Response) -> Response {
    let status = response.status();
    let is_problem = |response: &Response| {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        kind.is_some_and(|kind| kind.starts_with("application/problem+json"))
    };
    if !(status.is_client_error() || status.is_server_error()) || is_problem(&response) {
        return response;
    }
    let (head, body) = response.into_parts();
    let text = axum::body::to_bytes(body, MAX_EXPLANATION).await.unwrap_or_default();
    let mut problem = Problem::new(status, crate::printable(&String::from_utf8_lossy(&text))).into_response();
    // `Allow` and the like.
    for (name, value) in &head.headers {
        if !problem.headers().contains_key(name) && name != CONTENT_LENGTH {
            problem.headers_mut().insert(name.clone(), value.clone());
        }
    }
    problem
}

/// The framework's texts are a line or two, in bytes.
const MAX_EXPLANATION: usize = 4096;

#[expect(clippy::disallowed_methods, reason = "rates and logs go by the clock")]
fn now() -> Instant {
    Instant::now()
}

async fn ready(State(relay): State<Arc<Relay>>) -> Result<&'static str, Problem> {
    if relay.is_draining() {
        return Err(Problem::unavailable("the relay is about to stop", Duration::from_secs(5)));
    }
    if !relay.store.works() {
        // Perhaps nobody else comes here while it is not ready.
        let healed = tokio::task::spawn_blocking(move || relay.store.heal()).await;
        if !matches!(healed, Ok(Ok(()))) {
            // Tried at most once a second, and logged as often.
            if let Ok(Err(error)) = healed
                && !matches!(error, StoreError::Down)
            {
                error.log();
            }
            let detail = "the relay's store does not work; its log says why";
            return Err(Problem::unavailable(detail, Duration::from_secs(5)));
        }
    }
    Ok("ready\n")
}

impl Connections {
    /// Counts a connection, unless there are too many.
    fn admit(connections: &Arc<Self>, address: IpAddr, relay: &Relay) -> Result<Admitted, Over> {
        let limits = &relay.config.limits;
        let source = source(address);
        let mut of_source = connections.by_source.entry(source).or_insert(0);
        let is_proxy = forwarded::is_among(&relay.config.proxies, address);
        let over = if !is_proxy && *of_source >= limits.connections_per_address {
            Some(Over { limit: "connections_per_address", value: limits.connections_per_address })
        } else if connections.all.load(Ordering::Relaxed) >= limits.connections {
            Some(Over { limit: "connections", value: limits.connections })
        } else {
            None
        };
        if let Some(over) = over {
            tracing::debug!(%address, "too many connections");
            relay.metrics.refused_connections.inc();
            drop(of_source);
            connections.by_source.remove_if(&source, |_, count| *count == 0);
            return Err(over);
        }
        *of_source = of_source.saturating_add(1);
        drop(of_source);
        connections.all.fetch_add(1, Ordering::Relaxed);
        relay.metrics.connections.inc();
        Ok(Admitted {
            connections: Arc::clone(connections),
            source,
            gauge: relay.metrics.connections.clone(),
        })
    }
}

/// A connection that is counted until this is dropped.
struct Admitted {
    connections: Arc<Connections>,
    source: IpAddr,
    gauge: Gauge,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.gauge.dec();
        self.connections.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(mut count) = self.connections.by_source.get_mut(&self.source) {
            *count = count.saturating_sub(1);
        }
        self.connections.by_source.remove_if(&self.source, |_, count| *count == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Disk;

    /// Whoever has gone without a word is missed before 80 s, whether something is on its way there or not.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_socket_gives_up_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_client, (stream, _)) = (client.unwrap(), accepted.unwrap());
        prepare(&stream);
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        let probed = SILENCE.saturating_add(PROBE.saturating_mul(PROBES));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(probed));
        assert!(probed < Duration::from_secs(80));
        let set =
            (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval(), socket.tcp_keepalive_retries());
        assert_eq!((set.0.unwrap(), set.1.unwrap(), set.2.unwrap()), (SILENCE, PROBE, PROBES));
    }

    #[tokio::test]
    async fn it_is_not_ready_while_its_store_does_not_work() {
        let disk = Disk::default();
        let relay = Relay::with_store(crate::Config::default(), disk.store()).unwrap();
        let answer = async || ready(State(Arc::clone(&relay))).await.map_err(|problem| problem.status());
        assert_eq!(answer().await, Ok("ready\n"));
        disk.full(true);
        assert!(relay.revoke("token", 1).is_err());
        for _ in 0..2 {
            assert_eq!(answer().await, Err(StatusCode::SERVICE_UNAVAILABLE));
        }
        disk.full(false);
        assert_eq!(answer().await, Ok("ready\n"));
        relay.revoke("token", 1).unwrap();
    }
}
