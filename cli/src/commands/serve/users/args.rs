//! Users and their files on the command line.

use std::path::PathBuf;
use std::str::FromStr;

/// `[NAME:]FILE`. A name has no slash, so `./a:b` is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorizedKeysArg {
    /// Only this user; any if there is none.
    pub(super) user: Option<String>,
    pub(super) file: PathBuf,
}

/// `NAME:PASSWORDFILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserArg {
    pub(super) name: String,
    pub(super) file: PathBuf,
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

#[cfg(test)]
mod tests {
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
}
