//! The objects: their kinds, how they are named, and what is read from them.

use bascule_core::name::{PolicyKey, SiteName};
use bascule_crds::witness::{PolicyRecord, SiteFacts, SiteLease};
use kube::api::{ApiResource, DynamicObject};
use serde_json::Value;

use super::super::{Revision, Versioned};

/// The longest name that an API server takes.
const LONGEST_NAME: usize = 253;

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A site's lease, its owner and who acts: named like the site.
    Lease,
    /// A policy's record: `NAMESPACE.POLICY`.
    Record,
    /// A site's facts about a policy: `SITE.NAMESPACE.POLICY`.
    Facts,
}

impl Kind {
    /// Its name, as in a manifest.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Lease => "SiteLease",
            Self::Record => "PolicyRecord",
            Self::Facts => "SiteFacts",
        }
    }

    /// Its plural, as in a path.
    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::Lease => "siteleases",
            Self::Record => "policyrecords",
            Self::Facts => "sitefacts",
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::Lease => ApiResource::erase::<SiteLease>(&()),
            Self::Record => ApiResource::erase::<PolicyRecord>(&()),
            Self::Facts => ApiResource::erase::<SiteFacts>(&()),
        }
    }

    /// The field below `spec` that has what is stored.
    const fn field(self) -> &'static str {
        match self {
            Self::Lease => "beat",
            Self::Record => "record",
            Self::Facts => "facts",
        }
    }

    /// An object of this kind.
    pub(super) fn object(self, name: &str, spec: Value) -> DynamicObject {
        let data = [("spec".to_owned(), spec)].into_iter().collect();
        DynamicObject::new(name, &self.resource()).data(Value::Object(data))
    }

    /// An object that holds `value`.
    pub(super) fn holding(self, name: &str, value: Value) -> DynamicObject {
        let spec = [(self.field().to_owned(), value)].into_iter().collect();
        self.object(name, Value::Object(spec))
    }
}

/// The name of a policy's record.
pub(super) fn record(policy: &PolicyKey) -> Result<String, String> {
    // A namespace has no dot, so the first one divides.
    bounded(format!("{}.{}", policy.namespace, policy.name))
}

/// The name of a site's facts about a policy.
pub(super) fn facts(policy: &PolicyKey, site: &SiteName) -> Result<String, String> {
    // Neither has a site.
    bounded(format!("{site}.{}.{}", policy.namespace, policy.name))
}

fn bounded(name: String) -> Result<String, String> {
    if name.len() <= LONGEST_NAME {
        return Ok(name);
    }
    Err(format!(
        "{name} has {} characters, and an object of a witness is named with at most {LONGEST_NAME}: give the policy or its namespace a shorter name",
        name.len()
    ))
}

/// What an object's name says; none when no version of this program names one so.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A site's lease.
    Lease(SiteName),
    /// A policy's record.
    Record(PolicyKey),
    /// A site's facts about a policy.
    Facts(PolicyKey, SiteName),
}

pub(super) fn named(kind: Kind, name: &str) -> Option<Named> {
    let policy = |text: &str| {
        let (namespace, name) = text.split_once('.')?;
        PolicyKey::new(namespace, name).ok()
    };
    match kind {
        Kind::Lease => SiteName::try_from(name).ok().map(Named::Lease),
        Kind::Record => policy(name).map(Named::Record),
        Kind::Facts => {
            let (site, rest) = name.split_once('.')?;
            Some(Named::Facts(policy(rest)?, SiteName::try_from(site).ok()?))
        }
    }
}

/// The name of an object.
pub(super) fn name(object: &DynamicObject) -> &str {
    object.metadata.name.as_deref().unwrap_or_default()
}

/// An object's revision.
pub(super) fn revision(object: &DynamicObject) -> Result<Revision, String> {
    number(object.metadata.resource_version.as_deref())
}

