//! `adit keygen` from the outside: converting keys and changing their passphrases.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]
#![allow(dead_code, reason = "this file does not use everything that the helpers can do")]

mod support;

use support::{Exit, Home};

const KINDS: [&str; 5] = ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa"];

/// A home with a key of each kind, by its name.
async fn with_keys(kinds: &[&str]) -> Home {
    let home = Home::new();
    for kind in kinds {
        succeeds(&home, &["keygen", "-t", kind, "-f", &home.text(kind), "-C", "a comment"]).await;
    }
    home
}

async fn succeeds(home: &Home, arguments: &[&str]) -> Exit {
    let exit = home.run(arguments).await;
    assert_eq!(exit.code, Some(0), "{arguments:?} {exit:?}");
    exit
}

/// It ends with this code, and says each part in one line.
async fn fails(home: &Home, arguments: &[&str], code: i32, parts: &[&str]) {
    let exit = home.run(arguments).await;
    assert_eq!(exit.code, Some(code), "{arguments:?} {exit:?}");
    assert_eq!(exit.stdout, "", "{arguments:?}");
    for part in parts {
        assert!(exit.stderr.contains(part), "{arguments:?} {part:?} {exit:?}");
    }
}

/// Bits, fingerprint and kind.
async fn fingerprint(home: &Home, file: &str) -> String {
    let shown = succeeds(home, &["keygen", "--fingerprint", "-f", file]).await.stdout;
    let words: Vec<_> = shown.split(' ').collect();
    format!("{} {} {}", words[0], words[1], words.last().unwrap().trim())
}

fn mode(file: &str) -> u32 {
    #[cfg(unix)]
    return std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions()) & 0o7777;
    #[cfg(not(unix))]
    return if file.ends_with(".pub") { 0o644 } else { 0o600 };
}

#[tokio::test]
async fn keys_are_converted_and_stay_the_same() {
    let home = with_keys(&KINDS).await;
    for kind in KINDS {
        let key = home.text(kind);
        let expected = fingerprint(&home, &key).await;
        for format in ["openssh", "pkcs8", "pkcs1", "sec1", "ssh2", "jwk", "jwk-nist"] {
            let out = home.text(&format!("{kind}.{format}"));
            let convert = ["keygen", "--convert", format, "-f", &key];
            let fits = match format {
                "pkcs1" | "ssh2" => kind == "rsa",
                "sec1" => kind.starts_with("ecdsa"),
                _ => true,
            };
            if !fits {
                fails(&home, &convert, 8, &[&key, "cannot hold", "use openssh, pkcs8"]).await;
                continue;
            }
            succeeds(&home, &[&convert[..], &["-o", &out]].concat()).await;
            assert_eq!(mode(&out), 0o600);
            assert_eq!(fingerprint(&home, &out).await, expected);
            // On stdout it is the same, but for what is random in it.
            let printed = succeeds(&home, &convert).await.stdout;
            if format != "openssh" {
                assert_eq!(printed, std::fs::read_to_string(&out).unwrap());
            }
            // And back again, byte for byte where nothing is random.
            let there = succeeds(&home, &["keygen", "--convert", "jwk", "-f", &out]).await.stdout;
            let here = succeeds(&home, &["keygen", "--convert", "jwk", "-f", &key]).await.stdout;
            let numbers = |text: &str| {
                text.lines()
                    .filter(|line| !line.contains("comment"))
                    .map(|line| line.trim_end_matches(',').to_owned())
                    .collect::<Vec<_>>()
            };
            assert_eq!(numbers(&there), numbers(&here));
        }
    }
}

