//! May a switchover go on, or must it be rolled back?
//!
//! `Requested` → read-only seen → checkpoint → lock and stop → `Handover` with the exact positions → the target
//! proves that it has replayed them → `Promoting`, the point of no return.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::situation::{Situation, between};
use crate::decide::{next, note, posture, witness};
use crate::guard::wire::{STREAMING, ServerState, UpstreamView};
use crate::memory::Stamp;
use crate::moves::MoveEnd;
use crate::mutant::forgets;
use crate::name::SiteName;
use crate::observation::Fact;
use crate::plan::{Answer, Gate, Plan, all_passed};
use crate::policy::Policy;
use crate::position::Position;
use crate::project::size;
use crate::record::{Phase, Record};
use crate::time::{Millis, human};

/// How long the stop waits, once users are read-only, for gateways that do not refuse writes yet: they give a better answer
/// than the application, and are no fence.
const GATEWAYS_WAIT: Duration = Duration::from_secs(5);

/// How long the target may take from `Handover` to its take, before the old site takes its role back.
const HANDOVER_DEADLINE: Duration = Duration::from_secs(20);

/// The active site in `Requested`: checks, makes read-only, checkpoints, stops, hands over.
pub(super) fn prepare_to_stop(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let Some(target) = record.target.clone() else {
        return roll_back(s, record, plan, MoveEnd::Refused, "the record names no target");
    };
    if record.doing.as_ref().is_some_and(|d| d.not_after.is_some_and(|t| t < s.wall))
        && s.claim.locking().is_none()
    {
        return roll_back(s, record, plan, MoveEnd::RolledBack, "the Move's notAfter has passed");
    }
    let passed = s.in_phase();
    let deadline = policy.failover.switchover_deadline;
    if passed >= deadline {
        let why = plan.first_blocker().map(Gate::words).unwrap_or_default();
        let message = format!("not ready within {}: {}", human(deadline), pending(s, policy, record, &why));
        return roll_back(s, record, plan, MoveEnd::RolledBack, &message);
    }
    plan.again(s.now + deadline.saturating_sub(passed));

    let mut gates = vec![target_lives(s, &target), target_ready(s, policy, record, &target)];
    let denied = gates.iter().chain(&plan.blockers).find(|g| g.answer == Answer::No).cloned();
    if let Some(gate) = denied {
        plan.gates.append(&mut gates);
        return roll_back(s, record, plan, MoveEnd::Refused, &gate.words());
    }
    let read_only = s.memory.at(Stamp::ReadOnlySeen).is_some();
    gates.push(Gate::when(
        read_only,
        Answer::NotYet,
        "readOnly",
        posture::read_only_words(policy, s.seen),
        "every pod has seen the read-only flag",
    ));
    gates.extend(gateways_refuse(s, policy, plan));
    let checkpointed = policy.databases.keys().all(|name| {
        let report = s.seen.databases.get(name).and_then(|d| d.guard.value());
        report.is_some_and(|r| r.checkpointed.is_some_and(|at| at >= record.serial))
    });
    gates.push(Gate::when(
        checkpointed,
        Answer::NotYet,
        "checkpoint",
        "running",
        "a checkpoint before the pause",
    ));
    // Before the pause, not in it: a stop that nobody can vouch for hands nothing over.
    gates.extend(witness::missing(s, policy, record));
    let ready = all_passed(&gates);
    plan.gates.append(&mut gates);

    if s.claim.locking().is_none() {
        if let Some(reason) = crate::decide::offer::dead(s, policy, record) {
            return roll_back(s, record, plan, MoveEnd::RolledBack, &reason);
        }
        for order in plan.databases.values_mut() {
            order.checkpoint = true;
        }
        if ready && s.may_write() {
            posture::lock(plan);
        }
        return;
    }
    posture::lock(plan);
    if let Some(failed) = unclean(s, policy, record) {
        return roll_back(s, record, plan, MoveEnd::RolledBack, &failed);
    }
    let early = forgets("the source has stopped before it hands over").then_some(s.now);
    let Some(stopped) = s.memory.at(Stamp::Stopped).or(early) else {
        plan.gates.push(Gate::new(
            "stopped",
            Answer::NotYet,
            "stopping",
            "every guard has confirmed a clean stop",
        ));
        return;
    };
    let mut next = next::phase(s, record, Phase::Handover);
    next.positions = positions(s, policy);
    let (ready, seen) = (s.memory.at(Stamp::TargetReady), s.memory.at(Stamp::ReadOnlySeen));
    next::took(s, &mut next, "flagsSeen", between(ready, seen));
    next::took(s, &mut next, "checkpoint", between(seen.max(ready), s.memory.at(Stamp::LockOrdered)));
    next::took(s, &mut next, "stop", between(s.memory.at(Stamp::LockOrdered), Some(stopped)));
    next::propose(s, plan, next, format!("{} has stopped cleanly; {target} may prove and take", s.me));
}

