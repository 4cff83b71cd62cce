//! End-to-end benchmark of a tunnel through a relay, against `adit forward` and against no tunnel, run by run.
//!
//! `cargo build --release -p cli && cargo run --release -p tests --bin bench-relay`
//!
//! Each run starts a fresh `adit relay` + `adit host` + `adit connect` and a fresh `adit serve` + `adit forward`, then takes
//! every measurement on one right after the other, so that noise from the machine hits all alike; the order is swapped from
//! run to run. Read the ratio columns: they are computed inside the runs.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    tests::bench::relay()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("bench-relay: reads CPU time and memory from /proc, so it runs on Linux only");
    std::process::ExitCode::FAILURE
}
