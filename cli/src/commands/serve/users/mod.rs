//! Who may log in, and how.

mod args;
mod checks;
mod evidence;
mod keys;
mod passwords;
mod resume;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::error::escape_text;
use ssh_core::keys::LoginFacts;
use ssh_core::server::{
    AuthAttempt, AuthDecision, AuthMethod, AuthOffer, AuthOutcome, AuthRecord, AuthStart, Authenticator,
    MAX_BANNER_LEN, Method, OfferedKey, Permissions, Principal, Prompts, Refusal, RejectReason, Succeeded,
};
use tokio::time::Instant;
use zeroize::Zeroizing;

pub(crate) use self::args::{AuthorizedKeysArg, UserArg};
use self::checks::Checks;
use self::evidence::Evidence;
use self::keys::Keys;
use self::passwords::Passwords;
use self::resume::MayResume;
use super::declined::Declined;
use super::limits::Source;
use super::penalties::Penalties;
use super::requirement::{Progress, Requirement};
use super::source_log::SourceLog;
use crate::args::ServeArgs;
use crate::commands::session;
use crate::commands::watched::{Change, Watched};
use crate::error::{CliError, Code};
use crate::output::{Event, Output};

/// The users of the command line.
pub(super) struct Users {
    inner: Arc<Inner>,
    checks: Checks,
    penalties: Arc<Penalties>,
    declined: Arc<Declined>,
    log: Arc<SourceLog>,
}

struct Inner {
    keys: Keys,
    passwords: Passwords,
    requirement: Requirement,
    banner: Option<Watched<String>>,
    output: Output,
}

/// How somebody tries, so that another thread may look at it.
enum Attempt {
    Password(Zeroizing<String>),
    Key(OfferedKey),
}

impl Users {
    /// Reads the files. What should be better about them is said once the server listens.
    ///
    /// # Errors
    /// One cannot be used, or what is required cannot be met.
    pub(super) fn load(
        args: &ServeArgs,
        penalties: Arc<Penalties>,
        log: Arc<SourceLog>,
        output: &Output,
    ) -> Result<(Self, Vec<String>), CliError> {
        let mut warnings = Vec::new();
        let keys = Keys::load(&args.authorized_keys, &args.trusted_ca, output, &mut warnings)?;
        let passwords = Passwords::load(&args.user, output, &mut warnings)?;
        let mut has = Vec::new();
        if !keys.is_empty() {
            has.push(Method::PublicKey);
        }
        if !passwords.is_empty() {
            has.push(Method::Password);
        }
        let requirement = match &args.require {
            Some(requirement) => requirement.clone(),
            None => Requirement::any_of(has.clone()),
        };
        for method in requirement.methods() {
            let (needed, remedy) = match method {
                Method::PublicKey => (Method::PublicKey, "--authorized-keys or --trusted-ca"),
                _ => (Method::Password, "--user"),
            };
            if !has.contains(&needed) {
                let name = method.name();
                return Err(CliError::usage(format!(
                    "--require {requirement}: nobody has a {name}; give {remedy}"
                )));
            }
        }
        let banner = args.banner.as_deref().map(|path| Watched::load(path, read_banner)).transpose()?;
        let inner = Inner { keys, passwords, requirement, banner, output: output.clone() };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let checks = Checks::new(processors.min(MAX_CHECKS));
        let declined = Arc::default();
        Ok((Self { inner: Arc::new(inner), checks, penalties, declined, log }, warnings))
    }

    /// The keys that would not do of those who are not logged in.
    pub(super) fn declined(&self) -> Arc<Declined> {
        Arc::clone(&self.declined)
    }

    /// Who may go on with a session: what let its user in has to do so still.
    pub(super) fn resume_policy(&self) -> MayResume {
        MayResume { users: Arc::clone(&self.inner), penalties: Arc::clone(&self.penalties) }
    }

