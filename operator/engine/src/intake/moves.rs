//! From a `Move` of the API to the core's Move: parsed once, checked whole.

use std::collections::BTreeMap;

use bascule_core::{
    moves::{Move as CoreMove, Order},
    name::{Namespace, ObjectName, PolicyKey, SiteName},
};
use bascule_crds::{Move, MoveSpec, MoveType, text::words};
use jiff::Timestamp;

use super::{Findings, Invalid, hash::move_hash};

/// Which policies a Move is for, in its own namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Policy(PolicyKey),
    /// All that carry these labels.
    Labelled {
        /// The namespace of the Move and of the policies.
        namespace: Namespace,
        /// Labels that must all be there; at least one.
        labels: BTreeMap<String, String>,
    },
}

impl Target {
    /// Whether a policy with this key and these labels is meant.
    pub fn covers(&self, key: &PolicyKey, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Policy(policy) => policy == key,
            Self::Labelled { namespace, labels: wanted } => {
                *namespace == key.namespace
                    && wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
            }
        }
    }
}

/// A valid Move and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Whom it is for.
    pub target: Target,
    /// What it says to each of them.
    pub command: CoreMove,
}

/// Makes the core's Move of an object, whichever way it came.
///
/// # Errors
/// Everything that is wrong with it, by field. The API server refuses the same objects with the same
/// words; this is what holds when its definitions are older or newer than the operator.
pub fn convert(object: &Move) -> Result<Command, Invalid> {
    let mut findings = Findings::default();
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let MoveSpec {
        policy_ref,
        policy_selector,
        move_type,
        from,
        to,
        epoch,
        serial,
        not_before,
        not_after,
        reason,
        source_stopped,
        accept_data_loss,
    } = &object.spec;

    let hash = move_hash(&namespace, &name, &object.spec);
    let namespace = findings.check("metadata.namespace", Namespace::try_from(namespace));
    let name = findings.check("metadata.name", ObjectName::try_from(name));
    let target = match (policy_ref, policy_selector) {
        (Some(policy), None) => findings
            .check("spec.policyRef.name", ObjectName::try_from(policy.name.as_str()))
            .zip(namespace)
            .map(|(name, namespace)| Target::Policy(PolicyKey { namespace, name })),
        (None, Some(selector)) => {
            if selector.match_labels.is_empty() {
                findings
                    .add("spec.policySelector", "policySelector.matchLabels: expected at least one label");
            }
            namespace.map(|namespace| Target::Labelled { namespace, labels: selector.match_labels.clone() })
        }
        _ => {
            findings.add("spec", "expected exactly one of policyRef, policySelector");
            None
        }
    };
    let mut site = |field: &str, site: &Option<String>| {
        site.as_ref()
            .and_then(|site| findings.check(format!("spec.{field}"), SiteName::try_from(site.as_str())))
    };
    let (from_site, to_site) = (site("from", from), site("to", to));
    check_rules(&object.spec, &mut findings);

    let time = |time: &Option<bascule_crds::Time>| time.as_ref().map(|time| time.0);
    let order = match (move_type, to_site) {
        (MoveType::Switchover, Some(to)) => Some(Order::Switchover { to }),
        (MoveType::Failover, Some(to)) => Some(Order::Failover {
            to,
            source_stopped: source_stopped.clone(),
            accept_data_loss: accept_data_loss.unwrap_or(false),
        }),
        (MoveType::Switchover | MoveType::Failover, None) => None, // noted by the rules
        (MoveType::Hold, _) => Some(Order::Hold),
        (MoveType::Resume, _) => Some(Order::Resume),
        (MoveType::Abort, _) => Some(Order::Abort),
    };
    let command = target.zip(name).zip(order).map(|((target, name), order)| Command {
        target,
        command: CoreMove {
            hash,
            name,
            order,
            from: from_site,
            epoch: *epoch,
            serial: *serial,
            not_before: time(not_before),
            not_after: time(not_after),
            reason: reason.clone(),
        },
    });
    findings.finish(command)
}

/// What must hold between the fields of a Move.
fn check_rules(spec: &MoveSpec, findings: &mut Findings) {
    let selector = spec.policy_selector.is_some();
    let moves = matches!(spec.move_type, MoveType::Switchover | MoveType::Failover);
    let failover_only =
        spec.source_stopped.is_some() || spec.accept_data_loss.is_some() || spec.serial.is_some();
    let times: Option<(Timestamp, Timestamp)> =
        spec.not_before.as_ref().zip(spec.not_after.as_ref()).map(|(before, after)| (before.0, after.0));
    if words::blank(&spec.reason) {
        findings.add(
            "spec.reason",
            "reason: found nothing, expected why this is done, for the journal and for colleagues",
        );
    }
    if spec.epoch.is_none() && spec.policy_ref.is_some() {
        findings.add("spec.epoch", "epoch is missing: write the epoch that status.epoch of the policy shows, so that this Move cannot act on a later state");
    }
    if spec.epoch.is_none() && selector && spec.not_after.is_none() {
        findings.add("spec.notAfter", "notAfter is missing: a Move with a policySelector and without an epoch needs a time after which it must not act");
    }
    if spec.move_type == MoveType::Hold && spec.not_after.is_none() {
        findings.add("spec.notAfter", "notAfter is missing: a Hold needs a time at which it ends");
    }
    if moves && (spec.from.is_none() || spec.to.is_none()) {
        findings.add("spec", "a Switchover or Failover needs from (the site that is active now) and to (the site that shall be)");
    }
    if !moves && (spec.from.is_some() || spec.to.is_some()) {
        findings.add("spec", "from and to belong to Switchover and Failover only; remove them");
    }
    if let (Some(from), Some(to)) = (&spec.from, &spec.to)
        && from == to
    {
        findings.add("spec.to", format!("from and to are both '{from}'; expected two different sites"));
    }
    if times.is_some_and(|(before, after)| before >= after) {
        findings.add("spec.notAfter", "notAfter is not later than notBefore: the Move could never act; use a later notAfter, or remove notBefore");
    }
    if failover_only && spec.move_type != MoveType::Failover {
        findings.add("spec", "serial, sourceStopped and acceptDataLoss belong to Failover only; remove them or use type: Failover");
    }
    if spec.source_stopped.is_some() && spec.serial.is_none() {
        findings.add("spec.serial", "serial is missing: with sourceStopped, write the serial that status.serial of the policy shows; any later change of the record makes the statement stale");
    }
    if spec.source_stopped.as_deref().is_some_and(words::blank) {
        findings.add(
            "spec.sourceStopped",
            "sourceStopped: found nothing, expected who saw that the source is stopped, and how",
        );
    }
    if spec.serial.is_some() && selector {
        findings.add("spec.serial", "serial belongs to one policy: use policyRef instead of policySelector");
    }
}
