//! A relay that means ill, between a host and `adit connect`: whatever it tries ends in an error that names it, and the
//! application is never given a byte that the host has not sent.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::relay::dial::{Dialer, Proxies};
use ::relay::host::{self, Event, Protocol};
use ::relay::link::Link;
use ssh_core::config::Algorithms;
use ssh_core::crypto::aws_lc::PROVIDER;
use ssh_core::keys::{Curve, KeyKind, KeyPair, SigningKey};
use ssh_core::server;
use tests::evil_relay::{Evil, EvilRelay, Piece, Tamper};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::process::Process;
use tests::traffic::Target;
use tests::tunnel::Machine;
use tokio::sync::watch;

const VERSIONS: [Protocol; 2] = [Protocol::V1, Protocol::V2];
/// An end has this long to find out what was done to it.
const SOON: Duration = Duration::from_secs(20);

/// A host behind an evil relay, and a machine for clients.
struct World {
    evil: EvilRelay,
    machine: Machine,
    protocol: Protocol,
    echo: Target,
    /// Of whom nobody who connects to the echo should hear.
    other: Target,
    host: Host,
}

struct Host {
    _running: host::Host,
    link: String,
    events: watch::Receiver<Vec<Event>>,
}

impl Host {
    async fn start(evil: &EvilRelay, tunnel: &str, protocol: Protocol, ports: &[u16]) -> Outcome<Self> {
        let key = signing_key()?;
        let link = Link {
            relay: format!("http://127.0.0.1:{}", evil.port),
            tunnel: tunnel.to_owned(),
            host_key: Some(key.public_key().fingerprint()),
            token: None,
        };
        let (sender, events) = watch::channel(Vec::new());
        let config = host::Config {
            url: link.host_url(),
            token: None,
            protocol,
            allow_plain: false,
            dialer: Dialer::new(None, Proxies::default())?,
            provider: &PROVIDER,
            ports: ports.iter().copied().collect::<BTreeSet<u16>>(),
            on_event: Arc::new(move |event| sender.send_modify(|events| events.push(event))),
        };
        let running = host::Host::start(config, key).await?;
        evil.has_host(tunnel).await?;
        Ok(Self { _running: running, link: link.to_secret_text().to_string(), events })
    }

    /// Waits until the host says something with these words in it.
    async fn says(&self, words: &str) -> Outcome {
        let mut events = self.events.clone();
        let said = async {
            let found = |events: &Vec<Event>| events.iter().any(|event| format!("{event:?}").contains(words));
            Ok(events.wait_for(found).await.map(drop)?)
        };
        let said = within(SOON, &format!("waiting for the host to say {words:?}"), said).await;
        said.map_err(|failure| failure.while_doing(&format!("{:?}", self.events.borrow())))
    }
}

fn signing_key() -> Outcome<SigningKey> {
    let pair = KeyPair::generate(&PROVIDER, KeyKind::Ecdsa(Curve::P384), 0)?;
    Ok(SigningKey::new(&pair.private, &PROVIDER)?)
}

impl World {
    async fn new(protocol: Protocol) -> Outcome<Self> {
        let (evil, machine) = (EvilRelay::start().await?, Machine::new().await?);
        let (echo, other) = (Target::echo().await?, Target::reply(1, 1000).await?);
        let host = Host::start(&evil, "one", protocol, &[echo.port, other.port]).await?;
        Ok(Self { evil, machine, protocol, echo, other, host })
    }

    /// `adit connect LINK -W PORT`.
    fn connect(&self) -> Outcome<Process> {
        let port = self.echo.port.to_string();
        let mut command = self.machine.command(&["connect", "--json", "-W", &port, &self.host.link]);
        command.args(["--protocol", if self.protocol == Protocol::V1 { "v1" } else { "v2" }]);
        Process::spawn("adit connect", &mut command)
    }

    /// The same, and a line has been there and back.
    async fn connected(&self) -> Outcome<Process> {
        let mut client = self.connect()?;
        echoes(&mut client, "hello").await?;
        Ok(client)
    }

