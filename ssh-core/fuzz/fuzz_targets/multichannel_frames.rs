//! A peer and an application that do whatever they like to either end of a stream of channels without any security.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_core::protocol::Role;

fuzz_target!(|input: &[u8]| {
    let Some((which, records)) = input.split_first() else { return };
    let role = if which & 1 == 0 { Role::Client } else { Role::Server };
    ssh_core_fuzz::session::play_without_security(role, records);
});