#[tokio::test]
async fn public_keys_are_converted() {
    let home = with_keys(&KINDS).await;
    for kind in KINDS {
        let (key, public) = (home.text(kind), home.text(&format!("{kind}.pub")));
        let expected = fingerprint(&home, &key).await;
        for format in ["openssh", "pkcs8", "pkcs1", "sec1", "rfc4716", "ssh2", "jwk", "jwk-nist"] {
            let out = home.text(&format!("{kind}.{format}.pub"));
            let convert = ["keygen", "--convert", format, "-f", &public];
            if format == "sec1" || format == "pkcs1" && kind != "rsa" {
                fails(&home, &convert, 8, &[&public, "cannot hold a public key"]).await;
                continue;
            }
            succeeds(&home, &[&convert[..], &["-o", &out]].concat()).await;
            assert_eq!(mode(&out), 0o644);
            assert_eq!(fingerprint(&home, &out).await, expected);
            // The public half of a private key is the same.
            let half = ["keygen", "--convert", format, "--public", "-f", &key];
            let printed = succeeds(&home, &half).await.stdout;
            assert_eq!(printed, std::fs::read_to_string(&out).unwrap());
            assert!(!printed.contains("PRIVATE"));
        }
        let line = succeeds(&home, &["keygen", "--convert", "openssh", "-f", &public]).await.stdout;
        assert_eq!(line, std::fs::read_to_string(&public).unwrap());
        let rfc4716 = succeeds(&home, &["keygen", "--convert", "rfc4716", "-f", &key]).await.stdout;
        assert!(
            rfc4716.starts_with("---- BEGIN SSH2 PUBLIC KEY ----\nComment: \"a comment\"\n"),
            "{rfc4716}"
        );
    }
}

#[tokio::test]
async fn converting_overwrites_nothing_and_names_what_is_wrong() {
    let home = with_keys(&["ed25519"]).await;
    let key = home.text("ed25519");
    let text = home.write("text", "hello\n");
    let convert = ["keygen", "--convert", "pkcs8", "-f"];
    fails(&home, &[&convert[..], &[&key, "-o", &text]].concat(), 8, &[&text, "exists", "another name"]).await;
    assert_eq!(std::fs::read_to_string(&text).unwrap(), "hello\n");
    let nowhere = home.text("no/where");
    fails(&home, &[&convert[..], &[&key, "-o", &nowhere]].concat(), 8, &[&nowhere, "make it first"]).await;
    assert!(!home.path("no").exists());
    fails(&home, &[&convert[..], &[&text]].concat(), 8, &[&text]).await;
    let missing = home.text("missing");
    fails(&home, &[&convert[..], &[&missing]].concat(), 8, &[&missing, "check that it exists"]).await;
    fails(&home, &["keygen", "--convert", "pem", "-f", &key], 2, &["no such key format", "pkcs8"]).await;
    fails(&home, &["keygen", "-o", &nowhere, "-f", &key], 2, &["--convert"]).await;
    fails(&home, &["keygen", "-p"], 2, &["-f"]).await;
    let exit = home.run(&[&convert[..], &[&key, "--json"]].concat()).await;
    assert_eq!(exit.code, Some(2), "{exit:?}");
    let out = home.text("out");
    let exit = succeeds(&home, &[&convert[..], &[&key, "-o", &out, "--json"]].concat()).await;
    let event: serde_json::Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!((event["event"].as_str(), event["file"].as_str()), (Some("key"), Some(&*out)));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        fails(&home, &[&convert[..], &[&key]].concat(), 8, &[&key, "chmod 600"]).await;
    }
}

