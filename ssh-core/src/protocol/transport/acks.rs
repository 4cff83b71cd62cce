use std::time::{Duration, Instant};

use crate::error::{Error, PeerMisbehaved};
use crate::protocol::reconnect::trailer::{Trailer, TrailerForm};

/// What the sending half of a connection knows about packet numbers, its own and the peer's.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// Packets sent so far: the number of the next one.
    pub(crate) sent: u64,
    /// The last packet of ours that the peer has received, as far as it said.
    acknowledged: Option<u64>,
    trailer: OurTrailer,
    /// The last packet received, when, and how much came since we last said so.
    last_received: u64,
    received_at: Option<Instant>,
    unsaid: usize,
    /// An acknowledgement was asked for by a packet with at least this number.
    asked: Option<u64>,
    /// The time, as far as somebody keeps it.
    pub(crate) now: Option<Instant>,
}

/// Whether what we send ends in a trailer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum OurTrailer {
    #[default]
    Off,
    /// It is to be announced as soon as the key exchange is over.
    Wanted(TrailerForm),
    On(TrailerForm),
}

/// After this many bytes from the peer, [`PACKET_COST`] for each packet included, without a packet of ours, it is told
/// how far we are.
const SAY_AFTER: usize = 512 * 1024;
/// What a packet weighs beside its bytes.
const PACKET_COST: usize = 64;

impl Acks {
    /// Whether there is anything to announce.
    pub(crate) fn want_trailer(&mut self, form: TrailerForm) -> bool {
        let off = self.trailer == OurTrailer::Off;
        if off {
            self.trailer = OurTrailer::Wanted(form);
        }
        off
    }

    pub(crate) fn take_wanted_trailer(&mut self) -> Option<TrailerForm> {
        match self.trailer {
            OurTrailer::Wanted(form) => Some(form),
            OurTrailer::Off | OurTrailer::On(_) => None,
        }
    }

    pub(crate) fn set_trailer(&mut self, form: TrailerForm) {
        self.trailer = OurTrailer::On(form);
    }

    /// Whether what we send tells the time, so that somebody has to keep it.
    pub(crate) fn keeps_time(&self) -> bool {
        self.trailer == OurTrailer::On(TrailerForm::SequenceAndTime)
    }

    pub(crate) fn put_trailer(&mut self, out: &mut Vec<u8>) {
        let OurTrailer::On(form) = self.trailer else { return };
        let since = self.received_at.zip(self.now).map(|(at, now)| now.saturating_duration_since(at));
        let micros = since.map_or(0, |since| u32::try_from(since.as_micros()).unwrap_or(u32::MAX));
        form.put(self.last_received, micros, out);
        self.unsaid = 0;
    }

    /// A packet came.
    pub(crate) fn on_received(&mut self, number: u64, wire_len: usize, now: Instant) {
        self.last_received = number;
        self.received_at = Some(now);
        self.now = Some(now);
        self.unsaid = self.unsaid.saturating_add(wire_len).saturating_add(PACKET_COST);
    }

    /// So much came without a word of ours that the peer may be waiting for one.
    pub(crate) fn owes_word(&self) -> bool {
        self.unsaid >= SAY_AFTER && matches!(self.trailer, OurTrailer::On(_))
    }

    /// The peer says how far it is: what that tells of ours, if it is news.
    pub(crate) fn on_trailer(&mut self, trailer: &Trailer) -> Result<Option<u64>, Error> {
        let number = trailer.last_received;
        if number >= self.sent {
            return Err(PeerMisbehaved::AckOfTheFuture.into());
        }
        // An older one has been overtaken.
        if self.acknowledged.is_some_and(|acknowledged| number <= acknowledged) {
            return Ok(None);
        }
        self.acknowledged = Some(number);
        if self.asked.is_some_and(|asked| number >= asked) {
            self.asked = None;
        }
        Ok(Some(number))
    }

    /// Whether an acknowledgement may be asked for; that it is asked for now is noted.
    pub(crate) fn ask(&mut self) -> bool {
        let idle = self.asked.is_none();
        if idle {
            self.asked = Some(self.sent);
        }
        idle
    }

    /// The last packet that was received, and whether there was one.
    pub(crate) fn last_received(&self) -> u64 {
        self.last_received
    }

    /// Whether the peer has received the packet with this number.
    pub(crate) fn is_acknowledged(&self, number: u64) -> bool {
        self.acknowledged.is_some_and(|acknowledged| acknowledged >= number)
    }

    /// Checks what the peer says to have received of a connection that has ended.
    pub(crate) fn check_last_word(&self, number: u64) -> Result<(), LastWord> {
        if number >= self.sent {
            return Err(LastWord::Future);
        }
        if self.acknowledged.is_some_and(|acknowledged| number < acknowledged) {
            return Err(LastWord::TakenBack);
        }
        Ok(())
    }
}

/// What is wrong with the peer's last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastWord {
    /// It names a packet that was never sent.
    Future,
    /// It had said more before.
    TakenBack,
}

/// How long the peer held what it acknowledges.
pub(crate) fn held_for(trailer: &Trailer) -> Option<Duration> {
    trailer.micros.map(|micros| Duration::from_micros(micros.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer(last_received: u64) -> Trailer {
        Trailer { last_received, micros: None }
    }

    #[test]
    fn acknowledgements_only_go_forward_and_never_ahead() {
        let mut acks = Acks { sent: 5, ..Acks::default() };
        assert_eq!(acks.on_trailer(&trailer(3)).unwrap(), Some(3));
        assert_eq!(acks.on_trailer(&trailer(2)).unwrap(), None);
        for future in [5, u64::MAX] {
            assert!(matches!(
                acks.on_trailer(&trailer(future)),
                Err(Error::PeerMisbehaved(PeerMisbehaved::AckOfTheFuture))
            ));
        }
        assert_eq!(acks.check_last_word(2), Err(LastWord::TakenBack));
        assert_eq!(acks.check_last_word(5), Err(LastWord::Future));
        assert_eq!(acks.check_last_word(4), Ok(()));
    }

    #[test]
    fn one_question_waits_for_one_answer() {
        let mut acks = Acks { sent: 7, ..Acks::default() };
        assert!(acks.ask());
        assert!(!acks.ask());
        acks.sent = 9;
        acks.on_trailer(&trailer(6)).unwrap();
        assert!(!acks.ask());
        acks.on_trailer(&trailer(7)).unwrap();
        assert!(acks.ask());
    }
}
