//! Whether the server is the right one.

use std::path::PathBuf;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::HostKeyVerifier;
use ssh_core::config::Algorithms;
use ssh_core::error::HostKeyError;
use ssh_core::keys::{
    CertificateAuthorities, CertificateKind, CertificateRefusal, CertificateUse, Fingerprint, HostKey,
    HostKeyStatus, KeyKind, KnownHosts, KnownKey, PublicKey,
};

use super::terminal::Terminal;
use super::{Target, spec::joined};
use crate::args::ForwardArgs;
use crate::commands::blocking::blocking;
use crate::commands::paths;
use crate::commands::session::{self, PROVIDER};
use crate::error::CliError;
use crate::output::{Event, Output};

/// Compares the host key with the pins, else with the known hosts. A pin may be that of an authority, whose certificates
/// for the host then count.
#[derive(Debug, Clone)]
pub(super) struct Verifier {
    target: Target,
    trust: Trust,
    terminal: Option<Terminal>,
    output: Output,
    /// The one of an earlier session of this run.
    session_key: Option<PublicKey>,
}

#[derive(Debug, Clone)]
enum Trust {
    /// One of these and no other, unless it is revoked.
    Pinned { pins: Vec<Fingerprint>, hosts: KnownHosts },
    Known {
        hosts: KnownHosts,
        /// Where a new host is taken down.
        file: Option<PathBuf>,
        accept_new: bool,
    },
}

/// What to do about a key.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Accept,
    /// Accept and take it down.
    Add,
    /// Ask, if somebody is there; else refuse with this message.
    Ask(String),
    Refuse(String),
}

impl Verifier {
    /// # Errors
    /// A file of known hosts cannot be read.
    pub(super) async fn new(
        args: &ForwardArgs,
        terminal: Option<Terminal>,
        output: &Output,
    ) -> Result<Self, CliError> {
        let own = if args.known_hosts.is_empty() {
            paths::in_ssh("known_hosts").into_iter().collect()
        } else {
            args.known_hosts.clone()
        };
        // Files that were named are the only ones.
        let of_all = args.known_hosts.is_empty().then(|| PathBuf::from(GLOBAL_KNOWN_HOSTS));
        let files: Vec<_> = own.iter().chain(&of_all).cloned().collect();
        let hosts =
            blocking(move || KnownHosts::load(&files).map_err(|error| CliError::file(&error))).await?;
        for warning in hosts.warnings() {
            output.warning(warning.to_string());
        }
        let trust = if args.host_key.is_empty() {
            Trust::Known { hosts, file: own.into_iter().next(), accept_new: args.accept_new }
        } else {
            Trust::Pinned { pins: args.host_key.clone(), hosts }
        };
        Ok(Self { target: args.target.clone(), trust, terminal, output: output.clone(), session_key: None })
    }

    /// For another login of the same run: the key of the session before is the right one. Any other has to be known,
    /// since nobody is asked any more.
    pub(super) fn again(&self, session_key: PublicKey) -> Self {
        let mut again = Self { terminal: None, session_key: Some(session_key), ..self.clone() };
        if let Trust::Known { accept_new, .. } = &mut again.trust {
            *accept_new = false;
        }
        again
    }

    /// Puts the kinds of the keys that are known for the host in front, so that the server shows one of those.
    pub(super) fn prefer_known_kinds(&self, algorithms: Algorithms) -> Algorithms {
        if let Some(key) = &self.session_key {
            let (same, other): (Vec<_>, Vec<_>) = algorithms
                .host_keys()
                .iter()
                .copied()
                .partition(|algorithm| key.kind().algorithms().contains(algorithm));
            return algorithms.with_host_keys([same, other].concat());
        }
        let Trust::Known { hosts, .. } = &self.trust else { return algorithms };
        let kinds = hosts.key_kinds_for(&self.target.host, self.target.port);
        let is_known = |algorithm: &_| kinds.iter().any(|kind| kind.algorithms().contains(algorithm));
        let (known, other): (Vec<_>, Vec<_>) =
            algorithms.host_keys().iter().copied().partition(|algorithm| is_known(algorithm));
        algorithms.with_host_keys([known, other].concat())
    }

