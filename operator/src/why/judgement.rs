//! What each condition should be, and what to do about one that is not, or about a status that is no help.

use bascule_crds::conditions::{
    ACCEPTED, ADVICE, ARBITER_AGREES, CHANNELS_KNOWN, CONTENDED, Condition, FAILOVER_POSSIBLE,
    READ_ONLY_EFFECTIVE, READY, RECONCILING, REPLICATION_HEALTHY, SITES_REACHABLE, STALLED,
    SWITCHOVER_POSSIBLE, TRAFFIC_CONVERGED, UNLOCKED,
};

/// The reason of `Ready` while the arbiter or something else that lasts keeps the operator from judging.
pub const ARBITER_UNREACHABLE: &str = "ArbiterUnreachable";
/// The reason of `Ready` of an object that the operator cannot read.
pub const UNREADABLE: &str = "Unreadable";

/// Conditions that are there, or `True`, only while something is not as usual.
const GOOD_WHILE_FALSE: [&str; 5] = [RECONCILING, STALLED, CONTENDED, ADVICE, UNLOCKED];

/// Whether the condition is as it should be.
pub fn is_good(c: &Condition) -> bool {
    let wanted = if GOOD_WHILE_FALSE.contains(&c.type_.as_str()) { "False" } else { "True" };
    c.status == wanted
}

/// What the condition should be.
pub fn needed(c: &Condition) -> String {
    let wanted = match c.type_.as_str() {
        UNLOCKED => "False",
        kind if GOOD_WHILE_FALSE.contains(&kind) => "not there",
        _ => "True",
    };
    format!("the condition {} is {wanted}", c.type_)
}

/// What would change a finding that is no gate; `None` for one that this version does not know.
pub fn change(code: &str) -> Option<&'static str> {
    let sentence = match code.strip_prefix("condition/") {
        Some(kind) => of_condition(kind),
        None => of_status(code),
    };
    (!sentence.is_empty()).then_some(sentence)
}

/// What would change a condition with this very reason; `None` when its type says enough.
pub fn change_of(c: &Condition) -> Option<&'static str> {
    match c.reason.as_str() {
        ARBITER_UNREACHABLE => Some(
            "Restore what is found to be broken: most often this site's way to the arbiter, two of whose three members must answer. Until then nothing is taken here, and the gates are as they were before.",
        ),
        UNREADABLE => Some("Correct the object, or bring operator and definitions to the same version."),
        "NotStreaming" => Some(
            "See why the replica receives nothing: the line to its primary, or the primary itself. When the active site has just died, wait: once its lease has been silent for long enough (gate silence), what counts is what is at risk (gate loss).",
        ),
        "Unmanaged" => Some(
            "Set spec.suspend to false, or apply the policy again if it was deleted: until then every database keeps its role and nothing moves by itself. When the active site is lost meanwhile, do so at the site that shall take over, and say by a Move of type Failover with sourceStopped that the other is off.",
        ),
        _ => None,
    }
}

fn of_status(code: &str) -> &'static str {
    match code {
        "status/missing" => {
            "Install the operator in this cluster, or see why it writes nothing: does it run, does it watch this namespace, does it reach this API server, may it write failoverpolicies/status? Its log names each of them."
        }
        "status/stale" => {
            "See whether that operator runs, and what its log says last; databases go on without it for as long as their guards reach the arbiter. Ask the same at another site: what it knows is newer."
        }
        "status/unheard" => {
            "Ask for the right that is needed, or ask somebody who has it: whether an operator lives is told by its heartbeat alone, a Lease in its own namespace. With the chart's rbac.people everybody who is logged in may read it."
        }
        "status/unshown" => {
            "See the operator's log: it names each status that it could not write, and why. May it write failoverpolicies/status?"
        }
        "status/undated" => {
            "Bring this site's operator to the version of this program: it dates what it writes."
        }
        "status/unreadable" => {
            "Use the `bascule` of the operator's version: the status was written by another one."
        }
        _ => "",
    }
}

fn of_condition(kind: &str) -> &'static str {
    match kind {
        ACCEPTED => {
            "Correct the policy where it comes from (git, or kubectl apply); what stood before stays in force."
        }
        READY => "What is found says what is missing. The operator's log has the error of each try.",
        UNLOCKED => {
            "Give the database back when Bascule is to care for it again: bascule guard lock, in its container."
        }
        STALLED => "A person must act: what is found says on what.",
        CHANNELS_KNOWN => {
            "Add the channel to notifications.channels of this site's installation, let the namespace use it there, or correct spec.notifications: until then nobody is told by it from this site."
        }
        FAILOVER_POSSIBLE => {
            "Bring back the site that is named when it is silent (power, its operator, its way to the arbiter); otherwise repair what it lacks: `bascule why` there lists each obstacle."
        }
        SWITCHOVER_POSSIBLE | REPLICATION_HEALTHY | SITES_REACHABLE | READ_ONLY_EFFECTIVE
        | TRAFFIC_CONVERGED | ARBITER_AGREES | CONTENDED | ADVICE | RECONCILING => "Repair what is found.",
        _ => "",
    }
}
