use std::time::{Duration, Instant};

use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use ssh_core::Session;
use ssh_core::channel::{Channel, ExitStatus};
use ssh_core::client::{self, Config};
use ssh_core::services::port_forward::{ForwardPolicy, PortForwarding};
use ssh_core::session::{ReconnectOffer, SessionEvent};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::arguments::{Arguments, Mode};
use crate::auth::credentials;
use crate::mark;
use crate::session_ends::{Link, spawn, tune};

/// The client gives up after this.
const LIFETIME: Duration = Duration::from_secs(25);
/// An echo takes no longer.
const ECHO: Duration = Duration::from_secs(10);
/// An echo beside a request that is not answered yet. Servers take one second for that, ours three: what holds echoes up
/// is told from a machine that has much to do by which of the two comes first.
const CONCURRENT: Duration = Duration::from_secs(2);
/// For each step of a reconnect.
const LOSS: Duration = Duration::from_secs(5);
const USER: &str = "testuser";

pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let mut config = Config::builder(USER)
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .algorithms(arguments.algorithms.clone())
        .limits(arguments.limits());
    // The servers of others let everybody in who tries `none`, and say nothing of a key then.
    config = config.begin_with_credentials();
    for credential in credentials(arguments)? {
        config = config.authenticate(credential);
    }
    if arguments.mode == Mode::Reconnect {
        config = config.offer_reconnect(ReconnectOffer::default());
    }
    let config = config.build()?;
    let run = async {
        let stream = TcpStream::connect(("127.0.0.1", arguments.port)).await?;
        tune(&stream);
        let stream = stream.into_std()?;
        // To close it under the session.
        let socket = stream.try_clone()?;
        let stream = TcpStream::from_std(stream)?;
        let (login, driver) = client::connect_with_driver(stream, config)?;
        let writing = spawn(driver);
        let link = Link::new(login.await?, writing);
        match arguments.mode {
            Mode::PublicKey => mark("PK_AUTH_OK"),
            Mode::KeyboardInteractive => mark("KBD_AUTH_OK"),
            _ => {}
        }
        mark("AUTHENTICATED");
        let outcome = run_mode(arguments, &link.session, &socket).await;
        if outcome.is_ok() {
            mark("DONE");
        }
        link.close().await;
        outcome
    };
    tokio::time::timeout(LIFETIME, run).await.map_err(|_| "not done in 25 s")?
}

async fn run_mode(arguments: &Arguments, session: &Session, socket: &std::net::TcpStream) -> Outcome {
    match arguments.mode {
        Mode::Multi => return multi(session).await,
        Mode::PortForward => return port_forward(arguments, session).await,
        Mode::ConcurrentRequests => return concurrent_requests(session).await,
        Mode::Reconnect => return reconnect(arguments, session, socket).await,
        _ => {}
    }
    let mut channel = session.open_channel("session").await?;
    mark("CHANNEL_OPEN");
    match arguments.mode {
        Mode::Large => {
            let same = echoes(&mut channel, &pattern(1024 * 1024)).await?;
            mark(if same { "LARGE_DATA_OK" } else { "LARGE_DATA_FAIL" });
            check(same, "the echo differs")
        }
        Mode::Rekey => {
            let same = echoes(&mut channel, &pattern(16 * 1024)).await?;
            check(same, "the echo differs")?;
            mark("REKEY_DATA_OK");
            echo(&mut channel, b"POST_REKEY_ECHO", "POST_REKEY_ECHO_OK").await
        }
        Mode::PipeRequest => {
            let accepted = channel.request("test-request", b"").await?;
            check(accepted, "the request was refused")?;
            mark("PIPE_REQUEST_FORWARDED");
            echo(&mut channel, b"PIPE_ECHO_TEST", "ECHO_OK").await
        }
        Mode::Signals => signals(session, channel).await,
        Mode::ExtendedData => extended_data(channel).await,
        _ => echo(&mut channel, b"INTEROP_TEST_DATA", "ECHO_OK").await,
    }
}

/// Byte i is i mod 256.
fn pattern(len: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(len).collect()
}

async fn echo(channel: &mut Channel, data: &[u8], marker: &str) -> Outcome {
    let same = echoes(channel, data).await?;
    check(same, "the echo differs")?;
    mark(marker);
    Ok(())
}

/// Whether the same comes back.
async fn echoes(channel: &mut Channel, data: &[u8]) -> Outcome<bool> {
    let (mut reader, mut writer) = (channel.reader(), channel.writer());
    let mut received = vec![0; data.len()];
    let exchange = async { tokio::try_join!(writer.write_all(data), reader.read_exact(&mut received)) };
    tokio::time::timeout(ECHO, exchange).await.map_err(|_| "no echo in 10 s")??;
    Ok(Sha256::digest(&received) == Sha256::digest(data))
}

