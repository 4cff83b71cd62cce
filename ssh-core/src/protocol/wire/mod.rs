//! The data types of RFC 4251 §5: a reader that borrows from its input and writers that append.
//!
//! A reader never allocates and never trusts a length: a string is a slice of what has arrived.
//! Every parser ends in [`Reader::finish`], so trailing bytes are an error unless a message is
//! documented to carry some.

mod mpint;
mod name_list;
mod reader;
mod writer;

pub use mpint::{is_positive_mpint, trim_leading_zeros};
pub use name_list::{MAX_NAME_LIST_LEN, MAX_NAMES, NameList};
pub use reader::Reader;
pub use writer::{LengthPrefix, Write};

/// Why some bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The input ended inside a value.
    #[error("a value reaches past the end of its message")]
    Truncated,
    /// The input went on after the last value.
    #[error("there are bytes behind the end of a message")]
    Trailing,
    /// An mpint that must be positive was negative, or had needless leading zeros (RFC 4251 §5).
    #[error("a big integer is negative or not in its shortest form")]
    BadMpint,
    /// A name-list was over [`MAX_NAME_LIST_LEN`] bytes or [`MAX_NAMES`] names, or held an empty name or
    /// a byte that is not printable ASCII.
    #[error("a name-list is malformed or too long")]
    BadNameList,
    /// A text field was not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// A field was over its limit.
    #[error("a field is longer than its limit")]
    TooLong,
    /// A value that has only a few meanings had another one.
    #[error("a field has a value without a meaning")]
    BadValue,
}
