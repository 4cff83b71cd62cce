use std::fmt;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};

use crate::crypto::SignatureAlgorithm;
use crate::error::SignError;
use crate::keys::{Certificate, KeyError, PublicKey, SigningKey, WrongCertificate};
use crate::protocol::transport::kex::exchange_hash::join_signature;
use crate::protocol::wire::Reader;

/// A public key, or a certificate for one, with what signs for it.
#[derive(Clone)]
pub struct Identity {
    blob: Arc<[u8]>,
    comment: Arc<str>,
    algorithms: &'static [&'static str],
    signer: Arc<dyn AsyncSigner>,
    sign_at_once: bool,
}

/// Signs for a key that may be elsewhere: in an agent, in hardware, in a file whose passphrase somebody knows.
pub trait AsyncSigner: Send + Sync + fmt::Debug {
    /// Signs `data` with `algorithm`, for instance `rsa-sha2-512`: the whole signature of RFC 4253 §6.6, which is the
    /// algorithm's name as a `string` and behind it the rest. It is only asked for what the server has agreed to, and
    /// the login deadline goes on meanwhile.
    fn sign<'a>(&'a self, algorithm: &'a str, data: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>>;
}

/// Keys that are fetched only if the server takes keys, such as those of an [`Agent`](super::Agent).
pub trait KeySource: Send + Sync + fmt::Debug {
    /// The keys in the order in which they shall be tried, at most 64. An error is logged, and none are tried.
    fn identities(&self) -> BoxFuture<'_, Result<Vec<Identity>, SignError>>;
}

impl Identity {
    /// A key or certificate by its blob (RFC 4253 §6.6). The server is asked whether it would do before `signer` has to
    /// sign.
    ///
    /// # Errors
    /// [`KeyError::UnknownType`] if the blob's type names no algorithm that is known here.
    pub fn new(blob: &[u8], signer: Arc<dyn AsyncSigner>) -> Result<Self, KeyError> {
        let kind = Reader::new(blob).string_max(64)?;
        let row = ALGORITHMS.iter().find(|(name, _)| name.as_bytes() == kind);
        let (_, algorithms) = row.ok_or(KeyError::UnknownType)?;
        Ok(Self { blob: blob.into(), comment: "".into(), algorithms, signer, sign_at_once: false })
    }

    /// A key of which only the public half is known. It is good for [`Credential::key_query`](super::Credential::key_query):
    /// where it has to sign, it is passed over.
    ///
    /// # Errors
    /// [`KeyError::UnknownType`] if no algorithm is known for it.
    pub fn public(key: &PublicKey) -> Result<Self, KeyError> {
        Self::new(&key.to_blob(), Arc::new(NoPrivateHalf))
    }

    /// A private key in memory, without the certificate that it may carry.
    ///
    /// # Errors
    /// [`KeyError::UnknownType`] if no algorithm is known for it.
    pub fn key(key: Arc<SigningKey>) -> Result<Self, KeyError> {
        Self::new(&key.public_key().to_blob(), key)
    }

    /// The certificate of a private key in memory, if it carries one.
    ///
    /// # Errors
    /// As for [`key`](Self::key).
    pub fn certificate(key: Arc<SigningKey>) -> Result<Option<Self>, KeyError> {
        let Some(blob) = key.certificate().map(Certificate::to_blob) else { return Ok(None) };
        Self::new(&blob, key).map(Some)
    }

    /// A certificate for this key: the same signer signs for it.
    ///
    /// # Errors
    /// [`WrongCertificate`] if it certifies another key, or one of a type that has no algorithm here.
    pub fn with_certificate(&self, certificate: &Certificate) -> Result<Self, WrongCertificate> {
        if PublicKey::from_blob(&self.blob).as_ref() != Ok(certificate.key()) {
            return Err(WrongCertificate);
        }
        let certified = Self::new(certificate.as_blob(), Arc::clone(&self.signer));
        let certified = certified.map_err(|_| WrongCertificate)?.with_comment(&self.comment);
        Ok(Self { sign_at_once: self.sign_at_once, ..certified })
    }

