//! What must hold at every moment.

use std::time::Duration;

use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::plan::Step;
use bascule_core::policy::Policy;
use bascule_core::record::{Cause, Fences, Phase, Record};

use super::{Commit, Invariant, Judge, Limit, Sometimes};
use crate::time::Moment;
use crate::world::World;
use crate::world::arbiter::{Caller, Changed};
use crate::world::cluster::Api;
use crate::world::dns::Pointed;
use crate::world::net::Traffic;
use crate::world::postgres::{Run, Token, What};

/// Two clocks may run apart by so much in a hundred: silence that was measured on one is a little shorter in truth.
const RATE: u32 = 2;

/// How long a call to an API server may take that was sent before it could be heard again.
const MARKS_CALL: Duration = Duration::from_secs(6);

impl Judge {
    /// A server has committed.
    pub(crate) fn commits(&mut self, now: Moment, token: Token, database: usize, _site: usize, epoch: u64) {
        let policy = self.owners.get(&database).cloned();
        let latest = policy.as_ref().and_then(|p| self.latest.get(p)).copied();
        let excused = self.excused.contains(&database);
        let after_later = latest.filter(|(e, d)| *e > epoch || (*e == epoch && *d != database));
        self.commits.insert(token, Commit { at: now, token, database, epoch, after_later, excused });
        if let Some(policy) = policy.filter(|_| after_later.is_none() && !excused) {
            self.latest.insert(policy, (epoch, database));
        }
    }

    /// A client has heard that its write is done.
    pub(crate) fn acked(&mut self, now: Moment, token: Token) {
        self.acked.insert(token);
        let Some(commit) = self.commits.get(&token).copied() else {
            self.breaks(now, Invariant::S1, format!("row {token} was acknowledged and never committed"));
            return;
        };
        if let Some((epoch, other)) = commit.after_later.filter(|_| !commit.excused) {
            let what = format!(
                "row {token} was acknowledged by database {} in epoch {} after database {other} had written in epoch {epoch}",
                commit.database, commit.epoch
            );
            self.breaks(now, Invariant::S1, what);
        }
    }

    pub(crate) fn touches(&mut self, now: Moment, site: &SiteName, policy: &Policy, step: &Step) {
        let known = self.policies.get(&policy.key);
        let named = known.is_some_and(|p| match step {
            Step::SetReadOnly { workload, .. } | Step::Scale { workload, .. } => {
                p.workloads.contains_key(workload)
            }
            Step::PointTraffic { traffic, site, .. } => p.traffic.contains_key(traffic) && p.has_site(site),
            Step::RefuseWrites { traffic, .. } => p.traffic.contains_key(traffic),
            Step::VerifyWrite { database, .. } => p.databases.contains_key(database),
        });
        if !named {
            let what =
                format!("{site}: policy {} touched what it does not name: {}", policy.key, step.words());
            self.breaks(now, Invariant::S10, what);
        }
    }

    pub(crate) fn pointed(
        &mut self,
        now: Moment,
        name: &(PolicyKey, ItemName),
        of: Option<usize>,
        to: &Pointed,
    ) {
        let target = (name.clone(), of);
        if let Some(before) = self.pointed.get(&target)
            && (before.epoch, before.serial) > (to.epoch, to.serial)
        {
            let what = format!(
                "traffic was pointed at {} by serial {} of epoch {} after serial {} of epoch {}",
                to.site, to.serial, to.epoch, before.serial, before.epoch
            );
            self.breaks(now, Invariant::S6, what);
        }
        self.pointed.insert(target, to.clone());
    }

    pub(crate) fn opens(&mut self, now: Moment, database: usize, epoch: u64) {
        self.excused.remove(&database);
        let policy = self.owners.get(&database);
        let latest = policy.and_then(|p| self.latest.get(p));
        if let Some((later, other)) = latest.filter(|(e, _)| *e > epoch) {
            let what =
                format!("database {database} opens in epoch {epoch}; {other} has written in epoch {later}");
            self.breaks(now, Invariant::S1, what);
        }
    }

    /// The rows that were acknowledged in earlier holds and are not in this log, oldest first.
    fn lost(&self, policy: &PolicyKey, rows: &std::collections::BTreeSet<Token>) -> Vec<Commit> {
        let mine = |c: &&Commit| self.owners.get(&c.database) == Some(policy);
        let gone = |c: &&Commit| self.acked.contains(&c.token) && !rows.contains(&c.token) && !c.excused;
        let mut lost: Vec<Commit> = self.commits.values().filter(mine).filter(gone).copied().collect();
        lost.sort_by_key(|c| c.at);
        lost
    }
}

