//! May this site take the role of a silent one?
//!
//! The taker's rule: the record is read; the active site's lease is seen unchanged for the recorded `L` by an unbroken
//! series of own reads, the last of them sent after the record's reply; the promise says that it fences; the loss gate
//! agrees; then one compare-and-swap that also compares the lease.

use std::sync::Arc;

use crate::blocker::is_about;
use crate::decide::situation::Situation;
use crate::decide::{candidate, next, planned};
use crate::guard::wire::{Behind, Disk, Report, ServerState};
use crate::loss::{LossBound, silent_site};
use crate::mutant::forgets;
use crate::name::ItemName;
use crate::plan::{Answer, Change, Gate, Plan, all_passed};
use crate::policy::{After, Policy};
use crate::position::{Lsn, Position};
use crate::record::{Cause, Fences, Phase, Record};
use crate::time::human;

/// What a site that is not active does next.
pub(super) fn decide(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let target = record.target.as_ref() == Some(s.me);
    plan.candidacy = candidate::mine(s, policy, record);
    match record.phase {
        Phase::Requested if target => planned::get_ready(s, policy, record, plan),
        Phase::Handover if target => planned::prove_and_take(s, policy, record, plan),
        Phase::Offered => crate::decide::offer::take(s, policy, record, plan),
        Phase::Unmanaged | Phase::Unknown(_) => return,
        _ => {}
    }
    if plan.transition.is_none() {
        lost(s, policy, record, plan);
    }
}

/// What follows from the active site's silence, by itself.
fn lost(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    if forgets("a take is allowed from Requested too") && matches!(record.phase, Phase::Requested) {
        return;
    }
    let silence = silence(s, record);
    let silent = silence.passed();
    if let Some(w) = s.observer.window(&record.active) {
        plan.again_when(w.first_received + record.promise.lease.duration(), s.now);
    }
    plan.gates.push(silence);
    if !silent {
        return;
    }
    let target = other_target(s, record);
    if let Some(target) = target {
        plan.gates.push(Gate::new(
            "target",
            Answer::NotYet,
            format!("{target} lives and is the target of {}", record.phase),
            format!("{target} takes it, is silent too, or cannot take it"),
        ));
        // Who serves reads and cannot be promoted does not keep the others from it.
        if !candidate::cannot(s, record, target) {
            return;
        }
    }
    let serve = serve_reads(s, policy, record);
    let served = serve.passed() || (record.phase == Phase::ReadOnly && record.target.as_ref() == Some(s.me));
    if let (Some(w), After::Elapsed(after)) =
        (s.observer.window(&record.active), policy.failover.serve_reads_after)
    {
        plan.again_when(w.first_received + after, s.now);
    }
    // With `promote.after: 0s` nobody waits for reads to be served first: silence for `L` is enough.
    let at_once = policy.failover.promote_after == After::Elapsed(std::time::Duration::ZERO)
        && policy.failover.serve_reads_after != After::Never;
    if !at_once || served {
        plan.gates.push(serve);
    }
    if !served && !at_once {
        return;
    }
    if let Some(turn) = turn(s, policy, record, plan) {
        plan.gates.push(turn);
        return;
    }
    let promote = promote_gates(s, policy, record, None);
    let may = all_passed(&promote);
    plan.gates.extend(promote);
    if may && !forgets("a silent site is replaced") {
        propose_take(s, policy, record, Cause::SiteLost, plan);
        return;
    }
    if record.phase == Phase::ReadOnly {
        let wait = policy.failover.promote_after.elapsed().map(|d| d.saturating_sub(s.in_phase()));
        if let Some(wait) = wait.filter(|w| !w.is_zero()) {
            plan.again(s.now + wait);
        }
        if record.target.as_ref() == Some(s.me) {
            return;
        }
    }
    if served && target.is_none() {
        propose_read_only(s, policy, record, plan);
    }
}

/// Whether another site goes first. For a site that lives by its lease and does nothing nobody waits longer than for one
/// that is dead.
fn turn(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) -> Option<Gate> {
    let lease = record.promise.lease.duration();
    let w = s.observer.window(&record.active)?;
    let gate = candidate::turn(s, policy, record, (w.silent_for().saturating_sub(lease), lease))?;
    plan.again_when(w.first_received + lease * 2, s.now);
    Some(gate)
}

