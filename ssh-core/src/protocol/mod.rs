//! The sans-IO half.
pub mod wire;
