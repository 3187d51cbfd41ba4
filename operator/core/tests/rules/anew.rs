//! A record that the arbiter has lost.

use bascule_core::decide::{LEAP, decide};
use bascule_core::observation::{Fact, Marks, RoleSeen};
use bascule_core::plan::DatabaseRole;
use bascule_core::project::project;
use bascule_core::record::{HoldUntil, Phase, Record};
use rstest::rstest;

use crate::expect::{gate, next, role, stays};
use crate::world::given::{Given, Lease, facts};
use crate::world::record::{in_phase, steady};
use crate::world::site;

const SEEN: Marks = Marks { generation: 0, epoch: 4, serial: 40 };

fn seen(mut given: Given, active: &str) -> Given {
    let role = RoleSeen { at: SEEN, active: site(active), promise: steady().promise, hold: None };
    given.seen.high_water = Fact::now(SEEN);
    given.seen.role_seen = Some(role.into());
    for said in given.seen.sites.values_mut() {
        if let Fact::Known { value, .. } = said {
            value.marks = Some(SEEN);
        }
    }
    given.installation.generation = 1;
    given
}

/// The arbiter was restored: it has the record of epoch 1, serial 9 with paris active.
pub fn restored(active: &str) -> Given {
    seen(Given::at("paris").record(steady()), active)
}

/// The arbiter was emptied.
fn emptied(active: &str) -> Given {
    let mut given = Given::at("paris");
    given.seen.sites.insert(site("lyon"), Fact::now(facts(&site("lyon"))));
    seen(given, active)
}

fn is_of_the_newest(record: &Record, active: &str) {
    assert_eq!((record.generation, record.epoch, record.serial), (1, 4 + LEAP, 40 + LEAP));
    assert_eq!((&record.active, &record.phase, record.settled), (&site(active), &Phase::Promoting, false));
    assert_eq!((&record.promise, &record.transition, &record.doing), (&steady().promise, &None, &None));
}

#[rstest]
#[case::restored_here(restored("paris"), "paris")]
#[case::restored_elsewhere(restored("lyon"), "lyon")]
#[case::emptied_here(emptied("paris"), "paris")]
#[case::emptied_elsewhere(emptied("lyon"), "lyon")]
fn a_record_is_made_anew_as_it_was_when_last_seen_far_above_what_anybody_has_seen(
    #[case] given: Given,
    #[case] active: &str,
) {
    is_of_the_newest(next(&given.plan()), active);
}

#[test]
fn of_a_restored_record_what_people_said_and_what_happened_is_kept() {
    let mut given = restored("lyon");
    let found = given.record.as_mut().unwrap();
    found.sizes.insert(crate::world::item("web"), 3);
    let plan = given.plan();
    assert_eq!((&next(&plan).sizes, &next(&plan).history), (&given.record.as_ref().unwrap().sizes, &vec![]));
}

#[test]
fn a_hold_outlives_the_record_that_was_lost() {
    let hold = HoldUntil {
        until: "2026-11-29T05:00:00Z".parse().unwrap(),
        reason: "wait for Ada".to_owned(),
        hash: bascule_core::moves::MoveHash("h".to_owned()),
    };
    let mut given = emptied("paris");
    std::sync::Arc::make_mut(given.seen.role_seen.as_mut().unwrap()).hold = Some(hold.clone());
    assert_eq!(next(&given.plan()).hold, Some(hold));
}

#[rstest]
#[case::not_raised({ let mut g = restored("paris"); g.installation.generation = 0; g }, "arbiter")]
#[case::not_raised_and_emptied({ let mut g = emptied("paris"); g.installation.generation = 0; g }, "arbiter")]
#[case::raised_for_an_earlier_loss({ let mut g = restored("paris");
    let marks = Marks { generation: 1, ..SEEN }; g.seen.high_water = Fact::now(marks); g }, "arbiter")]
#[case::who_had_it_is_not_known({ let mut g = emptied("paris"); g.seen.role_seen = None; g }, "anew/role")]
#[case::another_has_seen_more_and_may_say_who_had_it(numbers_alone("paris", 0, 29_000), "anew/role")]
#[case::of_three_sites_the_numbers_say_nothing(numbers_alone("paris", 1, 31_000).policy(|p| p.sites.push(site("milan"))).facts("lyon", |_| ()), "anew/role")]
#[case::marks_unknown({ let mut g = restored("paris"); g.seen.seen_marks = SEEN;
    g.seen.high_water = Fact::unknown("the ConfigMap cannot be read"); g }, "marks")]
