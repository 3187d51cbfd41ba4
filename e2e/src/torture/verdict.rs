//! The checker: what the clients were told, against the rows that are there in the end and what Bascule said in its
//! record. It knows of the faults only when the fence class ended, and whether any of them may have moved the role.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::ground::Admitted;
use super::records::{Record, Transition};
use crate::client::{Attempt, History, Kind, Outcome, Row, Stamp};

/// What the checker looks at.
pub struct Case<'c> {
    /// Everything that clients did and were told.
    pub history: &'c History,
    /// Every state of the record, from the one before the first fault on.
    pub records: &'c [Record],
    /// Every row of the active database in the end.
    pub rows: &'c [Row],
    /// Times in which the fence class admits more.
    pub admitted: &'c [Admitted],
    /// Whether any fault may have moved the role.
    pub may_move: bool,
    /// Whether any fault hits more than git, DNS, the standby and what a person may hold.
    pub may_pause: bool,
    /// Whether the times of day in the record are those of the clients.
    pub times_are_right: bool,
    /// The time now, on both clocks.
    pub now: (Stamp, jiff::Timestamp),
}

/// What was found, for the transcript.
#[derive(Debug, Default)]
pub struct Found {
    /// One line each.
    pub lines: Vec<String>,
    /// Acknowledged rows that are lost, by the site that acknowledged them.
    pub lost: BTreeMap<String, Vec<Attempt>>,
}

/// Writes may be acknowledged a little before the first that is counted, and after the last, for the clients write
/// one row after the other and answers are late on a busy machine.
const PACE: Duration = Duration::from_millis(500);
/// A longer time without a write was a pause (L4): a busy machine's, and what a resolver takes to ask another server,
/// are shorter.
const PAUSE: Duration = Duration::from_secs(3);
/// How long received log may wait for its replay on a busy machine.
const REPLAY: Duration = Duration::from_secs(1);

/// Judges a case; the error is a finding.
pub fn judge(case: &Case<'_>) -> Result<Found> {
    let mut found = Found::default();
    numbers_rise(case.records)?;
    let (first, last) = (case.records.first(), case.records.last());
    let (first, last) = first.zip(last).context("there is no record")?;
    let holders = holders(case.records);
    found.lines.push(format!("the writers by the record: {}", holders.join(", then ")));
    ensure!(
        case.may_move || first.epoch == last.epoch,
        "the role moved from {} to {}, and no fault asks for it",
        first.active,
        last.active
    );
    let twice = case.history.written_twice(case.rows);
    ensure!(twice.is_empty(), "{} rows were written twice: {twice:?}", twice.len());
    let refused = case.history.refused_but_written(case.rows);
    ensure!(refused.is_empty(), "{} refused writes were written: {:?}", refused.len(), refused.first());
    let all_lost = case.history.lost(case.rows);
    let (excused, lost): (Vec<&Attempt>, Vec<&Attempt>) =
        all_lost.into_iter().partition(|a| case.admitted.iter().any(|w| admits(w, a)));
    let excused: Vec<&str> = excused.into_iter().map(|a| a.token.as_str()).collect();
    let judged: Vec<Attempt> =
        case.history.attempts.iter().filter(|a| !excused.contains(&a.token.as_str())).cloned().collect();
    let judged = History { attempts: judged };
    let order: Vec<&str> = holders.iter().map(String::as_str).collect();
    judged.one_writer_at_a_time(&order)?;
    let acked = case.history.acked().count();
    let (lost_number, excused_number) = (lost.len(), excused.len());
    found.lines.push(format!(
        "{acked} rows acknowledged, {lost_number} lost, {excused_number} more where the fence class ends"
    ));
    for attempt in lost {
        found.lost.entry(attempt.site().unwrap_or_default().to_owned()).or_default().push(attempt.clone());
    }
    let begin = case.history.attempts.first().map_or(case.now.0, |a| a.start);
    let end = case.history.attempts.iter().map(|a| a.end).max().unwrap_or(begin);
    let gap = case.history.longest_gap(Kind::Write, begin, end).length();
    found.lines.push(format!("the longest time without a write: {:.1} s", gap.as_secs_f64()));
    ensure!(
        case.may_pause || gap <= PAUSE,
        "L4: no write for {gap:?}, though nothing has hit the active site"
    );
    loss_is_as_reported(&found.lost, &transitions(first.epoch, last), &mut found.lines)?;
    // When a hold began is known by the record's times alone.
    let reads = if case.times_are_right { reads_are_as_old_as_said(case, &judged)? } else { 0 };
    if reads > 0 {
        found.lines.push(format!("{reads} reads in a hold, none older than said"));
    }
    Ok(found)
}

