//! What is to be published: checked once, when a policy is read.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bascule_core::name::SiteName;
use data_encoding::BASE64;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};
use secrecy::{ExposeSecret, SecretString};

/// The port of a zone's name servers.
const DNS_PORT: u16 = 53;
/// RFC 2181 section 8: a TTL has 31 bits.
const MAX_TTL: Duration = Duration::from_secs(0x7FFF_FFFF);
/// How far the two clocks may be apart, in seconds: RFC 8945 section 10 recommends this value.
const TSIG_FUDGE: u16 = 300;

/// Why a DNS target cannot be used. The field names are those of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A text is not a domain name.
    #[error("{field}: {found:?} is not a domain name ({why}); write it like \"www.shop.example.\"")]
    Name {
        /// Where it was written.
        field: &'static str,
        /// What was written.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// The name is not inside its zone, so no server of the zone could change it.
    #[error("name: {name} is not inside zone {zone}; correct one of the two")]
    OutsideZone {
        /// The name.
        name: String,
        /// The zone.
        zone: String,
    },
    /// The TTL has to be whole seconds that DNS can carry.
    #[error("ttl: {0:?} is not possible; use whole seconds from 1s to 2147483647s")]
    Ttl(Duration),
    /// Nobody to send updates to.
    #[error("updateServers: empty; name at least one server that accepts updates of the zone")]
    NoUpdateServer,
    /// A site without an address would publish nothing at all.
    #[error("addresses: site {0} has no address; a name never points at nothing, so name at least one")]
    NoAddress(SiteName),
    /// A site is named twice.
    #[error("addresses: site {0} is there twice; merge the two entries")]
    SiteTwice(SiteName),
    /// No site at all.
    #[error("addresses: empty; name every site with its addresses")]
    NoSite,
    /// The algorithm of the key is not known or not allowed.
    #[error("key {key}: algorithm {found:?} is not supported; use hmac-sha256, hmac-sha384 or hmac-sha512")]
    Algorithm {
        /// The key's name.
        key: String,
        /// What was written.
        found: String,
    },
    /// The key's secret cannot be read. The secret itself is never repeated.
    #[error("key {key}: the secret is not usable: {why}")]
    Secret {
        /// The key's name.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The addresses that a site is reached by: at least one, because a name is never pointed at nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteAddresses {
    site: SiteName,
    addresses: BTreeSet<IpAddr>,
}

impl SiteAddresses {
    /// The addresses of `site`; repeated ones count once.
    pub fn new(site: SiteName, addresses: impl IntoIterator<Item = IpAddr>) -> Result<Self, TargetError> {
        let addresses: BTreeSet<IpAddr> = addresses.into_iter().map(|a| a.to_canonical()).collect();
        if addresses.is_empty() { Err(TargetError::NoAddress(site)) } else { Ok(Self { site, addresses }) }
    }

    /// The site.
    pub const fn site(&self) -> &SiteName {
        &self.site
    }

    /// Its addresses; never empty.
    pub const fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.addresses
    }
}

/// The key that updates are signed with. Its secret is never shown.
#[derive(Clone)]
pub struct TsigKey {
    signer: TSigner,
}

impl TsigKey {
    /// The key `name` with `algorithm` (`hmac-sha256`, `hmac-sha384` or `hmac-sha512`) and the secret in base64, as
    /// name servers' configurations write it.
    pub fn new(name: &str, algorithm: &str, secret: &SecretString) -> Result<Self, TargetError> {
        let key_name = parse_name("key name", name)?;
        let key = || key_name.to_string();
        let algorithm = match algorithm.trim_end_matches('.').to_ascii_lowercase().as_str() {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            _ => return Err(TargetError::Algorithm { key: key(), found: algorithm.to_owned() }),
        };
        let wrong = |why| TargetError::Secret { key: key(), why };
        let bytes =
            BASE64.decode(secret.expose_secret().trim().as_bytes()).map_err(|_| wrong("it is not base64"))?;
        if bytes.is_empty() {
            return Err(wrong("it is empty"));
        }
        let signer = TSigner::new(bytes, algorithm, key_name.clone(), TSIG_FUDGE)
            .map_err(|_| wrong("the algorithm cannot use it"))?;
        Ok(Self { signer })
    }

