//! The certificates by which guard and operator know each other, read from mounted files at every connection, so
//! that renewed ones are used without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The mounted certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file is missing or is not what its name says.
    #[error("{path}: expected {expected} in PEM")]
    File {
        /// Which file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// Why it could not be read.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificates do not fit together.
    #[error("{dir}: the certificates cannot be used together")]
    Unfit {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// A client that shows `tls.crt` and trusts `ca.crt` of `dir`, and nothing else.
pub(crate) fn client(dir: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let file = |name: &str, expected| {
        let path = dir.join(name);
        move |source| TlsError::File { path: path.clone(), expected, source }
    };
    let certificates = |name: &str, expected| -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let wrong = file(name, expected);
        CertificateDer::pem_file_iter(dir.join(name)).map_err(&wrong)?.map(|c| c.map_err(&wrong)).collect()
    };
    let unfit = |source| TlsError::Unfit { dir: dir.to_owned(), source };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates("ca.crt", "the authority's certificates")? {
        roots.add(certificate).map_err(unfit)?;
    }
    let chain = certificates("tls.crt", "the own certificate and its chain")?;
    let key =
        PrivateKeyDer::from_pem_file(dir.join("tls.key")).map_err(file("tls.key", "the own private key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(unfit)?;
    Ok(Arc::new(config))
}
