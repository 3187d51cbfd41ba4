//! Plays one schedule on a stage: faults, their end, a steady pair, the verdict.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::fault::{Fault, Harm};
use super::ground::Ground;
use super::inflict::{as_at_first, given_back, inflict, installed_again, made_anew};
use super::records::{Record, record, records_since};
use super::schedule::Schedule;
use super::verdict::{Case, Found, judge};
use crate::client::{History, Kind, Row, Stamp};
use crate::progress::seconds;
use crate::scenario::{Scene, Stage};
use crate::shop::{NAMESPACE, POLICY, View};
use crate::waiting::until;
use crate::world::Place;
use bascule_crds::MoveState;

/// How long the pair may take to be steady again once every fault is over and every part runs (L1, L2).
pub const SETTLED_WITHIN: Duration = Duration::from_secs(90);
/// How long it must then stay so.
const STAYS: Duration = Duration::from_secs(2);
/// How long the standby may take to have what the active server had.
const FOLLOWS: Duration = Duration::from_secs(20);

/// What a schedule left behind, whether it passed or not.
#[derive(Debug, Default)]
pub struct Played {
    /// What was done and seen.
    pub transcript: String,
    /// What the clients were told.
    pub history: History,
    /// The record's states.
    pub records: Vec<Record>,
    /// From the end of the last fault to the steady pair.
    pub settled: Duration,
    /// The finding.
    pub error: Option<anyhow::Error>,
}

/// Plays a schedule. `name` is new in this world.
pub async fn play(stage: &Stage, schedule: &Schedule, name: &str) -> Played {
    let mut played = Played::default();
    let mut scene = match stage.scene(&schedule.policy.text()).await {
        Ok(scene) => scene,
        Err(e) => {
            played.error = Some(e.context("before the first fault"));
            return played;
        }
    };
    scene.aloud();
    let ground = Ground::new(&scene, name);
    let result = play_on(&ground, schedule, &mut played).await;
    played.error = result.err();
    if played.history.attempts.is_empty() {
        played.history = scene.client.history();
    }
    played.transcript = scene.transcript();
    played
}

async fn play_on(ground: &Ground<'_, '_>, schedule: &Schedule, played: &mut Played) -> Result<()> {
    let (scene, world) = (ground.scene, ground.world());
    let before = record(world).context("before the first fault")?;
    scene.note(&format!("{} is active in epoch {}", before.active, before.epoch));
    let not_done = all_faults(ground, schedule);
    world.restore().await.context("the faults could not be taken back")?;
    scene.note("every fault is over, every part runs");
    let (rotated, log_removed) = {
        let told = ground.told();
        (told.rotated, told.log_removed)
    };
    installed_again(ground).await?;
    given_back(ground).await?;
    if rotated {
        as_at_first(ground).await.context("the passwords could not be taken back")?;
    }
    if log_removed {
        made_anew(ground).await?;
    }
    let harms: Vec<Harm> = schedule.steps.iter().map(|s| s.fault.harm()).collect();
    let number = |harm| harms.iter().filter(|h| **h == harm).count();
    let may = May {
        move_the_role: number(Harm::May) > 0 || number(Harm::NotAlone) > 1,
        pause: number(Harm::Never) < harms.len(),
    };
    settle_and_judge(ground, &before, may, played).await?;
    bit(schedule, not_done)
}

/// Another fault may have taken what a fault needed. Where there is none but what people ask for, one that was not done has
/// proved nothing.
fn bit(schedule: &Schedule, not_done: Vec<(Fault, anyhow::Error)>) -> Result<()> {
    let by_nature = schedule.steps.iter().filter(|step| !step.fault.is_asked_for()).count();
    match not_done.into_iter().next() {
        Some((fault, why)) if by_nature <= 1 => {
            Err(why.context(format!("the fault did not come about: {fault}")))
        }
        _ => Ok(()),
    }
}

/// What was done to the world may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct May {
    /// Move the role.
    pub(crate) move_the_role: bool,
    /// Keep the clients from writing for some time.
    pub(crate) pause: bool,
}

