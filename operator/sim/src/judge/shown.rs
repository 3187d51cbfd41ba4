//! What operators show people, against what is true (L5, L6).
//!
//! Only an operator that lives, and whose API server takes what it shows, is judged by what it shows: what it cannot know
//! must be shown as unknown within a bound, and what keeps a world from settling must be named. What a dead one left behind
//! must not be believed, and what one that lives has shown must be, by the same rule as whoever reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bascule_core::heartbeat::YOUNG;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::plan::Answer;
use bascule_core::project::{Report, SiteRole};
use bascule_core::record::Phase;
use bascule_engine::ports::Shown;
use jiff::Timestamp;

use super::Invariant;
use crate::time::Moment;
use crate::world::World;
use crate::world::cluster::Api;
use crate::world::net::Traffic;
use crate::world::postgres::Run;

/// How long an operator may take from its start, or from its API server's return, until what it shows is its own: marks,
/// objects, records and leases are read, each again after a second or two when that failed.
const SETTLES: Duration = Duration::from_secs(4);
/// How long after the truth changed its status may still say what was true: the observer's `L` is added where silence is
/// what is seen; a guard's word is believed for eight beats; a status is written once a second at most, and again some
/// seconds later when only a lag changed.
const LATE: Duration = Duration::from_secs(4);
/// How long a record may stay in a phase that is not steady, or a world unsettled, before somebody must say for whom.
const SILENT_ABOUT: Duration = Duration::from_secs(6);
/// How long the writing of a change takes at most, with its next try.
const WRITING: Duration = Duration::from_secs(1);
/// How much later than by the rule a dead operator's status may be found to be old: how often it is looked.
const LOOKS: Duration = Duration::from_secs(1);
/// How long an operator has, from when it can show what it wants, until it vouches for what it has shown: three beats.
const VOUCHES: Duration = YOUNG;
/// While nothing moves, name servers and workloads are looked at every fifteen seconds.
const QUIET_LOOK: Duration = Duration::from_secs(15);

/// What was seen of statuses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statuses {
    /// Since when an operator says something that is not so.
    lies: BTreeMap<(usize, PolicyKey, String), Moment>,
    /// Since when an operator could show what it wants.
    shows: BTreeMap<usize, Moment>,
    /// Since when something is not as it should be, and what.
    amiss: BTreeMap<PolicyKey, (Moment, Amiss)>,
    /// When a status last said what is waited for.
    named: BTreeMap<PolicyKey, Moment>,
    /// When each site last said facts of each policy.
    said: BTreeMap<(PolicyKey, SiteName), Moment>,
    /// When an operator last listed what others had said.
    listed: BTreeMap<usize, Moment>,
    /// When a status or a heartbeat was last written in each site's cluster.
    wrote: BTreeMap<usize, Moment>,
    /// Since when it has been looked without a break, and when it was last.
    watched: Option<(Moment, Moment)>,
    /// What each site's wall clock showed at the last look.
    walls: BTreeMap<usize, (Moment, Timestamp)>,
    /// Somebody has set the site's wall clock: no age there says anything.
    stepped: BTreeSet<usize>,
}

/// What keeps a policy from being settled.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Amiss {
    /// The record is in a phase that ends, at this serial.
    Phase(Phase, u64),
    /// The active site's database takes no writes.
    Writer(usize),
    /// A copy receives nothing.
    Copy(usize),
    /// A name points elsewhere.
    Traffic(usize),
    /// The route of a site points elsewhere.
    Route(usize),
    /// The arbiter was emptied, or has gone back: only a person can help.
    Arbiter,
}

impl World {
    /// A site has said facts.
    pub(crate) fn facts_said(&mut self, policy: &PolicyKey, site: &SiteName) {
        self.judge.statuses.said.insert((policy.clone(), site.clone()), self.now);
    }

    /// An operator has heard everything anew: what it hears has the age of its hearing.
    pub(crate) fn facts_listed(&mut self, op: usize) {
        self.judge.statuses.listed.insert(op, self.now);
    }

    /// A status or a heartbeat was written.
    pub(crate) fn cluster_written(&mut self, site: usize) {
        self.judge.statuses.wrote.insert(site, self.now);
    }

