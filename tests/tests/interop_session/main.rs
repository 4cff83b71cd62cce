//! The session layer with the Dev Tunnels SSH library at the other end, in both roles: what the driver's modes leave out.
//!
//! The other end is `tests/peers/node/end.js`, which is told what to do one step after the other.

mod channels;
mod end;
mod facts;
mod forwarding;
mod keepalives;
mod pipes;
mod reconnect;
mod requests;
mod services;