impl World {
    /// A record, a lease or facts were written.
    pub(crate) fn judge_store(&mut self, by: Caller, changed: &Changed) {
        match changed {
            Changed::Lease(site) => {
                let before = self.judge.leases.insert(site.clone(), self.now);
                if let (Some(at), Some(before)) = (self.site_of(site), before) {
                    self.meets_return(at, before);
                }
            }
            Changed::Facts { policy, site } => self.facts_said(policy, site),
            Changed::Record { policy, before, .. } => {
                let Some(next) = self.record(policy).cloned() else { return };
                self.judge_record(by, policy, before.as_deref(), &next);
                self.judge_intent(by, policy, before.as_deref(), &next);
                let entered = before.as_ref().is_none_or(|b| b.phase != next.phase);
                let phase = next.phase.name().to_owned();
                self.judge.changes.push((self.now, policy.clone(), Box::new(next)));
                if entered {
                    self.entered(&phase);
                }
            }
        }
    }

    fn judge_record(&mut self, by: Caller, policy: &PolicyKey, before: Option<&Record>, next: &Record) {
        let now = self.now;
        let marks = (next.generation, next.epoch, next.serial);
        let highest = if self.judge.gone_back.is_some() {
            self.judge_belief(by, policy, next);
            self.known_at(self.site_of_caller(by), policy)
        } else {
            self.judge.highest.get(policy).copied()
        };
        if highest.is_some_and(|h| h >= marks) && self.cannot_hear_its_own(by) {
            self.judge.believes();
        } else if highest.is_some_and(|h| h >= marks && (h.0, h.1) == (marks.0, marks.1))
            && self.cannot_have_heard_yet(by, before, next)
        {
            self.judge.limits.insert(Limit::ArbiterWentBack);
        } else if let Some(highest) = highest.filter(|h| *h >= marks) {
            let what = format!(
                "the record of {policy} fell from {highest:?} to {marks:?} (generation, epoch, serial)"
            );
            self.judge.breaks(now, Invariant::S2, what);
        }
        let known = self.judge.highest.get(policy).copied().unwrap_or_default();
        self.judge.highest.insert(policy.clone(), known.max(marks));
        if next.generation > 0 && before.is_none_or(|b| next.generation > b.generation) {
            return self.judge_anew(policy, next);
        }
        let Some(before) = before else { return };
        if next.epoch < before.epoch || (next.active != before.active && next.epoch == before.epoch) {
            let what =
                format!("{} became active in epoch {}, after {}", next.active, next.epoch, before.epoch);
            self.judge.breaks(now, Invariant::S2, what);
        }
        if let Some(doing) = &next.doing
            && !self.judge.intents.contains_key(&doing.hash)
        {
            let what = format!("Move {} is carried out, and nobody asked for it", doing.name);
            self.judge.breaks(now, Invariant::S8, what);
        }
        if next.phase == Phase::Requested && before.phase != Phase::Requested && next.doing.is_none() {
            self.judge.breaks(now, Invariant::S8, "a switchover began without a Move".to_owned());
        }
        if next.phase == Phase::Handover && before.phase == Phase::Requested {
            self.judge_handover(policy, next);
        }
        match next.phase {
            Phase::Offered => self.judge.meets(Sometimes::Offered),
            Phase::Withdrawn => self.judge.meets(Sometimes::Withdrawn),
            Phase::Returning => self.judge.meets(Sometimes::Returned),
            _ => {}
        }
        if before.phase == Phase::Unmanaged {
            // Nobody acted until now: the flags are where they were left, and each site looks after its own from here on.
            let until = now + Duration::from_secs(2);
            (0..self.sites.len()).for_each(|site| self.judge.flag_is_out_of_reach(site, until));
        }
        if next.phase == Phase::Steady && matches!(before.phase, Phase::Requested | Phase::Handover) {
            self.judge.meets(Sometimes::RolledBack);
        }
        if next.active != before.active {
            self.judge_take(by, policy, before, next);
        }
    }

