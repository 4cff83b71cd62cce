//! Whether a certificate counts: one case for each rule.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::keys::{
    Certificate, CertificateAuthorities, CertificateBuilder, CertificateKind, CertificateOption,
    CertificatePermissions, CertificateRefusal, CertificateUse, HostKey, HostKeyStatus, KeyKind, KnownHosts,
    PublicKey, PublicLine, SigningKey,
};

use crate::certificates::signing_key;

const AFTER: u64 = 1_000_000;
const BEFORE: u64 = 2_000_000;

struct Bench {
    ca: SigningKey,
    trusted: CertificateAuthorities,
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn user(name: &str) -> CertificateUse<'_> {
    let source = Some(IpAddr::from([10, 1, 2, 3]));
    CertificateUse { kind: CertificateKind::User, name, now: at(AFTER), source }
}

fn host(name: &str) -> CertificateUse<'_> {
    CertificateUse { kind: CertificateKind::Host, source: None, ..user(name) }
}

fn builder(kind: CertificateKind, principal: &str) -> CertificateBuilder {
    Certificate::builder(kind, PublicKey::Ed25519([5; 32])).principal(principal).valid(AFTER, BEFORE)
}

impl Bench {
    fn new() -> Self {
        let ca = signing_key(KeyKind::Ed25519);
        let trusted = CertificateAuthorities::from_iter([ca.public_key().clone()]);
        Self { ca, trusted }
    }

    fn sign(&self, builder: &CertificateBuilder) -> Certificate {
        builder.sign(&self.ca, default_provider()).unwrap()
    }

    fn check(
        &self,
        builder: &CertificateBuilder,
        usage: CertificateUse<'_>,
    ) -> Result<CertificatePermissions, CertificateRefusal> {
        self.trusted.check(&self.sign(builder), usage, default_provider())
    }
}

#[test]
fn a_valid_certificate_gives_what_it_permits() {
    let bench = Bench::new();
    let plain = bench.check(&builder(CertificateKind::User, "ada"), user("ada")).unwrap();
    assert!(!plain.permits_port_forwarding() && !plain.permits_pty() && plain.force_command().is_none());
    let rich = builder(CertificateKind::User, "ada")
        .principal("bob")
        .user_extensions()
        .extension(CertificateOption::new("what@ever", Some("x")))
        .critical_option(CertificateOption::new("force-command", Some("true")))
        .critical_option(CertificateOption::source_address("10.0.0.0/8").unwrap());
    for name in ["ada", "bob"] {
        let rich = bench.check(&rich, user(name)).unwrap();
        assert!(rich.permits_port_forwarding() && rich.permits_agent_forwarding() && rich.permits_pty());
        assert!(rich.permits_x11_forwarding() && rich.has_extension("what@ever"));
        assert_eq!((rich.force_command(), rich.valid_before()), (Some("true"), BEFORE));
    }
}

