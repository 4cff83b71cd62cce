//! The engine's side: its application, and what it says.

use std::task::{Context, Poll, Waker};

use ssh_core::Error;
use ssh_core::error::ReconnectFailure;
use ssh_core::protocol::{ClientAuthRequest, ConnectionEvent, Event, Input, ServerMethod};

use super::{ClientTry, RawPeer};

/// The engine's side.
impl RawPeer {
    pub(super) fn dispatch(&mut self) -> Result<(), Error> {
        loop {
            while let Some(input) = self.inbound.poll()? {
                match input {
                    Input::Ident(version) => self.engine.handle_ident(version),
                    Input::Packet(packet) => self.engine.handle_packet(packet, self.now)?,
                }
            }
            match self.engine.take_opener() {
                Some(next) => self.inbound.install(next),
                None => return Ok(()),
            }
        }
    }

    /// Acts on the engine's events, as an application would, and reads what it has to say.
    ///
    /// # Panics
    /// If what it says cannot be opened.
    pub fn settle(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            let done = match event {
                Event::HostKey(shown) => {
                    self.host_key_seen = Some(shown);
                    self.engine.accept_host_key()
                }
                Event::AuthReady => match self.client_try.clone() {
                    ClientTry::Nothing => Ok(()),
                    ClientTry::Password => self.engine.auth_request(&ClientAuthRequest::Password("secret")),
                    ClientTry::Query(key) => {
                        let (key, algorithm) = (&key.to_blob(), "ssh-ed25519");
                        self.engine.auth_request(&ClientAuthRequest::PublicKeyQuery { key, algorithm })
                    }
                },
                Event::AuthReply(reply) => {
                    self.replies.push(reply);
                    Ok(())
                }
                Event::Banner(text) => {
                    self.banners.push(text);
                    Ok(())
                }
                Event::AuthAttempt(attempt) => {
                    let method = match attempt.method {
                        ServerMethod::None => "none",
                        ServerMethod::Password(_) => "password",
                        ServerMethod::PasswordChange { .. } => "change",
                        ServerMethod::KeyboardInteractive { .. } => "keyboard-interactive",
                        ServerMethod::HostBased { .. } => "hostbased",
                        ServerMethod::PublicKeyQuery(_) => "query",
                        ServerMethod::PublicKey(_) => "publickey",
                        _ => "other",
                    };
                    self.attempts.push(format!("{} {method}", attempt.user));
                    self.asked.push(attempt);
                    let answer = self.answers.pop_front().or_else(|| self.answer.clone());
                    answer.map_or(Ok(()), |answer| self.engine.auth_answer(answer, self.now))
                }
                Event::AuthBegin(user) => {
                    let methods = self.methods.map(|methods| methods(&user));
                    self.begun.push(user);
                    methods.map_or(Ok(()), |methods| self.engine.auth_begin(methods, self.now))
                }
                Event::AuthRefused(refused) => {
                    self.refused.push(refused.reason);
                    self.refused_queries += usize::from(refused.is_query);
                    Ok(())
                }
                Event::Authenticated => {
                    self.authenticated += 1;
                    Ok(())
                }
                Event::ResumeRequested(_) => {
                    self.resume_requests += 1;
                    match self.finds_sessions {
                        true => Ok(()),
                        false => self.engine.refuse_resume(ReconnectFailure::SessionNotFound, self.now),
                    }
                }
                other => panic!("unexpected event {other:?}"),
            };
            if let Err(error) = done {
                self.engine.end(error);
            }
        }
        while self.looks {
            let cx = Context::from_waker(Waker::noop());
            match self.engine.poll_incoming(&cx) {
                Poll::Ready(Some(ConnectionEvent::Offered(offer))) => self.offered.push(offer),
                Poll::Ready(Some(ConnectionEvent::Request(request))) => self.requests.push(request),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if self.reads {
            self.pull();
        }
    }

    /// Reads everything that the engine has to say.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn pull(&mut self) {
        let mut taken = Vec::new();
        while self.engine.has_output() {
            self.engine.take_output(&mut taken, self.now);
            self.output.extend_from_slice(&taken);
        }
        if self.ident.is_none() {
            let end = self.output.iter().position(|byte| *byte == b'\n').expect("a version line");
            let line: Vec<u8> = self.output.drain(..=end).collect();
            self.ident = Some(String::from_utf8(line).expect("ASCII").trim_end().to_owned());
        }
        while let Some(payload) = self.open_next() {
            let payload = self.without_trailer(payload);
            match payload.first() {
                Some(20) => self.kexinit_received.clone_from(&payload),
                Some(31) => self.on_reply(&payload),
                Some(21) => {
                    if let Some(opener) = self.exchange.as_mut().and_then(|exchange| exchange.opener.take()) {
                        self.opener = Some(opener);
                    }
                    if self.strict {
                        self.receive_sequence = 0;
                    }
                }
                _ => {}
            }
            self.received.push(payload);
        }
    }

    fn open_next(&mut self) -> Option<Vec<u8>> {
        let (head_len, tag_len) =
            self.opener.as_ref().map_or((4, 0), |opener| (opener.head_len(), opener.framing().tag_len));
        let head = self.output.get_mut(..head_len)?;
        let length = match &mut self.opener {
            Some(opener) => opener.open_length(self.receive_sequence, head),
            None => u32::from_be_bytes(head.try_into().expect("4 bytes")),
        };
        let total = 4 + usize::try_from(length).expect("a length") + tag_len;
        assert!(self.output.len() >= total, "the engine sent half a packet");
        let mut packet: Vec<u8> = self.output.drain(..total).collect();
        if let Some(opener) = &mut self.opener {
            opener.open(self.receive_sequence, &mut packet).expect("a sound packet");
        }
        self.receive_sequence = self.receive_sequence.wrapping_add(1);
        let end = total - tag_len - usize::from(packet[4]);
        Some(packet[5..end].to_vec())
    }
}