    /// Of two operators of one site the guard speaks to one. The other knows what the site has seen from its marks alone, and
    /// waits no longer than `R` for an API server that does not answer.
    fn cannot_hear_its_own(&self, by: Caller) -> bool {
        let site = self.site_of_caller(by);
        self.judge.gone_back.is_some()
            && self.judge.disturbed.two_operators_since(self.now, self.timing.l())
            && self.judge.disturbed.api_was_away_since(site, self.now, MARKS_CALL)
    }

    /// Of two operators of one site one has seen a change that the arbiter has lost since, and has written it down. The other,
    /// which has had the role all the time, goes on with it and has no reason to ask, until its own watch breaks: like a
    /// site whose change another site alone has seen. The serial alone falls: no role moves, and what was written stays.
    fn cannot_have_heard_yet(&self, by: Caller, before: Option<&Record>, next: &Record) -> bool {
        let Caller::Operator(op, _) = by else { return false };
        let (it, me) = (&self.operators[op], &self.sites[self.operators[op].site].name);
        let keeps = next.active == *me && before.is_some_and(|b| b.active == *me);
        // The watch is found broken, and the arbiter listed, and the marks read.
        let heard = self.timing.tq() * 4;
        let soon = |t: Moment| it.started < t && self.now.since(t) < heard;
        keeps
            && self.judge.gone_back.is_some_and(soon)
            && self.judge.disturbed.two_operators_since(self.now, self.timing.l())
    }

    fn site_of_caller(&self, by: Caller) -> usize {
        match by {
            Caller::Operator(op, _) => self.operators[op].site,
            Caller::Guard(db, _) => self.databases[db].site,
        }
    }

    /// A record is written in an arbiter that has gone back in time: did anybody who lives know better?
    fn judge_belief(&mut self, by: Caller, policy: &PolicyKey, next: &Record) {
        let now = self.now;
        let (Some(since), writer) = (self.judge.gone_back, self.site_of_caller(by)) else { return };
        let known = |site: usize| self.known_at(site, policy).filter(|(_, epoch, _)| *epoch > next.epoch);
        let better: Vec<usize> =
            (0..self.sites.len()).filter(|s| *s != writer && known(*s).is_some()).collect();
        let lives = |site: &&usize| {
            let renewed = self.judge.leases.get(&self.sites[**site].name);
            renewed.is_some_and(|t| *t > since && now.since(*t) < self.timing.l()) && self.reachable(**site)
        };
        if let Some(site) = better.iter().find(lives) {
            let (a, b) = (&self.sites[writer].name, &self.sites[*site].name);
            let what = format!(
                "{a} wrote epoch {} into an arbiter that had gone back, while {b} lived and knew epoch {:?}",
                next.epoch,
                known(*site).map(|(_, epoch, _)| epoch)
            );
            self.judge.breaks(now, Invariant::S2, what);
        } else if !better.is_empty() {
            self.judge.believes();
        }
    }

    /// A record is made anew in a generation that a person has raised: nobody gains the role by it. Whoever had it in the
    /// newest record that a living site knows of has it now.
    fn judge_anew(&mut self, policy: &PolicyKey, next: &Record) {
        let known = (0..self.sites.len())
            .filter(|s| self.reachable(*s))
            .filter_map(|s| self.known_at(s, policy))
            .max();
        let of = |r: &Record| (r.generation, r.epoch, r.serial);
        let newest = self.judge.changes.iter().rev().find(|(_, p, r)| p == policy && known == Some(of(r)));
        if let Some((_, _, newest)) = newest
            && newest.active != next.active
        {
            let what = format!(
                "the record was made anew with {} active; in the newest that anybody has seen {} was",
                next.active, newest.active
            );
            self.judge.breaks(self.now, Invariant::S3, what);
        }
    }

    /// The highest marks that a site has kept anywhere.
    fn known_at(&self, site: usize, policy: &PolicyKey) -> Option<(u64, u64, u64)> {
        let marks = self.sites[site].cluster.marks.get(policy).map(|k| k.marks);
        let marks = marks.map(|m| (m.generation, m.epoch, m.serial));
        let guards = self.databases.iter().filter(|d| d.policy == *policy && d.site == site).map(|d| {
            let h = d.guard.rules.memory().high_water;
            (h.generation, h.epoch, h.serial)
        });
        marks.into_iter().chain(guards).max()
    }

