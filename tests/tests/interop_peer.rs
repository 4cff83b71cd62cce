//! The driver `interop-peer` against itself: every mode with every standard combination of algorithms.

use std::time::Duration;

use tests::cases::{Case, run_all};
use tests::outcome::{Failure, Outcome, STEP, ensure};
use tests::process::Process;
use tokio::process::Command;

/// `kex pk enc mac`.
const COMBINATIONS: [[&str; 4]; 5] = [
    ["ecdh-sha2-nistp384", "ecdsa-sha2-nistp384", "aes256-gcm@openssh.com", "hmac-sha2-256"],
    ["ecdh-sha2-nistp256", "ecdsa-sha2-nistp256", "aes256-ctr", "hmac-sha2-256-etm@openssh.com"],
    ["diffie-hellman-group14-sha256", "rsa-sha2-256", "aes256-cbc", "hmac-sha2-512"],
    ["ecdh-sha2-nistp521", "ecdsa-sha2-nistp521", "aes256-gcm@openssh.com", "hmac-sha2-512-etm@openssh.com"],
    ["diffie-hellman-group16-sha512", "rsa-sha2-512", "aes256-ctr", "hmac-sha2-512-etm@openssh.com"],
];

/// The mode, the client's markers in their order, and those that the server must have printed.
const MODES: [(&str, &[&str], &[&str]); 12] = [
    ("", &["AUTHENTICATED", "CHANNEL_OPEN", "ECHO_OK", "DONE"], &["ECHOED 17"]),
    ("large", &["AUTHENTICATED", "CHANNEL_OPEN", "LARGE_DATA_OK", "DONE"], &[]),
    ("multi", &["AUTHENTICATED", "CHANNEL_OPEN", "MULTI_CHANNEL_OK", "DONE"], &["ECHOED 8"]),
    ("pkauth", &["PK_AUTH_OK", "AUTHENTICATED", "CHANNEL_OPEN", "ECHO_OK", "DONE"], &["PK_AUTH_VERIFIED"]),
    (
        "kbdinteractive",
        &["KBD_AUTH_OK", "AUTHENTICATED", "CHANNEL_OPEN", "ECHO_OK", "DONE"],
        &["KBD_AUTH_VERIFIED"],
    ),
    ("portfwd", &["AUTHENTICATED", "PORT_FORWARD_OK", "DONE"], &[]),
    (
        "reconnect",
        &[
            "AUTHENTICATED",
            "CHANNEL_OPEN",
            "ECHO_OK",
            "DISCONNECTED",
            "RECONNECT_OK",
            "ECHO_AFTER_RECONNECT_OK",
            "DONE",
        ],
        &["ECHOED 16", "RECONNECTED", "ECHOED 15"],
    ),
    ("rekey", &["AUTHENTICATED", "CHANNEL_OPEN", "REKEY_DATA_OK", "POST_REKEY_ECHO_OK", "DONE"], &[]),
    (
        "concurrent-requests",
        &[
            "AUTHENTICATED",
            "CHANNEL_OPEN",
            "CHANNEL1_OPEN",
            "CHANNEL2_OPEN",
            "CONCURRENT_REQUEST_OK",
            "CH1_REQUEST_OK",
            "DONE",
        ],
        &["CH1_REQUEST_RECEIVED", "CH2_ECHOED", "CH1_REQUEST_DONE"],
    ),
    (
        "pipe-request",
        &["AUTHENTICATED", "CHANNEL_OPEN", "PIPE_REQUEST_FORWARDED", "ECHO_OK", "DONE"],
        &["SERVER_B_REQUEST: test-request"],
    ),
    (
        "signals",
        &["AUTHENTICATED", "CHANNEL_OPEN", "SIGNAL_SENT", "EXIT_STATUS_OK", "EXIT_SIGNAL_OK", "DONE"],
        &["SIGNAL_RECEIVED: signal", "CLOSING_WITH_STATUS_42", "CLOSING_WITH_SIGNAL_KILL"],
    ),
    (
        "extended-data",
        &["AUTHENTICATED", "CHANNEL_OPEN", "EXTENDED_DATA_SEND_OK", "EXTENDED_DATA_RECV_OK", "DONE"],
        &["EXTENDED_DATA_RECEIVED: type=1 len=18", "STDERR_SENT"],
    ),
];

#[tokio::test]
async fn every_mode_with_every_combination() -> Outcome {
    /// RSA keys take seconds in a build without optimisation.
    const CASE: Duration = Duration::from_secs(60);

    let cases = COMBINATIONS.iter().enumerate().flat_map(|(number, combination)| {
        MODES.iter().map(move |(mode, client, server)| {
            let name = format!("{mode:?} with combination {}", number + 1);
            Case::new(name, run(combination, mode, client, server))
        })
    });
    run_all("interop-peer with itself", CASE, cases.collect()).await
}

async fn run(combination: &[&str; 4], mode: &str, client_says: &[&str], server_says: &[&str]) -> Outcome {
    let mut server = driver("server", 0, combination, &[mode])?;
    let listening = server.next_line(STEP).await?.unwrap_or_default();
    let mut words = listening.split(' ');
    ensure(words.next() == Some("LISTENING"), || format!("the server says {listening}"))?;
    let port = words.next().ok_or_else(|| Failure::new("the server names no port"))?.parse::<u16>()?;
    let mut client = driver("client", port, combination, &[mode, words.next().unwrap_or_default()])?;
    let run = async {
        let said = all_lines(&mut client).await?;
        ensure(said == client_says, || format!("the client said {said:?}"))?;
        let code = client.exit(STEP).await?;
        ensure(code == Some(0), || format!("the client ended with {code:?}"))?;
        let said = all_lines(&mut server).await?;
        // A request and data that come together may be told in either order.
        let missing = server_says.iter().find(|marker| !said.iter().any(|line| line == *marker));
        ensure(missing.is_none(), || format!("the server said {said:?}"))?;
        let code = server.exit(STEP).await?;
        ensure(code == Some(0), || format!("the server ended with {code:?}"))
    };
    let outcome = run.await;
    outcome.map_err(|failure| server.explain(client.explain(failure)))
}

async fn all_lines(process: &mut Process) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(line) = process.next_line(STEP).await? {
        lines.push(line);
    }
    Ok(lines)
}

fn driver(side: &str, port: u16, combination: &[&str; 4], rest: &[&str]) -> Outcome<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-peer"));
    command.arg(side).arg(port.to_string()).args(combination);
    command.args(rest.iter().filter(|argument| !argument.is_empty()));
    Process::spawn(side, &mut command)
}
