//! The binary from the outside: what a script or a person sees of it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

mod support;

use support::Home;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Echoes one connection after the other.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        }
    });
    address
}

async fn round_trip(address: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"there and back").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "there and back");
}

#[cfg(unix)]
#[tokio::test]
async fn bytes_go_through_a_local_forward_and_events_tell_of_it() {
    let (server_home, home) = (Home::new(), Home::new());
    let (mut server, address) = server_home.serve(&[]).await;
    let target = echo().await;
    let password = home.write("password", "secret\nnot this\n");
    let known = home.text("new/known_hosts");
    let mut client = home.start(&[
        "forward",
        &format!("ada@{address}"),
        "-L",
        &format!("0:{target}"),
        "--password-file",
        &password,
        "--known-hosts",
        &known,
        "--accept-new",
    ]);
    let added = client.event("host_key_added").await;
    let forward = client.event("forward").await;
    assert_eq!(forward["kind"], "local");
    assert_eq!(forward["target"], target.to_string());
    let ready = client.event("ready").await;
    assert_eq!(ready["host_key"], added["host_key"]);
    for field in ["kex", "cipher"] {
        assert!(ready[field].as_str().is_some_and(|name| !name.is_empty()), "{ready}");
    }
    let listen = forward["listen"].as_str().unwrap();
    round_trip(listen).await;
    round_trip(listen).await;

    client.signal(rustix::process::Signal::TERM);
    client.event("closed").await;
    assert_eq!(client.exit_code().await, Some(0));
    assert_eq!(server.event("logged_in").await["user"], "ada");
    server.signal(rustix::process::Signal::INT);
    server.event("closed").await;
    assert_eq!(server.exit_code().await, Some(0));

    // The same server again has the same key, which is known by now.
    let (_server, again) = server_home.serve(&[]).await;
    let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
    let text = std::fs::read_to_string(&known).unwrap().replace(&port(&address), &port(&again));
    let known = home.write("known", &text);
    let mut client = home.start(&[
        "forward",
        &format!("ada@{again}"),
        "-D",
        "0",
        "--password-file",
        &password,
        "--known-hosts",
        &known,
    ]);
    client.event("ready").await;
}

#[tokio::test]
async fn a_refused_target_is_told_and_ends_nothing() {
    let home = Home::new();
    let (_server, address) = home.serve(&[]).await;
    let target = echo().await;
    // One that was free a moment ago may be the very port that the client gets for its other forward.
    let closed = "127.0.0.1:1";
    let mut client = home.start(&[
        "forward",
        &format!("ada@{address}"),
        "-L",
        &format!("0:{closed}"),
        "-L",
        &format!("0:{target}"),
        "--password-file",
        &home.text("password"),
        "--accept-new",
    ]);
    let to_closed = client.event("forward").await["listen"].as_str().unwrap().to_owned();
    let to_echo = client.event("forward").await["listen"].as_str().unwrap().to_owned();
    client.event("ready").await;
    // The reset may come before the connection is seen to be there.
    if let Ok(mut stream) = TcpStream::connect(to_closed).await {
        assert!(!matches!(stream.read(&mut [0]).await, Ok(1..)));
    }
    let refused = client.event("refused").await;
    assert!(refused["message"].as_str().unwrap().contains(closed), "{refused}");
    round_trip(&to_echo).await;
}

#[tokio::test]
async fn a_wrong_password_is_exit_code_3() {
    let home = Home::new();
    let (_server, address) = home.serve(&[]).await;
    let wrong = home.write("wrong", "battery staple\n");
    let target = format!("ada@{address}");
    let exit = home.run(&["forward", &target, "-D", "0", "--accept-new", "--password-file", &wrong]).await;
    assert_eq!(exit.code, Some(3), "{exit:?}");
    assert!(exit.stderr.contains(&target) && !exit.stderr.contains("battery"), "{exit:?}");
}

#[tokio::test]
async fn more_keys_than_the_server_hears_out_are_exit_code_3_too() {
    let home = Home::new();
    let (_server, address) =
        home.serve(&["--authorized-keys", &home.write("authorized", "# nobody\n")]).await;
    let target = format!("ada@{address}");
    let keys: Vec<String> = (0..7).map(|number| home.text(&format!("key{number}"))).collect();
    let mut arguments = vec!["forward", &target, "-D", "0", "--accept-new"];
    for key in &keys {
        assert_eq!(home.run(&["keygen", "-f", key]).await.code, Some(0));
        arguments.extend(["-i", key]);
    }
    // The server ends the login while there are keys left to try. To come back would not help.
    let exit = home.run(&arguments).await;
    assert_eq!(exit.code, Some(3), "{exit:?}");
    assert!(exit.stderr.contains("no more attempts") && exit.stderr.contains(&target), "{exit:?}");
}

