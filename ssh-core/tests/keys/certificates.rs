//! Certificates as bytes: made by `ssh-keygen`, made by us, and made to do harm.

use std::path::Path;

use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::keys::{
    Certificate, CertificateError, CertificateKind, CertificateLine, CertificateOption, CertificateRefusal,
    Curve, KeyError, KeyFormatError, KeyKind, KeyPair, MAX_CERTIFICATE_LEN, PublicKey, SigningKey,
};
use ssh_core::protocol::wire::{Reader, WireError, Write as _};

use crate::tools::{generate, run};

/// Made by `ssh-keygen -s ca -I "user ed25519256" -n ada,bob -V 20200101Z:20400101Z -z 9 -O force-command=true
/// -O source-address=127.0.0.0/8,::1`.
const OF_SSH_KEYGEN: &[u8] = include_bytes!("../../fuzz/seeds/key_files/cert_user_ed25519256");

const KINDS: [(&str, &str); 5] =
    [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "2048")];

fn of_ssh_keygen() -> Certificate {
    Certificate::parse_line(OF_SSH_KEYGEN).unwrap()
}

pub(crate) fn signing_key(kind: KeyKind) -> SigningKey {
    let provider = default_provider();
    let pair = KeyPair::generate(provider, kind, 3072).unwrap();
    SigningKey::new(&pair.private, provider).unwrap()
}

#[test]
fn a_certificate_of_ssh_keygen_says_what_it_was_told() {
    let certificate = of_ssh_keygen();
    assert_eq!(certificate.kind(), CertificateKind::User);
    assert_eq!((certificate.serial(), certificate.key_id()), (9, "user ed25519256"));
    assert_eq!(certificate.principals().iter().map(|name| &**name).collect::<Vec<_>>(), ["ada", "bob"]);
    // `date -u -d 2020-01-01 +%s`, `date -u -d 2040-01-01 +%s`
    assert_eq!((certificate.valid_after(), certificate.valid_before()), (1_577_836_800, 2_208_988_800));
    let critical: Vec<_> =
        certificate.critical_options().iter().map(|option| (&*option.name, option.value())).collect();
    assert_eq!(critical, [("force-command", Some("true")), ("source-address", Some("127.0.0.0/8,::1"))]);
    let extensions = certificate.extensions();
    assert!(extensions.iter().all(CertificateOption::is_flag));
    assert_eq!(
        extensions.iter().map(|option| &*option.name).collect::<Vec<_>>(),
        [
            "permit-X11-forwarding",
            "permit-agent-forwarding",
            "permit-port-forwarding",
            "permit-pty",
            "permit-user-rc"
        ]
    );
    assert_eq!(certificate.signature_algorithm(), Some(SignatureAlgorithm::Ed25519));
    certificate.verify_signature(default_provider()).unwrap();
    assert_eq!(Certificate::from_blob(&certificate.to_blob()), Ok(certificate));
    let line = CertificateLine::parse(OF_SSH_KEYGEN).unwrap();
    assert_eq!(format!("{line}\n").as_bytes(), OF_SSH_KEYGEN);
}

#[test]
fn ssh_keygen_signs_every_kind_with_every_kind() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (kind, bits) in KINDS {
        for name in ["ca", "key"] {
            if !generate(&path(&format!("{name}{kind}{bits}")), "", &["-t", kind, "-b", bits]) {
                return;
            }
        }
    }
    for (ca, ca_bits) in KINDS {
        for (index, (kind, bits)) in KINDS.into_iter().enumerate() {
            let (ca, key) = (path(&format!("ca{ca}{ca_bits}")), path(&format!("key{kind}{bits}")));
            let (ca_name, public) = (ca.display().to_string(), format!("{}.pub", key.display()));
            let host = index % 2 == 1;
            let mut args = vec!["-q", "-s", &ca_name, "-I", "id", "-n", "a,b"];
            args.extend(host.then_some("-h"));
            args.push(&public);
            run("ssh-keygen", &args).unwrap().unwrap();

            let line = CertificateLine::beside(&key).unwrap().unwrap();
            let certificate = &line.certificate;
            certificate.verify_signature(default_provider()).unwrap();
            let expected = if host { CertificateKind::Host } else { CertificateKind::User };
            assert_eq!(certificate.kind(), expected);
            assert_eq!(*certificate.key(), KeyPair::read_file(&key, None).unwrap().public_key());
            assert_eq!(*certificate.authority(), KeyPair::read_file(&ca, None).unwrap().public_key());
            assert_eq!((certificate.valid_after(), certificate.valid_before()), (0, u64::MAX));
            let name = certificate.key().kind().certificate_name();
            assert!(line.to_string().starts_with(&format!("{name} ")));
            refuses_any_change(certificate);
        }
    }
}

