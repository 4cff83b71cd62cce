//! What a command was run for reaches its reader, or the exit code says that it did not.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]
#![allow(dead_code, reason = "this file does not use everything that the helpers can do")]

mod support;
mod web_server;

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use support::Home;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use web_server::web_server;

/// A relay with more tunnels than a pipe holds.
async fn relay_of(count: usize) -> String {
    let tunnel = |number: usize| json!({ "tunnelId": format!("t{number}"), "description": "x".repeat(1000) });
    let tunnels: Vec<_> = (0..count).map(tunnel).collect();
    let body = json!({ "value": [{ "regionName": "here", "value": tunnels }] });
    web_server("200 OK\r\nContent-Type: application/json", &body.to_string()).await
}

#[tokio::test]
async fn a_slow_reader_gets_every_line() {
    let home = Home::new();
    let url = relay_of(300).await;
    for form in [&["--json"][..], &[]] {
        let mut child = home.command(&[&["tunnel", "list", "--relay", &url], form].concat()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut count = 0;
        while lines.next_line().await.unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 300, "{form:?}");
        assert_eq!(child.wait().await.unwrap().code(), Some(0));
    }
}

#[tokio::test]
async fn who_has_read_enough_may_close_the_pipe() {
    let home = Home::new();
    let url = relay_of(300).await;
    for form in [&["--json"][..], &[]] {
        let mut child = home.command(&[&["tunnel", "list", "--relay", &url], form].concat()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next_line().await.unwrap().is_some());
        drop(lines);
        let ended = child.wait_with_output().await.unwrap();
        assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]), "{form:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_no_success() {
    let home = Home::new();
    let url = relay_of(1).await;
    let key = home.text("key");
    assert_eq!(home.run(&["keygen", "-f", &key]).await.code, Some(0));
    let new = home.text("new");
    let commands: [&[&str]; 5] = [
        &["tunnel", "list", "--relay", &url],
        &["tunnel", "show", "t0", "--relay", &url],
        &["keygen", "--fingerprint", "-f", &key],
        &["hash-password"],
        &["man"],
    ];
    let json = commands[..4].iter().map(|command| [command, &["--json"][..]].concat());
    let made = vec!["keygen", "--json", "-f", &new];
    for command in commands.iter().map(|command| command.to_vec()).chain(json).chain([made]) {
        let password = File::open(home.write("password", "secret\n")).unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut child = home.command(&command).stdin(password).stdout(Stdio::from(full)).spawn().unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(1), "{command:?}");
    }
}
