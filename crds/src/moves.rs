use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    conditions::{self, Condition},
    reference::Reference,
    text::words,
};

/// A person's command to one policy or several: one immutable object, one file in git.
///
/// A Move acts at most once, whoever sees it and however often it is applied: its verdict is kept by
/// the hash of its name and content. To try again, write a new Move. Deleting one that is still pending
/// cancels it; deleting or reverting it later does nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "bascule.dev",
    version = "v1alpha1",
    kind = "Move",
    plural = "moves",
    category = "bascule",
    namespaced,
    derive = "PartialEq",
    status = "MoveStatus",
    doc = "A person's command to one policy or several. Acts at most once.",
    printcolumn(
        name = "Type",
        type_ = "string",
        json_path = ".spec.type",
        description = "What is asked for"
    ),
    printcolumn(
        name = "Policy",
        type_ = "string",
        json_path = ".spec.policyRef.name",
        description = "The policy, unless a selector names several"
    ),
    printcolumn(name = "From", type_ = "string", json_path = ".spec.from"),
    printcolumn(name = "To", type_ = "string", json_path = ".spec.to"),
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.state",
        description = "What became of it"
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a Move never changes after it was created: delete it if it is pending, and write a new Move"),
    validation = Rule::new("has(self.policyRef) != has(self.policySelector)").message("expected exactly one of policyRef, policySelector"),
    validation = Rule::new("self.reason.matches('[^\\\\s]')").message("reason: found nothing, expected why this is done, for the journal and for colleagues"),
    validation = Rule::new("has(self.epoch) || !has(self.policyRef)").message("epoch is missing: write the epoch that status.epoch of the policy shows, so that this Move cannot act on a later state"),
    validation = Rule::new("has(self.epoch) || !has(self.policySelector) || has(self.notAfter)").message("notAfter is missing: a Move with a policySelector and without an epoch needs a time after which it must not act"),
    validation = Rule::new("self.type != 'Hold' || has(self.notAfter)").message("notAfter is missing: a Hold needs a time at which it ends"),
    validation = Rule::new("!(self.type in ['Switchover', 'Failover']) || (has(self.from) && has(self.to))").message("a Switchover or Failover needs from (the site that is active now) and to (the site that shall be)"),
    validation = Rule::new("self.type in ['Switchover', 'Failover'] || (!has(self.from) && !has(self.to))").message("from and to belong to Switchover and Failover only; remove them"),
    validation = Rule {
        message: Some(Message::Expression("\"from and to are both '\" + self.from + \"'; expected two different sites\"".to_owned())),
        ..Rule::new("!has(self.from) || !has(self.to) || self.from != self.to")
    },
    validation = Rule::new("!has(self.notBefore) || !has(self.notAfter) || self.notBefore < self.notAfter").message("notAfter is not later than notBefore: the Move could never act; use a later notAfter, or remove notBefore"),
    validation = Rule::new("self.type == 'Failover' || (!has(self.sourceStopped) && !has(self.acceptDataLoss) && !has(self.serial))").message("serial, sourceStopped and acceptDataLoss belong to Failover only; remove them or use type: Failover"),
    validation = Rule::new("!has(self.sourceStopped) || has(self.serial)").message("serial is missing: with sourceStopped, write the serial that status.serial of the policy shows; any later change of the record makes the statement stale"),
    validation = Rule::new("!has(self.sourceStopped) || self.sourceStopped.matches('[^\\\\s]')").message("sourceStopped: found nothing, expected who saw that the source is stopped, and how"),
    validation = Rule::new("!has(self.serial) || has(self.policyRef)").message("serial belongs to one policy: use policyRef instead of policySelector"),
)]
pub struct MoveSpec {
    /// The policy that this Move is for, in the Move's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reference")]
    pub policy_ref: Option<Reference>,

    /// All policies with these labels in the Move's own namespace; each of them judges for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PolicySelector")]
    pub policy_selector: Option<PolicySelector>,

    /// What to do. `Switchover`: move the role between two living sites, losing nothing. `Failover`:
    /// promote although the source is gone; refused while it lives. `Hold`: let nothing begin by
    /// itself until `notAfter`. `Resume`: end a Hold. `Abort`: give up a Switchover that has not
    /// passed its point of no return.
    #[serde(rename = "type")]
    pub move_type: MoveType,

    /// The site that is active now. A statement of fact: refused if it is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub from: Option<String>,

    /// The site that shall be active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub to: Option<String>,

    /// The epoch that the policy's `status.epoch` shows. In any other epoch the Move is stale and
    /// does nothing. May be left out with `policySelector`, then `notAfter` is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub epoch: Option<u64>,

    /// The serial that the policy's `status.serial` shows. Needed with `sourceStopped`: any later
    /// change of the record makes the Move stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub serial: Option<u64>,

    /// Not before this time. Example: `"2026-11-28T12:00:00Z"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = TIME_PATTERN))]
    pub not_before: Option<Time>,

    /// Not after this time: a Move that has not begun by then is stale. For a `Hold`, its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = TIME_PATTERN))]
    pub not_after: Option<Time>,

    /// Why, for the journal and for colleagues. Example: `kernel update in paris, ticket 4711`.
    #[schemars(schema_with = "words::schema")]
    pub reason: String,

    /// `Failover` only: a person's word that the source is stopped and will not start, and who saw
    /// it. It takes the place of the fence's proof: if it is wrong, two sites write.
    /// Example: `A. Martin, in the room: rack powered off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 1024))]
    pub source_stopped: Option<String>,

    /// `Failover` only: promote even if more than `maxDataLoss` is lost, or if it is unknown how much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_data_loss: Option<bool>,
}

/// Kubernetes' own format of times also takes times without a zone, which mean something else in
/// every place.
const TIME_PATTERN: &str =
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[-+][0-9]{2}:[0-9]{2})$";

/// Policies by their labels, all of which must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("size(self.matchLabels) > 0").message("policySelector.matchLabels: expected at least one label")
)]
pub struct PolicySelector {
    /// Labels and their values. Example: `{tier: customer}`.
    #[schemars(schema_with = "labels_schema")]
    pub match_labels: BTreeMap<String, String>,
}

fn labels_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 63 }
    })
}

/// What a Move asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MoveType {
    /// Move the role between two living sites, losing nothing.
    Switchover,
    /// Promote although the source is gone.
    Failover,
    /// Let nothing begin by itself for a while.
    Hold,
    /// End a Hold.
    Resume,
    /// Give up a Switchover that has not passed its point of no return.
    Abort,
}

/// What became of a Move, as this cluster's site sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoveStatus {
    /// The generation of the spec that this status judges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What became of it. With a selector: the least advanced of its policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<MoveState>,
    /// Why, in one sentence, and what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Hash of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Judgements by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,
    /// Which sites have seen it, and what each of them says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["site".into(), "policy".into()]))]
    #[schemars(length(max = 320))]
    pub sites: Vec<SiteVerdict>,
}

/// The stages and ends of a Move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MoveState {
    /// Seen, and waiting for its time or for something named in the message.
    Pending,
    /// Written into the record; being carried out.
    Requested,
    /// Done.
    Done,
    /// Refused; the message says why.
    Refused,
    /// Begun and taken back; the source is active as before.
    RolledBack,
    /// Written for a state that is over; it did nothing and never will.
    Stale,
    /// A planned switchover whose source was lost on the way: it ended as a failover.
    BecameFailover,
}

/// What one site says about a Move for one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteVerdict {
    /// The site.
    pub site: String,
    /// The policy.
    pub policy: String,
    /// What became of the Move there.
    pub state: MoveState,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the site first saw the Move, by its own clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Time>,
}
