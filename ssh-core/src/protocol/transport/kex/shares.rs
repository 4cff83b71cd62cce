//! The second half: the shares make the secret, and the server proves that it holds its host key (RFC 4253 §8).

use super::exchange_hash::{Transcript, join_signature, put_share, read_share, split_signature};
use super::negotiate::HostKeyAlgorithm;
use super::{Exchange, Kex, KexProgress};
use crate::crypto::{ActiveKeyExchange, CryptoError, SignatureAlgorithm};
use crate::error::{Error, PeerMisbehaved};
use crate::keys::{Certificate, HostKey, PublicKey};
use crate::protocol::Role;
use crate::protocol::messages::{KexInitShare, KexReply};
use crate::protocol::transport::ident::{OUR_IDENT, PeerVersion};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::Write as _;

impl Kex {
    /// Server: the client's share makes the secret, and our reply proves the host key.
    pub(super) fn on_share(
        &mut self,
        exchange: &Exchange,
        payload: &[u8],
        out: &mut Outbound,
    ) -> Result<KexProgress, Error> {
        let kex = exchange.chosen.kex;
        let message = KexInitShare::decode(payload)?;
        let client_share = read_share(kex, message.share)?;
        let (server_share, secret) = kex.respond(client_share, self.common.provider.random)?;
        let (algorithm, certificate) = (exchange.chosen.host_key, exchange.chosen.host_certificate);
        let key = self.host_key_for(HostKeyAlgorithm { signature: algorithm, certificate });
        let key = key.ok_or(Error::Bug("a host key algorithm was offered without a key"))?;
        let blob = match key.certificate().filter(|_| certificate) {
            Some(certificate) => certificate.to_blob(),
            None => key.public_key().to_blob(),
        };
        let hash = self.transcript(exchange, &blob, client_share, &server_share).hash(
            self.common.provider,
            kex,
            &secret,
        );
        let signature = join_signature(algorithm.name(), &key.sign(algorithm, &hash)?);
        out.seal(|buffer| {
            buffer.put_u8(KexReply::NUMBER);
            buffer.put_string(&blob);
            put_share(buffer, kex, &server_share);
            buffer.put_string(&signature);
        })?;
        self.switch_keys(exchange, &secret, hash, out)?;
        Ok(KexProgress::Going)
    }

    /// Client: the server's reply.
    pub(super) fn on_reply(
        &mut self,
        exchange: &Exchange,
        active: Box<dyn ActiveKeyExchange>,
        payload: &[u8],
        out: &mut Outbound,
    ) -> Result<KexProgress, Error> {
        let kex = exchange.chosen.kex;
        let message = KexReply::decode(payload)?;
        let shown = if exchange.chosen.host_certificate {
            Certificate::from_blob(message.host_key)
                .map(HostKey::certified)
                .map_err(PeerMisbehaved::BadHostCertificate)?
        } else {
            PublicKey::from_blob(message.host_key).map(HostKey::plain).map_err(PeerMisbehaved::BadHostKey)?
        };
        let server_share = read_share(kex, message.share)?;
        let client_share = active.share().to_vec();
        let secret = active.finish(server_share)?;
        let hash = self.transcript(exchange, message.host_key, &client_share, server_share).hash(
            self.common.provider,
            kex,
            &secret,
        );
        let algorithm = exchange.chosen.host_key;
        let (name, blob) = split_signature(message.signature)?;
        if name != algorithm.name().as_bytes() {
            return Err(PeerMisbehaved::BadHostSignature.into());
        }
        let verify = |algorithm| self.common.provider.signatures.verify(algorithm, &shown.key, &hash, blob);
        let verified = verify(algorithm).or_else(|error| match self.hash_of_the_key(algorithm) {
            Some(other) => verify(other),
            None => Err(error),
        });
        verified.map_err(|error| match error {
            CryptoError::Backend => Error::Crypto(error),
            _ => PeerMisbehaved::BadHostSignature.into(),
        })?;
        let known = self.host_key.as_ref();
        // It is the key that was accepted; a certificate may have been renewed.
        if known.is_some_and(|known| *known != shown.key) {
            return Err(PeerMisbehaved::HostKeyChanged.into());
        }
        let is_new = known.is_none();
        self.host_key = Some(shown.key.clone());
        self.switch_keys(exchange, &secret, hash, out)?;
        Ok(if is_new { KexProgress::HostKey(shown) } else { KexProgress::Going })
    }

    /// Dev Tunnels' Go servers sign with the hash that goes with the size of their RSA key, SHA-256 below 4096 bits, and
    /// say that it was the one agreed on. The other one, if it might have been agreed on as well.
    fn hash_of_the_key(&self, agreed: SignatureAlgorithm) -> Option<SignatureAlgorithm> {
        let other = match agreed {
            SignatureAlgorithm::RsaSha256 => SignatureAlgorithm::RsaSha512,
            SignatureAlgorithm::RsaSha512 => SignatureAlgorithm::RsaSha256,
            _ => return None,
        };
        let is_ours = self.common.algorithms.host_keys().contains(&other);
        (is_ours && self.peer_is_dev_tunnels_go()).then_some(other)
    }

    fn transcript<'a>(
        &'a self,
        exchange: &'a Exchange,
        host_key: &'a [u8],
        client_share: &'a [u8],
        server_share: &'a [u8],
    ) -> Transcript<'a> {
        let theirs = self.peer_version.as_ref().map_or("", PeerVersion::as_str);
        let (client_version, server_version, client_kexinit, server_kexinit) = match self.role {
            Role::Client => (OUR_IDENT, theirs, &exchange.ours, &exchange.theirs),
            Role::Server => (theirs, OUR_IDENT, &exchange.theirs, &exchange.ours),
        };
        Transcript {
            client_version,
            server_version,
            client_kexinit,
            server_kexinit,
            host_key,
            client_share,
            server_share,
        }
    }
}
