//! The change is merged; what is done because of it, until nothing more is done.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::moves::{Move, Verdict};
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::plan::{Answer, Gate};
use bascule_core::record::{Phase, Record};

use super::stand;
use super::{After, CannotStand, Change, DatabaseRole, Rehearsed, Standing};
use crate::deed::Deed;
use crate::time::Moment;
use crate::world::World;
use crate::world::database::Database;
use crate::world::postgres::Run;

/// How often somebody looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long the arrival of what waits for nothing in particular is waited for.
const REST: Duration = Duration::from_mins(2);

/// Merges a change into a world that stands as it is said to, and tells what its operators and guards do; `watch` hears
/// how far the world is.
///
/// # Errors
/// When the world cannot be brought to stand so.
pub fn rehearse(
    standing: &Standing,
    change: &Change,
    watch: &mut dyn FnMut(Duration),
) -> Result<Rehearsed, CannotStand> {
    let mut world = stand::world(standing, change)?;
    let Some(key) = key_of(standing, change) else {
        return Ok(Rehearsed::default());
    };
    let began = world.now;
    let before = world.record(&key).cloned();
    let heard = world.transcript.deeds().len();
    let roles = roles(&world, &key);
    merge(&mut world, standing, change, &key);
    let mut run = Under { world, key, heard, roles, began, last: began, count: heard };
    let goes_on = run.until_rest(standing, change, watch);
    Ok(run.told(standing, change, before, goes_on))
}

fn key_of(standing: &Standing, change: &Change) -> Option<PolicyKey> {
    let after = match &change.policy {
        After::Becomes(policy) => Some(&policy.key),
        After::Same | After::Gone => None,
    };
    standing.policy.as_ref().map(|p| &p.key).or(after).cloned()
}

/// One commit with everything.
fn merge(world: &mut World, standing: &Standing, change: &Change, key: &PolicyKey) {
    let next = match (&change.policy, &standing.policy) {
        (After::Becomes(next), Some(before)) => {
            let active = world.record(key).map_or_else(|| standing.active.clone(), |r| r.active.clone());
            world.prepare(before, next, &active, |site, item| stand::new_app(next, standing, site, item));
            Some((**next).clone())
        }
        _ => None,
    };
    for mv in &change.moves {
        world.judge.intends(mv);
    }
    if next.is_none() && change.moves.is_empty() && !matches!(change.policy, After::Gone) {
        return;
    }
    let gone = matches!(change.policy, After::Gone);
    let moves = change.moves.clone();
    world.commit(|objects| {
        if let Some(next) = next {
            objects.policies.insert(key.clone(), Ok(next));
        }
        if gone {
            objects.policies.remove(key);
        }
        objects.moves.entry(key.clone()).or_default().extend(moves);
    });
}

struct Under {
    world: World,
    key: PolicyKey,
    heard: usize,
    roles: Roles,
    began: Moment,
    last: Moment,
    count: usize,
}

impl Under {
    /// Lets the world run until nothing more is done; whether it goes on when it is watched no longer.
    fn until_rest(&mut self, standing: &Standing, change: &Change, watch: &mut dyn FnMut(Duration)) -> bool {
        let l = standing.profile.timing().l();
        let end = self.began + patience(standing, change, l);
        loop {
            self.world.run_for(LOOK);
            let now = self.world.now;
            watch(now.since(self.began));
            if self.world.transcript.deeds().len() != self.count {
                self.count = self.world.transcript.deeds().len();
                self.last = now;
            }
            let quiet = now.since(self.last);
            let record = self.world.record(&self.key);
            let under_way = record.is_some_and(|r| is_under_way(&r.phase, standing));
            let judged = change.moves.iter().all(|m| record.is_some_and(|r| r.verdict(&m.hash).is_some()));
            // What waits for an old promise to run out waits for less than L.
            let enough = if judged { l + l / 2 } else { l * 3 };
            if !under_way && quiet >= enough && self.has_taken_it_in(change) {
                return false;
            }
            if now >= end {
                return under_way;
            }
        }
    }

    /// Whether every operator that runs has heard of the change.
    fn has_taken_it_in(&self, change: &Change) -> bool {
        let After::Becomes(policy) = &change.policy else { return true };
        let living = self.world.operators.iter().filter(|o| o.up);
        let mut shown = living.filter_map(|o| o.shown.get(&self.key));
        shown.all(|s| s.policy.as_ref().is_some_and(|p| p.spec_hash == policy.spec_hash))
    }

