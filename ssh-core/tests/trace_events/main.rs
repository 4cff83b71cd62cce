//! The numbered trace events: each is provoked, and its number and level asserted. Those that no peer can provoke are tested
//! beside the engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod forwards;
mod login;
mod reconnect;
mod sessions;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use std::cell::RefCell;
use std::sync::Once;
use std::time::Duration;

use ssh_core::trace::TraceEvent as E;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

thread_local! {
    /// What this thread has logged: a test's own, since its runtime has no other.
    static TOLD: RefCell<Vec<(u64, Level)>> = const { RefCell::new(Vec::new()) };
}

struct Numbers;

impl Subscriber for Numbers {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Number(*event.metadata().level()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Number(Level);

impl Visit for Number {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "event" {
            TOLD.with_borrow_mut(|told| told.push((value, self.0)));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Numbers).unwrap());
}

/// Whether it has been told, and each time at its level.
fn has(event: E) -> bool {
    let id = u64::from(event.id());
    let levels = TOLD.with_borrow(|told| {
        told.iter().filter(|(number, _)| *number == id).map(|(_, level)| *level).collect::<Vec<_>>()
    });
    assert!(levels.iter().all(|level| *level == event.level()), "{event:?} is {levels:?}");
    !levels.is_empty()
}

/// The place of its first telling.
fn place(event: E) -> usize {
    let id = u64::from(event.id());
    TOLD.with_borrow(|told| told.iter().position(|(number, _)| *number == id).unwrap())
}

/// Waits until it has been told.
async fn told(event: E) {
    let wait = async {
        while !has(event) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic_for(event));
}

#[expect(clippy::panic, reason = "a test fails by panicking")]
fn panic_for(event: E) {
    panic!("{event:?} was not told, only {:?}", TOLD.with_borrow(Clone::clone));
}
