//! What the fuzz targets share.
//!
//! A [`provider`] whose cryptography does nothing, so that whatever bytes a fuzzer makes up get past the key exchange,
//! and a [`session`] that plays one side of a conversation out of one input.
#![forbid(unsafe_code)]

pub mod provider;
pub mod session;
