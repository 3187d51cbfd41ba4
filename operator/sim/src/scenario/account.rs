//! What was lost, for how long nobody could write, how long each phase took, and where everything stands at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use bascule_core::moves::Move;
use bascule_core::name::SiteName;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::Policy;
use bascule_core::record::{Phase, Record, Transition};
use serde::Serialize;

use super::play::first_no;
use super::{Scenario, What as Happens};
use crate::time::Moment;
use crate::world::World;
use crate::world::client::{Outcome, Write};
use crate::world::postgres::{Rec, Token, What};

/// The sum of what happened.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Rows that clients were told are written.
    pub acknowledged: usize,
    /// Writes that were refused, of clients that go where the traffic points.
    pub refused: usize,
    /// Writes of which nothing was heard, of the same clients.
    pub unanswered: usize,
    /// Acknowledged rows that the active site does not have at the end.
    pub lost: usize,
    /// How many of those lie in the log that the old site saved when it came back.
    pub lost_but_saved: usize,
    /// The time from the first lost row to the last one.
    pub lost_time: Duration,
    /// Bytes of write-ahead log of the lost rows.
    pub lost_bytes: u64,
    /// When nobody could write, as clients saw it.
    pub outages: Vec<Outage>,
    /// The bound by which the loss gate judged the last promotion that it judged.
    pub loss_bound: Option<LossBound>,
    /// The record's phases after the first, in order.
    pub phases: Vec<PhaseTook>,
    /// What the transitions measured of themselves: name, site, time.
    pub steps: Vec<(String, String, Duration)>,
    /// Who was active at the beginning.
    pub active_before: String,
    /// Who is active at the end.
    pub active: String,
    /// The record's phase at the end.
    pub phase: String,
    /// How often the active site changed.
    pub moves: usize,
    /// Who takes writes at the end.
    pub writer: Option<String>,
    /// Where users are sent at the end.
    pub traffic: Vec<TrafficEnd>,
    /// Since when the clients outside ask the new site and no other one.
    pub clients_moved: Option<Duration>,
    /// What stands in the way at each site that is not active, when the role did not move.
    pub why_not: Vec<WhyNot>,
    /// What became of the Moves.
    pub verdicts: Vec<Verdict>,
    /// What each operator that lives says, by site.
    pub says: Vec<(String, String)>,
    /// For how long it was watched.
    watched: Duration,
    /// Invariants that were broken: defects of Bascule.
    pub violations: Vec<(Duration, String)>,
}

/// A time without an acknowledged write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the last write before it was acknowledged.
    pub from: Duration,
    /// When the first one after it was; `None`: never while it was watched.
    pub to: Option<Duration>,
    /// How long it lasted, or has lasted so far.
    pub took: Duration,
    /// Who acknowledged the first one.
    pub by: Option<String>,
}

/// What may have been lost, as the loss gate knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossBound {
    /// The known gap.
    pub bytes: Option<u64>,
    /// The time in which writes may have been acknowledged unseen.
    pub unseen: Option<Duration>,
}

impl LossBound {
    /// In the words of the gate.
    pub fn words(&self) -> String {
        let unseen = self.unseen.map(bascule_core::time::Millis::from);
        bascule_core::loss::LossBound { bytes: self.bytes, unseen }.said()
    }
}

/// A phase of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseTook {
    /// The phase.
    pub phase: String,
    /// When it began.
    pub from: Duration,
    /// How long it lasted, or has lasted so far.
    pub took: Duration,
    /// It is not over.
    pub goes_on: bool,
}

/// Where a name points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficEnd {
    /// The traffic target.
    pub name: String,
    /// The sites that the servers that answer name, each once.
    pub sites: Vec<String>,
    /// How many servers answer, of how many.
    pub answering: (usize, usize),
}

/// What keeps a site from taking the role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyNot {
    /// The site.
    pub site: String,
    /// The gate that says no first.
    pub gate: String,
    /// Its answer.
    pub answer: String,
    /// What was found.
    pub found: String,
    /// What is needed.
    pub needed: String,
}

/// What became of a Move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Its name.
    #[serde(rename = "move")]
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How it ended; `None`: it was not carried out while it was watched.
    pub end: Option<String>,
    /// Why.
    pub message: String,
}