async fn multi(session: &Session) -> Outcome {
    let mut first = session.open_channel("session").await?;
    mark("CHANNEL_OPEN");
    let (mut second, mut third) =
        tokio::try_join!(session.open_channel("session"), session.open_channel("session"))?;
    let same = tokio::try_join!(
        echoes(&mut first, b"CH1_DATA"),
        echoes(&mut second, b"CH2_DATA"),
        echoes(&mut third, b"CH3_DATA"),
    )?;
    let same = same == (true, true, true);
    mark(if same { "MULTI_CHANNEL_OK" } else { "MULTI_CHANNEL_FAIL" });
    check(same, "a channel got another text than its own")
}

async fn port_forward(arguments: &Arguments, session: &Session) -> Outcome {
    let port = arguments.extra.as_ref().ok_or("the mode needs the port of the echo server")?.parse()?;
    let forwarding = PortForwarding::start(session.clone(), ForwardPolicy::deny_all());
    let mut channel = forwarding.open("127.0.0.1", port).await?;
    echo(&mut channel, b"PORT_FORWARD_TEST_DATA", "PORT_FORWARD_OK").await
}

async fn reconnect(arguments: &Arguments, session: &Session, socket: &std::net::TcpStream) -> Outcome {
    let enabled = async {
        while !session.is_reconnect_enabled() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LOSS, enabled).await.map_err(|_| "reconnecting was not enabled in 5 s")?;
    let mut channel = session.open_channel("session").await?;
    mark("CHANNEL_OPEN");
    echo(&mut channel, b"BEFORE_RECONNECT", "ECHO_OK").await?;
    let mut events = session.events();
    socket.shutdown(std::net::Shutdown::Both)?;
    let disconnected = async {
        loop {
            match events.next().await {
                Some(SessionEvent::Disconnected(_)) => return Ok(()),
                Some(_) => {}
                None => return Err("the session ended with its connection"),
            }
        }
    };
    tokio::time::timeout(LOSS, disconnected).await.map_err(|_| "not disconnected in 5 s")??;
    mark("DISCONNECTED");
    let stream = TcpStream::connect(("127.0.0.1", arguments.port)).await?;
    tune(&stream);
    session.reconnect(stream).await?;
    mark("RECONNECT_OK");
    echo(&mut channel, b"AFTER_RECONNECT", "ECHO_AFTER_RECONNECT_OK").await
}

async fn concurrent_requests(session: &Session) -> Outcome {
    let first = session.open_channel("session").await?;
    mark("CHANNEL_OPEN");
    mark("CHANNEL1_OPEN");
    let mut second = session.open_channel("session").await?;
    mark("CHANNEL2_OPEN");
    let request = async {
        let accepted = first.request("blocking-test", b"").await?;
        check(accepted, "the request was refused")?;
        mark("CH1_REQUEST_OK");
        Ok(())
    };
    let data = async {
        // The request goes first.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let started = started();
        let same = echoes(&mut second, b"CONCURRENT_TEST_DATA").await?;
        check(same && started.elapsed() < CONCURRENT, "the echo waited for the request")?;
        mark("CONCURRENT_REQUEST_OK");
        Ok(())
    };
    tokio::try_join!(request, data).map(drop)
}

async fn signals(session: &Session, channel: Channel) -> Outcome {
    channel.send_signal("TERM")?;
    mark("SIGNAL_SENT");
    channel.writer().write_all(b"CLOSE_WITH_STATUS").await?;
    let ended = channel.closed().await;
    check(ended == Some(ExitStatus::Code(42)), "the channel did not close with status 42")?;
    mark("EXIT_STATUS_OK");
    let channel = session.open_channel("session").await?;
    channel.writer().write_all(b"CLOSE_WITH_SIGNAL").await?;
    let ended = channel.closed().await;
    let wanted = ExitStatus::Signal { name: "KILL".to_owned(), message: "process killed".to_owned() };
    check(ended == Some(wanted), "the channel did not close with the signal KILL")?;
    mark("EXIT_SIGNAL_OK");
    Ok(())
}

async fn extended_data(mut channel: Channel) -> Outcome {
    const SENT: &[u8] = b"CLIENT_STDERR_DATA";
    const WANTED: &[u8] = b"SERVER_STDERR_OUTPUT";
    let mut stderr = channel.take_stderr();
    channel.stderr_writer().write_all(SENT).await?;
    let mut back = vec![0; SENT.len()];
    tokio::time::timeout(ECHO, channel.read_exact(&mut back)).await.map_err(|_| "no echo in 10 s")??;
    check(back == SENT, "the echo differs")?;
    mark("EXTENDED_DATA_SEND_OK");
    channel.write_all(b"SEND_STDERR").await?;
    let mut said = vec![0; WANTED.len()];
    tokio::time::timeout(ECHO, stderr.read_exact(&mut said)).await.map_err(|_| "no stderr in 10 s")??;
    check(said == WANTED, "stderr differs")?;
    mark("EXTENDED_DATA_RECV_OK");
    Ok(())
}

fn check(holds: bool, why: &str) -> Outcome {
    if holds { Ok(()) } else { Err(why.into()) }
}

#[expect(clippy::disallowed_methods, reason = "how long an echo took is what is tested")]
fn started() -> Instant {
    Instant::now()
}
