//! Databases that die while their operator lives.

use bascule_core::few::Few;
use bascule_core::guard::wire::{Disk, Report, ServerState};
use bascule_core::loss::LossBound;
use bascule_core::memory::Stamp;
use bascule_core::observation::FlagValue;
use bascule_core::plan::{Answer, DatabaseRole, Gate};
use bascule_core::policy::After;
use bascule_core::record::{Cause, Offer, Phase, PreviousHold, Record};
use rstest::rstest;

use crate::expect::{again_in, answer, gate, goes_to, next, role, stays};
use crate::world::given::{Given, View, moment};
use crate::world::record::{doing, finished, in_phase, small_loss, steady};
use crate::world::reports::{dead, locked, orphan, primary, replica, waiting};
use crate::world::{item, site};

/// Paris, whose database has just died; lyon can take.
fn died() -> Given {
    Given::at("paris").record(steady()).report(dead(10))
}

fn failed(serial: u64) -> Report {
    let mut r = waiting(false);
    r.serial = serial;
    r.opened_epoch = Some(1);
    r.state = ServerState::Failed { reason: "no space left on device".to_owned(), commands: vec![] };
    r
}

/// The guard of a second pod, whose disk is empty: it has nothing to start.
fn second_pod() -> Report {
    let mut r = failed(10);
    "b2".clone_into(&mut r.boot);
    r.disk = Disk::Empty;
    r.opened_epoch = None;
    r
}

#[test]
fn a_dead_database_is_locked_first_and_offered_once_the_lock_is_confirmed() {
    let plan = died().plan();
    stays(&plan);
    assert!(plan.lock);
    stays(&died().locking().report(primary(10)).plan());
    assert_eq!(next(&died().locking().flag(FlagValue::ReadOnly).plan()).phase, Phase::Offered);
}

#[test]
fn a_role_is_offered_after_the_read_only_flags_are_set_and_waits_for_them_for_a_second_at_most() {
    let ordered = |ago| died().locking().for_ms(100_000).stamped(Stamp::LockOrdered, ago);
    let plan = ordered(999).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "readOnly"), Answer::NotYet);
    assert_eq!(next(&ordered(1_000).plan()).phase, Phase::Offered);
    assert_eq!(next(&ordered(1).flag(FlagValue::ReadOnly).plan()).phase, Phase::Offered);
}

#[test]
fn a_server_that_cannot_be_started_is_offered_too() {
    assert!(Given::at("paris").record(steady()).report(failed(10)).plan().lock);
}

#[test]
fn a_second_pod_with_a_disk_of_its_own_neither_dies_nor_locks_for_the_first() {
    let given = Given::at("paris").record(steady()).report(second_pod());
    assert!(!given.plan().lock, "the first may be open");
    let mut confirmed = second_pod();
    confirmed.locked = Some(10);
    let plan = given.locking().report(confirmed).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "database/main/witness"), Answer::No);
}

#[test]
fn a_new_guard_process_speaks_for_the_database_once_no_other_can_have_a_grant() {
    let granted = |ago: u64| {
        let mut given = died().locking().flag(FlagValue::ReadOnly);
        let view = given.seen.databases.get_mut(&item("main")).unwrap();
        view.granted.insert("the one before".to_owned(), moment(ago));
        given
    };
    let plan = granted(1_900).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "database/main/witness"), Answer::NotYet);
    assert_eq!(next(&granted(2_000).plan()).phase, Phase::Offered);
}

#[test]
fn a_lock_that_nobody_confirms_says_for_whom_it_waits() {
    let plan = died().locking().guard_unknown().plan();
    stays(&plan);
    assert_eq!(answer(&plan, "locked"), Answer::NotYet);
}