#[test]
fn each_rule_refuses() {
    use CertificateKind::{Host, User};
    use CertificateRefusal as R;
    let bench = Bench::new();
    let nobody = Certificate::builder(User, PublicKey::Ed25519([5; 32])).valid(0, u64::MAX);
    let critical =
        |name: &str, value| builder(User, "ada").critical_option(CertificateOption::new(name, value));
    let bound = || critical("source-address", Some("10.1.2.3,192.0.2.0/24"));
    let from = |source: &str| CertificateUse { source: Some(source.parse().unwrap()), ..user("ada") };
    let when = |seconds| CertificateUse { now: at(seconds), ..user("ada") };
    for (builder, usage, expected) in [
        (builder(User, "ada"), user("ada"), None),
        (builder(User, "ada"), host("ada"), Some(R::WrongKind)),
        (builder(Host, "ada"), user("ada"), Some(R::WrongKind)),
        (nobody.clone(), user("ada"), Some(R::NoPrincipals)),
        (nobody, user(""), Some(R::NoPrincipals)),
        (builder(User, "ada"), user("bob"), Some(R::WrongPrincipal)),
        (builder(User, "ada"), user("Ada"), Some(R::WrongPrincipal)),
        (builder(User, "ada"), user("ad"), Some(R::WrongPrincipal)),
        // Patterns are for hosts.
        (builder(User, "*"), user("ada"), Some(R::WrongPrincipal)),
        (builder(User, ""), user("ada"), Some(R::WrongPrincipal)),
        (builder(User, "ada"), when(AFTER - 1), Some(R::NotYetValid)),
        (builder(User, "ada"), when(BEFORE - 1), None),
        (builder(User, "ada"), when(BEFORE), Some(R::Expired)),
        (
            builder(User, "ada"),
            CertificateUse { now: UNIX_EPOCH - Duration::from_secs(1), ..user("ada") },
            Some(R::NotYetValid),
        ),
        (bound(), user("ada"), None),
        (bound(), from("::ffff:192.0.2.9"), None),
        (bound(), from("10.1.2.4"), Some(R::WrongAddress)),
        (bound(), from("::1"), Some(R::WrongAddress)),
        (bound(), CertificateUse { source: None, ..user("ada") }, Some(R::WrongAddress)),
        (critical("source-address", Some("")), user("ada"), Some(R::WrongAddress)),
        (
            critical("source-address", Some("10.1.2.3/8")),
            user("ada"),
            Some(R::BadCriticalOption("source-address".into())),
        ),
        (critical("source-address", None), user("ada"), Some(R::BadCriticalOption("source-address".into()))),
        (critical("force-command", None), user("ada"), Some(R::BadCriticalOption("force-command".into()))),
        (
            critical("verify-required", None),
            user("ada"),
            Some(R::UnknownCriticalOption("verify-required".into())),
        ),
        (critical("x\x1b@y", Some("z")), user("ada"), Some(R::UnknownCriticalOption("x?@y".into()))),
        (builder(Host, "a.example"), host("A.example"), None),
        (builder(Host, "*.Example"), host("a.example"), None),
        (builder(Host, "h?st"), host("host"), None),
        (builder(Host, "a.example"), host("b.example"), Some(R::WrongPrincipal)),
        (builder(Host, "a.example"), host("*"), Some(R::WrongPrincipal)),
        (
            builder(Host, "a").critical_option(CertificateOption::new("force-command", Some("x"))),
            host("a"),
            Some(R::UnknownCriticalOption("force-command".into())),
        ),
    ] {
        let checked = bench.check(&builder, usage);
        assert_eq!(checked.err(), expected, "{builder:?} {usage:?}");
    }
}

#[test]
fn only_trusted_authorities_count_each_with_its_principals() {
    let (bench, other) = (Bench::new(), Bench::new());
    let certificate = bench.sign(&builder(CertificateKind::User, "ops"));
    let check = |trusted: &CertificateAuthorities, name| {
        trusted.check(&certificate, user(name), default_provider()).err()
    };
    assert_eq!(check(&CertificateAuthorities::new(), "ops"), Some(CertificateRefusal::UnknownAuthority));
    assert_eq!(check(&other.trusted, "ops"), Some(CertificateRefusal::UnknownAuthority));
    // The certified key itself is no authority.
    let own = CertificateAuthorities::from_iter([certificate.key().clone()]);
    assert_eq!(check(&own, "ops"), Some(CertificateRefusal::UnknownAuthority));

    let mut trusted = CertificateAuthorities::new();
    trusted.add_for_principals(bench.ca.public_key().clone(), ["dev"]);
    assert_eq!(check(&trusted, "ada"), Some(CertificateRefusal::WrongPrincipal));
    // A list of principals is instead of the login name.
    assert_eq!(check(&trusted, "ops"), Some(CertificateRefusal::WrongPrincipal));
    trusted.add_for_principals(bench.ca.public_key().clone(), Vec::<String>::new());
    assert_eq!(check(&trusted, "ada"), Some(CertificateRefusal::WrongPrincipal));
    trusted.add_for_principals(bench.ca.public_key().clone(), ["web", "ops"]);
    assert_eq!(check(&trusted, "ada"), None);
}

#[test]
fn a_changed_certificate_is_refused_whatever_was_changed() {
    let bench = Bench::new();
    let certificate = bench.sign(&builder(CertificateKind::User, "ada").user_extensions());
    let blob = certificate.to_blob();
    let mut refused = 0;
    for at in 0..blob.len() {
        let mut changed = blob.clone();
        changed[at] ^= 1 << (at % 8);
        let Ok(changed) = Certificate::from_blob(&changed) else { continue };
        refused += 1;
        let checked = bench.trusted.check(&changed, user("ada"), default_provider());
        assert!(checked.is_err(), "byte {at}");
    }
    assert!(refused > 200, "{refused}");
}

#[test]
fn a_key_carries_only_its_own_certificate() {
    let bench = Bench::new();
    let key = signing_key(KeyKind::Ed25519);
    let own = Certificate::builder(CertificateKind::Host, key.public_key().clone())
        .sign(&bench.ca, default_provider());
    let other = bench.sign(&builder(CertificateKind::Host, "a"));
    let (key, _) = key.with_certificate(other).unwrap_err();
    let key = key.with_certificate(own.clone().unwrap()).unwrap();
    assert_eq!(key.certificate(), Some(&own.unwrap()));
}

