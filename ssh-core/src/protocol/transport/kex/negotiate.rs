use std::sync::Arc;

use crate::config::{Algorithms, CHACHA};
use crate::crypto::{Cipher, CipherKind, CryptoProvider, KeyExchange, Mac, SignatureAlgorithm};
use crate::error::{Error, NoCommonAlgorithm, PeerIncompatible};
use crate::protocol::Role;
use crate::protocol::messages::KexInit;
use crate::protocol::wire::NameList;

/// The algorithms of one key exchange (RFC 4253 §7.1).
#[derive(Debug, Clone, Copy)]
pub struct Negotiated {
    /// The key exchange method.
    pub kex: &'static dyn KeyExchange,
    /// The host key's signature algorithm.
    pub host_key: SignatureAlgorithm,
    /// Whether the host key comes in a certificate.
    pub host_certificate: bool,
    /// Client to server.
    pub client_to_server: Direction,
    /// Server to client.
    pub server_to_client: Direction,
}

/// A host key algorithm as it is offered: how the key signs, and whether it comes in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostKeyAlgorithm {
    pub(crate) signature: SignatureAlgorithm,
    pub(crate) certificate: bool,
}

impl HostKeyAlgorithm {
    /// Its name in KEXINIT.
    pub(crate) const fn name(self) -> &'static str {
        if self.certificate { self.signature.certificate_name() } else { self.signature.name() }
    }
}

/// The algorithms of one direction.
#[derive(Debug, Clone, Copy)]
pub struct Direction {
    /// The cipher.
    pub cipher: &'static dyn Cipher,
    /// The MAC. It is negotiated even where an AEAD cipher does not use it, as Dev Tunnels peers do; it may be
    /// missing only there.
    pub mac: Option<&'static dyn Mac>,
}

impl Direction {
    /// The MAC that protects packets; `None` if the cipher does that itself.
    #[must_use]
    pub fn mac_in_use(&self) -> Option<&'static dyn Mac> {
        self.mac.filter(|_| self.cipher.kind() != CipherKind::Aead)
    }
}

/// Markers in KEXINIT's first list that are not algorithms: RFC 8308 §2.1 and OpenSSH PROTOCOL §1.9.
pub(crate) const EXT_INFO_CLIENT: &str = "ext-info-c";
pub(crate) const EXT_INFO_SERVER: &str = "ext-info-s";
pub(crate) const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
pub(crate) const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";

/// Both offers, ours as names in order of preference.
pub(crate) struct Offers<'a> {
    pub(crate) role: Role,
    pub(crate) ours: &'a Algorithms,
    pub(crate) our_ciphers: &'a [&'static str],
    pub(crate) our_host_keys: &'a [HostKeyAlgorithm],
    pub(crate) theirs: &'a KexInit<'a>,
    pub(crate) provider: &'static CryptoProvider,
    pub(crate) strict: bool,
    pub(crate) plain_cbc: bool,
}

impl Offers<'_> {
    pub(crate) fn negotiate(&self) -> Result<Negotiated, Error> {
        let kex = self.choose("key exchange method", self.ours.kex().iter().copied(), &self.theirs.kex)?;
        let host_keys = self.our_host_keys.iter().map(|algorithm| algorithm.name());
        let host_key = self.choose("host key algorithm", host_keys, &self.theirs.host_key)?;
        let host_key = self.our_host_keys.iter().find(|algorithm| algorithm.name() == host_key);
        let missing = Error::Bug("an algorithm was offered that the provider lacks");
        Ok(Negotiated {
            kex: self.provider.key_exchange(kex).ok_or_else(|| missing.clone())?,
            host_key: host_key.ok_or_else(|| missing.clone())?.signature,
            host_certificate: host_key.ok_or(missing)?.certificate,
            client_to_server: self.direction(
                [
                    "cipher from client to server",
                    "MAC from client to server",
                    "compression from client to server",
                ],
                [&self.theirs.cipher_c2s, &self.theirs.mac_c2s, &self.theirs.compression_c2s],
            )?,
            server_to_client: self.direction(
                [
                    "cipher from server to client",
                    "MAC from server to client",
                    "compression from server to client",
                ],
                [&self.theirs.cipher_s2c, &self.theirs.mac_s2c, &self.theirs.compression_s2c],
            )?,
        })
    }

    fn direction(&self, slots: [&'static str; 3], theirs: [&NameList<'_>; 3]) -> Result<Direction, Error> {
        let [cipher_slot, mac_slot, compression_slot] = slots;
        let [ciphers, macs, compressions] = theirs;
        let missing = || Error::Bug("an algorithm was offered that the provider lacks");
        let name = self.choose(cipher_slot, self.our_ciphers.iter().copied(), ciphers)?;
        let cipher = self.provider.cipher(name).ok_or_else(missing)?;
        let mac = match self.choose(mac_slot, self.ours.macs().iter().copied(), macs) {
            Ok(name) => Some(self.provider.mac(name).ok_or_else(missing)?),
            Err(_) if cipher.kind() == CipherKind::Aead => None,
            Err(error) => return Err(error),
        };
        self.choose(compression_slot, std::iter::once("none"), compressions)?;
        // CVE-2023-48795: without strict key exchange, these let an attacker cut packets out unnoticed.
        let etm = mac.is_some_and(|mac| mac.is_etm());
        if !self.strict && (name == CHACHA || (cipher.kind() == CipherKind::Cbc && etm)) {
            return Err(PeerIncompatible::NeedsStrictKex(cipher.name()).into());
        }
        if cipher.kind() == CipherKind::Cbc && !etm && !self.plain_cbc {
            return Err(PeerIncompatible::CbcWithPlainMac(cipher.name()).into());
        }
        Ok(Direction { cipher, mac })
    }

    /// The first of the client's names that the server has.
    fn choose(
        &self,
        slot: &'static str,
        ours: impl Iterator<Item = &'static str> + Clone,
        theirs: &NameList<'_>,
    ) -> Result<&'static str, Error> {
        let found = match self.role {
            Role::Client => ours.clone().find(|name| theirs.contains(name)),
            Role::Server => theirs.iter().find_map(|name| ours.clone().find(|our| *our == name)),
        };
        found.ok_or_else(|| {
            let (ours, theirs) = (ours.collect::<Vec<_>>().join(","), theirs.as_str().to_owned());
            let (client, server) = match self.role {
                Role::Client => (ours, theirs),
                Role::Server => (theirs, ours),
            };
            PeerIncompatible::NoCommonAlgorithm(Arc::new(NoCommonAlgorithm { slot, client, server })).into()
        })
    }
}
