//! What happens to one policy, each act at its time: rehearsed by the operators' own code.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use bascule_core::moves::Move;
use bascule_core::name::PolicyKey;
use bascule_core::policy::Policy;
use bascule_core::record::Phase;
use bascule_crds::FailoverPolicy;
use bascule_engine::intake::policy;
use bascule_sim::rehearsal::{After, Change as Merged, Rehearsed, Standing, rehearse};
use jiff::Timestamp;

use super::act::{View, cannot_be};
use super::state::{Before, Case};
use super::told::{Act, Change, PolicyPlan};
use super::unknown::not_asked;
use super::{Asked, blockers, later, loosens, stands, words};
use crate::telling::Progress;

/// The plan of one policy.
pub fn plan(case: &Case, before: &Before, asked: &Asked) -> anyhow::Result<PolicyPlan> {
    let was = case.before.as_ref().map(|o| core(o, &case.key)).transpose()?;
    let is = case.after.as_ref().map(|o| core(o, &case.key)).transpose()?;
    let live = before.live.get(&case.key);
    let times = times(&case.moves, asked.at);
    let first: Vec<Move> = times.iter().flat_map(|(_, moves)| moves.clone()).collect();
    let no_record = live.is_some_and(|l| l.status.phase.as_deref() == Some("NoRecord"));
    let in_force = was.as_ref().filter(|_| !no_record);
    let stands::Stands { mut standing, now, told, mut unknown } =
        stands::of(case, in_force, &first, live, asked)?;
    let mut acts = Vec::new();
    let mut notes = case.notes.clone();
    let mut progress = Progress::of(&case.key.to_string());
    for (begins, moves) in times {
        let policy = match (case.change, acts.is_empty(), &is) {
            (Change::Removed, true, _) => After::Gone,
            (Change::New | Change::Changed, true, Some(is)) => After::Becomes(Box::new(is.clone())),
            (_, true, Some(is)) if no_record => After::Becomes(Box::new(is.clone())),
            _ => After::Same,
        };
        if begins.is_none() && moves.is_empty() && case.change == Change::None {
            continue;
        }
        standing.wall = begins.map_or(asked.at, |t| t.max(asked.at));
        let changes = !matches!(policy, After::Same);
        let merged = Merged { policy, moves };
        let mut watch =
            |at: Duration| progress.is_at(&format!("{} rehearsed", bascule_core::time::human(at)));
        let done = match rehearse(&standing, &merged, &mut watch) {
            Ok(done) => done,
            // Where nobody was asked it is the assumption that does not hold.
            Err(why) if !told && !merged.moves.is_empty() => {
                acts.push(cannot_be(begins, &merged.moves, &why.to_string()));
                break;
            }
            Err(why) => return Err(why).with_context(|| case.key.to_string()),
        };
        let Some(policy) = is.as_ref().or(was.as_ref()) else { continue };
        let view = View { case, policy, live, standing: &standing, told };
        acts.push(view.act(begins, changes, &done));
        if changes && is.is_some() {
            notes.extend(blockers::by_a_person(policy, &done));
        }
        if done.goes_on {
            notes.push("It was not over when the rehearsal ended; what comes later depends on how it ends and is not planned.".to_owned());
            break;
        }
        go_on(&mut standing, is.as_ref(), &done);
    }
    progress.ends();
    if acts.is_empty() {
        // Nothing is merged that could act: what stands in the way of it is said all the same.
        if let Some(policy) = is.as_ref().or(was.as_ref()) {
            let view = View { case, policy, live, standing: &standing, told };
            let act = view.act(None, false, &Rehearsed::default());
            if !act.blockers.is_empty() {
                acts.push(act);
            }
        }
    }
    if case.change == Change::Changed && acts.iter().any(begins_database) {
        unknown.push(stands::DISKS.to_owned());
    }
    notes.extend(two_in_one(was.as_ref(), is.as_ref(), &acts));
    unknown.extend(not_asked(case, &acts, was.as_ref(), is.as_ref(), live, asked));
    Ok(PolicyPlan {
        policy: case.key.to_string(),
        change: case.change,
        fields: case.fields.clone(),
        let_go: let_go(was.as_ref(), is.as_ref(), case.change),
        if_lost: later::compare(case, was.as_ref(), is.as_ref(), &standing, asked)?,
        now,
        acts,
        unknown,
        notes,
    })
}