#[rstest]
#[case::steady(died())]
#[case::promoting(Given::at("lyon").record(in_phase(Phase::Promoting)).report(failed(10)))]
fn a_lock_that_nobody_confirms_is_taken_back_after_a_time(#[case] given: Given) {
    let phase = given.record.as_ref().unwrap().phase.clone();
    let given = given.locking().guard_unknown().for_ms(100_000);
    stays(&given.clone().stamped(Stamp::LockOrdered, 29_000).plan());
    let plan = given.stamped(Stamp::LockOrdered, 31_000).plan();
    assert_eq!((next(&plan).phase.clone(), next(&plan).serial), (phase, 11), "an own write unlocks");
}

#[test]
fn one_database_is_not_locked_while_the_guard_of_another_is_gone() {
    let given = died().policy(|p| {
        p.databases.insert(item("second"), crate::world::policy::database(&["paris", "lyon"]));
    });
    let plan = given.for_ms(6_000).plan();
    assert!(!plan.lock);
    assert_eq!(next(&plan).phase, Phase::Steady, "the one that died starts again");
}

#[test]
fn a_guard_that_says_nothing_is_named() {
    let plan = Given::at("paris").record(steady()).guard_unknown().plan();
    stays(&plan);
    assert_eq!(answer(&plan, "database/main/guard"), Answer::Unknown);
    assert!(!plan.lock, "nobody asked the guard: that is never a dead database");
}

#[test]
fn an_active_database_that_is_not_open_is_named_and_is_no_ready_policy() {
    let mut report = primary(3);
    report.state = ServerState::Primary { open: false };
    let given = Given::at("paris").record(steady()).report(report);
    assert_eq!(answer(&given.plan(), "open"), Answer::NotYet);
    let shown = given.look(|s| bascule_core::project::project(s, &bascule_core::decide::decide(s)));
    assert_eq!(shown.ready, Some(false));
}

fn sigterm() -> Report {
    let mut r = locked(10);
    r.locked = None;
    r.sigterm = true;
    r
}

#[test]
fn a_stop_that_kubernetes_asked_for_is_an_offer_only_after_restart_grace() {
    let given = Given::at("paris").record(steady()).report(sigterm());
    assert!(!given.clone().stamped(Stamp::DeadSince, 29_000).plan().lock);
    assert!(given.stamped(Stamp::DeadSince, 31_000).plan().lock);
}

#[rstest]
#[case::held({ let mut g = died(); g.record.as_mut().unwrap().hold = Some(bascule_core::record::HoldUntil {
    until: "2026-11-28T05:00:00Z".parse().unwrap(), reason: "x".to_owned(),
    hash: bascule_core::moves::MoveHash("h".to_owned()) }); g }, "hold")]
#[case::cooldown({ let mut g = died(); g.record.as_mut().unwrap().history = vec![finished(Cause::Planned, 60)]; g }, "cooldown")]
#[case::never(died().policy(|p| p.failover.promote_after = After::Never), "promote")]
#[case::nobody_lives(died().silent("lyon", 10_000), "taker")]
#[case::nobody_can(died().facts("lyon", |f| f.blockers.push(Gate::new("x", Answer::No, "a", "b"))), "taker")]
fn what_is_not_offered_is_started_again_by_its_own_site(#[case] given: Given, #[case] why: &str) {
    let plan = given.for_ms(60_000).plan();
    assert!(!gate(&plan, why).passed());
    assert!(!plan.lock);
    // Its guard has locked itself at the record's serial: only a higher one lets it start again.
    let record = next(&plan);
    assert_eq!((record.phase.clone(), record.serial), (Phase::Steady, 11));
    assert_eq!(role(&plan), &DatabaseRole::Serve { open: true });
}

#[test]
fn a_database_that_dies_again_and_again_does_not_write_the_record_all_the_time() {
    let given = died().silent("lyon", 10_000);
    stays(&given.clone().for_ms(1_000).plan());
    assert!(given.for_ms(6_000).plan().transition.is_some());
}

