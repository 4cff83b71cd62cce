//! The curves and the KEM that key exchange is made of.

use std::fmt;

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::kem::{self, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use zeroize::Zeroizing;

use crate::crypto::agreement::{Agreement, AgreementKey, refuse_all_zero};
use crate::crypto::hybrid::{Encapsulated, Kem, KemKey};
use crate::crypto::{CryptoError, SecureRandom};

// ---- Curves ------------------------------------------------------------------------------------------

pub(super) static X25519: Curve =
    Curve { algorithm: &agreement::X25519, field_len: 32, mask: 0xff, nist: false };
pub(super) static P256: Curve = Curve { algorithm: &ECDH_P256, field_len: 32, mask: 0xff, nist: true };
pub(super) static P384: Curve = Curve { algorithm: &ECDH_P384, field_len: 48, mask: 0xff, nist: true };
pub(super) static P521: Curve = Curve { algorithm: &ECDH_P521, field_len: 66, mask: 0x01, nist: true };

#[derive(Debug)]
pub(super) struct Curve {
    algorithm: &'static agreement::Algorithm,
    field_len: usize,
    mask: u8,
    nist: bool,
}

impl Agreement for Curve {
    fn private_len(&self) -> usize {
        self.field_len
    }

    fn private_mask(&self) -> u8 {
        self.mask
    }

    fn key(&self, private: &[u8]) -> Result<Box<dyn AgreementKey>, CryptoError> {
        let private =
            PrivateKey::from_private_key(self.algorithm, private).map_err(|_| CryptoError::BadKey)?;
        let share = private.compute_public_key().map_err(|_| CryptoError::Backend)?.as_ref().to_vec();
        Ok(Box::new(CurveKey { private, share, nist: self.nist }))
    }
}

struct CurveKey {
    private: PrivateKey,
    share: Vec<u8>,
    nist: bool,
}

impl AgreementKey for CurveKey {
    fn share(&self) -> &[u8] {
        &self.share
    }

    fn agree(&self, peer_share: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        // The library also takes compressed points and keys in DER; SSH has neither.
        if peer_share.len() != self.share.len() || self.nist && peer_share.first() != Some(&4) {
            return Err(CryptoError::BadShare);
        }
        let peer = UnparsedPublicKey::new(self.private.algorithm(), peer_share);
        let secret = agreement::agree(&self.private, peer, CryptoError::BadShare, |secret| {
            Ok(Zeroizing::new(secret.to_vec()))
        })?;
        if !self.nist {
            refuse_all_zero(&secret)?;
        }
        Ok(secret)
    }
}

impl fmt::Debug for CurveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CurveKey[..]")
    }
}

// ---- ML-KEM ------------------------------------------------------------------------------------------

/// ML-KEM-768 of FIPS 203. Its randomness is the library's own.
#[derive(Debug)]
pub(super) struct MlKem768;

impl Kem for MlKem768 {
    fn public_len(&self) -> usize {
        1184
    }

    fn ciphertext_len(&self) -> usize {
        1088
    }

    fn generate(&self, _random: &dyn SecureRandom) -> Result<Box<dyn KemKey>, CryptoError> {
        let backend = |_| CryptoError::Backend;
        let private = DecapsulationKey::generate(&ML_KEM_768).map_err(backend)?;
        let public = private.encapsulation_key().and_then(|key| Ok(key.key_bytes()?.as_ref().to_vec()));
        Ok(Box::new(MlKem768Key { private, public: public.map_err(backend)? }))
    }

    fn encapsulate(&self, public: &[u8], _random: &dyn SecureRandom) -> Result<Encapsulated, CryptoError> {
        let public = EncapsulationKey::new(&ML_KEM_768, public).map_err(|_| CryptoError::BadShare)?;
        // The modulus check of FIPS 203 §7.2 is made here.
        let (ciphertext, secret) = public.encapsulate().map_err(|_| CryptoError::BadShare)?;
        Ok((ciphertext.as_ref().to_vec(), Zeroizing::new(secret.as_ref().to_vec())))
    }
}

struct MlKem768Key {
    private: DecapsulationKey,
    public: Vec<u8>,
}

impl KemKey for MlKem768Key {
    fn public(&self) -> &[u8] {
        &self.public
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let secret =
            self.private.decapsulate(kem::Ciphertext::from(ciphertext)).map_err(|_| CryptoError::BadShare)?;
        Ok(Zeroizing::new(secret.as_ref().to_vec()))
    }
}

impl fmt::Debug for MlKem768Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlKem768Key[..]")
    }
}
