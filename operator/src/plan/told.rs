//! What a plan says. Its JSON is part of the command line's interface: see `docs/plan.md`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::why::explain::Finding;

/// The number of the shape of [`Plan`] as JSON. It grows when a field goes or changes its meaning; new fields may come
/// without that.
pub const VERSION: u32 = 1;

/// What a change would cause.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// Whether anything changes: exit code 2.
    pub changes: bool,
    /// What FILE was held against, in words.
    pub against: String,
    /// One entry for each policy that is in FILE, that one of its Moves means, or that is removed.
    pub policies: Vec<PolicyPlan>,
    /// Policies of FILE that stay as they are.
    pub unchanged: Vec<String>,
    /// What else must be known to read this rightly.
    pub notes: Vec<String>,
}

/// What it would cause for one policy.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPlan {
    /// The policy, as `namespace/name`.
    pub policy: String,
    /// What becomes of the policy itself.
    pub change: Change,
    /// Its fields that change.
    pub fields: Vec<FieldChange>,
    /// Where it stands before.
    pub now: Now,
    /// What happens, each at its time.
    pub acts: Vec<Act>,
    /// What the policy named before and names no more: nobody acts on it any longer.
    pub let_go: Vec<String>,
    /// What is different when the active site is lost afterwards; `null`: nothing.
    pub if_lost: Option<IfLost>,
    /// What cannot be known without asking further, in sentences.
    pub unknown: Vec<String>,
    /// What else must be known to read this rightly.
    pub notes: Vec<String>,
}

/// What becomes of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It stays as it is.
    None,
    /// It was not there before.
    New,
    /// Its spec or its labels change.
    Changed,
    /// It is deleted.
    Removed,
}

/// A field that changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Its path, such as `spec.failover.promote.after`.
    pub field: String,
    /// What it was; `null`: not there.
    pub old: Value,
    /// What it is; `null`: not there.
    pub new: Value,
}

/// Where a policy stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Now {
    /// The site that is active; `null`: nobody, there is no record.
    pub active: Option<String>,
    /// The record's epoch.
    pub epoch: Option<u64>,
    /// Its serial.
    pub serial: Option<u64>,
    /// Its phase.
    pub phase: Option<String>,
    /// Whether the active site is lost.
    pub lost: bool,
    /// Who says so; `null`: it is assumed.
    pub told_by: Option<String>,
}

/// What happens at one time.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Act {
    /// Not before this time; `null`: when it is merged.
    pub begins: Option<Timestamp>,
    /// The policy changes here.
    pub policy_changes: bool,
    /// The Moves that are looked at.
    pub moves: Vec<MovePlan>,
    /// The steps in the order in which operators and guards begin them.
    pub steps: Vec<Step>,
    /// What is touched, with its values.
    pub objects: Vec<Object>,
    /// What stands in the way.
    pub blockers: Vec<Finding>,
    /// How long it takes.
    pub expected: Expected,
    /// Which data may be lost.
    pub risk: Risk,
}

/// What becomes of a Move.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MovePlan {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The site that would become active.
    pub to: Option<String>,
    /// How it ends, as in `status.moves[].state`; `null`: it waits.
    pub verdict: Option<String>,
    /// Why, in the operator's words.
    pub message: String,
}

/// Something that an operator or a guard does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// When, in milliseconds from the beginning of the act, in the simulated world.
    pub at_ms: u64,
    /// Whose operator or guard.
    pub site: String,
    /// Of which kind.
    pub kind: Kind,
    /// What it touches.
    pub object: String,
    /// What it was.
    pub old: Option<String>,
    /// What it becomes.
    pub new: Option<String>,
    /// What is done, in words.
    pub what: String,
    /// Why it fails; `null`: it does not.
    pub fails: Option<String>,
}

/// The kinds of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The record at the arbiter.
    Record,
    /// A database and its server, by its guard.
    Database,
    /// A read-only flag.
    Flag,
    /// A workload's replicas.
    Replicas,
    /// A DNS record set.
    Traffic,
    /// A write that proves that a database takes writes.
    Verify,
}

/// Something that is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// In which site; `null`: it belongs to none.
    pub site: Option<String>,
    /// What.
    #[serde(rename = "object")]
    pub what: String,
    /// Its value before; `null`: none.
    pub old: Option<String>,
    /// Its value after.
    pub new: Option<String>,
    /// Every value in order.
    pub values: Vec<Option<String>>,
}

/// How long something takes, in the simulated world.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// Until nothing more is done.
    pub took_ms: u64,
    /// For how long the database takes no writes: a part of what users wait.
    pub write_pause_ms: Option<u64>,
    /// For how long users cannot write.
    pub read_only_ms: Option<u64>,
    /// When a site that was lost is replaced and users can write again.
    pub writes_after_ms: Option<u64>,
    /// For how long resolvers may still answer the old addresses.
    pub dns_ttl_ms: Option<u64>,
    /// What the last transition of this kind took here, in words.
    pub last_here: Option<String>,
    /// It is not over when nobody looks any longer.
    pub goes_on: bool,
}

/// Which data may be lost.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Risk {
    /// In words.
    pub words: String,
    /// At most so many bytes of log; `null`: not known.
    pub bytes: Option<u64>,
    /// At most what was written in so many milliseconds; `null`: not known.
    pub time_ms: Option<u64>,
}

/// What is different when a site is lost afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IfLost {
    /// The site.
    pub site: String,
    /// What is different.
    pub changes: Vec<Later>,
}

/// Something that is different when the active site is lost afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Later {
    /// What.
    pub what: String,
    /// As it was.
    pub old: String,
    /// As it will be.
    pub new: String,
    /// As it was, in milliseconds; `null`: never by itself.
    pub old_ms: Option<u64>,
    /// As it will be, in milliseconds; `null`: never by itself.
    pub new_ms: Option<u64>,
}
