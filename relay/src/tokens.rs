//! Access tokens: JWTs that the relay signs, and verifies without asking anybody.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::scopes::Scopes;
use crate::store::{Record, Store, StoreError, StoredKey};

/// Signs and verifies.
pub struct Tokens {
    /// Oldest first; the newest signs.
    keys: RwLock<Vec<Key>>,
}

struct Key {
    stored: StoredKey,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// What a token gives to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The principal.
    pub subject: String,
    /// The id of the one tunnel that it is about; every tunnel of the subject if there is none.
    pub tunnel: Option<String>,
    /// Which of the tunnels that have had that id one after the other; see [`Record::generation`].
    pub generation: Option<String>,
    /// What it allows there.
    pub scopes: Scopes,
}

impl Grant {
    /// For one tunnel.
    #[must_use]
    pub fn at(record: &Record, subject: impl Into<String>, scopes: Scopes) -> Self {
        let (tunnel, generation) = (Some(record.tunnel.tunnel_id.clone()), record.generation.clone());
        Self { subject: subject.into(), tunnel, generation, scopes }
    }

    /// For every tunnel of the subject.
    #[must_use]
    pub fn everywhere(subject: impl Into<String>, scopes: Scopes) -> Self {
        Self { subject: subject.into(), tunnel: None, generation: None, scopes }
    }

    /// Whether this is the one tunnel that it is about, and no later one of that id.
    pub(crate) fn names(&self, record: &Record) -> bool {
        self.tunnel.as_ref() == Some(&record.tunnel.tunnel_id) && self.generation == record.generation
    }

    /// Whether it is about one tunnel, and not this one.
    pub(crate) fn is_elsewhere(&self, record: &Record) -> bool {
        self.tunnel.is_some() && !self.names(record)
    }
}

/// A token that has just been made.
#[derive(Clone)]
pub struct Issued {
    /// Three parts of base64url.
    pub token: Zeroizing<String>,
    /// Names it for [`Store::revoke`].
    pub id: String,
    /// In seconds since 1970.
    pub expires: u64,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("id", &self.id).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// A token that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// What it gives.
    pub grant: Grant,
    /// Names it for [`Store::revoke`].
    pub id: String,
    /// In seconds since 1970.
    pub expires: u64,
    /// The token that it was made with; it ends when that is revoked.
    pub parent: Option<String>,
    /// It gives nothing by itself: it says to its tunnel's rules who comes, and they give at most what it names.
    pub by_rules: bool,
}

impl Verified {
    /// Whether it, or the token that it was made with, was revoked.
    #[must_use]
    pub fn is_revoked(&self, store: &Store) -> bool {
        store.is_revoked(&self.id) || self.parent.as_ref().is_some_and(|parent| store.is_revoked(parent))
    }

    /// Whether the rules of a tunnel that name its subject are about its holder. A token for one tunnel is handed on, as
    /// in a link, so it does not stand for the principal that it came from.
    pub(crate) fn speaks_at(&self, record: &Record) -> bool {
        self.grant.tunnel.is_none() || (self.by_rules && self.grant.names(record))
    }
}

/// A token that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is no JWT of ours.
    #[error("the token cannot be read; give it as it was printed")]
    Malformed,
    /// This relay has not signed it, or no longer holds the key.
    #[error("the token was not signed by this relay; ask for one of this relay")]
    BadSignature,
    /// Its time is over.
    #[error("the token has expired; ask for a new one")]
    Expired,
    /// Somebody took it back.
    #[error("the token has been revoked; ask for a new one")]
    Revoked,
}

/// A token is taken for so long after its end: whoever asks for it to be renewed in time may have a clock that is slow, and the
/// relay's own may just have been set forward. It is about who comes; what goes on with a token ends in time.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// No token lives longer, so a key that signs no more can go after this.
pub const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);
/// A token may not be longer, in bytes. Ours have under 600.
pub const MAX_TOKEN_LEN: usize = 4096;
const ISSUER: &str = "adit-relay";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    iss: String,
    sub: String,
    jti: String,
    iat: u64,
    exp: u64,
    scp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_rules: bool,
}

