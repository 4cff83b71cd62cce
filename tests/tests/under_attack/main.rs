//! `adit serve` and `adit forward` when somebody, or the machine, is not kind to them.
#![cfg(target_os = "linux")]

mod descriptors;
mod floods;
mod guesses;
mod outputs;
mod resets;
mod stops;
mod world;
