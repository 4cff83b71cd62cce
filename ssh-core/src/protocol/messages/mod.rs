//! One row a message: its number, its fields, and through its number the phase it belongs to.
//!
//! Decoding borrows from the packet and ends at its last byte, but for the rows that carry a [`Rest`].

mod field;
mod table;

pub use field::{OptionalText, Rest};
pub use table::*;

/// The part of the protocol that a message number belongs to (RFC 4250 §4.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// 1 to 4: may come at any time, but not during a strict key exchange.
    Transport,
    /// 5, 6: the service request.
    Service,
    /// 7: EXT_INFO.
    ExtInfo,
    /// 20 to 49: key exchange.
    Kex,
    /// 50 to 79: authentication.
    Auth,
    /// 80 and up: the connection protocol.
    Connection,
    /// Nobody's.
    Unknown,
}

/// The phase of a message number.
#[must_use]
pub const fn phase(number: u8) -> Phase {
    match number {
        1..=4 => Phase::Transport,
        5 | 6 => Phase::Service,
        7 => Phase::ExtInfo,
        20..=49 => Phase::Kex,
        50..=79 => Phase::Auth,
        80..=127 => Phase::Connection,
        _ => Phase::Unknown,
    }
}