impl Account {
    /// The sum of what has happened in a world since a moment.
    pub(super) fn of(world: &World, policy: &Policy, scenario: &Scenario, began: Moment) -> Self {
        let key = &policy.key;
        let since = |at: Moment| at.since(began);
        let changes: Vec<&(Moment, _, Box<Record>)> =
            world.judge.changes.iter().filter(|(_, k, _)| k == key).collect();
        let before = changes.iter().rev().find(|(at, ..)| *at <= began).map(|(_, _, r)| r);
        let record = world.record(key);
        let mut account = Self {
            active_before: before.map(|r| r.active.to_string()).unwrap_or_default(),
            active: record.map(|r| r.active.to_string()).unwrap_or_default(),
            phase: record.map(|r| r.phase.to_string()).unwrap_or_default(),
            watched: since(world.now),
            ..Self::default()
        };
        account.rows(world, policy, began);
        let longest = usual_gap(world, scenario);
        account.outages = outages(world, longest, began);
        account.history(world, &changes, began);
        if let Some(record) = record {
            account.judged(record);
        }
        account.traffic(world, policy, record, began);
        account.writer = writer(world, policy, longest.max(LAST_WRITE));
        for op in world.operators.iter().filter(|o| o.up && !o.frozen) {
            let site = &world.sites[op.site].name;
            let Some(shown) = op.shown.get(key) else { continue };
            account.says.push((site.to_string(), shown.report.sentence.clone()));
            let stands_by = record.is_none_or(|r| r.active != *site);
            let asked = shown.report.ready != Some(true) || account.goes_on().is_some();
            if account.moves == 0
                && asked
                && stands_by
                && let Some(gate) = first_no(&shown.report.gates)
            {
                account.why_not.push(why_not(site, gate, record));
            }
        }
        account.verdicts = verdicts(world, policy, scenario, record, &changes);
        account.forgotten(scenario, record, changes.last().map(|(_, _, r)| &**r));
        account.violations = world.judge.violations.iter().map(|v| (since(v.at), v.to_string())).collect();
        account
    }

    /// The outage that goes on, if nobody takes writes at the end. The last writes of a slow line are only on their way.
    pub fn goes_on(&self) -> Option<&Outage> {
        self.outages.last().filter(|o| o.to.is_none() && self.writer.is_none())
    }

    /// The longest outage.
    pub fn longest_outage(&self) -> Option<&Outage> {
        self.outages.iter().max_by_key(|o| o.took)
    }

    /// Whether the role is somewhere else than at the beginning.
    pub const fn has_moved(&self) -> bool {
        self.moves > 0
    }

    fn rows(&mut self, world: &World, policy: &Policy, began: Moment) {
        let mine = |w: &&Write| world.policies.get(w.app).is_some_and(|p| p.key == policy.key);
        for write in world.writes.iter().filter(mine).filter(|w| w.sent >= began) {
            match write.outcome {
                Outcome::Acked => self.acknowledged += 1,
                // A client that asks its own site only, whatever its role is, is refused all the time.
                Outcome::Refused if follows(world, write) => self.refused += 1,
                Outcome::Unknown if follows(world, write) => self.unanswered += 1,
                Outcome::Refused | Outcome::Unknown | Outcome::Open => {}
            }
        }
        // Whoever has the role has the rows; what its log lacks is lost.
        let holder = world.record(&policy.key).and_then(|r| world.site_of(&r.active));
        let Some(holder) = holder.and_then(|site| world.database_at(&policy.key, site)) else { return };
        let Some(dir) = &world.databases[holder].server.dir else { return };
        let rows: BTreeSet<Token> = dir.rows().collect();
        let acked = world.writes.iter().filter(mine).filter(|w| w.outcome == Outcome::Acked);
        let lost: Vec<&Write> = acked.filter(|w| !rows.contains(&w.token)).collect();
        let tokens: BTreeSet<Token> = lost.iter().map(|w| w.token).collect();
        let committed = || lost.iter().filter_map(|w| w.committed);
        self.lost = lost.len();
        self.lost_time = committed().max().unwrap_or_default().since(committed().min().unwrap_or_default());
        let others = world
            .databases
            .iter()
            .filter(|d| d.policy == policy.key && d.site != world.databases[holder].site);
        let (mut saved, mut sizes) = (BTreeSet::new(), std::collections::BTreeMap::new());
        let lost_row = |rec: &Rec| match rec.what {
            What::Commit(token) if tokens.contains(&token) => Some((token, rec.end - rec.start)),
            _ => None,
        };
        for other in others {
            saved.extend(other.beside.saved.iter().filter_map(lost_row).map(|(token, _)| token));
            let still = other.server.dir.iter().flat_map(|d| &d.wal.records);
            sizes.extend(other.beside.saved.iter().chain(still).filter_map(lost_row));
        }
        self.lost_but_saved = saved.len();
        self.lost_bytes = sizes.values().sum();
    }

