//! `adit relay`, `adit tunnel` and `adit token` as a person or a script uses them; the operator's page in a browser.
#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::adit::{Adit, Exit, event, run_to_end, text};
use tests::endpoint::{listen, reserve_port};
use tests::keys::output_within;
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::peers::{program, skip};
use tests::process::Process;
use tests::relay::{TUNNEL, TestRelay};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// The code of the only event of a run that failed, with its exit code.
fn failure(exit: &Exit) -> (Option<i32>, &str) {
    let event = exit.events.last();
    (exit.code, event.and_then(|event| event.get("code")).and_then(Value::as_str).unwrap_or_default())
}

#[tokio::test]
async fn starts_and_ends() -> Outcome {
    let (adit, folder) = (Adit::find().await?, TempDir::new()?);
    let data = folder.path().join("data");
    let mut token = String::new();
    for made in [true, false] {
        let mut command = adit.command(["relay", "--json", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(&data).arg("--log").arg(folder.path().join("log"));
        let mut relay = Process::spawn("adit relay", &mut command)?;
        let listening = event(&mut relay, "listening").await?;
        let (addr, url) = (text(&listening, "addr")?, text(&listening, "public_url")?);
        ensure(url == format!("http://{addr}"), || format!("{listening}"))?;
        let said = event(&mut relay, "admin_token").await?;
        ensure(said.get("made") == Some(&json!(made)), || format!("{said}"))?;
        let file = data.join("admin-token");
        let read = std::fs::read_to_string(&file)?;
        ensure(made || read == token, || "the token is another".into())?;
        ensure(read.trim().len() == 43 && !said.to_string().contains(read.trim()), || format!("{said}"))?;
        token = read;
        for (path, mode) in [
            (data.clone(), 0o700),
            (file, 0o600),
            (data.join("relay.redb"), 0o600),
            (folder.path().join("log"), 0o600),
        ] {
            let found = std::fs::metadata(&path)?.permissions().mode() & 0o777;
            ensure(found == mode, || format!("{} has mode {found:o}", path.display()))?;
        }
        // The data directory is one relay's.
        let mut second = adit.command(["relay", "--json", "--listen", "127.0.0.1:0", "--data-dir"]);
        let exit = run_to_end(second.arg(&data), STEP).await?;
        ensure(failure(&exit) == (Some(8), "file"), || format!("{exit:?}"))?;
        relay.signal(if made { Signal::TERM } else { Signal::INT })?;
        ensure(text(&event(&mut relay, "closed").await?, "reason")?.starts_with("SIG"), || {
            "no reason".into()
        })?;
        ensure(relay.exit(STEP).await? == Some(0), || "the relay did not end well".into())?;
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be() -> Outcome {
    let (adit, folder) = (Adit::find().await?, TempDir::new()?);
    let (_held, port) = listen().await?;
    let data = folder.path().join("data").display().to_string();
    let (taken, file) = (format!("127.0.0.1:{port}"), folder.path().join("file"));
    std::fs::write(&file, "no certificate")?;
    let file = file.display().to_string();
    for (arguments, code, name) in [
        (vec!["--listen", &taken, "--data-dir", &data], 6, "bind"),
        (vec!["--listen", "127.0.0.1:0", "--data-dir", &file], 8, "file"),
        (
            vec!["--listen", "127.0.0.1:0", "--data-dir", &data, "--tls-cert", &file, "--tls-key", &file],
            8,
            "file",
        ),
        (vec!["--listen", "127.0.0.1:0", "--tls-cert", &file], 2, "usage"),
        (vec!["--listen", "127.0.0.1:0", "--public-url", "relay.example"], 2, "usage"),
        (vec!["--listen", "127.0.0.1:0", "--log", "/nowhere/log"], 8, "file"),
        (vec!["--listen", "127.0.0.1:0", "--limit", "clients_per_tunnel"], 2, "usage"),
        (vec!["--listen", "127.0.0.1:0", "--limit", "clients_per_tunnel=many"], 2, "usage"),
        (vec!["--listen", "127.0.0.1:0", "--limit", "clients=7"], 2, "usage"),
        (vec![], 2, "usage"),
    ] {
        let exit = adit.run(["relay", "--json"].into_iter().chain(arguments.iter().copied()), STEP).await?;
        ensure(failure(&exit) == (Some(code), name), || format!("{arguments:?}: {exit:?}"))?;
    }
    std::fs::set_permissions(folder.path().join("data/admin-token"), std::fs::Permissions::from_mode(0o644))?;
    let exit = adit.run(["relay", "--json", "--listen", "127.0.0.1:0", "--data-dir", &data], STEP).await?;
    ensure(failure(&exit) == (Some(8), "file"), || format!("others may read the token: {exit:?}"))
}

#[tokio::test]
async fn tunnels_and_tokens() -> Outcome {
    let adit = Adit::find().await?;
    let relay = TestRelay::start(&adit).await?;
    let made = relay
        .operate(&["tunnel", "create", "my-tunnel", "--port", "3000", "--description", "a test"])
        .await?;
    ensure(made.pointer("/tunnel/tunnelId") == Some(&json!("my-tunnel")), || format!("{made}"))?;
    let ports = relay.operate(&["tunnel", "ports", "my-tunnel", "--add", "4000", "--remove", "3000"]).await?;
    ensure(ports.pointer("/port/portNumber") == Some(&json!(4000)), || format!("{ports}"))?;
    let access = relay
        .operate(&["tunnel", "access", "my-tunnel", "--allow", "user:bob", "--deny", "10.0.0.0/8"])
        .await?;
    ensure(access.get("entries").and_then(Value::as_array).is_some_and(|all| all.len() == 2), || {
        format!("{access}")
    })?;
    let chosen = relay.operate(&["tunnel", "create"]).await?;
    // 20 of 32 letters: 100 bits, where 96 are enough to be guessed by nobody.
    let id = chosen.pointer("/tunnel/tunnelId").and_then(Value::as_str).unwrap_or_default();
    ensure(
        id.len() == 20 && id.bytes().all(|byte| b"abcdefghijkmnpqrstuvwxyz23456789".contains(&byte)),
        || format!("{chosen}"),
    )?;
    let token = relay
        .operate(&["token", "create", "--tunnel", "my-tunnel", "--scope", "host,connect", "--expires", "2h"])
        .await?;
    ensure(text(&token, "scopes")? == "host connect", || format!("{token}"))?;

    let url = format!("http://127.0.0.1:{}", relay.port);
    let secret = text(&token, "token")?;
    let operator = relay.admin_token()?;
    let with = async |secret: &str, arguments: &[&str]| {
        let mut command = adit.command(arguments);
        command.args(["--json", "--relay", &url]).env("ADIT_TOKEN", secret);
        run_to_end(&mut command, STEP).await
    };
    let shown = with(secret, &["tunnel", "show", "my-tunnel"]).await?;
    ensure(shown.code == Some(0), || format!("{shown:?}"))?;
    for (secret, arguments, code, name) in [
        (secret, vec!["tunnel", "delete", "my-tunnel"], 3, "auth"),
        ("", vec!["tunnel", "show", "my-tunnel"], 3, "auth"),
        (secret, vec!["tunnel", "show", "none-such"], 7, "remote_refused"),
        (secret, vec!["tunnel", "create", "X"], 3, "auth"),
        (operator.as_str(), vec!["tunnel", "create", "X"], 7, "remote_refused"),
        ("", vec!["tunnel", "list"], 3, "auth"),
        (secret, vec!["tunnel", "access", "my-tunnel", "--allow", "whoever"], 2, "usage"),
    ] {
        let exit = with(secret, &arguments).await?;
        ensure(failure(&exit) == (Some(code), name), || format!("{arguments:?}: {exit:?}"))?;
    }
    let closed = reserve_port().await?;
    let exit = adit
        .run(["tunnel", "list", "--json", "--relay", &format!("http://127.0.0.1:{closed}")], STEP)
        .await?;
    ensure(failure(&exit) == (Some(5), "network"), || format!("{exit:?}"))?;
    relay.operate(&["token", "revoke", "--id", text(&token, "id")?]).await?;
    let exit = with(secret, &["tunnel", "show", "my-tunnel"]).await?;
    ensure(failure(&exit) == (Some(3), "auth"), || format!("{exit:?}"))?;
    relay.operate(&["tunnel", "delete", "my-tunnel"]).await?;
    for words in [
        "\"token made\"",
        "\"token revoked\"",
        "\"tunnel made\"",
        "\"access rules changed\"",
        "\"tunnel deleted\"",
    ] {
        relay.wait_log(words).await?;
    }
    ensure(!relay.log().contains(secret), || "a token is in the log".into())
}

/// A token for all that is hers: she makes tunnels, is their host, and sees no others.
#[tokio::test]
async fn an_owner_needs_one_token() -> Outcome {
    let adit = Adit::find().await?;
    let relay = TestRelay::start(&adit).await?;
    relay.operate(&["tunnel", "create", "of-nobody-else"]).await?;
    let token = relay.operate(&["token", "create", "--subject", "ada", "--expires", "30d"]).await?;
    ensure(text(&token, "scopes")? == "create manage manage:ports host connect", || format!("{token}"))?;

    let file = TempDir::new()?;
    let (owner, maker) = (file.path().join("owner"), file.path().join("maker"));
    std::fs::write(&owner, text(&token, "token")?)?;
    let url = relay.url();
    let with = |token: &std::path::Path, arguments: &[&str]| {
        let mut command = adit.command(arguments);
        command.args(["--json", "--relay", &url, "--token-file"]).arg(token);
        command
    };
    let mut host = Process::spawn("adit host", &mut with(&owner, &["host", "3000", "--tunnel", "of-ada"]))?;
    event(&mut host, "ready").await?;
    let listed = run_to_end(&mut with(&owner, &["tunnel", "list"]), STEP).await?;
    let names = serde_json::to_string(&listed.events)?;
    ensure(names.contains("of-ada") && !names.contains("of-nobody-else"), || format!("{listed:?}"))?;

    // Who may do less is told what it takes.
    let token = relay.operate(&["token", "create", "--subject", "ada", "--scope", "create"]).await?;
    std::fs::write(&maker, text(&token, "token")?)?;
    let exit = run_to_end(&mut with(&maker, &["host", "3000", "--tunnel", "another"]), STEP).await?;
    ensure(failure(&exit) == (Some(3), "auth"), || format!("{exit:?}"))?;
    let told = serde_json::to_string(&exit.events)?;
    ensure(told.contains("takes one with the scope host"), || told)?;
    let arguments = ["token", "create", "--tunnel", "of-ada", "--subject", "bob"];
    let exit = run_to_end(&mut with(&owner, &arguments), STEP).await?;
    ensure(failure(&exit) == (Some(2), "usage"), || format!("{exit:?}"))
}

/// What the relay lists is not what a host offers, and whoever changes the one is told.
#[tokio::test]
async fn the_list_of_ports_is_not_the_hosts() -> Outcome {
    let adit = Adit::find().await?;
    let relay = TestRelay::start(&adit).await?;
    let operator = relay.admin_token()?;
    let run = async |arguments: &[&str]| {
        let mut command = adit.command(arguments);
        command.args(["--json", "--relay", &relay.url()]).env("ADIT_TOKEN", &operator);
        run_to_end(&mut command, STEP).await
    };
    let of = |exit: &Exit, name: &str| exit.events.iter().filter(|event| event["event"] == name).count();
    relay.operate(&["tunnel", "create", "my-tunnel", "--port", "3000"]).await?;
    // All or nothing, and it is said what there is not.
    let exit = run(&["tunnel", "ports", "my-tunnel", "--add", "7", "--remove", "9"]).await?;
    ensure(failure(&exit) == (Some(7), "remote_refused"), || format!("{exit:?}"))?;
    ensure(text(&exit.events[0], "message")?.contains("port 9"), || format!("{exit:?}"))?;
    let exit = run(&["tunnel", "ports", "my-tunnel"]).await?;
    ensure(of(&exit, "port") == 1 && of(&exit, "warning") == 0, || format!("{exit:?}"))?;
    let exit = run(&["tunnel", "ports", "my-tunnel", "--add", "4000"]).await?;
    ensure(of(&exit, "port") == 2 && of(&exit, "warning") == 0, || format!("{exit:?}"))?;

    let mut command =
        adit.command(["host", "--json", "3000", "--tunnel", "my-tunnel", "--relay", &relay.url()]);
    let mut host = Process::spawn("adit host", command.env("ADIT_TOKEN", &operator))?;
    event(&mut host, "ready").await?;
    let exit = run(&["tunnel", "ports", "my-tunnel", "--remove", "3000"]).await?;
    let told = serde_json::to_string(&exit.events)?;
    ensure(exit.code == Some(0) && told.contains("--ports-file"), || told)?;
    let exit = run(&["tunnel", "ports", "my-tunnel"]).await?;
    ensure(exit.events.is_empty(), || format!("{exit:?}"))
}

/// The first start of a browser on a machine takes its time.
const BROWSER: Duration = Duration::from_secs(120);

/// The page as a browser shows it: what a peer chose is text, and nothing of it runs or loads.
#[tokio::test]
async fn the_operators_page_in_a_browser() -> Outcome {
    let browser = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(program);
    let Some(browser) = browser else {
        return skip("Chromium", "it is not installed").map(|_: Option<()>| ());
    };
    let relay = TestRelay::start(&Adit::find().await?).await?;
    let evil = "<script>document.title='owned'</script><img src=/healthz onerror=\"document.title='owned'\"><b id=own>x</b>";
    relay.operate(&["tunnel", "create", "my-tunnel", "--port", "3000", "--description", evil]).await?;
    let profile = TempDir::new()?;
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--dump-dom",
        "--timeout=25000",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("http://operator:{}@127.0.0.1:{}/status", relay.admin_token()?, relay.port));
    let page = output_within(BROWSER, &mut command).await?;
    for part in [
        "<title>Adit relay</title>",
        "<td>my-tunnel</td>",
        "&lt;script&gt;document.title='owned'",
        "<td>3000</td>",
    ] {
        ensure(page.contains(part), || format!("{part:?} is not on the page:\n{page}"))?;
    }
    ensure(!page.contains("<script") && !page.contains("<img") && !page.contains("<b id"), || {
        format!("markup of a peer:\n{page}")
    })?;
    ensure(!relay.log().contains("\"path\":\"/healthz\""), || "the page has loaded something".into())
}

/// A request, byte by byte; the first line of the answer.
async fn ask(relay: &TestRelay, path: &str, headers: &str) -> Outcome<String> {
    get(relay.port, path, headers).await
}

async fn get(port: u16, path: &str, headers: &str) -> Outcome<String> {
    let mut stream = tests::endpoint::connect(port).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    within(STEP, "an answer", async { Ok(stream.read_to_string(&mut answer).await.map(drop)?) }).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// Row "token in URL" of the threat model: wherever somebody puts one, it is in no log.
#[tokio::test]
async fn a_token_that_is_put_into_a_url_is_in_no_log() -> Outcome {
    let relay = TestRelay::start(&Adit::find().await?).await?;
    relay.operate(&["tunnel", "create", "my-tunnel"]).await?;
    let made = relay.operate(&["token", "create", "--tunnel", "my-tunnel", "--scope", "connect"]).await?;
    let token = text(&made, "token")?;
    for path in [
        format!("/tunnels/my-tunnel?token={token}"),
        format!("/t/my-tunnel/client?access_token={token}"),
        format!("/t/{token}/client"),
        format!("/{token}"),
        format!("/tokens/{token}"),
    ] {
        let answer = ask(&relay, &path, "").await?;
        ensure(!answer.contains(" 200 ") && !answer.contains(" 101 "), || format!("{path}: {answer}"))?;
    }
    let answer = ask(&relay, "/tunnels/my-tunnel", &format!("Authorization: tunnel {token}\r\n")).await?;
    ensure(answer.contains(" 200 "), || answer)?;
    for path in ["/t/[..]/client", "/t/my-tunnel/client"] {
        relay.wait_log(path).await?;
    }
    let (log, signature) = (relay.log(), token.rsplit('.').next().unwrap_or_default());
    ensure(!log.contains(signature), || format!("a token is in the log:\n{log}"))
}

/// Row "disk full" of the threat model.
#[tokio::test]
async fn a_log_that_takes_nothing_ends_nothing() -> Outcome {
    let (adit, folder) = (Adit::find().await?, TempDir::new()?);
    let mut command = adit.command(["relay", "--json", "--listen", "127.0.0.1:0", "--log", "/dev/full"]);
    command.arg("--data-dir").arg(folder.path());
    let mut relay = Process::spawn("adit relay", &mut command)?;
    let listening = event(&mut relay, "listening").await?;
    let port = tests::adit::port(&listening, "addr")?;
    for _ in 0..20 {
        let mut stream = tests::endpoint::connect(port).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        within(STEP, "an answer", async { Ok(stream.read_to_string(&mut answer).await.map(drop)?) }).await?;
        ensure(answer.starts_with("HTTP/1.1 200 "), || answer)?;
    }
    let told = event(&mut relay, "warning").await?;
    ensure(text(&told, "message")?.contains("/dev/full cannot be written"), || told.to_string())?;
    // Once a minute, not once a line.
    relay.signal(Signal::TERM)?;
    let mut warnings = 0;
    while let Some(line) = relay.next_line(STEP).await? {
        warnings += usize::from(line.contains("cannot be written"));
    }
    ensure(warnings == 0, || format!("{warnings} more warnings"))?;
    ensure(relay.exit(STEP).await? == Some(0), || "the relay did not end well".into())
}

/// A relay whose disk is as full as its limit for the size of files says, which can be changed while it runs.
fn on_a_disk(adit: &Adit, folder: &TempDir, full: bool) -> Command {
    let mut inner = adit.command(["relay", "--json", "--listen", "127.0.0.1:0", "--data-dir"]);
    inner.arg(folder.path().join("data"));
    let mut command = Command::new("sh");
    let room = if full { "0" } else { "unlimited" };
    command.arg("-c").arg(format!("trap '' XFSZ; ulimit -S -f {room} && exec \"$0\" \"$@\""));
    command.arg(inner.as_std().get_program()).args(inner.as_std().get_args());
    command
}

/// Row "disk full" of the threat model: the store goes on once there is room, and what was to be revoked is.
#[tokio::test]
async fn a_full_disk_ends_nothing_for_good() -> Outcome {
    let (adit, folder) = (Adit::find().await?, TempDir::new()?);
    let mut relay = Process::spawn("adit relay", &mut on_a_disk(&adit, &folder, false))?;
    let port = tests::adit::port(&event(&mut relay, "listening").await?, "addr")?;
    let url = format!("http://127.0.0.1:{port}");
    let operate = async |arguments: &[&str]| {
        let mut command = adit.command(arguments);
        command.args(["--json", "--relay", &url, "--token-file"]).arg(folder.path().join("data/admin-token"));
        run_to_end(&mut command, STEP).await
    };
    let is_ready = async || -> Outcome<bool> { Ok(get(port, "/readyz", "").await?.contains(" 200 ")) };
    let full = |is_full: bool| -> Outcome {
        let pid = relay.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let limit = Rlimit { current: is_full.then_some(0), maximum: None };
        Ok(prlimit(pid, Resource::Fsize, limit).map(drop)?)
    };
    let made = operate(&["tunnel", "create", "my-tunnel"]).await?;
    ensure(made.code == Some(0), || format!("{made:?}"))?;
    let token = operate(&["token", "create", "--tunnel", "my-tunnel", "--scope", "connect"]).await?;
    let token = token.events.first().cloned().unwrap_or_default();
    let header = format!("Authorization: tunnel {}\r\n", text(&token, "token")?);
    let allowed =
        async || -> Outcome<bool> { Ok(get(port, "/tunnels/my-tunnel", &header).await?.contains(" 200 ")) };
    ensure(is_ready().await? && allowed().await?, || "it does not work from the start".into())?;

    full(true)?;
    let revoke = ["token", "revoke", "--id", text(&token, "id")?];
    let exit = operate(&revoke).await?;
    ensure(exit.code != Some(0), || "there was no room, and it did not say so".into())?;
    ensure(!allowed().await?, || "the token holds".into())?;
    ensure(!is_ready().await?, || "it is ready without a store".into())?;
    let cause = std::io::Error::from(rustix::io::Errno::FBIG).to_string();
    let told = |log: &str| (log.contains("the store failed") && log.contains(&cause)).then_some(());
    relay.wait_log("why the store failed", told).await?;

    full(false)?;
    within(STEP, "that it is ready again", async {
        while !is_ready().await? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    })
    .await?;
    for arguments in [&revoke[..], &["tunnel", "create", "another"]] {
        let exit = operate(arguments).await?;
        ensure(exit.code == Some(0), || format!("{exit:?}\n{}", relay.log()))?;
    }
    ensure(!allowed().await?, || "the token holds again".into())
}

#[tokio::test]
async fn a_full_disk_leaves_no_half_of_a_token() -> Outcome {
    let (adit, folder) = (Adit::find().await?, TempDir::new()?);
    let exit = run_to_end(&mut on_a_disk(&adit, &folder, true), STEP).await?;
    ensure(failure(&exit) == (Some(8), "file"), || format!("{exit:?}"))?;
    let left: Vec<_> = std::fs::read_dir(folder.path().join("data"))?.collect();
    ensure(left.is_empty(), || format!("{left:?}"))?;
    // What another program has left behind is named, with what to do.
    std::fs::write(folder.path().join("data/admin-token"), "")?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("data/admin-token"), private)?;
    let exit = run_to_end(&mut on_a_disk(&adit, &folder, false), STEP).await?;
    let told = serde_json::to_string(&exit.events)?;
    ensure(exit.code == Some(8) && told.contains("delete the file"), || format!("{exit:?}"))?;
    std::fs::remove_file(folder.path().join("data/admin-token"))?;
    let mut relay = Process::spawn("adit relay", &mut on_a_disk(&adit, &folder, false))?;
    event(&mut relay, "listening").await.map(drop)
}

/// Row "shutdown" of the threat model: who asks twice does not want to wait.
#[tokio::test]
async fn a_second_signal_ends_a_relay_where_it_stands() -> Outcome {
    let mut relay = TestRelay::start(&Adit::find().await?).await?;
    relay.operate(&["tunnel", "create", TUNNEL]).await?;
    // Who does not go by himself is waited for.
    let _host = relay.silent_host().await?;
    relay.process().signal(Signal::TERM)?;
    // It fails at /readyz for a second before it sends anybody away; by then it has heard the first one.
    within(STEP, "the first signal", async {
        while ask(&relay, "/readyz", "").await?.contains(" 200 ") {}
        Ok(())
    })
    .await?;
    // Two that come at once are one: `timeout` sends its own twice.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let code = relay.stop(Signal::TERM).await?;
    ensure(code == Some(143), || format!("it ended with {code:?}"))
}

/// Row "`EMFILE`" of the threat model: without descriptors nobody new is served, who is there is, nothing spins, and it passes.
#[tokio::test]
async fn a_relay_without_descriptors_serves_who_is_there() -> Outcome {
    /// More than a relay with nobody on it needs, and less than come.
    const DESCRIPTORS: usize = 48;
    let (adit, folder) = (Adit::find().await?, TempDir::new()?);
    let mut inner = adit.command(["relay", "--json", "--listen", "127.0.0.1:0", "--data-dir"]);
    inner.arg(folder.path().join("data")).arg("--log").arg(folder.path().join("log"));
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\""));
    command.arg(inner.as_std().get_program()).args(inner.as_std().get_args());
    let mut relay = Process::spawn("adit relay", &mut command)?;
    let port = tests::adit::port(&event(&mut relay, "listening").await?, "addr")?;
    let request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let served = async |stream: &mut tokio::net::TcpStream| -> Outcome {
        let (mut start, mut answer) = ([0; 15], Vec::new());
        stream.write_all(request).await?;
        stream.read_exact(&mut start).await?;
        while !answer.ends_with(b"ok\n") {
            answer.push(stream.read_u8().await?);
        }
        ensure(&start == b"HTTP/1.1 200 OK", || String::from_utf8_lossy(&start).into_owned())
    };
    let mut first = tests::endpoint::connect(port).await?;
    within(STEP, "an answer", served(&mut first)).await?;
    let mut many = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        many.push(tests::endpoint::connect(port).await?);
    }
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    within(STEP, "that it runs out", async {
        while !log().contains("cannot accept a connection") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    })
    .await?;
    for _ in 0..20 {
        within(STEP, "an answer to who is there", served(&mut first)).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It pauses for 100 ms after each failure.
    let failures = log().matches("cannot accept a connection").count();
    ensure(failures < 60, || format!("it has tried {failures} times"))?;
    drop(many);
    let mut last = tests::endpoint::connect(port).await?;
    within(STEP, "an answer to who comes later", served(&mut last)).await
}
