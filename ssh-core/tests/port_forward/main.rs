//! Every kind of forward over loopback TCP, between two sessions of this crate.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod breaks;
mod ends;
mod local;
mod proxy;
mod remote;
mod resolving;
mod streams;
mod until_closed;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ssh_core::Session;
use ssh_core::client::{self, danger::AcceptAnyHostKey};
use ssh_core::config::Algorithms;
use ssh_core::server::{self, danger::AcceptEverybody};
use ssh_core::services::port_forward::{ForwardEvent, ForwardPolicy, PortForwarding};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

type Events = Arc<Mutex<Vec<String>>>;

struct Pair {
    client: PortForwarding,
    server: PortForwarding,
    client_events: Events,
    server_events: Events,
}

async fn sessions() -> (Session, Session) {
    let (a, b) = tokio::io::duplex(1 << 20);
    // What is forwarded does not depend on the cipher.
    let algorithms = Algorithms::insecure_without_any_security();
    let client = client::Config::builder("ada").verify_host_key(AcceptAnyHostKey);
    let client = client.algorithms(algorithms.clone()).build().unwrap();
    let server = server::Config::builder(AcceptEverybody).algorithms(algorithms).build().unwrap();
    let (client, server) = tokio::join!(client::connect(a, client), server::accept(b, server));
    (client.unwrap(), server.unwrap())
}

fn start(session: Session, policy: ForwardPolicy) -> (PortForwarding, Events) {
    let events = Events::default();
    let sink = Arc::clone(&events);
    let callback = move |event: ForwardEvent| sink.lock().push(event.to_string());
    (PortForwarding::builder(session).policy(policy).on_event(callback).start(), events)
}

async fn pair(server_policy: ForwardPolicy) -> Pair {
    let (client, server) = sessions().await;
    let (client, client_events) = start(client, ForwardPolicy::deny_all());
    let (server, server_events) = start(server, server_policy);
    Pair { client, server, client_events, server_events }
}

/// What is dropped or ended stops listening as soon as its task has been told.
async fn until_nobody_listens(address: SocketAddr) {
    let silence = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(5), silence).await.unwrap();
}

/// Reads a request to its end, then answers with it `times` times over.
async fn answering(times: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = Vec::new();
                socket.read_to_end(&mut request).await.unwrap();
                for _ in 0..times {
                    socket.write_all(&request).await.unwrap();
                }
                socket.shutdown().await.unwrap();
            });
        }
    });
    address
}

/// A port on which nobody listens, and none can while the socket is kept.
fn dead_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// Sends a request, ends it, and reads the answer to its end.
async fn ask(mut socket: TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    socket.write_all(request).await?;
    socket.shutdown().await?;
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await??;
    Ok(answer)
}

async fn ask_at(port: u16, request: &[u8]) -> io::Result<Vec<u8>> {
    ask(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?, request).await
}

fn permit(text: &str) -> ForwardPolicy {
    ForwardPolicy::deny_all().permit_open(text.parse().unwrap())
}