    /// Names it, for logs.
    #[must_use]
    pub fn with_comment(mut self, comment: &str) -> Self {
        self.comment = comment.into();
        self
    }

    /// Has another signer sign, for instance one that shows what it waits for and then asks the one so far.
    #[must_use]
    pub fn map_signer(self, map: impl FnOnce(Arc<dyn AsyncSigner>) -> Arc<dyn AsyncSigner>) -> Self {
        let signer = map(Arc::clone(&self.signer));
        Self { signer, ..self }
    }

    /// Signs at once instead of asking first whether the key would do (RFC 4252 §7 leaves both open): one round trip
    /// less if it does, a signature for nothing if not.
    #[must_use]
    pub fn sign_at_once(mut self) -> Self {
        self.sign_at_once = true;
        self
    }

    /// The blob of the key or certificate.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// What it is called.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub(super) fn signs_at_once(&self) -> bool {
        self.sign_at_once
    }

    /// The best algorithm that the server takes, too (RFC 8332 §3.3). A server that says nothing is assumed to take any.
    pub(super) fn algorithm_for(&self, server: Option<&[String]>) -> Option<&'static str> {
        let takes = |name: &str| server.is_none_or(|list| list.iter().any(|entry| entry == name));
        // Servers list the algorithms of certificates by the signature in them, and some by their own name as well.
        self.algorithms.iter().copied().find(|name| takes(name) || takes(&signature_name(name)))
    }

    /// Signs, and looks at what came back: only a signature by the algorithm that was agreed on leaves.
    pub(super) async fn sign(&self, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, SignError> {
        let name = signature_name(algorithm);
        let signature = self.signer.sign(&name, data).await?;
        let is_agreed = Reader::new(&signature).string().is_ok_and(|found| found == name.as_bytes());
        if !is_agreed || signature.len() > MAX_SIGNATURE {
            return Err(SignError::WrongAlgorithm);
        }
        Ok(signature)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.algorithms.first().copied().unwrap_or_default();
        write!(f, "Identity({kind} {:?})", self.comment)
    }
}

/// A key that is right here.
impl AsyncSigner for SigningKey {
    fn sign<'a>(&'a self, algorithm: &'a str, data: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        let signed = SignatureAlgorithm::from_name(algorithm)
            .ok_or(SignError::WrongAlgorithm)
            .and_then(|known| Ok(join_signature(algorithm, &Self::sign(self, known, data)?)));
        std::future::ready(signed).boxed()
    }
}

#[derive(Debug)]
struct NoPrivateHalf;

impl AsyncSigner for NoPrivateHalf {
    fn sign<'a>(&'a self, _: &'a str, _: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        std::future::ready(Err(SignError::Refused("there is no private half".into()))).boxed()
    }
}

/// The name inside the signature of a key algorithm: a certificate's key signs as it would without.
fn signature_name(algorithm: &str) -> String {
    match algorithm.strip_suffix(CERTIFICATE) {
        Some(plain) if plain.starts_with("sk-") => format!("{plain}@openssh.com"),
        Some(plain) => plain.to_owned(),
        None => algorithm.to_owned(),
    }
}