#[rstest]
#[case::still_locked(dead(9))]
#[case::not_told_yet({ let mut r = dead(9); r.locked = None; r })]
fn a_database_that_its_site_took_back_is_not_offered_again_before_it_had_its_chance(#[case] report: Report) {
    let plan = Given::at("paris").record(steady()).report(report).plan();
    assert!(!plan.lock);
    stays(&plan);
    assert_eq!(role(&plan), &DatabaseRole::Serve { open: true });
}

#[rstest]
#[case::promoting(Given::at("lyon").record(in_phase(Phase::Promoting)).report(dead(10)))]
#[case::returning(Given::at("paris").record(in_phase(Phase::Returning)).report(dead(10)).silent("lyon", 9_000))]
fn a_database_that_dies_in_another_granting_phase_may_start_again(#[case] given: Given) {
    let phase = given.record.as_ref().unwrap().phase.clone();
    let plan = given.for_ms(6_000).plan();
    assert_eq!((next(&plan).phase.clone(), next(&plan).serial), (phase, 11));
}

#[test]
fn a_database_that_dies_while_its_site_returns_is_offered() {
    assert!(Given::at("paris").record(in_phase(Phase::Returning)).report(dead(10)).plan().lock);
}

#[test]
fn an_offer_that_nobody_takes_is_withdrawn_and_the_database_recovers_where_it_is() {
    let given = Given::at("paris").record(in_phase(Phase::Offered)).report(dead(10));
    stays(&given.clone().for_ms(29_000).plan());
    let plan = given.for_ms(31_000).plan();
    assert_eq!(next(&plan).phase, Phase::Steady);
    assert_eq!(next(&plan).epoch, 1);
}

/// Lyon sees the offer.
fn offered() -> Given {
    Given::at("lyon").record(in_phase(Phase::Offered)).report(orphan(10)).contact(100, 1_500)
}

#[test]
fn an_offered_role_is_taken_at_once_if_the_loss_gate_agrees() {
    let plan = offered().plan();
    assert_eq!((next(&plan).phase.clone(), next(&plan).epoch), (Phase::Promoting, 2));
    let bound = next(&plan).transition.as_ref().unwrap().loss_bound.unwrap();
    assert_eq!(bound.bytes, Some(100));
}

#[rstest]
#[case::too_much(offered().contact(1 << 30, 1_500), "loss", Answer::No)]
#[case::unknown({ let mut g = offered(); g.seen.databases.get_mut(&item("main")).unwrap().last_contact = None; g }, "loss", Answer::Unknown)]
#[case::no_replica(offered().report(waiting(true)), "database/main/replica", Answer::NotYet)]
fn an_offer_is_refused_and_the_reason_named(#[case] given: Given, #[case] name: &str, #[case] says: Answer) {
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, name), says);
}

#[test]
fn an_offer_of_a_server_that_still_sends_is_not_taken() {
    let plan = offered().report(replica(10)).contact(0, 150).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "veto"), Answer::No, "a server that is really locked never streams");
}

#[rstest]
#[case(View::Outdated)]
#[case(View::Writing)]
fn no_offer_is_taken_from_a_view_that_may_be_overtaken(#[case] view: View) {
    stays(&offered().view(view).plan());
}

/// Lyon's promotion failed; it offers the role back to paris.
fn handed_back(never_opened: bool, previous_settled: bool) -> Record {
    let mut r = in_phase(Phase::Promoting);
    r.phase = Phase::Offered;
    r.previous = Some(PreviousHold { site: site("paris"), settled: previous_settled });
    r.offer = Some(Offer { never_opened, ends: Few::new(), reason: "x".to_owned() });
    r.target = Some(site("paris"));
    r
}

/// Paris, stopped for a switchover, its standby not running yet.
fn old_site(record: Record) -> Given {
    let mut report = waiting(true);
    report.serial = record.serial;
    let mut given = Given::at("paris").record(record).report(report);
    given.seen.databases.get_mut(&item("main")).unwrap().last_contact = None;
    given
}