/// What a switchover that ran out of time was waiting for. A cause comes before what only waits for it: users become
/// read-only no sooner than the target is ready, and a dead one never is.
fn pending(s: &Situation<'_>, policy: &Policy, record: &Record, otherwise: &str) -> String {
    let target = record.target.as_ref();
    let gates = target.map(|t| [target_lives(s, t), target_ready(s, policy, record, t)]);
    match gates.into_iter().flatten().find(|gate| !gate.passed()) {
        Some(gate) => gate.words(),
        None if s.memory.at(Stamp::ReadOnlySeen).is_none() => posture::read_only_words(policy, s.seen),
        None => otherwise.to_owned(),
    }
}

/// Whether the gateways that send requests to this site refuse writes before the database stops. A gateway that does not
/// obey stops nothing; without one that is to refuse them there is no gate.
fn gateways_refuse(s: &Situation<'_>, policy: &Policy, plan: &mut Plan) -> Option<Gate> {
    let missing = posture::not_refusing(s.me, policy, s.seen)?;
    let since = s.memory.at(Stamp::TargetReady);
    let waited = since.is_some_and(|t| s.now.since(t) >= GATEWAYS_WAIT);
    if let Some(since) = since.filter(|_| !missing.is_empty()) {
        plan.again_when(since + GATEWAYS_WAIT, s.now);
    }
    let found = if missing.is_empty() { "writes are refused".to_owned() } else { missing.join("; ") };
    Some(Gate::when(
        missing.is_empty() || waited,
        Answer::NotYet,
        "writesRefused",
        found,
        format!("every gateway refuses writes before the stop, or {}", human(GATEWAYS_WAIT)),
    ))
}

/// Whether the target lives.
fn target_lives(s: &Situation<'_>, target: &SiteName) -> Gate {
    Gate::when(
        s.lives(target) == Some(true),
        Answer::NotYet,
        "target",
        s.silent_for(target).map_or_else(
            || format!("the lease of {target} was not read yet"),
            |d| format!("{target} was last seen to renew {} ago", human(d)),
        ),
        "a living target",
    )
}

/// Whether the target lives and has said that it is ready for this very record: only then do users have to wait.
pub(super) fn target_can_take(s: &Situation<'_>, policy: &Policy, record: &Record) -> bool {
    record
        .target
        .as_ref()
        .is_some_and(|t| s.lives(t) == Some(true) && target_ready(s, policy, record, t).passed())
}

