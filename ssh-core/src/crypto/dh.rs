//! Diffie-Hellman in the fixed groups of RFC 3526 (RFC 8268), for backends whose library has none.

use std::fmt;
use std::sync::LazyLock;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Limb, Odd, U2048, U4096, Uint, Word};
use zeroize::Zeroizing;

use super::{
    ActiveKeyExchange, CryptoError, HashAlgorithm, KeyExchange, SecureRandom, ShareEncoding, SharedSecret,
};

/// `diffie-hellman-group14-sha256`. 512 bits of exponent are over four times the group's strength.
pub(super) static GROUP14_SHA256: DiffieHellman<{ U2048::LIMBS }> = DiffieHellman {
    name: "diffie-hellman-group14-sha256",
    hash: HashAlgorithm::Sha256,
    group: &GROUP14,
    exponent_len: 64,
};

/// `diffie-hellman-group16-sha512`. 640 bits of exponent are over four times the group's strength.
pub(super) static GROUP16_SHA512: DiffieHellman<{ U4096::LIMBS }> = DiffieHellman {
    name: "diffie-hellman-group16-sha512",
    hash: HashAlgorithm::Sha512,
    group: &GROUP16,
    exponent_len: 80,
};

static GROUP14: Group<{ U2048::LIMBS }> =
    LazyLock::new(|| FixedMontyParams::new_vartime(Odd::<U2048>::from_be_hex(PRIME14)));
static GROUP16: Group<{ U4096::LIMBS }> =
    LazyLock::new(|| FixedMontyParams::new_vartime(Odd::<U4096>::from_be_hex(PRIME16)));

type Group<const LIMBS: usize> = LazyLock<FixedMontyParams<LIMBS>>;

/// A method of RFC 4253 §8 in a group whose generator is 2.
pub(super) struct DiffieHellman<const LIMBS: usize> {
    name: &'static str,
    hash: HashAlgorithm,
    group: &'static Group<LIMBS>,
    exponent_len: usize,
}

impl<const LIMBS: usize> DiffieHellman<LIMBS> {
    fn generate(&'static self, random: &dyn SecureRandom) -> Result<Exponent<LIMBS>, CryptoError> {
        let mut bytes = Zeroizing::new(vec![0; self.exponent_len]);
        random.fill(&mut bytes)?;
        // Full length, so that the exponent is as strong as its length says.
        if let Some(first) = bytes.first_mut() {
            *first |= 0x80;
        }
        self.exponent(&bytes)
    }

    fn exponent(&'static self, bytes: &[u8]) -> Result<Exponent<LIMBS>, CryptoError> {
        let x = Zeroizing::new(from_be_bytes(bytes).ok_or(CryptoError::Backend)?);
        let bits = u32::try_from(bytes.len().saturating_mul(8)).map_err(|_| CryptoError::Backend)?;
        let generator = FixedMontyForm::new(&Uint::from_u8(2), self.group);
        let share = generator.pow_bounded_exp(&*x, bits).retrieve();
        if !self.is_in_range(&share) {
            return Err(CryptoError::Backend);
        }
        Ok(Exponent { method: self, x, bits, share: to_be_bytes(&share) })
    }

    /// RFC 4253 §8 asks for 1 to p-1; 1 and p-1 would make the secret known.
    fn is_in_range(&self, share: &Uint<LIMBS>) -> bool {
        let last = self.group.modulus().get().wrapping_sub(&Uint::from_u8(2));
        *share >= Uint::from_u8(2) && *share <= last
    }
}

impl<const LIMBS: usize> KeyExchange for &'static DiffieHellman<LIMBS> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    fn share_encoding(&self) -> ShareEncoding {
        ShareEncoding::Mpint
    }

    fn start(&self, random: &dyn SecureRandom) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        Ok(Box::new(self.generate(random)?))
    }

    fn respond(
        &self,
        client_share: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<(Vec<u8>, SharedSecret), CryptoError> {
        let exponent = self.generate(random)?;
        let secret = exponent.agree(client_share)?;
        Ok((exponent.share, secret))
    }
}

impl<const LIMBS: usize> fmt::Debug for DiffieHellman<LIMBS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Our half of an exchange.
struct Exponent<const LIMBS: usize> {
    method: &'static DiffieHellman<LIMBS>,
    x: Zeroizing<Uint<LIMBS>>,
    bits: u32,
    share: Vec<u8>,
}

impl<const LIMBS: usize> Exponent<LIMBS> {
    fn agree(&self, peer_share: &[u8]) -> Result<SharedSecret, CryptoError> {
        let peer = from_be_bytes(peer_share)
            .filter(|share| self.method.is_in_range(share))
            .ok_or(CryptoError::BadShare)?;
        let secret = FixedMontyForm::new(&peer, self.method.group).pow_bounded_exp(&*self.x, self.bits);
        let bytes = Zeroizing::new(to_be_bytes(&Zeroizing::new(secret.retrieve())));
        Ok(SharedSecret::from_number(&bytes))
    }
}