#[test]
fn the_old_site_takes_back_a_role_in_which_nothing_was_opened_without_a_loss_gate() {
    let plan = old_site(handed_back(true, true)).plan();
    assert_eq!((next(&plan).phase.clone(), next(&plan).epoch), (Phase::Promoting, 3));
    assert_eq!(next(&plan).transition.as_ref().unwrap().loss_bound, Some(LossBound::NOTHING));
}

#[rstest]
#[case::something_was_opened(handed_back(false, true))]
#[case::the_hold_before_never_settled(handed_back(true, false))]
#[case::another_site_held_before(Record { previous: Some(PreviousHold { site: site("milan"), settled: true }), ..handed_back(true, true) })]
fn that_offer_excuses_only_the_site_whose_hold_came_just_before_and_had_settled(#[case] record: Record) {
    let plan = old_site(record).plan();
    stays(&plan);
    assert!(!gate(&plan, "loss").passed());
}

#[test]
fn a_hold_that_never_settled_is_re_claimed_into_promoting_and_its_move_goes_on() {
    let mut record = handed_back(false, true);
    record.doing = Some(doing("kernel"));
    let given = Given::at("lyon").record(record).report(locked(10));
    let plan = given.for_ms(31_000).plan();
    assert_eq!(next(&plan).phase, Phase::Promoting);
    assert!(next(&plan).doing.is_some(), "it has not ended");
    assert!(next(&plan).transition.is_some());
}

/// Lyon, whose promotion does not end.
fn promotion_stuck() -> Given {
    Given::at("lyon").record(in_phase(Phase::Promoting)).report(failed(10)).for_ms(61_000)
}

#[test]
fn a_promotion_that_failed_is_locked_and_then_offered_back() {
    assert!(promotion_stuck().plan().lock);
    let mut report = locked(10);
    report.opened_epoch = Some(1);
    let plan = promotion_stuck().locking().report(report.clone()).plan();
    let record = next(&plan);
    assert_eq!(record.phase, Phase::Offered);
    assert!(record.offer.as_ref().unwrap().never_opened);
    report.opened_epoch = Some(2);
    let plan = promotion_stuck().locking().report(report).plan();
    assert!(!next(&plan).offer.as_ref().unwrap().never_opened, "it was opened in this hold");
}

#[test]
fn a_promotion_that_cannot_be_opened_has_failed_too() {
    let mut closed = primary(10);
    closed.state = ServerState::Primary { open: false };
    let given = Given::at("lyon").record(in_phase(Phase::Promoting)).report(closed);
    assert!(!given.clone().for_ms(59_000).plan().lock);
    assert!(given.for_ms(61_000).plan().lock);
}

#[test]
fn a_promotion_whose_database_died_after_opening_is_offered_too() {
    let given = promotion_stuck().stamped(Stamp::Promoted, 50_000).stamped(Stamp::Opened, 50_000);
    assert!(given.plan().lock);
}

#[test]
fn a_promotion_goes_on_while_nobody_else_could_be_asked() {
    assert!(!promotion_stuck().silent("paris", 70_000).plan().lock);
}

#[test]
fn a_hold_whose_predecessor_never_settled_never_offers_without_a_loss_gate() {
    let mut given = promotion_stuck().locking().report(locked(10));
    given.record.as_mut().unwrap().previous = Some(PreviousHold { site: site("paris"), settled: false });
    assert!(!next(&given.plan()).offer.as_ref().unwrap().never_opened);
}