/// A change that moves a role and loosens a bound at once.
fn two_in_one(was: Option<&Policy>, is: Option<&Policy>, acts: &[Act]) -> Option<String> {
    let moves = acts.iter().flat_map(|act| &act.moves).any(|mv| mv.to.is_some());
    let loosened = was.zip(is).map(|(was, is)| loosens::bounds(was, is)).unwrap_or_default();
    (moves && !loosened.is_empty()).then(|| {
        format!(
            "This moves a role and loosens a bound in one change: {}. Who approves the one may not see the other; two changes are safer.",
            loosened.join(", ")
        )
    })
}

/// What looks like a rename and is none: a policy that is deleted and a new one that name the same things.
pub fn renamed(cases: &[Case]) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    let with = |change| cases.iter().filter(move |c| c.change == change);
    for gone in with(Change::Removed) {
        for new in with(Change::New) {
            let (Some(was), Some(is)) = (&gone.before, &new.after) else { continue };
            let is = words::named(&core(is, &new.key)?);
            let both: Vec<String> =
                words::named(&core(was, &gone.key)?).into_iter().filter(|o| is.contains(o)).collect();
            if !both.is_empty() {
                notes.push(format!(
                    "{} is deleted and {} is new, and both name {}: that is no rename. The record, the guards and the high-water marks go by a policy's name; keep it, or no guard speaks for the new one.",
                    gone.key,
                    new.key,
                    both.join(", ")
                ));
            }
        }
    }
    Ok(notes)
}

/// Whether a database is taken up that the policy did not have in that site.
fn begins_database(act: &Act) -> bool {
    act.objects.iter().any(|o| o.what.starts_with("database ") && o.old.is_none())
}

fn core(object: &FailoverPolicy, key: &PolicyKey) -> anyhow::Result<Policy> {
    policy::convert(object, None).with_context(|| key.to_string())
}

/// The Moves by the times before which they do not act; the first entry is what can act at once.
fn times(moves: &[Move], at: Timestamp) -> Vec<(Option<Timestamp>, Vec<Move>)> {
    let mut by_time: BTreeMap<Option<Timestamp>, Vec<Move>> = BTreeMap::new();
    by_time.insert(None, Vec::new());
    for mv in moves {
        by_time.entry(mv.not_before.filter(|t| *t > at)).or_default().push(mv.clone());
    }
    by_time.into_iter().collect()
}

/// The next act begins where this one has ended.
fn go_on(standing: &mut Standing, is: Option<&Policy>, done: &Rehearsed) {
    let Some(record) = &done.after else { return };
    standing.policy = is.cloned().or(standing.policy.take());
    let moved = record.epoch != standing.epoch;
    standing.active = record.active.clone();
    standing.epoch = record.epoch;
    standing.serial = standing.serial.map(|_| record.serial);
    standing.phase = record.phase.clone();
    standing.silent = record.phase == Phase::ReadOnly;
    standing.hold.clone_from(&record.hold);
    standing.history.clone_from(&record.history);
    standing.verdicts.clone_from(&record.moves);
    if moved {
        standing.seen.clear();
        standing.obstacles.clear();
    }
}

/// What the policy named before and names no more.
fn let_go(was: Option<&Policy>, is: Option<&Policy>, change: Change) -> Vec<String> {
    let (Some(was), true) = (was, matches!(change, Change::Changed | Change::Removed)) else {
        return Vec::new();
    };
    let named = is.map(words::named).unwrap_or_default();
    let mut gone: Vec<String> =
        words::named(was).into_iter().filter(|object| !named.contains(object)).collect();
    if let Some(is) = is {
        let kept = words::in_every_site(was).into_iter().filter(|object| named.contains(object));
        let left: Vec<_> = was.sites.iter().filter(|site| !is.sites.contains(site)).collect();
        gone.extend(kept.flat_map(|object| left.iter().map(move |site| format!("{object} at {site}"))));
    }
    gone
}
