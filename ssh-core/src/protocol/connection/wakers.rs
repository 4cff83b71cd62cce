//! Tasks that wait for something, one or several.

use std::task::{Context, Waker};

/// Adds one of several waiters. Those whose future was dropped are not told apart, so a long list is woken and starts anew.
pub(super) fn add_waker(list: &mut Vec<Waker>, wakes: &mut Vec<Waker>, cx: &Context<'_>) {
    if list.iter().any(|waker| waker.will_wake(cx.waker())) {
        return;
    }
    if list.len() >= MAX_WAITERS {
        wakes.append(list);
    }
    list.push(cx.waker().clone());
}

const MAX_WAITERS: usize = 32;

pub(super) fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}