fn admits(window: &Admitted, attempt: &Attempt) -> bool {
    attempt.site() == Some(window.site.name()) && attempt.end >= window.from && attempt.end <= window.to
}

/// Epoch and serial never fall; the epoch rises exactly when the active site changes.
fn numbers_rise(records: &[Record]) -> Result<()> {
    for (a, b) in records.iter().zip(records.iter().skip(1)) {
        ensure!(b.serial == a.serial + 1, "serial {} came after {}", b.serial, a.serial);
        let step = u64::from(a.active != b.active);
        ensure!(
            b.epoch == a.epoch + step,
            "epoch {} with {} came after epoch {} with {}",
            b.epoch,
            b.active,
            a.epoch,
            a.active
        );
    }
    Ok(())
}

/// The sites that had the role, in order.
fn holders(records: &[Record]) -> Vec<String> {
    let mut holders: Vec<String> = records.iter().map(|r| r.active.clone()).collect();
    holders.dedup();
    holders
}

/// The transitions past an epoch, the oldest first, as the last record knows them.
fn transitions(since: u64, last: &Record) -> Vec<&Transition> {
    last.history.iter().rev().filter(|t| t.epoch > since).collect()
}

/// Nothing is lost by a planned change; by another one no more than was counted from the saved log, over no longer a
/// time than was said before.
fn loss_is_as_reported(
    lost: &BTreeMap<String, Vec<Attempt>>,
    transitions: &[&Transition],
    lines: &mut Vec<String>,
) -> Result<()> {
    for (site, rows) in lost {
        let first = rows.iter().min_by_key(|a| a.start).context("no row")?;
        let from: Vec<&&Transition> =
            transitions.iter().filter(|t| t.from == *site && t.cause != "Planned").collect();
        let [transition] = from[..] else {
            ensure!(
                !from.is_empty(),
                "{} rows that {site} had acknowledged are lost, the first {first:?}, though {site} has given \
                 the role away by plan only",
                rows.len()
            );
            lines.push(format!("{site} lost its role {} times: its loss is not told apart", from.len()));
            continue;
        };
        let bound = transition.loss_bound;
        let bound =
            bound.with_context(|| format!("{} rows of {site} are lost, and none was to be", rows.len()))?;
        let counted = transition.measured_loss.as_ref();
        let counted =
            counted.with_context(|| format!("{} lost rows of {site} were not counted", rows.len()))?;
        ensure!(
            counted.transactions >= rows.len() as u64,
            "{} rows of {site} are lost, {} transactions were counted",
            rows.len(),
            counted.transactions
        );
        let last = rows.iter().max_by_key(|a| a.end).context("no row")?;
        let span = last.end.since(first.start);
        let said = bound.unseen.map(Duration::from_millis);
        lines.push(format!(
            "{site}: {} rows lost over {span:?}; said: at most {said:?}; counted: {}",
            rows.len(),
            counted.transactions
        ));
        if let Some(said) = said {
            ensure!(
                span <= said + PACE,
                "rows of {site} are lost over {span:?}, and at most {said:?} was said"
            );
        }
    }
    Ok(())
}

