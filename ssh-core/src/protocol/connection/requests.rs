//! Requests and their answers, which match by order in each direction (RFC 4254 §4 and §5.4).

use crate::protocol::wide;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// Requests that we sent and that want an answer, the oldest first. `A` is the answer.
#[derive(Debug)]
pub(crate) struct SentRequests<A> {
    slots: VecDeque<Sent<A>>,
    /// The number of the slot in front.
    first: u64,
}

#[derive(Debug)]
struct Sent<A> {
    state: SentState<A>,
}

#[derive(Debug)]
enum SentState<A> {
    Waiting(Option<Waker>),
    Answered(A),
    /// The one who asked has gone; the answer still comes and takes this place.
    Abandoned,
    /// Answered, and the answer is taken.
    Done,
}

impl<A> Default for SentRequests<A> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), first: 0 }
    }
}

impl<A> SentRequests<A> {
    /// A slot for a request that goes out now; its number.
    pub(crate) fn push(&mut self) -> u64 {
        let number = self.first.saturating_add(wide(self.slots.len()));
        self.slots.push_back(Sent { state: SentState::Waiting(None) });
        number
    }

    /// Whether somebody waits for the answer that comes next.
    pub(crate) fn is_awaited(&self) -> bool {
        let mut open = self.slots.iter().map(|slot| &slot.state);
        let next = open.find(|state| matches!(state, SentState::Waiting(_) | SentState::Abandoned));
        matches!(next, Some(SentState::Waiting(_)))
    }

    /// Whether somebody waits for an answer that has not come.
    pub(crate) fn are_awaited(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot.state, SentState::Waiting(_)))
    }

    /// An answer came. `false` if nothing waits for one.
    pub(crate) fn answer(&mut self, answer: A, wakes: &mut Vec<Waker>) -> bool {
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| matches!(slot.state, SentState::Waiting(_) | SentState::Abandoned));
        let Some(slot) = slot else { return false };
        match std::mem::replace(&mut slot.state, SentState::Done) {
            SentState::Waiting(waker) => {
                slot.state = SentState::Answered(answer);
                wakes.extend(waker);
            }
            SentState::Abandoned | SentState::Answered(_) | SentState::Done => self.trim(),
        }
        true
    }

    pub(crate) fn poll(&mut self, number: u64, cx: &mut Context<'_>) -> Poll<Option<A>> {
        let Some(slot) = self.slot(number) else { return Poll::Ready(None) };
        match std::mem::replace(&mut slot.state, SentState::Done) {
            SentState::Waiting(_) => {
                slot.state = SentState::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            SentState::Answered(answer) => {
                self.trim();
                Poll::Ready(Some(answer))
            }
            SentState::Abandoned | SentState::Done => Poll::Ready(None),
        }
    }

    /// The one who asked is no longer interested.
    pub(crate) fn abandon(&mut self, number: u64) {
        if let Some(slot) = self.slot(number) {
            slot.state = match slot.state {
                SentState::Waiting(_) | SentState::Abandoned => SentState::Abandoned,
                SentState::Answered(_) | SentState::Done => SentState::Done,
            };
            self.trim();
        }
    }

    /// No answer will come any more.
    pub(crate) fn fail_all(&mut self, wakes: &mut Vec<Waker>) {
        for slot in &mut self.slots {
            if let SentState::Waiting(waker) = &mut slot.state {
                wakes.extend(waker.take());
                slot.state = SentState::Done;
            }
        }
    }

    fn slot(&mut self, number: u64) -> Option<&mut Sent<A>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index)
    }

    fn trim(&mut self) {
        while self.slots.front().is_some_and(|slot| matches!(slot.state, SentState::Done)) {
            self.slots.pop_front();
            self.first = self.first.saturating_add(1);
        }
    }
}

/// Requests of the peer that want an answer, the oldest first. Answers may be found in any order and leave in this one.
#[derive(Debug)]
pub(crate) struct ReceivedRequests<A> {
    slots: VecDeque<Option<A>>,
    first: u64,
}

impl<A> Default for ReceivedRequests<A> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), first: 0 }
    }
}

impl<A> ReceivedRequests<A> {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn push(&mut self) -> u64 {
        let number = self.first.saturating_add(wide(self.slots.len()));
        self.slots.push_back(None);
        number
    }

    /// Notes the answer to one request, and yields those that may leave now, with their numbers.
    pub(crate) fn answer(&mut self, number: u64, answer: A) -> impl Iterator<Item = (u64, A)> + '_ {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) {
            slot.get_or_insert(answer);
        }
        std::iter::from_fn(|| {
            if !self.slots.front().is_some_and(Option::is_some) {
                return None;
            }
            let number = self.first;
            self.first = number.saturating_add(1);
            self.slots.pop_front().flatten().map(|answer| (number, answer))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_the_order_of_their_requests() {
        let mut received = ReceivedRequests::default();
        let [a, b, c] = [received.push(), received.push(), received.push()];
        assert_eq!(received.answer(b, 'b').collect::<Vec<_>>(), []);
        assert_eq!(received.answer(a, 'a').collect::<Vec<_>>(), [(a, 'a'), (b, 'b')]);
        assert_eq!(received.answer(a, 'x').collect::<Vec<_>>(), []);
        assert_eq!(received.answer(c, 'c').collect::<Vec<_>>(), [(c, 'c')]);
        assert_eq!(received.len(), 0);
    }

    #[test]
    fn an_abandoned_request_still_takes_its_answer() {
        let mut sent = SentRequests::default();
        let mut wakes = Vec::new();
        let (a, b) = (sent.push(), sent.push());
        sent.abandon(a);
        assert!(sent.answer(false, &mut wakes));
        assert!(sent.answer(true, &mut wakes));
        assert!(!sent.answer(true, &mut wakes));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(sent.poll(b, &mut cx), Poll::Ready(Some(true)));
        assert_eq!(sent.poll(a, &mut cx), Poll::Ready(None));
        assert!(sent.slots.is_empty());
    }
}
