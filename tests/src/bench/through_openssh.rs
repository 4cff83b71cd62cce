//! `sshd` and `ssh -N -L`, set up to be as fast as they can be.

#![expect(clippy::disallowed_methods, reason = "a benchmark asks the clock")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::delay;
use super::error::{BenchError, Context, Result};
use super::options::ForwardOptions;
use super::process::Process;
use super::scratch::Scratch;
use super::tunnel::START_LIMIT;

/// Checks that the programs exist and prepares what sshd asks for.
pub(crate) fn prepare(options: &ForwardOptions) -> Result<()> {
    if !options.sshd.is_file() {
        return Err(BenchError::new(format!(
            "no sshd at {}; install the openssh-server package, name it with --sshd, or use --only-adit",
            options.sshd.display()
        )));
    }
    Command::new("ssh").arg("-V").output().context("cannot run ssh (install the openssh-client package)")?;
    if rustix::process::geteuid().is_root() {
        // As root, sshd confines its unprivileged children to this directory and refuses to start without it.
        fs::create_dir_all("/run/sshd").context("/run/sshd")?;
    }
    Ok(())
}

/// What `ssh -V` says.
pub(crate) fn version() -> String {
    let output = Command::new("ssh").arg("-V").output().map(|output| output.stderr).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// Starts both ends; returns where the forward listens (or soon will), the client and the server.
pub(crate) fn start(
    target: SocketAddr,
    options: &ForwardOptions,
    scratch: &Scratch,
) -> Result<(SocketAddr, Vec<Process>)> {
    let server_port = free_port()?;
    let config = scratch.path().join("sshd_config");
    fs::write(&config, sshd_config(server_port, options, scratch)).context(config.display())?;
    let mut sshd = Command::new(&options.sshd);
    sshd.args(["-D", "-e", "-f"]).arg(&config);
    let mut server = Process::spawn("sshd", &mut sshd, &scratch.path().join("sshd.log"))?;
    wait_for_log(&mut server, "Server listening on")?;

    let server_address = SocketAddr::from((Ipv4Addr::LOCALHOST, server_port));
    let server_port = delay::in_front_of(server_address, options.delay)?.port();

    let known_hosts = scratch.path().join("known_hosts");
    let host_key = fs::read_to_string(scratch.host_key().with_extension("pub")).context("host key")?;
    fs::write(&known_hosts, format!("[127.0.0.1]:{server_port} {host_key}"))
        .context(known_hosts.display())?;
    let entry = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut ssh = ssh_command(options, scratch, &known_hosts);
    ssh.arg("-L").arg(format!("{entry}:{target}"));
    ssh.args(["-p", &server_port.to_string(), "-l", &scratch.user, "127.0.0.1"]);
    let client = Process::spawn("ssh", &mut ssh, &scratch.path().join("ssh.log"))?;
    Ok((entry, vec![client, server]))
}

fn ssh_command(options: &ForwardOptions, scratch: &Scratch, known_hosts: &Path) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-N", "-n", "-T", "-c", &options.cipher]).arg("-i").arg(scratch.user_key());
    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", known_hosts.display()));
    for option in SSH_OPTIONS {
        ssh.args(["-o", option]);
    }
    ssh
}

fn sshd_config(port: u16, options: &ForwardOptions, scratch: &Scratch) -> String {
    format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nCiphers {}\n{SSHD_OPTIONS}",
        scratch.host_key().display(),
        scratch.authorized_keys().display(),
        options.cipher
    )
}

/// sshd is watched through its log: a trial connection would leave a half-open session behind.
fn wait_for_log(process: &mut Process, text: &str) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while !process.log_text().contains(text) {
        process
            .check_alive()
            .map_err(|error| BenchError::new(format!("{error}\n{}", process.last_words())))?;
        if Instant::now() > deadline {
            return Err(process.failure("is not listening"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Neither program can report a port it chose itself. Another process may take it first; the start then fails.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

const SSH_OPTIONS: [&str; 9] = [
    "BatchMode=yes",
    "Compression=no",
    "ControlMaster=no",
    "ExitOnForwardFailure=yes",
    "GlobalKnownHostsFile=/dev/null",
    "IdentitiesOnly=yes",
    "LogLevel=ERROR",
    "PreferredAuthentications=publickey",
    "StrictHostKeyChecking=yes",
];

const SSHD_OPTIONS: &str = "\
AllowTcpForwarding yes
Compression no
KbdInteractiveAuthentication no
LogLevel INFO
MaxSessions 4096
MaxStartups 4096
PasswordAuthentication no
PermitOpen any
PermitRootLogin prohibit-password
PidFile none
StrictModes no
UseDNS no
UsePAM no
";