    fn history(
        &mut self,
        world: &World,
        changes: &[&(Moment, bascule_core::name::PolicyKey, Box<Record>)],
        began: Moment,
    ) {
        let mut last: Option<&Record> = None;
        let mut judged: Option<&Transition> = None;
        let mut entered: Vec<(Moment, &Record)> = Vec::new();
        for (at, _, record) in changes {
            let is_new = last.is_none_or(|l| l.phase != record.phase || l.active != record.active);
            if *at > began {
                if is_new {
                    entered.push((*at, record));
                }
                if last.is_some_and(|l| l.active != record.active) {
                    self.moves += 1;
                }
                let transition = record.transition.as_ref().or_else(|| record.history.first());
                judged = transition.filter(|t| t.loss_bound.is_some()).or(judged);
            }
            last = Some(record);
        }
        self.loss_bound = judged.and_then(|t| t.loss_bound).map(|b| LossBound {
            bytes: b.bytes,
            unseen: b.unseen.map(bascule_core::time::Millis::duration),
        });
        for (i, (at, record)) in entered.iter().enumerate() {
            let next = entered.get(i + 1).map(|(at, _)| *at);
            self.phases.push(PhaseTook {
                phase: format!("{} ({})", record.phase, phase_words(record)),
                from: at.since(began),
                took: next.unwrap_or(world.now).since(*at),
                goes_on: next.is_none(),
            });
        }
    }

    /// What the arbiter has now is not what was written last: since it was restored or emptied no phase goes on.
    fn forgotten(&mut self, scenario: &Scenario, record: Option<&Record>, last: Option<&Record>) {
        let serial = |r: &Record| (r.generation, r.serial);
        let went_back = last.map(serial) > record.map(serial);
        let forgot = scenario
            .events
            .iter()
            .filter(|e| matches!(&e.what, Happens::Fault { kind, .. } if kind.loses_the_record()));
        let Some(at) = forgot.map(|e| e.at).max().filter(|_| went_back) else { return };
        for phase in self.phases.iter_mut().filter(|p| p.goes_on) {
            phase.took = at.saturating_sub(phase.from);
            phase.goes_on = false;
        }
        let phase = record.map_or_else(
            || "no record".to_owned(),
            |r| format!("{} (an old record: a site that has seen more does not believe it)", r.phase),
        );
        self.phases.push(PhaseTook { phase, from: at, took: self.watched.saturating_sub(at), goes_on: true });
    }

    fn judged(&mut self, record: &Record) {
        let under_way = record.transition.iter();
        let all = record.history.iter().rev().chain(under_way);
        let mine = all.filter(|t| t.cause != bascule_core::record::Cause::Initial);
        self.steps = mine
            .flat_map(|t| &t.phases)
            .filter(|p| p.took.0 > 0)
            .map(|p| (p.name.clone(), p.site.to_string(), p.took.duration()))
            .collect();
    }