    /// The key's name.
    pub fn name(&self) -> String {
        self.signer.signer_name().to_string()
    }

    pub(super) const fn signer(&self) -> &TSigner {
        &self.signer
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TsigKey({} {}, secret hidden)",
            self.signer.signer_name(),
            self.signer.algorithm().to_name()
        )
    }
}

/// A DNS target as a policy writes it.
#[derive(Clone, Debug)]
pub struct DnsTargetSpec {
    /// The name that clients use; taken as absolute with or without a final dot.
    pub name: String,
    /// The zone it lives in.
    pub zone: String,
    /// How long resolvers may keep an answer.
    pub ttl: Duration,
    /// Where updates are sent: the first server that accepts them.
    pub update_servers: Vec<SocketAddr>,
    /// Which servers must show the change; empty: those that the zone's NS records name.
    pub verify_servers: Vec<SocketAddr>,
    /// The key that signs updates.
    pub tsig: TsigKey,
    /// Where the name points for each site.
    pub addresses: Vec<SiteAddresses>,
}

/// A DNS target that was checked: the name lies in the zone and every site has an address.
#[derive(Clone, Debug)]
pub struct DnsTarget {
    pub(super) name: Name,
    pub(super) zone: Name,
    pub(super) mark_name: Name,
    pub(super) ttl: u32,
    pub(super) update_servers: Vec<SocketAddr>,
    pub(super) verify_servers: Vec<SocketAddr>,
    pub(super) ns_port: u16,
    pub(super) tsig: TsigKey,
    addresses: Vec<SiteAddresses>,
}

impl DnsTarget {
    /// Checks a target. It asks nobody: what the servers say is [`DnsTarget::preflight`].
    pub fn new(spec: DnsTargetSpec) -> Result<Self, TargetError> {
        let name = parse_name("name", &spec.name)?;
        let zone = parse_name("zone", &spec.zone)?;
        if name.is_wildcard() {
            let why = "a wildcard cannot be moved".to_owned();
            return Err(TargetError::Name { field: "name", found: spec.name, why });
        }
        if !zone.zone_of(&name) {
            return Err(TargetError::OutsideZone { name: name.to_string(), zone: zone.to_string() });
        }
        let mark_name = name.prepend_label("_bascule").map_err(|e| TargetError::Name {
            field: "name",
            found: spec.name.clone(),
            why: format!("no room for the label _bascule: {e}"),
        })?;
        if spec.ttl.subsec_nanos() != 0 || spec.ttl.is_zero() || spec.ttl > MAX_TTL {
            return Err(TargetError::Ttl(spec.ttl));
        }
        if spec.update_servers.is_empty() {
            return Err(TargetError::NoUpdateServer);
        }
        if spec.addresses.is_empty() {
            return Err(TargetError::NoSite);
        }
        for (i, entry) in spec.addresses.iter().enumerate() {
            if spec.addresses[..i].iter().any(|e| e.site == entry.site) {
                return Err(TargetError::SiteTwice(entry.site.clone()));
            }
        }
        Ok(Self {
            name,
            zone,
            mark_name,
            ttl: u32::try_from(spec.ttl.as_secs()).unwrap_or(u32::MAX),
            update_servers: spec.update_servers,
            verify_servers: spec.verify_servers,
            ns_port: DNS_PORT,
            tsig: spec.tsig,
            addresses: spec.addresses,
        })
    }

    /// The name that clients use.
    pub fn name(&self) -> String {
        self.name.to_string()
    }

    /// The zone it lives in.
    pub fn zone(&self) -> String {
        self.zone.to_string()
    }

