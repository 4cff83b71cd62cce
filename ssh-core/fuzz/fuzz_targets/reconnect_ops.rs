//! What both ends of a session do, and what is done to their connections: every byte arrives once and in order, or there is
//! an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| ssh_core_fuzz::duplex::play(input));
