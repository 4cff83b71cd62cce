use std::collections::VecDeque;
use std::time::Instant;

use super::ReconnectFailure;
use crate::error::PeerMisbehaved;
use crate::protocol::messages::{ChannelData, ChannelExtendedData};
use crate::protocol::wide;

/// The messages of a session that the peer has not acknowledged, in order, copied before they were sealed.
///
/// Those in front have been sent on the present connection and have a packet number there; those behind have not been
/// sent on it yet. All is one ring of bytes and one of entries.
#[derive(Default)]
pub(crate) struct ReplayLog {
    bytes: VecDeque<u8>,
    entries: VecDeque<Entry>,
    /// How many of the entries, and of the bytes, have been sent on the present connection.
    sent: usize,
    sent_bytes: usize,
    /// How many messages of the session came before the first entry.
    first: u64,
    window: usize,
    /// What channel data holds of it, in bytes, entries included.
    data: usize,
    /// The largest size ever, for those who check the bound.
    most: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    len: u32,
    /// Its packet number on the present connection, if it has been sent there.
    number: u64,
    sent_at: Option<Instant>,
    is_data: bool,
}

impl Entry {
    fn len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }

    fn data_size(&self) -> usize {
        if self.is_data { self.len().saturating_add(ENTRY_COST) } else { 0 }
    }
}

/// What an entry counts for beside its bytes, so that many small messages are bounded too.
pub(crate) const ENTRY_COST: usize = 64;
/// Control messages may take this much beyond the window, in bytes. It also covers the one packet of data by which a
/// writer may pass it.
const BEYOND_WINDOW: usize = 1024 * 1024 + 64 * 1024;
/// Control messages of this size together, in bytes, are worth asking for an acknowledgement.
const ASK_FROM: usize = 64 * 1024;
/// A ring of this size, in bytes, may be mostly empty.
const KEPT_CAPACITY: usize = 64 * 1024;

impl ReplayLog {
    pub(crate) fn new(window: usize) -> Self {
        Self { window, ..Self::default() }
    }