#[tokio::test]
async fn a_passphrase_is_changed_in_place() {
    let home = with_keys(&["ed25519"]).await;
    let key = home.text("ed25519");
    let (first, second) = (home.write("first", "correct horse\n"), home.write("second", "battery staple\n"));
    let change = ["keygen", "-p", "-f", &key];
    fails(&home, &change, 2, &["--new-passphrase-file", "--no-passphrase"]).await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o400)).unwrap();
        std::os::unix::fs::symlink(&key, home.path("link")).unwrap();
    }
    succeeds(&home, &[&change[..], &["--new-passphrase-file", &first]].concat()).await;
    // Still the same key: its public half is told without the passphrase, by the file beside it, and by itself.
    let expected = fingerprint(&home, &key).await;
    std::fs::rename(home.path("ed25519.pub"), home.path("elsewhere.pub")).unwrap();
    assert_eq!(fingerprint(&home, &key).await, expected);
    // Another format has the public half inside its encryption.
    let other = home.text("pkcs8");
    let convert = ["keygen", "--convert", "pkcs8", "-f", &key, "--passphrase-file", &first, "-o", &other];
    succeeds(&home, &convert).await;
    fails(&home, &["keygen", "--fingerprint", "-f", &other], 8, &[&other, "--passphrase-file"]).await;
    let shown =
        succeeds(&home, &["keygen", "--fingerprint", "-f", &other, "--passphrase-file", &first]).await;
    assert!(shown.stdout.contains(expected.split(' ').nth(1).unwrap()), "{shown:?}");

    let wrong = [&change[..], &["--passphrase-file", &second, "--no-passphrase"]].concat();
    let before = std::fs::read(&key).unwrap();
    fails(&home, &wrong, 8, &[&key, "passphrase is wrong"]).await;
    fails(&home, &[&change[..], &["--no-passphrase"]].concat(), 8, &[&key, "--passphrase-file"]).await;
    assert_eq!(std::fs::read(&key).unwrap(), before);
    #[cfg(unix)]
    {
        let link = home.text("link");
        let through =
            ["keygen", "-p", "-f", &link, "--passphrase-file", &first, "--new-passphrase-file", &second];
        succeeds(&home, &through).await;
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(mode(&key), 0o400);
        assert_ne!(std::fs::read(&key).unwrap(), before);
        let passphrase = |text: &str| {
            let output =
                std::process::Command::new("ssh-keygen").args(["-y", "-P", text, "-f", &key]).output();
            output.map(|output| output.status.success()).ok()
        };
        if passphrase("").is_some() {
            assert_eq!(passphrase("battery staple"), Some(true));
            assert_eq!(passphrase("correct horse"), Some(false));
        }
        succeeds(&home, &[&change[..], &["--passphrase-file", &second, "--no-passphrase"]].concat()).await;
    }
    #[cfg(not(unix))]
    succeeds(&home, &[&change[..], &["--passphrase-file", &first, "--no-passphrase"]].concat()).await;
    assert_eq!(fingerprint(&home, &key).await, expected);
    let shown = succeeds(&home, &["keygen", "--fingerprint", "-f", &key]).await.stdout;
    assert!(shown.contains(" a comment ("), "{shown}");
    let names: Vec<_> =
        std::fs::read_dir(home.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{names:?}");
}

#[tokio::test]
async fn a_passphrase_is_never_lost_by_converting() {
    let home = with_keys(&["rsa"]).await;
    let key = home.text("rsa");
    let (first, second) = (home.write("first", "correct horse\n"), home.write("second", "battery staple\n"));
    succeeds(&home, &["keygen", "-p", "-f", &key, "--new-passphrase-file", &first]).await;
    let convert = |format| ["keygen", "--convert", format, "-f", &key, "--passphrase-file", &first];
    for format in ["pkcs1", "ssh2", "jwk"] {
        fails(&home, &convert(format), 8, &[&key, format, "--no-passphrase"]).await;
    }
    let text = succeeds(&home, &convert("pkcs8")).await.stdout;
    assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
    let text = succeeds(&home, &[&convert("pkcs8")[..], &["--no-passphrase"]].concat()).await.stdout;
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{text}");
    let out = home.text("out");
    let other = ["-o", &out, "--new-passphrase-file", &second];
    succeeds(&home, &[&convert("pkcs8")[..], &other].concat()).await;
    let show = ["keygen", "--fingerprint", "-f", &out, "--passphrase-file"];
    fails(&home, &[&show[..], &[&first]].concat(), 8, &[&out, "passphrase is wrong"]).await;
    succeeds(&home, &[&show[..], &[&second]].concat()).await;
    // Its passphrase is changed in its own format.
    let change = ["keygen", "-p", "-f", &out, "--passphrase-file", &second, "--new-passphrase-file", &first];
    succeeds(&home, &change).await;
    assert!(std::fs::read_to_string(&out).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    // A format that has none is told so.
    let clear = home.text("clear");
    succeeds(&home, &[&convert("pkcs1")[..], &["--no-passphrase", "-o", &clear]].concat()).await;
    let change = ["keygen", "-p", "-f", &clear, "--new-passphrase-file", &first];
    fails(&home, &change, 8, &[&clear, "pkcs1 is never written with a passphrase", "openssh or pkcs8"]).await;
}

#[tokio::test]
async fn a_key_is_made_with_a_passphrase_from_a_file() {
    let home = Home::new();
    let (key, first) = (home.text("key"), home.write("first", "correct horse\n"));
    succeeds(&home, &["keygen", "-f", &key, "--new-passphrase-file", &first]).await;
    fails(&home, &["keygen", "--convert", "jwk", "-f", &key], 8, &[&key, "--passphrase-file"]).await;
    succeeds(&home, &["keygen", "--convert", "pkcs8", "-f", &key, "--passphrase-file", &first]).await;
}