    fn judge_take(&mut self, _by: Caller, policy: &PolicyKey, before: &Record, next: &Record) {
        let now = self.now;
        let old = self.site_of(&before.active);
        let holder = old.and_then(|site| self.database_at(policy, site));
        let writes = holder.is_some_and(|db| {
            let it = &self.databases[db];
            self.sites[it.site].up && it.server.run.commits() && !self.judge.excused.contains(&db)
        });
        let forced = next.transition.as_ref().is_some_and(|t| t.cause == Cause::Forced);
        match before.phase {
            Phase::Handover | Phase::Offered => {
                if writes {
                    let what = format!(
                        "{} was taken while {} still wrote ({})",
                        policy, before.active, before.phase
                    );
                    self.judge.breaks(now, Invariant::S3, what);
                }
            }
            _ => {
                let silent = self.judge.leases.get(&before.active).map(|t| now.since(*t));
                let needed = before.promise.lease.duration() * (100 - RATE) / 100;
                let fences = matches!(before.promise.fences, Fences::Within { .. });
                let proved = fences && silent.is_none_or(|s| s >= needed);
                if !proved && !self.judge.somebody_said_stopped() {
                    let what = format!(
                        "{} took {policy} from {} in {}: silent for {silent:?}, promise {:?}",
                        next.active, before.active, before.phase, before.promise.fences
                    );
                    self.judge.breaks(now, Invariant::S3, what);
                }
                if !forced {
                    self.judge_flapping(policy);
                }
            }
        }
    }

    /// No second change by itself within the cooldown.
    fn judge_flapping(&mut self, policy: &PolicyKey) {
        let now = self.now;
        let cooldown = self.judge.policies.get(policy).map_or(Duration::ZERO, |p| p.failover.cooldown);
        let times = self.judge.automatic.entry(policy.clone()).or_default();
        // After a restart the cooldown is counted by two machines' wall clocks: it is as good as these are.
        let set = self.faults.iter().any(|f| f.begun && matches!(f.fault, crate::fault::Fault::ClockSet(..)));
        // A record that was made anew of an emptied arbiter has no history.
        let forgotten = self.generation > 0;
        let soon = !set && !forgotten && times.last().is_some_and(|t| now.since(*t) < cooldown);
        times.push(now);
        if soon {
            let what = format!("the role of {policy} moved twice by itself within {cooldown:?}");
            self.judge.breaks(now, Invariant::L3, what);
        }
    }

    /// A server is about to be opened for clients: what has been lost by it?
    pub(crate) fn judge_opening(&mut self, db: usize, epoch: u64) {
        let now = self.now;
        let policy = self.databases[db].policy.clone();
        self.judge.owners.insert(db, policy.clone());
        let Some(dir) = &self.databases[db].server.dir else { return };
        let rows: std::collections::BTreeSet<Token> = dir.rows().collect();
        let lost = self.judge.lost(&policy, &rows);
        let Some(record) = self.record(&policy).filter(|r| r.epoch == epoch).cloned() else { return };
        let transition = record.transition.as_ref().or(record.history.first()).filter(|t| t.epoch == epoch);
        let (Some(first), Some(last)) = (lost.first(), lost.last()) else { return };
        let Some(transition) = transition else { return };
        let span = last.at.since(first.at);
        let accepted =
            self.judge.intents.values().any(|m| {
                matches!(&m.order, bascule_core::moves::Order::Failover { accept_data_loss: true, .. })
            });
        match transition.cause {
            Cause::Planned => {
                let what = format!("{} acknowledged rows are lost by a planned switchover", lost.len());
                self.judge.breaks(now, Invariant::S5, what);
            }
            Cause::PromotionFailed => {
                let what = format!("{} acknowledged rows are lost by handing back", lost.len());
                self.judge.breaks(now, Invariant::S5, what);
            }
            Cause::Initial => {}
            Cause::SiteLost | Cause::DatabaseDead | Cause::Forced => {
                self.judge.meets(Sometimes::AllowedLoss);
                let allowed = self.judge.policies.get(&policy).map(|p| p.failover.max_data_loss.seconds);
                // Clocks of two machines take part, and the reports' own granularity.
                let slack = Duration::from_millis(60);
                if !accepted && allowed.is_some_and(|a| span > a + slack) {
                    let what = format!("{} rows of {span:?} are lost; {allowed:?} is allowed", lost.len());
                    self.judge.breaks(now, Invariant::S4, what);
                }
            }
        }
    }