/// Waits for the steady pair once everything is over and every part runs, and judges all since the record was as it was
/// `before`; answers who is active.
pub(crate) async fn settle_and_judge(
    ground: &Ground<'_, '_>,
    before: &Record,
    may: May,
    played: &mut Played,
) -> Result<Place> {
    let (scene, world) = (ground.scene, ground.world());
    let over = (Instant::now(), Stamp::now());
    let settled = settled(ground).await;
    // Read first: it explains why it is not settled.
    played.records = records_since(world, before.serial)?;
    let holder = settled.context("L1: the world did not settle")?;
    played.settled = over.0.elapsed();
    scene.note(&format!("steady again after {}, {holder} active", seconds(played.settled)));
    both_have_the_same_policy(ground).await?;
    scene.client.all_work_at(Kind::Write, holder.name(), over.1, SETTLED_WITHIN).await.context("L2")?;
    // What is acknowledged by now must be in the rows that are read from now on.
    let mut history = scene.client.history();
    history.attempts.append(&mut ground.told().attempts);
    played.history = history;
    let rows = both_have_the_same_rows(scene, holder).await?;
    let same = played.records.last() == records_since(world, before.serial)?.last();
    ensure!(same, "L1: the record changed again");
    let found = verdict(ground, may, played, &rows)?;
    for line in &found.lines {
        scene.note(line);
    }
    saved(scene, &found, &played.records)?;
    Ok(holder)
}