    fn traffic(&mut self, world: &World, policy: &Policy, record: Option<&Record>, began: Moment) {
        for (name, target) in &policy.traffic {
            let mut sites: Vec<String> = Vec::new();
            if target.is_in_every_site() {
                let key = (policy.key.clone(), name.clone());
                let up = || world.sites.iter().filter(|s| s.up && policy.has_site(&s.name));
                for site in up() {
                    let to = site.cluster.routes.get(&key);
                    let to = to.map_or_else(|| "nothing".to_owned(), |t| t.site.to_string());
                    if !sites.contains(&to) {
                        sites.push(to);
                    }
                }
                let answering = (up().count(), policy.sites.len());
                self.traffic.push(TrafficEnd { name: name.to_string(), sites, answering });
                continue;
            }
            let up = || world.dns.servers.iter().filter(|s| s.up);
            for server in up() {
                let to = server.names.get(&(policy.key.clone(), name.clone()));
                let site = to.map_or_else(|| "nothing".to_owned(), |t| t.site.to_string());
                if !sites.contains(&site) {
                    sites.push(site);
                }
            }
            let answering = (up().count(), world.dns.servers.len());
            self.traffic.push(TrafficEnd { name: name.to_string(), sites, answering });
        }
        if self.moves > 0 {
            let to = record.and_then(|r| world.site_of(&r.active));
            let outside =
                |w: &&Write| world.clients[world.writers[w.token as usize]].place == world.outside();
            // It may have been asked in an earlier hold: what counts is since when no other one is asked.
            let asked = world.writes.iter().filter(outside).filter(|w| w.sent >= began);
            let since_then = asked.rev().take_while(|w| Some(w.site) == to);
            self.clients_moved = since_then.last().map(|w| w.sent.since(began));
        }
    }
}

/// What a phase means, for who reads it for the first time.
fn phase_words(record: &Record) -> String {
    let target = record.target.as_ref().map_or_else(|| "another site".to_owned(), ToString::to_string);
    let active = &record.active;
    match &record.phase {
        Phase::Steady => format!("{active} writes"),
        Phase::Requested => format!("{active} and {target} get ready"),
        Phase::Handover => format!("{active} has stopped, {target} proves that it has everything"),
        Phase::Promoting => format!("{active} has the role and opens"),
        Phase::ReadOnly => format!("{target} serves reads, nobody writes"),
        Phase::Returning => format!("{active} is back and writes, users not yet"),
        Phase::Offered => format!("{active} offers the role"),
        Phase::Withdrawn => format!("{active} waits until its database has certainly stopped"),
        Phase::Unmanaged => format!("{active} is left alone"),
        Phase::Unknown(_) => "not known".to_owned(),
    }
}

/// Whether a write is one of a client that goes where the traffic points; where nothing points, all of them count.
pub(super) fn follows(world: &World, write: &Write) -> bool {
    let outside = world.clients[world.writers[write.token as usize]].place == world.outside();
    let led = |policy: &Policy| world.sites.iter().any(|s| s.cluster.routes.of(&policy.key).next().is_some());
    outside || world.dns.servers.iter().all(|s| s.names.is_empty()) && !world.policies.iter().any(led)
}

/// Why a site does not take the role. That the active site is not silent explains nothing to whoever waits for it: what
/// does is that it lives and keeps its role.
fn why_not(site: &SiteName, gate: &Gate, record: Option<&Record>) -> WhyNot {
    let lives = (gate.name == "silence" && gate.answer == Answer::NotYet).then_some(record).flatten();
    let (found, needed) = match lives {
        Some(Record { active, .. }) => (
            format!("{active} renews its lease and does not offer its role, so it is not lost"),
            format!("its silence for {}, or its offer; a person can switch over", gate.needed),
        ),
        None => (gate.found.clone(), gate.needed.clone()),
    };
    let answer = format!("{:?}", gate.answer);
    WhyNot { site: site.to_string(), gate: gate.name.clone(), answer, found, needed }
}

/// How long ago the last write may be where writes go on: on a line that loses packets not every one arrives.
const LAST_WRITE: Duration = Duration::from_secs(3);

/// How long a client may wait between two writes when all is well.
fn usual_gap(world: &World, scenario: &Scenario) -> Duration {
    scenario.writes_every * 3 + Duration::from_millis(100) + world.latency * 3
}

/// Who takes the writes of those who go where the traffic points: the site that acknowledged the last one, if that was
/// within `recent` and its database still works. A primary that stands still elsewhere takes none.
fn writer(world: &World, policy: &Policy, recent: Duration) -> Option<String> {
    let mine = |w: &&Write| world.policies.get(w.app).is_some_and(|p| p.key == policy.key);
    let acked = world.writes.iter().filter(|w| w.outcome == Outcome::Acked && follows(world, w)).filter(mine);
    let last = acked.max_by_key(|w| w.ended)?;
    let database = &world.databases[world.database_at(&policy.key, last.site)?];
    let server = &database.server;
    let works = server.run.commits() && !server.frozen && !server.faults.disk_full;
    let is = works && world.sites[last.site].up && world.now.since(last.ended) <= recent;
    is.then(|| database.site_name.to_string())
}

