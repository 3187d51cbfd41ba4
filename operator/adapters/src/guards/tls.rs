//! Who may connect as a guard: whoever shows a certificate of our authority, made out for the policy it names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bascule_core::name::PolicyKey;
use rustls::client::verify_server_name;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// The mounted certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
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
    /// No certificate of an authority that could have signed a guard's.
    #[error("{dir}: ca.crt cannot be used to check a guard's certificate")]
    Authority {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: rustls::server::VerifierBuilderError,
    },
}

/// The name that a guard's certificate must be made out for (a DNS name among its alternative names): without it a
/// guard of one namespace could ask for another's replication password. `*.shop.guards.bascule` fits every policy of
/// the namespace `shop` whose name has no dots.
pub fn certificate_name(policy: &PolicyKey) -> String {
    format!("{}.{}.guards.bascule", policy.name, policy.namespace)
}

/// A server that shows `tls.crt` and asks every client for a certificate of `ca.crt`.
pub(super) fn server(dir: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |name: &str, expected| {
        let path = dir.join(name);
        move |source| TlsError::File { path: path.clone(), expected, source }
    };
    let certificates = |name: &str, expected| -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let wrong = file(name, expected);
        CertificateDer::pem_file_iter(dir.join(name)).map_err(&wrong)?.map(|c| c.map_err(&wrong)).collect()
    };
    let unfit = |source| TlsError::Unfit { dir: dir.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca.crt", "the authority's certificates")? {
        roots.add(certificate).map_err(unfit)?;
    }
    let chain = certificates("tls.crt", "the own certificate and its chain")?;
    let key =
        PrivateKeyDer::from_pem_file(dir.join("tls.key")).map_err(file("tls.key", "the own private key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|source| TlsError::Authority { dir: dir.to_owned(), source })?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(unfit)?;
    Ok(Arc::new(config))
}

/// Whether the certificate that was shown is made out for `policy`.
pub(super) fn is_for(shown: Option<&CertificateDer<'_>>, policy: &PolicyKey) -> bool {
    let Some(Ok(certificate)) = shown.map(ParsedCertificate::try_from) else { return false };
    ServerName::try_from(certificate_name(policy))
        .is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
}
