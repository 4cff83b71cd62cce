//! Runs the binary in a home of its own and reads its events.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A home directory and what is in it.
pub(crate) struct Home(TempDir);

/// A command that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.text(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_by(&[], arguments)
    }

    /// The same, which another program becomes.
    pub(crate) fn command_by(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let words = [starter, &[env!("CARGO_BIN_EXE_adit")], arguments].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("HOME", self.0.path()).kill_on_drop(true);
        for name in
            ["ADIT_PASSWORD", "ADIT_LOG", "SSH_AUTH_SOCK", "XDG_DATA_HOME", "ADIT_RELAY", "ADIT_TOKEN"]
        {
            command.env_remove(name);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Exit {
        let output = tokio::time::timeout(LIMIT, self.command(arguments).output()).await;
        let output = output.expect("it does not end").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Exit { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts a command that prints events.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        Running::of(command.arg("--json").stderr(Stdio::inherit()).spawn().unwrap())
    }

    /// A server that knows the user `ada` by the password `secret`; and the address it listens on.
    pub(crate) async fn serve(&self, arguments: &[&str]) -> (Running, String) {
        let user = format!("ada:{}", self.write("password", "secret\n"));
        let fixed = ["serve", "--listen", "127.0.0.1:0", "--permit-open", "any", "--user", &user];
        let mut server = self.start(&[&fixed[..], arguments].concat());
        let listening = server.event("listening").await;
        let address = listening["addr"].as_str().unwrap().to_owned();
        (server, address)
    }
}

impl Running {
    /// A command that was started some other way, with a pipe for stdout.
    pub(crate) fn of(mut child: Child) -> Self {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next event of this name; others are passed over.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        loop {
            let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await;
            let line = line.expect("no event in time").unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended before the event {name}"));
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        tokio::time::timeout(LIMIT, self.child.wait()).await.expect("it does not end").unwrap().code()
    }
}

const LIMIT: Duration = Duration::from_secs(30);
