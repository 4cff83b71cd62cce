//! PBES2, the encryption of PKCS#8 keys (RFC 8018 §6.2).

use ::pkcs8::der::asn1::{AnyRef, OctetStringRef};
use ::pkcs8::der::{Decode as _, Encode, EncodeValue, FixedTag, Length, Tag, Writer};
use ::pkcs8::spki::AlgorithmIdentifierRef;
use pkcs5::EncryptionScheme as Scheme;
use pkcs5::pbes2::{EncryptionScheme, Kdf, PBES2_OID, Parameters, Pbkdf2Params, Pbkdf2Prf, ScryptParams};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::asn1::to_der;
use super::cbc_cipher::{CbcCipher, encrypt_aes256, pad, unpadded};
use super::error::shown;
use super::random::random;
use super::{KdfLimits, KeyFormatError, MAX_PBKDF2_ITERATIONS, MAX_SCRYPT_COST};

/// The iterations that are written, as OWASP advises for HMAC-SHA-256.
const ITERATIONS: u32 = 600_000;
const SALT_LEN: usize = 16;
const IV_LEN: usize = 16;

/// Decrypts the DER of an `EncryptedPrivateKeyInfo`.
pub(super) fn decrypt(
    der: &[u8],
    passphrase: Option<&[u8]>,
    limits: &KdfLimits,
) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let (algorithm, sealed) = AnyRef::from_der(der)
        .and_then(|outer| {
            outer.sequence(|reader| {
                let algorithm = AlgorithmIdentifierRef::decode(reader)?;
                Ok::<_, ::pkcs8::der::Error>((algorithm, <&OctetStringRef>::decode(reader)?))
            })
        })
        .map_err(|_| BROKEN)?;
    let parameters = parameters(algorithm)?;
    let (cipher, iv) = cipher(&parameters.encryption)?;
    let kdf = BoundedKdf::new(&parameters.kdf, cipher, limits)?;
    let passphrase = passphrase.ok_or(KeyFormatError::PassphraseNeeded)?;
    let key = kdf.derive(passphrase, cipher.key_len())?;
    let mut content = Zeroizing::new(sealed.as_bytes().to_vec());
    cipher.decrypt(&key, iv, &mut content).ok_or(BROKEN)?;
    let len = unpadded(&content, cipher.block_len()).ok_or(KeyFormatError::WrongPassphrase)?.len();
    content.truncate(len);
    Ok(content)
}

/// The DER of an `EncryptedPrivateKeyInfo`: PBKDF2 with HMAC-SHA-256, AES-256-CBC.
pub(super) fn encrypt(content: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let (salt, iv) = (random::<SALT_LEN>()?, random::<IV_LEN>()?);
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(passphrase, &salt, ITERATIONS, &mut *key);
    let mut sealed = Zeroizing::new(Vec::with_capacity(content.len().saturating_add(16)));
    sealed.extend_from_slice(content);
    pad(&mut sealed, 16);
    encrypt_aes256(&*key, &iv, &mut sealed).ok_or(BROKEN)?;
    let parameters =
        Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, iv).map_err(|_| BROKEN)?;
    let data = OctetStringRef::new(&sealed).map_err(|_| BROKEN)?;
    to_der(&Encrypted { scheme: parameters.into(), data }, "PKCS#8")
}

fn parameters(algorithm: AlgorithmIdentifierRef<'_>) -> Result<Parameters, KeyFormatError> {
    if algorithm.oid != PBES2_OID {
        return Err(KeyFormatError::UnsupportedCipher(shown(algorithm.oid.to_string().as_bytes())));
    }
    let parameters = algorithm.parameters.ok_or(BROKEN)?;
    Parameters::try_from(parameters).map_err(|error| match error.kind() {
        ::pkcs8::der::ErrorKind::OidUnknown { oid } => {
            KeyFormatError::UnsupportedCipher(shown(oid.to_string().as_bytes()))
        }
        _ => BROKEN,
    })
}

fn cipher(scheme: &EncryptionScheme) -> Result<(CbcCipher, &[u8]), KeyFormatError> {
    match scheme {
        EncryptionScheme::Aes128Cbc { iv } => Ok((CbcCipher::Aes128, iv)),
        EncryptionScheme::Aes192Cbc { iv } => Ok((CbcCipher::Aes192, iv)),
        EncryptionScheme::Aes256Cbc { iv } => Ok((CbcCipher::Aes256, iv)),
        EncryptionScheme::DesEde3Cbc { iv } => Ok((CbcCipher::TripleDes, iv)),
        other => Err(KeyFormatError::UnsupportedCipher(shown(other.oid().to_string().as_bytes()))),
    }
}

