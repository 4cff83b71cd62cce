//! Nobody takes what is said: closed pipes and full disks.

use std::process::Stdio;
use std::time::Duration;

use tests::adit;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::process::Process;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::world::{World, after, assert_well};

#[tokio::test]
async fn a_server_whose_pipes_are_closed_serves_on() -> Outcome {
    let world = World::new().await?;
    let mut command = world.server(&["-vvv"])?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut server = command.spawn()?;
    let stdout = server.stdout.take().ok_or_else(|| Failure::new("no stdout"))?;
    let mut lines = BufReader::new(stdout).lines();
    let line = within(STEP, "the first line", async { Ok(lines.next_line().await?) }).await?;
    let line = line.ok_or_else(|| Failure::new("it said nothing"))?;
    let port = adit::port(&serde_json::from_str(&line)?, "addr")?;
    // Both: from now on every line is an error.
    drop((lines, server.stderr.take()));
    for _ in 0..3 {
        world.check(port).await?;
    }
    ensure(matches!(server.try_wait(), Ok(None)), || "the server has ended".to_owned())
}

#[tokio::test]
async fn a_server_whose_log_is_on_a_full_disk_serves_on() -> Outcome {
    let world = World::new().await?;
    let mut command = after("exec 2>/dev/full", &world.server(&["-vvv"])?);
    let (mut server, port) = world.start(&mut command).await?;
    for _ in 0..3 {
        world.check(port).await?;
    }
    assert_well(&mut server)
}

/// The shell's limit stands for a disk on which there is no room.
#[tokio::test]
async fn a_key_file_is_never_lost_to_a_full_disk() -> Outcome {
    let world = World::new().await?;
    let files = tempfile::TempDir::new()?;
    let (key, new) = (files.path().join("key"), files.path().join("new"));
    std::fs::write(&new, "battery staple\n")?;
    let run = |command: &mut tokio::process::Command| Process::spawn("adit keygen", command);
    let key_name = key.display().to_string();
    let code =
        run(&mut world.adit.command(["keygen", "--no-passphrase", "-f", &key_name]))?.exit(STEP).await?;
    ensure(code == Some(0), || format!("keygen ended with {code:?}"))?;
    let before = (std::fs::read(&key)?, std::fs::read_dir(files.path())?.count());
    let change = ["keygen", "-p", "-f", &key_name, "--new-passphrase-file", &new.display().to_string()];
    let mut full = after("trap '' XFSZ; ulimit -f 0", &world.adit.command(change));
    let mut process = run(&mut full)?;
    let code = process.exit(Duration::from_secs(60)).await?;
    ensure(code == Some(8), || format!("it ended with {code:?}"))
        .map_err(|failure| process.explain(failure))?;
    let now = (std::fs::read(&key)?, std::fs::read_dir(files.path())?.count());
    ensure(now == before, || "the key file is not what it was, or something was left behind".to_owned())?;
    // With room it works.
    let code = run(&mut world.adit.command(change))?.exit(STEP).await?;
    ensure(code == Some(0) && std::fs::read(&key)? != before.0, || format!("it ended with {code:?}"))
}
