//! Port forwarding between us and them: what the driver's stream and the tunnels of the other tests leave out.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use ssh_core::services::port_forward::{
    ForwardError, ForwardPolicy, PortChange, PortEvent, PortForwarding, PortSide,
};
use ssh_core::session::OpenFailureReason;
use ssh_core::{OpenError, Session};
use tests::endpoint::reserve_port;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::traffic::Target;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::end::both_roles;

const TEXT: &str = "through the tunnel";

type Ports = Arc<Mutex<Vec<PortEvent>>>;

fn start(session: &Session) -> (PortForwarding, Ports) {
    let ports = Ports::default();
    let kept = Arc::clone(&ports);
    let note = move |event| kept.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    let policy = ForwardPolicy::allow_all();
    (PortForwarding::builder(session.clone()).policy(policy).on_port(note).start(), ports)
}

async fn happened(ports: &Ports, change: PortChange, side: PortSide, port: u16) -> Outcome {
    let it = |event: &PortEvent| event.change == change && event.side == side && event.port.port() == port;
    let seen = async {
        while !ports.lock().unwrap_or_else(PoisonError::into_inner).iter().any(it) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Ok(())
    };
    within(STEP, &format!("{change:?} {side:?} {port}"), seen).await
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Outcome {
    let mut back = vec![0; TEXT.len()];
    let exchange = async {
        stream.write_all(TEXT.as_bytes()).await?;
        stream.read_exact(&mut back).await?;
        ensure(back == TEXT.as_bytes(), || format!("{back:?}"))
    };
    within(STEP, "the echo", exchange).await
}

fn port(event: &serde_json::Value) -> Outcome<u16> {
    let port = event["port"].as_u64().ok_or_else(|| Failure::new(event.to_string()))?;
    Ok(u16::try_from(port)?)
}

#[tokio::test]
async fn they_forward_from_our_ports_and_to_them() -> Outcome {
    for (mut end, session) in both_roles(json!({})).await? {
        let echo = Target::echo().await?;
        let (forwarding, ports) = start(&session);
        let granted = end.ask("forward_from", json!({ "name": "r", "port": 0, "target": echo.port })).await?;
        let listening = port(&granted)?;
        end.expect("port", json!({ "side": "localForwardedPorts", "what": "added", "remote": listening }))
            .await?;
        happened(&ports, PortChange::Added, PortSide::Remote, listening).await?;
        ask(TcpStream::connect(("127.0.0.1", listening)).await?).await?;
        // The same without a socket of ours.
        within(STEP, "their port", async { Ok(forwarding.wait_for_forwarded_port(listening).await?) })
            .await?;
        ask(forwarding.connect_to_forwarded_port(listening).await?).await?;
        // The same port a second time is refused before anything is sent, another connection to it is not.
        ask(TcpStream::connect(("127.0.0.1", listening)).await?).await?;
        end.ask("stop_forward", json!({ "name": "r" })).await?;
        end.expect("port", json!({ "what": "removed", "remote": listening })).await?;
        happened(&ports, PortChange::Removed, PortSide::Remote, listening).await?;
        ensure(TcpStream::connect(("127.0.0.1", listening)).await.is_err(), || {
            "it still listens".to_owned()
        })?;

        let local = end.ask("forward_to", json!({ "name": "l", "target": echo.port })).await?;
        ask(TcpStream::connect(("127.0.0.1", port(&local)?)).await?).await?;
        let back = end.ask("stream_to", json!({ "target": echo.port, "text": TEXT })).await?;
        ensure(back["text"] == TEXT, || back.to_string())?;
        // A listener of ours whose connections they take as streams, asked for with a field that nobody knows.
        let granted = end.ask("stream_from", json!({ "name": "s", "more": "ffff" })).await?;
        ask(TcpStream::connect(("127.0.0.1", port(&granted)?)).await?).await?;
        // Nobody listens there: the reason arrives, and the session stays.
        let nobody = reserve_port().await?;
        end.tell("stream_to", json!({ "target": nobody, "text": TEXT })).await?;
        end.expect("failed", json!({ "command": "stream_to", "reason": 2 })).await?;
    }
    Ok(())
}

#[tokio::test]
async fn we_forward_from_their_ports_and_to_them() -> Outcome {
    for (mut end, session) in both_roles(json!({})).await? {
        let echo = Target::echo().await?;
        let (forwarding, ports) = start(&session);
        let refused = forwarding.remote("127.0.0.1", 0, "127.0.0.1", echo.port).await;
        ensure(matches!(refused, Err(ForwardError::RefusedByPeer { .. })), || format!("{refused:?}"))?;
        end.ask("serve_ports", json!({})).await?;
        let forward = forwarding.remote("127.0.0.1", 0, "127.0.0.1", echo.port).await?;
        let listening = forward.port();
        end.expect("port", json!({ "side": "remoteForwardedPorts", "what": "added", "remote": listening }))
            .await?;
        happened(&ports, PortChange::Added, PortSide::Local, listening).await?;
        ask(TcpStream::connect(("127.0.0.1", listening)).await?).await?;
        let back = end.ask("connect_to", json!({ "port": listening, "text": TEXT })).await?;
        ensure(back["text"] == TEXT, || back.to_string())?;
        ensure(forward.cancel().await?, || "they did not know it".to_owned())?;
        end.expect("port", json!({ "what": "removed", "remote": listening })).await?;
        happened(&ports, PortChange::Removed, PortSide::Local, listening).await?;

        let local =
            forwarding.local(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), "127.0.0.1", echo.port).await?;
        ask(TcpStream::connect(local.local_addr()).await?).await?;
        ask(forwarding.open("127.0.0.1", echo.port).await?).await?;
        let nobody = forwarding.open("127.0.0.1", reserve_port().await?).await;
        ensure(reason(&nobody) == Some(OpenFailureReason::CONNECT_FAILED), || format!("{nobody:?}"))?;
        end.ask("serve_ports", json!({ "streams": false })).await?;
        let shut = forwarding.open("127.0.0.1", echo.port).await;
        ensure(reason(&shut) == Some(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED), || {
            format!("{shut:?}")
        })?;
    }
    Ok(())
}

