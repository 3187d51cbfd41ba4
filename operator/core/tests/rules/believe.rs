//! A site that was away hears those who may have seen more before it believes the record.

use std::time::Duration;

use bascule_core::guard::wire::{HighWater, ServerState};
use bascule_core::observation::{Fact, Marks};
use bascule_core::plan::Answer;
use bascule_core::record::Phase;

use super::expect::{again_in, answer, gate, goes_to, stays};
use crate::world::given::{Given, Lease, Seen, database, moment};
use crate::world::record::{in_phase, steady};
use crate::world::reports::{dead, orphan, primary};
use crate::world::{item, site};

/// Paris is back, its database down, and lyon has said nothing since.
fn back(ms: u64) -> Given {
    let mut given = Given::at("paris").record(steady()).report(dead(10)).lease(Lease::Regained);
    given.back = ms;
    given.facts("lyon", |f| f.answers.clear())
}

fn seen(epoch: u64, serial: u64) -> Marks {
    Marks { generation: 0, epoch, serial }
}

fn read_before(ms: u64, marks: Marks) -> Fact<Marks> {
    Fact::Known { value: marks, age: Duration::from_millis(ms) }
}

#[test]
fn a_site_that_was_away_waits_for_the_word_of_one_that_lives() {
    let plan = back(50).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "claim/sites"), Answer::NotYet);
    assert!(plan.look_again.is_some(), "nobody may say anything any more");
    let answered = back(50).facts("lyon", |_| {}).plan();
    assert_eq!(goes_to(&answered), Some(Phase::Steady));
}

#[test]
fn an_answer_to_an_earlier_question_or_without_marks_is_none() {
    stays(&back(50).facts("lyon", |f| *f.answers.get_mut(&site("paris")).unwrap() -= 1).plan());
    stays(&back(50).facts("lyon", |f| f.marks = None).plan());
}

#[test]
fn a_site_that_is_silent_for_its_lease_is_not_waited_for() {
    assert_eq!(goes_to(&back(50).silent("lyon", 2_600).plan()), Some(Phase::Steady));
    stays(&back(50).silent("lyon", 1_500).plan());
}

#[test]
fn a_site_that_lives_and_says_nothing_is_waited_for_twice_its_lease_and_no_longer() {
    stays(&back(3_900).plan());
    assert_eq!(goes_to(&back(4_000).plan()), Some(Phase::Steady));
}

#[test]
fn a_writer_that_never_stopped_waits_for_no_site() {
    let open = back(50).report(primary(10));
    assert_eq!(goes_to(&open.plan()), Some(Phase::Steady));
    let mut before = back(50);
    before.seen.databases.values_mut().for_each(|d| {
        d.guard = Fact::Known { value: primary(10).into(), age: Duration::from_millis(60) };
    });
    stays(&before.plan());
    let mut earlier = primary(10);
    earlier.opened_epoch = Some(0);
    stays(&back(50).report(earlier).plan());
    let mut closed = primary(10);
    closed.state = ServerState::Primary { open: false };
    stays(&back(50).report(closed).plan());
}

#[test]
fn somebody_who_has_seen_more_than_the_record_has_it_read_once_more() {
    let said = back(50).facts("lyon", |f| f.marks = Some(seen(2, 9)));
    stays(&said.plan());
    assert_eq!(answer(&said.plan(), "claim/seen"), Answer::NotYet);
    let mut report = primary(10);
    report.high_water = HighWater { generation: 0, epoch: 1, serial: 11 };
    let plan = back(50).report(report).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "claim/seen"), Answer::NotYet);
}

#[test]
fn marks_that_were_read_before_the_site_came_back_are_read_again_for_r_at_most() {
    let old = |ms| {
        let mut given = back(ms).facts("lyon", |_| {});
        given.seen.high_water_old_since = Some(moment(ms));
        given.plan()
    };
    let plan = old(1_200);
    stays(&plan);
    assert_eq!(answer(&plan, "claim/marks"), Answer::NotYet);
    assert_eq!(goes_to(&old(1_250)), Some(Phase::Steady));
}

#[test]
fn marks_are_read_again_before_a_role_is_taken_when_the_watch_of_the_arbiter_broke() {
    let takes = |since| {
        let mut given = Given::at("lyon").record(steady()).silent("paris", 60_000);
        given.seen.high_water_old_since = since;
        given.plan()
    };
    assert_eq!(goes_to(&takes(None)), Some(Phase::ReadOnly));
    assert_eq!(goes_to(&takes(Some(moment(1_200)))), None);
    assert_eq!(goes_to(&takes(Some(moment(1_250)))), Some(Phase::ReadOnly));
}

