//! SSH2 sessions over any `AsyncRead + AsyncWrite`.
#![forbid(unsafe_code)]

pub mod config;
pub mod crypto;
pub mod keys;
pub mod protocol;
