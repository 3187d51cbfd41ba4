//! One certificate authority for the whole sandbox, and the certificates it gives out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The authority; its key lies in the run folder, so that any process of the sandbox can give out certificates.
#[derive(Clone, Debug)]
pub struct Pki {
    folder: PathBuf,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM certificate.
    pub cert: PathBuf,
    /// PEM private key (PKCS#8).
    pub key: PathBuf,
}

impl Pki {
    /// Makes a new authority in an empty folder.
    pub fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Bascule sandbox");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        fs::write(folder.join("ca.pem"), params.self_signed(&key)?.pem())?;
        fs::write(folder.join("ca.key"), key.serialize_pem())?;
        Ok(Self { folder })
    }

    /// The authority of an earlier [`Pki::create`].
    pub fn open(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// File with the authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Where a certificate lies that was issued under this name.
    pub fn identity(&self, name: &str) -> Identity {
        let file = |ending: &str| self.folder.join(format!("{name}.{ending}"));
        Identity { cert: file("pem"), key: file("key") }
    }

    /// Issues a certificate for servers and clients: `name` is the common name and the file's name, `alternatives`
    /// are DNS names and IP addresses.
    pub fn issue(&self, name: &str, alternatives: &[String]) -> Result<Identity> {
        let ca_key = KeyPair::from_pem(&read(&self.folder.join("ca.key"))?)?;
        let issuer = Issuer::from_ca_cert_pem(&read(&self.ca())?, ca_key)?;
        let mut params = CertificateParams::new(alternatives)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let identity = self.identity(name);
        fs::write(&identity.cert, params.signed_by(&key, &issuer)?.pem())?;
        fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
