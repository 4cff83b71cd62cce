use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ssh_core::Session;
use ssh_core::channel::{Channel, PeerRequest};
use ssh_core::client;
use ssh_core::config::Algorithms;
use ssh_core::error::{Error, ReconnectFailure};
use ssh_core::server::{self, Config, DetachedSessions};
use ssh_core::services::port_forward::{ForwardPolicy, PermitTarget, PortForwarding};
use ssh_core::session::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Outcome;
use crate::arguments::{Arguments, Mode};
use crate::auth::Door;
use crate::mark;
use crate::session_ends::{Link, spawn, tune};

/// No session lasts longer.
const LIFETIME: Duration = Duration::from_secs(30);
/// A request that takes long.
const BLOCKING: Duration = Duration::from_secs(3);

/// Serves one session.
pub(crate) async fn run(arguments: &Arguments) -> Outcome {
    let mut config = Config::builder(Door(arguments.mode))
        .host_key(arguments.generate_key()?)
        .algorithms(arguments.algorithms.clone())
        .limits(arguments.limits());
    if arguments.mode == Mode::Reconnect {
        config = config.detached_sessions(DetachedSessions::default());
    }
    let config = config.build()?;
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    let port = listener.local_addr()?.port();
    let echo = match arguments.mode {
        Mode::PortForward => Some(echo_server().await?),
        _ => None,
    };
    match echo {
        Some(echo) => mark(format_args!("LISTENING {port} {echo}")),
        // A port of 0 lets the system choose, and somebody has to learn it.
        None if arguments.port == 0 => mark(format_args!("LISTENING {port}")),
        None => mark("LISTENING"),
    }
    let serve = async {
        let (stream, _) = listener.accept().await?;
        tune(&stream);
        let (login, driver) = server::accept_with_driver(stream, Arc::clone(&config))?;
        let writing = spawn(driver);
        let link = Link::new(login.await?, writing);
        tokio::select! {
            // First: a client may have come back and gone before this is looked at.
            biased;
            failed = take_back(&listener, &config), if arguments.mode == Mode::Reconnect => failed?,
            served = serve_session(arguments.mode, &link.session, echo) => served?,
        }
        link.close().await;
        Ok(())
    };
    // The end of its time is an ordinary end.
    tokio::time::timeout(LIFETIME, serve).await.unwrap_or(Ok(()))
}

async fn serve_session(mode: Mode, session: &Session, echo: Option<u16>) -> Outcome {
    let count = Arc::new(AtomicUsize::new(0));
    let on_incoming = {
        let count = Arc::clone(&count);
        move |incoming: Incoming| match incoming {
            Incoming::Channel(offer) => {
                let number = count.fetch_add(1, Ordering::Relaxed);
                // An error means that the session is over.
                if let Ok(channel) = offer.accept() {
                    tokio::spawn(serve_channel(mode, number, channel));
                }
            }
            Incoming::Request(request) => request.refuse(),
        }
    };
    match (mode, echo) {
        (Mode::PortForward, Some(echo)) => {
            let policy = ForwardPolicy::deny_all().permit_open(PermitTarget::local_port(echo));
            let forwarding =
                PortForwarding::builder(session.clone()).policy(policy).unhandled(on_incoming).start();
            forwarding.closed().await;
        }
        (Mode::PipeRequest, _) => {
            let (near, far) = inner_sessions().await?;
            tokio::spawn(async move {
                while let Ok(channel) = far.accept_channel(None).await {
                    tokio::spawn(serve_channel(Mode::PipeRequest, 0, channel));
                }
            });
            session.pipe(&near).await;
        }
        _ => {
            use futures::StreamExt as _;
            let mut incoming = session.incoming();
            while let Some(item) = incoming.next().await {
                on_incoming(item);
            }
        }
    }
    Ok(())
}

