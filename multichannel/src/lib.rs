//! Channel multiplexing over one stream, without encryption.
//!
//! This crate is a placeholder in the workspace until its own milestone: it exports nothing yet.