    /// One that does not get through.
    async fn is_refused(&self, code: i32, words: &str) -> Outcome {
        let mut client = self.connect()?;
        client.say("not for the relay").await?;
        ends(&mut client, code, words).await
    }
}

async fn echoes(client: &mut Process, line: &str) -> Outcome {
    client.say(line).await?;
    let back = client.next_line(STEP).await?;
    ensure(back.as_deref() == Some(line), || format!("{back:?} came back"))
        .map_err(|failure| client.explain(failure))
}

/// Ends with this code, after it has said this; nothing has come out of it meanwhile.
async fn ends(client: &mut Process, code: i32, words: &str) -> Outcome {
    ends_after(client, code, words, &[]).await
}

/// The same, where these lines may have come out of it.
async fn ends_after(client: &mut Process, code: i32, words: &str, allowed: &[&str]) -> Outcome {
    let found = client.exit(SOON).await?;
    let log = client.log();
    ensure(found == Some(code) && log.contains(words), || format!("{found:?}, and not {code} {words:?}"))
        .map_err(|failure| client.explain(failure))?;
    let lines = client.lines_so_far();
    let is_allowed = lines.is_empty() || lines == allowed;
    ensure(is_allowed, || format!("the application was given {lines:?}"))
}

/// Runs a case for both versions.
macro_rules! both {
    ($name:ident, |$world:ident| $case:block) => {
        #[tokio::test]
        async fn $name() -> Outcome {
            async fn case($world: World) -> Outcome $case
            for protocol in VERSIONS {
                let run = case(World::new(protocol).await?).await;
                run.map_err(|failure| failure.while_doing(&format!("{protocol:?}")))?;
            }
            Ok(())
        }
    };
}

both!(nothing_evil_is_nothing_wrong, |world| {
    let mut client = world.connected().await?;
    echoes(&mut client, "once more").await
});

fn impostor(with_security: bool) -> Outcome<Arc<server::Config>> {
    let config = server::Config::builder(server::danger::AcceptEverybody);
    Ok(if with_security {
        config.host_key(signing_key()?).provider(&PROVIDER).build()?
    } else {
        config.algorithms(Algorithms::insecure_without_any_security()).build()?
    })
}

both!(another_key_is_not_the_hosts, |world| {
    world.evil.be(Evil { impostor: Some(impostor(true)?), ..Evil::default() });
    world.is_refused(4, "somebody else is at the other end").await
});

both!(no_key_at_all_is_not_either, |world| {
    world.evil.be(Evil { impostor: Some(impostor(false)?), ..Evil::default() });
    world.is_refused(9, "cannot talk to the host: no common").await
});

// Where the link breaks and the relay takes the host's place while the client is on its way back.
both!(another_key_is_not_the_hosts_when_coming_back, |world| {
    let mut client = world.connected().await?;
    world.evil.be(Evil { impostor: Some(impostor(true)?), ..Evil::default() });
    world.evil.cut_clients();
    ends(&mut client, 4, "key").await
});

// The version line of the inner session is changed on its way to one of the ends.
both!(an_old_version_is_not_spoken, |world| {
    for to_host in [false, true] {
        world.evil.be(Evil { tamper: Some(replacing(to_host, b"SSH-2.0-", b"SSH-1.5-")), ..Evil::default() });
        if to_host {
            let _client = world.connect()?;
            world.host.says("does not speak SSH 2.0").await?;
        } else {
            world.is_refused(9, "does not speak SSH 2.0").await?;
        }
    }
    Ok(())
});

// Names are taken out of the offers, so that both ends agree on less than they could, or think that they agree.
both!(weaker_algorithms_are_noticed, |world| {
    for (to_host, name) in [
        (false, &b"mlkem768x25519-sha256"[..]),
        (false, b"aes256-gcm@openssh.com"),
        (false, b"kex-strict-s-v00@openssh.com"),
        (true, b"mlkem768x25519-sha256"),
        (true, b"aes256-gcm@openssh.com"),
        (true, b"kex-strict-c-v00@openssh.com"),
    ] {
        let by = [b"x", name.get(1..).unwrap_or_default()].concat();
        world.evil.be(Evil { tamper: Some(replacing(to_host, name, &by)), ..Evil::default() });
        // Who expects another key exchange cannot read what comes; else the signature is over something else.
        let (code, words) = if name.starts_with(b"mlkem") {
            (5, "the key exchange value is not valid")
        } else {
            (9, "signature does not verify")
        };
        let doing = |failure: Failure| failure.while_doing(&String::from_utf8_lossy(name));
        world.is_refused(code, words).await.map_err(doing)?;
    }
    Ok(())
});

