//! `adit relay`: what hosts and clients meet at.

mod admin_token;
mod log;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relay::access::parse_range;
use relay::config::Limits;
use relay::tls::{Tls, TlsFiles};
use relay::{Config, Relay, Server};
use tokio::runtime::{Builder, Runtime};

pub(crate) use self::log::AuditLog;
use super::blocking::blocking;
use super::forward::Listen;
use super::paths;
use crate::Ended;
use crate::args::RelayArgs;
use crate::error::{CliError, Code, chain};
use crate::output::{Event, Output};
use crate::signals;

/// `/readyz` fails this long before anybody is sent away, so that whoever spreads the load looks elsewhere first.
const READINESS: Duration = Duration::from_secs(1);
/// Hosts and clients have this long to go. With [`READINESS`], a relay that is told to stop has stopped after 6 s.
const DRAIN: Duration = Duration::from_secs(5);
/// How often it is looked whether all have gone.
const LOOK: Duration = Duration::from_millis(50);
/// Tunnels that nobody has used for their time are looked for this often.
const SWEEP: Duration = Duration::from_secs(60);

/// Serves until a signal comes, then sends everybody away and ends.
///
/// # Errors
/// A file cannot be used, or the address cannot be bound.
pub(crate) async fn run(args: RelayArgs, output: &Output) -> Result<Ended, CliError> {
    let internal = |what: &str, error: io::Error| CliError::new(Code::Internal, format!("{what}: {error}"));
    let signal = signals::first().map_err(|error| internal("cannot listen to signals", error))?;
    tokio::pin!(signal);
    let limits = limits(&args.limit)?;
    let data_dir = match &args.data_dir {
        Some(folder) => folder.clone(),
        None => paths::in_data("relay", "the relay's data", Some("--data-dir DIR"))?,
    };
    make_private_folder(&data_dir)?;
    let (token, token_file, made) = admin_token::load(&data_dir)?;
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificates), Some(key)) => {
            let files = TlsFiles { certificates: certificates.clone(), key: key.clone() };
            let load = blocking(move || Tls::load(files).map_err(|error| CliError::file(&error)));
            Some(tokio::select! {
                name = &mut signal => return Ok(Ended::Closed(name)),
                tls = load => tls?,
            })
        }
        _ => None,
    };
    let mut config = Config::default();
    config.data_dir = Some(data_dir.clone());
    config.public_url = args.public_url.clone();
    config.host_names = args.host_name.clone();
    config.origins = args.origin.clone();
    config.proxies = args.proxy.iter().filter_map(|range| parse_range(range).ok()).collect();
    config.tls = tls.is_some();
    config.admin_token = Some(token);
    config.limits = limits;
    let relay = Relay::new(config).map_err(|error| {
        let folder = data_dir.display();
        let remedy = "check that no other relay uses it and that you may write there";
        CliError::new(
            Code::File,
            format!("cannot use the data directory {folder}: {}; {remedy}", chain(&error)),
        )
    })?;

    // Tunnels are many and independent, so they get every core.
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = Background(Some(runtime.map_err(|error| internal("cannot start the runtime", error))?));
    let server = bind(&runtime, &relay, &args.listen.listen).await?;
    let addr = server.local_addr().map_err(|error| internal("the listener has no address", error))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let public_url = args.public_url.unwrap_or_else(|| format!("{scheme}://{addr}"));
    output.event(&Event::Listening { addr: addr.to_string(), public_url: Some(public_url) });
    output.event(&Event::AdminToken { file: token_file.display().to_string(), made });
    if tls.is_none() && !addr.ip().is_loopback() {
        output.warning(
            "without --tls-cert and --tls-key, tokens can be read on the way; put a proxy with TLS in front, and name it with --proxy",
        );
    }

    let server = match tls {
        Some(tls) => {
            runtime.spawn(Arc::clone(&tls).watch());
            server.tls(tls)
        }
        None => server,
    };
    let listener = runtime.spawn(server.run());
    runtime.spawn(sweep(Arc::clone(&relay)));
    let name = (&mut signal).await;
    relay.stop_admitting();
    tokio::time::sleep(READINESS).await;
    // A refused connection is tried again after a second; a 503 after six.
    listener.abort();
    relay.drain();
    let all_gone = async {
        while relay.connected() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(DRAIN, all_gone).await.is_err() {
        output.warning(format!("{} hosts and clients did not go by themselves", relay.connected()));
    }
    Ok(Ended::Closed(name))
}

/// The limits, each changed by the last that was said of it.
fn limits(changes: &[String]) -> Result<Limits, CliError> {
    let mut limits = Limits::default();
    for change in changes {
        let wrong = |why: &str| CliError::usage(format!("--limit {change}: {why}"));
        let (name, value) = change.split_once('=').ok_or_else(|| wrong("it is written NAME=VALUE"))?;
        let value = value.parse().map_err(|_| wrong("the value has to be a whole number"))?;
        limits.set(name, value).map_err(|error| wrong(&error.to_string()))?;
    }
    Ok(limits)
}

/// A runtime that may be dropped where nobody may wait.
struct Background(Option<Runtime>);

impl Background {
    fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match &self.0 {
            Some(runtime) => runtime.spawn(future),
            None => tokio::spawn(future),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn bind(runtime: &Background, relay: &Arc<Relay>, listen: &Listen) -> Result<Server, CliError> {
    let cannot = |error: &io::Error| CliError::bind(&format!("cannot listen on {listen}: {error}"), error);
    let addresses: Vec<SocketAddr> = match listen.host.as_str() {
        "*" => vec![([0_u16; 8], listen.port).into(), ([0_u8; 4], listen.port).into()],
        host => tokio::net::lookup_host((host, listen.port)).await.map_err(|error| cannot(&error))?.collect(),
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        // A listener belongs to the runtime that it was made on.
        let bound = runtime.spawn(Server::bind(Arc::clone(relay), address)).await;
        match bound.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(server) => return Ok(server),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(cannot(&error)),
            Err(error) => last = error,
        }
    }
    Err(cannot(&last))
}

async fn sweep(relay: Arc<Relay>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        let relay = Arc::clone(&relay);
        let swept = tokio::task::spawn_blocking(move || relay.expire()).await;
        if let Ok(Err(error)) = swept {
            error.log();
        }
    }
}

/// It holds keys, so it is nobody else's.
pub(crate) fn make_private_folder(folder: &Path) -> Result<(), CliError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| {
        let shown = folder.display();
        CliError::new(
            Code::File,
            format!("cannot make the data directory {shown}: {error}; choose another one"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_changed_by_name() {
        let changed =
            |changes: &[&str]| limits(&changes.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let set = changed(&["clients_per_tunnel=7", "host_wait=3", "clients_per_tunnel=8"]).unwrap();
        assert_eq!((set.clients_per_tunnel, set.host_wait), (8, Duration::from_secs(3)));
        assert_eq!(changed(&[]).unwrap(), Limits::default());
        let error = changed(&["clients=1"]).unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(error.message.contains("clients_per_owner"), "it says which there are: {}", error.message);
    }
}