/// Each fault in a thread of its own: what waits for a part that another fault has stopped holds up nobody. Answers what was
/// not done, and why.
fn all_faults(ground: &Ground<'_, '_>, schedule: &Schedule) -> Vec<(Fault, anyhow::Error)> {
    let not_done = Mutex::new(Vec::new());
    let runtime = Handle::current();
    let begin = Instant::now();
    tokio::task::block_in_place(|| {
        thread::scope(|scope| {
            for step in &schedule.steps {
                let (runtime, not_done) = (runtime.clone(), &not_done);
                scope.spawn(move || {
                    runtime.block_on(async {
                        sleep(step.at.saturating_sub(begin.elapsed())).await;
                        ground.scene.note(&step.fault.to_string());
                        match inflict(step.fault, ground, step.lasts).await {
                            Ok(()) => ground.scene.note(&format!("over: {}", step.fault)),
                            Err(e) => {
                                ground.scene.note(&format!("not done: {}: {e:#}", step.fault));
                                not_done.lock().unwrap_or_else(PoisonError::into_inner).push((step.fault, e));
                            }
                        }
                    });
                });
            }
        });
    });
    not_done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until both sites and the arbiter agree on a steady pair, every Move has come to an end, and it stays so for a
/// while; answers who is active.
async fn settled(ground: &Ground<'_, '_>) -> Result<Place> {
    let begin = Instant::now();
    loop {
        let left = SETTLED_WITHIN.saturating_sub(begin.elapsed());
        let (active, serial) = steady(ground, left).await?;
        sleep(STAYS).await;
        let after = record(ground.world())?;
        if after.serial == serial {
            return Ok(active);
        }
        ground.scene.note(&format!("not for long: {} with {}", after.phase, after.active));
    }
}

async fn steady(ground: &Ground<'_, '_>, deadline: Duration) -> Result<(Place, u64)> {
    let (shop, world) = (ground.shop(), ground.world());
    let moves = ground.told().moves.clone();
    until("a steady pair", deadline, || async {
        let record = record(world)?;
        let active: Place = record.active.parse().map_err(anyhow::Error::msg)?;
        ensure!(record.phase == "Steady", "the record is in {}", record.phase);
        for site in Place::SITES {
            let view = shop.view(site).await?;
            shows(&view, &record, active)?;
            for name in &moves {
                ended(&shop, site, name).await?;
            }
        }
        Ok((active, record.serial))
    })
    .await
}

fn shows(view: &View, record: &Record, active: Place) -> Result<()> {
    let serial = view.status.serial;
    ensure!(serial == Some(record.serial), "{} shows serial {serial:?} of {}", view.site, record.serial);
    view.ensure_steady(active)
}

async fn ended(shop: &crate::shop::Shop<'_>, site: Place, name: &str) -> Result<()> {
    let state = shop.move_state(site, name).await?;
    let (state, message) = state.with_context(|| format!("Move {name} has no state at {site}"))?;
    ensure!(
        !matches!(state, MoveState::Pending | MoveState::Requested),
        "Move {name} is {state:?} at {site}: {message}"
    );
    Ok(())
}

/// Whatever somebody has edited at one site, both have what git says.
async fn both_have_the_same_policy(ground: &Ground<'_, '_>) -> Result<()> {
    let spec = |site| {
        ground.world().kubectl(site, &["get", "fop", "-n", NAMESPACE, POLICY, "-o", "jsonpath={.spec}"])
    };
    until("both sites to have the policy of git", FOLLOWS, || async {
        let [paris, lyon] = Place::SITES.map(spec);
        let (paris, lyon) = (paris?, lyon?);
        ensure!(paris == lyon, "paris has {paris}, lyon has {lyon}");
        Ok(())
    })
    .await
}

/// What the active server has in the end is at the standby, too, and nothing else; answers it.
async fn both_have_the_same_rows(scene: &Scene<'_>, holder: Place) -> Result<Vec<Row>> {
    let other = holder.other_site().context("a site")?;
    let rows = scene.shop.rows(holder).await?;
    let theirs = until(&format!("{other} to have every row of {holder}"), FOLLOWS, || async {
        let theirs = scene.shop.rows(other).await?;
        let missing = rows.iter().find(|row| !theirs.contains_row(row));
        ensure!(missing.is_none(), "it lacks {missing:?}");
        Ok(theirs)
    })
    .await?;
    let ours = scene.shop.rows(holder).await?;
    let more = theirs.iter().find(|row| !ours.contains_row(row));
    ensure!(more.is_none(), "{other} has a row that {holder} has not: {more:?}");
    Ok(ours)
}

/// Rows come in the order of their numbers.
trait Rows {
    fn contains_row(&self, row: &Row) -> bool;
}

impl Rows for [Row] {
    fn contains_row(&self, row: &Row) -> bool {
        self.binary_search_by_key(&row.id, |r| r.id).is_ok_and(|found| self[found] == *row)
    }
}

fn verdict(ground: &Ground<'_, '_>, may: May, played: &Played, rows: &[Row]) -> Result<Found> {
    let admitted = ground.told().admitted.clone();
    judge(&Case {
        history: &played.history,
        records: &played.records,
        rows,
        admitted: &admitted,
        may_move: may.move_the_role,
        may_pause: may.pause,
        times_are_right: !ground.told().clock_stepped,
        now: (Stamp::now(), jiff::Timestamp::now()),
    })
}

/// Each lost row is in the log that the guard of its site has saved.
fn saved(scene: &Scene<'_>, found: &Found, records: &[Record]) -> Result<()> {
    for (site, rows) in &found.lost {
        let lost_roles = records
            .iter()
            .zip(records.iter().skip(1))
            .filter(|(a, b)| a.active == *site && b.active != *site)
            .count();
        // The note of an earlier loss is overwritten by that of a later one.
        if lost_roles == 1 {
            scene.lost_rows_are_saved(&rows.iter().collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_did_not_come_about_is_a_failure_unless_another_may_have_been_in_the_way() {
        let not_done = || vec![(Fault::GitGone, anyhow::anyhow!("no server"))];
        let judged = |lines: &str| {
            let text = format!("a silent site is replaced at once\n{lines}");
            bit(&text.parse().unwrap(), not_done())
        };
        let (gone, frozen) = ("at 1 s for 2 s: git is gone\n", "at 1 s for 2 s: git stands still\n");
        let person = "at 1 s for 2 s: a person merges a Switchover\n";
        for lines in [gone.to_owned(), format!("{gone}{person}")] {
            let error = format!("{:#}", judged(&lines).unwrap_err());
            assert_eq!(error, "the fault did not come about: git is gone: no server");
        }
        assert!(judged(&format!("{gone}{frozen}")).is_ok());
    }
}
