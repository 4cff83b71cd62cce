//! SHA-512-crypt, as in `/etc/shadow` and by `openssl passwd -6`.

use sha_crypt::{Params, sha512_crypt};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{CannotHash, PasswordHashError, number, random, within};
use crate::crypto::CryptoProvider;

/// A hash may ask for this many rounds, which take about a second.
pub const MAX_ROUNDS: u32 = 1_000_000;

pub(super) const PREFIX: &str = "$6$";

#[derive(Clone)]
pub(super) struct Sha512Crypt {
    /// `None` if the text leaves them out, which means 5000.
    rounds: Option<u32>,
    salt: String,
    /// As in the text, in [`ALPHABET`].
    digest: Zeroizing<String>,
}

impl Sha512Crypt {
    /// `[rounds=N$]SALT$DIGEST`, what follows [`PREFIX`].
    pub(super) fn parse(text: &str) -> Result<Self, PasswordHashError> {
        let malformed = PasswordHashError::Malformed;
        let (rounds, rest) = match text.strip_prefix("rounds=") {
            Some(rest) => {
                let (rounds, rest) = rest.split_once('$').ok_or(PasswordHashError::Malformed)?;
                let rounds = within("rounds", number(rounds)?, MAX_ROUNDS)?;
                if rounds < Params::ROUNDS_MIN {
                    return Err(malformed);
                }
                (Some(rounds), rest)
            }
            None => (None, text),
        };
        let (salt, digest) = rest.split_once('$').ok_or(PasswordHashError::Malformed)?;
        let in_alphabet = |text: &str| text.bytes().all(|byte| ALPHABET.contains(&byte));
        if salt.len() > MAX_SALT_LEN || digest.len() != TEXT_LEN || !in_alphabet(salt) || !in_alphabet(digest)
        {
            return Err(malformed);
        }
        Ok(Self { rounds, salt: salt.to_owned(), digest: Zeroizing::new(digest.to_owned()) })
    }

    pub(super) fn decoy(&self, provider: &CryptoProvider) -> Result<Self, CannotHash> {
        let mut decoy = self.clone();
        decoy.digest = encode(&random::<64>(provider)?);
        Ok(decoy)
    }

    pub(super) fn verify(&self, password: &[u8]) -> Result<bool, CannotHash> {
        let params =
            Params::new(self.rounds.unwrap_or(Params::RECOMMENDED_ROUNDS)).map_err(|_| CannotHash)?;
        let digest = Zeroizing::new(sha512_crypt(password, self.salt.as_bytes(), params));
        Ok(encode(&digest).as_bytes().ct_eq(self.digest.as_bytes()).into())
    }

    pub(super) fn to_text(&self) -> Zeroizing<String> {
        let rounds = self.rounds.map(|rounds| format!("rounds={rounds}$")).unwrap_or_default();
        Zeroizing::new(format!("{PREFIX}{rounds}{}${}", self.salt, *self.digest))
    }
}

/// The bytes in the order of the specification, six bits a character, the lowest first.
fn encode(digest: &[u8; 64]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(TEXT_LEN));
    let byte = |at: usize| u32::from(digest.get(at).copied().unwrap_or_default());
    let mut put = |word: u32, characters: u32| {
        for position in 0..characters {
            let index = usize::try_from(word >> (6 * position) & 0x3f).unwrap_or_default();
            text.push(char::from(ALPHABET.get(index).copied().unwrap_or_default()));
        }
    };
    for first in 0..21 {
        let (a, b, c) = (byte(first), byte(first + 21), byte(first + 42));
        let (high, middle, low) = match first % 3 {
            0 => (a, b, c),
            1 => (b, c, a),
            _ => (c, a, b),
        };
        put(high << 16 | middle << 8 | low, 4);
    }
    put(byte(63), 2);
    text
}

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TEXT_LEN: usize = 86;
const MAX_SALT_LEN: usize = 16;