/// A bit of each byte.
fn refuses_any_change(certificate: &Certificate) {
    let mut blob = certificate.to_blob();
    for at in 0..blob.len() {
        blob[at] ^= 1 << (at % 8);
        if let Ok(changed) = Certificate::from_blob(&blob) {
            // RSA and ECDSA cost too much to check each byte of each kind; what is not in the signed part is few bytes.
            let is_cheap = certificate.authority().kind() == KeyKind::Ed25519;
            if is_cheap || at % 29 == 0 {
                assert!(changed.verify_signature(default_provider()).is_err(), "byte {at}");
            }
        }
        blob[at] ^= 1 << (at % 8);
    }
}

#[test]
fn our_certificates_are_read_and_verified_by_ssh_keygen() {
    let dir = tempfile::tempdir().unwrap();
    let provider = default_provider();
    let kinds = [
        KeyKind::Ed25519,
        KeyKind::Ecdsa(Curve::P256),
        KeyKind::Ecdsa(Curve::P384),
        KeyKind::Ecdsa(Curve::P521),
        KeyKind::Rsa,
    ];
    for ca in kinds {
        let ca = signing_key(ca);
        for (serial, kind) in (40..).zip(kinds) {
            let key = KeyPair::generate(provider, kind, 3072).unwrap().public_key();
            let certificate = Certificate::builder(CertificateKind::User, key)
                .serial(serial)
                .key_id("the id")
                .principal("ada")
                .principal("bob")
                .valid(1_577_836_800, 2_208_988_800)
                .user_extensions()
                .critical_option(CertificateOption::source_address("10.0.0.0/8").unwrap())
                .critical_option(CertificateOption::new("force-command", Some("ls -l")))
                .sign(&ca, provider)
                .unwrap();
            let path = dir.path().join("our-cert.pub");
            std::fs::write(&path, format!("{}\n", CertificateLine::new(certificate.clone(), "c"))).unwrap();
            let Some(listed) = list(&path) else { return };
            let listed = listed.unwrap();
            for part in [
                &format!("{} user certificate", kind.certificate_name()),
                &certificate.key().fingerprint().to_string(),
                &ca.public_key().fingerprint().to_string(),
                "Key ID: \"the id\"",
                &format!("Serial: {serial}\n"),
                "2020-01-01T00:00:00 to 2040-01-01T00:00:00",
                "ada\n",
                "bob\n",
                "force-command ls -l\n                source-address 10.0.0.0/8\n",
                "permit-port-forwarding\n",
            ] {
                assert!(listed.contains(part), "{part}: {listed}");
            }
            // That it says so shows something: a certificate with another signature is refused.
            let mut blob = certificate.to_blob();
            let behind_type_and_nonce_len = kind.certificate_name().len() + 4 + 4;
            blob[behind_type_and_nonce_len] ^= 1;
            let changed = Certificate::from_blob(&blob).unwrap();
            std::fs::write(&path, format!("{}\n", CertificateLine::new(changed, "c"))).unwrap();
            list(&path).unwrap().unwrap_err();
        }
    }
}

fn list(path: &Path) -> Option<Result<String, String>> {
    // Its times are local ones otherwise.
    run("env", &["TZ=UTC", "ssh-keygen", "-L", "-f", path.to_str().unwrap()])
}

