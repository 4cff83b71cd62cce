//! `adit host`: offers ports of this machine.

mod embedded;
mod ports;
mod published;
mod rules;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use relay::dial::{Dialer, Proxies};
use relay::host::{Config, Event as HostEvent, Host, HostError};
use relay::link::Link;
use relay::{AccessToken, Relay};
use ssh_core::keys::{Curve, Fingerprint, KeyKind, SigningKey};
use zeroize::Zeroizing;

use self::ports::Offer;
use self::wanted::Wanted;
use super::api::Api;
use super::blocking::blocking;
use super::connect::millis;
use super::serve::host_keys;
use super::session::PROVIDER;
use super::tunnel_ends::{End, dial_error, dialer};
use crate::Ended;
use crate::args::{HostArgs, NamedPort};
use crate::error::{CliError, Code, chain};
use crate::output::{Event, Output, print};
use crate::signals;

/// The key's file in the data directory. Its kind is one that SDK clients know.
const OWN_KEY: &str = "tunnel_host_ecdsa";
/// A link holds this long unless it is said otherwise.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// What there is at the relay for a host.
struct Place {
    /// The relay's URL.
    relay: String,
    /// The tunnel's id.
    tunnel: String,
    /// Where the host dials.
    host_url: String,
    host_token: Option<AccessToken>,
    /// For the link; none if it is needless, or cannot be had.
    connect_token: Option<Zeroizing<String>>,
    listing: Listing,
}

/// What the relay shows of the tunnel's ports. Nobody connects by it: clients are told by the host.
enum Listing {
    Embedded(Arc<Relay>),
    Published(Arc<Api>),
}

impl Listing {
    /// Makes these the ports that are shown, in a while.
    fn tell(&self, tunnel: &str, ports: Vec<NamedPort>, output: &Output) {
        let (tunnel, output) = (tunnel.to_owned(), output.clone());
        match self {
            Self::Embedded(relay) => {
                let relay = Arc::clone(relay);
                tokio::task::spawn_blocking(move || embedded::show(&relay, &tunnel, &ports, &output));
            }
            Self::Published(api) => {
                let api = Arc::clone(api);
                tokio::spawn(async move {
                    if let Err(error) = published::show(&api, &tunnel, &ports).await {
                        output
                            .warning(format!("the relay's list of ports is not changed: {}", error.message));
                    }
                });
            }
        }
    }
}

/// Hosts until a signal comes, the time is over, or trying again makes no sense.
///
/// # Errors
/// The relay cannot be reached, or refuses.
pub(crate) async fn run(args: HostArgs, output: &Output) -> Result<Ended, CliError> {
    let wanted = args.relay.as_ref().map(|relay| Wanted::new(&args, relay)).transpose()?;
    let ended = host(&args, wanted.as_ref(), output).await;
    if let Some(wanted) = &wanted {
        wanted.delete().await;
    }
    ended
}