/// When nobody was told that a write is done, for longer than `longest`.
fn outages(world: &World, longest: Duration, began: Moment) -> Vec<Outage> {
    let acked = world
        .writes
        .iter()
        .filter(|w| follows(world, w))
        .filter(|w| w.outcome == Outcome::Acked && w.ended >= began);
    let mut acks: Vec<(Moment, usize)> = acked.map(|w| (w.ended, w.site)).collect();
    acks.sort_unstable();
    let mut found = Vec::new();
    let mut last = began;
    for (at, site) in acks {
        if at.since(last) > longest {
            found.push(Outage {
                from: last.since(began),
                to: Some(at.since(began)),
                took: at.since(last),
                by: Some(world.sites[site].name.to_string()),
            });
        }
        last = at;
    }
    if !world.clients.is_empty() && world.now.since(last) > longest {
        found.push(Outage { from: last.since(began), to: None, took: world.now.since(last), by: None });
    }
    found
}

/// What became of every Move that was merged, those that were reverted since too. A verdict that the record does not have
/// any more was given nevertheless.
fn verdicts(
    world: &World,
    policy: &Policy,
    scenario: &Scenario,
    record: Option<&Record>,
    changes: &[&(Moment, bascule_core::name::PolicyKey, Box<Record>)],
) -> Vec<Verdict> {
    let merged = world.git.head.moves.get(&policy.key).map(Vec::as_slice).unwrap_or_default();
    let reverted = scenario.events.iter().filter_map(|e| match &e.what {
        Happens::Revert(mv) if merged.iter().all(|m| m.hash != mv.hash) => Some(&**mv),
        _ => None,
    });
    let verdict = |mv: &Move| {
        let given = record.and_then(|r| r.verdict(&mv.hash));
        let before = || changes.iter().rev().find_map(|(_, _, r)| r.verdict(&mv.hash));
        let is_merged = merged.iter().any(|m| m.hash == mv.hash);
        let (given, message) = match (given, before()) {
            (Some(v), _) if is_merged => (Some(v), v.message.clone()),
            (Some(v), _) => (Some(v), format!("{}; its merge was reverted, which undoes nothing", v.message)),
            (None, Some(v)) => (Some(v), format!("{}; the arbiter has forgotten it since", v.message)),
            (None, None) if is_merged => (None, pending(world, policy, record, mv)),
            (None, None) => (None, "its merge was reverted before it was carried out".to_owned()),
        };
        Verdict {
            name: mv.name.to_string(),
            kind: mv.order.kind().to_owned(),
            end: given.map(|v| format!("{:?}", v.end)),
            message,
        }
    };
    reverted.chain(merged).map(verdict).collect()
}

/// Why a Move that was merged has no verdict yet.
fn pending(world: &World, policy: &Policy, record: Option<&Record>, mv: &Move) -> String {
    let living = world.operators.iter().filter(|o| o.up && !o.frozen && world.sites[o.site].up);
    let shown = living.filter_map(|o| Some((&world.sites[o.site].name, o.shown.get(&policy.key)?)));
    let shown: Vec<_> = shown.collect();
    if !shown.iter().any(|(_, s)| s.moves.iter().any(|m| m.hash == mv.hash)) {
        return "no site has read it from git".to_owned();
    }
    let (own, to) = (format!("move/{}", mv.name), mv.order.to());
    let by_name = |(site, s): &(&SiteName, &bascule_engine::ports::Shown)| {
        s.report.gates.iter().find(|g| g.name == own).map(|g| (site.to_string(), g.clone()))
    };
    let began = record.is_some_and(|r| r.doing.as_ref().is_some_and(|d| d.hash == mv.hash));
    // What is under way waits at its target or at the site that gives its role up.
    let at_parties = |(site, s): &(&SiteName, &bascule_engine::ports::Shown)| {
        let party = to == Some(site) || record.is_some_and(|r| r.active == **site);
        first_no(&s.report.gates).filter(|_| began && party).map(|g| (site.to_string(), g.clone()))
    };
    match shown.iter().find_map(by_name).or_else(|| shown.iter().find_map(at_parties)) {
        Some((site, gate)) => format!("{site} waits: {}", gate.words()),
        None if began => "it was under way when it was not watched any longer".to_owned(),
        None => "it was not carried out while it was watched".to_owned(),
    }
}
