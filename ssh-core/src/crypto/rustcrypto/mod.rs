//! The pure Rust backend.
