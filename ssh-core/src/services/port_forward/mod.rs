//! Port forwarding (RFC 4254 §7).
mod pump;
pub use pump::{pump, pump_streams};
