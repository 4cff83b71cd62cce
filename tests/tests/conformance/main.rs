//! A scripted peer that breaks one rule a case: what the engine says about it, here and on the wire.

mod authentication;
mod connection;
mod exchange;
mod limits;
mod negotiation;
mod packets;
mod strict;
mod version;