/// The living site that what goes on is meant for, if it is not this one.
fn other_target<'a>(s: &Situation<'_>, record: &'a Record) -> Option<&'a crate::name::SiteName> {
    if !matches!(record.phase, Phase::ReadOnly | Phase::Handover) {
        return None;
    }
    let other = record.target.as_ref().filter(|t| *t != s.me && **t != record.active)?;
    // A site without any lease was never there.
    (s.observer.window(other).is_some() && s.lives(other) != Some(false)).then_some(other)
}

/// Whether the active site is proved silent, as a gate.
pub(super) fn silence(s: &Situation<'_>, record: &Record) -> Gate {
    let found = s.silent_for(&record.active).map_or_else(
        || format!("the lease of {} was not read without a break yet", record.active),
        |d| format!("{} has been silent for {}", record.active, human(d)),
    );
    Gate::when(
        s.proves_silence(record).is_some(),
        Answer::NotYet,
        "silence",
        found,
        format!(
            "{} by an unbroken series of reads, the last after the record's",
            human(record.promise.lease.duration())
        ),
    )
    .aged(s.observer.window(&record.active).map(|w| s.now.since(w.last_sent)))
}

fn serve_reads(s: &Situation<'_>, policy: &Policy, record: &Record) -> Gate {
    let silent = s.silent_for(&record.active).unwrap_or_default();
    match policy.failover.serve_reads_after {
        After::Never => {
            Gate::new("serveReads", Answer::No, "spec.failover.serveReads.after is Never", "a person's Move")
        }
        After::Elapsed(after) => Gate::when(
            silent >= after,
            Answer::NotYet,
            "serveReads",
            format!("silent for {}", human(silent)),
            human(after),
        ),
    }
}

/// What a person ordered by a Move `Failover`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forced<'a> {
    /// Who saw that the source is stopped.
    pub(super) source_stopped: Option<&'a str>,
    /// Promote whatever may be lost.
    pub(super) accept_data_loss: bool,
    /// The serial that the Move names.
    pub(super) serial: Option<u64>,
}

/// Every gate between silence and a promotion. A Move answers some of them by a person's word.
pub(super) fn promote_gates(
    s: &Situation<'_>,
    policy: &Policy,
    record: &Record,
    forced: Option<Forced<'_>>,
) -> Vec<Gate> {
    let mut gates = vec![
        Gate::when(s.lease_alive(), Answer::NotYet, "ownLease", "this site's own lease", "renewed in time")
            .aged(s.holder.last_sent().map(|t| s.now.since(t))),
    ];
    gates.push(match (record.promise.fences, forced) {
        (Fences::Within { .. }, _) => Gate::new(
            "promise",
            Answer::Yes,
            format!("{} promised to stop by itself ({:?})", record.active, record.promise.fence_class),
            "a promise to fence",
        ),
        (Fences::Never, Some(Forced { source_stopped: Some(who), serial: Some(serial), .. })) => Gate::when(
            serial == record.serial || forgets("a statement names the serial"),
            Answer::No,
            "promise",
            format!("\"{who}\", said of serial {serial}"),
            format!("a statement about the record as it is, serial {}", record.serial),
        ),
        (Fences::Never, _) => Gate::new(
            "promise",
            Answer::No,
            format!("{} promised nothing: it may still be writing", record.active),
            "a Move of type Failover with sourceStopped and serial",
        ),
    });
    if forced.is_none() {
        gates.push(s.not_held(record));
        gates.push(s.cooldown(policy, record));
        gates.push(match policy.failover.promote_after {
            After::Never => {
                Gate::new("promote", Answer::No, s.installation.why_never(), "a Move of type Failover")
            }
            After::Elapsed(after) => {
                let passed =
                    if record.phase == Phase::ReadOnly { s.in_phase() } else { std::time::Duration::ZERO };
                Gate::when(
                    passed >= after,
                    Answer::NotYet,
                    "promote",
                    format!("reads have been served for {}", human(passed)),
                    human(after),
                )
            }
        });
    }
    gates.extend(veto(s, policy));
    gates.extend(not_promotable(s, policy, record));
    let bound = loss(s, policy, record);
    let max = &policy.failover.max_data_loss;
    let accepted = forced.is_some_and(|f| f.accept_data_loss);
    gates.push(
        Gate::when(
            accepted || bound.within(max),
            if bound == LossBound::UNKNOWN { Answer::Unknown } else { Answer::No },
            "loss",
            if accepted {
                format!("{}; accepted by a person", bound.words())
            } else {
                bound.words_beside(max)
            },
            bound.allowed(max),
        )
        .aged(last_contact_age(s, policy)),
    );
    gates
}

