//! Who may go on with a session over another connection.

use std::fmt;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::keys::LoginFacts;
use ssh_core::server::{Permissions, ResumeAttempt, ResumePolicy};
use tokio::time::Instant;

use super::evidence::Evidence;
use super::{EVIDENCE, Inner, KEYS, METHODS, both};
use crate::commands::serve::limits::Source;
use crate::commands::serve::penalties::Penalties;
use crate::commands::session;

/// Looks again at what let the user in: the key or the password may have been taken away, the certificate may have ended,
/// and what it all permits may be less. Then the session is over, and only another login tells what is right now.
pub(in crate::commands::serve) struct MayResume {
    pub(super) users: Arc<Inner>,
    pub(super) penalties: Arc<Penalties>,
}

impl ResumePolicy for MayResume {
    fn may_resume<'a>(&'a self, attempt: ResumeAttempt<'a>) -> BoxFuture<'a, bool> {
        let source = attempt.connection.addresses.peer.map(|peer| peer.ip());
        let is_refused =
            source.is_some_and(|source| self.penalties.is_refused(Source::of(source), Instant::now()));
        let (users, user) = (Arc::clone(&self.users), attempt.user.to_owned());
        let permissions = attempt.principal.map(|principal| principal.permissions.clone());
        let facts = LoginFacts { source, now: session::now() };
        async move {
            let Some(permissions) = permissions.filter(|_| !is_refused) else { return false };
            // Files are read.
            let checked = tokio::task::spawn_blocking(move || users.would_let_in(&user, &permissions, facts));
            checked.await.unwrap_or(false)
        }
        .boxed()
    }
}

impl fmt::Debug for MayResume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MayResume").finish_non_exhaustive()
    }
}

impl Inner {
    /// Whether the same login would lead to the same permissions now.
    fn would_let_in(&self, user: &str, had: &Permissions, facts: LoginFacts) -> bool {
        if had.expires.is_some_and(|expires| facts.now >= expires) {
            return false;
        }
        let Some(steps) = had.extensions.get(EVIDENCE).and_then(|text| Evidence::read(text)) else {
            return false;
        };
        // The order in which a login puts them together.
        let mut has: Option<Permissions> = None;
        for step in steps.iter().rev().take(1).chain(steps.iter().rev().skip(1).rev()) {
            let checked = match step {
                Evidence::Key(key) => self.keys.check(user, key, None, facts).ok(),
                Evidence::Certificate(certificate) => {
                    self.keys.check(user, certificate.key(), Some(certificate), facts).ok()
                }
                Evidence::Password(mark) => {
                    (self.passwords.mark(user).as_ref() == Some(mark)).then(Permissions::default)
                }
            };
            let Some(permissions) = checked else { return false };
            has = match has {
                // What may not be combined would not have let anybody in.
                Some(has) => both(has, permissions).ok(),
                None => Some(permissions),
            };
            if has.is_none() {
                return false;
            }
        }
        let Some(mut has) = has else { return false };
        for name in [METHODS, KEYS, EVIDENCE] {
            if let Some(text) = had.extensions.get(name) {
                has.extensions.insert(name.into(), text.clone());
            }
        }
        has == *had
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use clap::Parser as _;
    use ssh_core::keys::{Certificate, CertificateKind, KeyKind, KeyPair, PublicLine, SigningKey};
    use ssh_core::server::{AuthDecision, Method, OfferedKey};
    use zeroize::Zeroizing;

    use super::super::{Attempt, Users};
    use super::*;
    use crate::args::{Cli, Command};
    use crate::commands::serve::source_log::SourceLog;
    use crate::commands::session::PROVIDER;
    use crate::output::Output;

    fn load(arguments: &[String]) -> Users {
        let fixed = ["adit", "serve", "--listen", "0", "--permit-open", "any"].map(str::to_owned);
        let Command::Serve(args) = Cli::parse_from([&fixed, arguments].concat()).command else {
            panic!("another command")
        };
        let output = Output::new(true, true);
        let log = Arc::new(SourceLog::new(output.clone(), 100));
        Users::load(&args, Arc::new(Penalties::new(true, 30)), log, &output).unwrap().0
    }

    fn key() -> KeyPair {
        KeyPair::generate(PROVIDER, KeyKind::Ed25519, 0).unwrap()
    }

    fn line(key: &KeyPair) -> String {
        PublicLine::new(key.public_key(), "").to_string()
    }

    fn offered(key: &KeyPair, certificate: Option<Certificate>) -> OfferedKey {
        let mut offered = OfferedKey::new(key.public_key(), key.public_key().kind().algorithms()[0]);
        offered.certificate = certificate.map(Arc::new);
        offered
    }

    fn at(seconds: u64, source: [u8; 4]) -> LoginFacts {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        LoginFacts { source: Some(IpAddr::from(source)), now }
    }

    const HOME: [u8; 4] = [192, 0, 2, 1];
    const AWAY: [u8; 4] = [198, 51, 100, 1];

    /// What a login as `ada` by this last step gives.
    fn log_in(users: &Inner, what: &Attempt) -> Permissions {
        let method = match what {
            Attempt::Password(_) => Method::Password,
            Attempt::Key(_) => Method::PublicKey,
        };
        match users.decide("ada", method, what, &[], at(1000, HOME)) {
            AuthDecision::Accept(principal) => principal.permissions,
            other => panic!("{other:?}"),
        }
    }

    fn put(path: &Path, text: &str) -> String {
        std::fs::write(path, text).unwrap();
        path.display().to_string()
    }

    #[test]
    fn another_password_or_a_file_that_is_gone_ends_what_the_old_one_began() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let argument = format!("ada:{}", put(&file, "old\n"));
        let users = load(&["--user".into(), argument]).inner;
        let had = log_in(&users, &Attempt::Password(Zeroizing::new("old".into())));
        assert!(users.would_let_in("ada", &had, at(2000, AWAY)));
        assert!(!users.would_let_in("bob", &had, at(2000, HOME)));
        put(&file, "new\n");
        assert!(!users.would_let_in("ada", &had, at(2000, HOME)));
        put(&file, "old\n");
        assert!(users.would_let_in("ada", &had, at(2000, HOME)));
        std::fs::remove_file(&file).unwrap();
        assert!(!users.would_let_in("ada", &had, at(2000, HOME)));
    }

