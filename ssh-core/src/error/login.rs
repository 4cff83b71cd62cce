//! Why a client could not log in.

use std::sync::Arc;

use crate::crypto::CryptoError;
use crate::keys::{KeyError, PublicKey};

/// Why a client could not authenticate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthFailure {
    /// All credentials that the server would take were tried.
    #[error("the server refused {tried}; it accepts: {accepts}", tried = tried_words(.tried), accepts = list_or(.accepts, "nothing more"))]
    Refused {
        /// The methods tried, in order.
        tried: Vec<&'static str>,
        /// The methods in the server's last answer.
        accepts: Vec<String>,
    },
    /// The application gave up.
    #[error("cancelled")]
    Cancelled,
    /// A key that the server would take could not sign, and nothing else was enough.
    #[error("a private key could not sign: {0}")]
    Signing(SignError),
    /// A key of a type that has no algorithm here.
    #[error("a key cannot be used: {0}")]
    Key(KeyError),
    /// More attempts than anybody needs; a policy that never stops is stopped.
    #[error("too many attempts ({0})")]
    TooManyAttempts(u32),
}

/// Why a key did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key, or the backend, cannot.
    #[error("{0}")]
    Crypto(#[from] CryptoError),
    /// Whoever holds the key did not give it, or was not willing to sign.
    #[error("{0}")]
    Refused(Arc<str>),
    /// The signature is by another algorithm than the one that was agreed on, or over 16 KiB.
    #[error("the signature is not by the algorithm that was agreed on")]
    WrongAlgorithm,
}

/// The question which methods there are counts as one, called `none` (RFC 4252 §5.2), and is nothing to tell people of.
fn tried_words(tried: &[&'static str]) -> String {
    let mut told: Vec<&str> = tried.iter().copied().filter(|method| *method != "none").collect();
    told.dedup();
    list_or(&told, "to let us in without credentials")
}

fn list_or<T: AsRef<str>>(names: &[T], empty: &str) -> String {
    if names.is_empty() {
        return empty.into();
    }
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

/// Why a host key was not accepted. It is made by the application's
/// [`HostKeyVerifier`](crate::client::HostKeyVerifier).
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct HostKeyError {
    /// What to tell the user: which key, why, and what to do about it.
    pub message: Arc<str>,
    /// The key.
    pub key: PublicKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_was_tried() {
        for (tried, expected) in [
            (vec![], "refused to let us in without credentials; it accepts: nothing more"),
            (vec!["none"], "refused to let us in without credentials;"),
            (vec!["none", "publickey", "publickey", "password"], "refused publickey, password;"),
        ] {
            let said = AuthFailure::Refused { tried, accepts: Vec::new() }.to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
