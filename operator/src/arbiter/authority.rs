//! Who signs the arbiter's certificates: an authority for members among themselves, and one for clients.
//!
//! Two, for what a certificate of the peers' authority lets its holder do is to be a member: write anything, past every
//! right of every user. With one authority for both, each site's operator and each database's guard would hold such a
//! certificate. With two, a member's peer port knows the members alone.

use anyhow::Context as _;
use jiff::civil::Date;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS#8).
    pub key: String,
}

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// By a server, to whoever connects.
    Server,
    /// By whoever connects, to a server.
    Client,
    /// Both: members connect to each other.
    Both,
}

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first day.
    pub from: Date,
    /// The day at whose beginning it ends.
    pub until: Date,
}

impl Validity {
    fn apply(self, params: &mut CertificateParams) {
        let moment = |date: Date| {
            rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
        };
        params.not_before = moment(self.from);
        params.not_after = moment(self.until);
    }
}

/// An authority.
pub struct Authority {
    /// Its own certificate and key.
    pub pair: Pair,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new one.
    pub fn create(name: &str, validity: Validity) -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("a key cannot be made")?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        // It signs certificates, and no authority below it.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        validity.apply(&mut params);
        let certificate = params.self_signed(&key).context("an authority cannot be made")?.pem();
        let pair = Pair { certificate, key: key.serialize_pem() };
        Self::of(pair)
    }

    /// One that is there already.
    pub fn of(pair: Pair) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(&pair.key).context("the authority's key is not a key in PEM")?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key)
            .context("the authority's certificate is not a certificate in PEM")?;
        Ok(Self { pair, issuer })
    }

    /// Signs a certificate for a new key. `alternatives` are DNS names and addresses.
    pub fn issue(
        &self,
        name: &str,
        alternatives: &[&str],
        uses: Use,
        validity: Validity,
    ) -> anyhow::Result<Pair> {
        let issued = || -> Result<Pair, rcgen::Error> {
            let names: Vec<String> = alternatives.iter().map(|s| (*s).to_owned()).collect();
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name = named(name);
            params.use_authority_key_identifier_extension = true;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = match uses {
                Use::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
                Use::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
                Use::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            };
            validity.apply(&mut params);
            let key = KeyPair::generate()?;
            Ok(Pair { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
        };
        issued().with_context(|| format!("the certificate for {name} cannot be made"))
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