impl<const LIMBS: usize> ActiveKeyExchange for Exponent<LIMBS> {
    fn share(&self) -> &[u8] {
        &self.share
    }

    fn finish(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, CryptoError> {
        self.agree(server_share)
    }
}

impl<const LIMBS: usize> fmt::Debug for Exponent<LIMBS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [..]", self.method.name)
    }
}

/// The number, unless it is longer than the modulus.
fn from_be_bytes<const LIMBS: usize>(bytes: &[u8]) -> Option<Uint<LIMBS>> {
    let mut words = [0; LIMBS];
    let mut chunks = bytes.rchunks(Limb::BYTES);
    for word in &mut words {
        let Some(chunk) = chunks.next() else { break };
        *word = chunk.iter().fold(0, |word: Word, byte| word << 8 | Word::from(*byte));
    }
    chunks.next().is_none().then(|| Uint::from_words(words))
}

/// The number without leading zeros, as a share is handed over.
fn to_be_bytes<const LIMBS: usize>(number: &Uint<LIMBS>) -> Vec<u8> {
    let words = number.as_words().iter().rev();
    // Reserved in one go, so that a secret leaves no copy in a grown buffer.
    let mut bytes = Vec::with_capacity(LIMBS.saturating_mul(Limb::BYTES));
    bytes.extend(words.flat_map(|word| word.to_be_bytes()).skip_while(|byte| *byte == 0));
    bytes
}

/// RFC 3526 §3.
const PRIME14: &str = "\
     FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AACAA68FFFFFFFFFFFFFFFF";

/// RFC 3526 §5.
const PRIME16: &str = "\
     FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
     ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C\
     BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7\
     88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB04DE8EF92E8EFC141FBECAA6\
     287C59474E6BC05D99B2964FA090C3A2233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9\
     93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF";

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::protocol::wire::{Write as _, trim_leading_zeros};

    /// Recorded with Microsoft's Dev Tunnels SSH in TypeScript.
    const GROUP14_HANDSHAKE: &str = include_str!("../../tests/vectors/handshake-dh14-ctr-std.json");
    const GROUP16_HANDSHAKE: &str = include_str!("../../tests/vectors/handshake-dh16-cbc-std.json");

    fn hex(value: &Value) -> Vec<u8> {
        let digits = value.as_str().unwrap();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    fn agrees_with<const LIMBS: usize>(method: &'static DiffieHellman<LIMBS>, handshake: &str) {
        let kex = &serde_json::from_str::<Value>(handshake).unwrap()["kex"];
        let mut secret = Vec::new();
        secret.put_mpint(&hex(&kex["K_mpint_value_bytes"]));
        for (ours, theirs) in [("client", "server"), ("server", "client")] {
            let private = hex(&kex[format!("{ours}_ephemeral_private")]);
            let exponent = method.exponent(&private).unwrap();
            assert_eq!(exponent.share, trim_leading_zeros(&hex(&kex[format!("{ours}_public")])));
            let peer = hex(&kex[format!("{theirs}_public")]);
            assert_eq!(exponent.agree(trim_leading_zeros(&peer)).unwrap().encoded(), secret);
        }
    }

    #[test]
    fn both_groups_give_the_recorded_secrets() {
        agrees_with(&GROUP14_SHA256, GROUP14_HANDSHAKE);
        agrees_with(&GROUP16_SHA512, GROUP16_HANDSHAKE);
    }

    fn refuses_the_edges<const LIMBS: usize>(method: &'static DiffieHellman<LIMBS>) {
        let exponent = method.exponent(&[0x80; 64]).unwrap();
        let prime = method.group.modulus().get();
        let near = |below: u8| to_be_bytes(&prime.wrapping_sub(&Uint::from_u8(below)));
        let above = to_be_bytes(&prime.wrapping_add(&Uint::from_u8(2)));
        for bad in [vec![], vec![1], near(0), near(1), above, vec![1; LIMBS * Limb::BYTES + 1]] {
            assert_eq!(exponent.agree(&bad).map(drop), Err(CryptoError::BadShare));
        }
        assert!(exponent.agree(&[2]).is_ok());
        assert!(exponent.agree(&near(2)).is_ok());
    }

    #[test]
    fn only_shares_from_2_to_p_minus_2_are_taken() {
        refuses_the_edges(&GROUP14_SHA256);
        refuses_the_edges(&GROUP16_SHA512);
    }
}