/// How old the oldest of the replicas' last contacts is; unknown when one had none.
fn last_contact_age(s: &Situation<'_>, policy: &Policy) -> Option<std::time::Duration> {
    let contact = |name| Some(s.now.since(s.seen.databases.get(name)?.last_contact.as_ref()?.reported_at));
    policy
        .databases
        .keys()
        .map(contact)
        .try_fold(std::time::Duration::ZERO, |worst, age| age.map(|a| worst.max(a)))
}

/// Replication that still delivers comes from a server that was not stopped: a veto.
pub(super) fn veto(s: &Situation<'_>, policy: &Policy) -> Vec<Gate> {
    let limit = s.timing().veto_age();
    let mut gates = Vec::new();
    if forgets("who still receives does not take") {
        return gates;
    }
    for name in policy.databases.keys() {
        let Some(view) = s.seen.databases.get(name) else { continue };
        let (Some(report), Some(seen)) = (view.guard.value(), view.guard.age()) else { continue };
        let Some(p) = &report.positions else { continue };
        let Some(upstream) = p.upstream.as_ref().filter(|u| u.streams()) else { continue };
        if report.sends_its_own(upstream) {
            continue;
        }
        let Some(message) = upstream.message_age else {
            gates.push(Gate::new(
                "veto",
                Answer::Unknown,
                format!("{name} is streaming and the age of its last message is not known"),
                format!("no message younger than {}", human(limit)),
            ));
            continue;
        };
        let age = message.duration() + p.age.duration() + seen;
        gates.push(
            Gate::when(
                age >= limit,
                Answer::No,
                "veto",
                format!(
                    "{name} still receives: the last message is {} old, so a server lives without its guard",
                    human(age)
                ),
                format!("no message younger than {}", human(limit)),
            )
            .aged(Some(age)),
        );
    }
    gates
}

/// Whether this site could be promoted as far as it and its data are concerned, whoever asks and whenever.
pub(super) fn could(s: &Situation<'_>, policy: &Policy, record: &Record) -> bool {
    let bound = match (&record.phase, &record.offer) {
        (Phase::Offered, Some(offer)) => crate::decide::offer::offered_loss(s, policy, record, offer),
        _ => loss(s, policy, record),
    };
    all_passed(&not_promotable(s, policy, record)) && bound.within(&policy.failover.max_data_loss)
}

/// Why this site's replicas cannot be promoted, among everything that blocks it.
fn not_promotable(s: &Situation<'_>, policy: &Policy, record: &Record) -> Vec<Gate> {
    let mut gates: Vec<Gate> = crate::decide::eligible::blockers(s, policy, record);
    for name in policy.databases.keys() {
        let state = s.seen.databases.get(name).and_then(|d| d.guard.value()).map(|r| &r.state);
        let key = format!("database/{name}/replica");
        if state.is_some_and(|st| matches!(st, ServerState::Standby { .. })) {
            gates.push(Gate::new(&key, Answer::Yes, "a running replica", "a running replica"));
        } else if !gates.iter().any(|g| is_about(g, name)) {
            gates.push(Gate::new(&key, Answer::Unknown, "no running replica", "a running replica"));
        }
    }
    gates
}

