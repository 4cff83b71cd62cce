//! Pairs of drivers that speak the contract of `interop-peer`: ours, and the one on the Dev Tunnels packages.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::outcome::{Failure, Outcome, STEP, ensure};
use crate::peers::workspace;
use crate::process::Process;

/// Algorithms that a session is held to: `kex pk enc mac`.
pub type Combination = [&'static str; 4];

/// The standard ones.
pub const COMBINATIONS: [Combination; 5] = [
    ["ecdh-sha2-nistp384", "ecdsa-sha2-nistp384", "aes256-gcm@openssh.com", "hmac-sha2-256"],
    ["ecdh-sha2-nistp256", "ecdsa-sha2-nistp256", "aes256-ctr", "hmac-sha2-256-etm@openssh.com"],
    ["diffie-hellman-group14-sha256", "rsa-sha2-256", "aes256-cbc", "hmac-sha2-512"],
    ["ecdh-sha2-nistp521", "ecdsa-sha2-nistp521", "aes256-gcm@openssh.com", "hmac-sha2-512-etm@openssh.com"],
    ["diffie-hellman-group16-sha512", "rsa-sha2-512", "aes256-ctr", "hmac-sha2-512-etm@openssh.com"],
];

/// A mode and what has to be said in it.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// What it is called on the command line.
    pub name: &'static str,
    /// The client's markers, all of them and in their order.
    pub client: &'static [&'static str],
    /// Markers of the server, among others and in any order: a request and data that come together may be told either
    /// way round.
    pub server: &'static [&'static str],
}

/// All of them.
pub const MODES: [Mode; 12] = [
    Mode { name: "", client: &["AUTHENTICATED", "CHANNEL_OPEN", "ECHO_OK", "DONE"], server: &["ECHOED 17"] },
    Mode { name: "large", client: &["AUTHENTICATED", "CHANNEL_OPEN", "LARGE_DATA_OK", "DONE"], server: &[] },
    Mode {
        name: "multi",
        client: &["AUTHENTICATED", "CHANNEL_OPEN", "MULTI_CHANNEL_OK", "DONE"],
        server: &["ECHOED 8"],
    },
    Mode {
        name: "pkauth",
        client: &["PK_AUTH_OK", "AUTHENTICATED", "CHANNEL_OPEN", "ECHO_OK", "DONE"],
        server: &["PK_AUTH_VERIFIED"],
    },
    Mode {
        name: "kbdinteractive",
        client: &["KBD_AUTH_OK", "AUTHENTICATED", "CHANNEL_OPEN", "ECHO_OK", "DONE"],
        server: &["KBD_AUTH_VERIFIED"],
    },
    Mode { name: "portfwd", client: &["AUTHENTICATED", "PORT_FORWARD_OK", "DONE"], server: &[] },
    Mode {
        name: "reconnect",
        client: &[
            "AUTHENTICATED",
            "CHANNEL_OPEN",
            "ECHO_OK",
            "DISCONNECTED",
            "RECONNECT_OK",
            "ECHO_AFTER_RECONNECT_OK",
            "DONE",
        ],
        server: &["ECHOED 16", "RECONNECTED", "ECHOED 15"],
    },
    Mode {
        name: "rekey",
        client: &["AUTHENTICATED", "CHANNEL_OPEN", "REKEY_DATA_OK", "POST_REKEY_ECHO_OK", "DONE"],
        server: &[],
    },
    Mode {
        name: "concurrent-requests",
        client: &[
            "AUTHENTICATED",
            "CHANNEL_OPEN",
            "CHANNEL1_OPEN",
            "CHANNEL2_OPEN",
            "CONCURRENT_REQUEST_OK",
            "CH1_REQUEST_OK",
            "DONE",
        ],
        server: &["CH1_REQUEST_RECEIVED", "CH2_ECHOED", "CH1_REQUEST_DONE"],
    },
    Mode {
        name: "pipe-request",
        client: &["AUTHENTICATED", "CHANNEL_OPEN", "PIPE_REQUEST_FORWARDED", "ECHO_OK", "DONE"],
        server: &["SERVER_B_REQUEST: test-request"],
    },
    Mode {
        name: "signals",
        client: &["AUTHENTICATED", "CHANNEL_OPEN", "SIGNAL_SENT", "EXIT_STATUS_OK", "EXIT_SIGNAL_OK", "DONE"],
        server: &["SIGNAL_RECEIVED: signal", "CLOSING_WITH_STATUS_42", "CLOSING_WITH_SIGNAL_KILL"],
    },
    Mode {
        name: "extended-data",
        client: &["AUTHENTICATED", "CHANNEL_OPEN", "EXTENDED_DATA_SEND_OK", "EXTENDED_DATA_RECV_OK", "DONE"],
        server: &["EXTENDED_DATA_RECEIVED: type=1 len=18", "STDERR_SENT"],
    },
];

