//! The transport layer (RFC 4253): version lines, packets, key exchange. It dies with its stream.

pub(crate) mod blocks;
pub(crate) mod ident;
pub(crate) mod inbound;
pub(crate) mod kex;
pub(crate) mod key_derivation;
pub(crate) mod outbound;
pub(crate) mod plain;
pub(crate) mod rekey;

pub use ident::PeerVersion;
pub use inbound::{Inbound, Input, Packet};
