//! Passwords kept as hashes: Argon2id in the PHC string form (RFC 9106, `$argon2id$`) and SHA-512-crypt (`$6$`).
//!
//! To check one is slow on purpose, from some milliseconds to about a second. It is not for the thread that moves a
//! session's bytes.

mod argon2id;
mod sha512_crypt;

use std::fmt;

use zeroize::Zeroizing;

use self::argon2id::Argon2id;
use self::sha512_crypt::Sha512Crypt;
use crate::crypto::CryptoProvider;

pub use argon2id::{MAX_LANES, MAX_MEMORY_KIB, MAX_PASSES, MAX_WORK_KIB};
pub use sha512_crypt::MAX_ROUNDS;

/// A password longer than this, in bytes, fits no hash: to hash a long one for many rounds takes too long.
pub const MAX_PASSWORD_LEN: usize = 1024;

/// The hash of a password. It is not shown by `Debug`, and its cost is bounded.
#[derive(Clone)]
pub struct PasswordHash(Scheme);

#[derive(Clone)]
enum Scheme {
    Argon2id(Argon2id),
    Sha512Crypt(Sha512Crypt),
}

/// Why a text is no hash that is used here. No message holds anything of the hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordHashError {
    /// Neither of the two schemes.
    #[error("it is neither an Argon2id (`$argon2id$`) nor a SHA-512-crypt (`$6$`) hash")]
    UnknownScheme,
    /// A part is missing, too short, too long or malformed.
    #[error("the hash is malformed; copy it again, whole")]
    Malformed,
    /// To check it would cost more than is allowed.
    #[error("the hash costs too much to check: its `{name}` is {value}, and at most {limit} is allowed")]
    TooCostly {
        /// The parameter: `m` in KiB, `t`, `p`, `m*t` or `rounds`.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
}

/// A password could not be hashed or checked: there was no memory or no randomness for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no memory or no randomness to hash a password")]
pub struct CannotHash;

impl PasswordHash {
    /// Reads the text of a hash.
    ///
    /// # Errors
    /// [`PasswordHashError`] if it is none, or one that costs more than the limits of this module.
    pub fn parse(text: &str) -> Result<Self, PasswordHashError> {
        if let Some(rest) = text.strip_prefix(argon2id::PREFIX) {
            return Argon2id::parse(rest).map(|hash| Self(Scheme::Argon2id(hash)));
        }
        if let Some(rest) = text.strip_prefix(sha512_crypt::PREFIX) {
            return Sha512Crypt::parse(rest).map(|hash| Self(Scheme::Sha512Crypt(hash)));
        }
        Err(PasswordHashError::UnknownScheme)
    }

    /// Whether a text has the form of a hash of whatever scheme, `$name$...`: then it is surely no password.
    #[must_use]
    pub fn is_like(text: &str) -> bool {
        let name = text.strip_prefix('$').and_then(|rest| rest.split_once('$')).map_or("", |(name, _)| name);
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    }

    /// Hashes a password with Argon2id, 19 MiB of memory, two passes and one lane, and a new salt.
    ///
    /// # Errors
    /// [`CannotHash`]
    pub fn create(password: &[u8], provider: &CryptoProvider) -> Result<Self, CannotHash> {
        Argon2id::create(password, provider).map(|hash| Self(Scheme::Argon2id(hash)))
    }

    /// A hash that takes as long to check as this one and that no password fits: what to check for users that do not
    /// exist.
    ///
    /// # Errors
    /// [`CannotHash`]
    pub fn decoy(&self, provider: &CryptoProvider) -> Result<Self, CannotHash> {
        Ok(Self(match &self.0 {
            Scheme::Argon2id(hash) => Scheme::Argon2id(hash.decoy(provider)?),
            Scheme::Sha512Crypt(hash) => Scheme::Sha512Crypt(hash.decoy(provider)?),
        }))
    }

    /// Whether this is the hash of the password. A password over [`MAX_PASSWORD_LEN`] takes as long as others and never
    /// fits.
    ///
    /// # Errors
    /// [`CannotHash`]
    pub fn verify(&self, password: &[u8]) -> Result<bool, CannotHash> {
        let kept = password.get(..MAX_PASSWORD_LEN).unwrap_or(password);
        let fits = match &self.0 {
            Scheme::Argon2id(hash) => hash.verify(kept)?,
            Scheme::Sha512Crypt(hash) => hash.verify(kept)?,
        };
        Ok(fits && kept.len() == password.len())
    }

