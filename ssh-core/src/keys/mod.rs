//! Keys, their formats, and who is trusted.

mod private;
mod public;

pub use private::PrivateKey;
pub use public::{Curve, KeyError, KeyKind, PublicKey};
