//! The command line: clap types and nothing else.
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::bare_urls,
    reason = "what stands here is shown as help on a terminal"
)]

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use ssh_core::keys::{Fingerprint, KeyFormat};
use ssh_core::services::port_forward::{PermitListen, PermitTarget};

use crate::commands::forward::{DynamicSpec, Endpoint, ForwardSpec, Target};
use crate::commands::keygen::{Validity, duration};
use crate::commands::serve::{AuthorizedKeysArg, Permit, Requirement, UserArg};
use crate::error::EXIT_CODES;

/// SSH tunnels: forward ports, serve forwards, make keys.
#[derive(Debug, Parser)]
#[command(name = "adit", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print events as JSON on stdout (with -W: on stderr), one object a line; ask nobody anything
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Log to stderr; repeat for more (-vv: debug, -vvv: packets). ADIT_LOG takes a finer filter
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Offer ports of this machine to whoever has the link that is printed
    #[command(after_help = EXIT_CODES)]
    Host(Box<HostArgs>),
    /// Bring the ports of a host here
    #[command(after_help = EXIT_CODES)]
    Connect(Box<ConnectArgs>),
    /// Log in to an SSH server and forward ports
    #[command(after_help = EXIT_CODES)]
    Forward(Box<ForwardArgs>),
    /// Be an SSH server that does forwards and nothing else
    #[command(after_help = EXIT_CODES)]
    Serve(Box<ServeArgs>),
    /// Make a key, show the fingerprint of one, convert one, change its passphrase, or certify one
    #[command(after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
    Keygen(Box<KeygenArgs>),
    /// Be a relay, where hosts offer tunnels and clients connect to them; Dev Tunnels SDKs work with it too
    #[command(after_help = EXIT_CODES)]
    Relay(Box<RelayArgs>),
    /// Look at the tunnels of a relay, make and delete them, say who may use them
    #[command(after_help = EXIT_CODES)]
    Tunnel(Box<TunnelArgs>),
    /// Make tokens for the tunnels of a relay, take them back, or look at one
    #[command(after_help = EXIT_CODES)]
    Token(Box<TokenArgs>),
    /// Turn a password into a hash for `serve --user`
    #[command(after_help = EXIT_CODES)]
    HashPassword,
}

#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// The ports of this machine to offer, perhaps with names for people
    #[arg(value_name = "PORT|NAME=PORT", required = true)]
    pub(crate) port: Vec<NamedPort>,

    /// The relay. Unless given, this machine is the relay too, as long as the command runs
    #[arg(long, value_name = "URL", env = "ADIT_RELAY")]
    pub(crate) relay: Option<String>,

    /// The tunnel's id or name at the relay; it is made if there is none. One is chosen unless given
    #[arg(long, value_name = "NAME")]
    pub(crate) tunnel: Option<String>,

    /// A file with a token of the relay. Otherwise the environment variable ADIT_TOKEN is used
    #[arg(long, value_name = "FILE", requires = "relay")]
    pub(crate) token_file: Option<PathBuf>,

    /// Trust the certificates in this PEM file, and no others
    #[arg(long, value_name = "FILE", requires = "relay")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Who may connect without the token of the link: `anonymous`, user:NAME or an address range
    #[arg(long, value_name = "anonymous|user:NAME|CIDR")]
    pub(crate) allow: Vec<Who>,

    /// Stop after this long, when the link holds no more either: 2h, 7d
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<Length>,

    /// Without --relay, the address to listen on; port 0 chooses one
    #[arg(long, value_name = "[HOST:]PORT", conflicts_with = "relay")]
    pub(crate) listen: Option<DynamicSpec>,

    /// The private key that clients know the host by. Unless given, one is made on the first start and kept in the user's
    /// data directory
    #[arg(long, value_name = "FILE")]
    pub(crate) host_key: Option<PathBuf>,

    /// The version of the relay's protocol
    #[arg(long, value_enum, default_value_t = RelayProtocol::V1)]
    pub(crate) protocol: RelayProtocol,

    /// With v2, let clients do without end-to-end encryption: the relay then sees what they send
    #[arg(long)]
    pub(crate) no_e2e: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// What `adit host` printed, `-` to read it from stdin, or with --relay the tunnel's id or name
    #[arg(value_name = "LINK|TUNNEL")]
    pub(crate) tunnel: String,

    /// The relay, where it is not in the link
    #[arg(long, value_name = "URL", env = "ADIT_RELAY")]
    pub(crate) relay: Option<String>,

    /// A file with a token of the relay, instead of the one in the link. Where neither is, the environment variable
    /// ADIT_TOKEN is used
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Trust the certificates in this PEM file, and no others
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Listen for the host's port REMOTE on LOCAL
    #[arg(short = 'p', long = "port", value_name = "LOCAL:REMOTE")]
    pub(crate) port: Vec<PortPair>,

    /// Fail where a port is taken here, instead of listening on the next free one
    #[arg(long)]
    pub(crate) same_ports: bool,

    /// Connect stdin and stdout to a port of the host, as an OpenSSH ProxyCommand does; a HOST before it is ignored
    #[arg(short = 'W', value_name = "[HOST:]PORT", value_parser = stdio_port, conflicts_with = "port")]
    pub(crate) stdio: Option<u16>,

    /// The version of the relay's protocol
    #[arg(long, value_enum, default_value_t = RelayProtocol::V1)]
    pub(crate) protocol: RelayProtocol,

    /// With v2, do without end-to-end encryption: the relay then sees what is sent, and nothing outlives a lost link
    #[arg(long)]
    pub(crate) no_e2e: bool,

    /// Accept any host where the link has no key: whoever runs the relay can then read and change everything
    #[arg(long)]
    pub(crate) allow_unpinned_host: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RelayProtocol {
    V1,
    V2,
}

