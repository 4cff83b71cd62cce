//! Who may come.

use tests::adit::{event, run_to_end, text};
use tests::outcome::{Failure, Outcome, STEP, ensure};
use tests::process::Process;
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::{Ending, Target, exchange};
use tests::tunnel::{Machine, on_relay, with};

#[tokio::test]
async fn everybody_may_come_where_that_is_allowed() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    let host = machine.host(&[&port, "--listen", "127.0.0.1:0", "--allow", "anonymous"]).await?;
    ensure(!host.link.contains("t="), || host.link.clone())?;
    let client = machine.connect(&[&host.link]).await?;
    exchange(client.local(target.port)?.connect().await?, 1, 1024, Ending::HalfClose).await?;
    // Rules that could let nobody in are mistakes.
    for rule in ["user:bob", "10.0.0.0/99"] {
        let mut command = machine.command(&["host", "--json", &port, "--allow", rule]);
        let exit = run_to_end(&mut command, STEP).await?;
        ensure(exit.code == Some(2), || format!("{rule}: {exit:?}"))?;
    }
    Ok(())
}

/// What a host allows lasts as long as a host says so; the rules that others have made stay, and are said where they count.
#[tokio::test]
async fn rules_are_their_makers() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let (port, arguments) = (target.port.to_string(), on_relay(&relay));
    let arguments = with(&[&port, "--tunnel", TUNNEL], &arguments);
    let rules = async || -> Outcome<Vec<String>> {
        let shown = relay.operate(&["tunnel", "access", TUNNEL]).await?;
        let entries = shown["entries"].as_array().cloned().unwrap_or_default();
        Ok(entries.iter().map(|rule| format!("{} {}", rule["isDeny"] == true, rule["type"])).collect())
    };
    let (others, ours) = (["false \"Users\"", "true \"IPAddressRanges\""], "false \"Anonymous\"");
    relay.operate(&["tunnel", "create", TUNNEL]).await?;
    let theirs = ["tunnel", "access", TUNNEL, "--allow", "user:bob", "--deny", "192.0.2.0/24"];
    relay.operate(&theirs).await?;
    let host = machine.host(&[&arguments[..], &["--allow", "anonymous"]].concat()).await?;
    let found = rules().await?;
    ensure(found == [others[0], others[1], ours], || format!("with --allow: {found:?}"))?;
    machine.connect(&[&host.link]).await?.stop().await?;
    drop(host);
    let host = machine.host(&arguments).await?;
    let found = rules().await?;
    ensure(found == others, || format!("without --allow: {found:?}"))?;
    let (open, _) = host.link.split_once("&t=").ok_or_else(|| Failure::new("no token in the link"))?;
    let (exit, _) = machine.refused(&[open]).await?;
    ensure(exit.code == Some(3), || format!("without a token: {exit:?}"))?;
    drop(host);

    // Said twice it is one rule.
    for _ in 0..2 {
        relay.operate(&["tunnel", "access", TUNNEL, "--allow", "anonymous"]).await?;
    }
    let mut host = Process::spawn("adit host", machine.command(&["host", "--json"]).args(&arguments))?;
    let warned = event(&mut host, "warning").await?;
    let message = text(&warned, "message")?;
    ensure(message.contains("everybody") && message.contains("adit tunnel access"), || warned.to_string())?;
    event(&mut host, "ready").await?;
    let found = rules().await?;
    ensure(found == [others[0], others[1], ours], || format!("by somebody else: {found:?}"))
}

/// A host that may not see the rules says so, once, rather than nothing about one that lets everybody in.
#[tokio::test]
async fn rules_that_cannot_be_seen_are_said() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    relay.operate(&["tunnel", "create", TUNNEL]).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    for (scopes, sees_them) in [("host", false), ("host manage", true)] {
        let scopes = scopes.split(' ').flat_map(|scope| ["--scope", scope]);
        let words: Vec<&str> = ["token", "create", "--tunnel", TUNNEL].into_iter().chain(scopes).collect();
        let made = relay.operate(&words).await?;
        std::fs::write(&file, text(&made, "token")?)?;
        let (port, url, file) = (target.port.to_string(), relay.url(), file.display().to_string());
        let words = ["host", "--json", &port, "--tunnel", TUNNEL, "--relay", &url, "--token-file", &file];
        let mut host = Process::spawn("adit host", &mut machine.command(&words))?;
        let mut said = Vec::new();
        loop {
            let line = host.next_line(STEP).await?.ok_or_else(|| Failure::new("the host has ended"))?;
            if line.contains("\"ready\"") {
                break;
            }
            said.push(line);
        }
        let told = said.iter().filter(|line| line.contains("rules of") && line.contains("manage")).count();
        ensure(told == usize::from(!sees_them), || format!("{said:?}"))?;
    }
    Ok(())
}

/// Without a relay of somebody else's all rules are the host's.
#[tokio::test]
async fn a_tunnel_with_a_name_is_as_private_as_it_looks() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    let arguments = [&*port, "--tunnel", "my-tunnel", "--listen", "127.0.0.1:0"];
    let host = machine.host(&[&arguments[..], &["--allow", "anonymous"]].concat()).await?;
    machine.connect(&[&host.link]).await?.stop().await?;
    drop(host);
    let host = machine.host(&arguments).await?;
    let (open, _) = host.link.split_once("&t=").ok_or_else(|| Failure::new("no token in the link"))?;
    let (exit, _) = machine.refused(&[open]).await?;
    ensure(exit.code == Some(3), || format!("without a token: {exit:?}"))
}
