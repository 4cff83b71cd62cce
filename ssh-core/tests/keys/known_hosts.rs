use std::path::Path;

use ssh_core::keys::{Curve, HostKeyStatus, KeyKind, KnownHosts, LineProblem, Place, PublicKey, PublicLine};

use crate::tools::run;

fn key(n: u8) -> PublicKey {
    PublicKey::Ed25519([n; 32])
}

fn line(names: &str, key: &PublicKey) -> String {
    format!("{names} {}\n", PublicLine::new(key.clone(), "comment with words"))
}

fn place(line: usize) -> Place {
    Place { source: "f".into(), line }
}

fn parse(text: &str) -> KnownHosts {
    KnownHosts::parse(text.as_bytes(), "f")
}

#[test]
fn a_key_is_matched_changed_or_unknown() {
    let hosts =
        parse(&format!("# c\n\n{}{}{}", line("a,b", &key(1)), line("a", &key(2)), line("[a]:99", &key(3))));
    assert_eq!(hosts.check("a", 22, &key(1)), HostKeyStatus::Match(place(3)));
    assert_eq!(hosts.check("A", 22, &key(2)), HostKeyStatus::Match(place(4)));
    assert_eq!(hosts.check("a", 99, &key(3)), HostKeyStatus::Match(place(5)));
    let HostKeyStatus::Changed { expected } = hosts.check("a", 22, &key(3)) else { panic!() };
    assert_eq!(expected.iter().map(|known| known.place.line).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(expected[1].fingerprint, key(2).fingerprint());
    assert!(matches!(hosts.check("b", 22, &key(2)), HostKeyStatus::Changed { .. }));
    let HostKeyStatus::Unknown { known_as } = hosts.check("c", 22, &key(1)) else { panic!() };
    assert_eq!((known_as[0].names.as_str(), known_as[0].place.line), ("a,b", 3));
    assert_eq!(hosts.check("a", 98, &key(9)), HostKeyStatus::Unknown { known_as: vec![] });
}

#[test]
fn a_key_of_another_kind_is_a_changed_key() {
    let mut point = vec![9; 65];
    point[0] = 4;
    let other = PublicKey::ecdsa(Curve::P256, &point).unwrap();
    let hosts = parse(&line("a", &key(1)));
    assert!(matches!(hosts.check("a", 22, &other), HostKeyStatus::Changed { .. }));
    let hosts = parse(&format!("{}{}{}", line("a", &other), line("a", &key(1)), line("*", &key(2))));
    assert_eq!(hosts.key_kinds_for("a", 22), [KeyKind::Ecdsa(Curve::P256), KeyKind::Ed25519]);
    assert_eq!(hosts.key_kinds_for("b", 22), [KeyKind::Ed25519]);
}

#[test]
fn a_revoked_key_is_revoked_whatever_else_is_there() {
    let good = line("a", &key(1));
    for text in [
        format!("{good}@revoked {}", line("*", &key(1))),
        format!("@revoked {}{good}", line("a", &key(1))),
        format!("@revoked\t{good}"),
    ] {
        assert!(matches!(parse(&text).check("a", 22, &key(1)), HostKeyStatus::Revoked(_)), "{text}");
    }
    let hosts = parse(&format!("@revoked {}{good}", line("a", &key(2))));
    assert_eq!(hosts.check("a", 22, &key(1)), HostKeyStatus::Match(place(2)));
    // Revoked for the machine, so on all its ports; but not for other machines.
    assert!(matches!(hosts.check("a", 99, &key(2)), HostKeyStatus::Revoked(_)));
    assert!(matches!(hosts.check("b", 22, &key(2)), HostKeyStatus::Unknown { .. }));
}

#[test]
fn an_authority_is_not_a_host_key() {
    let hosts = parse(&format!("@cert-authority {}", line("*.a", &key(1))));
    assert!(
        matches!(hosts.check("x.a", 22, &key(1)), HostKeyStatus::Unknown { known_as } if known_as.is_empty())
    );
    assert_eq!(hosts.cert_authorities_for("x.a", 22), [key(1)]);
    assert!(hosts.key_kinds_for("x.a", 22).is_empty());
    let hosts = parse(&format!("@cert-authority {0}@revoked {0}", line("*", &key(1))));
    assert!(hosts.cert_authorities_for("a", 22).is_empty());
}

#[test]
fn lines_that_are_not_understood_do_not_count_and_are_reported() {
    let good = line("a", &key(1));
    let base64 = good.split(' ').nth(2).unwrap();
    for text in [
        format!("@trusted {good}"),
        format!("@revoked @cert-authority {good}"),
        format!("@ {good}"),
        "a ssh-ed25519\n".to_owned(),
        "a\n".to_owned(),
        format!("a ssh-rsa {base64}\n"),
        format!("a ecdsa-sha2-nistp256 {base64}\n"),
        format!("a ssh-ed25519 {base64}A\n"),
        format!("a\u{a0}ssh-ed25519 {base64}\n"),
        format!("a\x0bssh-ed25519 {base64}\n"),
        format!("a,,b ssh-ed25519 {base64}\n"),
        format!("|1|x|y ssh-ed25519 {base64}\n"),
        format!("|2|YQ==|YQ== ssh-ed25519 {base64}\n"),
        format!("{} ssh-ed25519 {base64}\n", "a".repeat(17_000)),
    ] {
        let hosts = parse(&format!("\n{text}{}", line("b", &key(2))));
        assert_eq!(hosts.warnings().len(), 1, "{text}");
        assert_eq!(hosts.warnings()[0].place, place(2), "{text}");
        assert!(matches!(hosts.check("a", 22, &key(1)), HostKeyStatus::Unknown { .. }), "{text}");
        assert_eq!(hosts.check("b", 22, &key(2)), HostKeyStatus::Match(place(3)));
    }
    let hosts = KnownHosts::parse(b"a ssh-ed25519 \xff\n", "f");
    assert_eq!(hosts.warnings()[0].problem, LineProblem::NotUtf8);
    assert_eq!(hosts.warnings()[0].to_string(), "f:1: the line is not used: it is not UTF-8");
}

#[test]
fn what_is_appended_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/known_hosts");
    assert!(KnownHosts::load([&path]).unwrap().warnings().is_empty());
    KnownHosts::append(&path, "A.example", 22, &key(1), false).unwrap();
    // An editor may leave the last line without its end.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.trim_end()).unwrap();
    KnownHosts::append(&path, "b.example", 2222, &key(2), true).unwrap();
    KnownHosts::append(&path, "::1", 7, &key(3), false).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("b.example") && text.contains("\n[::1]:7 ") && text.ends_with('\n'), "{text}");
    let hosts = KnownHosts::load([&path, &dir.path().join("missing")]).unwrap();
    for (host, port, n) in [("a.EXAMPLE", 22, 1), ("b.example", 2222, 2), ("::1", 7, 3)] {
        assert!(matches!(hosts.check(host, port, &key(n)), HostKeyStatus::Match(_)), "{host}");
    }
    assert!(matches!(hosts.check("b.example", 22, &key(2)), HostKeyStatus::Unknown { .. }));
    for bad in
        ["", "a b", "a,b", "*", "a\nb", "!a", "|1|x|y", "#a", "@revoked", "a\u{2028}b", &"x".repeat(256)]
    {
        assert!(KnownHosts::append(&path, bad, 22, &key(1), false).is_err(), "{bad}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}

/// The lines that `ssh-keygen -F` finds, or `None` without it.
fn found_by_ssh_keygen(path: &Path, host: &str) -> Option<Vec<usize>> {
    let output = run("ssh-keygen", &["-F", host, "-f", path.to_str().unwrap()])?.unwrap_or_default();
    let number = |line: &str| line.split("found: line ").nth(1)?.split(' ').next()?.parse().ok();
    Some(output.lines().filter_map(number).collect())
}

#[test]
fn ssh_keygen_finds_the_same_lines() {
    let fields = [
        "a.example",
        "b.example,c.example",
        "*.wild",
        "?.one",
        "!x.neg,*.neg",
        "*.neg,!y.neg",
        "[a.example]:2222",
        "[*.wild]:2222",
        "192.0.2.*",
        "::1",
        "[::1]:22",
        "UPPER.example",
        "*",
    ];
    let hosts = [
        "a.example",
        "b.example",
        "c.example",
        "z.wild",
        "q.one",
        "qq.one",
        "x.neg",
        "y.neg",
        "z.neg",
        "192.0.2.7",
        "::1",
        "upper.example",
        "other",
        "a",
        "A.EXAMPLE",
    ];
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    let text: String = fields.iter().zip(1_u8..).map(|(names, n)| line(names, &key(n))).collect();
    std::fs::write(&plain, &text).unwrap();
    let hashed = dir.path().join("hashed");
    let names = ["a.example", "b.example", "[a.example]:2222", "::1", "UPPER.example"];
    std::fs::write(&hashed, names.iter().zip(1_u8..).map(|(n, k)| line(n, &key(k))).collect::<String>())
        .unwrap();
    if run("ssh-keygen", &["-H", "-f", hashed.to_str().unwrap()]).map(|result| result.unwrap()).is_none() {
        return;
    }
    assert!(std::fs::read_to_string(&hashed).unwrap().starts_with("|1|"));
    let mut found_in_all = 0;
    for path in [&plain, &hashed] {
        let known = KnownHosts::load([path]).unwrap();
        assert!(known.warnings().is_empty(), "{:?}", known.warnings());
        for (host, port) in hosts.iter().flat_map(|host| [(*host, 22), (*host, 2222)]) {
            // `ssh` makes the name lower case before it looks; `ssh-keygen` leaves that to its user.
            let lower = host.to_ascii_lowercase();
            let name = if port == 22 { lower } else { format!("[{lower}]:{port}") };
            // A key that is on no line makes all the lines of the host "expected".
            let ours: Vec<usize> = match known.check(host, port, &key(99)) {
                HostKeyStatus::Changed { expected } => {
                    expected.iter().map(|known| known.place.line).collect()
                }
                _ => vec![],
            };
            let theirs = found_by_ssh_keygen(path, &name).unwrap();
            assert_eq!(ours, theirs, "{name} in {}", path.display());
            found_in_all += ours.len();
        }
    }
    assert!(found_in_all > 40, "the comparison found {found_in_all} lines, so it compares little");
}

#[test]
fn ssh_keygen_finds_what_we_append() {
    let dir = tempfile::tempdir().unwrap();
    for hashed in [false, true] {
        let path = dir.path().join(format!("hashed-{hashed}"));
        KnownHosts::append(&path, "A.example", 22, &key(1), hashed).unwrap();
        KnownHosts::append(&path, "a.example", 2222, &key(2), hashed).unwrap();
        let Some(found) = found_by_ssh_keygen(&path, "a.example") else { return };
        assert_eq!(found, [1]);
        assert_eq!(found_by_ssh_keygen(&path, "[a.example]:2222").unwrap(), [2]);
    }
}