    /// Whether the user expects a key that may be of this kind. A pin may be of any, and so may a key that is certified.
    pub(super) fn may_expect(&self, kind: KeyKind) -> bool {
        match &self.trust {
            Trust::Pinned { .. } => true,
            Trust::Known { hosts, .. } => {
                let (host, port) = (&self.target.host, self.target.port);
                hosts.key_kinds_for(host, port).contains(&kind)
                    || !hosts.cert_authorities_for(host, port).is_empty()
            }
        }
    }

    /// What to offer next when the server has shown this key. A pin does not say of which kind its key is, and a server
    /// may have several.
    pub(super) fn try_other_kinds(&self, algorithms: &Algorithms, shown: &PublicKey) -> Option<Algorithms> {
        let Trust::Pinned { pins, .. } = &self.trust else { return None };
        let mut left = algorithms.host_keys().to_vec();
        left.retain(|algorithm| !shown.kind().algorithms().contains(algorithm));
        let is_wrong = !pins.contains(&shown.fingerprint());
        (is_wrong && !left.is_empty()).then(|| algorithms.clone().with_host_keys(left))
    }

    async fn decide(&self, shown: &HostKey) -> Result<(), String> {
        let key = &shown.key;
        if self.session_key.as_ref() == Some(key) {
            return Ok(());
        }
        match self.trust.decide(&self.target, shown) {
            Decision::Accept => Ok(()),
            Decision::Refuse(message) => Err(message),
            Decision::Add => {
                self.add(key);
                Ok(())
            }
            Decision::Ask(message) => {
                let Some(terminal) = &self.terminal else { return Err(message) };
                if !self.ask(terminal, key).await {
                    return Err(message);
                }
                self.add(key);
                Ok(())
            }
        }
    }

    async fn ask(&self, terminal: &Terminal, key: &PublicKey) -> bool {
        let mut prompt = format!(
            "The host key of {} is not known.\nIt is {} {}.\nCompare it with what the server's owner says. Connect (yes/no or the fingerprint)? ",
            self.target,
            key.kind().name(),
            key.fingerprint()
        );
        loop {
            let Ok(line) = terminal.line(prompt).await else { return false };
            match line.trim() {
                "yes" => return true,
                "no" | "" => return false,
                text if text.parse() == Ok(key.fingerprint()) => return true,
                _ => prompt = "Please write yes, no or the fingerprint: ".to_owned(),
            }
        }
    }

    /// A key that cannot be taken down is still accepted, as ssh does.
    fn add(&self, key: &PublicKey) {
        let Trust::Known { file: Some(file), .. } = &self.trust else {
            self.output
                .warning("there is no home directory to keep the host key in; give --known-hosts FILE");
            return;
        };
        match KnownHosts::append(file, &self.target.host, self.target.port, key, false) {
            Ok(()) => self.output.event(&Event::HostKeyAdded {
                host: &self.target.to_string(),
                host_key: key.fingerprint().to_string(),
                file: file.display().to_string(),
            }),
            Err(error) => {
                self.output.warning(format!("the host key is not kept: {}", CliError::file(&error)));
            }
        }
    }
}

impl HostKeyVerifier for Verifier {
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
        let refuse = |message: String| HostKeyError { message: message.into(), key: shown.key.clone() };
        async move { self.decide(shown).await.map_err(refuse) }.boxed()
    }

    fn takes_certificates(&self) -> bool {
        match &self.trust {
            Trust::Pinned { .. } => true,
            Trust::Known { hosts, .. } => {
                !hosts.cert_authorities_for(&self.target.host, self.target.port).is_empty()
            }
        }
    }
}

