//! What the ASN.1 formats share.

use ::pkcs8::der::asn1::AnyRef;
use ::pkcs8::der::{Decode as _, Encode, Reader as _, Tag};
use ::pkcs8::spki::ObjectIdentifier;
use zeroize::Zeroizing;

use super::error::shown;
use super::{Curve, KeyFormatError};

/// rsaEncryption (RFC 8017 appendix C).
pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-ecPublicKey (RFC 5480 §2.1.1).
pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// id-Ed25519 (RFC 8410 §3).
pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// The curve with this object identifier (RFC 5480 §2.1.1.1).
pub(super) fn curve(oid: ObjectIdentifier) -> Result<Curve, KeyFormatError> {
    match oid {
        P256 => Ok(Curve::P256),
        P384 => Ok(Curve::P384),
        P521 => Ok(Curve::P521),
        other => Err(KeyFormatError::UnsupportedType(shown(format!("elliptic curve {other}").as_bytes()))),
    }
}

/// The object identifier of a curve.
pub(super) const fn oid(curve: Curve) -> ObjectIdentifier {
    match curve {
        Curve::P256 => P256,
        Curve::P384 => P384,
        Curve::P521 => P521,
    }
}

/// Encodes into a buffer of just the right size, so that no copy of a secret is left behind by a growing one.
/// `name` is what an error calls the structure.
pub(super) fn to_der(value: &impl Encode, name: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let broken = |_| KeyFormatError::Asn1(name);
    let len =
        usize::try_from(value.encoded_len().map_err(broken)?).map_err(|_| KeyFormatError::Asn1(name))?;
    let mut out = Zeroizing::new(vec![0; len]);
    value.encode_to_slice(&mut out).map_err(broken)?;
    Ok(out)
}

/// The PEM label that DER without armor would have, told by its first elements. `None` if it is no key.
pub(super) fn label_of(der: &[u8]) -> Option<&'static [u8]> {
    let tags = AnyRef::from_der(der).ok()?.sequence(|reader| {
        let mut tags = [None; 3];
        for tag in &mut tags {
            if !reader.is_finished() {
                *tag = Some(Tag::peek(reader)?);
                reader.tlv_bytes()?;
            }
        }
        // A sequence has to be read to its end.
        while !reader.is_finished() {
            reader.tlv_bytes()?;
        }
        Ok::<_, ::pkcs8::der::Error>(tags)
    });
    match tags.ok()? {
        [Some(Tag::Integer), Some(Tag::Sequence), Some(Tag::OctetString)] => Some(b"PRIVATE KEY"),
        [Some(Tag::Sequence), Some(Tag::OctetString), None] => Some(b"ENCRYPTED PRIVATE KEY"),
        [Some(Tag::Integer), Some(Tag::OctetString), _] => Some(b"EC PRIVATE KEY"),
        [Some(Tag::Integer), Some(Tag::Integer), Some(Tag::Integer)] => Some(b"RSA PRIVATE KEY"),
        [Some(Tag::Integer), Some(Tag::Integer), None] => Some(b"RSA PUBLIC KEY"),
        [Some(Tag::Sequence), Some(Tag::BitString), None] => Some(b"PUBLIC KEY"),
        _ => None,
    }
}
