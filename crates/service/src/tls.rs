//! TLS for the HTTP servers. Reads a certificate and its key from two files, and reloads them when they
//! change, so that a renewed certificate needs no restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::settings::{ConfigReader, Setting};

/// PEM file of the certificate chain.
pub static CERTIFICATE_FILE: Setting = Setting::new(
    "tls-certificate-file",
    "",
    "PEM file of the certificate chain for HTTPS; without it the port uses HTTP. The file is reloaded when it changes",
);
/// PEM file of the private key.
pub static KEY_FILE: Setting = Setting::new("tls-key-file", "", "PEM file of the certificate's private key");

/// Interval of the checks whether the files have changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Installs ring as the TLS provider of the process: rustls panics if two providers are available and none is
/// installed.
pub fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Reads a setting that names a PEM file of CA certificates. If the file holds none, adds an error to `reader`.
pub fn read_authority(reader: &mut ConfigReader, setting: &'static Setting) -> Option<PathBuf> {
    let file = PathBuf::from(reader.optional_text(setting)?);
    let certificates = CertificateDer::pem_file_iter(&file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) if certificates.is_empty() => reader.error(setting, "contains no certificate"),
        Ok(_) => {}
        Err(error) => reader.error(setting, &format!("cannot be read: {error}")),
    }
    Some(file)
}

/// The certificate or its key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the files cannot be read.
    #[error("cannot read {file}: {reason}")]
    File {
        /// The file.
        file: PathBuf,
        /// The cause. It does not quote the file.
        reason: String,
    },
    /// The certificate and the key do not match, or their kind is not supported.
    #[error("invalid certificate or key: {0}")]
    Pair(String),
}

/// Files of the certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file of the certificate chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

/// How a port is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Without TLS.
    Http,
    /// With the certificate of these files.
    Https(TlsFiles),
}

impl Transport {
    /// Reads the settings. If one is invalid, adds the error to `reader` and returns `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let certificate = reader.optional_text(&CERTIFICATE_FILE).map(PathBuf::from);
        let key = reader.optional_text(&KEY_FILE).map(PathBuf::from);
        match (certificate, key) {
            (None, None) => Some(Self::Http),
            (Some(certificate), Some(key)) => {
                let files = TlsFiles { certificate, key };
                if let Err(error) = files.load() {
                    reader.error(&CERTIFICATE_FILE, &error.to_string());
                    return None;
                }
                Some(Self::Https(files))
            }
            _ => {
                reader.conflict(
                    "--tls-certificate-file and --tls-key-file must be set together; set both or neither",
                );
                None
            }
        }
    }

    /// The TLS acceptor of an HTTPS port, with a task that reloads changed files until `stop`; `None` for HTTP.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn acceptor(&self, stop: &CancellationToken) -> Result<Option<TlsAcceptor>, TlsError> {
        match self {
            Self::Http => Ok(None),
            Self::Https(files) => files.clone().watch(stop.clone()).map(Some),
        }
    }
}

impl TlsFiles {
    fn load(&self) -> Result<CertifiedKey, TlsError> {
        let fail = |file: &Path, reason: String| TlsError::File { file: file.to_owned(), reason };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(|error: rustls::pki_types::pem::Error| fail(&self.certificate, error.to_string()))?;
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| fail(&self.key, error.to_string()))?;
        let loaded = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| TlsError::Pair(error.to_string()))?;
        loaded.keys_match().map_err(|error| TlsError::Pair(error.to_string()))?;
        Ok(loaded)
    }

    /// A TLS acceptor, with a task that reloads changed files until `stop`.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn watch(self, stop: CancellationToken) -> Result<TlsAcceptor, TlsError> {
        let current = Arc::new(ReloadingResolver(ArcSwap::from_pointee(self.load()?)));
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| TlsError::Pair(error.to_string()))?;
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::clone(&current) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.reload_loop(&current) => {}
            }
        });
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// If the pair does not match, only one of the files may be written yet. The old certificate stays until
    /// the other file is written.
    async fn reload_loop(&self, current: &ReloadingResolver) {
        let mut complained = false;
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            match self.load() {
                Ok(loaded) if loaded.cert == current.0.load().cert => complained = false,
                Ok(loaded) => {
                    current.0.store(Arc::new(loaded));
                    complained = false;
                    tracing::info!(function = "http", "loaded the renewed certificate");
                }
                Err(error) if !complained => {
                    complained = true;
                    tracing::error!(
                        function = "http",
                        "cannot load the renewed certificate; the old one stays in use: {error}"
                    );
                }
                Err(_) => {}
            }
        }
    }
}

/// The certificate for new connections.
struct ReloadingResolver(ArcSwap<CertifiedKey>);

impl fmt::Debug for ReloadingResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReloadingResolver")
    }
}

impl ResolvesServerCert for ReloadingResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