    /// What it holds now, in bytes, entries included.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len().saturating_add(self.entries.len().saturating_mul(ENTRY_COST))
    }

    /// The largest that it ever was.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// How many more bytes data writers may put in. Control messages do not keep them waiting: the answers to two
    /// questions that cross would never leave a small window free.
    pub(crate) fn room(&self) -> usize {
        self.window.saturating_sub(self.data)
    }

    /// Half of the window waits for an acknowledgement, or much else: it is time to ask for one.
    pub(crate) fn wants_acknowledgement(&self) -> bool {
        self.data > self.window / 2 || self.size().saturating_sub(self.data) > ASK_FROM
    }

    /// The number of the next message, counted over the whole session.
    pub(crate) fn next_count(&self) -> u64 {
        self.first.saturating_add(wide(self.entries.len()))
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.entries.len()
    }

    /// Keeps a message. With a packet number it is being sent now, which only those may be behind which nothing waits.
    pub(crate) fn push(
        &mut self,
        payload: &[u8],
        sent: Option<(u64, Option<Instant>)>,
    ) -> Result<(), ReconnectFailure> {
        debug_assert!(sent.is_none() || !self.has_unsent());
        let size = self.size().saturating_add(payload.len()).saturating_add(ENTRY_COST);
        if size > self.window.saturating_add(BEYOND_WINDOW) {
            return Err(ReconnectFailure::Overflow);
        }
        self.most = self.most.max(size);
        let len = u32::try_from(payload.len()).map_err(|_| ReconnectFailure::Overflow)?;
        self.reserve(payload.len());
        self.bytes.extend(payload);
        let (number, sent_at) = sent.unwrap_or((u64::MAX, None));
        let is_data = matches!(payload.first(), Some(&(ChannelData::NUMBER | ChannelExtendedData::NUMBER)));
        let entry = Entry { len, number, sent_at, is_data };
        self.data = self.data.saturating_add(entry.data_size());
        self.entries.push_back(entry);
        if sent.is_some() {
            self.sent = self.entries.len();
            self.sent_bytes = self.bytes.len();
        }
        Ok(())
    }

    /// Grows by half at most, so that the ring stays near what it holds.
    fn reserve(&mut self, len: usize) {
        let need = self.bytes.len().saturating_add(len);
        if need > self.bytes.capacity() {
            let target = need.max(self.bytes.capacity().saturating_mul(3) / 2).max(4096);
            self.bytes.reserve_exact(target.saturating_sub(self.bytes.len()));
        }
    }

    /// The first message that has not been sent on this connection, in at most two pieces.
    pub(crate) fn next_unsent(&self) -> Option<(&[u8], &[u8])> {
        let len = self.entries.get(self.sent)?.len();
        let end = self.sent_bytes.saturating_add(len);
        let (front, back) = self.bytes.as_slices();
        let piece = |slice: &'_ [u8], from: usize, to: usize| -> std::ops::Range<usize> {
            from.min(slice.len())..to.min(slice.len())
        };
        let first = front.get(piece(front, self.sent_bytes, end)).unwrap_or_default();
        let (from, to) = (self.sent_bytes.saturating_sub(front.len()), end.saturating_sub(front.len()));
        let second = back.get(piece(back, from, to)).unwrap_or_default();
        Some((first, second))
    }

    /// It has been sent as this packet.
    pub(crate) fn mark_sent(&mut self, number: u64, now: Option<Instant>) {
        if let Some(entry) = self.entries.get_mut(self.sent) {
            entry.number = number;
            entry.sent_at = now;
            self.sent_bytes = self.sent_bytes.saturating_add(entry.len());
            self.sent = self.sent.saturating_add(1);
        }
    }

    /// The peer has received every packet up to this one; when that very one was sent, if it was a message.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Option<Instant> {
        let mut sent_at = None;
        let (mut done, mut bytes) = (0_usize, 0_usize);
        for entry in self.entries.iter().take(self.sent).take_while(|entry| entry.number <= number) {
            if entry.number == number {
                sent_at = entry.sent_at;
            }
            done = done.saturating_add(1);
            bytes = bytes.saturating_add(entry.len());
        }
        self.drop_front(done, bytes);
        sent_at
    }

    fn drop_front(&mut self, done: usize, bytes: usize) {
        let gone = self.entries.drain(..done.min(self.entries.len()));
        let data = gone.map(|entry| entry.data_size()).sum();
        self.data = self.data.saturating_sub(data);
        self.bytes.drain(..bytes.min(self.bytes.len()));
        self.sent = self.sent.saturating_sub(done);
        self.sent_bytes = self.sent_bytes.saturating_sub(bytes);
        self.first = self.first.saturating_add(wide(done));
    }

    /// The peer has received this many messages of the session, so it says: that has to be one of those that we have.
    pub(crate) fn check_count(&self, count: u64) -> Result<(), CountError> {
        if count < self.first {
            return Err(CountError::Dropped);
        }
        if count > self.next_count() {
            Err(CountError::Misbehaved(PeerMisbehaved::AckOfTheFuture))
        } else {
            Ok(())
        }
    }

    /// Drops what the peer has, by its count.
    pub(crate) fn trim_to_count(&mut self, count: u64) {
        let done = usize::try_from(count.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let bytes = self.entries.iter().take(done).map(Entry::len).sum();
        self.drop_front(done.min(self.entries.len()), bytes);
    }

    /// There is another connection, on which nothing has been sent.
    pub(crate) fn unsend(&mut self) {
        self.sent = 0;
        self.sent_bytes = 0;
        for entry in &mut self.entries {
            (entry.number, entry.sent_at) = (u64::MAX, None);
        }
    }

    /// The memory that it has, in bytes.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Gives memory back that a busy moment needed.
    pub(crate) fn shrink(&mut self) {
        let (bytes, entries) = (self.bytes.len(), self.entries.len());
        if self.bytes.capacity() > KEPT_CAPACITY.max(bytes.saturating_mul(2)) {
            self.bytes.shrink_to(bytes);
        }
        if self.entries.capacity() > (KEPT_CAPACITY / ENTRY_COST).max(entries.saturating_mul(2)) {
            self.entries.shrink_to(entries);
        }
    }
}