    /// What an operator shows now is the oldest that it may be: what is known of another site has its age.
    pub(crate) fn judge_ages(&mut self, op: usize, shown: &Shown) {
        let me = self.sites[self.operators[op].site].name.clone();
        for row in shown.report.sites.iter().filter(|r| r.name != me) {
            let knows = row.role != SiteRole::Unknown || row.promotable.is_some();
            if knows && row.age_ms.is_none() {
                let what = format!("{me} shows {} as {:?} without an age", row.name, row.role);
                self.judge.breaks(self.now, Invariant::L5, what);
            }
            if row.lag.bytes.is_some() && row.lag.age_ms.is_none() {
                let what = format!("{me} shows how far {} is behind without an age", row.name);
                self.judge.breaks(self.now, Invariant::L5, what);
            }
            let said = self.judge.statuses.said.get(&(shown.key.clone(), row.name.clone())).copied();
            let heard = said.max(self.judge.statuses.listed.get(&op).copied());
            if let (Some(age), Some(heard)) = (row.age_ms, heard) {
                let true_age = self.now.since(heard);
                // Clocks run apart, and a word travels.
                if Duration::from_millis(age) + Duration::from_millis(300) < true_age * 98 / 100 {
                    let what =
                        format!("{me} shows {} as it was {age} ms ago; it was {true_age:?} ago", row.name);
                    self.judge.breaks(self.now, Invariant::L5, what);
                }
            }
        }
    }

    /// Whether no member of the arbiter could answer an operator.
    pub(crate) fn is_cut_off(&self, site: usize) -> bool {
        let place = self.sites[site].place;
        !(0..self.arbiter.members.len()).any(|m| {
            self.arbiter.takes(&self.net, m).is_some()
                && self.net.joined(place, self.arbiter.members[m].place, Traffic::Arbiter)
        })
    }

    /// Whether a site hears nothing, and its renewals still arrive: a line that passes one way only.
    fn lives_unheard(&self, site: usize) -> bool {
        let renewed = self.judge.leases.get(&self.sites[site].name);
        self.is_cut_off(site) && renewed.is_some_and(|t| self.now.since(*t) <= self.timing.l())
    }

    /// The operators that live and can show what they want, for long enough.
    fn speakers(&mut self) -> Vec<usize> {
        let mut found = Vec::new();
        for op in 0..self.operators.len() {
            let it = &self.operators[op];
            let site = &self.sites[it.site];
            let can = it.acts() && !it.frozen && site.up && site.cluster.api == Api::Well;
            if !can {
                self.judge.statuses.shows.remove(&op);
                continue;
            }
            let since = (*self.judge.statuses.shows.entry(op).or_insert(self.now)).max(it.started);
            if self.now.since(since) >= SETTLES {
                found.push(op);
            }
        }
        found
    }

    /// Looks at every status.
    pub(crate) fn look_at_statuses(&mut self) {
        self.look_at_flags();
        let speakers = self.speakers();
        self.judge_believed(&speakers);
        // While nobody looks, what was said may have become true and false again: a lie counts from its next look.
        self.judge.statuses.lies.retain(|(op, _, _), _| speakers.contains(op));
        for policy in self.judge.policies_named() {
            for op in &speakers {
                self.judge_status(*op, &policy);
            }
            self.judge_named(&speakers, &policy);
        }
    }

    /// Whether whoever reads a policy's status in a site's cluster believes it, by that site's clock. `None`: there is none.
    fn believes(&self, site: usize, policy: &PolicyKey) -> Option<bool> {
        let (cluster, wall) = (&self.sites[site].cluster, self.sites[site].machine.wall(self.now));
        let (by, written) = cluster.written.get(policy)?;
        let age = Duration::try_from(wall.duration_since(*written)).unwrap_or_default();
        let vouches = |policy: &str| {
            cluster.heartbeat.as_ref().is_some_and(|beat| beat.vouches(policy, by, *written, wall).is_ok())
        };
        Some(age <= YOUNG || vouches(&policy.to_string()))
    }