/// A driver.
#[derive(Debug, Clone)]
pub enum Driver {
    /// Ours: the path of `interop-peer`.
    Adit(&'static str),
    /// The one on the Dev Tunnels packages: the path of `node`.
    Npm(PathBuf),
}

impl Driver {
    /// The one on the Dev Tunnels packages, or `None` where these are not installed.
    ///
    /// # Errors
    /// When they are missing where they must not be.
    pub fn npm() -> Outcome<Option<Self>> {
        Ok(crate::peers::node::program()?.map(Self::Npm))
    }

    /// Starts it.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn start(
        &self,
        side: &str,
        port: u16,
        algorithms: &Combination,
        mode: &str,
        extra: &str,
    ) -> Outcome<Process> {
        let mut command = match self {
            Self::Adit(path) => Command::new(Path::new(path)),
            Self::Npm(node) => {
                let mut command = Command::new(node);
                command.arg(workspace().join("tests/peers/node/interop-peer.js"));
                command
            }
        };
        command.arg(side).arg(port.to_string()).args(algorithms);
        command.args([mode, extra].iter().filter(|argument| !argument.is_empty()));
        Process::spawn(side, &mut command)
    }
}

/// What both logged.
#[derive(Debug)]
pub struct Logs {
    /// The client's stderr.
    pub client: String,
    /// The server's stderr.
    pub server: String,
}

/// Runs a pair in one mode and checks what they say and how they end.
///
/// # Errors
/// When anything differs from the contract.
pub async fn run(server: &Driver, client: &Driver, algorithms: &Combination, mode: &Mode) -> Outcome<Logs> {
    let mut host = server.start("server", 0, algorithms, mode.name, "")?;
    let listening = host.next_line(STEP).await?.unwrap_or_default();
    let mut words = listening.split(' ');
    ensure(words.next() == Some("LISTENING"), || format!("the server says {listening}"))
        .map_err(|failure| host.explain(failure))?;
    let port = words.next().ok_or_else(|| Failure::new("the server names no port"))?.parse::<u16>()?;
    let extra = words.next().unwrap_or_default();
    let mut guest = client.start("client", port, algorithms, mode.name, extra)?;
    let talk = async {
        let said = all_lines(&mut guest).await?;
        ensure(said == mode.client, || format!("the client said {said:?}"))?;
        let code = guest.exit(STEP).await?;
        ensure(code == Some(0), || format!("the client ended with {code:?}"))?;
        let said = all_lines(&mut host).await?;
        let missing = mode.server.iter().find(|marker| !said.iter().any(|line| line == *marker));
        ensure(missing.is_none(), || format!("the server said {said:?}"))?;
        let code = host.exit(STEP).await?;
        ensure(code == Some(0), || format!("the server ended with {code:?}"))?;
        Ok(Logs { client: guest.log(), server: host.log() })
    };
    let outcome = talk.await;
    outcome.map_err(|failure| host.explain(guest.explain(failure)))
}

async fn all_lines(process: &mut Process) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(line) = process.next_line(STEP).await? {
        lines.push(line);
    }
    Ok(lines)
}