    /// Decides on another thread: files are read and passwords hashed.
    async fn check(&self, attempt: &AuthAttempt<'_>, what: Attempt) -> AuthDecision {
        let source = attempt.connection.addresses.peer.map(|peer| peer.ip());
        let place = match what {
            Attempt::Password(_) => self.checks.place(source.map(Source::of)).await,
            Attempt::Key(_) => None,
        };
        let (inner, user) = (Arc::clone(&self.inner), attempt.user.to_owned());
        let succeeded = attempt.succeeded.to_vec();
        let method = attempt.method.method();
        let facts = LoginFacts { source, now: session::now() };
        let checked = tokio::task::spawn_blocking(move || {
            let decision = inner.decide(&user, method, &what, &succeeded, facts);
            drop(place);
            decision
        });
        checked.await.unwrap_or(AuthDecision::Reject(RejectReason::CannotCheck))
    }

    async fn decide(&self, attempt: &AuthAttempt<'_>) -> AuthDecision {
        match attempt.method {
            AuthMethod::Password(password) => {
                self.check(attempt, Attempt::Password(Zeroizing::new(password.to_owned()))).await
            }
            AuthMethod::PublicKeyQuery(key) | AuthMethod::PublicKey(key) => {
                self.check(attempt, Attempt::Key(key.clone())).await
            }
            AuthMethod::KeyboardInteractive { answers: None, .. } => {
                AuthDecision::Prompt(Prompts::new().secret("Password: "))
            }
            AuthMethod::KeyboardInteractive { answers: Some([answer]), .. } => {
                self.check(attempt, Attempt::Password(Zeroizing::new(answer.expose().to_owned()))).await
            }
            AuthMethod::KeyboardInteractive { .. } => AuthDecision::Reject(RejectReason::InvalidAnswers),
            _ => AuthDecision::Reject(RejectReason::InvalidMethod),
        }
    }
}

impl Authenticator for Users {
    /// The same for all: nobody learns who is here.
    fn begin<'a>(&'a self, _start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer> {
        let inner = Arc::clone(&self.inner);
        async move {
            let offer = AuthOffer::methods(inner.requirement.first());
            if inner.banner.is_none() {
                return offer;
            }
            match tokio::task::spawn_blocking(move || inner.banner()).await {
                Ok(Some(banner)) => offer.banner(banner.as_str()),
                Ok(None) | Err(_) => offer,
            }
        }
        .boxed()
    }

    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
        async move {
            let decision = self.decide(&attempt).await;
            // Nobody is asked to guess slowly who guesses right; and to hear of a key that would not do is no guess.
            let is_guess = !matches!(attempt.method, AuthMethod::PublicKeyQuery(_));
            match (&decision, attempt.connection.addresses.peer) {
                // It counts at once: the library tells of it before the delay, which some clients will not sit out.
                (AuthDecision::Reject(_), Some(peer)) if is_guess => {
                    decision.delayed_by(self.penalties.delay(Source::of(peer.ip()), Instant::now()))
                }
                _ => decision,
            }
        }
        .boxed()
    }

    fn decided(&self, record: &AuthRecord<'_>) {
        let (AuthOutcome::Rejected(reason) | AuthOutcome::Stopped(reason)) = record.outcome else { return };
        // It asks for the methods.
        if record.method == Method::None.name() {
            return;
        }
        let Some(from) = record.connection.addresses.peer else { return };
        let user = escape_text(record.user.as_bytes());
        // Who has several keys asks for each, and has some of kinds that do not count here.
        if record.is_query && is_other_key(reason) {
            tracing::info!(%from, %user, %reason, "a key that would not do");
            return self.declined.note(from, user, reason.to_string());
        }
        let method = escape_text(record.method.as_bytes());
        let event = Event::LoginFailed { user, from: from.to_string(), method, reason: reason.to_string() };
        self.log.event(from, &event);
        if record.is_query {
            // Whatever the reason. If some of them cost nothing, a source that is never turned away would learn that the key
            // is known here.
            self.declined.note_told(from);
        } else if !is_own_trouble(reason) && self.penalties.failed(Source::of(from.ip()), Instant::now()) {
            self.log.penalised(from);
        }
    }
}

