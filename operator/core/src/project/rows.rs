//! One row per site, and the last transition.

use super::{Lag, SiteRole, SiteRow, TransitionRow, size};
use crate::decide::{PolicySeen, Situation};
use crate::guard::wire::{Disk, Report, ServerState};
use crate::name::SiteName;
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
    SiteRow {
        role: if me { own_role(s) } else { said_role(&facts, active, s.lives(&name)) },
        lives: if me { Some(s.lease_alive()) } else { s.lives(&name) },
        silent_ms: silent.map(|d| Millis::from(d).0),
        promotable,
        reason,
        spec_hash: policy.map(|p| p.spec_hash.clone()).or_else(|| said.and_then(|f| f.spec_hash.clone())),
        revision: policy.map_or_else(|| said.and_then(|f| f.revision.clone()), |p| p.revision.clone()),
        lag: if active { Lag::default() } else { lag(s, &name, &facts) },
        age_ms: facts.age().filter(|_| !me).map(|a| Millis::from(a).0),
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
    let roles: Vec<SiteRole> =
        s.seen.databases.values().map(|d| d.guard.value().map_or(SiteRole::Unknown, server_role)).collect();
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
fn said_role(facts: &Fact<&crate::facts::SiteFacts>, active: bool, lives: Option<bool>) -> SiteRole {
    let Some(facts) = facts.value().filter(|_| lives == Some(true)) else { return SiteRole::Unknown };
    let replica = |d: &Disk| matches!(d, Disk::Cluster(c) if c.standby_signal);
    match (active, facts.disks.is_empty()) {
        (_, true) => SiteRole::Unknown,
        (true, false) if !facts.disks.values().any(replica) => SiteRole::Primary,
        (false, false) if facts.disks.values().all(replica) => SiteRole::Standby,
        _ => SiteRole::Waiting,
    }
}

fn lag(s: &Situation<'_>, name: &SiteName, facts: &Fact<&crate::facts::SiteFacts>) -> Lag {
    if name == s.me {
        let mut worst = Lag { bytes: Some(0), age_ms: Some(0) };
        if s.seen.databases.is_empty() {
            return Lag::default();
        }
        for view in s.seen.databases.values() {
            let one = view.guard.value().and_then(|r| own_lag(r, view.guard.age().unwrap_or_default()));
            let Some(one) = one else { return Lag::default() };
            worst.bytes = worst.bytes.max(one.bytes);
            worst.age_ms = worst.age_ms.max(one.age_ms);
        }
        return worst;
    }
    let Some(said) = facts.value().filter(|f| !f.lag_bytes.is_empty()) else { return Lag::default() };
    Lag { bytes: said.lag_bytes.values().max().copied(), age_ms: facts.age().map(|a| Millis::from(a).0) }
}

/// What a replica has still to replay, by its primary's last report; unknown without one.
fn own_lag(report: &Report, seen: std::time::Duration) -> Option<Lag> {
    let p = report.positions.as_ref()?;
    let upstream = p.upstream.as_ref()?;
    let bytes = upstream.reported_end?.ahead_of(p.replay?);
    let age = seen + p.age.duration() + upstream.message_age?.duration();
    Some(Lag { bytes: Some(bytes), age_ms: Some(Millis::from(age).0) })
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
        read_only_ms: took("readOnly"),
        words: words(transition),
        transition: transition.clone(),
    })
}

/// A transition in one line.
fn words(t: &Transition) -> String {
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
