//! Who may log in.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::crypto::HashAlgorithm;
use ssh_core::keys::{AuthorizedKeys, KeyKind, PublicKey};
use ssh_core::server::{
    AuthAttempt, AuthDecision, AuthMethod, AuthOffer, AuthStart, Authenticator, Method, Principal,
    RejectReason,
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::commands::password_file;
use crate::commands::session::PROVIDER;
use crate::error::{CliError, Code};
use crate::output::Output;

/// `[NAME:]FILE`. A name has no slash, so `./a:b` is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorizedKeysArg {
    /// Only this user; any if there is none.
    user: Option<String>,
    file: PathBuf,
}

/// `NAME:PASSWORDFILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserArg {
    name: String,
    file: PathBuf,
}

/// A text that is no user with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub(crate) struct BadUser(&'static str);

impl FromStr for AuthorizedKeysArg {
    type Err = BadUser;

    fn from_str(text: &str) -> Result<Self, BadUser> {
        let is_name = |name: &str| !name.is_empty() && !name.contains(['/', '\\']) && !is_drive(name, text);
        match text.split_once(':') {
            Some((_, "")) => Err(BadUser("[NAME:]FILE")),
            Some((name, file)) if is_name(name) => {
                Ok(Self { user: Some(name.to_owned()), file: file.into() })
            }
            _ if text.is_empty() => Err(BadUser("[NAME:]FILE")),
            _ => Ok(Self { user: None, file: text.into() }),
        }
    }
}

/// `C:\keys` is a path where there are drives.
fn is_drive(name: &str, text: &str) -> bool {
    cfg!(windows) && name.len() == 1 && text.get(2..3).is_some_and(|next| next == "\\" || next == "/")
}

impl FromStr for UserArg {
    type Err = BadUser;

    fn from_str(text: &str) -> Result<Self, BadUser> {
        match text.split_once(':') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(Self { name: name.to_owned(), file: file.into() })
            }
            _ => Err(BadUser("NAME:PASSWORDFILE")),
        }
    }
}

/// The users of the command line.
pub(super) struct Users {
    /// Salted digests, so that the passwords themselves do not stay in memory.
    passwords: HashMap<String, Digest>,
    salt: Zeroizing<[u8; 32]>,
    /// What an unknown user's password is compared with.
    nobody: Digest,
    keys: Vec<(Option<String>, AuthorizedKeys)>,
    methods: Vec<Method>,
}

type Digest = Zeroizing<Vec<u8>>;

impl Users {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be used.
    pub(super) fn load(
        users: &[UserArg],
        keys: &[AuthorizedKeysArg],
        output: &Output,
    ) -> Result<Self, CliError> {
        let mut salt = Zeroizing::new([0; 32]);
        let mut secret = Zeroizing::new([0; 32]);
        PROVIDER
            .random
            .fill(&mut *salt)
            .and_then(|()| PROVIDER.random.fill(&mut *secret))
            .map_err(|error| CliError::new(Code::Internal, format!("there is no randomness: {error}")))?;
        let mut loaded = Self {
            passwords: HashMap::new(),
            nobody: digest(&salt, &*secret),
            salt,
            keys: Vec::new(),
            methods: Vec::new(),
        };
        for user in users {
            let password = password_file::read(&user.file)?;
            let digest = digest(&loaded.salt, password.as_bytes());
            if loaded.passwords.insert(user.name.clone(), digest).is_some() {
                return Err(CliError::usage(format!("--user {} is given twice", user.name)));
            }
        }
        for arg in keys {
            loaded.keys.push((arg.user.clone(), read_keys(arg, output)?));
        }
        if !keys.is_empty() {
            loaded.methods.push(Method::PublicKey);
        }
        if !users.is_empty() {
            loaded.methods.push(Method::Password);
        }
        Ok(loaded)
    }

    /// Whether somebody may log in with a key of this kind.
    pub(super) fn has_key_of(&self, kind: KeyKind) -> bool {
        self.keys.iter().flat_map(|(_, keys)| keys.entries()).any(|entry| entry.key.kind() == kind)
    }

    fn may_log_in(&self, attempt: AuthAttempt<'_>) -> bool {
        match attempt.method {
            AuthMethod::Password(password) => self.is_password(attempt.user, password),
            AuthMethod::PublicKeyQuery(offered) | AuthMethod::PublicKey(offered) => {
                self.is_key(attempt.user, &offered.key)
            }
            _ => false,
        }
    }

