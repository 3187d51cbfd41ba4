//! Which server, as whom, and how its identity is proved.

use std::fmt;
use std::sync::Arc;

use bascule_core::policy::Instance;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};

/// Why a CA certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text is not PEM.
    #[error("ca.crt: not a PEM certificate; put the CA's certificate there, in PEM")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// The text has no certificate in it.
    #[error("ca.crt: no certificate found; put the CA's certificate there, in PEM")]
    Empty,
    /// The certificate is not usable as a CA.
    #[error("ca.crt: not usable as a CA certificate")]
    Certificate(#[source] rustls::Error),
}

/// How the connection is protected.
#[derive(Clone, Default)]
pub enum Tls {
    /// Not at all: for servers of the same cluster that have no certificate.
    #[default]
    Off,
    /// TLS is required, and the server's certificate must be signed by this CA and carry the host's name.
    Verified(Arc<ClientConfig>),
}

impl Tls {
    /// TLS with the CA certificates in `ca`, in PEM.
    pub fn verified(ca: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            roots.add(certificate.map_err(TlsError::Pem)?).map_err(TlsError::Certificate)?;
        }
        if roots.is_empty() {
            return Err(TlsError::Empty);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Certificate)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::Verified(Arc::new(config)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "Off",
            Self::Verified(_) => "Verified",
        })
    }
}

/// A server and the role to connect with.
#[derive(Clone, Debug)]
pub struct PostgresTarget {
    /// Its host name or address; an absolute path is the directory of a Unix socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The role's name.
    pub user: String,
    /// The role's password; never shown.
    pub password: SecretString,
    /// The Secret that both came from, for the person who must change it.
    pub secret: String,
    /// The database in which the role was granted its rights.
    pub dbname: String,
    /// How the connection is protected.
    pub tls: Tls,
}

impl PostgresTarget {
    /// The server of a policy's instance, as the role from its Secret.
    pub fn of(instance: &Instance, user: String, password: SecretString, tls: Tls) -> Self {
        Self {
            host: instance.host.clone(),
            port: instance.port,
            user,
            password,
            secret: instance.secret.to_string(),
            dbname: instance.database.clone(),
            tls,
        }
    }

    /// Whether both name the same server, role, password, database and kind of protection.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let tls = match (&self.tls, &other.tls) {
            (Tls::Off, Tls::Off) => true,
            (Tls::Verified(a), Tls::Verified(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        tls && (&self.host, self.port, &self.user, &self.dbname)
            == (&other.host, other.port, &other.user, &other.dbname)
            && self.password.expose_secret() == other.password.expose_secret()
    }
}
