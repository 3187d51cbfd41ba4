//! How long nobody could write, from the clients' record alone (L2).
//!
//! The clock runs while nothing excuses it. It starts anew with everything that disturbs the world: what a fault begins or
//! takes back is a new cause. While a fault is on it runs only if the fault takes away the active site and nothing else,
//! for then there is a quorum and a site that can be promoted.

use std::collections::BTreeSet;
use std::time::Duration;

use bascule_core::name::PolicyKey;
use bascule_core::policy::{After, Policy};
use bascule_core::record::Phase;

use super::{Invariant, Judge};
use crate::fault::Fault;
use crate::time::Moment;
use crate::world::World;
use crate::world::client::Outcome;
use crate::world::database::Database;

/// What disturbed the world, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disturbances(Vec<(Moment, Change)>);

#[derive(Clone, Copy, Debug)]
enum Change {
    /// A fault that lasts began.
    Begins(Fault),
    /// It is over.
    Ends(Fault),
    /// Something happened that is over at once.
    Once,
}

impl Disturbances {
    pub(crate) fn begins(&mut self, at: Moment, fault: Fault, lasts: bool) {
        self.0.push((at, if lasts { Change::Begins(fault) } else { Change::Once }));
    }

    pub(crate) fn ends(&mut self, at: Moment, fault: Fault) {
        self.0.push((at, Change::Ends(fault)));
    }

    pub(crate) fn once(&mut self, at: Moment) {
        self.0.push((at, Change::Once));
    }

    /// Whether a site had two operators at any time in the last `window`.
    pub(crate) fn two_operators_since(&self, now: Moment, window: Duration) -> bool {
        self.was_on(|fault| matches!(fault, Fault::SecondOperator(_)), now, window)
    }

    /// Whether a site's API server could not be heard at any time in the last `window`.
    pub(crate) fn api_was_away_since(&self, site: usize, now: Moment, window: Duration) -> bool {
        let of_it = |fault: &Fault| {
            let api = matches!(
                fault,
                Fault::ApiGone(_)
                    | Fault::ApiSilent(_)
                    | Fault::ApiBusy(_)
                    | Fault::ApiSlow(_)
                    | Fault::ApiDeaf(_)
                    | Fault::ApiForbidden(_)
            );
            api && fault.site() == Some(site)
        };
        self.was_on(of_it, now, window)
    }

    /// Whether a fault like that was on at any time in the last `window`.
    fn was_on(&self, is: impl Fn(&Fault) -> bool, now: Moment, window: Duration) -> bool {
        let past = || self.0.iter().filter(|(at, _)| *at <= now);
        let began = past().filter(|(_, c)| matches!(c, Change::Begins(f) if is(f))).count();
        let over = |at: &Moment| now.since(*at) >= window;
        let ended = past().filter(|(at, c)| matches!(c, Change::Ends(f) if is(f)) && over(at)).count();
        began > ended
    }

    /// Whether a site's database stood still at any time in the last `window`.
    fn stood_still_since(&self, site: usize, now: Moment, window: Duration) -> bool {
        let of_it = |fault: &Fault| {
            let still = matches!(
                fault,
                Fault::SiteFrozen(_) | Fault::PodFrozen(_) | Fault::ServerFrozen(_) | Fault::GuardFrozen(_)
            );
            still && fault.site() == Some(site)
        };
        self.was_on(of_it, now, window)
    }

    /// Whether a whole site stood still at any time in the last `window`: what was on its way there arrives when it goes
    /// on.
    pub(crate) fn site_stood_still_since(&self, site: usize, now: Moment, window: Duration) -> bool {
        self.was_on(|fault| *fault == Fault::SiteFrozen(site), now, window)
    }

    /// When the world was last disturbed, until `now`: what will end later was noted when it began.
    pub(crate) fn last(&self, now: Moment) -> Option<Moment> {
        self.0.iter().map(|(at, _)| *at).filter(|at| *at <= now).max()
    }
}

/// How long a process or a container may take to come back by itself: its start, and its pauses between attempts. A server
/// that keeps dying is let start again every five seconds at most, and a step that fails is tried again after ten at most.
const COMES_BACK: Duration = Duration::from_secs(15);
/// How long clients take to follow a name: the time to live that the policy writes, its transfer to every server, and a
/// client's own pace.
const CLIENTS_FOLLOW: Duration = Duration::from_millis(1500);
/// A promotion with its steps (start, recovery, close, promote, open, verify), at the speeds that the world gives them.
const PROMOTES: Duration = Duration::from_millis(1500);
/// How long a site waits for its target before it takes its role back.
const HANDOVER: Duration = Duration::from_secs(20);
/// How long a promotion may be tried before it is given up.
const PROMOTION: Duration = Duration::from_mins(1);