    /// The same work whether or not there is such a user.
    fn is_password(&self, user: &str, password: &str) -> bool {
        let given = digest(&self.salt, password.as_bytes());
        let known = self.passwords.get(user);
        let is_equal = given.ct_eq(known.unwrap_or(&self.nobody));
        bool::from(is_equal) && known.is_some()
    }

    fn is_key(&self, user: &str, key: &PublicKey) -> bool {
        let is_for = |only: &Option<String>| only.as_deref().is_none_or(|only| only == user);
        self.keys.iter().any(|(only, keys)| is_for(only) && keys.find(key).is_some())
    }
}

impl Authenticator for Users {
    fn begin<'a>(&'a self, _start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer> {
        AuthOffer::ready(self.methods.clone())
    }

    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
        let decision = if self.may_log_in(attempt) {
            AuthDecision::Accept(Principal::new(attempt.user))
        } else {
            AuthDecision::Reject(match attempt.method {
                AuthMethod::Password(_) => RejectReason::InvalidPassword,
                AuthMethod::PublicKeyQuery(_) | AuthMethod::PublicKey(_) => RejectReason::InvalidKey,
                _ => RejectReason::InvalidMethod,
            })
        };
        std::future::ready(decision).boxed()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("methods", &self.methods).finish_non_exhaustive()
    }
}

fn digest(salt: &[u8; 32], password: &[u8]) -> Digest {
    PROVIDER.hashes.digest(HashAlgorithm::Sha256, &[salt, password])
}

/// A file that was named has to be there, even if it may be empty.
fn read_keys(arg: &AuthorizedKeysArg, output: &Output) -> Result<AuthorizedKeys, CliError> {
    if let Err(error) = std::fs::metadata(&arg.file) {
        return Err(CliError::new(
            Code::File,
            format!(
                "cannot read the authorized keys {}: {error}; check that the file exists and that you may read it",
                arg.file.display()
            ),
        ));
    }
    let keys = AuthorizedKeys::load(&arg.file).map_err(|error| CliError::file(&error))?;
    for warning in keys.warnings() {
        output.warning(warning.to_string());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use ssh_core::keys::KeyPair;

    use super::*;

    #[test]
    fn arguments_are_read() {
        let keys = |user: Option<&str>, file: &str| {
            Ok(AuthorizedKeysArg { user: user.map(Into::into), file: file.into() })
        };
        for (text, expected) in [
            ("file", keys(None, "file")),
            ("/a/b", keys(None, "/a/b")),
            ("ada:file", keys(Some("ada"), "file")),
            ("ada:/a/b:c", keys(Some("ada"), "/a/b:c")),
            ("./a:b", keys(None, "./a:b")),
            ("ada:", Err(BadUser("[NAME:]FILE"))),
            ("", Err(BadUser("[NAME:]FILE"))),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        assert_eq!("ada:f".parse(), Ok(UserArg { name: "ada".into(), file: "f".into() }));
        for text in ["", "ada", "ada:", ":file"] {
            assert!(text.parse::<UserArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_named_come_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let pair = |name: &str| {
            let key = KeyPair::generate(PROVIDER, KeyKind::Ed25519, 0).unwrap();
            std::fs::write(path(name), format!("{}\n", key.public_line())).unwrap();
            key.public_key()
        };
        let (of_all, of_ada) = (pair("all"), pair("ada"));
        std::fs::write(path("password"), "secret\n").unwrap();
        let user: UserArg = format!("bob:{}", path("password")).parse().unwrap();
        let keys = [path("all"), format!("ada:{}", path("ada"))].map(|text| text.parse().unwrap());
        let users = Users::load(&[user], &keys, &Output::new(true, true)).unwrap();

        assert!(users.is_password("bob", "secret"));
        for (name, password) in [("bob", "secre"), ("bob", ""), ("ada", "secret"), ("", "secret")] {
            assert!(!users.is_password(name, password), "{name} {password}");
        }
        assert!(users.is_key("ada", &of_ada) && !users.is_key("bob", &of_ada));
        assert!(users.is_key("ada", &of_all) && users.is_key("bob", &of_all));
        assert_eq!(users.methods, [Method::PublicKey, Method::Password]);
    }
}
