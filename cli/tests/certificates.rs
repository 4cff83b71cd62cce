//! `adit keygen sign`, and where its certificates are used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "the other tests use the rest of it")]
mod support;

use serde_json::Value;
use support::Home;

async fn key(home: &Home, name: &str) -> String {
    let file = home.text(name);
    assert_eq!(home.run(&["keygen", "-C", name, "-f", &file]).await.code, Some(0));
    file
}

/// Signs the public key of `name` by `ca` with more arguments.
async fn sign(home: &Home, name: &str, more: &[&str]) -> support::Exit {
    let (ca, public) = (home.text("ca"), format!("{}.pub", home.text(name)));
    let common = ["keygen", "sign", "--json", "--ca", &ca, "--id", "me \x1b[31m", "-n", "ada,bob", &public];
    home.run(&[&common[..], more].concat()).await
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn what_is_signed_is_shown() {
    let home = Home::new();
    key(&home, "ca").await;
    let user = key(&home, "user").await;
    let options =
        ["--valid", "20300101Z:203001020304Z", "--serial", "7", "-O", "clear", "-O", "force-command=ls -l"];
    let made = sign(&home, "user", &options).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let file = format!("{user}-cert.pub");
    let event = json(&made.stdout);
    for (name, expected) in [
        ("event", Value::from("certificate")),
        ("type", "ssh-ed25519-cert-v01@openssh.com".into()),
        ("about", "user".into()),
        ("id", "me \\u{1b}[31m".into()),
        ("serial", 7.into()),
        ("principals", vec!["ada", "bob"].into()),
        // `date -u -d 2030-01-01 +%s`
        ("valid_after", 1_893_456_000.into()),
        ("valid_before", (1_893_456_000 + 86_400 + 3 * 3600 + 240).into()),
        ("critical_options", vec!["force-command ls -l"].into()),
        ("extensions", Vec::<Value>::new().into()),
        ("file", file.as_str().into()),
    ] {
        assert_eq!(event[name], expected, "{name}");
    }
    let again = home.run(&["keygen", "--json", "--fingerprint", "-f", &file]).await;
    assert_eq!(json(&again.stdout), event);
    let shown = home.run(&["keygen", "--fingerprint", "-f", &file]).await.stdout;
    for line in [
        "Type: ssh-ed25519-cert-v01@openssh.com user certificate\n",
        "Key ID: \"me \\u{1b}[31m\"\n",
        "Valid: from 2030-01-01T00:00:00Z to 2030-01-02T03:04:00Z\n",
        "Principals: \n                ada\n                bob\n",
        "Extensions: (none)\n",
    ] {
        assert!(shown.contains(line), "{line:?} is not in {shown}");
    }
    assert!(std::fs::read_to_string(&file).unwrap().ends_with(" user\n"), "the comment stays");
}

#[tokio::test]
async fn a_certificate_is_replaced_only_if_asked() {
    let home = Home::new();
    key(&home, "ca").await;
    let file = format!("{}-cert.pub", key(&home, "user").await);
    assert_eq!(sign(&home, "user", &[]).await.code, Some(0));
    let first = std::fs::read(&file).unwrap();
    let refused = sign(&home, "user", &[]).await;
    assert_eq!((refused.code, std::fs::read(&file).unwrap()), (Some(8), first.clone()), "{refused:?}");
    assert_eq!(sign(&home, "user", &["--overwrite"]).await.code, Some(0));
    assert_ne!(std::fs::read(&file).unwrap(), first);
}

#[tokio::test]
async fn what_makes_no_certificate_is_refused_and_writes_nothing() {
    let home = Home::new();
    key(&home, "ca").await;
    let user = key(&home, "user").await;
    for more in [
        &["--valid", "+2h:+1h"][..],
        &["--valid", "20300101:20310101"],
        &["--valid", "soon"],
        &["-O", "permit-everything"],
        &["-O", "source-address=10.0.0.1/8"],
        &["--host", "-O", "force-command=ls"],
        &["--serial", "-1"],
    ] {
        let refused = sign(&home, "user", more).await;
        assert_eq!(refused.code, Some(2), "{more:?}: {refused:?}");
    }
    let (ca, public) = (home.text("ca"), format!("{user}.pub"));
    for (arguments, code) in [
        (vec!["keygen", "sign", "--ca", &ca, "--id", "x", &public], 2),
        (vec!["keygen", "sign", "--ca", &ca, "-n", "a", &public], 2),
        (vec!["keygen", "sign", "--ca", &ca, "--id", "x", "-n", "", &public], 2),
        (vec!["keygen", "sign", "--ca", &ca, "--id", "x", "-n", "a,", &public], 2),
        (vec!["keygen", "sign", "--ca", &ca, "--id", "x", "-n", "a,,b", &public], 2),
        (vec!["keygen", "sign", "--ca", &ca, "--id", "x", "-n", "a", &user], 2),
        (vec!["keygen", "sign", "--ca", &public, "--id", "x", "-n", "a", &public], 8),
        (vec!["keygen", "sign", "--ca", "/nowhere", "--id", "x", "-n", "a", &public], 8),
        (vec!["keygen", "sign", "--ca", &ca, "--id", "x", "-n", "a", "/nowhere.pub"], 8),
    ] {
        let refused = home.run(&arguments).await;
        assert_eq!(refused.code, Some(code), "{arguments:?}: {refused:?}");
    }
    assert!(!home.path("user-cert.pub").exists());
}

#[tokio::test]
async fn an_authority_may_have_a_passphrase() {
    let home = Home::new();
    let ca = key(&home, "ca").await;
    key(&home, "user").await;
    let (right, wrong) = (home.write("right", "correct horse\n"), home.write("wrong", "battery staple\n"));
    assert_eq!(home.run(&["keygen", "-p", "-f", &ca, "--new-passphrase-file", &right]).await.code, Some(0));
    for (more, word) in
        [(&[][..], "--passphrase-file"), (&["--passphrase-file", &wrong], "passphrase is wrong")]
    {
        let refused = sign(&home, "user", more).await;
        assert!(refused.code == Some(8) && refused.stdout.contains(word), "{refused:?}");
        assert!(!home.path("user-cert.pub").exists());
    }
    let made = sign(&home, "user", &["--passphrase-file", &right]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    // Who names its public half is told so, and not to shut it away.
    let public = format!("{ca}.pub");
    let refused = home.run(&["keygen", "sign", "--ca", &public, "--id", "x", "-n", "a", &public]).await;
    assert!(refused.stderr.contains("is a public key") && !refused.stderr.contains("chmod"), "{refused:?}");
}

/// The options of a certificate as `ssh-keygen` shows them; `None` if it is not installed.
fn shown_options(file: &str) -> Option<Vec<String>> {
    let said = std::process::Command::new("ssh-keygen").args(["-L", "-f", file]).output().ok()?;
    let text = String::from_utf8(said.stdout).unwrap();
    let lines = text.lines().skip_while(|line| !line.contains("Critical Options")).map(str::trim);
    Some(lines.map(str::to_owned).collect())
}

#[tokio::test]
async fn options_mean_what_they_mean_to_ssh_keygen() {
    let home = Home::new();
    let ca = key(&home, "ca").await;
    let (ours, theirs) = (key(&home, "ours").await, key(&home, "theirs").await);
    for options in [
        &["force-command=ls", "source-address=10.0.0.0/8", "extension:x@y", "no-touch-required", "clear"][..],
        &["clear", "permit-pty", "force-command=ls"],
        &["no-pty", "critical:c@d=1", "clear", "permit-agent-forwarding"],
        &["no-x11-forwarding", "no-touch-required"],
        &[],
    ] {
        let options: Vec<_> = options.iter().flat_map(|option| ["-O", option]).collect();
        let mut sign = std::process::Command::new("ssh-keygen");
        sign.args(["-q", "-I", "x", "-n", "a", "-s", &ca]).args(&options).arg(format!("{theirs}.pub"));
        if sign.status().map_or(true, |status| !status.success()) {
            return;
        }
        let made = self::sign(&home, "ours", &[&options[..], &["--overwrite"]].concat()).await;
        assert_eq!(made.code, Some(0), "{made:?}");
        let shown = |name: &str| shown_options(&format!("{name}-cert.pub"));
        assert!(shown(&ours).is_some_and(|lines| lines.len() > 1));
        assert_eq!(shown(&ours), shown(&theirs), "{options:?}");
    }
}

#[tokio::test]
async fn a_server_takes_only_the_certificates_of_its_host_keys() {
    let home = Home::new();
    key(&home, "ca").await;
    let (host, other) = (key(&home, "host").await, key(&home, "other").await);
    sign(&home, "host", &["--host"]).await;
    sign(&home, "other", &["--host"]).await;
    let user = key(&home, "user").await;
    sign(&home, "user", &[]).await;
    for (own, certificate, why) in [
        (&host, format!("{other}-cert.pub"), "none of the host keys"),
        (&user, format!("{user}-cert.pub"), "user's certificate"),
        (&host, format!("{host}.pub"), "cannot be used"),
        (&host, home.text("missing-cert.pub"), "does not exist"),
    ] {
        let arguments = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--permit-open",
            "any",
            "--host-key",
            own,
            "--host-cert",
            &certificate,
        ];
        let refused = home.run(&arguments).await;
        assert_eq!(refused.code, Some(8), "{refused:?}");
        assert!(refused.stderr.contains(why), "{why}: {refused:?}");
    }
}

#[tokio::test]
async fn a_certificate_beside_a_key_must_be_of_a_user_and_of_the_key() {
    let home = Home::new();
    key(&home, "ca").await;
    let (user, other) = (key(&home, "user").await, key(&home, "other").await);
    sign(&home, "user", &[]).await;
    // Nobody answers there; the keys are read before.
    let login = async || home.run(&["forward", "ada@127.0.0.1:1", "-i", &user]).await.stderr;
    let warning = "going on without this certificate";
    let said = login().await;
    assert!(!said.contains(warning), "{said}");
    sign(&home, "user", &["--host", "--overwrite"]).await;
    let said = login().await;
    assert!(said.contains("is for a host") && said.contains(warning), "{said}");
    sign(&home, "other", &[]).await;
    std::fs::copy(format!("{other}-cert.pub"), format!("{user}-cert.pub")).unwrap();
    let said = login().await;
    assert!(said.contains("is for another key") && said.contains(warning), "{said}");
    std::fs::write(format!("{user}-cert.pub"), "nonsense").unwrap();
    let said = login().await;
    assert!(said.contains("user-cert.pub") && said.contains(warning), "{said}");
}
