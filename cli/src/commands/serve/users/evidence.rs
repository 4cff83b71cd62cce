//! What a login was let in for.

use ssh_core::keys::{Certificate, PublicKey};
use ssh_core::server::{Method, Succeeded};

use super::Attempt;

/// A step of a login, as it can be looked at again later. A session keeps its steps as text, a line each.
#[derive(Debug, PartialEq)]
pub(super) enum Evidence {
    Key(PublicKey),
    Certificate(Box<Certificate>),
    /// The mark of the password.
    Password(String),
}

impl Evidence {
    /// The lines of a login whose last step is `what`. `mark` tells the password of a user from others.
    pub(super) fn of_login(
        user: &str,
        what: &Attempt,
        before: &[Succeeded],
        mark: impl Fn(&str) -> Option<String>,
    ) -> String {
        let password = || format!("password {}", mark(user).unwrap_or_default());
        let earlier = before.iter().map(|step| match (&step.certificate, &step.key) {
            (Some(certificate), _) => format!("certificate {}", hex(certificate.as_blob())),
            (None, Some(key)) => format!("key {}", hex(&key.to_blob())),
            (None, None) if step.method == Method::PublicKey => "nothing".to_owned(),
            (None, None) => password(),
        });
        let last = match what {
            Attempt::Password(_) => password(),
            Attempt::Key(offered) => match &offered.certificate {
                Some(certificate) => format!("certificate {}", hex(certificate.as_blob())),
                None => format!("key {}", hex(&offered.key.to_blob())),
            },
        };
        earlier.chain([last]).collect::<Vec<_>>().join("\n")
    }

    /// The steps; `None` if one of them cannot be read, or there is none.
    pub(super) fn read(text: &str) -> Option<Vec<Self>> {
        let steps: Vec<_> = text.lines().map(Self::read_line).collect::<Option<_>>()?;
        (!steps.is_empty()).then_some(steps)
    }

    fn read_line(line: &str) -> Option<Self> {
        match line.split_once(' ')? {
            ("key", blob) => PublicKey::from_blob(&unhex(blob)?).ok().map(Self::Key),
            ("certificate", blob) => {
                Certificate::from_blob(&unhex(blob)?).ok().map(Box::new).map(Self::Certificate)
            }
            ("password", mark) if !mark.is_empty() => Some(Self::Password(mark.to_owned())),
            _ => None,
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        assert_eq!(unhex(&hex(b"\x00\xff ssh")), Some(b"\x00\xff ssh".to_vec()));
        assert_eq!((unhex("0"), unhex("zz")), (None, None));
        let password = |mark: &str| Evidence::Password(mark.to_owned());
        assert_eq!(Evidence::read("password a\npassword b"), Some(vec![password("a"), password("b")]));
        for text in ["", "password ", "nothing", "key 00", "key x", "password a\nnothing"] {
            assert_eq!(Evidence::read(text), None, "{text}");
        }
    }
}
