//! What the fuzz targets share.
//!
//! A [`provider`] whose cryptography does nothing, so that whatever bytes a fuzzer makes up get past the key exchange,
//! a [`session`] that plays one side of a conversation out of one input, and a [`duplex`] that plays both over connections
//! that break.
#![forbid(unsafe_code)]

pub mod duplex;
pub mod provider;
pub mod session;
