//! Where ports are, and ports that come and go.

use std::time::Duration;

use tests::adit::{event, run_to_end, text};
use tests::endpoint::{Endpoint, connect, listen_on_reserved, reserve_port};
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::{Ending, Target, exchange, pattern};
use tests::tunnel::{COMEBACK, Machine, mapping, on_relay, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn ports_are_where_they_are_wanted() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    let host = machine.host(&[&format!("web={port}"), "--listen", "127.0.0.1:0"]).await?;
    let wanted = reserve_port().await?;
    let client = machine.connect(&[&host.link, "-p", &format!("{wanted}:{port}")]).await?;
    ensure(client.ports == [(target.port, wanted)], || format!("{:?}", client.ports))?;
    // Here and nowhere else: another address of this machine is not listened on.
    connect(wanted).await?;
    let elsewhere = tokio::net::TcpStream::connect(("127.0.0.2", wanted)).await;
    ensure(elsewhere.is_err(), || "others may reach the port".into())?;
    client.stop().await?;
    let (exit, message) = machine.refused(&[&host.link, "--same-ports"]).await?;
    ensure(exit.code == Some(6) && message.contains(&port), || format!("{exit:?}"))?;
    // A port that is taken here does not take the number of the next one, which is not.
    if let Some(next) = target.port.checked_add(1)
        && let Ok(free) = std::net::TcpListener::bind(("127.0.0.1", next))
    {
        drop(free);
        let both = machine.host(&[&port, &next.to_string(), "--listen", "127.0.0.1:0"]).await?;
        let client = Machine::new().await?.connect(&[&both.link]).await?;
        ensure(client.ports.contains(&(next, next)) && client.ports.len() == 2, || {
            format!("{:?}", client.ports)
        })?;
        client.stop().await?;
    }
    // One that the host has not is named.
    let mut client = machine.connect(&[&host.link, "-p", &format!("{wanted}:1")]).await?;
    let warned = event(&mut client.process, "warning").await?;
    ensure(text(&warned, "message")?.contains("port 1 "), || warned.to_string())?;
    client.stop().await?;
    // As an OpenSSH ProxyCommand.
    let mut command = machine.command(&["connect", &host.link, "-W", &format!("anything:{port}")]);
    let sent = pattern(7, 100_000);
    let echoed = tests::process::pipe_through("adit connect -W", &mut command, sent.clone(), STEP).await?;
    ensure(echoed == sent, || format!("{} bytes came back", echoed.len()))?;
    // The same with the link before it, where nobody sees it in a list of processes.
    let mut command = machine.command(&["connect", "-", "-W", &port]);
    let line = format!("{}\n", host.link).into_bytes();
    let all = [line, sent.clone()].concat();
    let echoed = tests::process::pipe_through("adit connect - -W", &mut command, all, STEP).await?;
    ensure(echoed == sent, || format!("{} bytes came back after the link", echoed.len()))
}

/// On the host's own machine a number is the host's, even while its program is not there: a connection would come back
/// to where it began, and so on.
#[tokio::test]
async fn a_port_that_nobody_serves_does_not_lead_to_itself() -> Outcome {
    let (machine, port) = (Machine::new().await?, reserve_port().await?);
    let host = machine.host(&[&port.to_string(), "--listen", "127.0.0.1:0"]).await?;
    let mut client = machine.connect(&[&host.link]).await?;
    let local = client.local(port)?;
    ensure(client.ports.iter().all(|(_, local)| *local != port), || format!("{:?}", client.ports))?;
    ensure(connect(port).await.is_err(), || format!("{port} is taken from the host's program"))?;
    let mut stream = local.connect().await?;
    let refused = within(STEP, "the end of a connection to nobody", async { Ok(stream.read_u8().await) });
    let kind = refused.await?.err().map(|error| error.kind());
    ensure(kind == Some(std::io::ErrorKind::ConnectionReset), || format!("it ended with {kind:?}"))?;
    let said = event(&mut client.process, "refused").await?;
    ensure(text(&said, "message")?.contains(&port.to_string()), || said.to_string())?;
    client.stop().await
}

