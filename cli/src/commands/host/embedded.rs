//! A relay in the host's own process, for this one tunnel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay::access::parse_range;
use relay::model::{AccessControl, CLUSTER, Endpoint, Port, Tunnel, is_tunnel_id};
use relay::scopes::{Scope, Scopes};
use relay::store::{Record, StoreError};
use relay::tokens::{Grant, MAX_LIFETIME};
use relay::{Config, Relay, Server};
use serde_json::json;

use super::{Listing, Place, lifetime, rules};
use crate::args::{HostArgs, NamedPort, Who};
use crate::commands::paths;
use crate::commands::relay::make_private_folder;
use crate::commands::tunnel::{items, random_id};
use crate::error::{CliError, Code, chain};
use crate::output::Output;

/// Who owns the tunnel.
const OWNER: &str = "host";

/// Starts the relay. It runs until the process ends.
pub(super) async fn prepare(
    args: &HostArgs,
    ports: &[NamedPort],
    key: &[u8],
    output: &Output,
) -> Result<Place, CliError> {
    let tunnel = match &args.tunnel {
        Some(id) if is_tunnel_id(id) => id.clone(),
        Some(id) => {
            let rule = "3 to 49 of a-z, 0-9 and -, and no - at the ends";
            return Err(CliError::usage(format!("{id:?} is no id of a tunnel; one has {rule}")));
        }
        None => random_id()?,
    };
    let broken =
        |error: StoreError| CliError::new(Code::Internal, format!("the relay failed: {}", chain(&error)));
    check_rules(&args.allow)?;
    let kept = args.tunnel.as_deref().map(Kept::open).transpose()?;
    let mut config = Config::default();
    config.data_dir = kept.as_ref().map(|kept| kept.folder.clone());
    let relay = Relay::new(config).map_err(|error| match (&kept, &error) {
        (Some(kept), StoreError::Open(_)) => kept.unusable(&tunnel, &chain(&error)),
        _ => broken(error),
    })?;
    let (server, is_substitute) = bind(args, &relay, kept.as_ref(), output).await?;
    let bound = server.local_addr().map_err(|error| CliError::new(Code::Internal, error.to_string()))?;
    let shown =
        if bound.ip().is_unspecified() { SocketAddr::new(own_address(), bound.port()) } else { bound };
    let base = format!("http://{shown}");
    if shown.ip().is_loopback() && args.listen.is_none() {
        output.warning(
            "the link is good on this machine alone; give an address of another network with --listen",
        );
    }

    let (host_url, client_url) =
        (format!("ws://{shown}/t/{tunnel}/host"), format!("ws://{shown}/t/{tunnel}/client"));
    let endpoint = Endpoint {
        id: format!("{tunnel}-relay"),
        host_id: tunnel.clone(),
        connection_mode: "TunnelRelay".into(),
        host_public_keys: Some(vec![STANDARD.encode(key)]),
        host_relay_uri: Some(host_url.clone()),
        client_relay_uri: Some(client_url),
    };
    let last = relay.store().tunnel(&tunnel);
    let old = last.as_ref().and_then(|last| last.tunnel.access_control.clone());
    let old = serde_json::to_value(old.unwrap_or_default()).unwrap_or_default();
    let rules = rules::with_allowed(items(&old, "entries"), &args.allow);
    let rules: Option<AccessControl> = serde_json::from_value(json!({ "entries": rules })).ok();
    let record = Tunnel {
        tunnel_id: tunnel.clone(),
        cluster_id: CLUSTER.into(),
        access_control: rules,
        endpoints: vec![endpoint],
        ports: ports.iter().map(shown_as).collect(),
        ..Tunnel::default()
    };
    if let Some(kept) = kept.filter(|_| !is_substitute) {
        kept.remember_port(bound.port());
    }
    let mut record = Record::new(record, OWNER.into(), relay.now()).map_err(broken)?;
    if let Some(last) = last {
        // It is the same tunnel, so that the links of before hold.
        record.generation = last.generation.clone();
    }
    // But for its rules, what it was the last time is what it was then.
    relay.store().delete(&tunnel).map_err(broken)?;
    relay.store().create(record.clone()).map_err(broken)?;
    let issue = |scope: Scope, lifetime: Duration| {
        let grant = Grant::at(&record, OWNER, Scopes::from(scope));
        relay.tokens().issue(&grant, lifetime, relay.now()).map(|issued| issued.token).map_err(broken)
    };
    // Nobody but this process has it.
    let host_token = Some(issue(Scope::Host, MAX_LIFETIME)?.into());
    let everybody = args.allow.contains(&Who::Anonymous);
    let connect_token = if everybody { None } else { Some(issue(Scope::Connect, lifetime(args))?) };
    tokio::spawn(server.run());
    Ok(Place { relay: base, tunnel, host_url, host_token, connect_token, listing: Listing::Embedded(relay) })
}