/// A resource version as a revision: a store of etcd counts up over all of its objects.
pub(super) fn number(version: Option<&str>) -> Result<Revision, String> {
    let version = version.unwrap_or_default();
    version.parse().map(Revision).map_err(|_| {
        format!(
            "the API server's resource version is {version:?}, not a number: its store is none that Bascule can use"
        )
    })
}

/// What an object holds, with its revision: the text of a lease's beat, otherwise JSON.
pub(super) fn held(kind: Kind, object: &DynamicObject) -> Result<Versioned, String> {
    let value = match &object.data["spec"][kind.field()] {
        Value::String(text) if kind == Kind::Lease => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    Ok(Versioned { value, revision: revision(object)? })
}

/// Reads what is to be stored as an object that an API server gives back as it was.
pub(super) fn storable(bytes: &[u8]) -> Result<Value, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| format!("it is no JSON: {e}"))?;
    if !value.is_object() {
        return Err("it is no JSON object".to_owned());
    }
    exact(&value)?;
    Ok(value)
}

/// An API server keeps integers of 64 bits with a sign, and rounds all other numbers.
fn exact(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) if number.as_i64().is_none() => {
            Err(format!("the number {number} is not kept exactly by an API server"))
        }
        Value::Array(items) => items.iter().try_for_each(exact),
        Value::Object(fields) => fields.values().try_for_each(exact),
        _ => Ok(()),
    }
}

/// A site's lease as it is read.
pub(super) struct Seen {
    /// The UID of the cluster that has the name.
    pub(super) owner: String,
    /// The replica that acts; empty when none does.
    pub(super) replica: String,
    /// How often that was written.
    pub(super) count: i64,
    /// Whether the site has renewed at all.
    pub(super) renewed: bool,
    /// The object's revision.
    pub(super) revision: Revision,
}

impl Seen {
    pub(super) fn of(object: &DynamicObject) -> Result<Self, String> {
        let spec = &object.data["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Self {
            owner: text(&spec["owner"]),
            replica: text(&spec["acting"]["replica"]),
            count: spec["acting"]["count"].as_i64().unwrap_or_default(),
            renewed: spec["beat"].is_string(),
            revision: revision(object)?,
        })
    }

    /// Who acts, as it was written down; the revision is the count, which a guard's renewal does not raise.
    pub(super) fn acting(&self) -> Option<Versioned> {
        let value = self.replica.clone().into_bytes();
        (!value.is_empty()).then_some(Versioned { value, revision: Revision(self.count) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_what_it_was_given_for() {
        let paris = SiteName::try_from("paris").unwrap();
        let shop = PolicyKey::new("shop", "web.v2").unwrap();
        assert_eq!(named(Kind::Lease, paris.as_str()), Some(Named::Lease(paris.clone())));
        assert_eq!(named(Kind::Record, &record(&shop).unwrap()), Some(Named::Record(shop.clone())));
        let facts = facts(&shop, &paris).unwrap();
        assert_eq!(named(Kind::Facts, &facts), Some(Named::Facts(shop, paris)));
        for (kind, foreign) in [
            (Kind::Lease, "a.b"),
            (Kind::Record, "shop"),
            (Kind::Record, ""),
            (Kind::Facts, "paris.shop"),
            (Kind::Facts, "shop"),
        ] {
            assert_eq!(named(kind, foreign), None, "{kind:?} {foreign}");
        }
    }

    #[test]
    fn a_name_that_no_object_can_have_is_refused_with_the_way_out() {
        let label = "a".repeat(63);
        let policy = PolicyKey::new(label.as_str(), [label.as_str(); 3].join(".")).unwrap();
        let why = record(&policy).unwrap_err();
        assert!(why.contains("255 characters") && why.contains("shorter name"), "{why}");
    }

    #[test]
    fn what_an_api_server_would_round_is_not_stored() {
        assert!(storable(br#"{"a": [9223372036854775807, -1, "18446744073709551615", null]}"#).is_ok());
        for wrong in [r#"{"a": {"b": 9223372036854775808}}"#, r#"{"a": [1.5]}"#, "[]", "1", "{"] {
            assert!(storable(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
