//! Keys, their formats, and who is trusted.

mod private;
mod public;
mod signing_key;

pub use private::PrivateKey;
pub use public::{Curve, KeyError, KeyKind, PublicKey};
pub use signing_key::SigningKey;
