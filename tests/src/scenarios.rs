//! What has to work between any server and any client.

use std::time::Duration;

use futures::{TryStreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Barrier, Semaphore};

use crate::algorithms::Suite;
use crate::cases::{Case, run_all};
use crate::endpoint::{Duplex, Endpoint};
use crate::keys::KeyKind;
use crate::outcome::{Failure, Outcome, STEP, ensure, within};
use crate::peers::{ClientSettings, Keyring, Login, Peer, RunningClient, RunningServer, ServerSettings};
use crate::traffic::{Ending, Target, exchange, request};

/// One case of an algorithm: two logins and a few hundred KiB.
const CASE: Duration = Duration::from_secs(60);

/// A large transfer through an unoptimised build on a busy machine.
const TRANSFER: Duration = Duration::from_secs(180);

/// A server, a client, and how they are to meet.
pub struct Pair<'a, S, C> {
    server: &'a S,
    client: &'a C,
    keys: &'a Keyring,
    suite: Suite,
    login: HowToLogIn,
    server_rekey: Option<u64>,
    client_rekey: Option<u64>,
}

/// Which side of a tunnel the connections come in at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At the client: `-L`.
    Local,
    /// At the server: `-R`.
    Remote,
}

/// The way in which a client proves who it is.
#[derive(Clone, Copy, Debug)]
pub enum HowToLogIn {
    /// With a key of this kind.
    Key(KeyKind),
    /// With the password.
    Password,
}

/// A tunnel that stands.
pub struct Tunnel {
    /// Its server.
    pub server: RunningServer,
    /// Its client.
    pub client: RunningClient,
}

impl<'a, S: Peer, C: Peer> Pair<'a, S, C> {
    /// A pair that agrees on its algorithms by itself and logs in with an ECDSA key.
    pub fn new(server: &'a S, client: &'a C, keys: &'a Keyring) -> Self {
        // Every peer here has this kind of key.
        let login = HowToLogIn::Key(KeyKind::Ecdsa(256));
        Self { server, client, keys, suite: Suite::default(), login, server_rekey: None, client_rekey: None }
    }

    /// The same pair with these algorithms.
    #[must_use]
    pub fn suite(self, suite: Suite) -> Self {
        Self { suite, ..self }
    }

    /// The same pair with this login.
    #[must_use]
    pub fn login(self, login: HowToLogIn) -> Self {
        Self { login, ..self }
    }

    /// The same pair with new keys after so many bytes, for the sides that are given a number.
    #[must_use]
    pub fn rekey(self, server: Option<u64>, client: Option<u64>) -> Self {
        Self { server_rekey: server, client_rekey: client, ..self }
    }

    /// "client to server", for messages.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} client to {} server", self.client.name(), self.server.name())
    }

    /// Builds a tunnel to `target` for each way asked for.
    ///
    /// # Errors
    /// When either side does not start, or they do not agree.
    pub async fn open(&self, local: Option<u16>, remote: Option<u16>) -> Outcome<Tunnel> {
        let host_key = self.keys.host(self.host_key_kind()?)?;
        let kind = match self.login {
            HowToLogIn::Key(kind) => kind,
            HowToLogIn::Password => KeyKind::Ecdsa(256),
        };
        let user_key = self.keys.user(kind)?;
        let settings =
            ServerSettings { host_key, user_key, suite: &self.suite, rekey_bytes: self.server_rekey };
        let server = self.server.serve(settings).await?;
        let login = match self.login {
            HowToLogIn::Key(_) => Login::Key(user_key),
            HowToLogIn::Password => Login::Password,
        };
        let settings = ClientSettings {
            port: server.port,
            host_key,
            login,
            suite: &self.suite,
            local,
            remote,
            rekey_bytes: self.client_rekey,
        };
        match self.client.connect(settings).await {
            Ok(client) => Ok(Tunnel { server, client }),
            Err(failure) => Err(failure.with_log(self.server.name(), &server.log())),
        }
    }

    /// Sends `length` bytes to an echo server and back, through a tunnel of its own.
    ///
    /// # Errors
    /// When something fails or differs.
    pub async fn echo(&self, ways: &[Way], length: u64) -> Outcome<Tunnel> {
        let target = Target::echo().await?;
        let port = |way| ways.contains(&way).then_some(target.port);
        let tunnel = self.open(port(Way::Local), port(Way::Remote)).await?;
        for &way in ways {
            let run =
                async { exchange(tunnel.entry(way)?.connect().await?, length, length, self.ending()).await };
            tunnel.explain(within(TRANSFER, &format!("{length} bytes, {way:?}"), run).await)?;
        }
        Ok(tunnel)
    }

    fn host_key_kind(&self) -> Outcome<KeyKind> {
        let common = self.server.algorithms().common(self.client.algorithms());
        let name = self.suite.host_key.as_ref().or(common.host_keys.first());
        let kind = name.and_then(|name| KeyKind::of_algorithm(name));
        kind.ok_or_else(|| Failure::new("no common host key algorithm"))
    }

    fn ending(&self) -> Ending {
        match self.server.keeps_half_close() && self.client.keeps_half_close() {
            true => Ending::HalfClose,
            false => Ending::Close,
        }
    }
}

