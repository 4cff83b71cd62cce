//! The fields of USERAUTH_REQUEST, method by method.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::config::Common;
use crate::crypto::SignatureAlgorithm;
use crate::error::Error;
use crate::keys::{Certificate, CertificateKind, PublicKey};
use crate::protocol::auth::{MAX_USER, Method, OfferedKey, Refusal, Secret, ServerMethod};
use crate::protocol::transport::kex::exchange_hash::split_signature;
use crate::protocol::wire::{Reader, WireError, Write as _};

/// A request whose method is on the list.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) payload: &'a [u8],
    /// Behind the method's name.
    pub(super) fields: &'a [u8],
    pub(super) session_id: &'a [u8],
}

/// What a request brings.
pub(super) enum Credentials {
    /// What can be put to the application as it is.
    Plain(ServerMethod),
    Query {
        key: OfferedKey,
        algorithm: String,
        key_blob: Vec<u8>,
    },
    Signed(Box<SignedRequest>),
    Host {
        request: Box<SignedRequest>,
        host: String,
        user: String,
    },
    Interactive {
        submethods: String,
    },
}

/// A signature that has not been looked at.
pub(super) struct SignedRequest {
    pub(super) key: OfferedKey,
    signature: Vec<u8>,
    /// What it has to cover: the session id and the request up to the signature (RFC 4252 §7).
    signed: Zeroizing<Vec<u8>>,
}

/// A password or an answer may not be longer, in bytes.
pub(super) const MAX_PASSWORD: usize = 1024;

impl Request<'_> {
    /// Parses it. A message that does not parse ends the session; a key that cannot be used fails this attempt only.
    pub(super) fn parse(
        &self,
        algorithms: &[SignatureAlgorithm],
    ) -> Result<Result<Credentials, Refusal>, Error> {
        let reader = Reader::new(self.fields);
        match self.method {
            Method::None => {
                // Nothing follows, and who writes more is borne.
                Ok(Ok(Credentials::Plain(ServerMethod::None)))
            }
            Method::Password => Ok(Ok(Credentials::Plain(password(reader)?))),
            Method::PublicKey => self.public_key(reader, algorithms),
            Method::KeyboardInteractive => Ok(Ok(keyboard_interactive(reader)?)),
            Method::HostBased => self.host_based(reader, algorithms),
        }
    }

    /// RFC 4252 §7.
    fn public_key(
        &self,
        mut reader: Reader<'_>,
        algorithms: &[SignatureAlgorithm],
    ) -> Result<Result<Credentials, Refusal>, Error> {
        let signed = reader.boolean()?;
        let (algorithm, key_blob) = (reader.text(MAX_USER)?, reader.string()?);
        let before_signature = self.payload.len().saturating_sub(reader.rest().len());
        let signature = if signed { reader.string()? } else { &[] };
        reader.finish()?;
        let Some(key) = offered_key(algorithm, key_blob, CertificateKind::User, algorithms) else {
            return Ok(Err(Refusal::Key));
        };
        Ok(Ok(if signed {
            Credentials::Signed(Box::new(self.signed(key, signature, before_signature)))
        } else {
            Credentials::Query { key, algorithm: algorithm.to_owned(), key_blob: key_blob.to_owned() }
        }))
    }

    /// RFC 4252 §9.
    fn host_based(
        &self,
        mut reader: Reader<'_>,
        algorithms: &[SignatureAlgorithm],
    ) -> Result<Result<Credentials, Refusal>, Error> {
        let (algorithm, key_blob) = (reader.text(MAX_USER)?, reader.string()?);
        let (host, user) = (reader.text(MAX_USER)?, reader.text(MAX_USER)?);
        let before_signature = self.payload.len().saturating_sub(reader.rest().len());
        let signature = reader.string()?;
        reader.finish()?;
        let Some(key) = offered_key(algorithm, key_blob, CertificateKind::Host, algorithms) else {
            return Ok(Err(Refusal::Key));
        };
        let request = Box::new(self.signed(key, signature, before_signature));
        Ok(Ok(Credentials::Host { request, host: host.to_owned(), user: user.to_owned() }))
    }

    fn signed(&self, key: OfferedKey, signature: &[u8], before_signature: usize) -> SignedRequest {
        let mut signed = Zeroizing::new(Vec::with_capacity(self.payload.len().saturating_add(128)));
        signed.put_string(self.session_id);
        signed.put_bytes(self.payload.get(..before_signature).unwrap_or_default());
        SignedRequest { key, signature: signature.to_owned(), signed }
    }
}

impl SignedRequest {
    /// Whether the signature is this key's over this request in this session.
    pub(super) fn verify(&self, common: &Common) -> bool {
        let algorithm = self.key.algorithm;
        split_signature(&self.signature).ok().is_some_and(|(name, blob)| {
            name == algorithm.name().as_bytes()
                && common.provider.signatures.verify(algorithm, &self.key.key, &self.signed, blob).is_ok()
        })
    }
}

/// The key, if it is sound and signs with that algorithm, and the algorithm is taken here. A certificate is of `kind`.
fn offered_key(
    name: &str,
    blob: &[u8],
    kind: CertificateKind,
    algorithms: &[SignatureAlgorithm],
) -> Option<OfferedKey> {
    let plain = SignatureAlgorithm::from_name(name);
    let algorithm = plain.or_else(|| SignatureAlgorithm::from_certificate_name(name));
    let algorithm = algorithm.filter(|found| algorithms.contains(found))?;
    let (key, certificate) = if plain.is_some() {
        (PublicKey::from_blob(blob).ok()?, None)
    } else {
        let certificate = Certificate::from_blob(blob).ok().filter(|found| found.kind() == kind)?;
        (certificate.key().clone(), Some(Arc::new(certificate)))
    };
    key.kind().algorithms().contains(&algorithm).then_some(OfferedKey { key, algorithm, certificate })
}

/// RFC 4252 §8.
fn password(mut reader: Reader<'_>) -> Result<ServerMethod, WireError> {
    let change = reader.boolean()?;
    let password = secret(&mut reader)?;
    let method = if change {
        ServerMethod::PasswordChange { old: password, new: secret(&mut reader)? }
    } else {
        ServerMethod::Password(password)
    };
    reader.finish()?;
    Ok(method)
}

/// RFC 4256 §3.1. Dev Tunnels' TypeScript and C# clients leave both fields out.
fn keyboard_interactive(mut reader: Reader<'_>) -> Result<Credentials, WireError> {
    if reader.is_empty() {
        return Ok(Credentials::Interactive { submethods: String::new() });
    }
    let _language = reader.string()?;
    let submethods = reader.text(MAX_USER)?.to_owned();
    reader.finish()?;
    Ok(Credentials::Interactive { submethods })
}

pub(super) fn secret(reader: &mut Reader<'_>) -> Result<Secret, WireError> {
    Ok(Secret(Zeroizing::new(reader.text(MAX_PASSWORD)?.to_owned())))
}