#[test]
fn marks_that_were_read_a_while_ago_are_read_again_before_a_role_is_taken() {
    let takes = |age| {
        let mut given = Given::at("lyon").record(steady()).silent("paris", 60_000);
        given.seen.high_water = read_before(age, seen(1, 10));
        given.plan()
    };
    assert_eq!(goes_to(&takes(250)), Some(Phase::ReadOnly));
    let plan = takes(251);
    stays(&plan);
    assert_eq!(answer(&plan, "claim/marks"), Answer::NotYet);
    assert!(plan.waits_for_marks, "nobody would read them");
    assert!(!takes(250).waits_for_marks);
}

#[test]
fn marks_that_were_read_a_while_ago_are_read_again_before_a_role_is_claimed_anew() {
    let back = |age| {
        let mut given = back(3_000).facts("lyon", |_| {});
        given.seen.high_water = read_before(age, seen(1, 10));
        given.plan()
    };
    assert_eq!(goes_to(&back(250)), Some(Phase::Steady));
    stays(&back(251));
    assert!(back(251).waits_for_marks, "nobody would read them");
}

#[test]
fn a_site_that_has_had_its_role_all_the_time_reads_no_marks_again() {
    let mut given = Given::at("paris").record(steady());
    given.seen.high_water = read_before(60_000, seen(1, 10));
    assert!(!given.plan().waits_for_marks);
}

#[test]
fn marks_that_cannot_be_read_again_are_waited_for_for_r_and_no_longer() {
    let takes = |since| {
        let mut given = Given::at("lyon").record(steady()).silent("paris", 60_000);
        given.seen.high_water = read_before(60_000, seen(1, 10));
        given.seen.high_water_old_since = Some(moment(since));
        given.plan()
    };
    stays(&takes(1_200));
    assert!(takes(1_200).waits_for_marks);
    assert_eq!(goes_to(&takes(1_250)), Some(Phase::ReadOnly));
}

#[test]
fn a_guard_that_has_not_reported_is_waited_for_until_nothing_of_it_can_run_any_more() {
    let heard = |ms| back(ms).facts("lyon", |_| {}).guard_unknown();
    let plan = heard(1_200).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "claim/guard"), Answer::NotYet);
    assert_eq!(goes_to(&heard(1_250).plan()), Some(Phase::Steady));
}

#[test]
fn every_database_s_guard_is_waited_for() {
    let mut given = back(50).facts("lyon", |_| {}).policy(|p| {
        p.databases.insert(item("second"), crate::world::policy::database(&["paris", "lyon"]));
    });
    let plan = given.plan();
    stays(&plan);
    assert!(gate(&plan, "claim/guard").found.starts_with("the guard of second has not reported"));
    given.seen.databases.insert(item("second"), database(dead(10)));
    assert_eq!(goes_to(&given.plan()), Some(Phase::Steady));
}

#[test]
fn while_no_policy_is_known_those_are_waited_for_that_have_said_something() {
    let mut given = back(50);
    given.policy = Seen::NotListed;
    stays(&given.plan());
    given.seen.sites.clear();
    assert_eq!(goes_to(&given.plan()), Some(Phase::Steady));
}

#[test]
fn a_site_that_was_away_hears_the_others_before_it_takes_what_is_offered() {
    let offered = |lease| {
        let given = Given::at("lyon").record(in_phase(Phase::Offered)).report(orphan(10)).contact(100, 1_500);
        given.lease(lease)
    };
    assert_eq!(goes_to(&offered(Lease::Alive).plan()), Some(Phase::Promoting));
    let plan = offered(Lease::Regained).facts("paris", |f| f.answers.clear()).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "claim/sites"), Answer::NotYet);
    let said = offered(Lease::Regained).facts("paris", |f| f.marks = Some(seen(1, 90)));
    assert_eq!(answer(&said.plan(), "claim/seen"), Answer::NotYet);
    stays(&said.plan());
}

#[test]
fn who_is_waited_for_is_told_with_what_is_known_of_it_and_looked_at_again_in_a_period() {
    let plan = back(50).plan();
    assert_eq!(again_in(&plan), Some(250));
    assert_eq!(
        gate(&plan, "claim/sites").found,
        "lyon lives and has not answered yet; this site is back since 50 ms"
    );
    let mut unseen = back(50);
    unseen.observed = 0;
    assert!(gate(&unseen.plan(), "claim/sites").found.starts_with("whether lyon lives is not known yet"));
}

#[test]
fn a_site_of_the_policy_that_has_said_nothing_at_all_is_waited_for() {
    let mut given = back(50);
    given.seen.sites.clear();
    stays(&given.plan());
    assert_eq!(answer(&given.plan(), "claim/sites"), Answer::NotYet);
}