#[test]
fn the_end_that_the_offering_site_knew_counts_when_it_is_larger() {
    let mut record = in_phase(Phase::Offered);
    let Disk::Cluster(c) = &dead(10).disk else { unreachable!() };
    let end = bascule_core::position::Position {
        system_id: c.system_id,
        timeline: c.timeline,
        lsn: bascule_core::position::Lsn(0x2FF_0000 + 5_000),
    };
    record.offer.as_mut().unwrap().ends.insert(item("main"), end);
    let given = Given::at("lyon").record(record).report(orphan(10)).contact(100, 1_500);
    let plan = given.plan();
    assert_eq!(next(&plan).transition.as_ref().unwrap().loss_bound.unwrap().bytes, Some(5_000));
    assert_ne!(small_loss().bytes, Some(5_000));
    assert_eq!(goes_to(&plan), Some(Phase::Promoting));
}

#[test]
fn a_lock_is_taken_back_at_its_deadline_and_looked_at_then() {
    let given = |ago| died().locking().guard_unknown().for_ms(100_000).stamped(Stamp::LockOrdered, ago);
    assert_eq!(again_in(&given(29_000).plan()), Some(1_000));
    assert!(given(30_000).plan().transition.is_some());
}

#[test]
fn read_only_flags_are_waited_for_until_the_very_end_of_their_second() {
    let plan = died().locking().for_ms(100_000).stamped(Stamp::LockOrdered, 400).plan();
    assert_eq!(again_in(&plan), Some(600));
}

#[test]
fn a_database_is_started_again_five_seconds_after_the_record_changed() {
    let given = |ms| died().silent("lyon", 10_000).for_ms(ms);
    assert_eq!(again_in(&given(4_000).plan()), Some(1_000));
    assert!(given(5_000).plan().transition.is_some());
}

#[rstest]
#[case::it_was_told_of_an_older_record(failed(9))]
#[case::it_has_not_locked_itself({ let mut r = dead(10); r.locked = None; r })]
#[case::it_locked_itself_before({ let mut r = dead(10); r.locked = Some(9); r })]
fn a_guard_that_has_not_come_to_the_present_record_reports_no_dead_database(#[case] report: Report) {
    let plan = Given::at("paris").record(steady()).report(report).plan();
    assert!(!plan.lock);
    assert!(!plan.gates.iter().any(|g| g.name == "database"));
}

#[test]
fn who_cannot_take_is_named_with_the_reason() {
    let found = |given: Given| gate(&given.plan(), "taker").found.clone();
    let blocked = died().facts("lyon", |f| f.blockers.push(Gate::new("x", Answer::No, "a", "b")));
    assert_eq!(found(blocked), "lyon cannot: x: a (needed: b)");
    let mut quiet = died();
    quiet.seen.sites.clear();
    assert_eq!(found(quiet), "lyon has said nothing");
    assert_eq!(found(died().silent("lyon", 10_000)), "lyon is not known to live");
}

#[test]
fn an_offer_says_how_far_its_own_site_knew_the_log_to_go() {
    let mut report = dead(10);
    report.positions = primary(10).positions;
    let plan = died().report(report).locking().flag(FlagValue::ReadOnly).plan();
    let ends = &next(&plan).offer.as_ref().unwrap().ends;
    assert_eq!(ends[&item("main")].lsn, bascule_core::position::Lsn(0x2FF_0000));
}

#[rstest]
#[case::a_workload_is_not_known({ let mut g = old_site(handed_back(true, true)); g.seen.workloads.clear(); g })]
#[case::something_is_not_ready({ let mut g = old_site(handed_back(true, true));
    let wait = Gate::new("contended/web/replicas", Answer::NotYet, "x", "y");
    g.seen.workloads.get_mut(&item("web")).unwrap().blockers = bascule_core::observation::Fact::now(vec![wait]); g })]
fn the_old_site_takes_nothing_back_while_anything_but_its_stopped_server_is_in_the_way(#[case] given: Given) {
    stays(&given.plan());
}

#[test]
fn an_offer_is_waited_for_until_its_very_end() {
    let given = Given::at("paris").record(in_phase(Phase::Offered)).report(dead(10));
    assert_eq!(again_in(&given.clone().for_ms(29_000).plan()), Some(1_000));
    assert!(given.for_ms(30_000).plan().transition.is_some());
}