    /// Whether a site can be reached by people's standards: it has power, its operator works, its API server answers.
    pub(super) fn reachable(&self, site: usize) -> bool {
        if self.judge.unreachable.get(&site).is_some_and(|until| self.now < *until) {
            return false;
        }
        let it = &self.sites[site];
        // One that has just started has not looked around yet.
        let settled =
            |o: &crate::world::operator::Operator| self.now.since(o.started) >= Duration::from_secs(1);
        let works =
            |o: &crate::world::operator::Operator| o.site == site && o.acts() && !o.frozen && settled(o);
        let joined = (0..self.net.places()).all(|p| {
            self.net.joined(it.place, crate::world::net::Place(p), Traffic::Arbiter) || p == self.outside().0
        });
        it.up && it.cluster.api == Api::Well && joined && self.operators.iter().any(works)
    }

    /// A read-only flag is taken off, or a standby is promoted: it must be on everywhere else that can be reached.
    pub(crate) fn judge_flags(&mut self, policy: &PolicyKey, site: usize, what: &str) {
        let now = self.now;
        for other in 0..self.sites.len() {
            if other == site || !self.reachable(other) {
                continue;
            }
            let apps = &self.sites[other].cluster.apps;
            let flagged = apps.iter().filter(|((p, _), app)| p == policy && app.flagged);
            let off = flagged.into_iter().any(|(_, app)| !app.flag && app.flag_owner.is_none());
            if off && self.flag_has_been_off_long(policy, other) {
                let (a, b) = (&self.sites[site].name, &self.sites[other].name);
                let what =
                    format!("{a} {what} while the read-only flag of {b}, which can be reached, is off");
                self.judge.breaks(now, Invariant::S7, what);
            }
        }
    }

    /// A site whose lease has lapsed cannot have been told: the flag of one that has just come back counts only once
    /// it has had time to be set.
    fn flag_has_been_off_long(&self, policy: &PolicyKey, site: usize) -> bool {
        let name = &self.sites[site].name;
        let renewed = self.judge.leases.get(name).is_some_and(|t| self.now.since(*t) < self.timing.l());
        let active = self.record(policy).is_some_and(|r| r.active == *name);
        renewed && !active
    }

    /// Whether the arbiter holds an older record of a policy than it did, or none.
    pub(crate) fn has_lost(&self, policy: &PolicyKey) -> bool {
        self.judge.highest.get(policy).is_some_and(|highest| {
            self.record(policy).is_none_or(|r| (r.generation, r.epoch, r.serial) < *highest)
        })
    }

    /// Whether the arbiter holds less than was known of it, or has forgotten who owns a site's name: a person has to say
    /// that it may be believed.
    pub fn waits_for_a_generation(&self) -> bool {
        let mut all = self.judge.highest.keys();
        all.any(|policy| self.has_lost(policy))
            || self.sites.iter().any(|s| !self.arbiter.store.owners.contains_key(&s.name))
    }

    /// Whether another cluster has the name of a site, as an emptied arbiter lets it: a person has to find out whose it is.
    pub fn a_stranger_has_a_name(&self) -> bool {
        self.arbiter.store.owners.values().any(|cluster| *cluster == crate::world::arbiter::STRANGER)
    }

    /// Whether every acknowledged row is where it should be: in the active site's log, or in a saved one.
    pub(crate) fn judge_rows(&mut self, policy: &PolicyKey) {
        let now = self.now;
        let Some(record) = self.record(policy) else { return };
        let Some(site) = self.site_of(&record.active.clone()) else { return };
        let Some(db) = self.database_at(policy, site) else { return };
        let Some(dir) = &self.databases[db].server.dir else { return };
        let mut rows: std::collections::BTreeSet<Token> = dir.rows().collect();
        let (mut all_back, mut saved) = (true, 0_usize);
        for it in self.databases.iter().filter(|d| d.policy == *policy) {
            all_back &= it.site == site || matches!(it.server.run, Run::Standby { .. });
            for rec in &it.beside.saved {
                if let What::Commit(token) = rec.what {
                    saved += usize::from(rows.insert(token));
                }
            }
        }
        let lost = self.judge.lost(policy, &rows);
        if all_back && !lost.is_empty() {
            let what = format!(
                "{} acknowledged rows are neither in {} nor in a saved log ({saved} are), the first is {}",
                lost.len(),
                self.sites[site].name,
                lost.first().map_or(0, |c| c.token)
            );
            self.judge.breaks(now, Invariant::S4, what);
        }
    }
}
