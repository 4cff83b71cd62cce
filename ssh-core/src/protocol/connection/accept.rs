//! Several tasks that each wait for channels of one type.

use std::task::{Context, Poll, Waker};

use super::{Connection, ConnectionEvent, OfferedChannel};

/// Those who wait for offers. Each has a place of its own, which it keeps until it is dropped, so however many wait,
/// one offer wakes only those that it is for.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    waiters: Vec<Waiter>,
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    kind: Option<Box<str>>,
    waker: Waker,
}

/// One waiter's place, to be given back with
/// [`Engine::stop_accepting`](crate::protocol::Engine::stop_accepting).
#[derive(Debug, Default)]
pub struct AcceptTicket(Option<u64>);

impl Accepting {
    /// Wakes those that an offer of this type is for. All of them: the first may have been dropped meanwhile.
    pub(super) fn wake(&self, kind: &str, wakes: &mut Vec<Waker>) {
        let fits = |waiter: &&Waiter| waiter.kind.as_deref().is_none_or(|wanted| wanted == kind);
        wakes.extend(self.waiters.iter().filter(fits).map(|waiter| waiter.waker.clone()));
    }

    pub(super) fn wake_all(&mut self, wakes: &mut Vec<Waker>) {
        wakes.extend(self.waiters.drain(..).map(|waiter| waiter.waker));
    }

    fn wait(&mut self, kind: Option<&str>, ticket: &mut AcceptTicket, waker: &Waker) {
        let known =
            ticket.0.and_then(|ticket| self.waiters.iter_mut().find(|waiter| waiter.ticket == ticket));
        if let Some(waiter) = known {
            waiter.waker.clone_from(waker);
            return;
        }
        ticket.0 = Some(self.next);
        self.waiters.push(Waiter { ticket: self.next, kind: kind.map(Into::into), waker: waker.clone() });
        self.next = self.next.wrapping_add(1);
    }
}

impl Connection {
    /// The oldest channel of this type (or of any) that the peer wants and nobody has taken; `None` when none will come
    /// any more.
    pub(crate) fn poll_offered(
        &mut self,
        kind: Option<&str>,
        ticket: &mut AcceptTicket,
        cx: &Context<'_>,
    ) -> Poll<Option<OfferedChannel>> {
        let fits = |event: &ConnectionEvent| match event {
            ConnectionEvent::Offered(offer) => kind.is_none_or(|kind| offer.kind == kind),
            _ => false,
        };
        let found = self.events.iter().position(fits).and_then(|at| self.events.remove(at));
        if let Some(ConnectionEvent::Offered(offer)) = found {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(offer.fields.len());
            return Poll::Ready(Some(offer));
        }
        if self.failed.is_some() {
            return Poll::Ready(None);
        }
        self.accepting.wait(kind, ticket, cx.waker());
        Poll::Pending
    }

    pub(crate) fn stop_accepting(&mut self, ticket: &AcceptTicket) {
        if let Some(ticket) = ticket.0 {
            self.accepting.waiters.retain(|waiter| waiter.ticket != ticket);
        }
    }
}