impl Tunnel {
    /// Where connections go in.
    ///
    /// # Errors
    /// When the tunnel was not built that way.
    pub fn entry(&self, way: Way) -> Outcome<&Endpoint> {
        let entry = match way {
            Way::Local => self.client.local.as_ref(),
            Way::Remote => self.client.remote.as_ref(),
        };
        entry.ok_or_else(|| Failure::new(format!("the tunnel has no {way:?} entry")))
    }

    /// Adds both sides' logs to a failure.
    ///
    /// # Errors
    /// The failure that came in.
    pub fn explain<T>(&self, outcome: Outcome<T>) -> Outcome<T> {
        outcome.map_err(|failure| self.client.process.explain(failure.with_log("server", &self.server.log())))
    }
}

/// Each algorithm that both sides have, through forwards both ways.
///
/// # Errors
/// Names every suite that failed.
pub async fn every_algorithm<S: Peer, C: Peer>(server: &S, client: &C, keys: &Keyring) -> Outcome {
    /// Odd, above one channel packet and below a window.
    const LENGTH: u64 = 300 * 1024 + 77;

    let common = server.algorithms().common(client.algorithms());
    let name = format!("algorithms, {}", Pair::new(server, client, keys).name());
    let cases = common.suites().into_iter().map(|suite| {
        let pair = Pair::new(server, client, keys).suite(suite.clone());
        Case::new(suite.name(), async move { pair.echo(&[Way::Local, Way::Remote], LENGTH).await.map(drop) })
    });
    run_all(&name, CASE, cases.collect()).await
}

/// Logins by password and by each kind of user key in `kinds`.
///
/// # Errors
/// Names every login that failed.
pub async fn every_login<S: Peer, C: Peer>(
    server: &S,
    client: &C,
    keys: &Keyring,
    kinds: &[KeyKind],
) -> Outcome {
    let name = format!("logins, {}", Pair::new(server, client, keys).name());
    let logins = kinds.iter().map(|&kind| HowToLogIn::Key(kind)).chain([HowToLogIn::Password]);
    let cases = logins.map(|login| {
        let pair = Pair::new(server, client, keys).login(login);
        Case::new(format!("{login:?}"), async move { pair.echo(&[Way::Local], 1000).await.map(drop) })
    });
    run_all(&name, CASE, cases.collect()).await
}

/// Many connections through one session, all open at the same time.
///
/// # Errors
/// When one of them fails.
pub async fn many_connections<S: Peer, C: Peer>(pair: &Pair<'_, S, C>, way: Way, count: usize) -> Outcome {
    const LENGTH: u64 = 20_000;
    const OPENING: usize = 32;

    let target = Target::echo().await?;
    let port = |wanted| (way == wanted).then_some(target.port);
    let tunnel = pair.open(port(Way::Local), port(Way::Remote)).await?;
    let all_open = Barrier::new(count);
    // A listener's queue is shorter than `count`, and a full one is not what is tested here.
    let opening = Semaphore::new(OPENING);
    let run = stream::iter((0..count as u64).map(Ok)).try_for_each_concurrent(None, |number| {
        let (all_open, opening, entry, ending) = (&all_open, &opening, tunnel.entry(way), pair.ending());
        async move {
            let permit = opening.acquire().await?;
            let mut stream = entry?.connect().await?;
            // A byte there and back: a connection that the listener took is not yet a channel.
            first_byte(&mut stream).await?;
            drop(permit);
            all_open.wait().await;
            exchange(stream, number, LENGTH, ending).await
        }
    });
    let what = format!("{count} connections, {way:?}, {}", pair.name());
    tunnel.explain(within(TRANSFER, &what, run).await)?;
    eprintln!("{what}: passed");
    Ok(())
}

/// The client has finished writing, and reads a long reply whole.
///
/// # Errors
/// When the reply is cut or changed.
pub async fn half_close<S: Peer, C: Peer>(pair: &Pair<'_, S, C>) -> Outcome {
    const SEED: u64 = 4;
    const LENGTH: u64 = 10 * 1024 * 1024;

    let target = Target::reply(SEED, LENGTH).await?;
    let tunnel = pair.open(Some(target.port), Some(target.port)).await?;
    for way in [Way::Local, Way::Remote] {
        let run = async { request(tunnel.entry(way)?.connect().await?, SEED, LENGTH).await };
        tunnel.explain(within(TRANSFER, &format!("half-close, {way:?}, {}", pair.name()), run).await)?;
    }
    eprintln!("half-close, {}: passed", pair.name());
    Ok(())
}

async fn first_byte(stream: &mut Box<dyn Duplex>) -> Outcome {
    within(STEP, "the first byte", async {
        stream.write_all(b"!").await?;
        let echoed = stream.read_u8().await?;
        ensure(echoed == b'!', || format!("the first byte came back as {echoed}"))
    })
    .await
}