/// The bound on what a promotion of this site would lose, as judged when contact was lost.
pub(super) fn loss(s: &Situation<'_>, policy: &Policy, record: &Record) -> LossBound {
    // What was judged when contact was lost stands, unless it was not known then: the standby has kept what it knew.
    let mine = record.phase == Phase::ReadOnly && record.target.as_ref() == Some(s.me);
    let judged = record.transition.as_ref().and_then(|t| t.loss_bound).filter(|_| mine);
    if let Some(bound) = judged.filter(|b| b.bytes.is_some() && b.unseen.is_some()) {
        return bound;
    }
    // A position is exact only as long as its source has not opened again.
    let exact = matches!(record.phase, Phase::Handover | Phase::ReadOnly);
    let window = s.observer.window(&record.active);
    let stops_within = match record.promise.fences {
        Fences::Within { holder, fence } => holder.duration() + fence.duration(),
        // It never stopped by itself: nobody knows for how long it went on.
        Fences::Never => return LossBound::UNKNOWN,
    };
    let mut worst = LossBound::NOTHING;
    for name in policy.databases.keys() {
        let view = s.seen.databases.get(name);
        let bound = match record.positions.get(name).filter(|_| exact) {
            Some(stop) => received_of(view.and_then(|d| d.guard.value()).map(Arc::as_ref), stop).map_or(
                LossBound::UNKNOWN,
                |received| LossBound {
                    bytes: Some(stop.lsn.ahead_of(received)),
                    unseen: Some(crate::time::Millis(0)),
                },
            ),
            None => silent_site(
                view.and_then(|d| d.last_contact.as_ref()),
                window.map(|w| w.first_received),
                stops_within,
            )
            .and_said(said_behind(s, record, name)),
        };
        worst = worst.worst(bound);
    }
    worst
}

/// How far the active site last said that this site's replica is behind.
pub(crate) fn said_behind<'a>(s: &'a Situation<'_>, record: &Record, name: &ItemName) -> Option<&'a Behind> {
    s.seen.sites.get(&record.active)?.value()?.behind.get(name)?.get(s.me)
}

/// What this replica has received of the history that `stop` is on. One whose server was started since it heard its
/// primary for the last time does not know on which timeline it received; its guard has kept that, and how much it was.
fn received_of(report: Option<&Report>, stop: &Position) -> Option<Lsn> {
    let report = report.filter(|r| matches!(&r.disk, Disk::Cluster(c) if c.system_id == stop.system_id))?;
    match report.positions.as_ref().and_then(|p| Some((p.timeline?, p))) {
        Some((timeline, p)) if timeline == stop.timeline => p.receive.max(p.replay),
        Some(_) => None,
        None => report.contact_lost.as_ref().filter(|c| c.timeline == Some(stop.timeline))?.received,
    }
}

/// Takes the role: `Promoting` with the next epoch.
pub(super) fn propose_take(
    s: &Situation<'_>,
    policy: &Policy,
    record: &Record,
    cause: Cause,
    plan: &mut Plan,
) {
    let Some(revision) = s.proves_silence(record) else { return };
    let from_handover = record.phase == Phase::Handover;
    let bound = loss(s, policy, record);
    let mut with_cause = record.clone();
    if with_cause.transition.is_none() || with_cause.phase != Phase::ReadOnly {
        next::begin(s, &mut with_cause, cause, s.me);
    }
    let mut next = next::promoted(s, policy, &with_cause);
    if let Some(t) = &mut next.transition {
        t.loss_bound = Some(bound);
        t.cause = cause;
    }
    if record.phase == Phase::ReadOnly {
        next::took(s, &mut next, "readOnly", Some(s.in_phase().into()));
    }
    sizes_of(s, record, &mut next);
    let why = format!(
        "{} takes the role of {} ({}{}); {}",
        s.me,
        record.active,
        record.phase,
        if from_handover { ", with its exact position" } else { "" },
        bound.said()
    );
    let unchanged_lease =
        Some((record.active.clone(), revision)).filter(|_| !forgets("a take compares the lease"));
    plan.transition = Some(Change { next, unchanged_lease, why });
}

fn propose_read_only(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    if !s.lease_alive() {
        return;
    }
    let Some(revision) = s.proves_silence(record) else { return };
    let mut next = next::phase(s, record, Phase::ReadOnly);
    next.target = Some(s.me.clone());
    next::begin(s, &mut next, Cause::SiteLost, s.me);
    let bound = loss(s, policy, record);
    if let Some(t) = &mut next.transition {
        t.loss_bound = Some(bound);
    }
    next::took(s, &mut next, "detect", s.silent_for(&record.active).map(Into::into));
    sizes_of(s, record, &mut next);
    let why = format!("{} is silent; {} serves reads; at risk: {}", record.active, s.me, bound.words());
    plan.transition = Some(Change { next, unchanged_lease: Some((record.active.clone(), revision)), why });
}

/// How large the lost site ran its workloads, as it last said.
pub(super) fn sizes_of(s: &Situation<'_>, record: &Record, next: &mut Record) {
    if let Some(facts) = s.facts(&record.active).value()
        && !facts.sizes.is_empty()
    {
        next.sizes.extend(facts.sizes.clone());
    }
}
