//! Has the new holder opened, and is the transition over?

use std::time::Duration;

use crate::decide::situation::{Situation, between};
use crate::decide::{next, note, offer, posture, withdraw, witness};
use crate::guard::wire::ServerState;
use crate::memory::Stamp;
use crate::moves::MoveEnd;
use crate::mutant::forgets;
use crate::plan::{Answer, Gate, Plan, Step};
use crate::policy::Policy;
use crate::record::{Cause, Offer, Phase, Record};
use crate::time::{Boottime, Millis, human};

/// A promotion that has not opened by then has failed, if its guard says that it is not on its way.
const PROMOTION_DEADLINE: Duration = Duration::from_mins(1);

/// How long flags and the record wait for traffic once a write is verified.
const TRAFFIC_DEADLINE: Duration = Duration::from_secs(10);

/// The new holder in `Promoting`: verifies a write, then the transition is over.
pub(super) fn promotion(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    if s.claim.locking().is_some() {
        return give_back(s, policy, record, plan);
    }
    let Some(opened) = s.memory.at(Stamp::Opened) else {
        plan.gates.push(Gate::new(
            "open",
            Answer::NotYet,
            states(s, policy),
            "every database is an open primary",
        ));
        promotion_failed(s, policy, record, plan);
        return;
    };
    verify(s, policy, record, plan);
    let Some(verified) = s.memory.at(Stamp::WriteVerified) else {
        plan.gates.push(Gate::new(
            "write",
            Answer::NotYet,
            "not verified yet",
            "a committed write in every database",
        ));
        promotion_failed(s, policy, record, plan);
        return;
    };
    let traffic = s.memory.at(Stamp::TrafficMoved);
    let refusing = posture::not_passing(policy, s.seen);
    let flags_off = posture::read_write_set(policy, s.seen) && refusing.is_empty();
    let waited = s.now.since(verified) >= TRAFFIC_DEADLINE;
    if !waited {
        plan.again(verified + TRAFFIC_DEADLINE);
    }
    plan.gates.push(Gate::when(
        traffic.is_some() || waited,
        Answer::NotYet,
        "traffic",
        posture::traffic_words(policy, s.seen),
        "every authoritative server answers this site",
    ));
    plan.gates.push(Gate::when(
        flags_off || waited,
        Answer::NotYet,
        "readWrite",
        if refusing.is_empty() { "a read-only flag is still set".to_owned() } else { refusing.join("; ") },
        "the read-only flags are cleared",
    ));
    if forgets("a promotion ends") || !((traffic.is_some() && flags_off) || waited) {
        return;
    }
    let mut next = next::phase(s, record, Phase::Steady);
    next.settled = true;
    next.hold = next.hold.filter(|h| h.until > s.wall);
    let seen = s.memory.phase_seen();
    next::took(s, &mut next, "promote", between(seen, s.memory.at(Stamp::Promoted)));
    next::took(s, &mut next, "open", between(s.memory.at(Stamp::Promoted), Some(opened)));
    next::took(s, &mut next, "verify", between(Some(opened), Some(verified)));
    next::took(s, &mut next, "traffic", between(Some(verified), traffic));
    if flags_off && policy.workloads.values().any(|w| w.read_only.is_some()) {
        next::took(s, &mut next, "flagsOff", between(Some(traffic.unwrap_or(verified)), Some(s.now)));
    }
    pause(s, &mut next, seen, verified);
    let words = next.transition.as_ref().map_or_else(|| format!("{} is open", s.me), describe);
    let end = match next.transition.as_ref().map(|t| t.cause) {
        Some(Cause::Planned | Cause::Forced) => MoveEnd::Done,
        _ => MoveEnd::BecameFailover,
    };
    next::judge_doing(s, &mut next, end, words.clone());
    next::end(s, &mut next);
    next::propose(s, plan, next, words);
}

/// The write pause of a switchover: what the old site needed to stop, and what the new one needed from there.
fn pause(s: &Situation<'_>, next: &mut Record, seen: Option<Boottime>, verified: Boottime) {
    let Some(t) = &next.transition else { return };
    if t.cause != Cause::Planned {
        return;
    }
    let part = |name: &str| t.phases.iter().find(|p| p.name == name).map(|p| p.took.0);
    let total = part("stop")
        .zip(part("prove"))
        .zip(seen.map(|at| Millis::from(verified.since(at)).0))
        .map(|((stop, prove), here)| Millis(stop + prove + here));
    next::took(s, next, "writePause", total);
}

fn describe(t: &crate::record::Transition) -> String {
    let loss = t.loss_bound.as_ref().map_or_else(|| "loss unknown".to_owned(), crate::loss::LossBound::said);
    // Users notice more: they are read-only before it stops and until the names point at the new one.
    let pause =
        t.phases.iter().find(|p| p.name == "writePause").map(|p| format!(", database pause {}", p.took));
    format!(
        "the role moved from {} to {} (epoch {}){}; {loss}",
        t.from,
        t.to,
        t.epoch,
        pause.unwrap_or_default()
    )
}

/// The active site in `Steady`: a database that is known not to be an open primary is one that nobody can write to.
pub(super) fn closed(s: &Situation<'_>, policy: &Policy, plan: &mut Plan) {
    let reports = policy.databases.keys().filter_map(|name| s.seen.databases.get(name)?.guard.value());
    if reports.into_iter().any(|r| r.state != ServerState::Primary { open: true }) {
        plan.gates.push(Gate::new(
            "open",
            Answer::NotYet,
            states(s, policy),
            "every database is an open primary",
        ));
    }
}