/// Makes these the ports that the relay shows. It waits for the disk.
pub(super) fn show(relay: &Relay, tunnel: &str, ports: &[NamedPort], output: &Output) {
    let changed = relay.store().update(tunnel, |old| {
        let mut record = old.clone();
        record.tunnel.ports = ports.iter().map(shown_as).collect();
        Some(record)
    });
    if let Err(error) = changed {
        output.warning(format!("the relay's list of ports is not changed: {}", chain(&error)));
    }
}

fn shown_as(port: &NamedPort) -> Port {
    Port { port_number: port.port, protocol: Some("auto".into()), name: port.name.clone(), ..Port::default() }
}

/// Rules that could let nobody in are a mistake.
fn check_rules(rules: &[Who]) -> Result<(), CliError> {
    for rule in rules {
        match rule {
            Who::Anonymous => {}
            Who::User(name) => {
                return Err(CliError::usage(format!(
                    "--allow user:{name} needs --relay: this machine's own relay knows no users"
                )));
            }
            Who::Range(range) if parse_range(range).is_err() => {
                return Err(CliError::usage(format!(
                    "--allow {range}: write `anonymous`, user:NAME, or an address range such as 10.0.0.0/8"
                )));
            }
            Who::Range(_) => {}
        }
    }
    Ok(())
}

/// What stays of a tunnel that was given a name, so that its links hold when it is started again: keys of tokens, and
/// the port.
struct Kept {
    folder: PathBuf,
}

const PORT: &str = "port";

impl Kept {
    /// `tunnel` is an id, and so a good name for a folder.
    fn open(tunnel: &str) -> Result<Self, CliError> {
        let folder = paths::in_data("tunnels", "the tunnel", None)?.join(tunnel);
        make_private_folder(&folder)?;
        Ok(Self { folder })
    }

    fn port(&self) -> Option<u16> {
        std::fs::read_to_string(self.folder.join(PORT)).ok()?.trim().parse().ok()
    }

    fn remember_port(&self, port: u16) {
        if let Err(error) = std::fs::write(self.folder.join(PORT), format!("{port}\n")) {
            tracing::warn!(%error, "the port of the tunnel is not kept");
        }
    }

    fn unusable(&self, tunnel: &str, why: &str) -> CliError {
        let folder = self.folder.display();
        let remedy = "stop the `adit host` that has it, or choose another name";
        CliError::new(
            Code::File,
            format!("cannot use what is kept of the tunnel {tunnel} in {folder}: {why}; {remedy}"),
        )
    }
}

/// Listens, where it is not said otherwise on the port of the last time; whether another had to stand in for that.
async fn bind(
    args: &HostArgs,
    relay: &Arc<Relay>,
    kept: Option<&Kept>,
    output: &Output,
) -> Result<(Server, bool), CliError> {
    let address = address(args).await?;
    let mut taken = None;
    if let (None, Some(port)) = (&args.listen, kept.and_then(Kept::port)) {
        let again = SocketAddr::new(address.ip(), port);
        match Server::bind(Arc::clone(relay), again).await {
            Ok(server) => return Ok((server, false)),
            Err(error) => taken = Some(format!("cannot listen on {again} as the last time: {error}")),
        }
    }
    let server = Server::bind(Arc::clone(relay), address)
        .await
        .map_err(|error| CliError::bind(&format!("cannot listen on {address}: {error}"), &error))?;
    let is_substitute = taken.is_some();
    if let Some(taken) = taken {
        output.warning(format!(
            "{taken}; links of before do not lead here until what uses that port is stopped and this is started again, and the \
             new link leads here until then"
        ));
    }
    Ok((server, is_substitute))
}

async fn address(args: &HostArgs) -> Result<SocketAddr, CliError> {
    let Some(listen) = args.listen.as_ref().map(|spec| &spec.listen) else {
        return Ok(SocketAddr::new(own_address(), 0));
    };
    if listen.host == "*" {
        return Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listen.port));
    }
    let found = tokio::net::lookup_host((listen.host.as_str(), listen.port)).await;
    let first = found.ok().and_then(|mut found| found.next());
    first.ok_or_else(|| CliError::usage(format!("{} has no address; give one of this machine", listen.host)))
}

/// The address that packets to elsewhere leave from; nothing is sent to find out.
fn own_address() -> IpAddr {
    // Addresses for documentation (RFC 5737, RFC 3849): they are routed like any other.
    let far: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let route = far.into_iter().find_map(|(any, far)| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((far, 9)).ok()?;
        socket.local_addr().ok()
    });
    route.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}
