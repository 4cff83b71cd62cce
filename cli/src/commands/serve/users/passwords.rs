//! Who may log in with a password.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ssh_core::crypto::HashAlgorithm;
use ssh_core::passwords::{CannotHash, PasswordHash};
use ssh_core::server::RejectReason;
use zeroize::Zeroizing;

use super::args::UserArg;
use super::evidence::hex;
use super::{LETS_NOBODY_IN, complain};
use crate::commands::password_file;
use crate::commands::session::PROVIDER;
use crate::commands::watched::Watched;
use crate::error::{CliError, Code};
use crate::output::Output;

/// The users that have a password, in an order of their own.
pub(super) struct Passwords {
    users: BTreeMap<String, Watched<Stored>>,
    /// Checked for users whose file cannot be used.
    decoy: PasswordHash,
    /// Chooses whose hash an unknown user's password is compared with.
    salt: Zeroizing<[u8; 32]>,
    output: Output,
}

/// What a file holds.
struct Stored {
    hash: PasswordHash,
    /// Whether it was a password in the clear.
    was_plain: bool,
    /// Tells this password, or hash of one, from others. Only this process could compute it.
    mark: String,
}

impl Passwords {
    /// Reads the files. `warnings` gets what should be better.
    ///
    /// # Errors
    /// One cannot be used, or a user has two.
    pub(super) fn load(
        args: &[UserArg],
        output: &Output,
        warnings: &mut Vec<String>,
    ) -> Result<Self, CliError> {
        let mut salt = Zeroizing::new([0; 32]);
        let filled = PROVIDER.random.fill(&mut *salt);
        filled.map_err(|error| CliError::new(Code::Internal, format!("there is no randomness: {error}")))?;
        let decoy = PasswordHash::create(&*salt, PROVIDER)
            .map_err(|error| CliError::new(Code::Internal, error.to_string()))?;
        let mut users = BTreeMap::new();
        for arg in args {
            let salt = salt.clone();
            let file = Watched::load(&arg.file, move |path| read(path, &*salt))?;
            if let Some(stored) = file.current(|_| ()) {
                warnings.extend(stored.warning(&arg.file));
            }
            if users.insert(arg.name.clone(), file).is_some() {
                return Err(CliError::usage(format!("--user {} is given twice", arg.name)));
            }
        }
        Ok(Self { users, decoy, salt, output: output.clone() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether it is the user's. For an unknown user this takes as long as for one of the others, and always for the same
    /// one. It is slow on purpose.
    pub(super) fn check(&self, user: &str, password: &str) -> Result<(), RejectReason> {
        let Some(file) = self.users.get(user) else {
            let other = self.other(user).and_then(|file| self.current(file));
            let decoy = other.map_or_else(|| Ok(self.decoy.clone()), |stored| stored.hash.decoy(PROVIDER));
            let checked = decoy.and_then(|decoy| decoy.verify(password.as_bytes()));
            return Err(checked.map_or(RejectReason::CannotCheck, |_| RejectReason::InvalidUser));
        };
        let Some(stored) = self.current(file) else {
            let _ = self.decoy.verify(password.as_bytes());
            // A guess like any other. If it were none, a source that is never turned away would learn that there is such
            // a user.
            return Err(RejectReason::Other("the file with the password cannot be used".into()));
        };
        match stored.hash.verify(password.as_bytes()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(RejectReason::InvalidPassword),
            Err(CannotHash) => Err(RejectReason::CannotCheck),
        }
    }

    /// What tells the user's password from others; `None` if there is none now.
    pub(super) fn mark(&self, user: &str) -> Option<String> {
        Some(self.current(self.users.get(user)?)?.mark.clone())
    }

    fn current(&self, file: &Watched<Stored>) -> Option<Arc<Stored>> {
        let path = file.path();
        file.current(|change| {
            complain(&self.output, path, change, LETS_NOBODY_IN, |stored| {
                stored.warning(path).into_iter().for_each(|text| self.output.warning(text));
            });
        })
    }

    /// The user whose hash stands in for that of an unknown one.
    fn other(&self, unknown: &str) -> Option<&Watched<Stored>> {
        let digest = PROVIDER.hashes.digest(HashAlgorithm::Sha256, &[&*self.salt, unknown.as_bytes()]);
        let number = digest.iter().take(4).fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        self.users.values().nth(number.checked_rem(self.users.len())?)
    }
}

impl Stored {
    fn warning(&self, path: &Path) -> Option<String> {
        let path = path.display();
        self.was_plain.then(|| {
            format!(
                "{path} holds a password in the clear; put its hash there, which `adit hash-password` prints"
            )
        })
    }
}

/// The hash on the first line. A password in the clear is hashed and forgotten.
fn read(path: &Path, salt: &[u8]) -> Result<Stored, CliError> {
    let line = password_file::read(path)?;
    let failed = |why: &dyn std::fmt::Display| {
        let message = format!("cannot use {}: {why}; write one with `adit hash-password`", path.display());
        CliError::new(Code::File, message)
    };
    let was_plain = !PasswordHash::is_like(&line);
    let hash = if was_plain {
        PasswordHash::create(line.as_bytes(), PROVIDER).map_err(|error| failed(&error))?
    } else {
        PasswordHash::parse(&line).map_err(|error| failed(&error))?
    };
    let mark = hex(&PROVIDER.hashes.digest(HashAlgorithm::Sha256, &[salt, b"mark", line.as_bytes()]));
    Ok(Stored { hash, was_plain, mark })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::is_own_trouble;
    use super::*;

    /// The least time of some that it takes to look at a wrong guess.
    fn least_time(passwords: &Passwords, user: &str) -> Duration {
        let time = |_| {
            let began = Instant::now();
            assert!(passwords.check(user, "wrong").is_err());
            began.elapsed()
        };
        (0..3).map(time).min().unwrap()
    }

    #[test]
    fn to_look_for_somebody_unknown_takes_as_long() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ada");
        // Far more than it takes not to find anybody.
        let hash = format!("$6$rounds=60000$saltstring${}", ".".repeat(86));
        std::fs::write(&file, hash).unwrap();
        let users = [format!("ada:{}", file.display()).parse::<UserArg>().unwrap()];
        let passwords = Passwords::load(&users, &Output::new(true, true), &mut Vec::new()).unwrap();
        let known = least_time(&passwords, "ada");
        for name in ["nobody", "", "root"] {
            let unknown = least_time(&passwords, name);
            assert!(unknown * 3 > known, "{name:?} takes {unknown:?}, and not {known:?}");
        }
    }

    #[test]
    fn a_wrong_guess_is_one_also_where_the_users_file_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let argument = |name: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, PasswordHash::create(b"right", PROVIDER).unwrap().to_text()).unwrap();
            format!("{name}:{}", file.display()).parse::<UserArg>().unwrap()
        };
        let users = [argument("ada"), argument("bob")];
        let passwords = Passwords::load(&users, &Output::new(true, true), &mut Vec::new()).unwrap();
        std::fs::remove_file(folder.path().join("bob")).unwrap();
        assert_eq!(passwords.check("ada", "right"), Ok(()));
        for (user, password) in [("ada", "wrong"), ("bob", "right"), ("bob", "wrong"), ("nobody", "right")] {
            let reason = passwords.check(user, password).unwrap_err();
            assert!(!is_own_trouble(&reason), "{user} could be told from others: {reason}");
        }
    }
}
