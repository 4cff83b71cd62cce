//! What an exchange leaves: the keys of both directions (RFC 4253 §7.2), and those for tokens.

use zeroize::Zeroizing;

use super::negotiate::{Direction, Negotiated};
use super::{Exchange, Kex, State, Tokens};
use crate::crypto::{CipherKind, CryptoError, MacKey, Sealer, SharedSecret};
use crate::error::Error;
use crate::protocol::Role;
use crate::protocol::messages::NewKeys;
use crate::protocol::reconnect::token::{TokenKey, TokenKeys};
use crate::protocol::transport::key_derivation::KeyMaterial;
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::Write as _;

impl Kex {
    /// Sends NEWKEYS and seals with the new key from there on. The new opener waits for the peer's NEWKEYS.
    pub(super) fn switch_keys(
        &mut self,
        exchange: &Exchange,
        secret: &SharedSecret,
        hash: Zeroizing<Vec<u8>>,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        let session_id = self.session_id.get_or_insert_with(|| hash.clone());
        let material = KeyMaterial {
            provider: self.common.provider,
            hash: exchange.chosen.kex.hash(),
            secret,
            exchange_hash: &hash,
            session_id,
        };
        let (ours, theirs, our_letters, their_letters) = match self.role {
            Role::Client => {
                (exchange.chosen.client_to_server, exchange.chosen.server_to_client, b"ACE", b"BDF")
            }
            Role::Server => {
                (exchange.chosen.server_to_client, exchange.chosen.client_to_server, b"BDF", b"ACE")
            }
        };
        let sealer =
            with_keys(&material, &ours, *our_letters, |iv, key, mac| ours.cipher.sealer(key, iv, mac))?;
        let opener =
            with_keys(&material, &theirs, *their_letters, |iv, key, mac| theirs.cipher.opener(key, iv, mac))?;
        if matches!(self.tokens, Tokens::Wanted) {
            self.tokens = token_keys(&material, &exchange.chosen).map_or(Tokens::Unwanted, Tokens::Known);
        }
        out.seal(|buffer| buffer.put_u8(NewKeys::NUMBER))?;
        let sealer: Box<dyn Sealer> = sealer;
        out.set_sealer(sealer, self.strict);
        self.negotiated = Some(exchange.chosen);
        self.state = State::NewKeysSent { opener };
        Ok(())
    }
}

/// The MAC keys of both directions, derived even where an AEAD cipher has no use for them.
fn token_keys(material: &KeyMaterial<'_>, chosen: &Negotiated) -> Option<TokenKeys> {
    let key = |direction: &Direction, letter| {
        let mac = direction.mac?;
        Some(TokenKey { mac, key: material.derive(letter, mac.key_len()) })
    };
    Some(TokenKeys {
        exchange_hash: Zeroizing::new(material.exchange_hash.to_vec()),
        client: key(&chosen.client_to_server, b'E')?,
        server: key(&chosen.server_to_client, b'F')?,
    })
}

/// Derives IV, key and MAC key of a direction and makes something of them.
fn with_keys<T>(
    material: &KeyMaterial<'_>,
    direction: &Direction,
    [iv, key, mac_key]: [u8; 3],
    make: impl FnOnce(&[u8], &[u8], Option<MacKey<'_>>) -> Result<T, CryptoError>,
) -> Result<T, Error> {
    let iv = material.derive(iv, direction.cipher.iv_len());
    let key = material.derive(key, direction.cipher.key_len());
    let mac = direction.mac.filter(|_| direction.cipher.kind() != CipherKind::Aead);
    let mac_key = mac.map(|mac| material.derive(mac_key, mac.key_len()));
    let mac = mac.zip(mac_key.as_ref()).map(|(mac, key)| MacKey { mac, key });
    Ok(make(&iv, &key, mac)?)
}
