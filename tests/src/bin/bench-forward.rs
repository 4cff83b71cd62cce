//! End-to-end benchmark of a local port forward: Adit against OpenSSH, pair by pair.
//!
//! `cargo build --release -p cli && cargo run --release -p tests --bin bench-forward`
//!
//! Each pair starts a fresh `adit serve` + `adit forward` and a fresh `sshd` + `ssh -N -L`, then takes every
//! measurement on one right after the other, so that noise from the machine hits both alike; the order is
//! swapped from pair to pair. Read the ratio column: it is computed inside the pairs.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    tests::bench::forward()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("bench-forward: reads CPU time and memory from /proc, so it runs on Linux only");
    std::process::ExitCode::FAILURE
}