#[tokio::test]
async fn an_unknown_host_key_is_exit_code_4_and_is_shown() {
    let home = Home::new();
    let (_server, address) = home.serve(&[]).await;
    let own = home.path(".local/share/adit/host_ed25519").display().to_string();
    let shown = home.run(&["keygen", "--fingerprint", "-f", &own]).await.stdout;
    let print = shown.split(' ').nth(1).unwrap();
    assert!(print.starts_with("SHA256:"), "{shown}");
    let target = format!("ada@{address}");
    let arguments = ["forward", &target, "-D", "0", "--password-file", &home.text("password")];
    let exit = home.run(&arguments).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(4), ""), "{exit:?}");
    assert!(exit.stderr.contains(print), "{exit:?}");
    assert_eq!(exit.stderr.lines().count(), 1, "{exit:?}");
    assert!(!home.path(".ssh").exists());

    let exit = home.run(&[&arguments[..], &["--json"]].concat()).await;
    let event: serde_json::Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!((event["event"].as_str(), event["code"].as_str()), (Some("error"), Some("host_key")));
    assert!(event["message"].as_str().unwrap().contains(print));

    // Pinned, it needs no known hosts.
    let mut client = home.start(&[&arguments[..], &["--host-key", print]].concat());
    client.event("ready").await;
}

/// The server prefers to show another key than the pinned one.
#[tokio::test]
async fn a_pin_may_be_of_any_of_the_servers_keys() {
    let home = Home::new();
    let keys = ["ed25519", "ecdsa-384"].map(|kind| (kind, home.text(kind)));
    let mut prints = Vec::new();
    for (kind, file) in &keys {
        assert_eq!(home.run(&["keygen", "-t", kind, "-f", file]).await.code, Some(0));
        let shown = home.run(&["keygen", "--fingerprint", "-f", file]).await.stdout;
        prints.push(shown.split(' ').nth(1).unwrap().to_owned());
    }
    let [(_, first), (_, second)] = &keys;
    let (_server, address) = home.serve(&["--host-key", first, "--host-key", second]).await;
    for print in prints {
        let (target, password) = (format!("ada@{address}"), home.text("password"));
        let pinned = ["--password-file", &password, "--host-key", &print];
        let mut client = home.start(&[&["forward", &target, "-D", "0"][..], &pinned].concat());
        assert_eq!(client.event("ready").await["host_key"], print);
    }
}

