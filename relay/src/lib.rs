//! A self-hosted relay that pipes sessions over WebSockets.
//!
//! This crate is a placeholder in the workspace until its own milestone: it exports nothing yet.