fn verify(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    if !s.lease_alive() || forgets("a promotion verifies a write") {
        return;
    }
    for name in policy.databases.keys() {
        let done = s.seen.databases.get(name).is_some_and(|d| d.write_verified == Some(record.epoch));
        if !done {
            plan.steps.push(Step::VerifyWrite { database: name.clone(), epoch: record.epoch });
        }
    }
}

fn states(s: &Situation<'_>, policy: &Policy) -> String {
    let words = policy.databases.keys().map(|name| {
        let report = s.seen.databases.get(name).and_then(|d| d.guard.value());
        let state = report.map_or_else(
            || "no report of its guard".to_owned(),
            |r| crate::decide::eligible::state_words(&r.state),
        );
        format!("{name} is {state}")
    });
    words.collect::<Vec<_>>().join("; ")
}

fn promotion_failed(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let passed = s.in_phase();
    if passed < PROMOTION_DEADLINE {
        plan.again(s.now + PROMOTION_DEADLINE.saturating_sub(passed));
        offer::start_again(s, record, plan);
        return;
    }
    let failed = policy.databases.keys().any(|name| {
        let report = s.seen.databases.get(name).and_then(|d| d.guard.value());
        report.is_some_and(|r| {
            matches!(
                r.state,
                ServerState::Failed { .. }
                    | ServerState::Down
                    | ServerState::Standby { .. }
                    | ServerState::Promoting
                    // A primary that cannot be opened serves nobody, and may be handed back.
                    | ServerState::Primary { open: false }
            )
        })
    });
    // Only a site that can be asked may take the role over; otherwise going on trying is the better choice.
    let somebody = policy.other_sites(s.me).any(|site| s.lives(site) == Some(true));
    // A lock that one of them cannot confirm would only stop the others; after one that was taken back it may try again.
    let confirmed = witness::missing(s, policy, record).is_none();
    let tried = s.memory.unchanged_for(s.now) >= offer::START_AGAIN;
    if failed && somebody && confirmed && tried && s.may_write() {
        plan.gates.push(Gate::new(
            "promotion",
            Answer::No,
            format!("not open after {}: {}", human(passed), states(s, policy)),
            format!("an open primary within {}", human(PROMOTION_DEADLINE)),
        ));
        posture::lock(plan);
    } else {
        withdraw::watch(s, policy, record, plan);
        offer::start_again(s, record, plan);
    }
}

/// A failed promotion, the guards ordered to lock: offers the role. It says "nothing was opened" only when every
/// guard proves it from what it wrote beside the data before opening, and the hold before had reached `Steady`.
fn give_back(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    posture::lock(plan);
    let Some(serial) = s.claim.locking() else { return };
    if !note::locked(s, policy, record, serial) {
        plan.gates.push(Gate::new(
            "locked",
            Answer::NotYet,
            states(s, policy),
            "every guard has confirmed its lock",
        ));
        plan.gates.extend(witness::missing(s, policy, record));
        offer::unlock(s, policy, record, plan);
        return;
    }
    let never_opened = forgets("what was opened is never denied")
        || policy.databases.keys().all(|name| witness::never_opened(s, record, name));
    let back = record
        .previous
        .as_ref()
        .filter(|p| p.settled || forgets("only a hold that settled is excused"))
        .map(|p| p.site.clone());
    let mut next = next::phase(s, record, Phase::Offered);
    next.target.clone_from(&back);
    next.offer = Some(Offer {
        never_opened: never_opened && back.is_some(),
        ends: offer::known_ends(s, policy),
        reason: "the promotion failed".to_owned(),
    });
    next::propose(s, plan, next, "the promotion failed: the role is offered back");
}

/// The site that came back during `ReadOnly`: its traffic returns when it has been stable long enough.
pub(super) fn returning(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let Some(since) = s.memory.at(Stamp::StableSince) else {
        plan.gates.push(Gate::new("open", Answer::NotYet, states(s, policy), "every database is open again"));
        return;
    };
    let stable = s.now.since(since);
    let wanted = policy.failover.return_after;
    plan.gates.push(Gate::when(
        stable >= wanted,
        Answer::NotYet,
        "stable",
        format!("stable for {}", human(stable)),
        human(wanted),
    ));
    if stable < wanted {
        plan.again(since + wanted);
        return;
    }
    let moved = s.memory.at(Stamp::TrafficMoved);
    let waited = stable >= wanted + TRAFFIC_DEADLINE;
    plan.again_when(since + wanted + TRAFFIC_DEADLINE, s.now);
    plan.gates.push(Gate::when(
        moved.is_some() || waited,
        Answer::NotYet,
        "traffic",
        posture::traffic_words(policy, s.seen),
        "every authoritative server answers this site",
    ));
    if !(moved.is_some() || waited) {
        return;
    }
    let mut next = next::settled_again(s, record);
    if !record.settled {
        // The transition that the silence interrupted is the one to finish; what it measured is gone.
        let cause = if record.doing.is_some() { Cause::Planned } else { Cause::SiteLost };
        next::begin(s, &mut next, cause, s.me);
        if let Some(t) = &mut next.transition {
            t.from = record.previous.as_ref().map_or_else(|| s.me.clone(), |p| p.site.clone());
            t.loss_bound = Some(crate::loss::LossBound::UNKNOWN);
        }
    }
    next::propose(
        s,
        plan,
        next,
        format!("{} has been stable for {}: reads and writes are back", s.me, human(stable)),
    );
}
