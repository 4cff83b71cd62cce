//! Keys, their formats, and who is trusted.
//!
//! - [`KeyPair`] reads and writes private keys, [`PublicLine`] public ones, in any [`KeyFormat`]; [`Fingerprint`] is
//!   how people compare keys.
//! - [`KnownHosts`] says whether a host's key is the right one, [`AuthorizedKeys`] whether a user's is.
//! - [`Certificate`] is a key that an authority vouches for; [`CertificateAuthorities`] says whether it counts.
//! - Nothing here needs a crypto backend but [`KeyPair::generate`], [`KeyPair::check`] and certificates' signatures. What
//!   a format can say about a key is checked when it is read, and that RSA numbers belong together; what takes curve
//!   arithmetic is checked by the backend before a key signs or verifies.

// Key files come from anywhere; nothing in them is believed.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::unwrap_used
    )
)]

mod address_list;
mod asn1;
mod authorized_keys;
mod cbc_cipher;
mod certificate;
mod decode;
mod dek_info;
mod encode;
mod error;
mod files;
mod fingerprint;
mod format;
mod forward_permit;
mod host_key;
mod host_names;
mod jwk;
mod kdf_limits;
mod key_pair;
mod known_hosts;
mod line_warning;
mod network;
pub mod openssh;
mod openssh_cipher;
mod pbes2;
mod pem;
mod pkcs1;
mod pkcs8;
mod private;
mod public;
mod public_half;
mod public_line;
mod random;
mod rsa_numbers;
mod sec1;
mod signing_key;
mod source_patterns;
mod ssh2;

pub use authorized_keys::{
    AuthorizedKey, AuthorizedKeys, KeyOptions, LoginFacts, MAX_AUTHORIZED_KEYS_LEN, NotAuthorized,
    OptionRefusal, StoredKey,
};
pub use certificate::{
    Certificate, CertificateAuthorities, CertificateBuilder, CertificateError, CertificateKind,
    CertificateLine, CertificateOption, CertificatePermissions, CertificateRefusal, CertificateUse,
    MAX_CERTIFICATE_LEN,
};
pub use error::{KeyFileError, KeyFormatError};
pub use files::{Overwrite, write_private};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use format::{Half, KeyFormat, UnknownFormatName};
pub use forward_permit::{ForwardPermit, PermitHost};
pub use host_key::HostKey;
pub use kdf_limits::{KdfLimits, MAX_PBKDF2_ITERATIONS, MAX_SCRYPT_COST};
pub use key_pair::KeyPair;
pub use known_hosts::{HostKeyStatus, KnownHosts, KnownKey, KnownName, MAX_KNOWN_HOSTS_LEN};
pub use line_warning::{LineProblem, LineWarning, Place};
pub use private::PrivateKey;
pub use public::{Curve, KeyError, KeyKind, PublicKey};
pub use public_line::{MAX_COMMENT_CHARS, MAX_LINE_LEN, PublicLine};
#[cfg(feature = "aws-lc")]
pub(crate) use rsa_numbers::{CrtExponents, crt_exponents};
pub use signing_key::{SigningKey, WrongCertificate};
pub use source_patterns::SourcePatterns;

/// A private key file may not be longer, in bytes. A 16384 bit RSA key takes under 20 KiB.
pub const MAX_KEY_FILE_LEN: usize = 256 * 1024;