/// Ports come and go with the file that lists them, for who is connected too: by the host's word, whatever the relay shows.
async fn ports_by_file(protocol: &str) -> Outcome {
    let (machine, one, two) = (Machine::new().await?, Target::echo().await?, Target::echo().await?);
    let file = machine.home.path().join("ports");
    let name = file.display().to_string();
    let write = |text: String| std::fs::write(&file, text);
    write(format!("# what there is\nweb={}\n", one.port))?;
    let mut host =
        machine.host(&["--ports-file", &name, "--listen", "127.0.0.1:0", "--protocol", protocol]).await?;
    let mut client = machine.connect(&[&host.link, "--protocol", protocol]).await?;
    let first = client.local(one.port)?;
    let mut open = first.connect().await?;

    write(format!("{}\n\n{} # the other\n", one.port, two.port))?;
    let offered = event(&mut host.process, "ports").await?;
    let mut both = [one.port, two.port];
    both.sort_unstable();
    ensure(offered["ports"] == serde_json::json!(both), || offered.to_string())?;
    let (remote, local) = mapping(&event(&mut client.process, "port_added").await?)?;
    ensure(remote == two.port, || format!("{remote} was added"))?;
    let second = Endpoint::Tcp(local);
    exchange(second.connect().await?, 1, 1024, Ending::HalfClose).await?;

    // With a mistake in it, nothing of the file counts, and it is said where it is.
    write(format!("{}\nnonsense\n", two.port))?;
    let error = event(&mut host.process, "error").await?;
    let message = text(&error, "message")?;
    ensure(text(&error, "code")? == "file" && message.contains("line 2") && message.contains(&name), || {
        error.to_string()
    })?;
    for local in [&first, &second] {
        exchange(local.connect().await?, 2, 1024, Ending::HalfClose).await?;
    }

    write(format!("{}\n", two.port))?;
    let (remote, _) = mapping(&event(&mut client.process, "port_removed").await?)?;
    ensure(remote == one.port, || format!("{remote} was removed"))?;
    // What is open goes on; nothing new comes, not even for who does not ask what there is.
    open.write_all(b"still there").await?;
    let mut back = [0; 11];
    within(STEP, "the echo", async { Ok(open.read_exact(&mut back).await?) }).await?;
    ensure(&back == b"still there", || format!("{back:?}"))?;
    within(STEP, "that nobody listens at the port", async {
        while first.connect().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await?;
    let insists = ["connect", "--json", &host.link, "-W", &one.port.to_string(), "--protocol", protocol];
    let exit = run_to_end(&mut machine.command(&insists), COMEBACK).await?;
    ensure(exit.code == Some(7) && exit.log.contains("does not offer"), || format!("{exit:?}"))?;
    exchange(second.connect().await?, 3, 1024, Ending::HalfClose).await?;
    client.stop().await
}

#[tokio::test]
async fn ports_of_a_running_host_are_those_of_its_file() -> Outcome {
    ports_by_file("v1").await
}

#[tokio::test]
async fn ports_of_a_running_host_of_the_second_version_are_those_of_its_file() -> Outcome {
    ports_by_file("v2").await
}

/// A port that comes later and is taken here is said, and ends nothing; it is there once it can be.
async fn a_taken_port(protocol: &str) -> Outcome {
    let (machine, one, two) = (Machine::new().await?, Target::echo().await?, Target::echo().await?);
    let third = Target::echo().await?;
    let file = machine.home.path().join("ports");
    let name = file.display().to_string();
    std::fs::write(&file, format!("{}\n", one.port))?;
    let host =
        machine.host(&["--ports-file", &name, "--listen", "127.0.0.1:0", "--protocol", protocol]).await?;
    let (taken, wanted) = listen_on_reserved().await?;
    let pair = format!("{wanted}:{}", two.port);
    let mut client = machine.connect(&[&host.link, "-p", &pair, "--protocol", protocol]).await?;
    let mut open = client.local(one.port)?.connect().await?;

    std::fs::write(&file, format!("{}\n{}\n", one.port, two.port))?;
    let failed = event(&mut client.process, "port_failed").await?;
    ensure(mapping(&failed)? == (two.port, wanted), || failed.to_string())?;
    ensure(text(&failed, "reason")?.contains("in use"), || failed.to_string())?;
    open.write_all(b"still there").await?;
    let mut back = [0; 11];
    within(STEP, "the echo", async { Ok(open.read_exact(&mut back).await?) }).await?;

    drop(taken);
    std::fs::write(&file, format!("{}\n{}\n{}\n", one.port, two.port, third.port))?;
    let mut added = Vec::new();
    for _ in 0..2 {
        added.push(mapping(&event(&mut client.process, "port_added").await?)?);
    }
    ensure(added.contains(&(two.port, wanted)), || format!("{added:?}"))?;
    exchange(Endpoint::Tcp(wanted).connect().await?, 1, 1024, Ending::HalfClose).await?;
    client.stop().await
}

#[tokio::test]
async fn a_port_that_comes_later_and_is_taken_here_ends_nothing() -> Outcome {
    a_taken_port("v1").await?;
    a_taken_port("v2").await
}

/// Beside ports of the command line, which stay; and the relay shows what there is.
#[tokio::test]
async fn a_file_of_ports_beside_those_of_the_command_line() -> Outcome {
    let (machine, one, two) = (Machine::new().await?, Target::echo().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let file = machine.home.path().join("ports");
    let (fixed, name) = (one.port.to_string(), file.display().to_string());
    // No port at all, and no file where one was named.
    for (arguments, code) in [(vec!["host", "--json"], 2), (vec!["host", "--json", "--ports-file", &name], 8)]
    {
        let exit = run_to_end(&mut machine.command(&arguments), STEP).await?;
        ensure(exit.code == Some(code), || format!("{arguments:?}: {exit:?}"))?;
    }
    std::fs::write(&file, "# nothing yet\n")?;
    let arguments = on_relay(&relay);
    let arguments = with(&[&fixed, "--tunnel", TUNNEL, "--ports-file", &name], &arguments);
    let host = machine.host(&arguments).await?;
    let mut client = machine.connect(&[&host.link]).await?;
    std::fs::write(&file, format!("other={}\n", two.port))?;
    let (remote, local) = mapping(&event(&mut client.process, "port_added").await?)?;
    ensure(remote == two.port, || format!("{remote} was added"))?;
    for local in [client.local(one.port)?, Endpoint::Tcp(local)] {
        exchange(local.connect().await?, 1, 1024, Ending::HalfClose).await?;
    }
    let shown = async || -> Outcome<Vec<serde_json::Value>> {
        let shown = relay.operate(&["tunnel", "show", TUNNEL]).await?;
        Ok(shown.pointer("/tunnel/ports").and_then(|ports| ports.as_array()).cloned().unwrap_or_default())
    };
    let is_shown = async {
        while !shown().await?.iter().any(|port| port["portNumber"] == two.port && port["name"] == "other") {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Ok(())
    };
    within(STEP, "the relay's list", is_shown).await?;
    std::fs::remove_file(&file)?;
    std::fs::write(&file, "")?;
    let (remote, _) = mapping(&event(&mut client.process, "port_removed").await?)?;
    ensure(remote == two.port, || format!("{remote} was removed"))?;
    let is_gone = async {
        while shown().await?.len() != 1 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Ok(())
    };
    within(STEP, "the relay's list", is_gone).await
}
