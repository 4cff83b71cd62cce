//! A child process in a group of its own, that never outlives its handle.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

use crate::outcome::{Failure, Outcome, STEP, within};

/// A running program: its stdout arrives line by line, its stderr is kept as a log, its stdin stays open.
pub struct Process {
    name: String,
    child: Child,
    group: Pid,
    lines: mpsc::UnboundedReceiver<String>,
    log: watch::Receiver<String>,
    // Held open: the peer scripts end when this closes.
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts `command` with its three streams piped.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Outcome<Self> {
        let mut process = Self::start(name, command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        if let Some(stdout) = process.child.stdout.take() {
            let (sender, lines) = mpsc::unbounded_channel();
            process.lines = lines;
            tokio::spawn(async move {
                let mut reader = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = reader.next_line().await {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(process)
    }

    /// Starts `command` with the stdin and stdout it already has; only its log is collected.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn_detached(name: &str, command: &mut Command) -> Outcome<Self> {
        Self::start(name, command)
    }

    fn start(name: &str, command: &mut Command) -> Outcome<Self> {
        command.stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let failed = |why: &str| Failure::new(format!("cannot start {name}: {why}"));
        let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.ok_or_else(|| failed("it has no process id"))?;

        let (log_sender, log) = watch::channel(String::new());
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(async move {
                let mut reader = BufReader::new(stderr);
                let mut line = Vec::new();
                while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
                    log_sender.send_modify(|log| log.push_str(&String::from_utf8_lossy(&line)));
                    line.clear();
                }
            });
        }
        let stdin = child.stdin.take();
        let (_, lines) = mpsc::unbounded_channel();
        Ok(Self { name: name.to_owned(), child, group, lines, log, stdin })
    }

    /// The next line of stdout, or `None` once the program has closed it.
    ///
    /// # Errors
    /// When nothing comes in time.
    pub async fn next_line(&mut self, limit: Duration) -> Outcome<Option<String>> {
        let name = self.name.clone();
        within(limit, &format!("waiting for {name} to say something"), async { Ok(self.lines.recv().await) })
            .await
            .map_err(|failure| self.explain(failure))
    }

    /// The lines of stdout that are there already and that nobody has taken.
    pub fn lines_so_far(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.try_recv().ok()).collect()
    }

    /// Writes a line to the program's stdin.
    ///
    /// # Errors
    /// When it has closed it.
    pub async fn say(&mut self, line: &str) -> Outcome {
        let stdin = self.stdin.as_mut().ok_or_else(|| Failure::new("the program has no stdin"))?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    /// Waits until `find` finds something in the log.
    ///
    /// # Errors
    /// When it finds nothing in time, or the program ends first.
    pub async fn wait_log<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> Outcome<T> {
        let mut log = self.log.clone();
        let doing = format!("waiting for {} to log {what}", self.name);
        let found = within(STEP, &doing, async {
            loop {
                if let Some(found) = find(&log.borrow_and_update()) {
                    return Ok(found);
                }
                log.changed().await.map_err(|_| Failure::new("it ended"))?;
            }
        });
        found.await.map_err(|failure| self.explain(failure))
    }

    /// Its process id, until it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the end; gives the exit code, or `None` when a signal ended it.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn exit(&mut self, limit: Duration) -> Outcome<Option<i32>> {
        let name = self.name.clone();
        let status =
            within(limit, &format!("waiting for {name} to end"), async { Ok(self.child.wait().await?) })
                .await;
        let status = status.map_err(|failure| self.explain(failure))?;
        // The log's writer ends at the end of stderr, which a grandchild may hold open: do not insist.
        let mut log = self.log.clone();
        let _ = tokio::time::timeout(Duration::from_secs(2), async { while log.changed().await.is_ok() {} })
            .await;
        Ok(status.code())
    }

    /// Whether the program still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends `signal` to the program itself.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Outcome {
        Ok(kill_process(self.group, signal)?)
    }

    /// All it wrote to stderr so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// `failure` with this program's log below it.
    #[must_use]
    pub fn explain(&self, failure: Failure) -> Failure {
        failure.with_log(&self.name, &self.log.borrow())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when the whole group has ended, which is what is wanted.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

/// Runs `command` to its end with `input` on stdin; gives its stdout.
///
/// # Errors
/// When it cannot be started, fails, or takes longer than `limit`.
pub async fn pipe_through(
    name: &str,
    command: &mut Command,
    input: Vec<u8>,
    limit: Duration,
) -> Outcome<Vec<u8>> {
    let mut process = Process::start(name, command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let pipes = process.stdin.take().zip(process.child.stdout.take());
    let (mut stdin, mut stdout) = pipes.ok_or_else(|| Failure::new(format!("{name} has no pipes")))?;
    let run = within(limit, name, async {
        let write = async move {
            // A program that ends early breaks the pipe; its exit code says why.
            let _ = stdin.write_all(&input).await;
            let _ = stdin.shutdown().await;
        };
        let mut output = Vec::new();
        let (read, ()) = tokio::join!(stdout.read_to_end(&mut output), write);
        read?;
        Ok(output)
    });
    let output = run.await.map_err(|failure| process.explain(failure))?;
    match process.exit(STEP).await? {
        Some(0) => Ok(output),
        code => Err(process.explain(Failure::new(format!("{name} ended with {code:?}")))),
    }
}
