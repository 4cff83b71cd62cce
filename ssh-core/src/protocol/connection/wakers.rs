//! Tasks that wait for something, one or several.

use std::task::{Context, Waker};

/// Who waits: its waker, and which of several it is that wait for the same thing.
///
/// A `Context` alone is for a thing that one task waits for at a time: the later of two takes the other's place.
#[derive(Debug, Clone, Copy)]
pub struct Waiter<'a> {
    waker: &'a Waker,
    number: u64,
}

impl<'a> Waiter<'a> {
    /// One of several, with a number of its own that is not 0. It has its place until it gives that back with
    /// [`Engine::stop_waiting`](crate::protocol::Engine::stop_waiting), so each of them takes one place however often it
    /// asks, and is woken when there is reason to and never to make room.
    #[must_use]
    pub fn numbered(cx: &'a Context<'_>, number: u64) -> Self {
        Self { waker: cx.waker(), number }
    }
}

impl<'a> From<&'a Context<'_>> for Waiter<'a> {
    fn from(cx: &'a Context<'_>) -> Self {
        Self { waker: cx.waker(), number: 0 }
    }
}

impl<'a> From<&'a mut Context<'_>> for Waiter<'a> {
    fn from(cx: &'a mut Context<'_>) -> Self {
        Self { waker: cx.waker(), number: 0 }
    }
}

/// All who wait for one thing. There are no more of them than the application has, and the list keeps its room, so that
/// waiting allocates nothing in the long run.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a channel has four lists, most of which nobody ever waits on")]
pub(crate) struct Waiters(Option<Box<Vec<(u64, Waker)>>>);

impl Waiters {
    pub(crate) fn wait(&mut self, waiter: Waiter<'_>) {
        // Mostly there is one.
        let list = self.0.get_or_insert_with(|| Box::new(Vec::with_capacity(1)));
        match list.iter_mut().find(|(number, _)| *number == waiter.number) {
            Some((_, waker)) => waker.clone_from(waiter.waker),
            None => list.push((waiter.number, waiter.waker.clone())),
        }
    }

    pub(crate) fn wake(&mut self, wakes: &mut Vec<Waker>) {
        if let Some(list) = &mut self.0 {
            wakes.extend(list.drain(..).map(|(_, waker)| waker));
        }
    }

    /// This one waits no more.
    pub(crate) fn leave(&mut self, number: u64) {
        if let Some(list) = &mut self.0 {
            list.retain(|(other, _)| *other != number);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.len())
    }
}

pub(super) fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waiter_has_one_place_until_it_leaves() {
        let (mut waiters, mut wakes) = (Waiters::default(), Vec::new());
        let cx = Context::from_waker(Waker::noop());
        for number in (0..100).chain(0..100) {
            waiters.wait(Waiter::numbered(&cx, number));
        }
        waiters.wait(Waiter::from(&cx));
        assert_eq!(waiters.len(), 100);
        (0..100).filter(|number| number % 3 == 0).for_each(|number| waiters.leave(number));
        waiters.wake(&mut wakes);
        assert_eq!((wakes.len(), waiters.len()), (66, 0));
    }
}
