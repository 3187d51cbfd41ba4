//! Which of several sites takes the role? The one that loses least; of equals the first one in `spec.sites`.
//!
//! Each site says what it would bring once the holder is silent for the recorded `L`, or offers its role. Whoever would
//! bring less lets the other go first, for a while: what another site says is information and never authority, so nobody
//! waits for it for ever. These are delays of a proposal and nothing else: the taker's rule does not ask when.

use std::cmp::Ordering;
use std::time::Duration;

use crate::decide::situation::Situation;
use crate::decide::take;
use crate::facts::Candidacy;
use crate::guard::wire::{Disk, Report};
use crate::name::SiteName;
use crate::plan::{Answer, Gate};
use crate::policy::Policy;
use crate::position::Position;
use crate::record::{Phase, Record};
use crate::time::human;

/// What this site would bring; `None`: nobody asks. With two sites nobody ever does.
pub(super) fn mine(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<Candidacy> {
    let asked = record.phase == Phase::Offered || s.lives(&record.active) == Some(false);
    if policy.sites.len() < 3 || record.active == *s.me || !asked {
        return None;
    }
    let vetoed = !take::veto(s, policy).iter().all(Gate::passed);
    // What a server still sends that should have stopped goes on growing; nobody is told of each byte.
    let positions = policy.databases.keys().filter(|_| !vetoed).filter_map(|name| {
        let report = s.seen.databases.get(name)?.guard.value()?;
        Some((name.clone(), held(report)?))
    });
    let able = !vetoed && take::could(s, policy, record);
    Some(Candidacy { epoch: record.epoch, able, positions: positions.collect() })
}

/// How far a replica has its primary's history, on whatever timeline.
fn held(report: &Report) -> Option<Position> {
    let Disk::Cluster(c) = &report.disk else { return None };
    let now = report.positions.as_ref().and_then(|p| Some((p.timeline?, p.receive.max(p.replay)?)));
    let before = || report.contact_lost.as_ref().and_then(|c| Some((c.timeline?, c.received?)));
    let (timeline, lsn) = now.or_else(before)?;
    Some(Position { system_id: c.system_id, timeline, lsn })
}

/// Who has the first turn, if it is another site, as a gate. `waited` is how long the role could have been taken, and
/// `patience` how long another one is waited for at most.
pub(super) fn turn(
    s: &Situation<'_>,
    policy: &Policy,
    record: &Record,
    (waited, patience): (Duration, Duration),
) -> Option<Gate> {
    let mine = mine(s, policy, record)?;
    if waited >= patience {
        return None;
    }
    let others = policy.other_sites(s.me).filter(|site| **site != record.active);
    let found = others.into_iter().find_map(|site| before_me(s, policy, record, &mine, site))?;
    let needed = format!("its take, or {} without it", human(patience));
    Some(Gate::new("turn", Answer::NotYet, found, needed))
}

/// Why `site` goes before this one, if it does.
fn before_me(
    s: &Situation<'_>,
    policy: &Policy,
    record: &Record,
    mine: &Candidacy,
    site: &SiteName,
) -> Option<String> {
    // A site without any lease was never there.
    if s.observer.window(site).is_none() || s.lives(site) == Some(false) {
        return None;
    }
    let facts = s.facts(site);
    let said = facts.value();
    let Some(its) = said.and_then(|f| f.candidacy.as_ref()).filter(|c| c.epoch == record.epoch) else {
        // One that cannot be promoted has said so all year.
        let cannot = said.is_some_and(|f| f.blockers.iter().any(|g| g.answer == Answer::No));
        return (!cannot).then(|| format!("{site} lives and has not said yet what its copy has"));
    };
    if its.able != mine.able {
        return its.able.then(|| format!("{site} can take the role"));
    }
    match data(policy, its, mine) {
        Some(Ordering::Greater) => Some(format!("the copy of {site} has more")),
        Some(Ordering::Less) => None,
        Some(Ordering::Equal) | None => {
            let place = |site: &SiteName| policy.sites.iter().position(|s| s == site);
            (place(site) < place(s.me))
                .then(|| format!("{site} comes first in spec.sites, and its copy has as much"))
        }
    }
}

/// Which of two sites has more, when one has no less of any database.
fn data(policy: &Policy, a: &Candidacy, b: &Candidacy) -> Option<Ordering> {
    let at = |c: &Candidacy, name| c.positions.get(name).map(|p| (p.timeline, p.lsn));
    policy.databases.keys().map(|name| at(a, name).cmp(&at(b, name))).try_fold(Ordering::Equal, |all, one| {
        match (all, one) {
            (Ordering::Equal, one) => Some(one),
            (all, Ordering::Equal) => Some(all),
            (all, one) => (all == one).then_some(all),
        }
    })
}

/// Whether `site` has said that it could not take the role of this hold now.
pub(super) fn cannot(s: &Situation<'_>, record: &Record, site: &SiteName) -> bool {
    let said = s.facts(site).value().and_then(|f| f.candidacy.clone());
    said.is_some_and(|c| c.epoch == record.epoch && !c.able)
}
