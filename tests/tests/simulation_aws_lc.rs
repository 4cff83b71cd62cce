//! The simulation on the other backend, with fewer schedules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "simulation.rs"]
mod simulation;

#[test]
fn it_is_the_other_backend() {
    assert!(std::env::var("ADIT_TEST_BACKEND").is_ok() || tests::backend::is_second());
}