    /// Where the [`Mark`](super::Mark) stands.
    pub fn mark_name(&self) -> String {
        self.mark_name.to_string()
    }

    /// How long resolvers may keep an answer.
    pub const fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl as u64)
    }

    /// The addresses of `site`; `None` when the target does not know that site.
    pub fn addresses(&self, site: &SiteName) -> Option<&BTreeSet<IpAddr>> {
        self.addresses.iter().find(|e| e.site == *site).map(SiteAddresses::addresses)
    }

    /// The same target, with the zone's own name servers expected on another port than 53.
    #[cfg(test)]
    pub(super) fn with_ns_port(mut self, port: u16) -> Self {
        self.ns_port = port;
        self
    }
}

fn parse_name(field: &'static str, text: &str) -> Result<Name, TargetError> {
    let wrong = |why: String| TargetError::Name { field, found: text.to_owned(), why };
    if text.is_empty() || text == "." {
        return Err(wrong("it is empty".to_owned()));
    }
    let mut name = Name::from_str(text).map_err(|e| wrong(e.to_string()))?;
    name.set_fqdn(true);
    Ok(name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str) -> SiteName {
        SiteName::try_from(name).unwrap()
    }

    fn key() -> TsigKey {
        TsigKey::new("k", "hmac-sha256", &SecretString::from("c2VjcmV0")).unwrap()
    }

    fn spec() -> DnsTargetSpec {
        DnsTargetSpec {
            name: "WWW.shop.example".to_owned(),
            zone: "shop.example.".to_owned(),
            ttl: Duration::from_secs(5),
            update_servers: vec!["192.0.2.53:53".parse().unwrap()],
            verify_servers: vec![],
            tsig: key(),
            addresses: vec![SiteAddresses::new(site("paris"), ["192.0.2.10".parse().unwrap()]).unwrap()],
        }
    }

    #[test]
    fn a_name_is_absolute_and_lower_case_however_it_is_written() {
        let target = DnsTarget::new(spec()).unwrap();
        assert_eq!(target.name(), "www.shop.example.");
        assert_eq!(target.mark_name(), "_bascule.www.shop.example.");
    }

    #[test]
    fn a_site_without_addresses_cannot_even_be_written_down() {
        assert_eq!(SiteAddresses::new(site("lyon"), []).unwrap_err(), TargetError::NoAddress(site("lyon")));
    }

    #[test]
    fn a_wrong_target_is_refused_with_its_field() {
        type Change = fn(&mut DnsTargetSpec);
        let cases: [(Change, &str); 8] = [
            (|s| s.name = "www.other.example".to_owned(), "not inside zone shop.example."),
            (|s| s.name = String::new(), "name: \"\" is not a domain name"),
            (|s| s.name = "*.shop.example".to_owned(), "wildcard"),
            (|s| s.ttl = Duration::ZERO, "ttl:"),
            (|s| s.ttl = Duration::from_millis(1500), "ttl:"),
            (|s| s.update_servers.clear(), "updateServers:"),
            (|s| s.addresses.clear(), "addresses:"),
            (|s| s.addresses.push(s.addresses[0].clone()), "site paris is there twice"),
        ];
        for (change, text) in cases {
            let mut spec = spec();
            change(&mut spec);
            let error = DnsTarget::new(spec).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_key_never_shows_its_secret() {
        assert!(!format!("{:?}", key()).contains("c2VjcmV0"));
        let wrong =
            TsigKey::new("k", "hmac-sha256", &SecretString::from("not base64!")).unwrap_err().to_string();
        assert!(wrong.contains("key k.") && !wrong.contains("not base64!"), "{wrong}");
    }

    #[test]
    fn a_weak_algorithm_is_refused_by_name() {
        let e = TsigKey::new("k", "hmac-md5", &SecretString::from("c2VjcmV0")).unwrap_err().to_string();
        assert!(e.contains("\"hmac-md5\"") && e.contains("hmac-sha256"), "{e}");
    }
}
