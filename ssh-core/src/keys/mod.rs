//! Keys, their formats, and who is trusted.

mod signing_key;
mod private;
mod public;

pub use signing_key::SigningKey;
pub use private::PrivateKey;
pub use public::{Curve, KeyError, KeyKind, PublicKey};
