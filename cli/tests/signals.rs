//! A signal ends a command that waits for somebody to write to its input.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]
#![allow(dead_code, reason = "this file does not use everything that the helpers can do")]

mod support;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::Signal;
use support::{Home, Running};

/// For a program to be where it waits, or to end where it is not to.
const SETTLED: Duration = Duration::from_millis(500);
/// A program is started in far less.
const STARTED: Duration = Duration::from_secs(30);
/// A drain takes none of it.
const ENDED: Duration = Duration::from_secs(15);

/// A pipe that nobody writes to.
fn pipe(home: &Home, name: &str) -> String {
    let path = home.text(name);
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

/// Waits until somebody reads from the pipe, who then has nobody else to wait for.
async fn writer(pipe: &str) -> File {
    let opened = async {
        loop {
            // A pipe without a reader refuses a writer that does not wait.
            match File::options().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(pipe) {
                Ok(file) => return file,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(STARTED, opened).await.expect("nobody reads")
}

/// Waits until a program has something of its own to do when the signal comes.
#[cfg(target_os = "linux")]
async fn catches(id: u32, signal: Signal) {
    let caught = async {
        loop {
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            if u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(STARTED, caught).await.expect("the signal is not caught");
    tokio::time::sleep(SETTLED).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_link_that_does_not_come() {
    let home = Home::new();
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = home.command(&["connect", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        catches(child.id().unwrap(), signal).await;
        let id = i32::try_from(child.id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
        let ended = tokio::time::timeout(ENDED, child.wait()).await;
        assert_eq!(ended.expect("it does not end").unwrap().code(), Some(0), "{signal:?}");
        drop(stdin);
    }
}

#[tokio::test]
async fn files_that_do_not_come() {
    let home = Home::new();
    let link = "http://127.0.0.1:9/t/abc";
    let file = pipe(&home, "pipe");
    let key = home.write("key.pem", "");
    let commands: [&[&str]; 7] = [
        &["connect", link, "--allow-unpinned-host", "--token-file", &file],
        &["host", "--ports-file", &file],
        &["host", "3000", "--relay", "http://127.0.0.1:9", "--token-file", &file],
        &["relay", "--listen", "127.0.0.1:0", "--tls-cert", &file, "--tls-key", &key],
        &["forward", "ada@127.0.0.1:9", "--known-hosts", &file],
        // As `--password-file <(program)` is one.
        &["forward", "ada@127.0.0.1:9", "-D", "0", "--no-agent", "--password-file", &file],
        &["serve", "--listen", "127.0.0.1:0", "--permit-open", "any", "--authorized-keys", &file],
    ];
    for command in commands {
        let mut running = home.start(command);
        let writer = writer(&file).await;
        running.signal(Signal::TERM);
        assert_eq!(running.event("closed").await["reason"], "SIGTERM", "{command:?}");
        let ended = tokio::time::timeout(ENDED, running.exit_code()).await;
        assert_eq!(ended.expect(command[0]), Some(0), "{command:?}");
        drop(writer);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_closed_terminal_ends_a_forward_which_leaves_nothing_behind() {
    let home = Home::new();
    let (_server, address) = home.serve(&[]).await;
    let (target, socket) = (format!("ada@{address}"), home.text("socket"));
    let (known, local) = (home.text("known_hosts"), format!("{socket}:127.0.0.1:9"));
    let arguments = ["forward", &target, "--known-hosts", &known, "--accept-new", "-L", &local];
    let secret = [("ADIT_PASSWORD", "secret")];
    let start = |starter: &[&str]| {
        let mut command = home.command_by(starter, &arguments);
        Running::of(command.arg("--json").envs(secret).stderr(Stdio::null()).spawn().unwrap())
    };
    // These tests may run where the signal is ignored.
    let mut client = start(&["env", "--default-signal=HUP"]);
    client.event("ready").await;
    assert!(home.path("socket").exists());
    let mut second = home.command(&arguments);
    let refused = second.env("ADIT_PASSWORD", "secret").output().await.unwrap();
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(6) && why.contains("remove the file"), "{why}");
    client.signal(Signal::HUP);
    assert_eq!(client.event("closed").await["reason"], "SIGHUP");
    assert_eq!(client.exit_code().await, Some(0));
    assert!(!home.path("socket").exists());

    let mut kept = start(&["nohup"]);
    kept.event("ready").await;
    kept.signal(Signal::HUP);
    tokio::time::sleep(SETTLED).await;
    assert!(kept.child.try_wait().unwrap().is_none());
    kept.signal(Signal::TERM);
    assert_eq!(kept.event("closed").await["reason"], "SIGTERM");
}
