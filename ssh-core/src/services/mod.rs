//! What runs over a session. Services are tasks of their own, so a slow one holds nobody up.

pub mod port_forward;
pub mod service;