/// The part of the recovery that everybody needs whatever was lost: silence for `L` between two reads, of which each may
/// take `Tq` and waits for its beat; three compare-and-swaps and what is read before each; the watch that tells of them;
/// the promotion; the clients. Of several copies each lets a better one go first, for as long as silence takes at most.
fn take(world: &World) -> Duration {
    let t = &world.timing;
    let reads = (t.p() + t.tq()) * 2;
    let writes = (t.tq() * 2) * 3;
    let turns = if world.sites.len() > 2 { t.l() } else { Duration::ZERO };
    t.l() + turns + reads + writes + t.tq() * 2 + PROMOTES + CLIENTS_FOLLOW
}

/// What a phase that the record was in may add by itself.
fn patience(policy: &Policy, phase: &Phase) -> Duration {
    match phase {
        Phase::Requested => policy.failover.switchover_deadline,
        Phase::Handover => HANDOVER,
        Phase::Offered => policy.failover.offer_for,
        Phase::Promoting => PROMOTION,
        Phase::Withdrawn => policy.failover.restart_grace,
        // Reads first, then the promotion; a site that returns writes as soon as it has its role back.
        Phase::ReadOnly => policy.failover.promote_after.elapsed().unwrap_or_default(),
        Phase::Steady | Phase::Returning | Phase::Unmanaged | Phase::Unknown(_) => Duration::ZERO,
    }
}

impl World {
    /// Whether clients could write again in time after everything that happened since `since`.
    ///
    /// `alone`: nothing went wrong but what the flow is about, so that nothing has to come back by itself first.
    pub(crate) fn judge_recovery(&mut self, app: usize, since: Moment, alone: bool) {
        let Some(policy) = self.policies.get(app).cloned() else { return };
        let gone_back = self.judge.gone_back;
        let acked = self.writes.iter().filter(|w| w.app == app && w.outcome == Outcome::Acked);
        let mut acks: Vec<Moment> = acked.map(|w| w.ended).filter(|t| *t >= since).collect();
        acks.push(self.now);
        acks.sort_unstable();
        let mut from = since;
        for ack in acks {
            // Anything shorter than silence is no outage worth a look.
            if ack.since(from) > self.timing.l() / 2
                && let Some((waited, bound, why)) = self.too_long(&policy, from, ack, alone)
                && gone_back.is_none_or(|t| ack < t)
            {
                let what = format!("nobody could write for {waited:?}, at most {bound:?} are needed: {why}");
                self.judge.breaks(ack, Invariant::L2, what);
            }
            from = ack;
        }
    }

    /// The first undisturbed part of an outage that is longer than it may be.
    fn too_long(
        &self,
        policy: &Policy,
        from: Moment,
        to: Moment,
        alone: bool,
    ) -> Option<(Duration, Duration, String)> {
        let mut on: Vec<Fault> = Vec::new();
        let mut begins = from;
        let mut parts = Vec::new();
        let mut changes = self.judge.disturbed.0.clone();
        changes.sort_by_key(|(at, _)| *at);
        for (at, change) in changes {
            if at >= to {
                break;
            }
            if at > from {
                parts.push((begins, at, on.clone()));
                begins = at;
            }
            match change {
                Change::Begins(fault) => on.push(fault),
                // The same fault may be on twice, for different times.
                Change::Ends(fault) => {
                    if let Some(one) = on.iter().position(|f| *f == fault) {
                        on.remove(one);
                    }
                }
                Change::Once => {}
            }
        }
        parts.push((begins, to, on));
        parts.into_iter().find_map(|(begins, ends, on)| {
            let waited = ends.since(begins);
            let bound = self.bound(policy, begins, ends, &on, alone)?;
            (waited > bound).then(|| {
                (waited, bound, format!("{on:?} on, the record in {:?}", self.phases(policy, begins, ends)))
            })
        })
    }

