use zeroize::Zeroizing;

use crate::crypto::{CryptoProvider, KeyExchange, ShareEncoding, SharedSecret};
use crate::error::Error;
use crate::protocol::wire::{Reader, Write as _};

/// What both sides have seen of a key exchange, in the order of RFC 4253 §8.
pub(crate) struct Transcript<'a> {
    pub(crate) client_version: &'a str,
    pub(crate) server_version: &'a str,
    pub(crate) client_kexinit: &'a [u8],
    pub(crate) server_kexinit: &'a [u8],
    pub(crate) host_key: &'a [u8],
    pub(crate) client_share: &'a [u8],
    pub(crate) server_share: &'a [u8],
}

impl Transcript<'_> {
    /// The exchange hash H.
    pub(crate) fn hash(
        &self,
        provider: &CryptoProvider,
        kex: &dyn KeyExchange,
        secret: &SharedSecret,
    ) -> Zeroizing<Vec<u8>> {
        let mut seen = Vec::with_capacity(4096);
        seen.put_string(self.client_version.as_bytes());
        seen.put_string(self.server_version.as_bytes());
        seen.put_string(self.client_kexinit);
        seen.put_string(self.server_kexinit);
        seen.put_string(self.host_key);
        put_share(&mut seen, kex, self.client_share);
        put_share(&mut seen, kex, self.server_share);
        provider.hashes.digest(kex.hash(), &[&seen, secret.encoded()])
    }
}

/// A share as the method writes it.
pub(crate) fn put_share(out: &mut Vec<u8>, kex: &dyn KeyExchange, share: &[u8]) {
    match kex.share_encoding() {
        ShareEncoding::Mpint => out.put_mpint(share),
        ShareEncoding::String => out.put_string(share),
    }
}

/// The content of a share field: for an mpint its magnitude, which must be positive and minimal.
pub(crate) fn read_share<'a>(kex: &dyn KeyExchange, field: &'a [u8]) -> Result<&'a [u8], Error> {
    match kex.share_encoding() {
        ShareEncoding::String => Ok(field),
        ShareEncoding::Mpint => {
            if !crate::protocol::wire::is_positive_mpint(field) {
                return Err(crate::error::PeerMisbehaved::BadKexShare.into());
            }
            Ok(field.strip_prefix(&[0]).unwrap_or(field))
        }
    }
}

/// `string algorithm ‖ string blob` (RFC 4253 §6.6).
pub(crate) fn split_signature(signature: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut reader = Reader::new(signature);
    let parts = (reader.string()?, reader.string()?);
    reader.finish()?;
    Ok(parts)
}

/// See [`split_signature`].
pub(crate) fn join_signature(algorithm: &str, blob: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blob.len().saturating_add(64));
    out.put_string(algorithm.as_bytes());
    out.put_string(blob);
    out
}