#[test]
fn sha1_signatures_are_refused_when_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, key) = (dir.path().join("ca"), dir.path().join("key"));
    if !generate(&ca, "", &["-t", "rsa", "-b", "2048"]) || !generate(&key, "", &["-t", "ed25519"]) {
        return;
    }
    let public = format!("{}.pub", key.display());
    let args = ["-q", "-t", "ssh-rsa", "-s", ca.to_str().unwrap(), "-I", "id", "-n", "a", &public];
    if let Some(Err(said)) = run("ssh-keygen", &args) {
        eprintln!("SKIPPED: this `ssh-keygen` signs nothing with SHA-1: {said}");
        return;
    }
    let certificate = CertificateLine::beside(&key).unwrap().unwrap().certificate;
    assert_eq!(
        (certificate.signature_algorithm(), certificate.signature_algorithm_name()),
        (None, "ssh-rsa")
    );
    let refusal = certificate.verify_signature(default_provider());
    assert_eq!(refusal, Err(CertificateRefusal::WeakSignature("ssh-rsa".into())));
}

/// The fields of a certificate, each of which a case may spoil.
#[derive(Clone)]
struct Fields {
    kind: &'static str,
    key: Vec<u8>,
    about: u32,
    key_id: Vec<u8>,
    principals: Vec<u8>,
    critical: Vec<u8>,
    extensions: Vec<u8>,
    authority: Vec<u8>,
    signature: Vec<u8>,
    behind: Vec<u8>,
}

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|part| out.put_string(part));
    out
}

impl Fields {
    fn sound() -> Self {
        Self {
            kind: "ssh-ed25519-cert-v01@openssh.com",
            key: strings(&[&[7; 32]]),
            about: 1,
            key_id: b"id".to_vec(),
            principals: strings(&[b"ada"]),
            critical: vec![],
            extensions: strings(&[b"permit-pty", b""]),
            authority: PublicKey::Ed25519([9; 32]).to_blob(),
            signature: strings(&[b"ssh-ed25519", &[0; 64]]),
            behind: vec![],
        }
    }

    fn blob(&self) -> Vec<u8> {
        let mut out = strings(&[self.kind.as_bytes(), b"nonce"]);
        out.put_bytes(&self.key);
        out.put_u64(0);
        out.put_u32(self.about);
        out.put_string(&self.key_id);
        out.put_string(&self.principals);
        out.put_u64(0);
        out.put_u64(u64::MAX);
        for field in [&self.critical, &self.extensions, &vec![], &self.authority, &self.signature] {
            out.put_string(field);
        }
        out.put_bytes(&self.behind);
        out
    }

    fn parse(&self) -> Result<Certificate, CertificateError> {
        Certificate::from_blob(&self.blob())
    }
}

#[test]
fn each_broken_rule_has_its_error() {
    let sound = Fields::sound();
    sound.parse().unwrap();
    let many = |count: usize, part: &dyn Fn(usize) -> Vec<u8>| (0..count).flat_map(part).collect::<Vec<u8>>();
    let options = |count| many(count, &|n| strings(&[n.to_string().as_bytes(), b""]));
    let certificate = of_ssh_keygen().to_blob();
    let wire = CertificateError::Wire;
    for (case, expected) in [
        (Fields { kind: "ssh-ed25519", ..sound.clone() }, CertificateError::UnknownType),
        (Fields { kind: "ssh-dss-cert-v01@openssh.com", ..sound.clone() }, CertificateError::UnknownType),
        (Fields { kind: "ssh-rsa-cert-v00@openssh.com", ..sound.clone() }, CertificateError::UnknownType),
        (Fields { key: strings(&[&[7; 31]]), ..sound.clone() }, CertificateError::Key(KeyError::Mismatch)),
        (Fields { about: 0, ..sound.clone() }, CertificateError::UnknownKind(0)),
        (Fields { about: 3, ..sound.clone() }, CertificateError::UnknownKind(3)),
        (Fields { key_id: b"a\0b".to_vec(), ..sound.clone() }, wire(WireError::BadValue)),
        (Fields { key_id: vec![0xff], ..sound.clone() }, wire(WireError::NotUtf8)),
        (Fields { key_id: vec![b'x'; 2000], ..sound.clone() }, wire(WireError::TooLong)),
        (Fields { principals: many(257, &|_| strings(&[b""])), ..sound.clone() }, CertificateError::TooMany),
        (Fields { principals: strings(&[b"a\0"]), ..sound.clone() }, wire(WireError::BadValue)),
        (Fields { principals: vec![0, 0, 0], ..sound.clone() }, wire(WireError::Truncated)),
        (Fields { principals: vec![0xff; 4], ..sound.clone() }, wire(WireError::Truncated)),
        (Fields { critical: options(65), ..sound.clone() }, CertificateError::TooMany),
        (Fields { extensions: options(65), ..sound.clone() }, CertificateError::TooMany),
        (
            Fields { critical: strings(&[b"a", b"", b"a", b""]), ..sound.clone() },
            CertificateError::RepeatedOption,
        ),
        (Fields { critical: strings(&[b"a"]), ..sound.clone() }, wire(WireError::Truncated)),
        (Fields { authority: certificate, ..sound.clone() }, CertificateError::AuthorityIsCertificate),
        (
            Fields { authority: strings(&[b"ssh-dss", b""]), ..sound.clone() },
            CertificateError::Authority(KeyError::UnknownType),
        ),
        (Fields { authority: vec![], ..sound.clone() }, wire(WireError::Truncated)),
        (Fields { signature: vec![], ..sound.clone() }, wire(WireError::Truncated)),
        (
            Fields { signature: strings(&[b"ssh-ed25519", b"", b""]), ..sound.clone() },
            wire(WireError::Trailing),
        ),
        (Fields { behind: vec![0], ..sound.clone() }, wire(WireError::Trailing)),
        (Fields { principals: vec![0; MAX_CERTIFICATE_LEN], ..sound.clone() }, CertificateError::TooLong),
    ] {
        assert_eq!(case.parse(), Err(expected));
    }
    let most = Fields { principals: many(256, &|_| strings(&[b"a"])), critical: options(64), ..sound };
    assert_eq!(most.parse().unwrap().principals().len(), 256);
}

