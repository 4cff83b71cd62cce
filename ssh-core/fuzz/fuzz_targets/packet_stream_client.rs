//! A peer and an application that do whatever they like to a client's engine.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_core::protocol::Role;

fuzz_target!(|input: &[u8]| ssh_core_fuzz::session::play(Role::Client, input));