    /// How long this part may last; `None`: something excuses it.
    fn bound(
        &self,
        policy: &Policy,
        begins: Moment,
        ends: Moment,
        on: &[Fault],
        alone: bool,
    ) -> Option<Duration> {
        let phases = self.phases(policy, begins, ends);
        let active = self.active_at(&policy.key, begins)?;
        let away = |fault: &Fault| takes_away(*fault, active);
        let harmless = |fault: &Fault| leaves_recovery_alone(*fault);
        if on.is_empty() || on.iter().all(harmless) {
            if alone {
                // A database that died is offered without any silence; one that comes back has to start.
                let without_silence = take(self).saturating_sub(self.timing.l());
                return Some(without_silence + policy.failover.restart_grace.min(COMES_BACK));
            }
            let own: Duration = phases.iter().map(|p| patience(policy, p)).sum();
            return Some(take(self) + COMES_BACK + policy.failover.restart_grace + own);
        }
        // The target of a switchover, or of an offer, is lost: who had the role takes it back.
        let target = |fault: &Fault| (0..self.sites.len()).any(|s| s != active && takes_away(*fault, s));
        if on.iter().all(|f| target(f) || harmless(f)) {
            let own: Duration = phases.iter().map(|p| patience(policy, p)).sum();
            return Some(take(self) + COMES_BACK + own);
        }
        // Nobody takes the role of a policy that nobody manages.
        let unmanaged = phases.contains(&Phase::Unmanaged);
        if unmanaged
            || !on.iter().all(|f| away(f) || harmless(f))
            || self.is_held_back(policy, begins)
            || !self.knows_enough(policy, active, begins, ends)
        {
            return None;
        }
        // Reads are served first where the policy wants it, and then for as long as it wants.
        let After::Elapsed(after) = policy.failover.promote_after else { return None };
        let reads = match policy.failover.serve_reads_after {
            After::Elapsed(reads) if !after.is_zero() => reads.saturating_sub(self.timing.l()) + after,
            After::Never if !after.is_zero() => return None,
            _ => Duration::ZERO,
        };
        let own: Duration = phases.iter().filter(|p| **p == Phase::Promoting).map(|_| COMES_BACK).sum();
        Some(take(self) + reads + own)
    }

    /// The phases that the record was in.
    fn phases(&self, policy: &Policy, begins: Moment, ends: Moment) -> Vec<Phase> {
        let mut found: Vec<Phase> = Vec::new();
        for (at, key, record) in &self.judge.changes {
            if *key != policy.key || *at >= ends {
                continue;
            }
            if *at <= begins {
                found.clear();
            }
            if !found.contains(&record.phase) {
                found.push(record.phase.clone());
            }
        }
        found
    }

    /// Who was active.
    fn active_at(&self, policy: &PolicyKey, at: Moment) -> Option<usize> {
        let mut mine = self.judge.changes.iter().filter(|(t, key, _)| key == policy && *t <= at);
        mine.next_back().and_then(|(_, _, record)| self.site_of(&record.active))
    }

    /// Whether a person or the policy keeps the role where it is.
    fn is_held_back(&self, policy: &Policy, at: Moment) -> bool {
        let mut mine = self.judge.changes.iter().filter(|(t, key, _)| *key == policy.key && *t <= at);
        let last = mine.next_back().map(|(_, _, record)| record);
        let cooldown = !policy.failover.cooldown.is_zero() && last.is_some_and(|r| r.epoch > 1);
        cooldown || last.is_some_and(|r| r.hold.is_some())
    }

    /// Whether all copies of another site know how far they were behind, and that it is no more than is allowed: one that has
    /// heard nothing since its machine started, or for too long before the outage, cannot be promoted by itself.
    fn knows_enough(&self, policy: &Policy, active: usize, begins: Moment, at: Moment) -> bool {
        let stops = self.timing.r() + self.timing.f() + self.timing.p() + self.timing.tq();
        let allowed = policy.failover.max_data_loss.seconds.saturating_sub(stops);
        let knows = |(db, d): (usize, &Database)| {
            // What waited for a copy that stood still was old when it came.
            let stood_still = self.judge.disturbed.stood_still_since(d.site, begins, allowed);
            let last = self.last_knew_its_lag(db, at);
            !stood_still && self.knew_its_lag(db, at) && last.is_some_and(|t| begins.since(t) <= allowed)
        };
        let of = |site: usize| {
            let all = self.databases.iter().enumerate();
            all.filter(move |(_, d)| d.policy == policy.key && d.site == site)
        };
        let mut others = (0..self.sites.len()).filter(|site| *site != active);
        others.any(|site| of(site).all(knows))
    }
}

/// Whether a fault takes the active site away and leaves everything else as it is.
const fn takes_away(fault: Fault, active: usize) -> bool {
    match fault {
        Fault::SiteLost(s)
        | Fault::Isolated(s)
        | Fault::ArbiterCut(s)
        | Fault::Mute(s)
        | Fault::DeafSite(s) => s == active,
        _ => false,
    }
}

/// Whether a recovery needs nothing of what a fault takes.
const fn leaves_recovery_alone(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::GitDown
            | Fault::GitHidden(_)
            | Fault::GitInvalid
            | Fault::GitRewritten
            | Fault::ClockSet(..)
            | Fault::NameTaken(_)
            | Fault::OldWord(_)
    )
}

impl Judge {
    /// What disturbed the world before a flow is over.
    pub(crate) fn forgets_disturbances(&mut self) {
        self.disturbed = Disturbances::default();
    }

    /// The policies of the world.
    pub(crate) fn policies_named(&self) -> BTreeSet<PolicyKey> {
        self.policies.keys().cloned().collect()
    }
}
