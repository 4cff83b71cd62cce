//! Services over a session.
pub mod port_forward;