/// Reads that a site answers while the active one is silent lack nothing older than what was said when it was lost;
/// answers how many were looked at.
fn reads_are_as_old_as_said(case: &Case<'_>, judged: &History) -> Result<usize> {
    let mut looked_at = 0;
    for (number, record) in case.records.iter().enumerate() {
        let Some(transition) = record.transition.as_ref().filter(|_| record.phase == "ReadOnly") else {
            continue;
        };
        let Some(unseen) = transition.loss_bound.and_then(|b| b.unseen).map(Duration::from_millis) else {
            continue;
        };
        let from = stamp(record.entered.at, case.now);
        let to = case.records.get(number + 1).map_or(case.now.0, |next| stamp(next.entered.at, case.now));
        let old = judged.last_at(Kind::Write, &record.active, to).map_or(from, |a| a.end);
        let must = must_be_there(judged, &record.active, earlier(old.min(from), unseen + REPLAY));
        for read in judged.of(Kind::Read).filter(|r| r.start >= from && r.end <= to) {
            let Outcome::Answered { site, last } = &read.outcome else { continue };
            if *site != transition.to {
                continue;
            }
            looked_at += 1;
            if let Some(must) = must
                && *last < must
            {
                bail!(
                    "a read in the hold was answered by {site} with row {last}, though row {must} was acknowledged \
                     more than {unseen:?} before {} was lost",
                    record.active
                );
            }
        }
    }
    Ok(looked_at)
}

/// The highest number that a site had acknowledged before a moment.
fn must_be_there(history: &History, site: &str, before: Stamp) -> Option<i64> {
    let acked = history.acked().filter(|a| a.end <= before && a.site() == Some(site));
    acked.filter_map(|a| if let Outcome::Acked { id, .. } = a.outcome { Some(id) } else { None }).max()
}