/// Whether the target has said that it is ready for this very record.
fn target_ready(s: &Situation<'_>, policy: &Policy, record: &Record, target: &SiteName) -> Gate {
    let needed = format!("{target} is ready for serial {}", record.serial);
    match s.facts(target) {
        Fact::Unknown { reason } => Gate::new("targetReady", Answer::Unknown, reason, needed),
        Fact::Known { value, age } => {
            if value.spec_hash.as_ref() != Some(&policy.spec_hash) {
                let found = format!(
                    "{target} has {}, this site has spec {}",
                    value.spec_hash.as_ref().map_or_else(|| "no spec".to_owned(), |h| format!("spec {h}")),
                    policy.spec_hash
                );
                return Gate::new("spec", Answer::NotYet, found, "the same spec in both sites")
                    .aged(Some(age));
            }
            if let Some(blocker) = value.blockers.iter().find(|g| g.answer == Answer::No) {
                return Gate::new("targetReady", Answer::No, blocker.words(), needed).aged(Some(age));
            }
            let waiting = value.blockers.first().map(|g| format!("{target} waits: {}", g.words()));
            Gate::when(
                value.ready_for == Some(record.serial),
                Answer::NotYet,
                "targetReady",
                waiting.unwrap_or_else(|| match value.ready_for {
                    Some(serial) => format!("{target} is ready for serial {serial}"),
                    None => format!("{target} gets ready"),
                }),
                needed,
            )
            .aged(Some(age))
        }
    }
}