#[case::no_answer(restored("paris").facts("lyon", |f| { f.answers.clear(); }), "anew/site/lyon")]
#[case::cannot_read_its_own_marks(restored("paris").facts("lyon", |f| f.marks = None), "anew/site/lyon")]
#[case::silent_for_too_short(restored("paris").facts("lyon", |f| { f.answers.clear(); }).silent("lyon", 29_000), "anew/site/lyon")]
#[case::suspended(restored("paris").suspended(), "anew/role")]
#[case::not_of_the_policy(restored("paris").policy(|p| p.sites = vec![site("lyon"), site("milan")]), "anew/role")]
fn a_record_is_not_made_anew_and_the_reason_is_said(#[case] given: Given, #[case] name: &str) {
    let plan = given.plan();
    stays(&plan);
    assert!(!gate(&plan, name).passed(), "{plan:?}");
}

#[test]
fn while_a_record_is_not_made_anew_yet_nothing_is_said_to_be_well() {
    let given = restored("paris").facts("lyon", |f| f.answers.clear());
    let report = given.look(|s| project(s, &decide(s)));
    let said = |kind: &str| {
        let all = report.conditions.iter();
        all.filter(|c| c.kind == kind).map(|c| (c.status, c.reason.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(said("Ready"), [(Some(false), "RecordLost".to_owned())]);
    assert_eq!(said("ArbiterAgrees"), [(Some(false), "RecordLost".to_owned())]);
    assert_eq!(said("Reconciling"), [(Some(true), "RecordLost".to_owned())]);
}

#[test]
fn a_site_that_has_been_silent_for_longer_than_any_profile_lets_it_write_is_not_waited_for() {
    let given = restored("lyon").facts("lyon", |f| f.answers.clear()).silent("lyon", 31_000);
    is_of_the_newest(next(&given.plan()), "lyon");
}

/// The arbiter was restored, this site is back for so long, and its guard has seen so many epochs more than it knows the
/// role of.
fn numbers_alone(active: &str, epochs: u64, back: u64) -> Given {
    let mut given = restored(active);
    given.seen.seen_marks = Marks { epoch: SEEN.epoch + epochs, serial: SEEN.serial + 1, ..SEEN };
    given.lease = Lease::Regained;
    given.back = back;
    given.observed = 200_000;
    given
}

#[rstest]
#[case::nothing_moved("paris", 0, "paris")]
#[case::it_moved_once("paris", 1, "lyon")]
#[case::there_and_back("paris", 2, "paris")]
#[case::it_moved_away_from_there("lyon", 3, "paris")]
fn after_half_a_minute_without_a_better_word_the_numbers_say_which_of_two_sites_had_the_role(
    #[case] known: &str,
    #[case] epochs: u64,
    #[case] active: &str,
) {
    let plan = numbers_alone(known, epochs, 31_000).plan();
    let record = next(&plan);
    assert_eq!((&record.active, record.epoch), (&site(active), 4 + epochs + LEAP));
    assert_eq!(record.promise.profile, "conservative", "on what terms is not known");
}

#[test]
fn a_site_without_its_lease_makes_nothing_anew() {
    stays(&restored("paris").lease(Lease::Lapsed).plan());
    stays(&emptied("paris").lease(Lease::Lapsed).plan());
}

#[test]
fn no_database_gets_a_role_before_the_record_is_there_again() {
    assert!(matches!(role(&emptied("paris").plan()), DatabaseRole::Wait { .. }));
    assert_eq!(role(&restored("paris").plan()), &DatabaseRole::Keep);
}

#[test]
fn a_record_that_has_lost_nothing_is_left_alone_in_a_new_generation() {
    let mut given = Given::at("paris").record(steady());
    given.installation.generation = 1;
    stays(&given.plan());
    let mut given = Given::at("lyon").record(in_phase(Phase::Promoting));
    given.installation.generation = 1;
    assert!(given.plan().transition.is_none_or(|t| t.next.generation == 0));
}
