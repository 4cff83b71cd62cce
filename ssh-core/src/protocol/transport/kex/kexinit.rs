//! The first half of an exchange: both sides list their algorithms, and the choice follows (RFC 4253 §7.1).

use std::sync::Arc;

use super::exchange_hash::put_share;
use super::negotiate::{
    EXT_INFO_CLIENT, EXT_INFO_SERVER, HostKeyAlgorithm, Negotiated, Offers, STRICT_CLIENT, STRICT_SERVER,
};
use super::{Exchange, Kex, KexProgress, State};
use crate::error::{Error, PeerIncompatible, PeerMisbehaved};
use crate::keys::SigningKey;
use crate::protocol::Role;
use crate::protocol::messages::{KexInit, KexInitShare};
use crate::protocol::transport::ident::PeerVersion;
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::{NameList, Write as _};
use crate::trace::tell;

impl Kex {
    /// Certificates before plain keys: who trusts an authority should not be asked about a key.
    fn our_host_keys(&self) -> Vec<HostKeyAlgorithm> {
        let algorithms = &self.common.algorithms;
        let with = |certificate: bool| {
            let named = algorithms
                .host_keys()
                .iter()
                .map(move |&signature| HostKeyAlgorithm { signature, certificate });
            named.filter(move |algorithm| match self.role {
                Role::Client => !certificate || algorithms.host_certificates(),
                Role::Server => self.host_key_for(*algorithm).is_some(),
            })
        };
        with(true).chain(with(false)).collect()
    }

    fn our_ciphers(&self) -> Vec<&'static str> {
        self.common.algorithms.ciphers_towards(self.role, self.peer_version.as_ref())
    }

    /// A server's key for an algorithm.
    pub(super) fn host_key_for(&self, algorithm: HostKeyAlgorithm) -> Option<&SigningKey> {
        self.host_keys.iter().find(|key| {
            key.signs_with(algorithm.signature) && (!algorithm.certificate || key.certificate().is_some())
        })
    }

    pub(super) fn encode_kexinit(&self) -> Result<Vec<u8>, Error> {
        let algorithms = &self.common.algorithms;
        let mut cookie = [0; 16];
        self.common.provider.random.fill(&mut cookie)?;
        let (kex, host_keys, ciphers, macs) = if algorithms.is_insecure() {
            ("none".to_owned(), "none".to_owned(), "none".to_owned(), "none".to_owned())
        } else {
            let markers = match self.role {
                Role::Client => [EXT_INFO_CLIENT, STRICT_CLIENT],
                Role::Server => [EXT_INFO_SERVER, STRICT_SERVER],
            };
            // The markers mean something in the first KEXINIT only.
            let markers = if self.is_first() { &markers[..] } else { &[] };
            let kex = algorithms.kex().iter().chain(markers).copied().collect::<Vec<_>>().join(",");
            let host_keys = self.our_host_keys().iter().map(|key| key.name()).collect::<Vec<_>>().join(",");
            (kex, host_keys, self.our_ciphers().join(","), algorithms.macs().join(","))
        };
        let (none, empty) = (NameList::parse(b"none")?, NameList::parse(b"")?);
        let (ciphers, macs) = (NameList::parse(ciphers.as_bytes())?, NameList::parse(macs.as_bytes())?);
        let mut payload = Vec::with_capacity(1024);
        KexInit {
            cookie,
            kex: NameList::parse(kex.as_bytes())?,
            host_key: NameList::parse(host_keys.as_bytes())?,
            cipher_c2s: ciphers,
            cipher_s2c: ciphers,
            mac_c2s: macs,
            mac_s2c: macs,
            compression_c2s: none,
            compression_s2c: none,
            language_c2s: empty,
            language_s2c: empty,
            first_kex_packet_follows: false,
            reserved: 0,
        }
        .encode(&mut payload);
        Ok(payload)
    }

    pub(super) fn on_kexinit(
        &mut self,
        ours: Vec<u8>,
        payload: &[u8],
        is_first_packet: bool,
        out: &mut Outbound,
    ) -> Result<KexProgress, Error> {
        let theirs = KexInit::decode(payload)?;
        if self.common.algorithms.is_insecure() {
            return self.on_insecure_kexinit(&theirs, out);
        }
        if !self.first_done {
            let (strict, ext_info) = match self.role {
                Role::Client => (STRICT_SERVER, EXT_INFO_SERVER),
                Role::Server => (STRICT_CLIENT, EXT_INFO_CLIENT),
            };
            self.strict = theirs.kex.contains(strict);
            self.peer_takes_ext_info = theirs.kex.contains(ext_info);
            // OpenSSH PROTOCOL §1.9: nothing may have come before KEXINIT, or an attacker may have put it there.
            if self.strict && !is_first_packet {
                return Err(PeerMisbehaved::StrictKex.into());
            }
        }
        let (our_host_keys, our_ciphers) = (self.our_host_keys(), self.our_ciphers());
        let offers = Offers {
            role: self.role,
            ours: &self.common.algorithms,
            our_ciphers: &our_ciphers,
            our_host_keys: &our_host_keys,
            theirs: &theirs,
            provider: self.common.provider,
            strict: self.strict,
            plain_cbc: self.common.algorithms.allow_plain_cbc(self.peer_version.as_ref()),
        };
        let chosen = offers.negotiate();
        tell!(AlgorithmNegotiation, ours = ?self.common.algorithms, ?theirs, ?chosen, "algorithms");
        let chosen = chosen?;
        self.ignore_guess = theirs.first_kex_packet_follows && !self.guess_is_right(&theirs, &chosen);

        let exchange = Exchange { ours, theirs: payload.to_vec(), chosen };
        self.state = match self.role {
            Role::Server => State::AwaitShare { exchange },
            Role::Client => {
                let active = chosen.kex.start(self.common.provider.random)?;
                out.seal(|buffer| {
                    buffer.put_u8(KexInitShare::NUMBER);
                    put_share(buffer, chosen.kex, active.share());
                })?;
                State::ShareSent { exchange, active }
            }
        };
        Ok(KexProgress::Going)
    }

    /// RFC 4253 §7: right if both sides prefer the same method and the same host key algorithm. Dev Tunnels peers
    /// judge by the chosen method alone.
    fn guess_is_right(&self, theirs: &KexInit<'_>, chosen: &Negotiated) -> bool {
        let their_kex = theirs.kex.iter().next();
        if self.peer_version.as_ref().is_some_and(PeerVersion::is_dev_tunnels) {
            return their_kex == Some(chosen.kex.name());
        }
        let our_host_key = self.our_host_keys().first().map(|algorithm| algorithm.name());
        their_kex == self.common.algorithms.kex().first().copied()
            && theirs.host_key.iter().next() == our_host_key
    }

    fn on_insecure_kexinit(
        &mut self,
        theirs: &KexInit<'_>,
        out: &mut Outbound,
    ) -> Result<KexProgress, Error> {
        // Where `none` is chosen nothing else is, so the other lists say nothing: hosts and clients of Dev Tunnels name
        // real algorithms in them.
        if !theirs.kex.contains("none") {
            let theirs = theirs.kex.as_str().to_owned();
            let (client, server) = match self.role {
                Role::Client => ("none".to_owned(), theirs),
                Role::Server => (theirs, "none".to_owned()),
            };
            let why = crate::error::NoCommonAlgorithm { slot: "key exchange method", client, server };
            return Err(PeerIncompatible::NoCommonAlgorithm(Arc::new(why)).into());
        }
        self.deadline = None;
        self.first_done = true;
        out.end_exchange(None)?;
        Ok(KexProgress::Insecure)
    }
}