#[tokio::test]
async fn a_busy_port_is_exit_code_6() {
    let home = Home::new();
    let busy = echo().await.to_string();
    let (_server, address) = home.serve(&[]).await;
    let user = format!("ada:{}", home.text("password"));
    let (target, local) = (format!("ada@{address}"), format!("{busy}:db:1"));
    let password = home.text("password");
    for arguments in [
        &["serve", "--listen", &busy, "--permit-open", "any", "--user", &user][..],
        &["forward", &target, "--accept-new", "--password-file", &password, "-D", &busy],
        &["forward", &target, "--accept-new", "--password-file", &password, "-L", &local],
    ] {
        let exit = home.run(arguments).await;
        assert_eq!(exit.code, Some(6), "{exit:?}");
        assert!(exit.stderr.contains(&busy), "{exit:?}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let arguments = ["forward", &format!("ada@{address}"), "-D", "0", "--connect-timeout", "1"];
    let exit = Home::new().run(&arguments).await;
    assert_eq!(exit.code, Some(5), "{exit:?}");
    assert!(exit.stderr.contains(&address), "{exit:?}");
}

#[tokio::test]
async fn ssh_keygen_and_keygen_see_the_same_key() {
    let home = Home::new();
    if tokio::process::Command::new("ssh-keygen").arg("-?").output().await.is_err() {
        eprintln!("skipped: there is no ssh-keygen");
        return;
    }
    for kind in ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa"] {
        let file = home.text(kind);
        let made = home.run(&["keygen", "-t", kind, "-f", &file, "-C", "a comment"]).await;
        assert_eq!((made.code, made.stdout.as_str()), (Some(0), ""), "{made:?}");
        for file in [file.clone(), format!("{file}.pub")] {
            let ours = home.run(&["keygen", "--fingerprint", "-f", &file]).await.stdout;
            let theirs = tokio::process::Command::new("ssh-keygen").args(["-lf", &file]).output().await;
            assert_eq!(ours, String::from_utf8(theirs.unwrap().stdout).unwrap());
        }
        // Never over a key that is there.
        let again = home.run(&["keygen", "-t", kind, "-f", &file]).await;
        assert_eq!(again.code, Some(8), "{again:?}");
    }
}

/// More lines than a pipe and the program hold.
#[cfg(unix)]
#[tokio::test]
async fn output_that_nobody_reads_holds_up_nothing() {
    let home = Home::new();
    let password = format!("ada:{}", home.write("password", "secret\n"));
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--permit-open", "127.0.0.1:1", "--user", &password];
    let mut server = home.start(&arguments);
    let address = server.event("listening").await["addr"].as_str().unwrap().to_owned();
    let (target, password) = (format!("ada@{address}"), home.text("password"));
    let fixed = ["forward", &target, "--accept-new", "--password-file", &password, "-L"];
    let mut client = home.start(&[&fixed[..], &["0:127.0.0.1:2"]].concat());
    let listen = client.event("forward").await["listen"].as_str().unwrap().to_owned();
    client.event("ready").await;
    for _ in 0..3000 {
        if let Ok(mut stream) = TcpStream::connect(&listen).await {
            let mut byte = [0];
            let read = tokio::time::timeout(std::time::Duration::from_secs(10), stream.read(&mut byte));
            assert!(!matches!(read.await.expect("it hangs"), Ok(1..)));
        }
    }
    let mut other = home.start(&[&fixed[..], &["0:127.0.0.1:1"]].concat());
    other.event("ready").await;
    for running in [&mut client, &mut server] {
        running.signal(rustix::process::Signal::TERM);
        assert_eq!(running.exit_code().await, Some(0));
    }
}

#[tokio::test]
async fn one_session_too_many_is_told_so() {
    let home = Home::new();
    let (_server, address) = home.serve(&["--max-sessions", "1"]).await;
    let (target, password) = (format!("ada@{address}"), home.text("password"));
    let arguments = ["forward", &target, "-D", "0", "--accept-new", "--password-file", &password];
    let mut first = home.start(&arguments);
    first.event("ready").await;
    let exit = home.run(&arguments).await;
    assert_eq!(exit.code, Some(5), "{exit:?}");
    let last = exit.stderr.lines().last().unwrap();
    assert!(last.contains("limit of 1 sessions") && last.contains("reason 12"), "{exit:?}");
}

#[tokio::test]
async fn a_server_says_first_where_it_listens_and_warns_when_nobody_can_log_in() {
    let home = Home::new();
    let mut server = home.start(&["serve", "--listen", "127.0.0.1:0", "--permit-open", "any"]);
    server.event("listening").await;
    server.event("key").await;
    server.event("warning").await;
}

#[cfg(unix)]
#[tokio::test]
async fn known_hosts_may_be_no_file_at_all() {
    let home = Home::new();
    let (_server, address) = home.serve(&[]).await;
    let (target, password) = (format!("ada@{address}"), home.text("password"));
    let arguments = ["forward", &target, "-D", "0", "--password-file", &password, "--known-hosts"];
    let exit = home.run(&[&arguments[..], &["/dev/null"]].concat()).await;
    assert_eq!(exit.code, Some(4), "{exit:?}");
    let mut client = home.start(&[&arguments[..], &["/dev/null", "--accept-new"]].concat());
    client.event("warning").await;
    client.event("ready").await;
}

#[cfg(unix)]
#[tokio::test]
async fn messages_name_the_remedy() {
    let home = Home::new();
    let text = home.write("text", "hello\n");
    let exit = home.run(&["keygen", "--fingerprint", "-f", &text]).await;
    assert!(exit.code == Some(8) && exit.stderr.contains("no key"), "{exit:?}");
    let exit = home.run(&["keygen", "-f", &text]).await;
    assert!(exit.code == Some(8) && exit.stderr.contains("another file with -f"), "{exit:?}");
    let user = format!("ada:{}", home.write("password", "secret\n"));
    let serve = ["serve", "--permit-open", "any", "--user", &user, "--listen", "192.0.2.1:0"];
    let exit = home.run(&serve).await;
    assert!(exit.code == Some(6) && exit.stderr.contains("not one of this machine"), "{exit:?}");
}

#[tokio::test]
async fn an_ipv4_client_of_a_server_on_all_interfaces_has_an_ipv4_address() {
    let home = Home::new();
    let user = format!("ada:{}", home.write("password", "secret\n"));
    let arguments = ["serve", "--listen", "*:0", "--permit-open", "any", "--user", &user];
    let mut server = home.start(&arguments);
    let address = server.event("listening").await["addr"].as_str().unwrap().to_owned();
    let target = format!("ada@127.0.0.1:{}", address.rsplit_once(':').unwrap().1);
    let password = home.text("password");
    let mut client =
        home.start(&["forward", &target, "-D", "0", "--accept-new", "--password-file", &password]);
    client.event("ready").await;
    let from = server.event("logged_in").await["from"].as_str().unwrap().to_owned();
    assert!(from.starts_with("127.0.0.1:"), "{from}");
}

#[tokio::test]
async fn secrets_of_the_environment_may_have_a_line_end_as_those_of_files() {
    let home = Home::new();
    let (_server, address) = home.serve(&[]).await;
    let target = format!("ada@{address}");
    let known = home.text("known_hosts");
    let arguments = ["forward", &target, "--known-hosts", &known, "--accept-new"];
    let mut client = home.start_with(&arguments, &[("ADIT_PASSWORD", "secret\n")]);
    client.event("ready").await;

    let ask = async |token: &str| {
        let mut command = home.command(&["tunnel", "list", "--relay", "http://127.0.0.1:9"]);
        let ended = command.env("ADIT_TOKEN", token).output().await.unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, why) = ask("abc\n").await;
    assert_eq!(code, Some(5), "it is asked: {why}");
    let (code, why) = ask("abc\ndef").await;
    assert!(code == Some(2) && why.contains("ADIT_TOKEN") && !why.contains("abc"), "{code:?} {why}");
}