impl Inner {
    fn decide(
        &self,
        user: &str,
        method: Method,
        what: &Attempt,
        succeeded: &[Succeeded],
        facts: LoginFacts,
    ) -> AuthDecision {
        let mut permissions = match what {
            Attempt::Password(password) => match self.passwords.check(user, password) {
                Ok(()) => Permissions::default(),
                Err(reason) => return AuthDecision::Reject(reason),
            },
            Attempt::Key(offered) => {
                let certificate = offered.certificate.as_deref();
                match self.keys.check(user, &offered.key, certificate, facts) {
                    Ok(permissions) => permissions,
                    Err(reason) => return AuthDecision::Reject(reason),
                }
            }
        };
        let before: Vec<Method> = succeeded.iter().map(|step| step.method).collect();
        match self.requirement.after(&before, method) {
            Progress::Next(next) => return AuthDecision::Partial { next },
            Progress::NotDue => return AuthDecision::Reject(RejectReason::InvalidMethod),
            Progress::Done => {}
        }
        // What an earlier key may not do, the login may not do; and the key may have been taken away since.
        for (key, certificate) in
            succeeded.iter().filter_map(|step| Some((step.key.as_ref()?, &step.certificate)))
        {
            match self.keys.check(user, key, certificate.as_deref(), facts) {
                Ok(earlier) => match both(permissions, earlier) {
                    Ok(both) => permissions = both,
                    Err(reason) => return AuthDecision::Reject(reason),
                },
                Err(reason) => return AuthDecision::Reject(reason),
            }
        }
        let offered = match what {
            Attempt::Key(offered) => Some(&offered.key),
            Attempt::Password(_) => None,
        };
        let evidence = Evidence::of_login(user, what, succeeded, |user| self.passwords.mark(user));
        permissions.extensions.insert(EVIDENCE.into(), evidence);
        let names: Vec<_> = before.iter().chain([&method]).map(|method| method.name()).collect();
        let keys: Vec<_> = succeeded
            .iter()
            .filter_map(|step| step.key.as_ref())
            .chain(offered)
            .map(|key| key.fingerprint().to_string())
            .collect();
        permissions.extensions.insert(METHODS.into(), names.join(" "));
        permissions.extensions.insert(KEYS.into(), keys.join(" "));
        AuthDecision::Accept(Principal::new(user).permissions(permissions))
    }

    fn banner(&self) -> Option<Arc<String>> {
        let file = self.banner.as_ref()?;
        file.current(|change| complain(&self.output, file.path(), change, "nobody is shown it", |_| ()))
    }
}

/// Whether a key is refused for being another than one that would do.
fn is_other_key(reason: &RejectReason) -> bool {
    use RejectReason::{InvalidKey, Protocol};
    matches!(reason, InvalidKey | Protocol(Refusal::Key | Refusal::KeyUsedBefore))
}

/// Whether a login failed for what is amiss here with whomever, such as too little time, and says nothing of who tried.
fn is_own_trouble(reason: &RejectReason) -> bool {
    matches!(reason, RejectReason::CannotCheck | RejectReason::Protocol(Refusal::Misdecided))
}