fn earlier(moment: Stamp, by: Duration) -> Stamp {
    Stamp(moment.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
}

/// A moment of the wall clock on the clients' own.
fn stamp(at: jiff::Timestamp, (now, wall): (Stamp, jiff::Timestamp)) -> Stamp {
    let ago = wall.duration_since(at).as_nanos();
    Stamp(u64::try_from(i128::from(now.0) - ago).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::records::{Entered, LossBound, MeasuredLoss};
    use crate::world::Place;

    fn second(n: u64) -> Stamp {
        Stamp((n + 1000) * 1_000_000_000)
    }

    fn write(site: &str, at: u64) -> Attempt {
        let outcome =
            Outcome::Acked { site: site.to_owned(), id: i64::try_from(at).unwrap(), xid: at.to_string() };
        let token = format!("{site}-{at}");
        Attempt {
            kind: Kind::Write,
            worker: 0,
            token,
            start: second(at),
            end: second(at),
            outcome,
            address: None,
        }
    }

    fn read(site: &str, at: u64, last: i64) -> Attempt {
        let outcome = Outcome::Answered { site: site.to_owned(), last };
        Attempt { kind: Kind::Read, token: String::new(), outcome, ..write(site, at) }
    }

    fn record(serial: u64, epoch: u64, active: &str, phase: &str, entered: u64) -> Record {
        Record {
            generation: 0,
            promise: crate::torture::records::Promise {
                profile: "metro".to_owned(),
                fences: serde_json::Value::Null,
            },
            epoch,
            serial,
            active: active.to_owned(),
            phase: phase.to_owned(),
            entered: Entered { at: wall(entered) },
            transition: None,
            history: Vec::new(),
        }
    }

    fn wall(second: u64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(i64::try_from(1_000_000 + second).unwrap()).unwrap()
    }

    fn lost_site(counted: Option<u64>) -> Transition {
        Transition {
            cause: "SiteLost".to_owned(),
            from: "paris".to_owned(),
            to: "lyon".to_owned(),
            epoch: 2,
            loss_bound: Some(LossBound { bytes: Some(0), unseen: Some(2000) }),
            measured_loss: counted.map(|transactions| MeasuredLoss { transactions }),
        }
    }

    struct World {
        history: History,
        records: Vec<Record>,
        rows: Vec<Row>,
        admitted: Vec<Admitted>,
        may_move: bool,
        may_pause: bool,
        times_are_right: bool,
    }

    /// Paris writes at 1 to 4 and is lost; the rows of 3 and 4 with it. Lyon serves reads from 7 and writes from 10.
    fn failover() -> World {
        let attempts = vec![
            write("paris", 1),
            write("paris", 2),
            write("paris", 3),
            write("paris", 4),
            read("lyon", 8, 2),
            write("lyon", 10),
        ];
        let there = |site: &str, at: u64| Row {
            id: i64::try_from(at).unwrap(),
            token: format!("{site}-{at}"),
            site: site.to_owned(),
        };
        let records = vec![
            record(1, 1, "paris", "Steady", 0),
            Record { transition: Some(lost_site(None)), ..record(2, 1, "paris", "ReadOnly", 7) },
            record(3, 2, "lyon", "Promoting", 9),
            Record { history: vec![lost_site(Some(2))], ..record(4, 2, "lyon", "Steady", 11) },
        ];
        World {
            history: History { attempts },
            records,
            rows: vec![there("paris", 1), there("paris", 2), there("lyon", 10)],
            admitted: Vec::new(),
            may_move: true,
            may_pause: true,
            times_are_right: true,
        }
    }

    fn verdict(world: &World) -> Result<Found> {
        judge(&Case {
            history: &world.history,
            records: &world.records,
            rows: &world.rows,
            admitted: &world.admitted,
            may_move: world.may_move,
            may_pause: world.may_pause,
            times_are_right: world.times_are_right,
            now: (second(20), wall(20)),
        })
    }

    fn complaint(world: &World) -> String {
        format!("{:#}", verdict(world).unwrap_err())
    }

    #[test]
    fn a_failover_that_lost_what_it_said_passes() {
        let found = verdict(&failover()).unwrap();
        assert_eq!(found.lost["paris"].len(), 2);
    }

    #[test]
    fn more_lost_rows_than_were_counted_are_found() {
        let mut world = failover();
        world.records[3].history = vec![lost_site(Some(1))];
        assert!(complaint(&world).contains("1 transactions were counted"));
        world.records[3].history = vec![lost_site(None)];
        assert!(complaint(&world).contains("were not counted"));
    }

    #[test]
    fn rows_lost_by_a_planned_change_are_found() {
        let mut world = failover();
        world.records[3].history[0].cause = "Planned".to_owned();
        assert!(complaint(&world).contains("by plan only"));
    }

    #[test]
    fn rows_lost_over_a_longer_time_than_was_said_are_found() {
        let mut world = failover();
        world.records[3].history[0].loss_bound = Some(LossBound { bytes: Some(0), unseen: Some(400) });
        assert!(complaint(&world).contains("at most 400ms was said"));
        world.records[3].history[0].loss_bound = None;
        assert!(complaint(&world).contains("none was to be"));
    }

    #[test]
    fn a_row_acknowledged_by_the_old_site_after_the_promotion_is_found_unless_its_guard_stood_still() {
        let mut world = failover();
        world.history.attempts.push(write("paris", 12));
        assert!(complaint(&world).contains("outside of its time"));
        world.admitted = vec![Admitted { site: Place::Paris, from: second(4), to: second(13) }];
        verdict(&world).unwrap();
        // Nobody excuses a row that another site has.
        world.rows.push(Row { id: 12, token: "paris-12".to_owned(), site: "paris".to_owned() });
        assert!(complaint(&world).contains("outside of its time"));
    }

    #[test]
    fn a_read_in_the_hold_that_lacks_more_than_was_said_is_found() {
        let mut world = failover();
        world.history.attempts[4] = read("lyon", 8, 0);
        assert!(complaint(&world).contains("a read in the hold"));
        // An hour that a wall clock was wrong is no hour that a read is old.
        world.times_are_right = false;
        verdict(&world).unwrap();
    }

    #[test]
    fn a_move_that_no_fault_asks_for_is_found() {
        let world = World { may_move: false, ..failover() };
        assert!(complaint(&world).contains("no fault asks for it"));
    }

    #[test]
    fn a_pause_that_nothing_at_the_active_site_explains_is_found() {
        let world = World { may_pause: false, ..failover() };
        assert!(complaint(&world).contains("no write for 6s"));
    }

    #[test]
    fn numbers_that_fall_or_jump_are_found() {
        let mut world = failover();
        world.records[2].epoch = 3;
        assert!(complaint(&world).contains("epoch 3"));
        let mut world = failover();
        world.records.remove(1);
        assert!(complaint(&world).contains("serial 3 came after 1"));
    }
}