/// `wanted` is the tunnel of somebody's relay, if there is one.
async fn host(args: &HostArgs, wanted: Option<&Wanted>, output: &Output) -> Result<Ended, CliError> {
    let signal = signals::first()
        .map_err(|error| CliError::new(Code::Internal, format!("cannot listen to signals: {error}")))?;
    tokio::pin!(signal);
    let (ports, file) = (args.port.clone(), args.ports_file.clone());
    let mut offer = tokio::select! {
        name = &mut signal => return Ok(Ended::Closed(name)),
        offer = blocking(move || Offer::load(&ports, file.as_deref())) => offer?,
    };
    let key = host_key(args, output)?;
    let fingerprint = key.public_key().fingerprint();
    let blob = key.public_key().to_blob();
    let (place, dialer) = match wanted {
        Some(wanted) => {
            let place = tokio::select! {
                name = &mut signal => return Ok(Ended::Closed(name)),
                place = published::prepare(args, offer.now(), wanted, &blob, output) => place?,
            };
            (place, dialer(args.ca_file.as_deref())?)
        }
        None => {
            let direct =
                Dialer::new(None, Proxies::default()).map_err(|error| dial_error(&error, End::Host))?;
            (embedded::prepare(args, offer.now(), &blob, output).await?, direct)
        }
    };
    let for_events = output.clone();
    let config = Config {
        url: place.host_url.clone(),
        token: place.host_token.clone(),
        protocol: args.protocol.into(),
        allow_plain: args.no_e2e,
        dialer,
        provider: PROVIDER,
        ports: numbers(offer.now()).collect(),
        on_event: Arc::new(move |event| report(event, &for_events)),
    };
    let mut host = tokio::select! {
        name = &mut signal => return Ok(Ended::Closed(name)),
        host = Host::start(config, key) => host.map_err(|error| failed(&error))?,
    };
    let link = Link {
        relay: place.relay.clone(),
        tunnel: place.tunnel.clone(),
        host_key: Some(fingerprint),
        token: place.connect_token.clone(),
    };
    let text = link.to_secret_text();
    let ports: Vec<u16> = numbers(offer.now()).collect();
    output.event(&Event::Hosted {
        link: &text,
        tunnel: &place.tunnel,
        ports: &ports,
        management_uri: &place.relay,
    });
    if !output.is_json() {
        output.flush();
        // Quoted, since shells take `&` for their own.
        let quote = if link.token.is_some() { "'" } else { "" };
        print(format!("adit connect {quote}{}{quote}\n", *text))?;
    }
    let over = async {
        match args.expires {
            Some(length) => tokio::time::sleep(Duration::from_secs(length.0)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let ended = loop {
        tokio::select! {
            name = &mut signal => break Ok(Ended::Closed(name)),
            () = &mut over => break Ok(Ended::Closed("the time is over")),
            error = host.ended() => {
                if let (HostError::Replaced, Some(wanted)) = (&error, wanted) {
                    wanted.give_up();
                }
                break Err(failed(&error));
            }
            changed = offer.changed() => match changed {
                Ok(()) => {
                    // Clients hear it from here. The relay is told for those who ask it what there is.
                    host.set_ports(numbers(offer.now()).collect());
                    let ports: Vec<u16> = numbers(offer.now()).collect();
                    output.event(&Event::Ports { ports: &ports });
                    place.listing.tell(&place.tunnel, offer.now().to_vec(), output);
                }
                Err(error) => {
                    let message = format!("{}; the ports stay as they are until it is mended", error.message);
                    output.event(&Event::Error { code: error.code.name(), message: &message });
                }
            },
        }
    };
    host.close().await;
    ended
}

fn numbers(ports: &[NamedPort]) -> impl Iterator<Item = u16> {
    ports.iter().map(|port| port.port)
}

fn lifetime(args: &HostArgs) -> Duration {
    args.expires.map_or(LIFETIME, |length| Duration::from_secs(length.0))
}

fn host_key(args: &HostArgs, output: &Output) -> Result<SigningKey, CliError> {
    if let Some(file) = &args.host_key {
        return host_keys::load_file(file);
    }
    let (key, made) = host_keys::load_own(OWN_KEY, KeyKind::Ecdsa(Curve::P384))?;
    if let Some(made) = made {
        output.event(&made);
    }
    Ok(key)
}

/// What a link to a host of this user on this machine has, if there has been one. It reads a file.
pub(super) fn own_fingerprint() -> Option<Fingerprint> {
    Some(host_keys::find_own(OWN_KEY)?.public_key().fingerprint())
}

fn report(event: HostEvent, output: &Output) {
    match event {
        HostEvent::Disconnected { reason } => {
            output.event(&Event::Disconnected { from: None, reason, resumable: true })
        }
        HostEvent::Reconnecting { attempt, after, reason } => {
            output.event(&Event::Reconnecting { attempt, delay_ms: millis(after), reason });
        }
        HostEvent::Resumed => {
            output.event(&Event::Resumed { from: None, new_session: false, streams_lost: Some(0) })
        }
        HostEvent::ClientConnected { number } => output.event(&Event::ClientConnected { client: number }),
        HostEvent::ClientGone { number, reason } => {
            output.event(&Event::ClientGone { client: number, reason });
        }
        HostEvent::ClientFailed { reason } => {
            output.event(&Event::Refused { message: format!("a client did not get through: {reason}") });
        }
        HostEvent::Failed { port, reason } => {
            output.event(&Event::Refused {
                message: format!("cannot connect a client to port {port}: {reason}"),
            });
        }
        _ => {}
    }
}

fn failed(error: &HostError) -> CliError {
    match error {
        HostError::Dial(error) => dial_error(error, End::Host),
        HostError::Session(error) => {
            CliError::new(Code::of(error), format!("the session with the relay failed: {}", chain(error)))
        }
        HostError::Replaced => CliError::new(Code::RemoteRefused, error.to_string()),
        error => CliError::new(Code::Internal, error.to_string()),
    }
}