impl Trust {
    fn decide(&self, target: &Target, host_key: &HostKey) -> Decision {
        let key = &host_key.key;
        let refusal = self.check_certificate(target, host_key);
        let mut shown = format!("{} {}", key.kind().name(), key.fingerprint());
        if let Some(Err(refusal)) = &refusal {
            shown.push_str(&format!(" (its certificate does not count: {refusal})"));
        }
        let (Self::Pinned { hosts, .. } | Self::Known { hosts, .. }) = self;
        let status = hosts.check_host_key(&target.host, target.port, host_key, session::now(), PROVIDER);
        if let HostKeyStatus::Revoked(place) = &status {
            return Decision::Refuse(format!(
                "the host key of {target}, {shown}, is revoked ({place}); do not connect, ask the server's owner for the new key"
            ));
        }
        match self {
            Self::Pinned { pins, .. } if pins.contains(&key.fingerprint()) || refusal == Some(Ok(())) => {
                Decision::Accept
            }
            Self::Pinned { pins, .. } => {
                let pins: Vec<_> = pins.iter().map(ToString::to_string).collect();
                Decision::Refuse(format!(
                    "the host key of {target} is {shown}, but --host-key says {}; do not connect unless the server's owner confirms the new key",
                    pins.join(" or ")
                ))
            }
            Self::Known { accept_new, .. } => match status {
                HostKeyStatus::Match(_) | HostKeyStatus::Certified(_) => Decision::Accept,
                HostKeyStatus::Unknown { .. } if *accept_new => Decision::Add,
                HostKeyStatus::Unknown { known_as } => {
                    let elsewhere = known_as
                        .first()
                        .map(|known| format!(", which is known as {} ({})", known.names, known.place));
                    Decision::Ask(format!(
                        "the host key of {target} is not known: {shown}{}; compare it with the server's, then give --host-key {} or --accept-new",
                        elsewhere.unwrap_or_default(),
                        key.fingerprint()
                    ))
                }
                HostKeyStatus::Changed { expected } => Decision::Refuse(changed(target, &shown, &expected)),
                _ => Decision::Refuse(format!("the host key of {target}, {shown}, is not trusted")),
            },
        }
    }
}

impl Trust {
    /// What there is to say about the certificate that the key came in, if it came in one.
    fn check_certificate(
        &self,
        target: &Target,
        host_key: &HostKey,
    ) -> Option<Result<(), CertificateRefusal>> {
        let certificate = host_key.certificate.as_deref()?;
        let authorities: CertificateAuthorities = match self {
            Self::Pinned { pins, .. } => {
                let key = certificate.authority();
                pins.contains(&key.fingerprint()).then(|| key.clone()).into_iter().collect()
            }
            Self::Known { hosts, .. } => {
                hosts.cert_authorities_for(&target.host, target.port).into_iter().collect()
            }
        };
        let usage = CertificateUse {
            kind: CertificateKind::Host,
            name: &target.host,
            now: session::now(),
            source: None,
        };
        Some(authorities.check(certificate, usage, PROVIDER).map(|_| ()))
    }
}

/// The port that known_hosts leaves out.
const USUAL_PORT: u16 = 22;

fn changed(target: &Target, shown: &str, expected: &[KnownKey]) -> String {
    let known: Vec<_> = expected
        .iter()
        .take(MAX_SHOWN_KEYS)
        .map(|known| format!("{} {} ({})", known.key.kind().name(), known.fingerprint, known.place))
        .collect();
    let id = if target.port == USUAL_PORT {
        target.host.clone()
    } else {
        format!("[{}]:{}", target.host, target.port)
    };
    let mut files: Vec<&str> = expected.iter().map(|known| &*known.place.source).collect();
    files.dedup();
    let remedies: Vec<_> = files.iter().map(|file| format!("`ssh-keygen -R '{id}' -f '{file}'`")).collect();
    format!(
        "the host key of {} has changed: it is {shown}, but known is {}; somebody may be in between, so ask the server's owner, and only then remove the old key with {}",
        joined(&target.host, target.port),
        known.join(", "),
        remedies.join(" and ")
    )
}

const GLOBAL_KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";
/// A host has a key of each kind, rarely more.
const MAX_SHOWN_KEYS: usize = 5;