/// `PORT` or `NAME=PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPort {
    pub(crate) name: Option<String>,
    pub(crate) port: u16,
}

impl std::str::FromStr for NamedPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = match text.split_once('=') {
            Some((name, port)) => (Some(name.to_owned()), port),
            None => (None, text),
        };
        let is_name =
            |name: &String| (1..=60).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        if !name.as_ref().is_none_or(is_name) {
            return Err("a name has 1 to 60 characters".into());
        }
        Ok(Self { name, port: port_number(port)? })
    }
}

/// `LOCAL:REMOTE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortPair {
    pub(crate) local: u16,
    pub(crate) remote: u16,
}

impl std::str::FromStr for PortPair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = text.split_once(':').ok_or("write LOCAL:REMOTE, as in 8080:3000")?;
        Ok(Self { local: port_number(local)?, remote: port_number(remote)? })
    }
}

fn port_number(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{text:?} is not a port from 1 to 65535"))
}

fn stdio_port(text: &str) -> Result<u16, String> {
    port_number(text.rsplit_once(':').map_or(text, |(_, port)| port))
}

#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// The server; the user is the login name and the port 22 unless given
    #[arg(value_name = "[USER@]HOST[:PORT]")]
    pub(crate) target: Target,

    /// Listen here, connect from the server. Binds loopback unless told otherwise; port 0 chooses one. The path of a Unix
    /// socket may stand for [BIND:]PORT, and for HOST:PORT
    #[arg(short = 'L', value_name = "[BIND:]PORT:HOST:PORT")]
    pub(crate) local: Vec<ForwardSpec>,

    /// Listen at the server, connect from here; Unix sockets as for -L
    #[arg(short = 'R', value_name = "[BIND:]PORT:HOST:PORT")]
    pub(crate) remote: Vec<ForwardSpec>,

    /// Listen here as a SOCKS and HTTP proxy, connect from the server
    #[arg(short = 'D', value_name = "[BIND:]PORT")]
    pub(crate) dynamic: Vec<DynamicSpec>,

    /// Connect stdin and stdout to a target of the server, as an OpenSSH ProxyCommand does
    #[arg(short = 'W', value_name = "HOST:PORT")]
    pub(crate) stdio: Option<Endpoint>,

    /// A private key to log in with; ~/.ssh/id_ed25519, id_ecdsa and id_rsa unless given
    #[arg(short = 'i', value_name = "KEYFILE")]
    pub(crate) identity: Vec<PathBuf>,

    /// Leave the keys of the ssh-agent at SSH_AUTH_SOCK alone
    #[arg(long)]
    pub(crate) no_agent: bool,

    /// A file with the password on its first line. Otherwise the environment variable ADIT_PASSWORD is used
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,

    /// Known host keys; ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts unless given
    #[arg(long, value_name = "FILE")]
    pub(crate) known_hosts: Vec<PathBuf>,

    /// Accept this host key, or the certificates of this authority, and no other, whatever the known hosts say
    #[arg(long, value_name = "SHA256:...")]
    pub(crate) host_key: Vec<Fingerprint>,

    /// Trust the key of an unknown host and add it to the known hosts. A changed key is still refused
    #[arg(long)]
    pub(crate) accept_new: bool,

    /// Give up if connecting and logging in take longer than this
    #[arg(long, value_name = "SECS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) connect_timeout: u64,

    #[command(flatten)]
    pub(crate) session: SessionArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on; port 0 chooses one
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(crate) listen: DynamicSpec,

    /// A private host key. Unless given, one is made on the first start and kept in the user's data directory
    #[arg(long, value_name = "FILE")]
    pub(crate) host_key: Vec<PathBuf>,

    /// A certificate for one of the host keys, as `ssh-keygen -h` or `adit keygen sign --host` make them
    #[arg(long, value_name = "FILE-cert.pub")]
    pub(crate) host_cert: Vec<PathBuf>,

    /// Who may log in by key: any user name, or only NAME
    #[arg(long, value_name = "[NAME:]FILE")]
    pub(crate) authorized_keys: Vec<AuthorizedKeysArg>,

    /// Whose certificates let in the users that they name: the public keys of authorities, one a line; for any user
    /// name, or only NAME
    #[arg(long, value_name = "[NAME:]FILE")]
    pub(crate) trusted_ca: Vec<AuthorizedKeysArg>,

    /// Who may log in by password: the first line of the file holds its hash, by `adit hash-password` or
    /// `openssl passwd -6`
    #[arg(long, value_name = "NAME:PASSWORDFILE")]
    pub(crate) user: Vec<UserArg>,

    /// The methods that a login takes, in order; `,` parts alternatives, as in `publickey+password,publickey+publickey`.
    /// Any one method unless given
    #[arg(long, value_name = "METHOD+METHOD,...")]
    pub(crate) require: Option<Requirement>,

    /// A text for everybody who is about to log in
    #[arg(long, value_name = "FILE")]
    pub(crate) banner: Option<PathBuf>,

    /// Do not delay and turn away sources whose logins fail too often
    #[arg(long)]
    pub(crate) no_penalties: bool,

    /// Where clients may connect to: `any`, HOST:PORT or HOST:*; the path of a Unix socket or DIRECTORY/*, which `any` does
    /// not include
    #[arg(long, value_name = "any|HOST:PORT|PATH", required_unless_present = "permit_listen", num_args = 1..)]
    pub(crate) permit_open: Vec<Permit<PermitTarget>>,

    /// Where clients may listen here: `any`, `[BIND:]PORT` or `BIND:*`; a path as above. Nowhere unless given
    #[arg(long, value_name = "any|[BIND:]PORT|PATH", num_args = 1..)]
    pub(crate) permit_listen: Vec<Permit<PermitListen>>,

    /// Sessions at once. One that waits for its client to come back counts, but gives way to a new one
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_sessions: u32,

    #[command(flatten)]
    pub(crate) session: SessionArgs,
}

