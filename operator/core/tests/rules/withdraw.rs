//! Databases whose guard is gone with its node while the operator lives.

use bascule_core::guard::wire::{Disk, ServerState};
use bascule_core::memory::Stamp;
use bascule_core::observation::Fact;
use bascule_core::plan::{Answer, DatabaseRole, Gate};
use bascule_core::policy::After;
use bascule_core::record::{Cause, Phase, Record};
use bascule_core::time::Millis;
use rstest::rstest;

use crate::expect::{answer, gate, goes_to, next, role, stays};
use crate::world::given::{Given, Lease, View};
use crate::world::item;
use crate::world::policy::switchover;
use crate::world::record::{doing, finished, in_phase, never_fences, steady};
use crate::world::reports::{locked, primary, waiting};

/// Paris, whose guard has been gone for longer than `restartGrace`; lyon can take.
fn gone_from(record: Record) -> Given {
    let given = Given::at("paris").record(record).for_ms(120_000).node_dead();
    given.stamped(Stamp::GuardGone, 31_000)
}

#[test]
fn a_database_that_answers_only_lost_its_guards_way_to_the_operator_and_is_not_withdrawn() {
    let mut given = gone();
    given.seen.databases.get_mut(&item("main")).unwrap().preflight = Fact::now(vec![]);
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, "server"), Answer::No);
    assert!(gate(&plan, "server").found.contains("main answers"), "{}", gate(&plan, "server").words());
}

fn gone() -> Given {
    gone_from(steady())
}

#[test]
fn a_database_that_has_no_room_for_the_operators_question_is_not_withdrawn() {
    let mut given = gone();
    let full = Gate::new("database/main/ConnectTooMany", Answer::Unknown, "too many clients", "a session");
    given.seen.databases.get_mut(&item("main")).unwrap().preflight = Fact::now(vec![full]);
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, "server"), Answer::No);
}

/// Paris in `Withdrawn` for so long.
fn withdrawn(ms: u64) -> Given {
    Given::at("paris").record(in_phase(Phase::Withdrawn)).guard_unknown().for_ms(ms)
}

#[rstest]
#[case::steady(gone())]
#[case::returning(gone_from(in_phase(Phase::Returning)))]
fn a_guard_that_is_gone_for_longer_than_a_restart_takes_is_withdrawn(#[case] given: Given) {
    let plan = given.plan();
    let record = next(&plan);
    assert_eq!((record.phase.clone(), record.active.as_str(), record.epoch), (Phase::Withdrawn, "paris", 1));
    assert_eq!(record.transition.as_ref().unwrap().cause, Cause::DatabaseDead);
    assert!(!plan.lock, "there is nobody to be told");
}

#[test]
fn a_restart_of_its_pod_is_waited_for() {
    let mut given = gone();
    given.stamps = vec![(Stamp::GuardGone, 29_000)];
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, "database/main/guard"), Answer::Unknown);
    assert!(plan.look_again.is_some(), "it comes back to it by itself");
}

#[rstest]
#[case::held({ let mut g = gone(); g.record.as_mut().unwrap().hold = Some(bascule_core::record::HoldUntil {
    until: "2026-11-28T05:00:00Z".parse().unwrap(), reason: "x".to_owned(),
    hash: bascule_core::moves::MoveHash("h".to_owned()) }); g }, "hold")]
#[case::cooldown({ let mut g = gone(); g.record.as_mut().unwrap().history = vec![finished(Cause::Planned, 60)]; g }, "cooldown")]
#[case::never(gone().policy(|p| p.failover.promote_after = After::Never), "promote")]
#[case::nobody_lives(gone().silent("lyon", 10_000), "taker")]
#[case::nobody_can(gone().facts("lyon", |f| f.blockers.push(Gate::new("x", Answer::No, "a", "b"))), "taker")]
fn a_role_that_nobody_may_take_is_not_withdrawn(#[case] given: Given, #[case] why: &str) {
    let plan = given.plan();
    stays(&plan);
    assert!(!gate(&plan, why).passed());
}

/// A look that found no way to the server is evidence that it is gone; no look, or one that failed by itself, is none.
#[rstest]
#[case::not_looked_at(Fact::unknown("not looked at since its guard was lost"))]
#[case::nobody_could_ask(Fact::unknown("connection: found too many clients already"))]
#[case::the_secret_is_missing(Fact::now(vec![Gate::new("database/main", Answer::No, "no Secret", "the role")]))]
fn a_database_of_which_nobody_knows_whether_it_answers_is_not_withdrawn(#[case] seen: Fact<Vec<Gate>>) {
    let mut given = gone();
    given.seen.databases.get_mut(&item("main")).unwrap().preflight = seen;
    let plan = given.plan();
    stays(&plan);
    assert!(!gate(&plan, "server").passed());
}

/// Lyon has said for so long that it receives nothing; policies allow 30 s unseen.
fn deaf_for(ms: u64) -> Given {
    let mut given = gone();
    let Some(Fact::Known { value, age }) = given.seen.sites.get_mut(&crate::world::site("lyon")) else {
        panic!()
    };
    value.not_streaming.insert(item("main"), "it receives nothing from its primary".to_owned());
    *age = std::time::Duration::from_millis(ms);
    given
}

