//! `adit relay`.

use std::path::PathBuf;

use clap::Args;

use crate::commands::forward::DynamicSpec;

#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// The address to listen on; port 0 chooses one
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(crate) listen: DynamicSpec,

    /// Where tunnels, keys and the operator's token are kept; the user's data directory unless given
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// How it is reached from outside, as https://relay.example; what requests name as their host unless given
    #[arg(long, value_name = "URL", value_parser = public_url)]
    pub(crate) public_url: Option<String>,

    /// Another name that it goes by. Requests for names that are not known are refused; addresses and localhost are known
    #[arg(long, value_name = "NAME")]
    pub(crate) host_name: Vec<String>,

    /// Pages of this origin, as https://editor.example, may use it
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) origin: Vec<String>,

    /// A proxy in front of the relay, as an address or a range: requests come from whom its X-Forwarded-For names
    #[arg(long, value_name = "CIDR", value_parser = proxy_range)]
    pub(crate) proxy: Vec<String>,

    /// The certificate and those between it and the root, as PEM. It is read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The key of the certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Change a limit, by the name that those who meet it are told: clients_per_tunnel=200,
    /// bytes_per_second_per_owner=10000000. A name that does not exist shows those that do
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) limit: Vec<String>,

    /// Append the access and audit log there, with warnings, as JSON lines; `-` is stderr
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) log: PathBuf,
}

fn proxy_range(text: &str) -> Result<String, String> {
    relay::access::parse_range(text)
        .map(|_| text.into())
        .map_err(|_| "write an address or a range such as 10.0.0.0/8".into())
}

fn public_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest.map(|rest| rest.trim_end_matches('/')) {
        Some(rest) if !rest.is_empty() && !rest.contains(['/', '?', '#', '@', ' ']) => {
            Ok(text.trim_end_matches('/').into())
        }
        _ => Err("a URL has the form https://HOST[:PORT], without a path".into()),
    }
}