    /// A status is believed while its writer lives and can say so, and not when it has long been dead or cut off.
    fn judge_believed(&mut self, speakers: &[usize]) {
        let now = self.now;
        let unbroken = self.judge.statuses.watched.filter(|(_, last)| now.since(*last) <= LOOKS);
        let watched = unbroken.map_or(now, |(since, _)| since);
        self.judge.statuses.watched = Some((watched, now));
        for site in 0..self.sites.len() {
            let wall = self.sites[site].machine.wall(now);
            if let Some((then, shown)) = self.judge.statuses.walls.insert(site, (now, wall)) {
                let passed = Duration::try_from(wall.duration_since(shown)).unwrap_or_default();
                if passed.abs_diff(now.since(then)) > LOOKS {
                    self.judge.statuses.stepped.insert(site);
                }
            }
            let it = &self.sites[site];
            let Some(last) = self.judge.statuses.wrote.get(&site) else { continue };
            if self.judge.statuses.stepped.contains(&site) || now.since(*last) <= YOUNG + LOOKS {
                continue;
            }
            let believed = it.cluster.written.keys().find(|key| self.believes(site, key) == Some(true));
            if let Some(key) = believed {
                let name = &it.name;
                let what = format!(
                    "the status of {key} in {name} is believed, and nothing was written there for half a minute"
                );
                self.judge.breaks(now, Invariant::L5, what);
            }
        }
        for op in speakers {
            let it = &self.operators[*op];
            let site = it.site;
            let alone = self.operators.iter().filter(|other| other.site == site && other.up).count() == 1;
            let since =
                self.judge.statuses.shows.get(op).copied().unwrap_or(now).max(it.started).max(watched);
            let judged = alone && it.by_hand.is_none() && !self.judge.statuses.stepped.contains(&site);
            if !judged || now.since(since) < VOUCHES {
                continue;
            }
            let writer = it.brain.writer();
            let own = self.sites[site].cluster.written.iter().filter(|(_, (by, _))| *by == writer);
            let doubted = own.map(|(key, _)| key.clone()).find(|key| self.believes(site, key) == Some(false));
            if let Some(key) = doubted {
                let name = &self.sites[site].name;
                let what =
                    format!("the operator of {name} lives, and what it shows of {key} is not believed");
                self.judge.breaks(now, Invariant::L6, what);
            }
        }
    }

    fn judge_status(&mut self, op: usize, policy: &PolicyKey) {
        let site = self.operators[op].site;
        let me = self.sites[site].name.clone();
        // A status belongs to an object: where that was deleted nothing is shown.
        if !self.sites[site].cluster.objects.policies.contains_key(policy) {
            self.judge.statuses.lies.retain(|key, _| key.0 != op || key.1 != *policy);
            return;
        }
        let Some(shown) = self.operators[op].shown.get(policy) else { return };
        let report = &shown.report;
        let cut = self.is_cut_off(site);
        let silent = |name: &SiteName| {
            self.judge.leases.get(name).is_none_or(|t| self.now.since(*t) > self.timing.l())
        };
        let mut lies: Vec<String> = Vec::new();
        for row in report.sites.iter().filter(|r| r.name != me) {
            if cut || silent(&row.name) {
                let name = &row.name;
                if row.lives == Some(true) {
                    lies.push(format!("that {name} lives"));
                }
                if row.role != SiteRole::Unknown {
                    lies.push(format!("that {name} is {:?}", row.role));
                }
                if row.streaming == Some(true) {
                    lies.push(format!("that {name} streams"));
                }
                if condition(report, "SitesReachable") == Some(true) {
                    lies.push("that every site can be reached".to_owned());
                }
            }
        }
        if cut
            && (report.ready == Some(true) || condition(report, "ArbiterAgrees") == Some(true))
            && shown.trouble.is_none()
        {
            lies.push("that all is well, and reaches no arbiter".to_owned());
        }
        // An arbiter that has gone back does not say who is active.
        let lost = self.has_lost(policy);
        let record = self.record(policy).filter(|_| !lost);
        let active = record.and_then(|r| self.site_of(&r.active));
        if active.is_some_and(|a| a != site && silent(&self.sites[a].name)) && report.ready == Some(true) {
            lies.push("that all is well, and the active site is silent".to_owned());
        }
        let open = self.database_at(policy, site).is_some_and(|db| {
            let it = &self.databases[db];
            it.guard.up
                && !it.guard.frozen
                && !it.server.frozen
                && it.server.run == (Run::Primary { open: true })
        });
        if active == Some(site)
            && !open
            && !self.stands_still_unseen(policy, site)
            && report.ready == Some(true)
        {
            lies.push("that all is well, and its database takes no writes".to_owned());
        }
        // A site that hears nothing and whose renewals still arrive (a line that passes one way) lives by its lease, and
        // cannot say that its copy is deaf; its last word has its age, which is judged apart.
        let dead_copy = |db: usize| {
            let it = &self.databases[db];
            it.policy == *policy
                && Some(it.site) != active
                // Without a record nobody is named as active, and a primary is no copy, open or not.
                && (active.is_some() || !matches!(it.server.run, Run::Primary { .. }))
                && !it.server.stream.on
                && !self.lives_unheard(it.site)
        };
        let deaf = !lost && (0..self.databases.len()).any(dead_copy);
        if deaf && condition(report, "ReplicationHealthy") == Some(true) {
            lies.push("that replication is healthy".to_owned());
        }
        let now = self.now;
        let said = |key: &(usize, PolicyKey, String)| key.0 == op && key.1 == *policy;
        self.judge.statuses.lies.retain(|key, _| !said(key) || lies.contains(&key.2));
        let most = LATE + self.timing.l();
        for lie in lies {
            let since = *self.judge.statuses.lies.entry((op, policy.clone(), lie.clone())).or_insert(now);
            if now.since(since) > most {
                let what = format!("{me} has shown {lie}, which is not known, for {most:?}");
                self.judge.breaks(now, Invariant::L5, what);
            }
        }
    }

