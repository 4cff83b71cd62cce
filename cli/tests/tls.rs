//! Certificates and keys of a relay that cannot be used are told from each other.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]
#![allow(dead_code, reason = "this file does not use everything that the helpers can do")]

mod support;

use std::process::Command;

use support::Home;

fn openssl(arguments: &[&str]) {
    let made = Command::new("openssl").args(arguments).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// As `openssl req -x509` makes it, which is an authority's.
fn make(home: &Home) -> (String, String) {
    let (certificate, key) = (home.text("certificate"), home.text("key"));
    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let name = ["-days", "2", "-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1"];
    openssl(&[&request[..], &name, &["-keyout", &key, "-out", &certificate]].concat());
    (certificate, key)
}

#[tokio::test]
async fn an_authority_s_certificate_is_called_one() {
    let home = Home::new();
    let (certificate, key) = make(&home);
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    let mut relay = home.start(&[&["relay", "--listen", "127.0.0.1:0"][..], &tls].concat());
    let address = relay.event("listening").await["addr"].as_str().unwrap().to_owned();
    let url = format!("https://{address}");
    let exit = home.run(&["tunnel", "list", "--relay", &url, "--ca-file", &certificate]).await;
    assert_eq!(exit.code, Some(5), "{exit:?}");
    for part in [&address, "CA:TRUE", "basicConstraints=critical,CA:FALSE"] {
        assert!(exit.stderr.contains(part), "{exit:?}");
    }
    assert!(!exit.stderr.contains("--ca-file"), "it was given: {exit:?}");
}

#[tokio::test]
async fn files_that_are_no_certificate_and_no_key_are_named_with_the_reason() {
    let home = Home::new();
    let (certificate, key) = make(&home);
    let (encrypted, old, none) = (home.text("encrypted"), home.text("old"), home.text("none"));
    openssl(&["pkcs8", "-topk8", "-in", &key, "-out", &encrypted, "-passout", "pass:secret"]);
    openssl(&["ec", "-aes256", "-in", &key, "-out", &old, "-passout", "pass:secret"]);
    for (certificate, key, parts) in [
        (&key, &key, [&*key, "there is no certificate in it"]),
        (&certificate, &certificate, [&*certificate, "there is no private key in it"]),
        (&certificate, &encrypted, [&*encrypted, "it is encrypted"]),
        (&certificate, &old, [&*old, "it is encrypted"]),
        (&none, &key, [&*none, "No such file"]),
    ] {
        let tls = ["--tls-cert", certificate, "--tls-key", key];
        let exit = home.run(&[&["relay", "--listen", "127.0.0.1:0"][..], &tls].concat()).await;
        assert_eq!(exit.code, Some(8), "{exit:?}");
        for part in parts {
            assert_eq!(exit.stderr.matches(part).count(), 1, "{part} {exit:?}");
        }
    }
}

#[tokio::test]
async fn a_proxy_counts_where_it_would_be_used() {
    let home = Home::new();
    let run = async |url: &str, variable: (&str, &str)| {
        let mut command = home.command(&["tunnel", "list", "--relay", url]);
        let ended = command.env(variable.0, variable.1).output().await.unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let here = "http://127.0.0.1:9";
    for variable in [("all_proxy", "socks://127.0.0.1:9/"), ("all_proxy", "what"), ("https_proxy", "ftp://x")]
    {
        let (code, why) = run(here, variable).await;
        assert!(code == Some(5) && !why.contains("proxy"), "{variable:?} {why}");
    }
    let (code, why) = run("https://relay.example", ("https_proxy", "ftp://x")).await;
    assert!(code == Some(2) && why.contains("https_proxy"), "{why}");
}