#[test]
fn certificate_names_and_back() {
    for algorithm in SignatureAlgorithm::ALL {
        let name = algorithm.certificate_name();
        assert_eq!(name, format!("{}-cert-v01@openssh.com", algorithm.name()));
        assert_eq!(SignatureAlgorithm::from_certificate_name(name), Some(algorithm));
        assert_eq!(SignatureAlgorithm::from_name(name), None);
    }
    assert_eq!(SignatureAlgorithm::from_certificate_name("ssh-rsa-cert-v01@openssh.com"), None);
    assert_eq!(SignatureAlgorithm::from_certificate_name("ssh-ed25519"), None);
}

#[test]
fn known_hosts_take_certificates_as_openssh_does() {
    let (bench, stranger) = (Bench::new(), Bench::new());
    let ca = line(bench.ca.public_key());
    let good = bench.sign(&builder(CertificateKind::Host, "a.example"));
    let (key, old) = (line(good.key()), line(&PublicKey::Ed25519([6; 32])));
    let good = HostKey::certified(good);
    let expired = bench.sign(&builder(CertificateKind::Host, "a.example").valid(0, AFTER));
    let named_otherwise = bench.sign(&builder(CertificateKind::Host, "b.example"));
    let of_user = bench.sign(&builder(CertificateKind::User, "a.example"));
    let of_stranger = stranger.sign(&builder(CertificateKind::Host, "a.example"));
    let bad = [expired, named_otherwise, of_user, of_stranger].map(HostKey::certified);

    let check = |text: &str, port: u16, shown: &HostKey| {
        let hosts = KnownHosts::parse(text.as_bytes(), "f");
        assert!(hosts.warnings().is_empty());
        hosts.check_host_key("A.example", port, shown, at(AFTER), default_provider())
    };
    let is = |status: &HostKeyStatus| match status {
        HostKeyStatus::Certified(place) => format!("certified {}", place.line),
        HostKeyStatus::Match(place) => format!("match {}", place.line),
        HostKeyStatus::Unknown { .. } => "unknown".into(),
        HostKeyStatus::Changed { .. } => "changed".into(),
        HostKeyStatus::Revoked(place) => format!("revoked {}", place.line),
        _ => unreachable!(),
    };
    for (text, port, expected, fallback) in [
        (String::new(), 22, "unknown", "unknown"),
        (format!("@cert-authority *.example {ca}"), 22, "certified 1", "unknown"),
        // Without its port too.
        (format!("@cert-authority *.example {ca}"), 2222, "certified 1", "unknown"),
        (format!("@cert-authority [*.example]:2222 {ca}"), 2222, "certified 1", "unknown"),
        (format!("@cert-authority [*.example]:2222 {ca}"), 22, "unknown", "unknown"),
        (format!("@cert-authority *.other {ca}"), 22, "unknown", "unknown"),
        (format!("@cert-authority *,!a.example {ca}"), 22, "unknown", "unknown"),
        // An authority is no host key, a host key no authority.
        (format!("*.example {ca}"), 22, "changed", "changed"),
        (format!("*.example {key}"), 22, "match 1", "match 1"),
        (format!("*.example {old}\n@cert-authority * {ca}"), 22, "certified 2", "changed"),
        (format!("*.example {key}\n@cert-authority * {ca}"), 22, "certified 2", "match 1"),
        (format!("@cert-authority * {ca}\n@revoked * {key}"), 22, "revoked 2", "revoked 2"),
        (format!("@cert-authority * {ca}\n@revoked other {key}"), 22, "certified 1", "unknown"),
    ] {
        assert_eq!(is(&check(&text, port, &good)), expected, "{text}");
        for shown in &bad {
            assert_eq!(is(&check(&text, port, shown)), fallback, "{text} {shown:?}");
        }
        // Plain, the key is nothing more.
        assert_eq!(is(&check(&text, port, &HostKey::plain(good.key.clone()))), fallback, "{text}");
    }
    // A revoked authority.
    let text = format!("@revoked * {ca}\n@cert-authority * {ca}\n*.example {key}");
    assert_eq!(is(&check(&text, 22, &good)), "revoked 1");
    assert_eq!(is(&check(&text, 22, &HostKey::plain(good.key))), "match 3");
    let hosts = KnownHosts::parse(text.as_bytes(), "f");
    assert!(hosts.cert_authorities_for("a.example", 2222).is_empty());
}

fn line(key: &PublicKey) -> PublicLine {
    PublicLine::new(key.clone(), "")
}
