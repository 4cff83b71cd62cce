//! What `adit serve` keeps of the memory that a burst needed: sessions that upload to somebody who never reads.
#![cfg(target_os = "linux")]

use std::time::Duration;

use ssh_core::client::{self, Credential};
use ssh_core::keys::{KeyPair, SigningKey};
use ssh_core::{Channel, Session};
use tests::adit::Adit;
use tests::algorithms::Suite;
use tests::keys::KeyKind;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::{Host, Keyring, RunningServer, ServerSettings, USER};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

/// How many sessions, as [`a_burst_is_given_back`] says.
fn sessions() -> Outcome<usize> {
    match std::env::var("ADIT_BURST_SESSIONS") {
        Ok(text) => text.parse().map_err(|_| Failure::new("ADIT_BURST_SESSIONS is no number")),
        Err(_) => Ok(40),
    }
}

/// The full size, with an optimised binary:
///
/// ```sh
/// cargo build --release -p cli
/// ADIT_BIN=$PWD/target/release/adit ADIT_BURST_SESSIONS=300 cargo test -p tests --test serve_memory -- --nocapture
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_given_back() -> Outcome {
    let count = sessions()?;
    let world = World::new().await?;
    let before = world.resident_kib()?;

    let one = vec![world.session().await?];
    tokio::time::sleep(SETTLE).await;
    let with_one = world.resident_kib()?;
    let mut more = Vec::new();
    let idle = count.min(99);
    for _ in 0..idle {
        more.push(world.session().await?);
    }
    tokio::time::sleep(SETTLE).await;
    let with_more = world.resident_kib()?;
    drop((one, more));

    let mut held = Vec::new();
    for number in 0..count {
        held.push(world.upload().await.map_err(|failure| failure.while_doing(&format!("session {number}")))?);
    }
    let full = world.resident_kib()?;
    drop(held);
    // The allocator gives back what has been free for a while, a little at a time.
    let most = before + full.saturating_sub(before) / 2;
    let mut after = Vec::new();
    for _ in 0..80 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // What is free is given back when there is something to do.
        drop(world.session().await?);
        after.push(world.resident_kib()?);
        if after.last().is_some_and(|after| *after < most) {
            break;
        }
    }
    println!(
        "{before} KiB resident, {with_one} with a session, {with_more} with {} idle ones, {full} with {count} full \
         ones, then {after:?}",
        idle + 1
    );
    // Otherwise there was nothing to give back.
    ensure(full > before + u64::try_from(count).unwrap_or(u64::MAX) * 1024, || "the burst was none".into())?;
    ensure(after.last().is_some_and(|after| *after < most), || format!("{before} KiB, then {after:?}"))
}

/// A server, and a target behind it that accepts and does not read.
struct World {
    server: RunningServer,
    keys: Keyring,
    target: TcpListener,
}

impl World {
    async fn new() -> Outcome<Self> {
        let (keys, suite) = (Keyring::generate().await?, Suite::default());
        let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
        let settings = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };
        let arguments = ["--max-sessions", "1000"].map(std::ffi::OsStr::new);
        let server = Adit::find().await?.serve_with(settings, &arguments).await?;
        let target = TcpListener::bind(("127.0.0.1", 0)).await?;
        Ok(Self { server, keys, target })
    }

    fn resident_kib(&self) -> Outcome<u64> {
        let Host::Process(process) = &self.server.host else { return Err(Failure::new("no process")) };
        let id = process.id().ok_or_else(|| Failure::new("the server has ended"))?;
        tests::memory::resident_kib(id).ok_or_else(|| Failure::new("the system does not tell"))
    }

    async fn session(&self) -> Outcome<Session> {
        let path = &self.keys.user(KeyKind::Ed25519)?.path;
        let pair = KeyPair::read_file(path, None).map_err(failure)?;
        let provider = ssh_core::crypto::default_provider();
        let key = SigningKey::new(&pair.private, provider).map_err(failure)?;
        let config = client::Config::builder(USER)
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .authenticate(Credential::key(key))
            .build()
            .map_err(failure)?;
        within(STEP, "a session", async {
            let stream = TcpStream::connect(("127.0.0.1", self.server.port)).await?;
            client::connect(stream, config).await.map_err(failure)
        })
        .await
    }

    /// A session that has written until nobody took any more, with what belongs to it.
    async fn upload(&self) -> Outcome<(Session, Channel, TcpStream)> {
        let session = self.session().await?;
        let port = self.target.local_addr()?.port();
        let mut fields = Vec::new();
        for port in [u32::from(port), 1] {
            fields.extend(9_u32.to_be_bytes());
            fields.extend(b"127.0.0.1");
            fields.extend(port.to_be_bytes());
        }
        let open = async { session.open_channel_with("direct-tcpip", &fields).await.map_err(failure) };
        let (opened, accepted) = within(STEP, "a channel", async {
            let (opened, accepted) = tokio::join!(open, self.target.accept());
            Ok((opened?.0, accepted?.0))
        })
        .await?;
        let mut channel = opened;
        let block = vec![7; 64 * 1024];
        while let Ok(written) = tokio::time::timeout(STALLED, channel.write_all(&block)).await {
            written?;
        }
        Ok((session, channel, accepted))
    }
}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

const SETTLE: Duration = Duration::from_secs(1);
/// So long without progress means that the window is used up.
const STALLED: Duration = Duration::from_millis(200);
