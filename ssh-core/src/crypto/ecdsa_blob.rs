//! ECDSA signatures between SSH's form, `mpint r ‖ mpint s` (RFC 5656 §3.1.2), and the fixed one of libraries.

use super::CryptoError;
use crate::keys::Curve;
use crate::protocol::wire::{Reader, WireError, Write as _};

/// `r ‖ s`, each at field length. Whether they are in range is for the library to say.
pub(super) fn to_fixed(curve: Curve, blob: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mut reader = Reader::new(blob);
    let mut fixed = Vec::with_capacity(curve.field_len().saturating_mul(2));
    for _ in 0..2 {
        let number = reader.mpint().map_err(unauthentic)?;
        let pad = curve.field_len().checked_sub(number.len()).ok_or(CryptoError::Unauthentic)?;
        fixed.resize(fixed.len().saturating_add(pad), 0);
        fixed.extend_from_slice(number);
    }
    reader.finish().map_err(unauthentic)?;
    Ok(fixed)
}

/// From `r ‖ s`, each at field length.
pub(super) fn from_fixed(fixed: &[u8]) -> Vec<u8> {
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let mut blob = Vec::with_capacity(fixed.len().saturating_add(10));
    blob.put_mpint(r);
    blob.put_mpint(s);
    blob
}

fn unauthentic(_: WireError) -> CryptoError {
    CryptoError::Unauthentic
}
