//! What `adit` asks at a terminal: nothing that is secret is shown there.
#![cfg(target_os = "linux")]

use tempfile::TempDir;
use tests::adit::{self, Adit};
use tests::keys::{KeyFile, KeyKind, output};
use tests::outcome::{Outcome, ensure};
use tests::peers::asyncssh::AsyncSsh;
use tests::peers::{Keyring, PASSWORD, USER};
use tests::process::Process;
use tests::terminal::Terminal;
use tokio::process::Command;

/// Asks for a forward through `port`, at a terminal; nobody's agent and keys are there.
fn forward(adit: &Adit, port: u16, host: &KeyFile, home: &TempDir, more: &[&str]) -> Outcome<Terminal> {
    let target = format!("{USER}@127.0.0.1:{port}");
    let mut command =
        adit.command(["forward", "-D", "127.0.0.1:0", "--host-key", &host.fingerprint, &target]);
    command.args(more).env("HOME", home.path()).env_remove("SSH_AUTH_SOCK").env_remove("ADIT_PASSWORD");
    Terminal::run(&command)
}

/// A server, its port, and what it may be told.
async fn serve(adit: &Adit, host: &KeyFile, more: &[&str]) -> Outcome<(Process, u16)> {
    let mut command = adit.command(["serve", "--json", "--listen", "127.0.0.1:0", "--permit-open", "any"]);
    let mut server = Process::spawn("adit serve", command.arg("--host-key").arg(&host.path).args(more))?;
    let port = adit::port(&adit::event(&mut server, "listening").await?, "addr")?;
    Ok((server, port))
}

/// Types a secret at the question `prompt`; `next` is shown when it was read, and the secret is not.
async fn answer(terminal: &mut Terminal, prompt: &str, secret: &str, next: &str) -> Outcome {
    terminal.read_until(prompt).await?;
    terminal.type_line(secret).await?;
    let shown = terminal.read_until(next).await?;
    ensure(!shown.contains(secret), || format!("{prompt:?} shows what is typed: {shown:?}"))
}

#[tokio::test]
async fn passwords_are_asked_for_again_and_not_shown() -> Outcome {
    let (adit, home) = (Adit::find().await?, TempDir::new()?);
    let host = KeyFile::generate(home.path(), "host", KeyKind::Ed25519).await?;
    let password = home.path().join("password");
    std::fs::write(&password, PASSWORD)?;
    let user = format!("{USER}:{}", password.display());
    let (_server, port) = serve(&adit, &host, &["--user", &user]).await?;
    let mut terminal = forward(&adit, port, &host, &home, &[])?;
    let prompt = format!("assword for {USER}@127.0.0.1");
    answer(&mut terminal, &prompt, "not the right one", "That was refused, try again.").await?;
    answer(&mut terminal, &prompt, PASSWORD, "connected to").await?;
    let rest = terminal.interrupt().await?;
    ensure(!rest.contains(PASSWORD), || format!("the password is shown: {rest:?}"))
}

#[tokio::test]
async fn the_terminal_is_asked_where_stdin_is_what_is_forwarded() -> Outcome {
    let (adit, home) = (Adit::find().await?, TempDir::new()?);
    let host = KeyFile::generate(home.path(), "host", KeyKind::Ed25519).await?;
    let password = home.path().join("password");
    std::fs::write(&password, PASSWORD)?;
    let user = format!("{USER}:{}", password.display());
    let (mut server, port) = serve(&adit, &host, &["--user", &user]).await?;
    // As ssh runs a ProxyCommand: stdin is a pipe.
    let known_hosts = home.path().join("known_hosts").display().to_string();
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 60 | \"$0\" \"$@\""]).arg(adit.command([""; 0]).as_std().get_program());
    command.args(["forward", "-W", "127.0.0.1:1", "--known-hosts", &known_hosts]);
    command.arg(format!("{USER}@127.0.0.1:{port}"));
    command.env("HOME", home.path()).env_remove("SSH_AUTH_SOCK").env_remove("ADIT_PASSWORD");
    let mut terminal = Terminal::run(&command)?;
    terminal.read_until("is not known").await?;
    terminal.read_until("yes/no").await?;
    terminal.type_line("yes").await?;
    terminal.read_until("assword for").await?;
    terminal.type_line(PASSWORD).await?;
    adit::event(&mut server, "logged_in").await?;
    let rest = terminal.interrupt().await?;
    ensure(!rest.contains(PASSWORD), || format!("the password is shown: {rest:?}"))
}

