//! Tokens that are taken back, or replaced.

use tests::adit::event_within;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::Target;
use tests::tunnel::{COMEBACK, Machine, on_relay, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn a_token_that_is_taken_back_ends_what_goes_on_with_it() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let arguments = on_relay(&relay);
    let host = machine.host(&with(&[&target.port.to_string(), "--tunnel", TUNNEL], &arguments)).await?;
    let mut client = machine.connect(&[&host.link]).await?;
    let mut open = client.local(target.port)?.connect().await?;
    // As the host has printed it: nobody has to find the token in it.
    let mut revoke = machine.command(&with(&["token", "revoke"], &arguments));
    let link = format!("'{}'\n", host.link).into_bytes();
    tests::process::pipe_through("adit token revoke", &mut revoke, link, STEP).await?;
    let code = client.process.exit(COMEBACK).await?;
    ensure(code == Some(3), || format!("adit connect ended with {code:?}"))?;
    let ended = within(STEP, "the end of the connection", async { Ok(open.read_u8().await) }).await?;
    ensure(ended.is_err(), || "the connection goes on".into())
}

/// A token that is about to end is replaced in its file; nobody has to be told.
#[tokio::test]
async fn a_token_that_was_replaced_in_its_file_ends_nothing() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let arguments = on_relay(&relay);
    let host = machine.host(&with(&[&target.port.to_string(), "--tunnel", TUNNEL], &arguments)).await?;
    let (link, first) = host.link.split_once("&t=").ok_or_else(|| Failure::new("no token in the link"))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, first)?;
    let mut client = machine.connect(&[link, "--token-file", &file.to_string_lossy()]).await?;
    let mut open = client.local(target.port)?.connect().await?;
    let made = relay.operate(&["token", "create", "--tunnel", TUNNEL, "--scope", "connect"]).await?;
    let second = made["token"].as_str().ok_or_else(|| Failure::new(format!("no token: {made}")))?;
    std::fs::write(&file, second)?;
    let mut revoke = machine.command(&with(&["token", "revoke"], &arguments));
    tests::process::pipe_through("adit token revoke", &mut revoke, first.into(), STEP).await?;
    event_within(COMEBACK, &mut client.process, "disconnected").await?;
    event_within(COMEBACK, &mut client.process, "resumed").await?;
    open.write_all(b"still there").await?;
    let mut back = [0; 11];
    within(STEP, "the echo", async { Ok(open.read_exact(&mut back).await?) }).await?;
    ensure(&back == b"still there", || format!("{back:?}"))?;
    client.stop().await
}