/// Serves the connections of a client that comes back.
async fn take_back(listener: &TcpListener, config: &Arc<Config>) -> Outcome {
    loop {
        let (stream, _) = listener.accept().await?;
        tune(&stream);
        let (login, driver) = server::accept_with_driver(stream, Arc::clone(config))?;
        spawn(driver);
        match login.await {
            Err(Error::Reconnect(ReconnectFailure::HandedOver)) => mark("RECONNECTED"),
            Err(error) => eprintln!("ERROR: {error}"),
            Ok(_) => eprintln!("ERROR: a client came that has no session"),
        }
    }
}

/// A session without security between two ends in this process.
async fn inner_sessions() -> Outcome<(Session, Session)> {
    let (near, far) = tokio::io::duplex(256 * 1024);
    let algorithms = Algorithms::insecure_without_any_security();
    let near_config = client::Config::builder("")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .algorithms(algorithms.clone())
        .build()?;
    let far_config = Config::builder(server::danger::AcceptEverybody).algorithms(algorithms).build()?;
    let (near, far) = tokio::join!(client::connect(near, near_config), server::accept(far, far_config));
    Ok((near?, far?))
}

async fn serve_channel(mode: Mode, number: usize, channel: Channel) {
    let channel = Arc::new(channel);
    let requests = {
        let channel = Arc::clone(&channel);
        async move {
            while let Some(request) = channel.next_request().await {
                let accepted = on_request(mode, number, &request).await;
                // An error means that the session is over.
                let _ = channel.answer(&request, accepted);
            }
        }
    };
    let stderr = channel.take_stderr();
    let extended = {
        let channel = Arc::clone(&channel);
        async move { echo_stderr(mode, stderr, &channel).await }
    };
    let data = async { echo_data(mode, number, &channel).await };
    tokio::join!(requests, extended, data);
}

async fn on_request(mode: Mode, number: usize, request: &PeerRequest) -> bool {
    match mode {
        Mode::ConcurrentRequests if number == 0 => {
            mark("CH1_REQUEST_RECEIVED");
            tokio::time::sleep(BLOCKING).await;
            mark("CH1_REQUEST_DONE");
            true
        }
        Mode::PipeRequest => {
            mark(format_args!("SERVER_B_REQUEST: {}", request.name));
            true
        }
        Mode::Signals => {
            mark(format_args!("SIGNAL_RECEIVED: {}", request.name));
            true
        }
        _ => false,
    }
}

async fn echo_stderr(mode: Mode, mut stderr: ssh_core::channel::Stderr, channel: &Channel) {
    let mut writer = channel.writer();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = stderr.read(&mut buffer).await {
        if mode == Mode::ExtendedData {
            mark(format_args!("EXTENDED_DATA_RECEIVED: type=1 len={len}"));
        }
        if writer.write_all(buffer.get(..len).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}

async fn echo_data(mode: Mode, number: usize, channel: &Channel) {
    let (mut reader, mut writer) = (channel.reader(), channel.writer());
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = reader.read(&mut buffer).await {
        let data = buffer.get(..len).unwrap_or_default();
        let done = match (mode, data) {
            (Mode::Signals, b"CLOSE_WITH_STATUS") => {
                mark("CLOSING_WITH_STATUS_42");
                channel.close_with_status(42).is_ok()
            }
            (Mode::Signals, b"CLOSE_WITH_SIGNAL") => {
                mark("CLOSING_WITH_SIGNAL_KILL");
                channel.close_with_signal("KILL", "process killed").is_ok()
            }
            (Mode::ExtendedData, b"SEND_STDERR") => {
                let sent = channel.stderr_writer().write_all(b"SERVER_STDERR_OUTPUT").await;
                mark("STDERR_SENT");
                sent.is_ok()
            }
            _ => {
                let echoed = writer.write_all(data).await.is_ok();
                match mode {
                    Mode::ConcurrentRequests if number > 0 => mark("CH2_ECHOED"),
                    _ => mark(format_args!("ECHOED {len}")),
                }
                echoed
            }
        };
        if !done {
            return;
        }
    }
    // The end of this way ends the other one; an error means that it has ended already.
    let _ = channel.send_eof();
}

/// A TCP server that sends back what it gets; its port.
async fn echo_server() -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    Ok(port)
}

async fn echo(mut stream: TcpStream) -> std::io::Result<u64> {
    tune(&stream);
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await
}
