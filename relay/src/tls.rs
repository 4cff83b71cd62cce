//! TLS from certificate files, which are read again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// The certificate chain and its key, as PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and those between it and the root.
    pub certificates: PathBuf,
    /// The key of the first.
    pub key: PathBuf,
}

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("cannot use {}: {why}; it has to hold {wanted} as PEM", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The key and the certificate do not belong together, or cannot be used.
    #[error("the certificate and the key cannot be used together")]
    Unusable(#[from] rustls::Error),
}

/// Hands out TLS with the newest certificate.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(10);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let config = ArcSwap::from_pointee(read(&files)?);
        Ok(Arc::new(Self { files, config }))
    }

    /// An acceptor with the certificate of now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Reads the files again whenever they change, for as long as it is polled. Files that cannot be used leave the
    /// certificate as it is.
    pub async fn watch(self: Arc<Self>) {
        let mut seen = self.stamps();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.stamps();
            if now == seen {
                continue;
            }
            seen = now;
            match self.reload() {
                Ok(()) => {
                    tracing::info!(file = %self.files.certificates.display(), "a new certificate is in use")
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the old certificate stays in use"
                    );
                }
            }
        }
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// [`TlsError`]; the certificate then stays as it is.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    fn stamps(&self) -> [Option<SystemTime>; 2] {
        let stamp = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
        [stamp(&self.files.certificates), stamp(&self.files.key)]
    }
}

fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificates).map_err(|why| TlsError::File {
        file: files.certificates.clone(),
        wanted: "certificates",
        why,
    })?;
    let key = private_key(&files.key).map_err(|why| TlsError::File {
        file: files.key.clone(),
        wanted: "a private key",
        why,
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // WebSockets here are HTTP/1.1's.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("there is no certificate in it".into()) } else { Ok(chain) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = Zeroizing::new(std::fs::read(file).map_err(|error| error.to_string())?);
    // PKCS #8 (RFC 5958) says so in the frame, the forms before it in a header (RFC 1421).
    let marks: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];
    if marks.iter().any(|mark| text.windows(mark.len()).any(|part| part == *mark)) {
        return Err("it is encrypted, and nobody is asked for its passphrase; \
                    `openssl pkey` writes it without one"
            .into());
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound => "there is no private key in it".into(),
        error => error.to_string(),
    })
}
