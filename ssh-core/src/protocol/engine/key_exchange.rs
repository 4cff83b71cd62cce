//! The engine's face of the key exchange, and of what EXT_INFO says behind it (RFC 8308).

use std::time::Instant;

use bytes::Bytes;

use super::reconnect::Stream;
use super::{Auth, Engine, Transport};
use crate::error::{Error, PeerMisbehaved};
use crate::progress::Progress;
use crate::protocol::Role;
use crate::protocol::auth::Authenticated;
use crate::protocol::messages::{ExtInfo, KexInit};
use crate::protocol::reconnect::{Extensions, put_ext_info};
use crate::protocol::transport::kex::KexProgress;
use crate::protocol::wire::{Reader, WireError};
use crate::trace::tell;

/// EXT_INFO may not hold more entries. OpenSSH sends three.
const MAX_EXT_INFO: u32 = 64;

/// The peer's KEXINIT, which came too soon.
#[derive(Debug)]
pub(super) struct PutOff {
    kexinit: Vec<u8>,
    until: Instant,
}

impl Engine {
    pub(super) fn on_kex(
        &mut self,
        payload: &[u8],
        is_first_packet: bool,
        now: Instant,
    ) -> Result<(), Error> {
        let Transport { kex, rekey, out, put_off, .. } = &mut self.transport;
        // It may not say more of an exchange before we have answered.
        if put_off.is_some() {
            return Err(PeerMisbehaved::RekeyStorm.into());
        }
        if payload.first() == Some(&KexInit::NUMBER) && kex.is_idle() && !kex.is_first() {
            let authenticated = matches!(self.auth, Auth::Done(_));
            if let Some(until) = rekey.on_peer_start(out.since_key(), authenticated, now)? {
                tracing::debug!("a key exchange has to wait");
                *put_off = Some(PutOff { kexinit: payload.to_vec(), until });
                return Ok(());
            }
        }
        self.exchange(payload, is_first_packet, now)
    }

    /// When an exchange that the peer has started is answered, if that has to wait.
    pub(super) fn exchange_put_off_until(&self) -> Option<Instant> {
        self.transport.put_off.as_ref().map(|put_off| put_off.until)
    }

    /// Answers an exchange that has waited long enough.
    pub(super) fn resume_exchange(&mut self, now: Instant) -> Result<(), Error> {
        match self.transport.put_off.take_if(|put_off| put_off.until <= now) {
            Some(put_off) => self.exchange(&put_off.kexinit, false, now),
            None => Ok(()),
        }
    }

    fn exchange(&mut self, payload: &[u8], is_first_packet: bool, now: Instant) -> Result<(), Error> {
        let progress = self.transport.kex.handle(payload, is_first_packet, &mut self.transport.out, now)?;
        match progress {
            KexProgress::Going => {}
            KexProgress::HostKey(key) => self.on_host_key(key)?,
            KexProgress::Insecure => {
                self.on_first_keys();
                self.on_authenticated(Authenticated::without_security());
            }
            KexProgress::Done { next, first } => {
                self.next_opener = Some(next);
                self.transport.rekey.on_keys(now);
                let ext_info =
                    (first && self.transport.kex.peer_takes_ext_info()).then(|| self.our_ext_info());
                self.transport.out.end_exchange(ext_info)?;
                if first {
                    tell!(SessionEncrypted, "keys exchanged");
                    self.on_first_keys();
                    tell!(SessionAuthenticating, "authenticating");
                    self.claim()?;
                }
                self.connection.on_room(&self.transport.out);
            }
        }
        Ok(())
    }

    fn on_first_keys(&mut self) {
        self.stages.pass(Progress::CompletedKeyExchange);
        self.stages.pass(Progress::OpenedSshSessionConnection);
    }

    /// RFC 8308 §2.3. Both sides say which signatures they take; Dev Tunnels peers expect it of both.
    fn our_ext_info(&self) -> Vec<u8> {
        let algorithms = match self.role {
            Role::Client => self.common.algorithms.host_keys(),
            Role::Server => self.common.algorithms.user_keys(),
        };
        let names = algorithms.iter().map(|algorithm| algorithm.name());
        put_ext_info(names, self.common.extensions.names(), self.our_extensions())
    }

    pub(super) fn on_ext_info(&mut self, payload: &[u8]) -> Result<(), Error> {
        let message = ExtInfo::decode(payload)?;
        if message.count > MAX_EXT_INFO {
            return Err(WireError::TooLong.into());
        }
        let mut reader = Reader::new(message.entries.0);
        let mut extensions = Extensions::default();
        let mut listed = Vec::new();
        for _ in 0..message.count {
            let (name, value) = (reader.string()?, reader.string()?);
            extensions.note(name);
            if let Ok(name) = std::str::from_utf8(name) {
                listed.push((name.into(), Bytes::copy_from_slice(value)));
            }
            // An empty list says nothing: Go peers send one.
            if name == b"server-sig-algs" && !value.is_empty() {
                let names = crate::protocol::wire::NameList::parse(value)?;
                self.server_sig_algs = Some(names.iter().map(str::to_owned).collect());
            }
        }
        reader.finish()?;
        self.peer_extensions = Some(listed);
        self.on_extensions(extensions)
    }

    /// Only once it is known whose connection it is: the answer to a client that comes back must not wait for new keys.
    pub(super) fn may_rekey(&self) -> bool {
        let Transport { kex, put_off, .. } = &self.transport;
        let is_between = !kex.is_first() && kex.is_idle() && put_off.is_none();
        matches!(self.auth, Auth::Done(_)) && is_between && kex.negotiated().is_some()
    }

    pub(super) fn maybe_rekey(&mut self, now: Instant) -> Result<(), Error> {
        let may_rekey = self.may_rekey();
        let Transport { out, kex, rekey, .. } = &mut self.transport;
        if matches!(self.stream, Stream::Attached) && may_rekey && rekey.is_due(out.since_key(), now) {
            tracing::debug!("starting a key exchange");
            kex.start(out, now)?;
        }
        Ok(())
    }

    /// Starts a key exchange now.
    ///
    /// # Errors
    /// The session is over.
    pub fn rekey(&mut self, now: Instant) -> Result<(), Error> {
        self.alive()?;
        let Transport { out, kex, put_off, .. } = &mut self.transport;
        // One of the peer's that waits brings new keys as well.
        let comes_anyway = kex.is_first() || put_off.is_some();
        if comes_anyway || kex.negotiated().is_none() || matches!(self.stream, Stream::Detached(_)) {
            return Ok(());
        }
        kex.start(out, now)
    }
}
