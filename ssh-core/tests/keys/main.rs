//! Key files against `ssh-keygen` and `openssl`, and against files that mean harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

mod certificate_checks;
mod certificates;
mod files;
mod formats;
mod hostile;
mod hostile_formats;
mod known_hosts;
mod openssl;
mod ssh_keygen;
mod tools;
