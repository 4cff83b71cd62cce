//! Adit and Go's `golang.org/x/crypto/ssh`, in both roles. The other side is the program in `tests/peers/go`.

mod certificates;
mod channels;
mod end;
mod forwards;
mod logins;
mod relay;
mod requests;
mod tunnels;

use tests::outcome::{Failure, Outcome, ensure};

/// Whether something failed, and for the reason that has these words.
fn refused<T>(outcome: Outcome<T>, why: &str) -> Outcome {
    match outcome {
        Ok(_) => Err(Failure::new(format!("not refused, which was to be for {why:?}"))),
        Err(failure) => ensure(failure.to_string().contains(why), || format!("not {why:?}: {failure}")),
    }
}

/// As [`refused`] where it is to fail, and an error where it does otherwise.
fn succeeds_if<T>(expected: bool, outcome: Outcome<T>, why: &str) -> Outcome {
    if expected { outcome.map(drop) } else { refused(outcome, why) }
}