fn reason<T>(result: &Result<T, ForwardError>) -> Option<OpenFailureReason> {
    match result {
        Err(ForwardError::Open { source: OpenError::Refused(failure), .. }) => Some(failure.reason),
        _ => None,
    }
}

/// `can-change-port`: their library does not list it by itself, and copes all the same.
#[tokio::test]
async fn a_busy_port_is_changed_for_who_copes_with_it() -> Outcome {
    let echo = Target::echo().await?;
    let busy = TcpListener::bind("127.0.0.1:0").await?;
    let asked = busy.local_addr()?.port();
    for (mut end, session) in both_roles(json!({ "extensions": ["can-change-port"] })).await? {
        let (_forwarding, ports) = start(&session);
        let granted =
            end.ask("forward_from", json!({ "name": "r", "port": asked, "target": echo.port })).await?;
        let listening = port(&granted)?;
        ensure(listening != asked, || granted.to_string())?;
        end.expect("port", json!({ "what": "added", "remote": listening })).await?;
        happened(&ports, PortChange::Added, PortSide::Remote, listening).await?;
        ask(TcpStream::connect(("127.0.0.1", listening)).await?).await?;
    }
    for (mut end, session) in both_roles(json!({})).await? {
        let _forwarding = start(&session);
        let granted =
            end.ask("forward_from", json!({ "name": "r", "port": asked, "target": echo.port })).await?;
        ensure(granted["granted"] == false, || granted.to_string())?;
    }
    // And the other way round.
    for (mut end, session) in both_roles(json!({})).await? {
        let (forwarding, ports) = start(&session);
        let (asked, granted) = (reserve_port().await?, reserve_port().await?);
        end.ask("serve_ports", json!({ "grants": granted })).await?;
        let forward = forwarding.remote("127.0.0.1", asked, "127.0.0.1", echo.port).await?;
        ensure(forward.port() == granted, || format!("{} and not {granted}", forward.port()))?;
        happened(&ports, PortChange::Added, PortSide::Local, granted).await?;
        // Over the number that was granted.
        let back = end.ask("connect_to", json!({ "port": granted, "text": TEXT })).await?;
        ensure(back["text"] == TEXT, || back.to_string())?;
    }
    Ok(())
}