    /// The text that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        match &self.0 {
            Scheme::Argon2id(hash) => hash.to_text(),
            Scheme::Sha512Crypt(hash) => hash.to_text(),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Scheme::Argon2id(_) => "PasswordHash(argon2id)",
            Scheme::Sha512Crypt(_) => "PasswordHash(sha512-crypt)",
        })
    }
}

fn random<const LEN: usize>(provider: &CryptoProvider) -> Result<[u8; LEN], CannotHash> {
    let mut bytes = [0; LEN];
    provider.random.fill(&mut bytes).map_err(|_| CannotHash)?;
    Ok(bytes)
}

/// Text of a number without sign or leading zeros.
fn number(text: &str) -> Result<u64, PasswordHashError> {
    let sound = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| sound).ok_or(PasswordHashError::Malformed)
}

fn within(name: &'static str, value: u64, limit: u32) -> Result<u32, PasswordHashError> {
    let limit_64 = u64::from(limit);
    match u32::try_from(value) {
        Ok(fitting) if fitting <= limit => Ok(fitting),
        _ => Err(PasswordHashError::TooCostly { name, value, limit: limit_64 }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::crypto::default_provider;

    /// From the tests of the reference implementation of Argon2 and from the specification of SHA-crypt.
    const PUBLISHED: [(&str, &str); 6] = [
        (
            "password",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ),
        (
            "differentpassword",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$C4TWUs9rDEvq7w3+J4umqA32aWKB1+DSiRuBfYxFj94",
        ),
        ("password", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"),
        (
            "Hello world!",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ),
        (
            "Hello world!",
            "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
        ),
        (
            "This is just a test",
            "$6$rounds=5000$toolongsaltstrin$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0",
        ),
    ];

    #[test]
    fn published_hashes_fit_their_passwords_and_no_others() {
        for (password, text) in PUBLISHED {
            let hash = PasswordHash::parse(text).unwrap();
            assert_eq!(*hash.to_text(), text);
            assert_eq!(hash.verify(password.as_bytes()), Ok(true), "{text}");
            assert_eq!(hash.verify(b"passwore"), Ok(false), "{text}");
            let decoy = hash.decoy(default_provider()).unwrap();
            assert_eq!(decoy.verify(password.as_bytes()), Ok(false));
            let parameters = |text: &str| text.rsplitn(3, '$').last().map(str::to_owned);
            assert_eq!(parameters(&decoy.to_text()), parameters(text));
            assert_ne!(*decoy.to_text(), text);
        }
    }

    #[test]
    fn what_openssl_hashes_is_verified() {
        for password in ["x", "open sesame", "ünï cödé 🔑", &"long".repeat(60)] {
            let mut command = Command::new("openssl");
            command.args(["passwd", "-6", "-stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let Ok(mut child) = command.spawn() else { return };
            child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
            let said = child.wait_with_output().unwrap();
            let text = String::from_utf8(said.stdout).unwrap();
            let hash = PasswordHash::parse(text.trim_end()).unwrap();
            assert_eq!(hash.verify(password.as_bytes()), Ok(true), "{password}");
            assert_eq!(hash.verify(format!("{password} ").as_bytes()), Ok(false), "{password}");
        }
    }

    #[test]
    fn a_new_hash_has_its_own_salt_and_is_read_again() {
        let create = || PasswordHash::create(b"secret", default_provider()).unwrap();
        let (one, two) = (create().to_text(), create().to_text());
        assert_ne!(*one, *two);
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one:?}");
        let again = PasswordHash::parse(&one).unwrap();
        assert_eq!((again.verify(b"secret"), again.verify(b"secres")), (Ok(true), Ok(false)));
        assert_eq!(again.verify(&[b'x'; 100_000]), Ok(false));
        let long = PasswordHash::create(&[b'x'; MAX_PASSWORD_LEN], default_provider()).unwrap();
        assert_eq!(long.verify(&[b'x'; MAX_PASSWORD_LEN]), Ok(true));
        assert_eq!(long.verify(&[b'x'; MAX_PASSWORD_LEN + 1]), Ok(false));
        assert_eq!(format!("{again:?}"), "PasswordHash(argon2id)");
    }

    #[test]
    fn costly_hashes_are_refused_before_they_cost_anything() {
        let argon2 = |parameters: &str| {
            format!("$argon2id$v=19${parameters}$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
        };
        let crypt = |rounds: &str| format!("$6$rounds={rounds}$salt${}", "x".repeat(86));
        for (text, name) in [
            (argon2("m=262145,t=1,p=1"), "m"),
            (argon2("m=4294967295,t=1,p=1"), "m"),
            (argon2("m=18446744073709551615,t=1,p=1"), "m"),
            (argon2("m=1024,t=17,p=1"), "t"),
            (argon2("m=1024,t=1,p=17"), "p"),
            (argon2("m=262144,t=5,p=1"), "m*t"),
            (crypt("1000001"), "rounds"),
            (crypt("999999999"), "rounds"),
        ] {
            let error = PasswordHash::parse(&text).unwrap_err();
            assert!(
                matches!(error, PasswordHashError::TooCostly { name: found, .. } if found == name),
                "{text}: {error}"
            );
        }
        assert!(PasswordHash::parse(&argon2("m=262144,t=4,p=4")).is_ok());
        assert!(PasswordHash::parse(&crypt("1000000")).is_ok());
    }

    #[test]
    fn other_texts_are_refused() {
        let digest = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        for text in [
            "$argon2id$".to_owned(),
            "$6$".to_owned(),
            format!("$argon2id$m=256,t=1,p=1$c29tZXNhbHQ${digest}"),
            format!("$argon2id$v=16$m=256,t=1,p=1$c29tZXNhbHQ${digest}"),
            format!("$argon2id$v=19$t=1,m=256,p=1$c29tZXNhbHQ${digest}"),
            format!("$argon2id$v=19$m=256,t=1,p=1,data=AA$c29tZXNhbHQ${digest}"),
            format!("$argon2id$v=19$m=256,t=1,p=1$c29tZXNhbHQ=${digest}"),
            format!("$argon2id$v=19$m=256,t=1,p=1$c2FsdA${digest}"),
            format!("$argon2id$v=19$m=256,t=1,p=1$c29tZXNhbHQ${digest}$"),
            "$argon2id$v=19$m=256,t=1,p=1$c29tZXNhbHQ$AAAA".to_owned(),
            format!("$argon2id$v=19$m=1,t=1,p=1$c29tZXNhbHQ${digest}"),
            format!("$argon2id$v=19$m=256,t=0,p=1$c29tZXNhbHQ${digest}"),
            format!("$argon2id$v=19$m=256,t=+1,p=1$c29tZXNhbHQ${digest}"),
            format!("$argon2id$v=19$m=0256,t=1,p=1$c29tZXNhbHQ${digest}"),
            format!("$6$salt${}", "x".repeat(85)),
            format!("$6$salt${}", "x".repeat(87)),
            format!("$6$salt${}=", "x".repeat(85)),
            format!("$6${}${}", "s".repeat(17), "x".repeat(86)),
            format!("$6$a:b${}", "x".repeat(86)),
            format!("$6$rounds=999$salt${}", "x".repeat(86)),
            format!("$6$rounds=$salt${}", "x".repeat(86)),
            format!("$6$salt${}$", "x".repeat(86)),
        ] {
            assert_eq!(PasswordHash::parse(&text).unwrap_err(), PasswordHashError::Malformed, "{text}");
        }
        for text in ["", "secret", "$5$salt$x", "$argon2i$v=19$x", "$2b$10$x", "!", "*"] {
            assert_eq!(PasswordHash::parse(text).unwrap_err(), PasswordHashError::UnknownScheme);
        }
        for (text, like) in [
            ("$5$salt$x", true),
            ("$2b$", true),
            ("$y$j9T$", true),
            ("$ecret", false),
            ("$$", false),
            ("a$b$c", false),
            ("$ a $", false),
        ] {
            assert_eq!(PasswordHash::is_like(text), like, "{text}");
        }
    }
}
