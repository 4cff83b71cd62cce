//! One end, driven as the driver does it.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use ssh_core::Error;
use ssh_core::protocol::{
    AuthAnswer, AuthReply, ClientAuthRequest, ConnectionEvent, Engine, Event, Inbound, Input, LinkEvent,
};

use super::start_of_time;
use crate::link::Link;

/// One end: an engine, its receiving half, and what its link has not taken yet.
#[derive(Debug)]
pub struct Side {
    /// The engine.
    pub engine: Engine,
    /// The engine's receiving half.
    pub inbound: Inbound,
    pub(super) waiting: Vec<u8>,
    /// Channels and requests for the application.
    pub incoming: Vec<ConnectionEvent>,
    /// Whether the login is over.
    pub authenticated: bool,
    /// The largest output that ever waited, in bytes.
    pub most_waiting: usize,
    /// How often the stream was lost, and found again.
    pub losses: (u32, u32),
    pub(super) asked_to_resume: bool,
}

impl Side {
    pub(super) fn new((engine, inbound): (Engine, Inbound)) -> Self {
        Self {
            engine,
            inbound,
            waiting: Vec::new(),
            incoming: Vec::new(),
            authenticated: false,
            most_waiting: 0,
            losses: (0, 0),
            asked_to_resume: false,
        }
    }

    /// The stream of `attempt` is ours now.
    pub(super) fn take_stream(&mut self, attempt: Self, now: Instant) {
        self.inbound = attempt.inbound;
        self.waiting = attempt.waiting;
        if self.engine.detached().is_none()
            && let Err(error) = self.dispatch(now)
        {
            self.engine.lose(error, now);
        }
        self.settle();
    }

    /// Gives the link what it takes. Like a driver, it takes new output only when the old one has gone.
    pub(super) fn send(&mut self, link: &mut Link, now: Instant) -> bool {
        if self.waiting.is_empty() && self.engine.has_output() && link.room() > 0 {
            self.engine.take_output(&mut self.waiting, now);
            self.most_waiting = self.most_waiting.max(self.waiting.len());
            self.settle();
        }
        let sent = link.send(&self.waiting, now);
        self.waiting.drain(..sent);
        sent > 0
    }

    /// As the driver's read loop does it.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) -> bool {
        if bytes.is_empty() || self.engine.ended().is_some() || self.engine.detached().is_some() {
            return false;
        }
        self.inbound.buffer().extend_from_slice(bytes);
        if self.engine.keeps_time() {
            self.engine.set_now(now);
        }
        if let Err(error) = self.dispatch(now) {
            self.engine.lose(error, now);
        }
        self.settle();
        true
    }

    pub(super) fn dispatch(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(next) = self.engine.take_opener() {
            self.inbound.install(next);
        }
        loop {
            while let Some(input) = self.inbound.poll()? {
                match input {
                    Input::Ident(version) => self.engine.handle_ident(version),
                    Input::Packet(packet) => self.engine.handle_packet(packet, now)?,
                }
            }
            match self.engine.take_opener() {
                Some(next) => self.inbound.install(next),
                None => return Ok(()),
            }
            while let Some(event) = self.engine.poll_event() {
                self.on_event(event, now)?;
            }
        }
    }

    /// Acts on events and wakes whoever is to be woken.
    pub fn settle(&mut self) {
        let now = start_of_time();
        while let Some(event) = self.engine.poll_event() {
            if let Err(error) = self.on_event(event, now) {
                self.engine.end(error);
            }
        }
        while let Some(event) = self.engine.poll_link_event() {
            match event {
                LinkEvent::Lost(_) => self.losses.0 += 1,
                LinkEvent::Resumed => self.losses.1 += 1,
                LinkEvent::Enabled | LinkEvent::KeepAliveSucceeded(_) | LinkEvent::KeepAliveFailed(_) => {}
                other => panic!("unexpected event {other:?}"),
            }
        }
        let cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(event)) = self.engine.poll_incoming(&cx) {
            self.incoming.push(event);
        }
        let mut batch: [Option<Waker>; 8] = Default::default();
        loop {
            let more = self.engine.take_wakes(&mut batch);
            batch.iter_mut().filter_map(Option::take).for_each(Waker::wake);
            if !more {
                return;
            }
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) -> Result<(), Error> {
        match event {
            Event::HostKey(_) => self.engine.accept_host_key(),
            Event::AuthReady => self.engine.auth_request(&ClientAuthRequest::Password("secret")),
            Event::AuthReply(AuthReply::Success) => Ok(()),
            Event::AuthAttempt(_) => self.engine.auth_answer(AuthAnswer::Accept, now),
            Event::Authenticated => {
                self.authenticated = true;
                Ok(())
            }
            Event::ResumeRequested(_) => {
                self.asked_to_resume = true;
                Ok(())
            }
            other => panic!("unexpected event {other:?}"),
        }
    }

    /// The next channel that the peer offers, its number here.
    pub fn offered(&mut self) -> Option<u32> {
        let at = self.incoming.iter().position(|event| matches!(event, ConnectionEvent::Offered(_)))?;
        match self.incoming.remove(at) {
            ConnectionEvent::Offered(offer) => Some(offer.id),
            ConnectionEvent::Request(_) => None,
        }
    }
}
