//! The keys: who may be where.
//!
//! `site/<site>` the UID of the cluster that owns the name · `lease/<site>` its beat · `record/<namespace>/<policy>`
//! the record · `facts/<namespace>/<policy>/<site>` what that site reported · `acting/<site>` which replica of its operator
//! acts, where it has several. A site's users need read access to the
//! whole prefix; a guard may write `lease/<its site>` only.

use bascule_core::name::{PolicyKey, SiteName};

pub(super) const PREFIX: &str = "/bascule/v1/";
pub(super) const LEASES: &str = "/bascule/v1/lease/";
pub(super) const RECORDS: &str = "/bascule/v1/record/";
pub(super) const FACTS: &str = "/bascule/v1/facts/";

pub(super) fn site(site: &SiteName) -> String {
    format!("{PREFIX}site/{site}")
}

pub(super) fn lease(site: &SiteName) -> String {
    format!("{LEASES}{site}")
}

pub(super) fn acting(site: &SiteName) -> String {
    format!("{PREFIX}acting/{site}")
}

pub(super) fn record(policy: &PolicyKey) -> String {
    format!("{RECORDS}{policy}")
}

pub(super) fn facts(policy: &PolicyKey, site: &SiteName) -> String {
    format!("{FACTS}{policy}/{site}")
}

/// What a key under the prefix names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Lease(SiteName),
    Record(PolicyKey),
    Facts(PolicyKey, SiteName),
}

/// Reads a key back; none when no version of this program writes such a key.
pub(super) fn parse(key: &[u8]) -> Option<Parsed> {
    let key = std::str::from_utf8(key).ok()?;
    if let Some(site) = key.strip_prefix(LEASES) {
        return SiteName::try_from(site).ok().map(Parsed::Lease);
    }
    if let Some(rest) = key.strip_prefix(RECORDS) {
        let (namespace, name) = rest.split_once('/')?;
        return PolicyKey::new(namespace, name).ok().map(Parsed::Record);
    }
    let (policy, site) = key.strip_prefix(FACTS)?.rsplit_once('/')?;
    let (namespace, name) = policy.split_once('/')?;
    Some(Parsed::Facts(PolicyKey::new(namespace, name).ok()?, SiteName::try_from(site).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reads_back_as_what_it_was_written_for() {
        let paris = SiteName::try_from("paris").unwrap();
        let shop = PolicyKey::new("shop", "web.v2").unwrap();
        assert_eq!(parse(lease(&paris).as_bytes()), Some(Parsed::Lease(paris.clone())));
        assert_eq!(parse(record(&shop).as_bytes()), Some(Parsed::Record(shop.clone())));
        assert_eq!(parse(facts(&shop, &paris).as_bytes()), Some(Parsed::Facts(shop.clone(), paris.clone())));
        for foreign in ["/bascule/v1/", "/bascule/v1/record/shop", "/bascule/v1/lease/a/b", "/x", "\u{0}"] {
            assert_eq!(parse(foreign.as_bytes()), None, "{foreign}");
        }
    }
}
