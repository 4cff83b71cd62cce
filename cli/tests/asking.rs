//! Who is asked, how, and how long that may take.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "the other tests use the rest of it")]
mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use support::Home;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};

/// `ssh-agent` at this path; `None` if it is not installed.
async fn agent(path: &Path) -> Option<Child> {
    let mut command = Command::new("ssh-agent");
    let agent = command.args(["-D", "-a"]).arg(path).stdout(Stdio::null()).kill_on_drop(true).spawn().ok()?;
    for _ in 0..100 {
        if UnixStream::connect(path).await.is_ok() {
            return Some(agent);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the agent does not listen");
}

/// Passes requests on to the agent at `real`, those to sign after a while.
fn hesitate(listener: UnixListener, real: PathBuf, pause: Duration) {
    const SIGN_REQUEST: u8 = 13;
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = UnixStream::connect(&real).await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 5];
                near.read_exact(&mut head).await?;
                if head[4] == SIGN_REQUEST {
                    tokio::time::sleep(pause).await;
                }
                far.write_all(&head).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
}

#[tokio::test]
async fn the_time_that_an_agent_takes_to_sign_is_not_counted_against_the_server() {
    let home = Home::new();
    let (key, real, slow) = (home.text("key"), home.path("real"), home.text("slow"));
    let Some(_agent) = agent(&real).await else { return eprintln!("skipped: there is no ssh-agent") };
    assert_eq!(home.run(&["keygen", "-f", &key]).await.code, Some(0));
    let mut add = Command::new("ssh-add");
    let added = add.args(["-q", &key]).env("SSH_AUTH_SOCK", &real).status().await.unwrap();
    assert!(added.success());
    hesitate(UnixListener::bind(&slow).unwrap(), real, Duration::from_secs(4));
    let (_server, address) = home.serve(&["--authorized-keys", &format!("{key}.pub")]).await;
    let target = format!("ada@{address}");
    let arguments = ["forward", &target, "--accept-new", "-D", "0", "--connect-timeout", "3"];
    let mut client = home.start_with(&arguments, &[("SSH_AUTH_SOCK", &slow)]);
    let hint = client.event("warning").await;
    assert!(hint["message"].as_str().unwrap().contains(&slow), "{hint}");
    client.event("ready").await;
}

#[tokio::test]
async fn an_agents_key_is_found_by_either_half_of_its_file_and_no_passphrase_is_asked_for() {
    let home = Home::new();
    let (key, public, socket) = (home.text("key"), home.text("key.pub"), home.path("agent"));
    let Some(_agent) = agent(&socket).await else { return eprintln!("skipped: there is no ssh-agent") };
    assert_eq!(home.run(&["keygen", "-f", &key]).await.code, Some(0));
    let mut add = Command::new("ssh-add");
    let added = add.args(["-q", &key]).env("SSH_AUTH_SOCK", &socket).status().await.unwrap();
    assert!(added.success());
    let authorized = home.text("authorized");
    std::fs::copy(&public, &authorized).unwrap();
    // From here on nobody gets at the private half without the passphrase.
    let phrase = home.write("phrase", "three unlikely words\n");
    assert_eq!(home.run(&["keygen", "-p", "-f", &key, "--new-passphrase-file", &phrase]).await.code, Some(0));
    let (_server, address) = home.serve(&["--authorized-keys", &authorized]).await;
    let target = format!("ada@{address}");
    let arguments = |key| ["forward", &target, "--accept-new", "-D", "0", "-i", key].map(str::to_owned);
    let from_home = "~/key".to_owned();
    for (named, removed) in [(&key, &public), (&from_home, &public), (&public, &key)] {
        let kept = std::fs::read(removed).unwrap();
        std::fs::remove_file(removed).unwrap();
        let arguments = arguments(named);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut client = home.start_with(&arguments, &[("SSH_AUTH_SOCK", &socket.display().to_string())]);
        client.event("ready").await;
        std::fs::write(removed, kept).unwrap();
    }
    // Without an agent the public half is no use, and that is what is said.
    let arguments = arguments(&public);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let exit = home.run(&arguments).await;
    assert!(exit.code == Some(8) && exit.stderr.contains("no agent has its private half"), "{exit:?}");
}

#[tokio::test]
async fn a_password_typed_for_a_script_is_not_shown() {
    let command = format!("{} hash-password --json", env!("CARGO_BIN_EXE_adit"));
    // A terminal for it.
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).kill_on_drop(true);
    let Ok(said) = script.output().await else { return eprintln!("skipped: there is no script(1)") };
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.code() == Some(2) && text.contains("stdin, which is a terminal"), "{text}");
}