/// Replaces the first occurrence in each piece that has one.
fn replacing(to_host: bool, what: &'static [u8], by: &[u8]) -> Tamper {
    let by = by.to_vec();
    Arc::new(move |mut piece: Piece| {
        let at = piece.bytes.windows(what.len()).position(|window| window == what);
        if let (true, Some(at)) = (piece.to_host == to_host, at) {
            piece.bytes.splice(at..at + what.len(), by.iter().copied());
        }
        piece.bytes
    })
}

// A sub-protocol that was not asked for.
both!(another_version_is_not_given_in_to, |world| {
    let other = match world.protocol {
        Protocol::V1 => "tunnel-relay-client-v2-dev",
        Protocol::V2 => "tunnel-relay-client",
    };
    for chosen in [other, "tunnel-relay-host", "Tunnel-Relay-Client", ""] {
        world.evil.be(Evil { sub_protocol: Some(chosen), ..Evil::default() });
        let refused = world.is_refused(9, "did not choose the sub-protocol that it was asked for").await;
        refused.map_err(|failure| failure.while_doing(chosen))?;
    }
    Ok(())
});

/// What happens to sealed bytes once it is armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// A bit of the next piece.
    Flip,
    /// The next piece is lost.
    Drop,
    /// It comes twice: the relay plays back what it has seen.
    Double,
    /// Some bytes more than there were.
    Add,
}

fn damaging(damage: Damage, to_host: bool, armed: &Arc<AtomicBool>) -> Tamper {
    let armed = Arc::clone(armed);
    Arc::new(move |mut piece: Piece| {
        if piece.to_host != to_host || !armed.swap(false, Ordering::Relaxed) {
            return piece.bytes;
        }
        match damage {
            Damage::Flip => piece.bytes.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1),
            Damage::Drop => piece.bytes.clear(),
            Damage::Double => piece.bytes.extend_from_within(..),
            Damage::Add => piece.bytes.extend([0; 64]),
        }
        piece.bytes
    })
}