impl Tokens {
    /// Reads the signing keys, and makes the first one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(store: &Store, now: u64) -> Result<Self, StoreError> {
        let keys = store.keys()?.into_iter().map(Key::new).collect::<Result<Vec<_>, _>>()?;
        let tokens = Self { keys: RwLock::new(keys) };
        if tokens.keys.read().is_empty() {
            tokens.rotate(store, now)?;
        }
        Ok(tokens)
    }

    /// Signs with a new key from now on. Tokens of older keys hold until they expire.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rotate(&self, store: &Store, now: u64) -> Result<(), StoreError> {
        let mut secret = Zeroizing::new([0; 32]);
        random(&mut *secret)?;
        let stored = StoredKey {
            id: random_id()?,
            created: now,
            secret: Zeroizing::new(URL_SAFE_NO_PAD.encode(*secret)),
        };
        let mut keys = self.keys.write();
        let mut all: Vec<StoredKey> = keys.iter().map(|key| key.stored.clone()).collect();
        all.push(stored);
        // A key is of use for as long as its last token, which is as old as the key after it.
        let successors: Vec<u64> = all.iter().skip(1).map(|key| key.created).collect();
        let mut ages = successors.into_iter();
        let kept = MAX_LIFETIME.saturating_add(LEEWAY).as_secs();
        all.retain(|_| ages.next().is_none_or(|next| next.saturating_add(kept) > now));
        store.set_keys(&all)?;
        *keys = all.into_iter().map(Key::new).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Makes a token; `lifetime` is cut at [`MAX_LIFETIME`].
    ///
    /// # Errors
    /// [`StoreError`] if there is no randomness.
    pub fn issue(&self, grant: &Grant, lifetime: Duration, now: u64) -> Result<Issued, StoreError> {
        self.sign(grant, lifetime, now, random_id()?, None, false)
    }

    /// Makes a token with another one, `from`: revoking that revokes this. With `by_rules` see [`Verified::by_rules`].
    ///
    /// # Errors
    /// As for [`issue`](Self::issue).
    pub fn derive(
        &self,
        from: &Verified,
        grant: &Grant,
        lifetime: Duration,
        now: u64,
        by_rules: bool,
    ) -> Result<Issued, StoreError> {
        // A family has two generations that are told apart; those after share the second one's id, and so end with it.
        let (id, parent) = match &from.parent {
            Some(parent) => (from.id.clone(), parent.clone()),
            None => (random_id()?, from.id.clone()),
        };
        self.sign(grant, lifetime, now, id, Some(parent), by_rules)
    }

    fn sign(
        &self,
        grant: &Grant,
        lifetime: Duration,
        now: u64,
        id: String,
        parent: Option<String>,
        by_rules: bool,
    ) -> Result<Issued, StoreError> {
        let keys = self.keys.read();
        let key = keys.last().ok_or(StoreError::Broken("signing_keys"))?;
        let expires = now.saturating_add(lifetime.min(MAX_LIFETIME).as_secs());
        let claims = Claims {
            iss: ISSUER.into(),
            sub: grant.subject.clone(),
            jti: id.clone(),
            iat: now,
            exp: expires,
            scp: grant.scopes.to_string(),
            cluster_id: grant.tunnel.is_some().then(|| crate::model::CLUSTER.into()),
            tunnel_id: grant.tunnel.clone(),
            generation: grant.generation.clone(),
            parent,
            by_rules,
        };
        let header = Header { kid: Some(key.stored.id.clone()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &key.encoding)
            .map_err(|_| StoreError::Broken("signing_keys"))?;
        Ok(Issued { token: Zeroizing::new(token), id, expires })
    }

    /// What a token gives at `now`, in seconds since 1970, with [`LEEWAY`]. When it was made says nothing: the clock that wrote
    /// that is the one that reads it, and may have been set back since.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, store: &Store, now: u64) -> Result<Verified, TokenError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        let keys = self.keys.read();
        let key = keys.iter().find(|key| header.kid.as_deref() == Some(&key.stored.id));
        let key = key.ok_or(TokenError::BadSignature)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.validate_aud = false;
        // The clock is the caller's.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm | ErrorKind::InvalidIssuer => {
                    TokenError::BadSignature
                }
                _ => TokenError::Malformed,
            })?
            .claims;
        if claims.exp.saturating_add(LEEWAY.as_secs()) <= now {
            return Err(TokenError::Expired);
        }
        let Claims { sub, jti, exp, scp, tunnel_id, generation, parent, by_rules, .. } = claims;
        let scopes = Scopes::known(scp.split(' '));
        let grant = Grant { subject: sub, tunnel: tunnel_id, generation, scopes };
        let verified = Verified { grant, id: jti, expires: exp, parent, by_rules };
        if verified.is_revoked(store) { Err(TokenError::Revoked) } else { Ok(verified) }
    }
}

