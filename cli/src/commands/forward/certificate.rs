//! The certificate that lies beside a private key.

use std::path::Path;

use ssh_core::keys::{CertificateKind, CertificateLine, SigningKey};

use crate::error::CliError;
use crate::output::Output;

/// The key with the certificate of `FILE-cert.pub`, if that is there and fits. What is wrong with it is a warning: the key
/// may do without.
pub(super) fn attach(key: SigningKey, file: &Path, output: &Output) -> SigningKey {
    let certificate = match CertificateLine::beside(file) {
        Ok(None) => return key,
        Ok(Some(line)) => line.certificate,
        Err(error) => {
            output.warning(format!("{} (going on without this certificate)", CliError::file(&error)));
            return key;
        }
    };
    let problem = if certificate.key() != key.public_key() {
        "is for another key"
    } else if certificate.kind() != CertificateKind::User {
        "is for a host, not for a user"
    } else {
        return match key.with_certificate(certificate) {
            Ok(key) | Err((key, _)) => key,
        };
    };
    output.warning(format!(
        "the certificate beside {} {problem} (going on without this certificate)",
        file.display()
    ));
    key
}