fn unclean(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<String> {
    let serial = s.claim.locking()?;
    policy.databases.keys().find_map(|name| {
        let report = s.seen.databases.get(name)?.guard.value()?;
        let confirmed =
            report.locked.is_some_and(|at| at >= serial && at >= record.serial) && report.state.is_down();
        (confirmed && note::clean_stop(report, serial).is_none())
            .then(|| format!("{name} did not stop cleanly; its position proves nothing"))
    })
}

fn positions(s: &Situation<'_>, policy: &Policy) -> crate::few::Few<crate::name::ItemName, Position> {
    let stop = |name| s.seen.databases.get(name)?.guard.value()?.stopped.as_ref();
    policy
        .databases
        .keys()
        .filter_map(|name| {
            let x = stop(name)?;
            Some((name.clone(), Position { system_id: x.system_id, timeline: x.timeline, lsn: x.checkpoint }))
        })
        .collect()
}

/// The active site in `Handover`: waits for the target, and takes the role back at the deadline.
pub(super) fn wait_for_target(s: &Situation<'_>, _policy: &Policy, record: &Record, plan: &mut Plan) {
    let passed = s.in_phase();
    plan.gates.push(Gate::new(
        "handover",
        Answer::NotYet,
        format!(
            "waiting for {} since {}",
            record.target.as_ref().map_or("nobody", AsRef::as_ref),
            human(passed)
        ),
        "the target's take",
    ));
    let lost =
        |t: &&SiteName| s.facts(t).value().is_some_and(|facts| facts.cannot_prove == Some(record.serial));
    if let Some(target) = record.target.as_ref().filter(lost) {
        let message =
            format!("{target} cannot get the end of the log any more: replication broke before the stop");
        return roll_back(s, record, plan, MoveEnd::RolledBack, &message);
    }
    if passed < HANDOVER_DEADLINE || forgets("a handover has an end") {
        plan.again(s.now + HANDOVER_DEADLINE.saturating_sub(passed));
        return;
    }
    let message = format!("the target did not take the role within {}", human(HANDOVER_DEADLINE));
    roll_back(s, record, plan, MoveEnd::RolledBack, &message);
}

/// Takes the role back before the point of no return: a compare-and-swap, and only then a new grant.
pub(super) fn roll_back(s: &Situation<'_>, record: &Record, plan: &mut Plan, end: MoveEnd, why: &str) {
    let mut next = next::settled_again(s, record);
    next::judge_doing(s, &mut next, end, why);
    next::propose(s, plan, next, format!("the switchover is rolled back: {why}"));
}

/// The target in `Requested`: says when it is ready.
pub(super) fn get_ready(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let mut gates = plan.blockers.clone();
    for name in policy.databases.keys() {
        let report = s.seen.databases.get(name).and_then(|d| d.guard.value());
        let closed = report.is_some_and(|r| matches!(r.state, ServerState::Standby { open: false }));
        gates.push(Gate::when(
            closed,
            Answer::NotYet,
            &format!("database/{name}/closed"),
            report.map_or_else(|| "no report".to_owned(), |r| crate::decide::eligible::state_words(&r.state)),
            "a replica, closed before the pause",
        ));
        let upstream = report.and_then(|r| r.positions.as_ref()).and_then(|p| p.upstream.as_ref());
        let streaming = upstream.is_some_and(UpstreamView::streams);
        gates.push(Gate::when(
            streaming,
            Answer::NotYet,
            &format!("database/{name}/streaming"),
            upstream.map_or_else(|| "no receiver".to_owned(), |u| u.status.clone()),
            STREAMING,
        ));
        if let Some(lag) = posture::lag_bytes(report.map(Arc::as_ref)) {
            let most = policy.failover.max_data_loss.bytes.max(16 << 20);
            gates.push(Gate::when(
                lag <= most,
                Answer::NotYet,
                &format!("database/{name}/lag"),
                format!("{} behind", size(lag)),
                format!("at most {}, so that the pause stays short", size(most)),
            ));
        }
    }
    for (name, wanted) in posture::active_sizes(policy, record) {
        let seen = s.seen.workloads.get(&name).and_then(|w| w.replicas.value().copied()).unwrap_or_default();
        gates.push(Gate::when(
            seen.ready >= wanted,
            Answer::NotYet,
            &format!("workload/{name}/ready"),
            format!("{} of {wanted} ready", seen.ready),
            "all replicas ready before the role moves",
        ));
    }
    if all_passed(&gates) {
        plan.ready_for = Some(record.serial);
    }
    plan.gates.append(&mut gates);
}

/// The target in `Handover`: takes the role once it has proved that it has everything.
pub(super) fn prove_and_take(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let proved = note::proved(policy, s.seen, record);
    plan.gates.push(Gate::when(
        proved,
        Answer::NotYet,
        "proof",
        proof_words(s, policy, record),
        "every replica has replayed past the shutdown checkpoint, on the same timeline",
    ));
    if let Fact::Unknown { reason } = &s.seen.high_water {
        let needed = "a writable high-water mark in this site";
        plan.gates.push(Gate::new("marks", Answer::Unknown, reason.clone(), needed));
        return;
    }
    if !proved {
        if lost_the_end(s, policy, record) {
            plan.cannot_prove = Some(record.serial);
        }
        return;
    }
    let mut next = next::promoted(s, policy, record);
    next::took(s, &mut next, "prove", Some(Millis::from(s.memory.unchanged_for(s.now))));
    if let Some(t) = &mut next.transition {
        t.loss_bound = Some(crate::loss::LossBound::NOTHING);
    }
    next::propose(s, plan, next, format!("{} has everything and takes the role", s.me));
}

/// Whether a replica's receiver has ended short of the position at which its source has stopped: a stopped server sends
/// nothing more. While the receiver streams, what was sent before the stop may still be on its way. Wrong, it costs a rollback.
fn lost_the_end(s: &Situation<'_>, policy: &Policy, record: &Record) -> bool {
    let in_phase = s.in_phase();
    policy.databases.keys().any(|name| {
        let Some(Fact::Known { value, age }) = s.seen.databases.get(name).map(|d| &d.guard) else {
            return false;
        };
        let (Some(stop), Some(positions)) = (record.positions.get(name), &value.positions) else {
            return false;
        };
        // The positions were read after the stop was recorded, too.
        *age + positions.age.duration() < in_phase
            && matches!(value.state, ServerState::Standby { .. })
            && !positions.streams()
            && positions.held().is_some_and(|held| held <= stop.lsn)
    })
}

fn proof_words(s: &Situation<'_>, policy: &Policy, record: &Record) -> String {
    let mut words = Vec::new();
    for name in policy.databases.keys() {
        let replay = s
            .seen
            .databases
            .get(name)
            .and_then(|d| d.guard.value())
            .and_then(|r| r.positions.as_ref()?.replay);
        let stop = record.positions.get(name);
        words.push(match (replay, stop) {
            (Some(r), Some(stop)) => format!("{name} has replayed {r}, stopped at {stop}"),
            (None, Some(stop)) => format!("{name}: replayed position unknown, stopped at {stop}"),
            (_, None) => format!("{name}: the record has no position"),
        });
    }
    words.join("; ")
}
