//! One row per site, and the last transition.

use super::{Lag, SiteRole, SiteRow, TransitionRow, size};
use crate::decide::{PolicySeen, Situation, said_behind};
use crate::facts::{Following, SiteFacts, following};
use crate::guard::wire::{Disk, Report, ServerState, slot_of};
use crate::mutant::forgets;
use crate::name::{ItemName, SiteName};
use crate::observation::Fact;
use crate::plan::{Gate, Plan};
use crate::record::{Cause, Record, Transition};
use crate::time::{Millis, human};

pub(super) fn sites(s: &Situation<'_>, plan: &Plan, record: Option<&Record>) -> Vec<SiteRow> {
    let PolicySeen::Present(policy) = &s.policy else {
        // Without a policy the record is all there is.
        let names = record.map(|r| r.active.clone()).into_iter();
        return names.map(|name| row(s, plan, record, name)).collect();
    };
    policy.sites.iter().map(|name| row(s, plan, record, name.clone())).collect()
}

fn row(s: &Situation<'_>, plan: &Plan, record: Option<&Record>, name: SiteName) -> SiteRow {
    let active = record.is_some_and(|r| r.active == name);
    let me = name == *s.me;
    let facts = s.facts(&name);
    let said = facts.value().copied();
    let blockers = if me { Ok(&plan.blockers) } else { said.map(|f| &f.blockers).ok_or(()) };
    let (promotable, reason) = match blockers {
        _ if active => (None, None),
        Ok(gates) => (Some(gates.is_empty()), gates.first().map(Gate::words)),
        Err(()) => (None, Some(unknown(&facts))),
    };
    let policy = match &s.policy {
        PolicySeen::Present(policy) if me => Some(*policy),
        _ => None,
    };
    let silent = s.silent_for(&name).filter(|_| !me);
    let follows = if active { Follows::UNKNOWN } else { follows(s, record, &name, &facts) };
    SiteRow {
        role: if me { own_role(s) } else { said_role(&facts, active, s.lives(&name)) },
        lives: match s.lives(&name) {
            _ if me => Some(s.lease_alive()),
            _ if forgets("a silent site is not shown as living") => Some(true),
            lives => lives,
        },
        silent_ms: silent.map(|d| Millis::from(d).0),
        promotable,
        reason,
        spec_hash: policy.map(|p| p.spec_hash.clone()).or_else(|| said.and_then(|f| f.spec_hash.clone())),
        revision: policy.map_or_else(|| said.and_then(|f| f.revision.clone()), |p| p.revision.clone()),
        streaming: follows.streaming,
        not_streaming: follows.why,
        lag: follows.lag,
        missing: follows.missing,
        age_ms: facts
            .age()
            .filter(|_| !me && !forgets("what another site said has an age"))
            .map(|a| if forgets("an age grows") { 0 } else { Millis::from(a).0 }),
        name,
    }
}

fn unknown<T>(facts: &Fact<T>) -> String {
    match facts {
        Fact::Unknown { reason } => reason.clone(),
        Fact::Known { .. } => String::new(),
    }
}

fn own_role(s: &Situation<'_>) -> SiteRole {
    let roles: Vec<SiteRole> = s
        .seen
        .databases
        .values()
        .map(|d| d.guard.value().map_or(SiteRole::Unknown, |report| server_role(report)))
        .collect();
    match roles.split_first() {
        Some((first, rest)) if rest.iter().all(|r| r == first) => *first,
        Some(_) if roles.contains(&SiteRole::Unknown) => SiteRole::Unknown,
        Some(_) => SiteRole::Waiting,
        None => SiteRole::Unknown,
    }
}

fn server_role(report: &Report) -> SiteRole {
    match report.state {
        ServerState::Primary { .. } => SiteRole::Primary,
        ServerState::Standby { .. } => SiteRole::Standby,
        ServerState::Down if report.locked.is_none() => SiteRole::Waiting,
        ServerState::Down | ServerState::Failed { .. } | ServerState::Stopping => SiteRole::Stopped,
        ServerState::Starting { .. }
        | ServerState::Promoting
        | ServerState::Cloning
        | ServerState::Rewinding => SiteRole::Waiting,
    }
}