    fn told(self, standing: &Standing, change: &Change, before: Option<Record>, goes_on: bool) -> Rehearsed {
        let Self { world, key, heard, roles: before_roles, began, last, .. } = self;
        let after = world.record(&key).cloned();
        let mine = |d: &&Deed| d.policy == key;
        let deeds = world.transcript.deeds().get(heard..).unwrap_or_default().iter().filter(mine);
        let deeds: Vec<(Duration, Deed)> = deeds.map(|d| (d.at.since(began), d.clone())).collect();
        let verdict = |m: &Move| -> Option<Verdict> { after.as_ref()?.verdict(&m.hash).cloned() };
        let verdicts = change.moves.iter().map(|m| (m.clone(), verdict(m))).collect();
        let living = || world.operators.iter().filter(|o| o.up && !o.frozen);
        let shown = living().filter_map(|o| Some((world.sites[o.site].name.clone(), o.shown.get(&key)?)));
        let no = |g: &&Gate| g.answer != Answer::Yes;
        let mut waits: Vec<(SiteName, Gate)> = Vec::new();
        for (site, shown) in shown {
            waits.extend(shown.report.gates.iter().filter(no).map(|g| (site.clone(), g.clone())));
        }
        let active = after.as_ref().and_then(|r| world.site_of(&r.active));
        let by_active = living().find(|o| Some(o.site) == active).or_else(|| living().next());
        let transition = by_active.and_then(|o| o.shown.get(&key)).and_then(|s| s.report.last.clone());
        let known = standing.history.first().map(|t| (t.epoch, t.began));
        let transition = transition
            .filter(|row| Some((row.transition.epoch, row.transition.began)) != known)
            .filter(|_| after.as_ref().map(|r| r.epoch) != before.as_ref().map(|r| r.epoch));
        let databases = roles(&world, &key).into_iter().filter_map(|((site, database), role)| {
            let was = before_roles.get(&(site.clone(), database.clone())).cloned();
            let changed = was.as_ref() != Some(&role);
            changed.then_some(DatabaseRole { site, database, before: was, after: role })
        });
        let databases = databases.collect();
        Rehearsed {
            databases,
            deeds,
            before,
            after,
            verdicts,
            waits,
            transition,
            took: last.since(began),
            goes_on,
        }
    }
}

type Roles = BTreeMap<(SiteName, ItemName), String>;

/// What every database of a policy is, in words.
fn roles(world: &World, key: &PolicyKey) -> Roles {
    let words = |d: &Database| match d.server.run {
        Run::Primary { open: true } => "primary".to_owned(),
        Run::Primary { open: false } => "primary, closed".to_owned(),
        Run::Standby { .. } => {
            let of = d.server.follows.and_then(|at| world.databases.get(at)).map(|d| &d.site_name);
            of.map_or_else(|| "replica".to_owned(), |site| format!("replica of {site}"))
        }
        Run::Down if d.server.dir.is_none() => "empty".to_owned(),
        Run::Down => "down".to_owned(),
        Run::Starting { .. } => "starting".to_owned(),
        Run::Promoting => "being promoted".to_owned(),
        Run::Stopping | Run::Orphans => "stopping".to_owned(),
    };
    let living = world.databases.iter().filter(|d| d.policy == *key && world.sites[d.site].up);
    living.map(|d| ((d.site_name.clone(), d.name.clone()), words(d))).collect()
}

/// Whether the phase is one that ends by itself.
fn is_under_way(phase: &Phase, standing: &Standing) -> bool {
    match phase {
        Phase::Steady | Phase::Unmanaged | Phase::Unknown(_) => false,
        Phase::ReadOnly => !standing.silent && standing.phase != Phase::ReadOnly,
        _ => true,
    }
}

/// How long something may be waited for.
fn patience(standing: &Standing, change: &Change, l: Duration) -> Duration {
    let after = match &change.policy {
        After::Becomes(policy) => Some(&**policy),
        After::Same | After::Gone => None,
    };
    let waits = |p: &bascule_core::policy::Policy| {
        let f = &p.failover;
        let reads = f.serve_reads_after.elapsed().unwrap_or_default();
        f.switchover_deadline + f.offer_for + f.restart_grace + f.return_after + reads
    };
    let longest = standing.policy.as_ref().into_iter().chain(after).map(waits).max().unwrap_or_default();
    longest + l * 4 + REST
}