/// Why a peer's count cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CountError {
    /// It has gone back behind what it had acknowledged.
    Dropped,
    /// It claims what was never sent.
    Misbehaved(PeerMisbehaved),
}

/// Payloads stay out of logs.
impl std::fmt::Debug for ReplayLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayLog")
            .field("entries", &self.entries.len())
            .field("bytes", &self.bytes.len())
            .field("sent", &self.sent)
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(log: &mut ReplayLog, mut number: u64) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some((first, second)) = log.next_unsent() {
            all.push([first, second].concat());
            log.mark_sent(number, None);
            number += 1;
        }
        all
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_in_order() {
        let mut log = ReplayLog::new(1000);
        for number in 3..8_u8 {
            log.push(&[number; 5], Some((u64::from(number), None))).unwrap();
        }
        log.acknowledge(4);
        log.acknowledge(2);
        log.push(b"offline", None).unwrap();
        assert_eq!(log.check_count(1), Err(CountError::Dropped));
        assert_eq!(log.check_count(7), Err(CountError::Misbehaved(PeerMisbehaved::AckOfTheFuture)));
        log.check_count(6).unwrap();
        log.trim_to_count(3);
        log.unsend();
        assert_eq!(drain(&mut log, 0), [vec![6; 5], vec![7; 5], b"offline".to_vec()]);
        assert!(!log.has_unsent());
        log.acknowledge(2);
        assert_eq!((log.size(), log.next_count()), (0, 6));
    }

    #[test]
    fn the_window_counts_bytes_and_entries_and_control_has_an_end() {
        let mut log = ReplayLog::new(200);
        assert!(!log.wants_acknowledgement());
        log.push(&[ChannelData::NUMBER; 36], Some((0, None))).unwrap();
        assert_eq!((log.room(), log.size()), (100, 100));
        log.push(&[0; 36], Some((1, None))).unwrap();
        assert_eq!((log.room(), log.size()), (100, 200));
        assert!(!log.wants_acknowledgement());
        log.push(&[ChannelData::NUMBER; 200], Some((2, None))).unwrap();
        assert_eq!(log.room(), 0);
        assert!(log.wants_acknowledgement());
        let mut number = 2;
        let full = loop {
            number += 1;
            if let Err(full) = log.push(&[0; 30_000], Some((number, None))) {
                break full;
            }
        };
        assert_eq!(full, ReconnectFailure::Overflow);
        assert!(log.size() <= 200 + BEYOND_WINDOW && log.bytes.capacity() <= 2 * log.size());
        log.acknowledge(number);
        log.shrink();
        assert_eq!((log.size(), log.bytes.capacity()), (0, 0));
    }

    #[test]
    fn what_is_left_of_a_burst_is_all_that_is_kept() {
        const MESSAGES: u64 = 10_000;
        let mut log = ReplayLog::new(8 << 20);
        for number in 0..MESSAGES {
            log.push(&[ChannelData::NUMBER; 700], Some((number, None))).unwrap();
        }
        assert!(log.bytes.capacity() >= 7_000_000 && log.entries.capacity() >= 10_000);
        log.acknowledge(MESSAGES - 3);
        log.shrink();
        assert!(log.capacity() <= 2 * KEPT_CAPACITY, "{} bytes for {}", log.capacity(), log.size());
        log.unsend();
        assert_eq!(drain(&mut log, 0), vec![vec![ChannelData::NUMBER; 700]; 2]);
    }

    /// What an entry is counted for covers what the table takes for it, however it has grown.
    #[test]
    fn an_entry_costs_no_more_than_it_counts_for() {
        const { assert!(2 * size_of::<Entry>() <= ENTRY_COST) };
    }

    /// What the recorded TS peers sent, acknowledged and lost leaves in the log what they then sent again.
    #[test]
    fn recorded_ts_resends_are_ours() {
        use super::super::{handshake, is_counted, is_reconnect, token};
        let text = include_str!("../../../../tests/vectors/reconnect-session-ts.json");
        let recording: serde_json::Value = serde_json::from_str(text).unwrap();
        let connections: Vec<Vec<&serde_json::Value>> = recording["connections"]
            .as_array()
            .unwrap()
            .iter()
            .map(|connection| connection["packets"].as_array().unwrap().iter().collect())
            .collect();
        let payload = |packet: &serde_json::Value| {
            let mut payload = token::tests::bytes(&packet["payload_hex"]);
            if !packet["trailer_last_received_seq"].is_null() {
                payload.truncate(payload.len() - 12);
            }
            payload
        };
        let is_packet = |packet: &&&serde_json::Value| packet["seq"].as_i64().unwrap() >= 0;
        let mut resent = 0;
        for pair in connections.windows(2) {
            for (ours, theirs) in [("c2s", "s2c"), ("s2c", "c2s")] {
                let mut log = ReplayLog::new(1 << 20);
                for packet in pair[0].iter().filter(is_packet) {
                    let message = payload(packet);
                    if packet["dir"] == ours && is_counted(&message) {
                        log.push(&message, Some((packet["seq"].as_u64().unwrap(), None))).unwrap();
                    } else if packet["dir"] == theirs && packet["delivered"] == true {
                        packet["trailer_last_received_seq"].as_u64().map(|number| log.acknowledge(number));
                    }
                }
                let next: Vec<Vec<u8>> =
                    pair[1].iter().filter(is_packet).map(|packet| payload(packet)).collect();
                let request = next.iter().find(|message| is_reconnect(message)).unwrap();
                let request = handshake::ReconnectRequest::decode(request).unwrap().unwrap();
                let answer = next.iter().find(|message| message[0] == 81).unwrap();
                let answer = handshake::Answer::decode(answer).unwrap();
                let position = if ours == "c2s" { answer.position } else { request.position };
                log.acknowledge(position.sequence);
                log.unsend();
                let mut again = pair[1]
                    .iter()
                    .filter(is_packet)
                    .filter(|packet| packet["dir"] == ours)
                    .map(|packet| payload(packet))
                    .filter(|message| is_counted(message) && message[0] != 81);
                for message in drain(&mut log, 0) {
                    assert_eq!(Some(message), again.next());
                    resent += 1;
                }
            }
        }
        assert!(resent >= 3, "only {resent} messages were lost in the recording");
    }

    proptest! {
        /// A plain list of messages tells what the ring must hold, whatever is done to it.
        #[test]
        fn it_is_a_list_of_messages(ops in proptest::collection::vec((0_u8..5, any::<u16>()), 0..200)) {
            let mut log = ReplayLog::new(1 << 20);
            let mut list: VecDeque<(Option<u64>, Vec<u8>)> = VecDeque::new();
            let (mut number, mut dropped) = (0, 0);
            for (op, value) in ops {
                match op {
                    0 | 1 => {
                        let payload = vec![value as u8; usize::from(value % 700)];
                        let now = (op == 0 && !log.has_unsent()).then_some(number);
                        log.push(&payload, now.map(|number| (number, None))).unwrap();
                        list.push_back((now, payload));
                        number += 1;
                    }
                    2 => {
                        let up_to = number.saturating_sub(u64::from(value % 8));
                        log.acknowledge(up_to);
                        while list.front().is_some_and(|(sent, _)| sent.is_some_and(|sent| sent <= up_to)) {
                            list.pop_front();
                            dropped += 1;
                        }
                    }
                    3 => {
                        if let Some((first, second)) = log.next_unsent() {
                            let next = list.iter_mut().find(|(sent, _)| sent.is_none()).unwrap();
                            prop_assert_eq!(&[first, second].concat(), &next.1);
                            next.0 = Some(number);
                            log.mark_sent(number, None);
                            number += 1;
                        }
                    }
                    _ => {
                        let keep = list.len().saturating_sub(usize::from(value % 4));
                        while list.len() > keep {
                            list.pop_front();
                            dropped += 1;
                        }
                        log.trim_to_count(dropped);
                        log.unsend();
                        list.iter_mut().for_each(|(sent, _)| *sent = None);
                        number = 0;
                    }
                }
                let size: usize = list.iter().map(|(_, payload)| payload.len() + ENTRY_COST).sum();
                prop_assert_eq!(log.size(), size);
                prop_assert_eq!(log.next_count(), dropped + list.len() as u64);
            }
            log.unsend();
            prop_assert_eq!(drain(&mut log, 0), list.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>());
        }
    }
}
