use super::option::write_options;
use super::{Certificate, CertificateError, CertificateKind, CertificateOption, MAX_OPTIONS};
use crate::crypto::CryptoProvider;
use crate::keys::{PublicKey, SigningKey};
use crate::protocol::wire::Write as _;

/// A certificate that is not signed yet. Without more said it has no principals, so it is valid for nobody, no options,
/// and no end.
#[derive(Debug, Clone)]
#[must_use = "nothing is made before `sign`"]
pub struct CertificateBuilder {
    kind: CertificateKind,
    key: PublicKey,
    serial: u64,
    key_id: String,
    principals: Vec<String>,
    valid_after: u64,
    valid_before: u64,
    critical_options: Vec<CertificateOption>,
    extensions: Vec<CertificateOption>,
}

impl CertificateBuilder {
    pub(super) fn new(kind: CertificateKind, key: PublicKey) -> Self {
        Self {
            kind,
            key,
            serial: 0,
            key_id: String::new(),
            principals: Vec::new(),
            valid_after: 0,
            valid_before: u64::MAX,
            critical_options: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// The authority's number for it; 0 otherwise.
    pub fn serial(mut self, serial: u64) -> Self {
        self.serial = serial;
        self
    }

    /// The authority's text about it, which servers log; at most 1024 bytes.
    pub fn key_id(mut self, key_id: &str) -> Self {
        self.key_id = key_id.into();
        self
    }

    /// One more user or host that it is valid for; at most 256 of at most 1024 bytes.
    pub fn principal(mut self, principal: &str) -> Self {
        self.principals.push(principal.into());
        self
    }

    /// From when on, and until before when, it is valid, in seconds since 1970. [`u64::MAX`] is for ever.
    pub fn valid(mut self, after: u64, before: u64) -> Self {
        self.valid_after = after;
        self.valid_before = before;
        self
    }

    /// One more option that must be understood. One of the same name is replaced.
    pub fn critical_option(mut self, option: CertificateOption) -> Self {
        replace(&mut self.critical_options, option);
        self
    }

    /// One more option that may be ignored. One of the same name is replaced.
    pub fn extension(mut self, option: CertificateOption) -> Self {
        replace(&mut self.extensions, option);
        self
    }

    /// The five extensions that permit a user what users commonly may do, which `ssh-keygen` gives unless told otherwise.
    pub fn user_extensions(self) -> Self {
        USER_EXTENSIONS
            .iter()
            .fold(self, |builder, name| builder.extension(CertificateOption::new(name, None)))
    }

    /// Signs it with the authority's key, by the best algorithm that the key has; never SHA-1.
    ///
    /// # Errors
    /// [`CertificateError::Signing`] without randomness or if the key does not sign, and what
    /// [`Certificate::from_blob`] says if a part is over its limit.
    pub fn sign(
        &self,
        authority: &SigningKey,
        provider: &CryptoProvider,
    ) -> Result<Certificate, CertificateError> {
        if self.critical_options.len().max(self.extensions.len()) > MAX_OPTIONS {
            return Err(CertificateError::TooMany);
        }
        // What is signed should not be foreseeable: the format's guard against collisions of the hash.
        let mut nonce = [0; NONCE_LEN];
        provider.random.fill(&mut nonce).map_err(CertificateError::Signing)?;
        let mut blob = Vec::with_capacity(1024);
        blob.put_string(self.key.kind().certificate_name().as_bytes());
        blob.put_string(&nonce);
        self.key.write_fields(&mut blob);
        blob.put_u64(self.serial);
        blob.put_u32(match self.kind {
            CertificateKind::User => 1,
            CertificateKind::Host => 2,
        });
        blob.put_string(self.key_id.as_bytes());
        let mut principals = Vec::new();
        for principal in &self.principals {
            principals.put_string(principal.as_bytes());
        }
        blob.put_string(&principals);
        blob.put_u64(self.valid_after);
        blob.put_u64(self.valid_before);
        blob.put_string(&write_options(&self.critical_options));
        blob.put_string(&write_options(&self.extensions));
        blob.put_string(b"");
        blob.put_string(&authority.public_key().to_blob());
        let algorithms = authority.public_key().kind().algorithms();
        let algorithm =
            *algorithms.first().ok_or(CertificateError::Signing(crate::crypto::CryptoError::BadKey))?;
        let signature = authority.sign(algorithm, &blob).map_err(CertificateError::Signing)?;
        let mut field = Vec::with_capacity(signature.len().saturating_add(64));
        field.put_string(algorithm.name().as_bytes());
        field.put_string(&signature);
        blob.put_string(&field);
        Certificate::from_blob(&blob)
    }
}

fn replace(options: &mut Vec<CertificateOption>, option: CertificateOption) {
    options.retain(|other| other.name != option.name);
    options.push(option);
}

/// As long as those of `ssh-keygen`, in bytes.
const NONCE_LEN: usize = 32;
const USER_EXTENSIONS: [&str; 5] = [
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
];