#[cfg(test)]
mod tests {
    use ssh_core::keys::{Certificate, KeyPair, SigningKey};

    use super::*;
    fn key() -> HostKey {
        HostKey::plain(public_key())
    }

    fn public_key() -> PublicKey {
        KeyPair::generate(PROVIDER, KeyKind::Ed25519, 0).unwrap().public_key()
    }

    fn known(text: &str, accept_new: bool) -> Trust {
        Trust::Known { hosts: KnownHosts::parse(text.as_bytes(), "file"), file: None, accept_new }
    }

    fn line(prefix: &str, key: &HostKey) -> String {
        format!("{prefix} {}\n", ssh_core::keys::PublicLine::new(key.key.clone(), ""))
    }

    #[test]
    fn a_pinned_authority_does_not_bring_a_revoked_key_back() {
        let target: Target = "host".parse().unwrap();
        let authority = KeyPair::generate(PROVIDER, KeyKind::Ed25519, 0).unwrap();
        let signing = SigningKey::new(&authority.private, PROVIDER).unwrap();
        let builder = Certificate::builder(CertificateKind::Host, public_key()).principal("host");
        let certified = HostKey::certified(builder.sign(&signing, PROVIDER).unwrap());
        let authority = HostKey::plain(authority.public_key());
        let trust = |known: &str| Trust::Pinned {
            pins: vec![authority.key.fingerprint()],
            hosts: KnownHosts::parse(known.as_bytes(), "file"),
        };
        assert_eq!(trust("").decide(&target, &certified), Decision::Accept);
        for revoked in [&certified, &authority] {
            match trust(&line("@revoked *", revoked)).decide(&target, &certified) {
                Decision::Refuse(message) => assert!(message.contains("is revoked (file"), "{message}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn decisions() {
        let target: Target = "host:2222".parse().unwrap();
        let (key, other) = (key(), key());
        let print = key.key.fingerprint().to_string();
        let refused = |trust: Trust| match trust.decide(&target, &key) {
            Decision::Refuse(message) => message,
            decision => panic!("{decision:?}"),
        };

        assert_eq!(known(&line("[host]:2222", &key), false).decide(&target, &key), Decision::Accept);
        assert_eq!(known("", true).decide(&target, &key), Decision::Add);
        // The key of the same host's usual port is known, another key there says nothing.
        assert_eq!(known(&line("host", &key), false).decide(&target, &key), Decision::Accept);
        let elsewhere = known(&line("host", &other), false).decide(&target, &key);
        let Decision::Ask(message) = elsewhere else { panic!("{elsewhere:?}") };
        assert!(message.contains(&print) && message.contains("host:2222"), "{message}");

        for accept_new in [false, true] {
            let message = refused(known(&line("[host]:2222", &other), accept_new));
            assert!(
                message.contains(&print) && message.contains(&other.key.fingerprint().to_string()),
                "{message}"
            );
            assert!(message.ends_with("`ssh-keygen -R '[host]:2222' -f 'file'`"), "{message}");
            let both = line("[host]:2222", &key) + &line("@revoked *", &key);
            let message = refused(known(&both, accept_new));
            assert!(message.contains(&print) && message.contains("revoked"), "{message}");
        }

        let pinned = |pins: &[&HostKey], known: &str| Trust::Pinned {
            pins: pins.iter().map(|key| key.key.fingerprint()).collect(),
            hosts: KnownHosts::parse(known.as_bytes(), "file"),
        };
        // The known hosts say nothing against a pin, unless they revoke it.
        for text in [String::new(), line("[host]:2222", &other), line("@revoked elsewhere", &key)] {
            assert_eq!(pinned(&[&other, &key], &text).decide(&target, &key), Decision::Accept);
        }
        let message = refused(pinned(&[&key], &line("@revoked *", &key)));
        assert!(message.contains(&print) && message.contains("revoked (file"), "{message}");
        let message = refused(pinned(&[&other], &line("[host]:2222", &key)));
        assert!(
            message.contains(&print) && message.contains(&other.key.fingerprint().to_string()),
            "{message}"
        );
    }
}
