//! What a shell and its user see before anything is connected: typing errors, completions, manual pages, signals; and what
//! servers say that are none or know other algorithms.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]
#![cfg(unix)]

mod support;

use std::process::Stdio;

use rustix::process::Signal;
use support::Home;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_typing_error_is_answered_with_what_was_meant() {
    let home = Home::new();
    for (arguments, meant) in [
        (&["fowrard"][..], "did you mean forward? (`adit --help` tells more)"),
        (
            &["--json", "-v", "forward", "host", "-D", "0", "--accept-nwe"],
            "did you mean --accept-new? (`adit forward --help` tells more)",
        ),
        (&["forward", "host", "-D", "0", "--policy", "hardend"], "did you mean hardened?"),
        (&["serve", "--listen", "0", "--permit-listen", "name:1"], "\"name\" would never be met"),
        (&["serve", "--listen", "0", "--permit-listen", "name"], "is not PORT, ADDRESS:PORT,"),
        (&["man", "keygen", "sgin"], "\"sgin\" is no command; `adit keygen --help` lists"),
    ] {
        let exit = home.run(arguments).await;
        assert_eq!(exit.code, Some(2), "{exit:?}");
        let said = exit.stdout + &exit.stderr;
        assert!(said.contains(meant) && said.lines().count() == 1, "{said}");
    }
}

#[tokio::test]
async fn help_is_where_the_command_is_that_was_meant() {
    let home = Home::new();
    for (arguments, page) in [
        (&["tunnel", "list"][..], "`adit tunnel list --help`"),
        (&["--json", "token", "-vv", "create"], "`adit token create --help`"),
        (&["keygen", "sign"], "`adit keygen sign --help`"),
        (&["keygen", "-f", "sign", "--frobnicate"], "`adit keygen --help`"),
    ] {
        let exit = home.run(arguments).await;
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!((exit.stdout.clone() + &exit.stderr).contains(page), "{arguments:?} {exit:?}");
    }
}

#[tokio::test]
async fn a_relay_of_the_environment_is_named_and_an_empty_one_is_none() {
    let home = Home::new();
    let host = ["host", "3000", "--listen", "127.0.0.1:0"];
    let mut hosting = home.start_with(&host, &[("ADIT_RELAY", "")]);
    hosting.event("ready").await;
    let run = async |arguments: &[&str], url: &str| {
        let ended = home.command(arguments).env("ADIT_RELAY", url).output().await.unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, why) = run(&host, "http://127.0.0.1:9").await;
    assert!(code == Some(2) && why.contains("ADIT_RELAY"), "{why}");
    let (code, why) = run(&["tunnel", "list"], "").await;
    assert!(code == Some(2) && why.contains("required"), "{why}");
    let (code, why) = run(&["tunnel", "list"], "http://127.0.0.1:9").await;
    assert_eq!(code, Some(5), "{why}");
}

#[tokio::test]
async fn arguments_that_are_long_or_strange_are_shown_as_far_as_they_help() {
    use std::os::unix::ffi::OsStrExt as _;

    let home = Home::new();
    let exit = home.run(&["connect", "link", "-p", &"x".repeat(100_000)]).await;
    assert!(exit.stderr.contains("xxx") && exit.stderr.len() < 2000, "{}", exit.stderr.len());
    let mut command = home.command(&["connect", "link", "--relay"]);
    let ended = command.arg(std::ffi::OsStr::from_bytes(b"ab\xffcd")).output().await.unwrap();
    let why = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(2) && why.contains("ab\u{fffd}cd"), "{why}");
    // Stdout carries a stream there.
    let exit = home.run(&["connect", "link", "--json", "-Wnowhere"]).await;
    assert!(exit.stdout.is_empty() && exit.stderr.starts_with('{'), "{exit:?}");
}

#[tokio::test]
async fn shells_and_man_get_what_they_read() {
    let home = Home::new();
    for (arguments, parts) in [
        (&["completions", "bash"][..], ["complete -F _adit", "--accept-new"]),
        (&["completions", "zsh"], ["#compdef adit", "--accept-new"]),
        (&["completions", "fish"], ["complete -c adit", "accept-new"]),
        (&["man"], [".TH adit 1", "hash\\-password"]),
        (&["man", "forward"], [".TH adit-forward 1", "\\-\\-accept\\-new"]),
        (&["man", "keygen", "sign"], [".TH adit-keygen-sign 1", "\\-\\-principals"]),
    ] {
        let exit = home.run(arguments).await;
        assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        for part in parts {
            assert!(exit.stdout.contains(part), "{arguments:?}: no {part}");
        }
        let exit = home.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(exit.code, Some(2), "{exit:?}");
        let event: serde_json::Value = serde_json::from_str(&exit.stdout).unwrap();
        assert_eq!(event["code"], "usage");
    }
}

