//! The curves and the KEM that key exchange is made of.

use std::fmt;
use std::marker::PhantomData;

use ml_kem::kem::{Decapsulate as _, KeyExport as _};
use ml_kem::{DecapsulationKey768, EncapsulationKey768};
use p256::NistP256;
use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, PublicKey, SecretKey};
use p384::NistP384;
use p521::NistP521;
use zeroize::Zeroizing;

use crate::crypto::agreement::{Agreement, AgreementKey, refuse_all_zero};
use crate::crypto::hybrid::{Encapsulated, Kem, KemKey};
use crate::crypto::{CryptoError, SecureRandom};

// ---- X25519 ------------------------------------------------------------------------------------------

#[derive(Debug)]
pub(super) struct X25519;

impl Agreement for X25519 {
    fn private_len(&self) -> usize {
        32
    }

    fn key(&self, private: &[u8]) -> Result<Box<dyn AgreementKey>, CryptoError> {
        let private = Zeroizing::new(private.try_into().map_err(|_| CryptoError::BadKey)?);
        let share = x25519_dalek::x25519(*private, x25519_dalek::X25519_BASEPOINT_BYTES);
        Ok(Box::new(X25519Key { private, share }))
    }
}

struct X25519Key {
    private: Zeroizing<[u8; 32]>,
    share: [u8; 32],
}

impl AgreementKey for X25519Key {
    fn share(&self) -> &[u8] {
        &self.share
    }

    fn agree(&self, peer_share: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let peer = peer_share.try_into().map_err(|_| CryptoError::BadShare)?;
        let secret = Zeroizing::new(x25519_dalek::x25519(*self.private, peer));
        refuse_all_zero(&*secret)?;
        Ok(Zeroizing::new(secret.to_vec()))
    }
}

impl fmt::Debug for X25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X25519Key[..]")
    }
}

// ---- NIST curves -------------------------------------------------------------------------------------

pub(super) static P256: NistCurve<NistP256> = NistCurve::new(32, 0xff);
pub(super) static P384: NistCurve<NistP384> = NistCurve::new(48, 0xff);
pub(super) static P521: NistCurve<NistP521> = NistCurve::new(66, 0x01);

pub(super) struct NistCurve<C> {
    field_len: usize,
    mask: u8,
    curve: PhantomData<fn() -> C>,
}

impl<C> NistCurve<C> {
    const fn new(field_len: usize, mask: u8) -> Self {
        Self { field_len, mask, curve: PhantomData }
    }
}

impl<C> Agreement for NistCurve<C>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
{
    fn private_len(&self) -> usize {
        self.field_len
    }

    fn private_mask(&self) -> u8 {
        self.mask
    }

    fn key(&self, private: &[u8]) -> Result<Box<dyn AgreementKey>, CryptoError> {
        if private.len() != self.field_len {
            return Err(CryptoError::BadKey);
        }
        let private = SecretKey::<C>::from_slice(private).map_err(|_| CryptoError::BadKey)?;
        let share = private.public_key().to_sec1_point(false).as_bytes().to_vec();
        Ok(Box::new(NistKey { private, share }))
    }
}

impl<C> fmt::Debug for NistCurve<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NistCurve({})", self.field_len)
    }
}

struct NistKey<C: CurveArithmetic> {
    private: SecretKey<C>,
    share: Vec<u8>,
}

impl<C> AgreementKey for NistKey<C>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
{
    fn share(&self) -> &[u8] {
        &self.share
    }

    fn agree(&self, peer_share: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        // Uncompressed points only: RFC 5656 §3.1 makes compression optional and nobody sends it.
        if peer_share.len() != self.share.len() || peer_share.first() != Some(&4) {
            return Err(CryptoError::BadShare);
        }
        let peer = PublicKey::<C>::from_sec1_bytes(peer_share).map_err(|_| CryptoError::BadShare)?;
        Ok(Zeroizing::new(self.private.diffie_hellman(&peer).raw_secret_bytes().to_vec()))
    }
}

impl<C: CurveArithmetic> fmt::Debug for NistKey<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NistKey[..]")
    }
}

// ---- ML-KEM ------------------------------------------------------------------------------------------

/// ML-KEM-768 of FIPS 203.
#[derive(Debug)]
pub(super) struct MlKem768;

impl Kem for MlKem768 {
    fn public_len(&self) -> usize {
        1184
    }

    fn ciphertext_len(&self) -> usize {
        1088
    }

    fn generate(&self, random: &dyn SecureRandom) -> Result<Box<dyn KemKey>, CryptoError> {
        let mut seed = Zeroizing::new([0; 64]);
        random.fill(&mut *seed)?;
        let private = Box::new(DecapsulationKey768::from_seed((*seed).into()));
        let public = private.encapsulation_key().to_bytes().to_vec();
        Ok(Box::new(MlKem768Key { private, public }))
    }

    fn encapsulate(&self, public: &[u8], random: &dyn SecureRandom) -> Result<Encapsulated, CryptoError> {
        // FIPS 203 §7.2: the length check is the array's, the modulus check `EncapsulationKey`'s.
        let public = public.try_into().map_err(|_| CryptoError::BadShare)?;
        let public = EncapsulationKey768::new(&public).map_err(|_| CryptoError::BadShare)?;
        let mut message = Zeroizing::new([0; 32]);
        random.fill(&mut *message)?;
        let (ciphertext, secret) = public.encapsulate_deterministic((&*message).into());
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(secret.into());
        Ok((ciphertext.to_vec(), Zeroizing::new(secret.to_vec())))
    }
}

struct MlKem768Key {
    private: Box<DecapsulationKey768>,
    public: Vec<u8>,
}

impl KemKey for MlKem768Key {
    fn public(&self) -> &[u8] {
        &self.public
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let secret = self.private.decapsulate_slice(ciphertext).map_err(|_| CryptoError::BadShare)?;
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(secret.into());
        Ok(Zeroizing::new(secret.to_vec()))
    }
}

impl fmt::Debug for MlKem768Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlKem768Key[..]")
    }
}