    /// What is over is not said any more: in a world that has long been as it should be, every status says so.
    pub(crate) fn judge_rest(&mut self) {
        for policy in self.judge.policies_named() {
            // It stands, and says the exact commands.
            if self.needs_a_person(&policy) {
                continue;
            }
            for op in self.speakers() {
                let site = self.operators[op].site;
                if !self.sites[site].cluster.objects.policies.contains_key(&policy) {
                    continue;
                }
                let said =
                    self.operators[op].shown.get(&policy).map_or(Some("nothing".to_owned()), complaint);
                if let Some(said) = said {
                    let what =
                        format!("all has been well for long, and {} says: {said}", self.sites[site].name);
                    self.judge.breaks(self.now, Invariant::L5, what);
                }
            }
        }
    }

    /// A server that stands still with everything around it running is found by its own sessions only.
    fn stands_still_unseen(&self, policy: &PolicyKey, site: usize) -> bool {
        self.database_at(policy, site).is_some_and(|db| self.databases[db].server.frozen)
    }

    fn amiss(&self, policy: &PolicyKey) -> Option<Amiss> {
        if self.has_lost(policy) {
            return Some(Amiss::Arbiter);
        }
        let record = self.record(policy)?;
        if !matches!(record.phase, Phase::Steady | Phase::Unmanaged) {
            return Some(Amiss::Phase(record.phase.clone(), record.serial));
        }
        let active = self.site_of(&record.active)?;
        let mine = self.databases.iter().enumerate().filter(|(_, d)| d.policy == *policy);
        for (db, it) in mine {
            if it.site == active && it.server.run != (Run::Primary { open: true }) {
                return Some(Amiss::Writer(db));
            }
            if it.site != active && !it.server.stream.on {
                return Some(Amiss::Copy(db));
            }
        }
        let servers = self.dns.servers.iter().enumerate();
        let elsewhere = |s: &crate::world::dns::Server| {
            s.names.iter().any(|((p, _), to)| p == policy && to.site != record.active)
        };
        if let Some((at, _)) = servers.into_iter().find(|(_, s)| s.up && elsewhere(s)) {
            return Some(Amiss::Traffic(at));
        }
        let astray = |s: &crate::world::Site| {
            s.up && s.cluster.routes.of(policy).any(|(_, to)| to.site != record.active)
        };
        self.sites.iter().position(astray).map(Amiss::Route)
    }