#[test]
fn a_signature_must_be_of_an_algorithm_of_its_authority() {
    for name in ["ssh-rsa", "rsa-sha2-512", "ecdsa-sha2-nistp256", "ssh-ed25519-cert-v01@openssh.com", ""] {
        let signature = strings(&[name.as_bytes(), &[0; 64]]);
        let certificate = Fields { signature, ..Fields::sound() }.parse().unwrap();
        let refusal = certificate.verify_signature(default_provider());
        assert_eq!(refusal, Err(CertificateRefusal::WeakSignature(name.into())));
    }
    let refusal = Fields::sound().parse().unwrap().verify_signature(default_provider());
    assert!(matches!(refusal, Err(CertificateRefusal::BadSignature(_))));
}

#[test]
fn cut_and_swollen_certificates_are_refused() {
    let blob = of_ssh_keygen().to_blob();
    for len in 0..blob.len() {
        assert!(Certificate::from_blob(&blob[..len]).is_err(), "{len} bytes");
    }
    // Wherever a length stands, it is now a huge one.
    for at in 0..blob.len() - 4 {
        let mut changed = blob.clone();
        changed[at..at + 4].fill(0xff);
        if let Ok(certificate) = Certificate::from_blob(&changed) {
            assert!(certificate.verify_signature(default_provider()).is_err(), "at {at}");
        }
    }
    let mut reader = Reader::new(&blob);
    assert_eq!(reader.string().unwrap(), b"ssh-ed25519-cert-v01@openssh.com");
}

#[test]
fn lines_that_are_no_certificate_are_refused() {
    let text = std::str::from_utf8(OF_SSH_KEYGEN).unwrap();
    let base64 = text.split(' ').nth(1).unwrap();
    let other = text.replace("ssh-ed25519-cert", "ssh-rsa-cert");
    for (line, expected) in [
        (String::new(), KeyFormatError::NotALine),
        ("ssh-ed25519-cert-v01@openssh.com".into(), KeyFormatError::NotALine),
        (format!("{text}{text}"), KeyFormatError::NotALine),
        (other, KeyFormatError::TypeMismatch),
        (format!("ssh-ed25519 {base64}"), KeyFormatError::TypeMismatch),
        (format!("ssh-ed25519-cert-v01@openssh.com *{base64}"), KeyFormatError::BadBase64),
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH".into(),
            KeyFormatError::Certificate(CertificateError::UnknownType),
        ),
        ("x".repeat(200_000), KeyFormatError::TooLong),
    ] {
        assert_eq!(Certificate::parse_line(line.as_bytes()), Err(expected), "{line:.40}");
    }
    assert!(CertificateLine::beside("/nowhere/key").unwrap().is_none());
}