/// Another site's role, as far as its disks tell it. A site that is silent is not known to be anything.
fn said_role(facts: &Fact<&SiteFacts>, active: bool, lives: Option<bool>) -> SiteRole {
    let knows = lives == Some(true) || forgets("a silent site's role is unknown");
    let Some(facts) = facts.value().filter(|_| knows) else { return SiteRole::Unknown };
    let replica = |d: &Disk| matches!(d, Disk::Cluster(c) if c.standby_signal);
    match (active, facts.disks.is_empty()) {
        (_, true) => SiteRole::Unknown,
        (true, false) if !facts.disks.values().any(replica) => SiteRole::Primary,
        (false, false) if facts.disks.values().all(replica) => SiteRole::Standby,
        _ => SiteRole::Waiting,
    }
}

/// The largest of all; unknown when one of them is.
fn worst(all: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    all.reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b))).flatten()
}

/// How a site's replicas follow, all of them together.
struct Follows {
    /// Whether every one of them streams; `None` is unknown.
    streaming: Option<bool>,
    /// Why not.
    why: Option<String>,
    lag: Lag,
    missing: Option<u64>,
}

impl Follows {
    const UNKNOWN: Self =
        Self { streaming: None, why: None, lag: Lag { bytes: None, age_ms: None }, missing: None };
}

fn follows(s: &Situation<'_>, record: Option<&Record>, name: &SiteName, facts: &Fact<&SiteFacts>) -> Follows {
    let PolicySeen::Present(policy) = &s.policy else { return Follows::UNKNOWN };
    let here = policy.databases.iter().filter(|(_, d)| d.instances.contains_key(name));
    let databases: Vec<&ItemName> = here.map(|(n, _)| n).collect();
    if databases.is_empty() {
        return Follows::UNKNOWN;
    }
    if name == s.me { own(s, record, &databases) } else { said(s, record, name, facts, &databases) }
}

fn own(s: &Situation<'_>, record: Option<&Record>, databases: &[&ItemName]) -> Follows {
    // A primary knows of a lag that the replica cannot know of while the line is slow, and has told the other sites.
    let told = |n: &ItemName| record.and_then(|r| said_behind(s, r, n)).map(|behind| behind.bytes);
    let missing = |n: &&ItemName| {
        let contact = s.seen.databases.get(*n)?.last_contact?;
        Some(contact.reported_end.ahead_of(contact.received)).max(told(n))
    };
    let missing = worst(databases.iter().map(missing));
    let lag = Lag { bytes: Some(0), age_ms: Some(0) };
    let mut all = Follows { streaming: Some(true), why: None, lag, missing };
    for name in databases {
        let guard = s.seen.databases.get(*name).map(|d| &d.guard);
        let seen = guard.and_then(Fact::age).unwrap_or_default();
        match guard.and_then(Fact::value).and_then(|report| following(report)) {
            Some(Following::Streaming { lag, age }) => {
                let age_ms = age.map(|age| Millis::from(seen + age).0);
                let lag = lag.map(|bytes| bytes.max(told(name).unwrap_or_default()));
                all.lag.bytes = all.lag.bytes.zip(lag).map(|(a, b)| a.max(b));
                all.lag.age_ms = all.lag.age_ms.zip(age_ms).map(|(a, b)| a.max(b));
            }
            Some(Following::Broken(why)) => {
                return Follows {
                    streaming: Some(false),
                    why: Some(format!("{name}: {why}")),
                    lag: Lag::default(),
                    missing,
                };
            }
            None => {
                all.streaming = None;
                all.lag = Lag::default();
            }
        }
    }
    all
}