/// The words after a name in [`Permissions::extensions`].
pub(super) fn words(permissions: &Permissions, name: &str) -> Vec<String> {
    let text = permissions.extensions.get(name).map_or("", String::as_str);
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// What both allow. Of two lists of targets only what stands in both is kept.
///
/// # Errors
/// They force different commands.
fn both(one: Permissions, other: Permissions) -> Result<Permissions, RejectReason> {
    fn common<T: PartialEq>(one: Option<Vec<T>>, other: Option<Vec<T>>) -> Option<Vec<T>> {
        match (one, other) {
            (Some(one), Some(other)) => {
                Some(one.into_iter().filter(|permit| other.contains(permit)).collect())
            }
            (one, other) => one.or(other),
        }
    }
    let mut both = one;
    both.port_forwarding &= other.port_forwarding;
    both.pty &= other.pty;
    both.agent_forwarding &= other.agent_forwarding;
    both.x11_forwarding &= other.x11_forwarding;
    both.permit_open = common(both.permit_open, other.permit_open);
    both.permit_listen = common(both.permit_listen, other.permit_listen);
    both.forced_command = keys::one_command(both.forced_command, other.forced_command)?;
    both.expires = both.expires.into_iter().chain(other.expires).min();
    Ok(both)
}

/// Says that a file has changed for better or worse, and what follows as long as it cannot be used.
fn complain<T>(
    output: &Output,
    path: &Path,
    change: Change<'_, T>,
    consequence: &str,
    warn: impl FnOnce(&T),
) {
    match change {
        Change::New(content) => {
            tracing::info!(file = %path.display(), "read again");
            warn(content);
        }
        Change::Broken(error) => {
            let message = format!("{}; until then {consequence}", error.message);
            output.warning(message);
        }
    }
}

fn read_banner(path: &Path) -> Result<String, CliError> {
    use std::io::Read as _;
    let failed =
        |why: String| CliError::new(Code::File, format!("cannot use the banner {}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut text = String::new();
    let limit = u64::try_from(MAX_BANNER_LEN).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(|error| failed(error.to_string()))?;
    if text.len() > MAX_BANNER_LEN {
        return Err(failed(format!("it is over {MAX_BANNER_LEN} bytes; shorten it")));
    }
    Ok(text)
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("requirement", &self.inner.requirement).finish_non_exhaustive()
    }
}

/// Under these names the permissions of a session tell how its user logged in, and with which keys.
pub(super) const METHODS: &str = "methods";
pub(super) const KEYS: &str = "keys";
/// And under this one by which keys, certificates and passwords, to be looked at again.
const EVIDENCE: &str = "evidence";
/// Passwords at once, however many processors there are: a hash may take 256 MiB.
const MAX_CHECKS: usize = 4;
/// Of a file of keys or passwords that cannot be used.
const LETS_NOBODY_IN: &str = "it lets nobody in";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_cannot_help_is_no_guess() {
        use Refusal::{Key, KeyUsedBefore, Method, Misdecided, Signature};
        use RejectReason::{CannotCheck, InvalidKey, InvalidPassword, Protocol};
        for (reason, other_key, own_trouble) in [
            (InvalidKey, true, false),
            (Protocol(Key), true, false),
            (Protocol(KeyUsedBefore), true, false),
            (CannotCheck, false, true),
            (Protocol(Misdecided), false, true),
            (Protocol(Signature), false, false),
            (Protocol(Method), false, false),
            (InvalidPassword, false, false),
            (RejectReason::Abandoned, false, false),
        ] {
            assert_eq!(
                (is_other_key(&reason), is_own_trouble(&reason)),
                (other_key, own_trouble),
                "{reason}"
            );
        }
    }

    #[test]
    fn two_steps_allow_what_both_allow() {
        let permit = |text: &str| text.parse::<ssh_core::services::port_forward::PermitTarget>().unwrap();
        let time = |seconds| session::now() + std::time::Duration::from_secs(seconds);
        let (early, late) = (time(10), time(20));
        let mut one = Permissions::default();
        one.permit_open = Some(vec![permit("a:1"), permit("b:2")]);
        one.expires = Some(late);
        let mut other = Permissions::restricted();
        other.permit_open = Some(vec![permit("b:2"), permit("c:3")]);
        other.expires = Some(early);
        one.forced_command = Some("echo".into());
        for both in [both(one.clone(), other.clone()).unwrap(), both(other, one).unwrap()] {
            assert_eq!(both.forced_command.as_deref(), Some("echo"));
            assert_eq!(both.permit_open, Some(vec![permit("b:2")]));
            assert_eq!((both.permit_listen, both.expires), (None, Some(early)));
            assert!(!both.port_forwarding && !both.pty);
        }
        assert_eq!(both(Permissions::default(), Permissions::default()), Ok(Permissions::default()));
    }

    #[test]
    fn two_steps_that_force_different_commands_are_refused() {
        let forces = |command: &str| {
            let mut permissions = Permissions::default();
            permissions.forced_command = Some(command.into());
            permissions
        };
        assert!(both(forces("echo"), forces("ls")).is_err());
        assert_eq!(both(forces("echo"), forces("echo")), Ok(forces("echo")));
    }
}
