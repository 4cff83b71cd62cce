//! A host and a client without any set-up, and links that are not right.

use crate::everything_passes;
use rustix::process::Signal;
use tests::endpoint::reserve_port;
use tests::outcome::{Failure, Outcome, STEP, ensure};
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::{Ending, Target, exchange};
use tests::tunnel::{COMEBACK, Machine, on_relay, with};

async fn embedded(protocol: &str) -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    let mut host = machine.host(&[&port, "--listen", "127.0.0.1:0", "--protocol", protocol]).await?;
    ensure(host.link.contains("/t/") && host.link.contains("#hk="), || host.link.clone())?;
    let client = machine.connect(&[&host.link, "--protocol", protocol]).await?;
    // The number is taken: the target itself has it.
    ensure(client.ports.iter().any(|(remote, local)| *remote == target.port && local != remote), || {
        format!("{:?}", client.ports)
    })?;
    everything_passes(&client.local(target.port)?, Ending::HalfClose).await?;
    client.stop().await?;
    host.process.signal(Signal::TERM)?;
    ensure(host.process.exit(STEP).await? == Some(0), || "the host did not end well".into())
}

#[tokio::test]
async fn host_and_connect_without_any_set_up() -> Outcome {
    embedded("v1").await
}

#[tokio::test]
async fn the_same_by_the_second_version() -> Outcome {
    embedded("v2").await
}

#[tokio::test]
async fn a_link_that_is_not_right_is_refused_by_name() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let host = machine.host(&[&target.port.to_string(), "--listen", "127.0.0.1:0"]).await?;
    let (base, rest) = host.link.split_once("#hk=").ok_or_else(|| Failure::new("no key in the link"))?;
    let (key, token) = rest.split_once("&t=").ok_or_else(|| Failure::new("no token in the link"))?;
    let other = if key.starts_with('A') { 'B' } else { 'A' };
    let wrong_key = format!("{base}#hk={other}{}&t={token}", &key[1..]);
    let no_tunnel = format!("{}x#hk={key}&t={token}", base);
    let free = reserve_port().await?;
    for (link, code, words) in [
        (wrong_key, 4, "somebody else is at the other end"),
        (format!("{base}#hk={key}"), 3, "401"),
        (format!("{base}#hk={key}&t={}x", token), 3, "token"),
        (format!("{base}#t={token}"), 2, "--allow-unpinned-host"),
        (format!("{base}#hk={}&t={token}", &key[1..]), 2, "43 characters"),
        (no_tunnel, 7, "404"),
        (format!("http://127.0.0.1:{free}/t/xyz#hk={key}"), 5, "cannot reach the relay"),
        ("fun-hill".into(), 2, "no link"),
    ] {
        let (exit, message) = machine.refused(&[&link]).await?;
        ensure(exit.code == Some(code) && message.contains(words), || format!("{link}: {exit:?}"))?;
        ensure(!message.contains(token), || format!("the token is in {message}"))?;
    }
    // What people and their mail programs make of it is understood.
    for link in [host.link.replacen("http:", "HTTP:", 1), format!("\u{201c}{}\u{201d}", host.link)] {
        machine.connect(&[&link]).await?.stop().await?;
    }
    // A relay does not tell apart what does not exist and what the token is not for.
    ensure(!host.process.log().contains(token), || "the token is in the log".into())
}

#[tokio::test]
async fn another_host_of_the_tunnel_is_not_taken_for_the_first() -> Outcome {
    let (first, second, target) = (Machine::new().await?, Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    let relay = TestRelay::start(&first.adit).await?;
    let arguments = on_relay(&relay);
    let arguments = with(&[&port, "--tunnel", TUNNEL], &arguments);
    let mut host = first.host(&arguments).await?;
    let mut client = first.connect(&[&host.link]).await?;
    let other = second.host(&arguments).await?;
    // The first one makes way and says for whom.
    let code = host.process.exit(STEP).await?;
    ensure(code == Some(7), || format!("the first host ended with {code:?}"))?;
    // Who is connected notices, and so does who comes.
    let code = client.process.exit(COMEBACK).await?;
    ensure(code == Some(4), || format!("the client ended with {code:?}"))?;
    let (exit, message) = first.refused(&[&host.link]).await?;
    ensure(exit.code == Some(4) && message.contains("somebody else"), || format!("{exit:?}"))?;
    let client = second.connect(&[&other.link]).await?;
    exchange(client.local(target.port)?.connect().await?, 1, 1024, Ending::HalfClose).await
}