/// What another site said last. It says so at once when the order of magnitude changes or is no longer known, so that
/// while it lives its word is as old as its last sign of life; a silent site's word says nothing about now. Nor does what
/// it said in an earlier hold: it followed somebody else then.
fn said(
    s: &Situation<'_>,
    record: Option<&Record>,
    name: &SiteName,
    facts: &Fact<&SiteFacts>,
    databases: &[&ItemName],
) -> Follows {
    let Fact::Known { value, age } = facts else { return Follows::UNKNOWN };
    if record.zip(value.marks).is_some_and(|(r, marks)| marks.epoch < r.epoch) {
        return Follows::UNKNOWN;
    }
    let lives = s.lives(name) == Some(true);
    let age = if lives { s.silent_for(name).map_or(*age, |silent| silent.min(*age)) } else { *age };
    // A primary knows of a lag that the replica cannot know of while the line is slow; and who is not connected to it does
    // not follow it, whatever its operator said before it was cut off from its own cluster.
    let primary = |n: &ItemName| {
        let report = s.seen.databases.get(n).and_then(|d| d.guard.value())?;
        (matches!(report.state, ServerState::Primary { .. }) && report.positions.is_some()).then_some(report)
    };
    let known_here = |n: &ItemName| primary(n)?.replicas.get(&slot_of(name)).map(|b| b.bytes);
    let gone = |n: &ItemName| {
        let counts =
            record.is_some_and(|r| r.active == *s.me) && !forgets("who is not connected does not follow");
        counts && primary(n).is_some() && known_here(n).is_none()
    };
    let lag_of = |n: &ItemName| {
        let said = *value.lag_bytes.get(n)?;
        if gone(n) { None } else { known_here(n).max(Some(said)) }
    };
    let bytes = worst(databases.iter().map(|n| lag_of(n)));
    let broken = databases.iter().find_map(|n| value.not_streaming.get_key_value(*n));
    let lag = Lag { bytes, age_ms: bytes.map(|_| Millis::from(age).0) };
    let streaming = if broken.is_some() { Some(false) } else { bytes.map(|_| true) };
    Follows {
        streaming: streaming.filter(|_| lives),
        why: broken.map(|(name, why)| format!("{name}: {why}")),
        missing: worst(databases.iter().map(|n| known_here(n).or_else(|| lag_of(n)))),
        lag,
    }
}

/// The worst lag of the sites that follow; unknown when one of them is.
pub(super) fn furthest(sites: &[SiteRow], record: Option<&Record>) -> Lag {
    let Some(record) = record else { return Lag::default() };
    let mut followers = sites.iter().filter(|r| r.name != record.active).map(|r| r.lag);
    let Some(first) = followers.next() else { return Lag::default() };
    followers.fold(first, |worst, one| Lag {
        bytes: worst.bytes.zip(one.bytes).map(|(a, b)| a.max(b)),
        age_ms: worst.age_ms.zip(one.age_ms).map(|(a, b)| a.max(b)),
    })
}

/// The transition under way, or else the last finished one.
pub(super) fn last(record: &Record) -> Option<TransitionRow> {
    let transition = record.transition.as_ref().or_else(|| record.history.first())?;
    let took = |name: &str| transition.phases.iter().find(|p| p.name == name).map(|p| p.took.0);
    let by_move = record.doing.as_ref().filter(|_| record.transition.is_some());
    Some(TransitionRow {
        by_move: by_move.map(|d| d.name.to_string()),
        write_pause_ms: took("writePause"),
        read_only_ms: read_only(transition),
        words: words(transition),
        transition: transition.clone(),
    })
}

/// For how long users were read-only: the parts that are known, one after the other, from the moment the old site's
/// flags went on, or its reads were served elsewhere, until the new site's went off.
fn read_only(t: &Transition) -> Option<u64> {
    let mut parts =
        t.phases.iter().filter(|p| !matches!(p.name.as_str(), "detect" | "writePause")).peekable();
    parts.peek().filter(|p| matches!(p.name.as_str(), "flagsSeen" | "checkpoint" | "readOnly"))?;
    Some(parts.map(|p| p.took.0).sum())
}

/// A transition in one line.
pub(super) fn words(t: &Transition) -> String {
    let why = match t.cause {
        Cause::Initial => "first record",
        Cause::Planned => "planned",
        Cause::SiteLost => "site lost",
        Cause::DatabaseDead => "database dead",
        Cause::Forced => "ordered by a person",
        Cause::PromotionFailed => "promotion failed",
    };
    let phases: Vec<String> =
        t.phases.iter().map(|p| format!("{} {}", p.name, human(p.took.duration()))).collect();
    let loss = match (&t.measured_loss, &t.loss_bound) {
        (Some(m), _) => {
            format!("lost {} in {} transactions, saved at {}", size(m.bytes), m.transactions, m.saved)
        }
        (None, Some(b)) if b.bytes == Some(0) && b.unseen == Some(Millis(0)) => "nothing lost".to_owned(),
        (None, Some(b)) => super::sentence::at_risk(b),
        (None, None) => "loss not judged".to_owned(),
    };
    let ended = if t.ended.is_some() { "" } else { ", under way" };
    let phases = if phases.is_empty() { String::new() } else { format!(": {}", phases.join(", ")) };
    format!("{} to {} ({why}, epoch {}{ended}){phases}; {loss}", t.from, t.to, t.epoch)
}
