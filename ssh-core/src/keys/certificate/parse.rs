//! From a blob to a certificate.

use super::option::parse_options;
use super::{
    Certificate, CertificateError, CertificateKind, MAX_CERTIFICATE_LEN, MAX_PRINCIPALS, MAX_TEXT_LEN,
};
use crate::keys::{Curve, KeyKind, PublicKey};
use crate::protocol::wire::{Reader, WireError};

impl Certificate {
    /// Parses a certificate (PROTOCOL.certkeys). Its structure, its keys and its limits are checked; its signature, its
    /// dates and its names are not.
    ///
    /// # Errors
    /// [`CertificateError`] says which rule is broken. Nothing is allocated beyond a small multiple of `blob`'s length.
    pub fn from_blob(blob: &[u8]) -> Result<Self, CertificateError> {
        if blob.len() > MAX_CERTIFICATE_LEN {
            return Err(CertificateError::TooLong);
        }
        let mut reader = Reader::new(blob);
        let kind = kind_of_type(reader.string_max(64)?).ok_or(CertificateError::UnknownType)?;
        let _nonce = reader.string()?;
        let key = PublicKey::read_fields(kind, &mut reader)?;
        let serial = reader.u64()?;
        let kind = match reader.u32()? {
            1 => CertificateKind::User,
            2 => CertificateKind::Host,
            other => return Err(CertificateError::UnknownKind(other)),
        };
        let key_id = read_text(&mut reader, MAX_TEXT_LEN)?.into();
        let principals = parse_principals(reader.string()?)?;
        let (valid_after, valid_before) = (reader.u64()?, reader.u64()?);
        let critical_options = parse_options(reader.string()?)?;
        let extensions = parse_options(reader.string()?)?;
        let _reserved = reader.string()?;
        let authority = parse_authority(reader.string()?)?;
        let signed_len = blob.len().saturating_sub(reader.rest().len());
        let mut signature = Reader::new(reader.string()?);
        reader.finish()?;
        let signature_algorithm = signature.text(64)?.into();
        let signature_blob = signature.string()?.into();
        signature.finish()?;
        Ok(Self {
            blob: blob.into(),
            signed_len,
            key,
            serial,
            kind,
            key_id,
            principals,
            valid_after,
            valid_before,
            critical_options,
            extensions,
            authority,
            signature_algorithm,
            signature: signature_blob,
        })
    }
}

/// The kind of the certified key, by the type string. RSA certificates are read under the names of their signatures too,
/// as RSA keys are (RFC 8332 §3).
pub(super) fn kind_of_type(name: &[u8]) -> Option<KeyKind> {
    Some(match name {
        b"ssh-ed25519-cert-v01@openssh.com" => KeyKind::Ed25519,
        b"ecdsa-sha2-nistp256-cert-v01@openssh.com" => KeyKind::Ecdsa(Curve::P256),
        b"ecdsa-sha2-nistp384-cert-v01@openssh.com" => KeyKind::Ecdsa(Curve::P384),
        b"ecdsa-sha2-nistp521-cert-v01@openssh.com" => KeyKind::Ecdsa(Curve::P521),
        b"ssh-rsa-cert-v01@openssh.com"
        | b"rsa-sha2-256-cert-v01@openssh.com"
        | b"rsa-sha2-512-cert-v01@openssh.com" => KeyKind::Rsa,
        _ => return None,
    })
}

/// Text that a C program would read to its end: UTF-8 without NUL.
pub(super) fn read_text<'a>(reader: &mut Reader<'a>, limit: usize) -> Result<&'a str, CertificateError> {
    let text = reader.text(limit)?;
    if text.contains('\0') { Err(WireError::BadValue.into()) } else { Ok(text) }
}

/// Whether one more may come.
pub(super) fn within(count: usize, limit: usize) -> Result<(), CertificateError> {
    if count < limit { Ok(()) } else { Err(CertificateError::TooMany) }
}

fn parse_principals(field: &[u8]) -> Result<Box<[Box<str>]>, CertificateError> {
    let mut reader = Reader::new(field);
    let mut principals = Vec::new();
    while !reader.is_empty() {
        within(principals.len(), MAX_PRINCIPALS)?;
        principals.push(read_text(&mut reader, MAX_TEXT_LEN)?.into());
    }
    Ok(principals.into())
}

fn parse_authority(blob: &[u8]) -> Result<PublicKey, CertificateError> {
    // A certificate here would make chains, which the format does not have.
    if kind_of_type(Reader::new(blob).string_max(64)?).is_some() {
        return Err(CertificateError::AuthorityIsCertificate);
    }
    PublicKey::from_blob(blob).map_err(CertificateError::Authority)
}