/// What both sides of a session take.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// Ciphers in order of preference, separated by commas
    #[arg(long, value_name = "LIST")]
    pub(crate) cipher: Option<String>,

    /// Key exchange methods in order of preference, separated by commas
    #[arg(long, value_name = "LIST")]
    pub(crate) kex: Option<String>,

    /// MACs in order of preference, separated by commas
    #[arg(long, value_name = "LIST")]
    pub(crate) mac: Option<String>,

    /// Which algorithms are offered; `hardened` offers post-quantum key exchange only and no NIST curve
    #[arg(long, value_enum, default_value_t = Policy::Default)]
    pub(crate) policy: Policy,

    /// New keys after this many bytes each way
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1024..))]
    pub(crate) rekey_bytes: Option<u64>,

    /// Forwarded connections of a session at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_channels: u32,

    /// Ask a silent peer for a sign of life after this many seconds; with three unanswered the connection is lost. 0
    /// never asks. 20 unless given; 5 where the session can be resumed, and then two are enough
    #[arg(long, value_name = "SECS")]
    pub(crate) keepalive: Option<u64>,

    /// End sessions with their connection. Otherwise a lost connection is replaced: nothing is lost if both sides are
    /// Adit, and with any other server `forward` logs in anew
    #[arg(long)]
    pub(crate) no_reconnect: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    Default,
    Hardened,
}

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

    /// The certificate and those between it and the root, as PEM. It is read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The key of the certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Append the access and audit log there, as JSON lines; `-` is stderr
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) log: PathBuf,
}