#[test]
fn a_role_that_everybody_would_refuse_for_what_may_be_lost_is_not_withdrawn() {
    // Two seconds pass in `Withdrawn`.
    assert_eq!(goes_to(&deaf_for(28_000).plan()), Some(Phase::Withdrawn));
    let plan = deaf_for(28_001).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "loss"), Answer::No);
    assert!(gate(&plan, "loss").found.contains("30 s unseen"), "{}", gate(&plan, "loss").words());
}

#[rstest]
#[case::promised_nothing(gone_from(never_fences(steady())))]
#[case::lapsed(gone().lease(Lease::Lapsed))]
#[case::outdated(gone().view(View::Outdated))]
#[case::writing(gone().view(View::Writing))]
#[case::its_guard_is_there(gone().report(primary(10)))]
#[case::suspended(gone().suspended())]
fn nothing_is_withdrawn_without_the_right_to(#[case] given: Given) {
    assert_ne!(goes_to(&given.plan()), Some(Phase::Withdrawn));
}

#[test]
fn a_promotion_whose_guard_is_gone_is_withdrawn_too() {
    let mut record = in_phase(Phase::Promoting);
    record.doing = Some(doing("kernel"));
    let given = Given::at("lyon").record(record).for_ms(120_000).node_dead();
    let plan = given.stamped(Stamp::GuardGone, 61_000).plan();
    assert_eq!(goes_to(&plan), Some(Phase::Withdrawn));
    assert!(next(&plan).doing.is_some());
}

#[test]
fn a_second_pod_with_an_empty_disk_does_not_stand_for_the_one_that_is_gone() {
    let mut report = waiting(false);
    report.state = ServerState::Failed { reason: "the data directory is empty".to_owned(), commands: vec![] };
    report.disk = Disk::Empty;
    assert_eq!(goes_to(&gone().report(report).plan()), Some(Phase::Withdrawn));
}

#[test]
fn nothing_is_granted_while_it_is_withdrawn_and_whoever_comes_back_is_locked() {
    let given = withdrawn(1_000);
    assert!(given.look(|s| !s.grants()));
    assert_eq!(role(&given.plan()), &DatabaseRole::Lock);
}

#[test]
fn the_whole_time_is_waited_and_not_one_tick_less() {
    let plan = withdrawn(1_999).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "withdrawal"), Answer::NotYet);
    assert!(plan.look_again.is_some());
    assert_eq!(goes_to(&withdrawn(2_000).plan()), Some(Phase::Offered));
}

#[test]
fn what_is_waited_is_what_was_promised_when_that_is_longer() {
    let mut given = withdrawn(7_000);
    given.record.as_mut().unwrap().promise.lease = Millis(8_000);
    stays(&given.plan());
    assert_eq!(goes_to(&given.for_ms(8_000).plan()), Some(Phase::Offered));
}

#[test]
fn an_offer_after_a_withdrawal_never_says_that_nothing_was_opened() {
    let mut record = in_phase(Phase::Withdrawn);
    record.settled = false;
    record.previous =
        Some(bascule_core::record::PreviousHold { site: crate::world::site("lyon"), settled: true });
    let plan = Given::at("paris").record(record).guard_unknown().for_ms(9_000).plan();
    let offer = next(&plan).offer.as_ref().unwrap();
    assert!(!offer.never_opened, "nobody asked the guard");
}

#[rstest]
#[case::open(primary(10))]
#[case::locked(locked(10))]
fn a_guard_that_comes_back_ends_the_withdrawal(
    #[case] report: bascule_core::guard::wire::Report,
    #[values(1_000, 60_000)] ms: u64,
) {
    assert_eq!(goes_to(&withdrawn(ms).report(report).plan()), Some(Phase::Steady));
}

#[rstest]
#[case::suspended(withdrawn(1_000).suspended())]
#[case::deleted(withdrawn(1_000).deleted())]
fn a_policy_that_is_let_go_takes_a_withdrawn_role_back(#[case] given: Given) {
    assert_eq!(goes_to(&given.plan()), Some(Phase::Steady));
}

#[test]
fn a_switchover_does_not_begin_from_a_withdrawn_role() {
    assert_eq!(goes_to(&withdrawn(1_000).moved(switchover("m", "lyon")).plan()), None);
}

#[test]
fn one_site_that_would_lose_too_much_keeps_nothing_from_another() {
    let three = ["paris", "lyon", "milan"];
    let mut given = deaf_for(28_001).policy(|p| {
        *p = crate::world::policy::policy_in(&three);
    });
    assert!(!gate(&given.plan(), "loss").passed(), "of milan nothing is known");
    given = given.facts("milan", |_| {});
    assert!(gate(&given.plan(), "loss").passed());
}

#[test]
fn nobody_loses_too_much_as_long_as_nobody_has_said_so() {
    let mut given = gone();
    given.seen.sites.clear();
    let plan = given.plan();
    assert!(gate(&plan, "loss").passed());
    assert!(!gate(&plan, "taker").passed(), "which is another question");
}