impl Key {
    fn new(stored: StoredKey) -> Result<Self, StoreError> {
        let secret = URL_SAFE_NO_PAD.decode(stored.secret.as_bytes()).map(Zeroizing::new);
        let secret = secret.map_err(|_| StoreError::Broken("signing_keys"))?;
        let (encoding, decoding) = (EncodingKey::from_secret(&secret), DecodingKey::from_secret(&secret));
        Ok(Self { stored, encoding, decoding })
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("keys", &self.keys.read().len()).finish_non_exhaustive()
    }
}

fn random(bytes: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(bytes).map_err(|_| StoreError::NoRandomness)
}

/// 12 random bytes, base64url.
pub(crate) fn random_id() -> Result<String, StoreError> {
    let mut bytes = [0; 12];
    random(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scopes::Scope;

    const NOW: u64 = 1_800_000_000;
    const HOUR: Duration = Duration::from_secs(3600);

    fn grant() -> Grant {
        Grant {
            subject: "ada".into(),
            tunnel: Some("abc".into()),
            generation: Some("first".into()),
            scopes: Scope::Connect.into(),
        }
    }

    #[test]
    fn a_token_gives_what_it_was_made_for_until_it_ends() {
        let store = Store::in_memory().unwrap();
        let tokens = Tokens::load(&store, NOW).unwrap();
        let issued = tokens.issue(&grant(), HOUR, NOW).unwrap();
        let verified = tokens.verify(&issued.token, &store, NOW + 3659).unwrap();
        assert_eq!((verified.grant, verified.expires), (grant(), NOW + 3600));
        assert_eq!(tokens.verify(&issued.token, &store, NOW + 3660), Err(TokenError::Expired));
        // A clock that has been set back by a day judges by what it says now.
        assert!(tokens.verify(&issued.token, &store, NOW - 86_400).is_ok());
        store.revoke(&issued.id, issued.expires, NOW).unwrap();
        // A revocation outlives the leeway, whatever else is revoked meanwhile.
        store.revoke("other", NOW, issued.expires + LEEWAY.as_secs() - 1).unwrap();
        for now in [NOW, issued.expires, issued.expires + LEEWAY.as_secs() - 1] {
            assert_eq!(tokens.verify(&issued.token, &store, now), Err(TokenError::Revoked));
        }
        assert!(issued.token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)));
    }

    #[test]
    fn nobody_else_can_make_or_change_one() {
        let store = Store::in_memory().unwrap();
        let tokens = Tokens::load(&store, NOW).unwrap();
        let token = tokens.issue(&grant(), HOUR, NOW).unwrap().token;
        let parts: Vec<&str> = token.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(
            String::from_utf8(URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap().replace("HS256", "none"),
        );
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let manage = URL_SAFE_NO_PAD.encode(claims.replace("connect", "manage"));
        for (forged, expected) in [
            (format!("{}.{manage}.{}", parts[0], parts[2]), TokenError::BadSignature),
            (format!("{none}.{manage}."), TokenError::Malformed),
            (format!("{}.{}.", parts[0], parts[1]), TokenError::BadSignature),
            (String::new(), TokenError::Malformed),
            ("null".into(), TokenError::Malformed),
            ("a.b.c".into(), TokenError::Malformed),
            ("x".repeat(MAX_TOKEN_LEN + 1), TokenError::Malformed),
        ] {
            assert_eq!(tokens.verify(&forged, &store, NOW).unwrap_err(), expected, "{forged}");
        }
        let other = Store::in_memory().unwrap();
        let others = Tokens::load(&other, NOW).unwrap();
        assert_eq!(others.verify(&token, &other, NOW), Err(TokenError::BadSignature));
    }

    #[test]
    fn old_keys_verify_until_their_last_token_has_ended() {
        let store = Store::in_memory().unwrap();
        let tokens = Tokens::load(&store, NOW).unwrap();
        let old = tokens.issue(&grant(), MAX_LIFETIME * 2, NOW).unwrap();
        assert_eq!(old.expires, NOW + MAX_LIFETIME.as_secs(), "nothing lives longer");
        tokens.rotate(&store, NOW + 10).unwrap();
        assert_eq!(store.keys().unwrap().len(), 2);
        let again = Tokens::load(&store, NOW + 20).unwrap();
        assert!(again.verify(&old.token, &store, NOW + 20).is_ok());
        tokens.rotate(&store, NOW + 11 + (MAX_LIFETIME + LEEWAY).as_secs()).unwrap();
        assert_eq!(store.keys().unwrap().len(), 2, "the first key is gone");
    }
}
