//! `adit relay` as a process, a link to it that can be cut, and hosts and clients of the SDK on it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::adit::{Adit, event, port};
use crate::endpoint::{connect, listen, reserve_port};
use crate::outcome::{Failure, Outcome, STEP, ensure, within};
use crate::peers::dev_tunnels::DevTunnels;
use crate::process::Process;

/// A relay with a data directory of its own, behind [`Links`].
pub struct TestRelay {
    adit: Adit,
    folder: TempDir,
    process: Process,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// What leads to it for everybody else.
    pub links: Links,
}

impl TestRelay {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn start(adit: &Adit) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let links = Links::open().await?;
        // It may be started again there, and nobody is to take its port meanwhile.
        let (process, port) = run(adit, &folder, reserve_port().await?, &links).await?;
        links.lead_to(port);
        Ok(Self { adit: adit.clone(), folder, process, port, links })
    }

    /// The WebSocket of a host of [`TUNNEL`] that says nothing.
    ///
    /// # Errors
    /// When the relay does not take it.
    pub async fn silent_host(&self) -> Outcome<TcpStream> {
        let token = self.admin_token()?;
        let mut stream = connect(self.port).await?;
        let head = format!(
            "GET /t/{TUNNEL}/host HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: tunnel-relay-host-v2-dev\r\nAuthorization: tunnel {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        within(STEP, "an upgrade", async {
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(stream.read_u8().await?);
            }
            ensure(answer.starts_with(b"HTTP/1.1 101 "), || String::from_utf8_lossy(&answer).into_owned())
        })
        .await?;
        Ok(stream)
    }

    /// Ends it as a broken machine would, or by SIGTERM, and gives its exit code.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self, signal: Signal) -> Outcome<Option<i32>> {
        self.process.signal(signal)?;
        self.process.exit(STEP).await
    }

    /// Starts it again, on the same port and with the same data.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn restart(&mut self) -> Outcome {
        let (process, _) = run(&self.adit, &self.folder, self.port, &self.links).await?;
        self.process = process;
        Ok(())
    }

    /// Its process id, until it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The URL that everybody is given.
    #[must_use]
    pub fn url(&self) -> String {
        self.links.url()
    }

    /// The operator's token.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn admin_token(&self) -> Outcome<String> {
        Ok(std::fs::read_to_string(self.token_file())?.trim().to_owned())
    }

    /// The operator's token's file.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.folder.path().join("data/admin-token")
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it has taken down.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has logged these words: the log comes by a pipe, after what it is about or before it.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn wait_log(&self, words: &str) -> Outcome {
        let doing = format!("waiting for the relay to log {words:?}");
        let waiting = within(STEP, &doing, async {
            while !self.log().contains(words) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        });
        waiting.await.map_err(|failure| self.process.explain(failure))
    }

    /// `adit` with these arguments, as the operator; gives its only event, if it has one.
    ///
    /// # Errors
    /// When it fails.
    pub async fn operate(&self, arguments: &[&str]) -> Outcome<Value> {
        let mut command = self.adit.command(arguments);
        command.args(["--json", "--relay", &format!("http://127.0.0.1:{}", self.port), "--token-file"]);
        command.arg(self.token_file());
        let exit = crate::adit::run_to_end(&mut command, STEP).await?;
        ensure(exit.code == Some(0), || format!("adit {arguments:?} ended with {exit:?}"))?;
        Ok(exit.events.into_iter().next().unwrap_or_default())
    }

    /// A host of the SDK that offers `port`, ready.
    ///
    /// # Errors
    /// When it does not connect.
    pub async fn host(&self, sdk: &DevTunnels, version: Option<u8>, e2e: bool, port: u16) -> Outcome<SdkEnd> {
        let settings = json!({
            "role": "host", "url": self.url(), "tunnel": TUNNEL, "ports": [port], "e2e": e2e, "trace": true,
            "user_token": self.admin_token()?,
        });
        SdkEnd::start(sdk.relay(&settings, version)?).await
    }

    /// A client of the SDK for `port`, ready.
    ///
    /// # Errors
    /// When it does not connect.
    pub async fn client(
        &self,
        sdk: &DevTunnels,
        version: Option<u8>,
        e2e: bool,
        port: u16,
    ) -> Outcome<SdkEnd> {
        let settings = json!({
            "role": "client", "url": self.url(), "tunnel": TUNNEL, "ports": [port], "e2e": e2e, "trace": true,
            "user_token": self.admin_token()?,
        });
        SdkEnd::start(sdk.relay(&settings, version)?).await
    }

    /// A client of the SDK that has nothing but this token.
    ///
    /// # Errors
    /// When it does not connect.
    pub async fn client_with_token(
        &self,
        sdk: &DevTunnels,
        version: u8,
        token: &str,
        port: u16,
    ) -> Outcome<SdkEnd> {
        let settings = json!({
            "role": "client", "url": self.url(), "tunnel": TUNNEL, "ports": [port], "connect_token": token,
        });
        SdkEnd::start(sdk.relay(&settings, Some(version))?).await
    }
}

