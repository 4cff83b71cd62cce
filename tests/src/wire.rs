//! A TCP connection that fails: a loopback proxy that cuts, swallows and turns away.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::endpoint::listen;
use crate::outcome::Outcome;

/// The way to a server, until it is dropped. It leads there at first.
pub struct Wire {
    /// Where clients connect.
    pub port: u16,
    state: Arc<State>,
    task: AbortHandle,
}

struct State {
    target: AtomicU16,
    /// New connections are closed at once.
    refuses: AtomicBool,
    /// Nothing is carried any more, and nobody is told.
    swallows: watch::Sender<bool>,
    /// Connections of an older number are cut.
    cuts: watch::Sender<usize>,
    connections: AtomicUsize,
    kills: AtomicUsize,
    /// How many bytes each connection carries, both ways together.
    budget: Box<dyn Fn(usize) -> Option<u64> + Send + Sync>,
}

impl Wire {
    /// Leads to `target` on this machine.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn to(target: u16) -> Outcome<Self> {
        Self::with_budget(target, |_| None).await
    }

    /// The same, with connections that are cut after `budget` bytes, which is asked with the number of each, from 0.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn with_budget(
        target: u16,
        budget: impl Fn(usize) -> Option<u64> + Send + Sync + 'static,
    ) -> Outcome<Self> {
        let (listener, port) = listen().await?;
        let state = Arc::new(State {
            target: AtomicU16::new(target),
            refuses: AtomicBool::new(false),
            swallows: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
            kills: AtomicUsize::new(0),
            budget: Box::new(budget),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Ok(Self { port, state, task })
    }

    /// New connections go there.
    pub fn lead_to(&self, target: u16) {
        self.state.target.store(target, Ordering::Relaxed);
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Whether new connections, and from now on all that there are, carry nothing. What was swallowed is gone: a
    /// connection that has swallowed something carries nothing any more.
    pub fn swallow(&self, swallows: bool) {
        self.state.swallows.send_replace(swallows);
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.state.cuts.send_replace(self.state.connections.load(Ordering::Relaxed));
    }

    /// Connections that it has cut because they had carried their share.
    #[must_use]
    pub fn kills(&self) -> usize {
        self.state.kills.load(Ordering::Relaxed)
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        if state.refuses.load(Ordering::Relaxed) {
            continue;
        }
        let number = state.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(carry(client, number, Arc::clone(&state)));
    }
}

async fn carry(client: TcpStream, number: usize, state: Arc<State>) -> std::io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, state.target.load(Ordering::Relaxed))).await?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
        // Dropped, it resets: what was under way is lost, as it is with a cable.
        socket.set_zero_linger()?;
    }
    let left = (state.budget)(number).map(|budget| AtomicI64::new(i64::try_from(budget).unwrap_or(i64::MAX)));
    let (mut cuts, mut swallows) = (state.cuts.subscribe(), state.swallows.subscribe());
    let cut = async {
        // The sender lives as long as this does.
        let _ = cuts.wait_for(|cut| *cut > number).await;
    };
    let swallowed = async {
        let _ = swallows.wait_for(|swallows| *swallows).await;
    };
    let carried = async {
        let (client_half, server_half) = (client.into_split(), server.into_split());
        let left = left.as_ref();
        tokio::select! {
            there = one_way(client_half.0, server_half.1, left) => there,
            back = one_way(server_half.0, client_half.1, left) => back,
        }
    };
    tokio::pin!(carried, cut);
    let ended = tokio::select! {
        ended = &mut carried => Some(ended?),
        () = &mut cut => None,
        () = swallowed => {
            // Both sockets stay open, and nobody reads them.
            cut.await;
            None
        }
    };
    if ended == Some(End::UsedUp) {
        state.kills.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[derive(PartialEq)]
enum End {
    UsedUp,
    OfStream,
}

async fn one_way(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    left: Option<&AtomicI64>,
) -> std::io::Result<End> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            return Ok(End::OfStream);
        }
        let part = buffer.get(..len).unwrap_or_default();
        let wanted = i64::try_from(len).unwrap_or(i64::MAX);
        let before = left.map_or(i64::MAX, |left| left.fetch_sub(wanted, Ordering::Relaxed));
        if before < wanted {
            let rest = usize::try_from(before).unwrap_or(0);
            to.write_all(part.get(..rest).unwrap_or_default()).await?;
            return Ok(End::UsedUp);
        }
        to.write_all(part).await?;
    }
}