/// Which relay is asked, and by what right.
#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    /// The relay
    #[arg(long, value_name = "URL", env = "ADIT_RELAY")]
    pub(crate) relay: String,

    /// A file with a token. Otherwise the environment variable ADIT_TOKEN is used
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Trust the certificates in this PEM file, and no others
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TunnelArgs {
    #[command(subcommand)]
    pub(crate) action: TunnelAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TunnelAction {
    /// Show all tunnels of the token's owner; of everybody to the operator
    List(ApiArgs),
    /// Show a tunnel
    Show(TunnelOnlyArgs),
    /// Make a tunnel
    Create(TunnelCreateArgs),
    /// Delete a tunnel, and end what goes on in it
    Delete(TunnelOnlyArgs),
    /// Show the ports of a tunnel, after adding and removing some
    Ports(TunnelPortsArgs),
    /// Show who may connect to a tunnel beside the holders of tokens, after changing it
    Access(TunnelAccessArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TunnelOnlyArgs {
    /// The tunnel's id or name
    pub(crate) tunnel: String,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TunnelCreateArgs {
    /// Its id: 3 to 49 of a-z, 0-9 and -. One is chosen unless given
    pub(crate) tunnel: Option<String>,

    /// A text for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,

    /// A port that it offers
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Vec<u16>,

    /// Who may connect without a token: `anonymous`, user:NAME or an address range
    #[arg(long, value_name = "anonymous|user:NAME|CIDR")]
    pub(crate) allow: Vec<Who>,

    /// Forget it when nobody has used it for this long: 2h, 7d
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<Length>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TunnelPortsArgs {
    /// The tunnel's id or name
    pub(crate) tunnel: String,

    /// Offer this port too
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) add: Vec<u16>,

    /// Offer this port no more
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) remove: Vec<u16>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TunnelAccessArgs {
    /// The tunnel's id or name
    pub(crate) tunnel: String,

    /// Let these connect
    #[arg(long, value_name = "anonymous|user:NAME|CIDR")]
    pub(crate) allow: Vec<Who>,

    /// Let these not connect, whatever else allows it
    #[arg(long, value_name = "anonymous|user:NAME|CIDR")]
    pub(crate) deny: Vec<Who>,

    /// Forget all rules first
    #[arg(long)]
    pub(crate) clear: bool,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) action: TokenAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenAction {
    /// Make a token and print it
    Create(TokenCreateArgs),
    /// Show what the token on stdin says; whether it still holds, only its relay knows
    Inspect,
    /// Take back the token on stdin. What goes on with it ends within seconds
    Revoke(TokenRevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// The tunnel that it is about; all of the subject's unless given, which the operator alone may make
    #[arg(long, value_name = "TUNNEL", required_unless_present = "subject")]
    pub(crate) tunnel: Option<String>,

    /// What it allows: host, connect, manage, manage:ports, create
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', required = true)]
    pub(crate) scope: Vec<String>,

    /// How long it holds: 30m, 1h, 7d
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) expires: Length,

    /// Whom it is for; the operator alone may say
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TokenRevokeArgs {
    /// The token's id, from `adit token inspect` or the audit log, instead of the token; the operator alone may
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) id: Option<String>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// How long, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) u64);

impl std::str::FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = duration(text).and_then(|seconds| seconds.try_into().ok());
        seconds.map(Self).ok_or_else(|| format!("{text:?} is no time; write 30m, 1h, 7d or 1h30m"))
    }
}

/// Who a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    Anonymous,
    User(String),
    /// The relay says whether it is one.
    Range(String),
}

impl std::str::FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("user:") {
            Some("") => Err("the user has no name".into()),
            Some(name) => Ok(Self::User(name.into())),
            None if text == "anonymous" => Ok(Self::Anonymous),
            None if text.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':') => {
                Ok(Self::Range(text.into()))
            }
            None => Err("write `anonymous`, user:NAME, or an address range such as 10.0.0.0/8".into()),
        }
    }
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

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    #[command(subcommand)]
    pub(crate) action: Option<KeygenAction>,

    /// The kind of key
    #[arg(short = 't', value_enum, default_value_t = KeyType::Ed25519)]
    pub(crate) kind: KeyType,

    /// The file, which must not exist yet; the public key goes beside it as FILE.pub. ~/.ssh/id_KIND unless given
    #[arg(short = 'f', value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// The comment of the key
    #[arg(short = 'C', value_name = "COMMENT")]
    pub(crate) comment: Option<String>,

    /// Show the fingerprint of a private or public key file, or what a certificate says, instead
    #[arg(long)]
    pub(crate) fingerprint: bool,

    /// Write FILE in another format instead: openssh, pkcs8, pkcs1, sec1, rfc4716, ssh2, jwk (curves named P-256) or
    /// jwk-nist (nistp256). A public key stays one; rfc4716 holds public keys only. A passphrase is kept where the
    /// format can
    #[arg(long, value_name = "FORMAT", conflicts_with = "fingerprint")]
    pub(crate) convert: Option<KeyFormat>,

    /// Where to write it; stdout unless given
    #[arg(short = 'o', value_name = "OUT", requires = "convert")]
    pub(crate) out: Option<PathBuf>,

    /// Convert the public half of a private key
    #[arg(long, requires = "convert")]
    pub(crate) public: bool,

    /// Change the passphrase of FILE instead, in its own format
    #[arg(short = 'p', requires = "file", conflicts_with_all = ["fingerprint", "convert"])]
    pub(crate) change_passphrase: bool,

    /// A file with the passphrase of FILE on its first line; asked on the terminal unless given
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// A file with the passphrase of what is written on its first line
    #[arg(long, value_name = "FILE")]
    pub(crate) new_passphrase_file: Option<PathBuf>,

    /// Write the private key in the clear
    #[arg(long, conflicts_with = "new_passphrase_file")]
    pub(crate) no_passphrase: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeygenAction {
    /// Certify a public key: write FILE-cert.pub beside FILE.pub
    #[command(after_help = EXIT_CODES)]
    Sign(SignArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The authority's private key
    #[arg(long, value_name = "KEYFILE")]
    pub(crate) ca: PathBuf,

    /// What servers log when the certificate is used
    #[arg(long, value_name = "TEXT")]
    pub(crate) id: String,

    /// Certify a host's key, not a user's
    #[arg(long)]
    pub(crate) host: bool,

    /// The users, or the names of the host, that it is valid for, separated by commas
    #[arg(short = 'n', long, value_name = "NAME,...", value_delimiter = ',', required = true)]
    pub(crate) principals: Vec<String>,

    /// How long it is valid: 1h, 2w, 1h30m; or START:END, each `YYYYMMDD[HHMM[SS]]Z`, +1h, -5m, now, always or forever.
    /// For ever unless given
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) valid: Option<Validity>,

    /// What it permits or demands, as with `ssh-keygen`: clear, no-port-forwarding, permit-pty, force-command=COMMAND,
    /// source-address=ADDRESS/BITS,..., critical:NAME[=VALUE], extension:NAME[=VALUE]
    #[arg(short = 'O', long, value_name = "OPTION")]
    pub(crate) option: Vec<String>,

    /// The authority's number for it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) serial: u64,

    /// Replace FILE-cert.pub if it exists
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// The public key to certify
    #[arg(value_name = "FILE.pub")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyType {
    Ed25519,
    #[value(name = "ecdsa-256")]
    Ecdsa256,
    #[value(name = "ecdsa-384")]
    Ecdsa384,
    #[value(name = "ecdsa-521")]
    Ecdsa521,
    Rsa,
}
