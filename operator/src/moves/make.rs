//! Which Move an order is, for a policy as its status shows it.

use anyhow::{Context as _, bail};
use bascule_core::similar::nearest;
use bascule_crds::{FailoverPolicyStatus, GateVerdict, Move, MoveSpec, Reference, Time};
use bascule_engine::intake::moves;
use jiff::Timestamp;

use super::asked::{Common, Order};
use crate::why::explain::{Seen, explain};

/// How many letters of a policy's name go into the name of a Move.
const LONGEST: usize = 30;

/// The Move. It names the epoch that was seen, so that it cannot act on a later state.
pub fn of(order: &Order, common: &Common, seen: &Seen, now: Timestamp) -> anyhow::Result<Move> {
    let policy = format!("{}/{}", seen.namespace, seen.name);
    let nothing = FailoverPolicyStatus::default();
    let status = match &seen.status {
        Ok(status) => status.as_ref().unwrap_or(&nothing),
        Err(why) => bail!(
            "{policy}: status: found one in another shape ({why}), expected that of this program; use the `bascule` of the operator's version"
        ),
    };
    let (Some(epoch), Some(active)) = (status.epoch, &status.active_site) else {
        let found = explain(seen, now).first_blocker.map(|f| f.found);
        bail!(
            "{policy}: status.epoch: found none ({}), expected that of the record, which a Move has to name; `bascule why {}` says what is missing, and the other sites may know more (--context)",
            found.unwrap_or_else(|| "there is no record yet".to_owned()),
            seen.name
        );
    };
    let mut spec = MoveSpec {
        policy_ref: Some(Reference { name: seen.name.clone() }),
        policy_selector: None,
        move_type: order.kind(),
        from: None,
        to: None,
        epoch: Some(epoch),
        serial: None,
        not_before: None,
        not_after: None,
        reason: common.reason.clone(),
        source_stopped: None,
        accept_data_loss: None,
    };
    match order {
        Order::Switchover { to, not_before, not_after } => {
            spec.from = Some(active.clone());
            spec.to = Some(target(to.as_deref(), active, status, &policy)?);
            spec.not_before = not_before.map(Time);
            spec.not_after = not_after.map(Time);
        }
        Order::Failover { to, source_stopped, .. } => {
            spec.from = Some(active.clone());
            spec.to = Some(target(to.as_deref(), active, status, &policy)?);
            spec.source_stopped.clone_from(source_stopped);
            spec.serial = status.serial.filter(|_| source_stopped.is_some());
            // Only what would be refused without it: within the policy's own bounds nothing has to be accepted.
            let loss = status.gates.iter().find(|g| g.name == "loss");
            spec.accept_data_loss = loss.filter(|g| g.verdict != GateVerdict::Pass).map(|_| true);
        }
        Order::Hold { how_long, until } => {
            let end = until.or_else(|| now.checked_add(*how_long).ok()).map(seconds);
            if let Some(past) = end.filter(|end| *end <= now) {
                bail!("--until: found {past}, which has passed, expected a time in the future");
            }
            spec.not_after = end.map(Time);
        }
        Order::Resume | Order::Abort => {}
    }
    let name = common.name.clone().unwrap_or_else(|| name(order, &seen.name, now));
    let mut mv = Move::new(&name, spec);
    mv.metadata.namespace = Some(seen.namespace.clone());
    moves::convert(&mv).with_context(|| format!("Move {}/{name}", seen.namespace))?;
    Ok(mv)
}

/// Times in a Move are read by people.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn target(
    said: Option<&str>,
    active: &str,
    status: &FailoverPolicyStatus,
    policy: &str,
) -> anyhow::Result<String> {
    let sites: Vec<&str> = status.sites.iter().map(|s| s.name.as_str()).collect();
    let others: Vec<&str> = sites.iter().copied().filter(|s| *s != active).collect();
    match (said, others.as_slice()) {
        (Some(to), _) if sites.contains(&to) || sites.is_empty() => Ok(to.to_owned()),
        (Some(to), _) => {
            let meant = nearest(to, sites.iter().copied()).map(|n| format!("; did you mean {n}?"));
            bail!(
                "{policy}: --to: found {to}, expected one of its sites: {}{}",
                others.join(", "),
                meant.unwrap_or_default()
            )
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => {
            bail!("{policy}: status.sites: found no site but {active}; say which one with --to SITE")
        }
        (None, several) => {
            bail!("{policy}: --to is missing: it could be {}; say which one", several.join(" or "))
        }
    }
}

fn name(order: &Order, policy: &str, now: Timestamp) -> String {
    let short: String = policy.chars().take(LONGEST).collect();
    let at = now.strftime("%Y-%m-%d-%H%M%S");
    format!("{at}-{}-{}", short.trim_matches(|c: char| !c.is_ascii_alphanumeric()), order.verb())
}

/// The Move as a file.
pub fn yaml(mv: &Move) -> anyhow::Result<String> {
    serde_yaml::to_string(mv).context("the Move as YAML")
}