/// A key derivation that stays within the limits.
enum BoundedKdf<'a> {
    Pbkdf2(&'a Pbkdf2Params),
    Scrypt(&'a ScryptParams, scrypt::Params),
}

impl<'a> BoundedKdf<'a> {
    /// Refuses what costs too much, before anything is computed.
    fn new(kdf: &'a Kdf, cipher: CbcCipher, limits: &KdfLimits) -> Result<Self, KeyFormatError> {
        if kdf.key_length().is_some_and(|len| usize::from(len) != cipher.key_len()) {
            return Err(BROKEN);
        }
        match kdf {
            Kdf::Pbkdf2(params) => {
                let limit = limits.pbkdf2_iterations.min(MAX_PBKDF2_ITERATIONS);
                within("PBKDF2", params.iteration_count.into(), limit)?;
                if params.iteration_count == 0 { Err(BROKEN) } else { Ok(Self::Pbkdf2(params)) }
            }
            Kdf::Scrypt(params) => {
                let ScryptParams { cost_parameter: n, block_size: r, parallelization: p, .. } = *params;
                let cost = n.saturating_mul(u64::from(r)).saturating_mul(u64::from(p));
                within("scrypt", cost, limits.scrypt_cost.min(MAX_SCRYPT_COST))?;
                if n < 2 || !n.is_power_of_two() {
                    return Err(BROKEN);
                }
                let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| BROKEN)?;
                let checked = scrypt::Params::new(log_n, r.into(), p.into()).map_err(|_| BROKEN)?;
                Ok(Self::Scrypt(params, checked))
            }
            _ => Err(KeyFormatError::UnsupportedKdf(shown(kdf.oid().to_string().as_bytes()))),
        }
    }

    fn derive(&self, passphrase: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
        let mut key = Zeroizing::new(vec![0; len]);
        match self {
            Self::Pbkdf2(params) => {
                let (salt, count) = (params.salt.as_ref(), params.iteration_count);
                match params.prf {
                    Pbkdf2Prf::HmacWithSha1 => pbkdf2::pbkdf2_hmac::<Sha1>(passphrase, salt, count, &mut key),
                    Pbkdf2Prf::HmacWithSha224 => {
                        pbkdf2::pbkdf2_hmac::<Sha224>(passphrase, salt, count, &mut key)
                    }
                    Pbkdf2Prf::HmacWithSha256 => {
                        pbkdf2::pbkdf2_hmac::<Sha256>(passphrase, salt, count, &mut key)
                    }
                    Pbkdf2Prf::HmacWithSha384 => {
                        pbkdf2::pbkdf2_hmac::<Sha384>(passphrase, salt, count, &mut key)
                    }
                    Pbkdf2Prf::HmacWithSha512 => {
                        pbkdf2::pbkdf2_hmac::<Sha512>(passphrase, salt, count, &mut key)
                    }
                    other => {
                        return Err(KeyFormatError::UnsupportedKdf(shown(
                            other.oid().to_string().as_bytes(),
                        )));
                    }
                }
            }
            Self::Scrypt(params, checked) => {
                scrypt::scrypt(passphrase, params.salt.as_ref(), checked, &mut key).map_err(|_| BROKEN)?;
            }
        }
        Ok(key)
    }
}

fn within(kdf: &'static str, cost: u64, limit: u32) -> Result<(), KeyFormatError> {
    if cost > u64::from(limit) { Err(KeyFormatError::KdfTooCostly { kdf, cost, limit }) } else { Ok(()) }
}

/// `EncryptedPrivateKeyInfo` (RFC 5958 §3), to be written.
struct Encrypted<'a> {
    scheme: Scheme,
    data: &'a OctetStringRef,
}

impl FixedTag for Encrypted<'_> {
    const TAG: Tag = Tag::Sequence;
}

impl EncodeValue for Encrypted<'_> {
    #[expect(clippy::arithmetic_side_effects, reason = "lengths of DER are added with a check")]
    fn value_len(&self) -> ::pkcs8::der::Result<Length> {
        self.scheme.encoded_len()? + self.data.encoded_len()?
    }

    fn encode_value(&self, writer: &mut impl Writer) -> ::pkcs8::der::Result<()> {
        self.scheme.encode(writer)?;
        self.data.encode(writer)
    }
}

const BROKEN: KeyFormatError = KeyFormatError::Asn1("PKCS#8");