// To the client: it says so itself. To the host: it ends the session, and both say why.
both!(sealed_bytes_cannot_be_changed, |world| {
    for damage in [Damage::Flip, Damage::Drop, Damage::Double, Damage::Add] {
        for to_host in [false, true] {
            let armed = Arc::new(AtomicBool::new(false));
            world.evil.be(Evil { tamper: Some(damaging(damage, to_host, &armed)), ..Evil::default() });
            let doing =
                |failure: Failure| failure.while_doing(&format!("{damage:?}, to the host: {to_host}"));
            let mut client = world.connected().await.map_err(doing)?;
            armed.store(true, Ordering::Relaxed);
            // What was lost is missed when the next comes.
            for line in ["altered", "after it"] {
                // It may have found out already.
                let _ = client.say(line).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let whole: &[&str] = match damage {
                Damage::Double | Damage::Add => &["altered"],
                Damage::Flip | Damage::Drop => &[],
            };
            let code = if to_host { 5 } else { 9 };
            ends_after(&mut client, code, "packet", whole).await.map_err(doing)?;
        }
    }
    Ok(())
});

// What a host has said once, said to another client; and what a client has said once, said to the host.
both!(what_was_recorded_proves_nothing, |world| {
    let recorded: Arc<Mutex<[Vec<u8>; 2]>> = Arc::default();
    let record = Arc::clone(&recorded);
    world.evil.be(Evil {
        tamper: Some(Arc::new(move |piece: Piece| {
            let mut all = record.lock().unwrap_or_else(PoisonError::into_inner);
            all[usize::from(piece.to_host)].extend_from_slice(&piece.bytes);
            piece.bytes
        })),
        ..Evil::default()
    });
    drop(world.connected().await?);
    let [of_host, of_client] = recorded.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure(of_host.len() > 1000 && of_client.len() > 1000, || "nothing was recorded".into())?;
    world.evil.be(Evil { recorded: Some(of_host), ..Evil::default() });
    world.is_refused(9, "signature does not verify").await?;

    let before = world.host.events.borrow().len();
    let played = AtomicBool::new(false);
    world.evil.be(Evil {
        tamper: Some(Arc::new(move |piece: Piece| match piece.to_host {
            true if played.swap(true, Ordering::Relaxed) => Vec::new(),
            true => of_client.clone(),
            false => piece.bytes,
        })),
        ..Evil::default()
    });
    let mut client = world.connect()?;
    client.say("not for the relay").await?;
    world.host.says("ClientFailed").await?;
    let came = world.host.events.borrow().iter().skip(before).cloned().collect::<Vec<_>>();
    ensure(came.iter().all(|event| !matches!(event, Event::ClientConnected { .. })), || format!("{came:?}"))
});

// A client of one tunnel is led to the host of another: from the start, or once both are at work.
both!(two_tunnels_are_not_one, |world| {
    let second = Host::start(&world.evil, "two", world.protocol, &[world.echo.port]).await?;
    world.evil.be(Evil { tunnel: Some("two"), ..Evil::default() });
    world.is_refused(4, "somebody else is at the other end").await?;
    drop(second);

    // The bytes of the second stream are given to the client of the first.
    let (armed, other) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let first = Arc::new(AtomicUsize::new(usize::MAX));
    let (for_tamper, stolen, of_first) = (Arc::clone(&armed), Arc::clone(&other), Arc::clone(&first));
    world.evil.be(Evil {
        tamper: Some(Arc::new(move |piece: Piece| {
            let first = of_first.fetch_min(piece.stream, Ordering::Relaxed).min(piece.stream);
            let mut stolen = stolen.lock().unwrap_or_else(PoisonError::into_inner);
            if piece.to_host || !for_tamper.load(Ordering::Relaxed) {
                return piece.bytes;
            }
            if piece.stream == first {
                return std::mem::take(&mut *stolen);
            }
            stolen.extend_from_slice(&piece.bytes);
            piece.bytes
        })),
        ..Evil::default()
    });
    let mut one = world.connected().await?;
    let mut two = world.connected().await?;
    armed.store(true, Ordering::Relaxed);
    echoes(&mut two, "of the second").await?;
    one.say("of the first").await?;
    ends(&mut one, 9, "packet").await
});

/// What is not there in v1: the relay of v2 is told whether a connection is to be encrypted, and to which port it leads.
#[tokio::test]
async fn encryption_is_not_given_up() -> Outcome {
    let world = World::new(Protocol::V2).await?;
    for strips_wish in [false, true] {
        world.evil.be(Evil { strips_answer: true, strips_wish, ..Evil::default() });
        world.is_refused(9, "refuses end-to-end encryption").await?;
    }
    // A host encrypts whatever the relay says that the client wants.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = Arc::clone(&seen);
    world.evil.be(Evil {
        strips_wish: true,
        tamper: Some(Arc::new(move |piece: Piece| {
            see.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece.bytes);
            piece.bytes
        })),
        ..Evil::default()
    });
    let mut client = world.connected().await?;
    echoes(&mut client, "canary-of-this-test").await?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    ensure(seen.starts_with(b"SSH-2.0-"), || "the relay has seen nothing".into())?;
    let found = seen.windows(6).any(|window| window == b"canary");
    ensure(!found, || "the relay has seen what was sent".into())
}

#[tokio::test]
async fn a_connection_is_not_led_to_another_port() -> Outcome {
    let world = World::new(Protocol::V2).await?;
    world.evil.be(Evil { port: Some(world.other.port), ..Evil::default() });
    world.is_refused(7, "the relay has led").await?;
    world.host.says("the relay has led").await
}