    #[test]
    fn every_step_of_a_login_has_to_count_still() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, password) = (folder.path().join("keys"), folder.path().join("password"));
        let mine = key();
        let arguments = [
            "--authorized-keys".into(),
            put(&keys, &line(&mine)),
            "--user".into(),
            format!("ada:{}", put(&password, "secret\n")),
        ];
        let users = load(&arguments).inner;
        let by_key = log_in(&users, &Attempt::Key(offered(&mine, None)));
        let mut had = log_in(&users, &Attempt::Password(Zeroizing::new("secret".into())));
        // As a login by both leaves it.
        let steps = [&by_key, &had].map(|permissions| permissions.extensions[EVIDENCE].clone());
        had.extensions.insert(EVIDENCE.into(), steps.join("\n"));
        assert!(users.would_let_in("ada", &had, at(2000, HOME)));
        for (lines, lets_in) in [
            (String::new(), false),
            (format!("no-pty {}", line(&mine)), false),
            (format!("from=\"192.0.2.1\" {}", line(&mine)), true),
            (format!("from=\"198.51.100.1\" {}", line(&mine)), false),
            (line(&mine), true),
        ] {
            put(&keys, &lines);
            assert_eq!(users.would_let_in("ada", &had, at(2000, HOME)), lets_in, "{lines}");
        }
        put(&password, "another\n");
        assert!(!users.would_let_in("ada", &had, at(2000, HOME)));
    }

    #[test]
    fn a_certificate_has_to_be_valid_still_and_there() {
        let folder = tempfile::tempdir().unwrap();
        let (authority, mine) = (key(), key());
        let file = folder.path().join("authority");
        let users = load(&["--trusted-ca".into(), put(&file, &line(&authority))]).inner;
        let certificate = Certificate::builder(CertificateKind::User, mine.public_key())
            .principal("ada")
            .valid(0, 3000)
            .critical_option(ssh_core::keys::CertificateOption::source_address("192.0.2.0/24").unwrap())
            .sign(&SigningKey::new(&authority.private, PROVIDER).unwrap(), PROVIDER)
            .unwrap();
        let had = log_in(&users, &Attempt::Key(offered(&mine, Some(certificate.clone()))));
        // Not only is it not resumed then: nothing more is forwarded either.
        assert_eq!(had.expires, Some(at(3000, HOME).now));
        for (seconds, source, lets_in) in
            [(2999, HOME, true), (3000, HOME, false), (2999, AWAY, false), (2999, [192, 0, 2, 9], true)]
        {
            assert_eq!(users.would_let_in("ada", &had, at(seconds, source)), lets_in, "{seconds} {source:?}");
        }
        put(&file, &format!("expiry-time=\"19700101004000Z\" {}", line(&authority)));
        let earlier = log_in(&users, &Attempt::Key(offered(&mine, Some(certificate))));
        assert_eq!(earlier.expires, Some(at(2400, HOME).now));
        assert!(!users.would_let_in("ada", &had, at(2000, HOME)), "it permits less now");
        put(&file, "# nobody\n");
        assert!(!users.would_let_in("ada", &earlier, at(2000, HOME)));
    }
}
