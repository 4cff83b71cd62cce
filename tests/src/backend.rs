//! Whose cryptography a test program runs on.

use std::sync::OnceLock;

use ssh_core::crypto::{CryptoProvider, aws_lc, default_provider, rustcrypto};

/// The backend of this test program: what `ADIT_TEST_BACKEND` names (`rustcrypto` or `aws-lc`), else aws-lc in a program
/// whose name ends with it (`conformance_aws_lc` runs what `conformance` runs), else the default one.
///
/// # Panics
/// If the variable names another.
#[must_use]
pub fn current() -> &'static CryptoProvider {
    static CURRENT: OnceLock<&'static CryptoProvider> = OnceLock::new();
    CURRENT.get_or_init(|| match std::env::var("ADIT_TEST_BACKEND").as_deref() {
        Ok("aws-lc") => &aws_lc::PROVIDER,
        Ok("rustcrypto") => &rustcrypto::PROVIDER,
        Ok(other) => panic!("ADIT_TEST_BACKEND is {other:?}, not rustcrypto or aws-lc"),
        Err(_) if program().contains("_aws_lc") => &aws_lc::PROVIDER,
        Err(_) => default_provider(),
    })
}

/// Whether this is not the backend that everything is tested on.
#[must_use]
pub fn is_second() -> bool {
    current().name != default_provider().name
}

fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