#[tokio::test]
async fn a_passphrase_is_not_shown() -> Outcome {
    let (adit, home) = (Adit::find().await?, TempDir::new()?);
    let host = KeyFile::generate(home.path(), "host", KeyKind::Ed25519).await?;
    let user = KeyFile::generate(home.path(), "user", KeyKind::Ed25519).await?;
    let phrase = "three unlikely words";
    let mut encrypt = Command::new("ssh-keygen");
    output(encrypt.args(["-q", "-p", "-a", "2", "-P", "", "-N", phrase, "-f"]).arg(&user.path)).await?;
    let authorized = user.public.display().to_string();
    let password = home.path().join("password");
    std::fs::write(&password, PASSWORD)?;
    let ada = format!("{USER}:{}", password.display());
    let (_server, port) = serve(&adit, &host, &["--authorized-keys", &authorized, "--user", &ada]).await?;
    let key = user.path.display().to_string();
    let mut terminal = forward(&adit, port, &host, &home, &["-i", &key])?;
    answer(&mut terminal, "Passphrase for", phrase, "connected to").await?;
    terminal.interrupt().await?;
    // Nor asked for where the server does not want the key, with or without the file of its public half.
    std::fs::write(&authorized, "# nobody\n")?;
    let mut terminal = forward(&adit, port, &host, &home, &["-i", &key])?;
    answer(&mut terminal, "assword for", PASSWORD, "connected to").await?;
    terminal.interrupt().await.map(drop)
}

#[tokio::test]
async fn questions_are_shown_with_their_answers_or_without() -> Outcome {
    let Some(asyncssh) = AsyncSsh::find().await? else { return Ok(()) };
    let (adit, home, keys) = (Adit::find().await?, TempDir::new()?, Keyring::generate().await?);
    let host = keys.host(KeyKind::Ed25519)?;
    let server = asyncssh.serve_logins(host, host, None).await?;
    let mut terminal = forward(&adit, server.port, host, &home, &[])?;
    let before = terminal.read_until("Two rounds").await?;
    ensure(!before.contains("\x1b[2J"), || format!("an escape sequence gets through: {before:?}"))?;
    // Who asks has to be seen.
    let before = terminal.read_until("User: ").await?;
    ensure(before.contains("127.0.0.1"), || format!("nobody knows who asks: {before:?}"))?;
    terminal.type_line(USER).await?;
    // This one may be seen: the terminal would show the others too.
    let shown = terminal.read_until("PIN: ").await?;
    ensure(shown.contains(USER), || format!("a visible answer is not shown: {shown:?}"))?;
    terminal.type_line("1234").await?;
    let shown = terminal.read_until("Code: ").await?;
    ensure(!shown.contains("1234"), || format!("a hidden answer is shown: {shown:?}"))?;
    terminal.type_line("42").await?;
    // Ports follow, which may have the same digits.
    let shown = terminal.read_until("adit: ").await?;
    ensure(!shown.contains("42"), || format!("a hidden answer is shown: {shown:?}"))?;
    terminal.read_until("connected to").await?;
    terminal.interrupt().await.map(drop)
}

#[tokio::test]
async fn a_password_to_hash_is_asked_for_twice_and_not_shown() -> Outcome {
    let adit = Adit::find().await?;
    for (again, hashes) in [(PASSWORD, true), ("another", false)] {
        let mut terminal = Terminal::run(&adit.command(["hash-password"]))?;
        answer(&mut terminal, "Password: ", PASSWORD, "The same password again: ").await?;
        terminal.type_line(again).await?;
        let shown = terminal.end().await?;
        ensure(shown.contains("$argon2id$") == hashes && !shown.contains(again), || format!("{shown:?}"))?;
        ensure(shown.contains("differ") != hashes, || format!("{shown:?}"))?;
    }
    Ok(())
}
