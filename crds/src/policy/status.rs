use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fence;
use crate::conditions::{self, Condition};

/// What the operator of this cluster's site knows. What it does not know is shown as unknown, with
/// its age; a status is never evidence for a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverPolicyStatus {
    /// The site whose operator wrote this: each site says only what it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,

    /// When the operator wrote this, by its own clock. It writes when it has something new to say: whether an older
    /// status still holds is told by the operator's heartbeat, which counts for 30 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_at: Option<Time>,

    /// Which process wrote this, and where its heartbeat is: every ten seconds it vouches there for what it wrote
    /// before. A status that is older than 30 seconds and that no heartbeat vouches for was left behind by an operator
    /// that is dead or cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HeartbeatReference")]
    pub heartbeat: Option<HeartbeatReference>,

    /// The generation of the spec that this status judges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// One sentence: what is going on, and what is awaited from whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// The site that may write, by the arbiter's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_site: Option<String>,

    /// Grows by one whenever the active site changes. A Move names the epoch that it was written for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,

    /// Grows by one with every change of the record. A Move with `sourceStopped` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,

    /// The record's phase in one word, for people only; scripts should use the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,

    /// The furthest that a standby is behind, in words such as `0 B` or `1.2 MiB`, or `Unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<String>,

    /// The weakest fence of the active site's databases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,

    /// The git revision that this object came from, its full hash; absent when it was
    /// applied by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,

    /// Hash of the spec that this site acts by. Sites whose hashes differ can fail over, but not
    /// switch over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_hash: Option<String>,

    /// Until when a Move `Hold` keeps everything as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Time>,

    /// Judgements by type. `Ready`: the active site serves. `FailoverPossible`, `SwitchoverPossible`: a
    /// standby could take over now, unplanned or planned. `ReplicationHealthy`, `SitesReachable`,
    /// `ReadOnlyEffective`, `TrafficConverged`, `ChannelsKnown`, `ArbiterAgrees`, `Accepted`: as they say. Only while
    /// true: `Reconciling` (it ends by itself), `Stalled` (a person must act), `Contended` (a field
    /// belongs to somebody else) and `Advice`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,

    /// What stands between now and a takeover: one line per question that must be answered with yes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 64))]
    pub gates: Vec<GateStatus>,

    /// What is known of each site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 5))]
    pub sites: Vec<SiteStatus>,

    /// The last change of the active site, finished or not, with its times and its measured loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LastTransition")]
    pub last_transition: Option<LastTransition>,

    /// The last ten transitions, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<TransitionRecord>,

    /// What became of the latest Moves, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub moves: Vec<MoveVerdict>,
}

/// A process of the operator and its heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatReference {
    /// The namespace of the Lease (`coordination.k8s.io`): the operator's own. Whoever is to know whether the
    /// operator lives needs the right to get it.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The process that wrote this. Only while the Lease's `spec.holderIdentity` is the same does it vouch for
    /// this status.
    pub writer: String,
}

/// One question that must be answered with yes before a standby may take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// Stable name of the question, such as `silence`, `ownLease`, `promise`, `hold`, `cooldown`,
    /// `promote`, `loss`, `taker` or `targetReady`; `database/main/…`, `workload/web/…`,
    /// `traffic/public/…` and `move/…` where it is about one of several.
    pub name: String,
    /// The answer.
    pub verdict: GateVerdict,
    /// What was found, with its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What it was compared with, with its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<String>,
    /// How old the finding was when this was written, such as `1.2 s`. At a heartbeat that vouches for this it
    /// was at most 25 seconds, or a tenth and 15 seconds, older than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
    /// The answer in words, and what to do about it.
    pub message: String,
}

/// The answer of a gate. Unknown blocks as well: what is not known never permits a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum GateVerdict {
    /// Nothing stands in the way here.
    Pass,
    /// This stands in the way, and waiting alone will not change it.
    Block,
    /// This stands in the way for now: time or an event will tell.
    NotYet,
    /// Not known, and therefore in the way.
    Unknown,
}

/// What is known of one site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// The site.
    pub name: String,
    /// What the site's databases are: `Primary`, `Standby`, `Stopped`, `Waiting` or `Unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whether this site could be promoted now. Absent while unknown, and for the active site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotable: Option<bool>,
    /// Why it could not, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Hash of the spec that the site acts by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_hash: Option<String>,
    /// The git revision that the site acts by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How far the site is behind the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Lag")]
    pub lag: Option<Lag>,
    /// The weakest fence of the site's databases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence_class: Option<Fence>,
    /// What that fence does not cover, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence_does_not_cover: Option<String>,
    /// How old the site's own report is, such as `0.4s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<String>,
}

/// How far a standby is behind. A missing number is unknown, not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Bytes of write-ahead log that were reported and not yet received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Milliseconds since the last report of the active server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_age_ms: Option<u64>,
}

/// A change of the active site, finished or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastTransition {
    /// Why: `Switchover`, `SiteLost`, `DatabaseLost`, `Failover` (by a Move) or `FirstRecord`.
    pub cause: String,
    /// The Move that asked for it.
    #[serde(default, rename = "move", skip_serializing_if = "Option::is_none")]
    pub move_name: Option<String>,
    /// The site that was active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The site that became active.
    pub to: String,
    /// The epoch that began with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// When it began, by the clock of the site that wrote it; for people, never compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it was finished, by the same rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// How long each phase took, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub phases: Vec<PhaseTime>,
    /// How long nobody could write at the database, in milliseconds; only where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_pause_ms: Option<u64>,
    /// How long users were read-only, in milliseconds; only where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_ms: Option<u64>,
    /// What was lost. Absent for a planned switchover, which loses nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DataLoss")]
    pub data_loss: Option<DataLoss>,
}

/// The time that one phase took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseTime {
    /// Name of the phase, such as `Handover` or `Promote`.
    pub name: String,
    /// Milliseconds, on one machine's clock.
    pub ms: u64,
}

/// Data loss of a failover: first the bound that was judged when contact was lost, later, when the
/// old site has returned, what was counted in its saved write-ahead log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataLoss {
    /// At most this many bytes, as judged when contact was lost; absent when unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_bytes: Option<u64>,
    /// Writes of at most this long, in milliseconds, as judged when contact was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_ms: Option<u64>,
    /// Bytes of write-ahead log past the fork, counted at the old site's return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Transactions committed past the fork, counted at the old site's return. Those that were never
    /// acknowledged to a client are among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactions: Option<u64>,
    /// Where the lost writes are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved_at: Option<String>,
}

/// One line of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitionRecord {
    /// The epoch that began with it.
    pub epoch: u64,
    /// Why, as in `lastTransition.cause`.
    pub cause: String,
    /// The Move that asked for it.
    #[serde(default, rename = "move", skip_serializing_if = "Option::is_none")]
    pub move_name: Option<String>,
    /// The site that was active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The site that became active.
    pub to: String,
    /// When it was finished, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Its whole duration in milliseconds; only where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// What was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DataLoss")]
    pub data_loss: Option<DataLoss>,
}

/// What became of a Move for this policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoveVerdict {
    /// Name of the Move, as far as it is known here.
    pub name: String,
    /// Hash of its name and content. The same Move never acts twice, however often it is applied.
    pub hash: String,
    /// What became of it.
    pub state: crate::MoveState,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
