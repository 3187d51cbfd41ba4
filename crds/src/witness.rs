//! What the arbiter keeps at a witness: the objects of one Kubernetes API server at a third place, through which the sites
//! agree. Group `arbiter.bascule.dev`, version `v1alpha1`.
//!
//! Only operators and guards write them. Nothing here is installed in a site's own cluster.

use std::borrow::Cow;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The API group of every kind of this module.
pub const GROUP: &str = "arbiter.bascule.dev";

/// That a site lives, whose its name is, and which replica of its operator acts. Named like the site.
///
/// All of it is one object on purpose: an API server compares and changes one object at a time, and a renewal has to
/// compare the owner and the acting replica with what is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "arbiter.bascule.dev",
    version = "v1alpha1",
    kind = "SiteLease",
    plural = "siteleases",
    category = "bascule-arbiter",
    namespaced,
    derive = "PartialEq",
    doc = "That a site lives, whose its name is, and which replica of its operator acts. Written by that site's operator and guards only.",
    printcolumn(
        name = "Owner",
        type_ = "string",
        json_path = ".spec.owner",
        description = "The cluster that has the name"
    ),
    printcolumn(
        name = "Acts",
        type_ = "string",
        json_path = ".spec.acting.replica",
        description = "The replica of its operator that acts, where it has several",
        priority = "1"
    ),
    printcolumn(name = "Beat", type_ = "string", json_path = ".spec.beat", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct SiteLeaseSpec {
    /// UID of the namespace `kube-system` of the cluster that has this name. It never changes: when that cluster is gone for
    /// good, delete the SiteLease.
    #[schemars(schema_with = "owner")]
    pub owner: String,

    /// What the site's operator or guard wrote with its last renewal, for people who look. Absent before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text")]
    pub beat: Option<String>,

    /// Which renewal that was: another one each time, so that each renewal changes the object. Whether the site lives is
    /// told by `metadata.resourceVersion` alone; no clock is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text")]
    pub renewal: Option<String>,

    /// Which replica of the site's operator acts.
    pub acting: Acting,
}

/// Which replica of a site's operator acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Acting {
    /// The replica, as JSON with `instance` and `address`; empty: nobody acts, or the site has one operator only.
    #[schemars(schema_with = "text")]
    pub replica: String,

    /// Raised with each renewal of the replica that acts, and when another one takes over. It never falls.
    #[schemars(schema_with = "count")]
    pub count: i64,
}

/// One policy's record: the only thing that decides which site is active. Named `NAMESPACE.POLICY`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "arbiter.bascule.dev",
    version = "v1alpha1",
    kind = "PolicyRecord",
    plural = "policyrecords",
    category = "bascule-arbiter",
    namespaced,
    derive = "PartialEq",
    doc = "One policy's record: the only thing that decides which site is active. Written by operators only, by compare-and-swap.",
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".spec.record.active",
        description = "The site that may write"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".spec.record.phase"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".spec.record.epoch"),
    printcolumn(name = "Serial", type_ = "integer", json_path = ".spec.record.serial"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct PolicyRecordSpec {
    /// The record. What this version does not know is kept as it is.
    pub record: StoredRecord,
}

/// A record as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredRecord(pub Map<String, Value>);

impl JsonSchema for StoredRecord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StoredRecord".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-map-type": "atomic",
            "required": ["schema", "generation", "epoch", "serial", "active", "phase"],
            "properties": {
                "schema": { "type": "integer", "format": "int64", "minimum": 0, "description": "The layout of the record." },
                "generation": { "type": "integer", "format": "int64", "minimum": 0, "description": "The arbiter's generation. It never falls." },
                "epoch": { "type": "integer", "format": "int64", "minimum": 0, "description": "The fencing token: raised when the active site changes. It never falls." },
                "serial": { "type": "integer", "format": "int64", "minimum": 0, "description": "Raised with every change of the record. It never falls." },
                "active": { "type": "string", "minLength": 1, "maxLength": 63, "description": "The site that may write." },
                "phase": { "type": "string", "minLength": 1, "maxLength": 63, "description": "Where a transition stands." }
            }
        })
    }
}

/// What one site reported about one policy: information, never authority. Named `SITE.NAMESPACE.POLICY`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "arbiter.bascule.dev",
    version = "v1alpha1",
    kind = "SiteFacts",
    plural = "sitefacts",
    category = "bascule-arbiter",
    namespaced,
    derive = "PartialEq",
    doc = "What one site reported about one policy: information, never authority. Written by that site's operator only.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct SiteFactsSpec {
    /// The report.
    pub facts: StoredFacts,
}

/// A report as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredFacts(pub Map<String, Value>);

impl JsonSchema for StoredFacts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StoredFacts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-map-type": "atomic"
        })
    }
}

fn owner(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 253 })
}

fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 4096 })
}

fn count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "minimum": 0 })
}