/// `timeout` sends its signal to the process and to the group.
#[tokio::test]
async fn two_signals_at_once_are_one() {
    let (server_home, home) = (Home::new(), Home::new());
    let (_server, address) = server_home.serve(&[]).await;
    let password = home.write("password", "secret\n");
    for _ in 0..10 {
        let mut client = home.start(&[
            "forward",
            &format!("ada@{address}"),
            "-D",
            "0",
            "--password-file",
            &password,
            "--accept-new",
        ]);
        client.event("ready").await;
        client.signal(Signal::TERM);
        tokio::task::yield_now().await;
        client.signal(Signal::INT);
        client.event("closed").await;
        assert_eq!(client.exit_code().await, Some(0));
    }
}

#[tokio::test]
async fn what_is_no_ssh_server_is_quoted_from_its_first_line() {
    let home = Home::new();
    let lines = "HTTP/1.1 400 Bad Request\r\n".to_owned() + &"Another: line\r\n".repeat(30);
    for (words, code, expected) in [
        (lines.as_str(), 9, "does not speak SSH 2.0, but says \"HTTP/1.1 400 Bad Request\"; check the port"),
        ("Too many connections\r\n", 5, "after the words \"Too many connections\"; check"),
        ("", 5, "closed the connection; check that an SSH server runs there"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("ada@{}", listener.local_addr().unwrap());
        let words = words.to_owned();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(words.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        });
        let password = home.write("password", "secret\n");
        let exit = home.run(&["forward", &target, "-D", "0", "--password-file", &password]).await;
        assert_eq!(exit.code, Some(code), "{exit:?}");
        assert!(exit.stderr.contains(expected) && exit.stderr.contains(&target), "{exit:?}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_relay_that_speaks_no_tls_is_told_from_one_with_a_bad_certificate() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let link = format!("https://{address}/t/shop#hk=Am5uswUifqMBsTk9DhT5LQ8ghzCdotkoVEO2GwrnTZA");
    let exit = home.run(&["connect", &link]).await;
    assert_eq!(exit.code, Some(9), "{exit:?}");
    let expected = format!("{address} is no relay: it does not speak TLS; check the URL");
    assert!(exit.stderr.contains(&expected), "{exit:?}");
    server.await.unwrap();

    let exit = home.run(&["connect", "shop", "--relay", "https://relay.example"]).await;
    assert_eq!(exit.code, Some(2), "{exit:?}");
    assert!(exit.stderr.contains("a tunnel's name does not say which key"), "{exit:?}");
}

#[tokio::test]
async fn a_server_without_an_algorithm_for_us_is_told_with_the_option_that_helps() {
    let (server_home, home) = (Home::new(), Home::new());
    let key = server_home.text("p521");
    let exit = server_home.run(&["keygen", "-t", "ecdsa-521", "-f", &key, "--no-passphrase"]).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let algorithms = ["--host-key", &key, "--kex", "diffie-hellman-group14-sha256"];
    let (_server, address) = server_home.serve(&algorithms).await;
    let password = home.write("password", "secret\n");
    let target = format!("ada@{address}");
    let common = ["forward", &target, "-D", "0", "--password-file", &password];
    let exit = home.run(&common).await;
    assert_eq!(exit.code, Some(9), "{exit:?}");
    let remedy = "--kex diffie-hellman-group14-sha256";
    assert!(exit.stderr.contains(remedy), "{exit:?}");

    let common = [&common[..], &["--kex", "diffie-hellman-group14-sha256"]].concat();
    let exit = home.run(&common).await;
    assert_eq!(exit.code, Some(9), "{exit:?}");
    assert!(exit.stderr.contains("--host-key SHA256:"), "{exit:?}");

    // And that is what helps.
    let exit = server_home.run(&["keygen", "--fingerprint", "-f", &key, "--json"]).await;
    let event: serde_json::Value = serde_json::from_str(&exit.stdout).unwrap();
    let fingerprint = event["fingerprint"].as_str().unwrap();
    let mut client = home.start(&[&common[..], &["--host-key", fingerprint]].concat());
    client.event("ready").await;
}

#[tokio::test]
async fn the_lines_of_a_banner_are_marked() {
    let (server_home, home) = (Home::new(), Home::new());
    let banner = server_home.write("banner", "Welcome\nadit: connected to bank\n");
    let (_server, address) = server_home.serve(&["--banner", &banner]).await;
    let wrong = home.write("password", "not this\n");
    // As those type it who come from ssh.
    let (host, port) = address.rsplit_once(':').unwrap();
    let target = format!("ssh://ada@{host}");
    let common = ["forward", "-N", &target, "-p", port, "-D", "0", "--password-file", &wrong, "--accept-new"];
    let exit = home.run(&common).await;
    assert_eq!(exit.code, Some(3), "{exit:?}");
    assert!(exit.stderr.contains("| Welcome\n| adit: connected to bank\n"), "{exit:?}");
    assert!(!exit.stderr.contains("\nadit: connected"), "{exit:?}");
}

#[tokio::test]
async fn a_reader_who_has_read_enough_is_no_failure() {
    let home = Home::new();
    for arguments in [&["--help"][..], &["man"], &["completions", "bash"]] {
        let mut child = home.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let exit = child.wait_with_output().await.unwrap();
        assert_eq!((exit.status.code(), exit.stderr.len()), (Some(0), 0), "{arguments:?}: {exit:?}");
    }
}