/// The one tunnel of a test.
pub const TUNNEL: &str = "interop-test";

async fn run(adit: &Adit, folder: &TempDir, port_wanted: u16, links: &Links) -> Outcome<(Process, u16)> {
    let mut command = adit.command(["relay", "--json", "--public-url", &links.url()]);
    command.args(["--listen", &format!("127.0.0.1:{port_wanted}"), "--data-dir"]);
    command.arg(folder.path().join("data"));
    // The loudest log there is, in which no payload may turn up.
    command.env("ADIT_LOG", "trace,hyper=info");
    let mut process = Process::spawn("adit relay", &mut command)?;
    let listening = event(&mut process, "listening").await?;
    ensure(listening.get("public_url").and_then(Value::as_str) == Some(&links.url()), || {
        format!("{listening} names another URL")
    })?;
    let bound = port(&listening, "addr")?;
    Ok((process, bound))
}

/// A host or a client of the SDK.
pub struct SdkEnd {
    process: Process,
    /// What it said when it was ready.
    pub ready: Value,
    /// The statuses that it went through, with the error of each.
    pub statuses: Vec<(String, String)>,
}

impl SdkEnd {
    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn start(process: Process) -> Outcome<Self> {
        let mut end = Self { process, ready: Value::Null, statuses: Vec::new() };
        end.ready = end.next("ready").await?;
        Ok(end)
    }

    /// Where the client listens for `port`.
    ///
    /// # Errors
    /// When it does not.
    pub fn local_port(&self, port: u16) -> Outcome<u16> {
        let local =
            self.ready.get("ports").and_then(|ports| ports.get(port.to_string())).and_then(Value::as_u64);
        local
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| Failure::new(format!("{} has no {port}", self.ready)))
    }

    /// Asks the client where it listens now.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn ask_ports(&mut self) -> Outcome {
        self.process.say("ports").await?;
        self.ready = self.next("ports").await?;
        Ok(())
    }

    /// The token that the host was given for this scope.
    ///
    /// # Errors
    /// When it was given none.
    pub fn token(&self, scope: &str) -> Outcome<String> {
        let token = self.ready.get("tokens").and_then(|tokens| tokens.get(scope)).and_then(Value::as_str);
        token.map(str::to_owned).ok_or_else(|| Failure::new(format!("no token for {scope}")))
    }

    /// Waits until its status is this; the error that came with it.
    ///
    /// # Errors
    /// When it ends before, or takes longer than `limit`.
    pub async fn status(&mut self, wanted: &str, limit: Duration) -> Outcome<String> {
        let doing = format!("waiting until the SDK is {wanted}");
        let found = within(limit, &doing, async {
            loop {
                let event = self.next("status").await?;
                let field =
                    |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                if field("status") == wanted {
                    return Ok(field("error"));
                }
            }
        });
        let found = found.await;
        found.map_err(|failure| self.explain(failure.while_doing(&format!("{:?}", self.statuses))))
    }

    /// Whether it says nothing of its connection for this long.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn is_quiet(&mut self, time: Duration) -> Outcome<bool> {
        match tokio::time::timeout(time, self.next("status")).await {
            Err(_) => Ok(true),
            Ok(said) => said.map(|_| false),
        }
    }

    /// All it traced, for a failure.
    #[must_use]
    pub fn explain(&self, failure: Failure) -> Failure {
        self.process.explain(failure)
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn quit(mut self) -> Outcome {
        self.process.say("quit").await?;
        let code = self.process.exit(STEP).await?;
        ensure(code == Some(0), || format!("the SDK ended with {code:?}"))
    }

    async fn next(&mut self, name: &str) -> Outcome<Value> {
        /// The SDK waits for 6.5 and 13 s between tries when a relay tells it that it is busy.
        const PATIENCE: Duration = Duration::from_secs(60);
        while let Some(line) = self.process.next_line(PATIENCE).await? {
            // The SDK says things of its own on stdout.
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            let field = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            match field("event").as_str() {
                "status" => self.statuses.push((field("status"), field("error"))),
                "error" => return Err(self.process.explain(Failure::new(field("message")))),
                _ => {}
            }
            if field("event") == name {
                return Ok(event);
            }
        }
        Err(self.process.explain(Failure::new(format!("the SDK ended before it was {name}"))))
    }
}