const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// The algorithms of each type of blob, the best first. `ssh-rsa`, which signs with SHA-1, is none of them.
const ALGORITHMS: [(&str, &[&str]); 14] = [
    ("ssh-ed25519", &["ssh-ed25519"]),
    ("ecdsa-sha2-nistp256", &["ecdsa-sha2-nistp256"]),
    ("ecdsa-sha2-nistp384", &["ecdsa-sha2-nistp384"]),
    ("ecdsa-sha2-nistp521", &["ecdsa-sha2-nistp521"]),
    ("ssh-rsa", &["rsa-sha2-512", "rsa-sha2-256"]),
    ("sk-ssh-ed25519@openssh.com", &["sk-ssh-ed25519@openssh.com"]),
    ("sk-ecdsa-sha2-nistp256@openssh.com", &["sk-ecdsa-sha2-nistp256@openssh.com"]),
    ("ssh-ed25519-cert-v01@openssh.com", &["ssh-ed25519-cert-v01@openssh.com"]),
    ("ecdsa-sha2-nistp256-cert-v01@openssh.com", &["ecdsa-sha2-nistp256-cert-v01@openssh.com"]),
    ("ecdsa-sha2-nistp384-cert-v01@openssh.com", &["ecdsa-sha2-nistp384-cert-v01@openssh.com"]),
    ("ecdsa-sha2-nistp521-cert-v01@openssh.com", &["ecdsa-sha2-nistp521-cert-v01@openssh.com"]),
    (
        "ssh-rsa-cert-v01@openssh.com",
        &["rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com"],
    ),
    ("sk-ssh-ed25519-cert-v01@openssh.com", &["sk-ssh-ed25519-cert-v01@openssh.com"]),
    ("sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", &["sk-ecdsa-sha2-nistp256-cert-v01@openssh.com"]),
];

/// A signature may not be longer, in bytes. One by the largest RSA key takes 2 KiB.
const MAX_SIGNATURE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::Write as _;

    #[derive(Debug)]
    struct Says(&'static str);

    impl AsyncSigner for Says {
        fn sign<'a>(&'a self, _: &'a str, _: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
            std::future::ready(Ok(join_signature(self.0, b"signature"))).boxed()
        }
    }

    fn identity(kind: &str, says: &'static str) -> Identity {
        let mut blob = Vec::new();
        blob.put_string(kind.as_bytes());
        Identity::new(&blob, Arc::new(Says(says))).unwrap()
    }

    #[test]
    fn rfc8332_3_3_the_algorithm_is_one_that_the_server_takes() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (kind, server, expected) in [
            ("ssh-rsa", None, Some("rsa-sha2-512")),
            ("ssh-rsa", Some(list(&["rsa-sha2-256", "ssh-rsa"])), Some("rsa-sha2-256")),
            ("ssh-rsa", Some(list(&["ssh-rsa"])), None),
            ("ssh-ed25519", Some(list(&["rsa-sha2-256"])), None),
            (
                "ssh-rsa-cert-v01@openssh.com",
                Some(list(&["rsa-sha2-256"])),
                Some("rsa-sha2-256-cert-v01@openssh.com"),
            ),
            (
                "sk-ssh-ed25519-cert-v01@openssh.com",
                Some(list(&["sk-ssh-ed25519@openssh.com"])),
                Some("sk-ssh-ed25519-cert-v01@openssh.com"),
            ),
        ] {
            let found = identity(kind, "").algorithm_for(server.as_deref());
            assert_eq!(found, expected, "{kind} {server:?}");
        }
    }

    #[tokio::test]
    async fn only_a_signature_by_the_agreed_algorithm_leaves() {
        for (algorithm, says, fits) in [
            ("rsa-sha2-512", "rsa-sha2-512", true),
            ("rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-512", true),
            // As an agent does that knows nothing of the SHA-2 flags.
            ("rsa-sha2-512", "ssh-rsa", false),
            ("rsa-sha2-512", "rsa-sha2-256", false),
            ("rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-512-cert-v01@openssh.com", false),
        ] {
            let signed = identity("ssh-rsa", says).sign(algorithm, b"data").await;
            assert_eq!(signed.is_ok(), fits, "{algorithm} {says}");
        }
    }

    #[test]
    fn unknown_types_are_no_identities() {
        for kind in ["ssh-dss", "ssh-rsa-cert-v00@openssh.com", ""] {
            let mut blob = Vec::new();
            blob.put_string(kind.as_bytes());
            assert_eq!(Identity::new(&blob, Arc::new(Says(""))).unwrap_err(), KeyError::UnknownType);
        }
    }
}