    /// Whatever has been amiss for long must be named by somebody who can know it.
    fn judge_named(&mut self, speakers: &[usize], policy: &PolicyKey) {
        let now = self.now;
        let found = self.amiss(policy);
        let before = self.judge.statuses.amiss.get(policy).cloned();
        let Some(amiss) = found else {
            self.judge.statuses.amiss.remove(policy);
            return;
        };
        let since = before.filter(|(_, a)| *a == amiss).map_or(now, |(since, _)| since);
        self.judge.statuses.amiss.insert(policy.clone(), (since, amiss.clone()));
        let disturbed = self.judge.disturbed.last(now);
        let patience = match amiss {
            Amiss::Traffic(_) | Amiss::Route(_) => QUIET_LOOK + SILENT_ABOUT,
            Amiss::Phase(..) | Amiss::Writer(_) | Amiss::Copy(_) | Amiss::Arbiter => SILENT_ABOUT,
        };
        if now.since(disturbed.map_or(since, |t| t.max(since))) < patience {
            return;
        }
        if matches!(amiss, Amiss::Copy(db) if self.lives_unheard(self.databases[db].site)) {
            return;
        }
        // Nobody can speak of what nobody can see.
        let record = self.record(policy).cloned();
        let concerned = |site: usize| match &amiss {
            Amiss::Writer(db) | Amiss::Copy(db) => {
                self.databases[*db].site == site
                    || record.as_ref().is_some_and(|r| self.site_of(&r.active) == Some(site))
            }
            Amiss::Route(of) => *of == site,
            Amiss::Traffic(_) => record.as_ref().is_some_and(|r| self.site_of(&r.active) == Some(site)),
            Amiss::Phase(..) | Amiss::Arbiter => true,
        };
        let has_object = |site: usize| self.sites[site].cluster.objects.policies.contains_key(policy);
        let witnesses: Vec<usize> = speakers
            .iter()
            .copied()
            .filter(|op| has_object(self.operators[*op].site))
            .filter(|op| concerned(self.operators[*op].site) && !self.is_cut_off(self.operators[*op].site))
            .collect();
        if witnesses.is_empty() {
            return;
        }
        let named = witnesses
            .iter()
            .any(|op| self.operators[*op].shown.get(policy).is_some_and(|shown| names(shown, &amiss)));
        if named {
            self.judge.statuses.named.insert(policy.clone(), now);
        }
        // While a change is being written a status says that, and no more.
        let last = self.judge.statuses.named.get(policy);
        if last.is_none_or(|t| now.since(*t) >= WRITING) {
            let what = format!("{amiss:?} since {since:?}, and no status says what is waited for");
            self.judge.breaks(now, Invariant::L6, what);
        }
    }
}

/// What a status says that is not "all is well".
fn complaint(shown: &Shown) -> Option<String> {
    let report = &shown.report;
    let denies = |c: &&bascule_core::project::Condition| match &*c.kind {
        "Reconciling" | "Stalled" | "Contended" | "Advice" => true,
        "Unlocked" => c.status == Some(true),
        "Ready" | "ArbiterAgrees" | "SitesReachable" | "ReplicationHealthy" | "TrafficConverged"
        | "ReadOnlyEffective" | "SwitchoverPossible" | "FailoverPossible" => c.status != Some(true),
        _ => false,
    };
    let denied =
        report.conditions.iter().find(denies).map(|c| format!("{} {:?}: {}", c.kind, c.status, c.message));
    shown.trouble.clone().or_else(|| shown.invalid.clone()).or(denied)
}

fn condition(report: &Report, kind: &str) -> Option<bool> {
    report.conditions.iter().find(|c| c.kind == kind).and_then(|c| c.status)
}

/// Whether a status says what is waited for: a trouble; a judgement that is not "as it should be", with its reason; for a
/// phase, the words of a gate that has not been passed.
fn names(shown: &Shown, amiss: &Amiss) -> bool {
    if shown.trouble.is_some() || shown.invalid.is_some() {
        return true;
    }
    let report = &shown.report;
    let open = |c: &&bascule_core::project::Condition| matches!(&*c.kind, "Reconciling" | "Stalled");
    let waits = report.conditions.iter().filter(open).any(|c| {
        let asked = |g: &bascule_core::plan::Gate| g.answer != Answer::Yes && c.message.contains(&g.name);
        report.gates.iter().any(asked)
    });
    let denied = |kind: &str| {
        report.conditions.iter().any(|c| c.kind == kind && c.status != Some(true) && !c.message.is_empty())
    };
    match amiss {
        Amiss::Phase(_, serial) => waits && report.serial == Some(*serial),
        Amiss::Writer(_) => waits && report.ready != Some(true),
        Amiss::Copy(_) => denied("ReplicationHealthy"),
        Amiss::Traffic(_) | Amiss::Route(_) => denied("TrafficConverged") || waits,
        Amiss::Arbiter => denied("ArbiterAgrees"),
    }
}