/// TCP connections to a relay that can be cut, those of hosts and those of clients apart.
pub struct Links {
    port: u16,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    target: u16,
    hold: bool,
    page: bool,
    next: u64,
    open: HashMap<u64, (String, AbortHandle)>,
}

impl Links {
    async fn open() -> Outcome<Self> {
        let (listener, port) = listen().await?;
        let state = Arc::new(Mutex::new(State::default()));
        let task = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Ok(Self { port, state, task })
    }

    fn lead_to(&self, port: u16) {
        lock(&self.state).target = port;
    }

    /// Whether connections wait for a relay that is away, as a proxy in front of it can make them, or are reset.
    pub fn hold(&self, hold: bool) {
        lock(&self.state).hold = hold;
    }

    /// Whether new connections are answered with a web page, as a network does that wants a log-in first.
    pub fn page(&self, page: bool) {
        lock(&self.state).page = page;
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Cuts every connection whose path ends like this: `/client` or `/host`. How many there were.
    #[must_use]
    pub fn cut(&self, path: &str) -> usize {
        let mut state = lock(&self.state);
        let hit: Vec<u64> = state
            .open
            .iter()
            .filter(|(_, (open, _))| open.ends_with(path))
            .map(|(number, _)| *number)
            .collect();
        for number in &hit {
            if let Some((_, task)) = state.open.remove(number) {
                task.abort();
            }
        }
        hit.len()
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.task.abort();
        let _ = self.cut("");
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Held until it is on the list, on which the task notes where it leads.
        let mut listed = lock(&state);
        listed.next += 1;
        let (of_task, number) = (Arc::clone(&state), listed.next);
        let task = tokio::spawn(async move {
            // A connection that breaks is what the tests are about.
            let _ = carry(stream, &of_task, number).await;
            lock(&of_task).open.remove(&number);
        });
        listed.open.insert(number, (String::new(), task.abort_handle()));
    }
}

async fn carry(mut near: TcpStream, state: &Mutex<State>, number: u64) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') {
        if near.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let target = {
        let mut state = lock(state);
        let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
        if let Some((open, _)) = state.open.get_mut(&number) {
            *open = path;
        }
        state.target
    };
    if lock(state).page {
        let page =
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\nConnection: close\r\n\r\n<p>";
        near.write_all(page.as_bytes()).await?;
        return near.shutdown().await;
    }
    let mut far = loop {
        if let Some(far) = answering(&mut near, &mut head, target).await? {
            break far;
        }
        if !lock(state).hold {
            // As if nobody listened here either: a reset, not an end without an answer.
            let _ = near.set_zero_linger();
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

/// A connection that the request was sent to and that has begun to answer. A relay that is killed has none, even where the
/// system has still taken the connection in its name: its sockets are closed one after the other.
async fn answering(
    near: &mut TcpStream,
    request: &mut Vec<u8>,
    target: u16,
) -> std::io::Result<Option<TcpStream>> {
    let Ok(mut far) = connect(target).await else { return Ok(None) };
    let mut sent = 0;
    let mut answer = vec![0; 16 * 1024];
    loop {
        if far.write_all(request.get(sent..).unwrap_or_default()).await.is_err() {
            return Ok(None);
        }
        sent = request.len();
        tokio::select! {
            count = far.read(&mut answer) => match count {
                Ok(count) if count > 0 => {
                    near.write_all(answer.get(..count).unwrap_or_default()).await?;
                    return Ok(Some(far));
                }
                _ => return Ok(None),
            },
            more = near.read_buf(request) => if more? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            },
        }
    }
}
