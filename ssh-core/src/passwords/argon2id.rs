//! Argon2id version 1.3 in the PHC string form (RFC 9106).

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{CannotHash, PasswordHashError, number, random, within};
use crate::crypto::CryptoProvider;

/// A hash may ask for this much memory, in KiB.
pub const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// And for this many passes over it.
pub const MAX_PASSES: u32 = 16;
/// And for this many lanes.
pub const MAX_LANES: u32 = 16;
/// And for no more than this as the product of memory, in KiB, and passes, which is what it takes time for: about a
/// second.
pub const MAX_WORK_KIB: u32 = 4 * MAX_MEMORY_KIB;

pub(super) const PREFIX: &str = "$argon2id$";

#[derive(Clone)]
pub(super) struct Argon2id {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    digest: Zeroizing<Vec<u8>>,
}

impl Argon2id {
    /// `v=19$m=KIB,t=PASSES,p=LANES$SALT$DIGEST`, what follows [`PREFIX`].
    pub(super) fn parse(text: &str) -> Result<Self, PasswordHashError> {
        let malformed = PasswordHashError::Malformed;
        let fields: Vec<&str> = text.splitn(5, '$').collect();
        let &["v=19", parameters, salt, digest] = fields.as_slice() else { return Err(malformed) };
        let parameters: Vec<&str> = parameters.splitn(4, ',').collect();
        let &[memory, passes, lanes] = parameters.as_slice() else { return Err(malformed) };
        let value = |text: &str, name: &str| number(text.strip_prefix(name).unwrap_or_default());
        let memory_kib = within("m", value(memory, "m=")?, MAX_MEMORY_KIB)?;
        let passes = within("t", value(passes, "t=")?, MAX_PASSES)?;
        let lanes = within("p", value(lanes, "p=")?, MAX_LANES)?;
        within("m*t", u64::from(memory_kib).saturating_mul(passes.into()), MAX_WORK_KIB)?;
        let bytes = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| PasswordHashError::Malformed);
        let (salt, digest) = (bytes(salt)?, Zeroizing::new(bytes(digest)?));
        if !(8..=64).contains(&salt.len()) || !(16..=64).contains(&digest.len()) {
            return Err(malformed);
        }
        let found = Self { memory_kib, passes, lanes, salt, digest };
        found.hasher().map_err(|CannotHash| malformed)?;
        Ok(found)
    }

    pub(super) fn create(password: &[u8], provider: &CryptoProvider) -> Result<Self, CannotHash> {
        let mut hash = Self {
            memory_kib: Params::DEFAULT_M_COST,
            passes: Params::DEFAULT_T_COST,
            lanes: Params::DEFAULT_P_COST,
            salt: random::<16>(provider)?.to_vec(),
            digest: Zeroizing::new(vec![0; 32]),
        };
        hash.digest = hash.digest_of(password)?;
        Ok(hash)
    }

    pub(super) fn decoy(&self, provider: &CryptoProvider) -> Result<Self, CannotHash> {
        let mut decoy = self.clone();
        provider.random.fill(&mut decoy.digest).map_err(|_| CannotHash)?;
        provider.random.fill(&mut decoy.salt).map_err(|_| CannotHash)?;
        Ok(decoy)
    }

    pub(super) fn verify(&self, password: &[u8]) -> Result<bool, CannotHash> {
        Ok(self.digest_of(password)?.ct_eq(&self.digest).into())
    }

    pub(super) fn to_text(&self) -> Zeroizing<String> {
        let (salt, digest) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.digest));
        let Self { memory_kib, passes, lanes, .. } = self;
        Zeroizing::new(format!("{PREFIX}v=19$m={memory_kib},t={passes},p={lanes}${salt}${digest}"))
    }

    fn digest_of(&self, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotHash> {
        let mut digest = Zeroizing::new(vec![0; self.digest.len()]);
        self.hasher()?.hash_password_into(password, &self.salt, &mut digest).map_err(|_| CannotHash)?;
        Ok(digest)
    }

    fn hasher(&self) -> Result<Argon2<'static>, CannotHash> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(self.digest.len()));
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|_| CannotHash)?))
    }
}
