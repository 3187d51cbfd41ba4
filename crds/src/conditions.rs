//! The conditions that objects of this API carry, after the conventions of kstatus: `Ready` sums up,
//! `Reconciling` and `Stalled` are there only while they are true, and every condition has an
//! `observedGeneration`.
//!
//! A condition's `reason` is a stable CamelCase word (for scripts and metrics); its `message` is a
//! sentence for the person who must act.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{Schema, SchemaGenerator, json_schema};

/// Everything is as the object asks for.
pub const READY: &str = "Ready";
/// Something is being done about it; only there while true.
pub const RECONCILING: &str = "Reconciling";
/// Nothing will happen before a person acts; only there while true. The message says what to do.
pub const STALLED: &str = "Stalled";
/// Policy: every site's lease lives and its facts are fresh.
pub const SITES_REACHABLE: &str = "SitesReachable";
/// Policy: every standby streams from the active site.
pub const REPLICATION_HEALTHY: &str = "ReplicationHealthy";
/// Policy: the read-only flags have the effect that they should have now; `Unknown` without `verify`.
pub const READ_ONLY_EFFECTIVE: &str = "ReadOnlyEffective";
/// Policy: the published addresses are those of the site that serves users.
pub const TRAFFIC_CONVERGED: &str = "TrafficConverged";
/// Policy: another controller owns a field that Bascule must write; only there while true.
pub const CONTENDED: &str = "Contended";
/// Policy: something that a person should know stands in nobody's way yet; only there while true.
pub const ADVICE: &str = "Advice";
/// Policy: a person has unlocked a database of this site, which nothing stops now; `False` once it was given back.
pub const UNLOCKED: &str = "Unlocked";
/// Policy: at least one standby could take over now; if not, the message says why not.
pub const FAILOVER_POSSIBLE: &str = "FailoverPossible";
/// Policy: a planned switchover would pass its preflight now.
pub const SWITCHOVER_POSSIBLE: &str = "SwitchoverPossible";
/// Policy: the arbiter has a quorum and is not behind what this site has seen.
pub const ARBITER_AGREES: &str = "ArbiterAgrees";
/// Policy: this site has every channel that the policy names, and lets its namespace use it; only there where it names one.
pub const CHANNELS_KNOWN: &str = "ChannelsKnown";
/// Policy: the spec is valid for this version of Bascule.
pub const ACCEPTED: &str = "Accepted";
/// Source: the last fetch worked.
pub const FETCHED: &str = "Fetched";

/// Schema of a list of conditions: a map by `type`, so that writers do not overwrite each other's.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": { "type": "string", "maxLength": 316, "description": "What is judged, in CamelCase." },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "The judgement." },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0, "description": "The generation of the object that was judged." },
                "lastTransitionTime": { "type": "string", "format": "date-time", "description": "When the judgement last changed." },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024, "description": "One stable CamelCase word." },
                "message": { "type": "string", "maxLength": 32768, "description": "What it means and what to do, in words." }
            }
        }
    })
}
