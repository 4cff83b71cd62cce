//! The certificate that lies beside a private key.

use std::path::Path;

use ssh_core::client::Identity;
use ssh_core::keys::{Certificate, CertificateKind, CertificateLine};

use crate::error::CliError;
use crate::output::Output;

/// The key, and in front of it the certificate of `FILE-cert.pub`, if that is there and fits. What is wrong with it is a
/// warning: the key may do without.
pub(super) fn with_certificate(key: Identity, file: &Path, output: &Output) -> Vec<Identity> {
    let certificate = match CertificateLine::beside(file) {
        Ok(None) => return vec![key],
        Ok(Some(line)) => line.certificate,
        Err(error) => {
            output.warning(format!("{} (going on without this certificate)", CliError::file(&error)));
            return vec![key];
        }
    };
    let place = format!("the certificate beside {}", file.display());
    certified(key, &certificate, &place, output)
}

/// The key, and in front of it this certificate, if it fits.
pub(super) fn certified(
    key: Identity,
    certificate: &Certificate,
    place: &str,
    output: &Output,
) -> Vec<Identity> {
    let problem = if certificate.kind() != CertificateKind::User {
        "is for a host, not for a user"
    } else {
        match key.with_certificate(certificate) {
            Ok(certified) => return vec![certified, key],
            Err(_) => "is for another key",
        }
    };
    output.warning(format!("{place} {problem} (going on without this certificate)"));
    vec![key]
}
