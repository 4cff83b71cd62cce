//! One authenticated, encrypted duplex stream.
//!
//! This crate is a placeholder in the workspace until its own milestone: it exports nothing yet.
