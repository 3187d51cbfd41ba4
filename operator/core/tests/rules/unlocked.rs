//! Databases that a person has unlocked: nothing that rests on their guards' fence may rest on it.

use std::time::Duration;

use bascule_core::decide::decide;
use bascule_core::guard::unlocked::Unlocked;
use bascule_core::guard::wire::Report as Said;
use bascule_core::memory::Stamp;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::After;
use bascule_core::project::project;
use bascule_core::record::{Fences, Phase, Record};
use rstest::rstest;

use crate::expect::{answer, gate, goes_to, next, stays};
use crate::world::given::Given;
use crate::world::policy::switchover;
use crate::world::record::{fences, in_phase, never_fences, steady, wall};
use crate::world::reports::{locked, orphan, primary};

fn unlocked(mut report: Said) -> Said {
    let reason = "both arbiters burnt".to_owned();
    report.unlocked = Some(Unlocked { since: wall(), reason, promote: false, until: None });
    report.unlimited = true;
    report
}

fn given_back(report: Said) -> Said {
    let mut report = unlocked(report);
    report.unlimited = false;
    report.unlocked.as_mut().unwrap().until = Some(wall());
    report
}

fn at_paris(record: Record, report: Said) -> Given {
    Given::at("paris").record(record).report(report).for_ms(60_000)
}

#[rstest]
#[case::steady(Phase::Steady)]
#[case::requested(Phase::Requested)]
#[case::returning(Phase::Returning)]
#[case::promoting(Phase::Promoting)]
fn the_active_site_takes_its_promise_back_before_anything_else(#[case] phase: Phase) {
    let mut record = in_phase(phase.clone());
    record.active = crate::world::site("paris");
    let plan = at_paris(record, unlocked(primary(10))).plan();
    assert_eq!((next(&plan).promise.fences, &next(&plan).phase), (Fences::Never, &phase));
}

#[test]
fn it_promises_again_only_once_the_database_was_given_back() {
    let nothing = never_fences(steady());
    stays(&at_paris(nothing.clone(), unlocked(primary(10))).plan());
    // Even a guard that says nothing of a grant without a deadline.
    let mut without = unlocked(primary(10));
    without.unlimited = false;
    stays(&at_paris(nothing.clone(), without).plan());
    assert_eq!(next(&at_paris(nothing, given_back(primary(10))).plan()).promise, fences());
}

#[test]
fn a_stronger_promise_over_an_unlocked_database_is_refused_by_the_check_too() {
    let before = never_fences(steady());
    let mut report = unlocked(primary(10));
    report.unlimited = false;
    let given = Given::at("paris").record(before.clone()).report(report);
    let mut next = crate::wrong::then(&before, Phase::Steady);
    next.promise = fences();
    let found = crate::wrong::opinion_on(&given, next);
    assert!(found.contains(&bascule_core::check::Rule::Evidence), "{found:?}");
}

#[test]
fn a_site_that_is_silent_after_it_took_its_promise_back_is_not_replaced_by_itself() {
    let record = never_fences(steady());
    let lost = Given::at("lyon").record(record).report(orphan(10)).contact(0, 60_200).silent("paris", 60_000);
    let plan = lost.policy(|p| p.failover.promote_after = After::Elapsed(Duration::ZERO)).plan();
    assert_ne!(goes_to(&plan), Some(Phase::Promoting));
    assert_eq!(answer(&plan, "promise"), Answer::No);
}

#[test]
fn a_lock_that_it_reports_is_no_stop_and_its_role_is_neither_offered_nor_handed_over() {
    let given = at_paris(never_fences(steady()), unlocked(locked(10))).locking();
    let plan = given.plan();
    assert_ne!(goes_to(&plan), Some(Phase::Offered));
    let witness = gate(&plan, "database/main/witness");
    assert_eq!(witness.answer, Answer::No);
    assert!(witness.found.contains("both arbiters burnt"), "{}", witness.words());
}

#[test]
fn a_guard_that_is_unlocked_is_not_gone_and_its_role_is_not_withdrawn() {
    let given = at_paris(never_fences(steady()), unlocked(locked(10))).stamped(Stamp::GuardGone, 31_000);
    assert_ne!(goes_to(&given.plan()), Some(Phase::Withdrawn));
}

#[test]
fn a_replica_that_is_unlocked_is_not_promoted_by_itself() {
    let lost = Given::at("lyon").record(steady()).report(unlocked(orphan(10)));
    let lost = lost.contact(0, 60_200).silent("paris", 60_000);
    let plan = lost.policy(|p| p.failover.promote_after = After::Elapsed(Duration::ZERO)).plan();
    assert_ne!(goes_to(&plan), Some(Phase::Promoting));
    assert_eq!(answer(&plan, "database/main/unlocked"), Answer::No);
}

#[test]
fn a_switchover_away_from_it_is_refused_with_the_reason() {
    let given = at_paris(never_fences(in_phase(Phase::Requested)), unlocked(primary(10)));
    let plan = given.moved(switchover("kernel", "lyon")).plan();
    assert!(plan.blockers.iter().any(|g| g.name == "database/main/unlocked"), "{:?}", plan.blockers);
    assert_ne!(goes_to(&plan), Some(Phase::Handover));
    assert!(!plan.lock);
}

fn told(given: &Given) -> bascule_core::project::Report {
    given.look(|s| project(s, &decide(s)))
}

#[test]
fn the_sentence_begins_with_it_here_and_in_the_other_site() {
    let begins = "UNLOCKED, nothing stops it: main in paris, unlocked by a person since ";
    let here = told(&at_paris(never_fences(steady()), unlocked(primary(10))));
    assert!(here.sentence.starts_with(begins), "{}", here.sentence);
    assert!(here.sentence.contains("both arbiters burnt. paris writes (epoch 1)"), "{}", here.sentence);
    let blocker = || {
        let found = "unlocked by a person since 2026-11-28T04:00:00Z: both arbiters burnt";
        Gate::new("database/main/unlocked", Answer::No, found, "a person gives it back")
    };
    let there =
        Given::at("lyon").record(never_fences(steady())).facts("paris", |f| f.blockers.push(blocker()));
    let there = told(&there);
    assert!(there.sentence.starts_with(begins), "{}", there.sentence);
}

#[rstest]
#[case::now(unlocked(primary(10)), Some(true), "ByAPerson")]
#[case::before(given_back(primary(10)), Some(false), "GivenBack")]
fn the_condition_says_it_and_never_forgets_it(
    #[case] report: Said,
    #[case] status: Option<bool>,
    #[case] reason: &str,
) {
    let told = told(&at_paris(never_fences(steady()), report));
    let it = told.conditions.iter().find(|c| c.kind == "Unlocked").unwrap();
    assert_eq!((it.status, &*it.reason), (status, reason));
    assert!(it.message.contains("both arbiters burnt"), "{}", it.message);
}
