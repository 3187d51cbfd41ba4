//! Wrong plans, made by hand: the second opinion catches each by its name.

use std::time::Duration;

use bascule_core::check::{Rule, check};
use bascule_core::decide::decide;
use bascule_core::guard::wire::{Disk, Report, ServerState};
use bascule_core::loss::LossBound;
use bascule_core::memory::Stamp;
use bascule_core::moves::{Move, MoveEnd, MoveHash, Order, Verdict};
use bascule_core::observation::{Fact, Marks};
use bascule_core::plan::{Change, DatabaseOrder, DatabaseRole, Plan, Step};
use bascule_core::policy::After;
use bascule_core::position::Timeline;
use bascule_core::record::{Fences, HoldUntil, Phase, PreviousHold, Record};
use bascule_core::time::Millis;
use rstest::rstest;

use crate::anew::restored;
use crate::world::given::{Given, Lease, View, moment};
use crate::world::policy::{mv, source_stopped, switchover};
use crate::world::record::{STOPPED_AT, doing, in_phase, never_fences, small_loss, steady, wall};
use crate::world::reports::{dead, locked, orphan, primary, proof, replica, waiting};
use crate::world::{item, site};

/// What the second opinion says of `given`'s own plan after `spoil`.
fn opinion(given: &Given, spoil: impl FnOnce(&mut Plan)) -> Vec<Rule> {
    given.look(|s| {
        let mut plan = decide(s);
        assert_eq!(check(given.record.as_ref(), &plan, s), vec![], "the plan is right before it is spoilt");
        spoil(&mut plan);
        check(given.record.as_ref(), &plan, s).into_iter().map(|v| v.rule).collect()
    })
}

/// What it says of a plan that only changes the record.
pub fn opinion_on(given: &Given, next: Record) -> Vec<Rule> {
    given.look(|s| {
        let change = Change { next, unchanged_lease: None, why: String::new() };
        let plan = Plan { transition: Some(change), ..Plan::default() };
        check(given.record.as_ref(), &plan, s).into_iter().map(|v| v.rule).collect()
    })
}

fn lost() -> Given {
    let mut record = in_phase(Phase::ReadOnly);
    record.transition.as_mut().unwrap().loss_bound = Some(small_loss());
    let given = Given::at("lyon").record(record).report(orphan(10)).contact(0, 60_200);
    given.silent("paris", 60_000).for_ms(1_900_000)
}

fn handover() -> Given {
    Given::at("lyon").record(in_phase(Phase::Handover)).report(proof(10))
}

fn stopped() -> Given {
    let given = Given::at("paris").record(in_phase(Phase::Requested)).locking().report(locked(10));
    given.facts("lyon", |f| f.ready_for = Some(10))
}

fn promoting() -> Given {
    Given::at("lyon").record(in_phase(Phase::Promoting)).report(primary(10)).verified(2)
}

fn next(plan: &mut Plan) -> &mut Record {
    &mut plan.transition.as_mut().unwrap().next
}

#[rstest]
#[case::serial(lost(), |p: &mut Plan| next(p).serial += 1, Rule::Serial)]
#[case::generation(lost(), |p: &mut Plan| next(p).generation += 1, Rule::Serial)]
#[case::epoch_too_high(lost(), |p: &mut Plan| next(p).epoch += 1, Rule::Epoch)]
#[case::epoch_kept(lost(), |p: &mut Plan| next(p).epoch -= 1, Rule::Epoch)]
#[case::lease_not_compared(lost(), |p: &mut Plan| p.transition.as_mut().unwrap().unchanged_lease = None, Rule::Evidence)]
#[case::another_lease(lost(), |p: &mut Plan| p.transition.as_mut().unwrap().unchanged_lease = Some((site("paris"), 1)), Rule::Evidence)]
#[case::settled(lost(), |p: &mut Plan| next(p).settled = true, Rule::Writer)]
#[case::straight_to_steady(lost(), |p: &mut Plan| next(p).phase = Phase::Steady, Rule::Writer)]
#[case::another_site_active(lost(), |p: &mut Plan| next(p).active = site("milan"), Rule::Writer)]
#[case::the_hold_before_forgotten(lost(), |p: &mut Plan| next(p).previous = None, Rule::Memory)]
#[case::too_much_loss(lost(), |p: &mut Plan| next(p).transition.as_mut().unwrap().loss_bound = Some(LossBound::UNKNOWN), Rule::Loss)]
#[case::less_loss_than_judged(lost(), |p: &mut Plan| next(p).transition.as_mut().unwrap().loss_bound = Some(LossBound::NOTHING), Rule::Loss)]
#[case::a_move_that_does_not_exist(lost(), |p: &mut Plan| next(p).doing = Some(doing("ghost")), Rule::Intent)]
#[case::other_positions(stopped(), |p: &mut Plan| next(p).positions.get_mut(&item("main")).unwrap().lsn.0 -= 1, Rule::Proof)]
#[case::no_positions(stopped(), |p: &mut Plan| next(p).positions.clear(), Rule::Proof)]
#[case::a_move_without_a_verdict(stopped(), |p: &mut Plan| next(p).doing = None, Rule::Memory)]
#[case::traffic_with_an_old_serial(promoting(), |p: &mut Plan| p.steps.push(point("lyon", 2, 9)), Rule::Traffic)]
#[case::traffic_to_another_site(promoting(), |p: &mut Plan| p.steps.push(point("paris", 2, 10)), Rule::Traffic)]
#[case::traffic_to_nothing(promoting(), |p: &mut Plan| p.steps.push(point("berlin", 2, 10)), Rule::Traffic)]
#[case::an_unnamed_workload(promoting(), |p: &mut Plan| p.steps.push(Step::Scale { workload: item("other"), replicas: 0 }), Rule::Named)]
#[case::an_old_epoch(promoting(), |p: &mut Plan| p.steps.push(Step::VerifyWrite { database: item("main"), epoch: 1 }), Rule::Named)]
#[case::to_follow_oneself(promoting(), |p: &mut Plan| { p.databases.insert(item("main"), order(DatabaseRole::Follow { site: site("lyon"), open: true })); }, Rule::Role)]
#[case::to_serve_elsewhere(lost(), |p: &mut Plan| { p.databases.insert(item("main"), order(DatabaseRole::Serve { open: true })); }, Rule::Role)]
#[case::to_lock_elsewhere(lost(), |p: &mut Plan| p.lock = true, Rule::Lock)]
#[case::anew_for_another_site(restored("lyon"), |p: &mut Plan| next(p).active = site("paris"), Rule::Writer)]
#[case::anew_on_other_terms(restored("lyon"), |p: &mut Plan| next(p).promise.lease = Millis(1), Rule::Writer)]
#[case::anew_without_a_promotion(restored("lyon"), |p: &mut Plan| next(p).phase = Phase::Steady, Rule::Writer)]
#[case::anew_in_a_generation_of_nobody_s(restored("lyon"), |p: &mut Plan| next(p).generation = 2, Rule::Intent)]
#[case::anew_just_above_what_was_seen(restored("lyon"), |p: &mut Plan| next(p).epoch = 5, Rule::Epoch)]
#[case::anew_with_a_serial_that_somebody_may_have_seen(restored("lyon"), |p: &mut Plan| next(p).serial = 41, Rule::Serial)]
#[case::anew_without_having_heard_all(restored("lyon").facts("lyon", |f| f.answers.clear()), |p: &mut Plan| p.transition = restored("lyon").plan().transition, Rule::Evidence)]
#[case::anew_though_nothing_is_lost(raised(Given::at("paris").record(steady())), |p: &mut Plan| p.transition = restored("paris").plan().transition, Rule::WentBack)]
fn a_wrong_plan_is_caught_by_name(#[case] given: Given, #[case] spoil: fn(&mut Plan), #[case] rule: Rule) {
    let found = opinion(&given, spoil);
    assert!(found.contains(&rule), "{found:?}");
}

/// A person has raised the generation although the arbiter has lost nothing.
fn raised(mut given: Given) -> Given {
    given.installation.generation = 1;
    given
}

fn point(name: &str, epoch: u64, serial: u64) -> Step {
    Step::PointTraffic { traffic: item("public"), site: site(name), epoch, serial }
}

fn order(role: DatabaseRole) -> DatabaseOrder {
    DatabaseOrder { role, checkpoint: false }
}

/// A record that follows `before` in another phase.
pub fn then(before: &Record, phase: Phase) -> Record {
    Record { serial: before.serial + 1, phase, ..before.clone() }
}

/// The record of a take by lyon.
fn taken(before: &Record) -> Record {
    let mut r = then(before, Phase::Promoting);
    r.epoch += 1;
    r.previous =
        Some(bascule_core::record::PreviousHold { site: before.active.clone(), settled: before.settled });
    r.active = site("lyon");
    r.settled = false;
    r.transition =
        Some(crate::world::record::transition(bascule_core::record::Cause::SiteLost, Some(small_loss())));
    r
}

#[rstest]
#[case::without_a_lease(handover().lease(Lease::Lapsed), Rule::Lease)]
#[case::from_an_outdated_view(handover().view(View::Outdated), Rule::View)]
#[case::while_writing(handover().view(View::Writing), Rule::View)]
#[case::suspended(handover().suspended(), Rule::Intent)]
#[case::deleted(handover().deleted(), Rule::Intent)]
#[case::not_replayed(handover().report(orphan(10)), Rule::Proof)]
#[case::not_a_replica({ let mut r = proof(10); r.state = ServerState::Down; handover().report(r) }, Rule::Proof)]
#[case::another_database({ let mut r = proof(10); r.disk = Disk::Empty; handover().report(r) }, Rule::Proof)]
#[case::report_unknown(handover().guard_unknown(), Rule::Proof)]
#[case::marks_unknown({ let mut g = handover(); g.seen.high_water = Fact::unknown("x"); g }, Rule::WentBack)]
#[case::an_arbiter_from_the_past({ let mut g = handover(); g.seen.high_water = Fact::now(Marks { generation: 0, epoch: 1, serial: 11 }); g }, Rule::WentBack)]
#[case::from_steady(Given::at("lyon").record(steady()), Rule::Evidence)]
#[case::of_a_site_that_promised_nothing(Given::at("lyon").record(never_fences(steady())).silent("paris", 60_000), Rule::Evidence)]
#[case::of_a_newer_schema(Given::at("lyon").record(Record { schema: 2, ..in_phase(Phase::Handover) }).report(proof(10)), Rule::Understood)]
#[case::of_an_offer_too_much_lost({ let mut g = Given::at("lyon").record(in_phase(Phase::Offered)).report(orphan(10));
    g.seen.databases.get_mut(&item("main")).unwrap().last_contact = None; g }, Rule::Loss)]
#[case::of_an_offer_that_still_sends(Given::at("lyon").record(in_phase(Phase::Offered)).report(replica(10)), Rule::Evidence)]
#[case::held({ let mut g = Given::at("lyon").record(in_phase(Phase::Offered)).report(orphan(10));
    g.record.as_mut().unwrap().hold = Some(bascule_core::record::HoldUntil { until: "2026-11-28T05:00:00Z".parse().unwrap(),
        reason: "x".to_owned(), hash: MoveHash("h".to_owned()) }); g }, Rule::Intent)]
fn a_take_without_its_right_is_caught_by_name(#[case] given: Given, #[case] rule: Rule) {
    let found = opinion_on(&given, taken(given.record.as_ref().unwrap()));
    assert!(found.contains(&rule), "{found:?}");
}

#[rstest]
#[case::handover_without_a_lock(Given::at("paris").record(in_phase(Phase::Requested)), Phase::Handover, Rule::Proof)]
#[case::an_offer_that_is_not_locked(Given::at("paris").record(steady()).report(dead(9)).locking(), Phase::Offered, Rule::Lock)]
#[case::an_offer_locked_by_a_second_pod({ let mut r = dead(10); r.opened_epoch = None; Given::at("paris").record(steady()).report(r).locking() }, Phase::Offered, Rule::Lock)]
#[case::an_offer_while_another_guard_may_have_a_grant({ let mut g = Given::at("paris").record(steady()).report(dead(10)).locking();
    g.seen.databases.get_mut(&item("main")).unwrap().granted.insert("other".to_owned(), moment(500)); g }, Phase::Offered, Rule::Lock)]
#[case::steady_without_a_verified_write(Given::at("lyon").record(in_phase(Phase::Promoting)).report(primary(10)), Phase::Steady, Rule::Proof)]
#[case::unmanaged_against_the_policy(Given::at("paris").record(steady()), Phase::Unmanaged, Rule::Intent)]
#[case::a_request_that_nobody_made(Given::at("paris").record(steady()), Phase::Requested, Rule::Intent)]
#[case::reads_of_a_living_site(Given::at("lyon").record(steady()), Phase::ReadOnly, Rule::Evidence)]
#[case::reads_by_the_active_site(Given::at("paris").record(steady()), Phase::ReadOnly, Rule::Writer)]
#[case::a_rollback_by_the_target(Given::at("lyon").record(in_phase(Phase::Handover)), Phase::Steady, Rule::Writer)]
#[case::a_handover_by_the_target(Given::at("lyon").record(in_phase(Phase::Requested)), Phase::Handover, Rule::Writer)]
#[case::a_return_by_another(lost(), Phase::Returning, Rule::Writer)]
#[case::a_phase_to_come(Given::at("paris").record(steady()), Phase::Unknown("X".to_owned()), Rule::Understood)]
#[case::a_withdrawal_while_its_guard_can_be_asked(Given::at("paris").record(steady()), Phase::Withdrawn, Rule::Lock)]
#[case::a_withdrawal_of_what_has_no_deadline(Given::at("paris").record(never_fences(steady())).guard_unknown(), Phase::Withdrawn, Rule::Evidence)]
#[case::a_withdrawal_without_a_policy(Given::at("paris").record(steady()).guard_unknown().deleted(), Phase::Withdrawn, Rule::Intent)]
#[case::a_withdrawal_by_another(Given::at("lyon").record(steady()), Phase::Withdrawn, Rule::Writer)]
#[case::an_offer_before_grants_have_run_out(Given::at("paris").record(in_phase(Phase::Withdrawn)).guard_unknown().for_ms(1_900), Phase::Offered, Rule::Evidence)]
#[case::steady_out_of_read_only(Given::at("paris").record(in_phase(Phase::ReadOnly)), Phase::Steady, Rule::Writer)]
fn a_change_of_phase_has_its_writer_and_its_proof(
    #[case] given: Given,
    #[case] phase: Phase,
    #[case] rule: Rule,
) {
    let found = opinion_on(&given, then(given.record.as_ref().unwrap(), phase));
    assert!(found.contains(&rule), "{found:?}");
}

#[test]
fn only_the_active_site_changes_its_promise() {
    let given = Given::at("lyon").record(steady());
    let mut next = then(&steady(), Phase::Steady);
    next.promise.fences = Fences::Never;
    assert!(opinion_on(&given, next).contains(&Rule::Writer));
}

#[test]
fn a_guard_without_a_deadline_forbids_a_stronger_promise() {
    let before = never_fences(steady());
    let mut report = primary(10);
    report.unlimited = true;
    let given = Given::at("paris").record(before.clone()).report(report);
    let mut next = then(&before, Phase::Steady);
    next.promise = crate::world::record::fences();
    assert!(opinion_on(&given, next).contains(&Rule::Evidence));
}

#[test]
fn a_stronger_promise_needs_guards_that_have_heard_of_it() {
    let before = steady();
    let mut next = then(&before, Phase::Steady);
    next.promise.fences =
        Fences::Within { holder: bascule_core::time::Millis(1_000), fence: bascule_core::time::Millis(300) };
    let given = Given::at("paris").record(before);
    assert!(opinion_on(&given, next).contains(&Rule::Evidence));
}

#[test]
fn a_statement_is_bound_to_its_serial_and_a_request_to_its_epoch() {
    let before = never_fences(steady());
    let given = Given::at("lyon").record(before.clone()).report(orphan(10)).silent("paris", 60_000);
    let mut next = taken(&before);
    next.doing = Some(doing("m"));
    let change = |g: &Given| {
        g.look(|s| {
            let lease = s.observer.window(&site("paris")).map(|w| (site("paris"), w.revision));
            let change = Change { next: next.clone(), unchanged_lease: lease, why: String::new() };
            let plan = Plan { transition: Some(change), ..Plan::default() };
            check(g.record.as_ref(), &plan, s)
        })
    };
    assert_eq!(change(&given.clone().moved(source_stopped("m", "lyon", 10))), vec![]);
    let found = change(&given.clone().moved(source_stopped("m", "lyon", 9)));
    assert!(found.iter().any(|v| v.rule == Rule::Evidence), "{found:?}");

    let mut old = switchover("m", "lyon");
    old.epoch = Some(0);
    let given = Given::at("paris").record(steady()).moved(old);
    let mut next = then(&steady(), Phase::Requested);
    next.target = Some(site("lyon"));
    next.doing = Some(doing("m"));
    assert!(opinion_on(&given, next).contains(&Rule::Intent));
}

#[test]
fn nothing_was_opened_is_never_said_without_its_proof() {
    let mut given =
        Given::at("lyon").record(in_phase(Phase::Promoting)).locking().report(locked(10)).for_ms(61_000);
    let mut report = locked(10);
    report.opened_epoch = Some(2);
    given = given.report(report);
    let found = opinion(&given, |p| next(p).offer.as_mut().unwrap().never_opened = true);
    assert!(found.contains(&Rule::Loss), "{found:?}");
}

#[rstest]
#[case::another_process_was_granted_to(|g: &mut Given| { g.seen.databases.get_mut(&item("main")).unwrap().granted.insert("other".to_owned(), moment(60_000)); })]
#[case::nobody_was(|g: &mut Given| g.seen.databases.get_mut(&item("main")).unwrap().granted.clear())]
#[case::nothing_is_on_its_disk(|g: &mut Given| { let mut r = locked(10); r.opened_epoch = None; r.disk = Disk::Empty; *g = g.clone().report(r); })]
fn a_missing_marker_proves_nothing_of_another_disk(#[case] change: fn(&mut Given)) {
    let mut report = locked(10);
    report.opened_epoch = None;
    let mut given =
        Given::at("lyon").record(in_phase(Phase::Promoting)).locking().report(report).for_ms(61_000);
    let said = |g: &Given| g.plan().transition.unwrap().next.offer.unwrap().never_opened;
    assert!(said(&given), "it was the only one, and it is there");
    change(&mut given);
    assert!(!said(&given));
    let found = opinion(&given, |p| next(p).offer.as_mut().unwrap().never_opened = true);
    assert!(found.contains(&Rule::Loss), "{found:?}");
}

#[test]
fn what_is_not_known_and_verdicts_are_kept() {
    let mut before = steady();
    before.unknown.insert("antigravity".to_owned(), true.into());
    let given = Given::at("paris").record(before.clone());
    let mut next = then(&before, Phase::Steady);
    next.unknown.clear();
    assert!(opinion_on(&given, next).contains(&Rule::Memory));
}

#[rstest]
#[case::not_initial(Given::at("lyon"), |_: &mut Record| {}, Rule::Intent)]
#[case::another_serial(Given::at("paris"), |r: &mut Record| r.serial = 2, Rule::Serial)]
#[case::another_epoch(Given::at("paris"), |r: &mut Record| r.epoch = 2, Rule::Epoch)]
#[case::another_site(Given::at("paris"), |r: &mut Record| r.active = site("lyon"), Rule::Writer)]
#[case::over_an_epoch({ let mut g = Given::at("paris"); g.seen.high_water = Fact::now(Marks { generation: 0, epoch: 1, serial: 0 }); g }, |_: &mut Record| {}, Rule::WentBack)]
#[case::over_a_serial({ let mut g = Given::at("paris"); g.seen.high_water = Fact::now(Marks { generation: 0, epoch: 0, serial: 9 }); g }, |_: &mut Record| {}, Rule::WentBack)]
#[case::over_a_memory({ let mut g = Given::at("paris"); g.seen.high_water = Fact::now(Marks { generation: 0, epoch: 3, serial: 9 }); g }, |_: &mut Record| {}, Rule::WentBack)]
fn a_wrong_first_record_is_caught_by_name(
    #[case] given: Given,
    #[case] change: fn(&mut Record),
    #[case] rule: Rule,
) {
    let mut record = Record { epoch: 1, serial: 1, ..steady() };
    change(&mut record);
    assert!(opinion_on(&given, record).contains(&rule));
}

#[test]
fn before_a_record_exists_no_database_has_a_role() {
    let mut given = Given::at("paris");
    given.seen.databases.insert(item("main"), crate::world::given::database(waiting(false)));
    let found = opinion(&given, |p| {
        p.databases.insert(item("main"), order(DatabaseRole::Serve { open: true }));
    });
    assert_eq!(found, vec![Rule::Role]);
}

#[rstest]
#[case(Lease::Lapsed)]
#[case(Lease::Regained)]
fn a_site_that_does_not_grant_never_clears_a_flag(#[case] lease: Lease) {
    let found = opinion(&promoting().lease(lease), |p| {
        p.steps = vec![Step::SetReadOnly { workload: item("web"), on: false }];
    });
    assert!(found.contains(&Rule::Flags), "{found:?}");
}

#[test]
fn a_violation_reads_like_a_sentence() {
    let given = Given::at("lyon").record(steady());
    let text = given.look(|s| {
        let next = then(&steady(), Phase::ReadOnly);
        let change = Change { next, unchanged_lease: None, why: String::new() };
        check(given.record.as_ref(), &Plan { transition: Some(change), ..Plan::default() }, s)
            .last()
            .unwrap()
            .to_string()
    });
    assert_eq!(
        text,
        "the plan breaks the rule evidence: paris is not proved silent for 2 s, or its lease is not compared; nothing more is done for this policy, please report it"
    );
}

#[rstest]
#[case::as_it_was_seen((1, 1, 10), false)]
#[case::of_a_later_epoch((1, 2, 1), true)]
#[case::of_a_later_serial((1, 1, 11), true)]
#[case::of_a_later_generation((2, 0, 0), true)]
#[case::of_an_earlier_generation((0, 9, 99), false)]
fn a_change_of_a_record_from_before_what_was_seen_is_caught(
    #[case] marks: (u64, u64, u64),
    #[case] behind: bool,
) {
    let record = Record { generation: 1, ..steady() };
    let mut given = Given::at("paris").record(record.clone());
    let (generation, epoch, serial) = marks;
    given.seen.high_water = Fact::now(Marks { generation, epoch, serial });
    let found = opinion_on(&given, then(&record, Phase::Steady));
    assert_eq!(found.contains(&Rule::WentBack), behind, "{found:?}");
}

#[rstest]
#[case::of_this_epoch(2, None, true)]
#[case::of_an_epoch_to_come(3, None, true)]
#[case::of_an_earlier_one(1, None, false)]
#[case::whose_move_may_still_be_acted_on(1, Some(1), true)]
#[case::whose_move_ends_now(1, Some(0), false)]
#[case::whose_move_has_ended(1, Some(-1), false)]
fn a_verdict_that_must_be_remembered_is_kept(
    #[case] epoch: u64,
    #[case] ends_in: Option<i64>,
    #[case] needed: bool,
) {
    let verdict = Verdict {
        hash: MoveHash("old".to_owned()),
        name: "old".try_into().unwrap(),
        end: MoveEnd::Done,
        message: String::new(),
        epoch,
        at: wall(),
        not_after: ends_in.map(|s| wall().checked_add(jiff::SignedDuration::from_secs(s)).unwrap()),
    };
    let record = Record { epoch: 2, moves: vec![verdict], ..steady() };
    let given = Given::at("paris").record(record.clone());
    assert!(!opinion_on(&given, then(&record, Phase::Steady)).contains(&Rule::Memory));
    let forgotten = Record { moves: vec![], ..then(&record, Phase::Steady) };
    assert_eq!(opinion_on(&given, forgotten).contains(&Rule::Memory), needed);
}

#[rstest]
#[case::the_same(1_250, 300, 2_000, false)]
#[case::longer(1_300, 350, 2_100, false)]
#[case::a_shorter_lease_of_grants(1_249, 300, 2_000, true)]
#[case::a_shorter_time_to_stop(1_250, 299, 2_000, true)]
#[case::a_shorter_silence(1_250, 300, 1_999, true)]
#[case::shorter_in_one_and_longer_in_the_others(1_249, 350, 2_100, true)]
fn a_promise_is_shortened_only_when_what_was_granted_under_the_longer_one_has_run_out(
    #[case] holder: u64,
    #[case] fence: u64,
    #[case] lease: u64,
    #[case] shorter: bool,
) {
    let given = Given::at("paris").record(steady());
    let mut next = then(&steady(), Phase::Steady);
    next.promise.fences = Fences::Within { holder: Millis(holder), fence: Millis(fence) };
    next.promise.lease = Millis(lease);
    assert_eq!(opinion_on(&given, next.clone()).contains(&Rule::Evidence), shorter);
    let heard = |ago| given.clone().for_ms(60_000).stamped(Stamp::TimingHeard, ago);
    assert_eq!(opinion_on(&heard(1_549), next.clone()).contains(&Rule::Evidence), shorter);
    assert!(!opinion_on(&heard(1_550), next).contains(&Rule::Evidence));
}

#[test]
fn another_site_may_serve_reads_in_place_of_a_target_and_what_a_switchover_was_meant_for() {
    let three = ["paris", "lyon", "milan"];
    let reads = |record: &Record| {
        let given = Given::at("milan").policy(|p| *p = crate::world::policy::policy_in(&three));
        let given = given.record(record.clone()).silent("paris", 60_000).silent("lyon", 60_000);
        let next = Record { target: Some(site("milan")), ..then(record, Phase::ReadOnly) };
        opinion_on(&given, next)
    };
    assert!(!reads(&in_phase(Phase::ReadOnly)).contains(&Rule::Writer));
    assert!(!reads(&in_phase(Phase::Handover)).contains(&Rule::Writer));
    let given = Given::at("lyon").record(in_phase(Phase::Handover)).silent("paris", 60_000);
    let found = opinion_on(&given, then(&in_phase(Phase::Handover), Phase::ReadOnly));
    assert!(!found.contains(&Rule::Writer), "its target serves reads when its source is lost: {found:?}");
}

#[rstest]
#[case::as_it_was_confirmed(|_: &mut Report| {}, None)]
#[case::not_cleanly(|r: &mut Report| r.stopped.as_mut().unwrap().clean = false, Some(Rule::Proof))]
#[case::for_an_earlier_order(|r: &mut Report| r.stopped.as_mut().unwrap().serial = 9, Some(Rule::Proof))]
#[case::somewhere_else(|r: &mut Report| r.stopped.as_mut().unwrap().checkpoint.0 += 1, Some(Rule::Proof))]
#[case::on_another_timeline(|r: &mut Report| r.stopped.as_mut().unwrap().timeline.0 += 1, Some(Rule::Proof))]
#[case::as_another_database(|r: &mut Report| r.stopped.as_mut().unwrap().system_id.0 += 1, Some(Rule::Proof))]
#[case::and_locked_before(|r: &mut Report| r.locked = Some(9), Some(Rule::Proof))]
#[case::and_never_locked(|r: &mut Report| r.locked = None, Some(Rule::Proof))]
#[case::and_runs_again(|r: &mut Report| r.state = ServerState::Primary { open: false }, Some(Rule::Proof))]
#[case::and_is_being_started(|r: &mut Report| r.state = ServerState::Starting { writer: false }, Some(Rule::Proof))]
#[case::of_another_hold(|r: &mut Report| r.opened_epoch = Some(0), Some(Rule::Proof))]
fn a_handover_is_a_clean_stop_where_the_record_says(
    #[case] change: fn(&mut Report),
    #[case] rule: Option<Rule>,
) {
    let mut report = locked(10);
    change(&mut report);
    let before = in_phase(Phase::Requested);
    let given = Given::at("paris").record(before.clone()).locking().report(report);
    let positions = in_phase(Phase::Handover).positions;
    assert_eq!(
        opinion_on(&given, Record { positions, ..then(&before, Phase::Handover) }),
        Vec::from_iter(rule)
    );
}

fn until(seconds: i64) -> HoldUntil {
    let until = wall().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    HoldUntil { until, reason: "x".to_owned(), hash: MoveHash("h".to_owned()) }
}

/// Paris, whose database died and has locked itself, about to offer its role.
fn dead_and_locked() -> Given {
    Given::at("paris").record(steady()).report(dead(10)).locking()
}

/// Lyon, whose promotion failed and whose guard has locked its server.
fn failed_and_locked() -> Given {
    Given::at("lyon")
        .record(in_phase(Phase::Promoting))
        .report(Report { opened_epoch: Some(1), ..locked(10) })
        .locking()
}

fn spoilt(mut report: Report, change: impl FnOnce(&mut Report)) -> Report {
    change(&mut report);
    report
}

#[rstest]
#[case::a_dead_database(dead_and_locked(), None)]
#[case::a_failed_promotion(failed_and_locked(), None)]
#[case::suspended(dead_and_locked().suspended(), Some(Rule::Intent))]
#[case::a_failed_promotion_of_a_suspended_policy(failed_and_locked().suspended(), None)]
#[case::never_locked(dead_and_locked().report(spoilt(dead(10), |r| r.locked = None)), Some(Rule::Lock))]
#[case::locked_before(dead_and_locked().report(dead(9)), Some(Rule::Lock))]
#[case::locked_later(dead_and_locked().report(dead(11)), None)]
#[case::not_ordered(Given { locking: None, ..dead_and_locked() }, Some(Rule::Lock))]
#[case::its_server_runs(dead_and_locked().report(spoilt(dead(10), |r| r.state = ServerState::Primary { open: false })), Some(Rule::Lock))]
#[case::its_server_is_stopping(dead_and_locked().report(spoilt(dead(10), |r| r.state = ServerState::Stopping)), Some(Rule::Lock))]
#[case::of_another_hold(dead_and_locked().report(spoilt(dead(10), |r| r.opened_epoch = Some(0))), Some(Rule::Lock))]
#[case::nobody_has_said_so(dead_and_locked().guard_unknown(), Some(Rule::Lock))]
#[case::this_site_has_only_just_come_back(Given { back: 1_999, ..dead_and_locked().lease(Lease::Regained) }, Some(Rule::Lock))]
#[case::this_site_came_back_long_ago(Given { back: 2_000, ..dead_and_locked().lease(Lease::Regained) }, None)]
fn an_offer_is_a_lock_that_whoever_may_write_has_confirmed(#[case] given: Given, #[case] rule: Option<Rule>) {
    let before = given.record.clone().unwrap();
    let mut next = then(&before, Phase::Offered);
    next.offer = in_phase(Phase::Offered).offer;
    assert_eq!(opinion_on(&given, next), Vec::from_iter(rule));
}

#[rstest]
#[case::another_process_had_a_grant_until_just_now(1_999, Some(Rule::Lock))]
#[case::another_process_had_a_grant_that_has_run_out(2_000, None)]
fn an_offer_waits_for_every_grant_that_was_given(#[case] ago: u64, #[case] rule: Option<Rule>) {
    let mut given = dead_and_locked();
    given.seen.databases.get_mut(&item("main")).unwrap().granted.insert("other".to_owned(), moment(ago));
    let next = Record { offer: in_phase(Phase::Offered).offer, ..then(&steady(), Phase::Offered) };
    assert_eq!(opinion_on(&given, next), Vec::from_iter(rule));
}

#[rstest]
#[case::for_as_long_as_was_promised(2_000, 2_000, None)]
#[case::a_moment_less(1_999, 2_000, Some(Rule::Evidence))]
#[case::for_as_long_as_two_clocks_may_differ(1_786, 1_000, None)]
#[case::a_moment_less_of_that(1_785, 1_000, Some(Rule::Evidence))]
fn a_withdrawn_role_is_offered_when_every_grant_has_run_out(
    #[case] ms: u64,
    #[case] lease: u64,
    #[case] rule: Option<Rule>,
) {
    let mut before = in_phase(Phase::Withdrawn);
    before.promise.lease = Millis(lease);
    let given = Given::at("paris").record(before.clone()).guard_unknown().for_ms(ms);
    let next = Record { offer: in_phase(Phase::Offered).offer, ..then(&before, Phase::Offered) };
    assert_eq!(opinion_on(&given, next), Vec::from_iter(rule));
}

#[rstest]
#[case::it_is_proved(failed_and_locked(), None)]
#[case::of_a_hold_that_settled(dead_and_locked(), Some(Rule::Loss))]
#[case::opened_in_this_hold(failed_and_locked().report(Report { opened_epoch: Some(2), ..locked(10) }), Some(Rule::Loss))]
#[case::the_hold_before_never_settled({ let mut g = failed_and_locked(); g.record.as_mut().unwrap().previous.as_mut().unwrap().settled = false; g }, Some(Rule::Loss))]
#[case::there_was_no_hold_before({ let mut g = failed_and_locked(); g.record.as_mut().unwrap().previous = None; g }, Some(Rule::Loss))]
#[case::nothing_can_be_read_from_its_disk(failed_and_locked().report(Report { opened_epoch: Some(1), disk: Disk::Empty, ..locked(10) }), Some(Rule::Loss))]
fn an_offer_that_excuses_from_the_loss_gate_has_its_proof(#[case] given: Given, #[case] rule: Option<Rule>) {
    let before = given.record.clone().unwrap();
    let mut next = then(&before, Phase::Offered);
    next.offer = in_phase(Phase::Offered).offer;
    next.offer.as_mut().unwrap().never_opened = true;
    assert_eq!(opinion_on(&given, next.clone()), Vec::from_iter(rule));
    next.offer = None;
    assert!(opinion_on(&given, next).contains(&Rule::Loss), "an offer says what it offers");
}

fn gone(record: Record) -> Given {
    Given::at(record.active.clone().as_str()).record(record).guard_unknown()
}

#[rstest]
#[case::steady(gone(steady()), None)]
#[case::suspended(gone(steady()).suspended(), Some(Rule::Intent))]
#[case::a_promotion_of_a_suspended_policy(gone(in_phase(Phase::Promoting)).suspended(), None)]
#[case::a_promotion_of_a_deleted_policy(gone(in_phase(Phase::Promoting)).deleted(), Some(Rule::Intent))]
#[case::held(gone(Record { hold: Some(until(1)), ..steady() }), Some(Rule::Intent))]
#[case::held_until_now(gone(Record { hold: Some(until(0)), ..steady() }), None)]
fn a_role_is_withdrawn_only_where_nobody_says_no(#[case] given: Given, #[case] rule: Option<Rule>) {
    let found = opinion_on(&given, then(given.record.as_ref().unwrap(), Phase::Withdrawn));
    let lock = matches!(given.policy, crate::world::given::Seen::Absent).then_some(Rule::Lock);
    assert_eq!(found, rule.into_iter().chain(lock).collect::<Vec<_>>());
}

const PHASES: [Phase; 9] = [
    Phase::Unmanaged,
    Phase::Steady,
    Phase::Requested,
    Phase::Handover,
    Phase::Promoting,
    Phase::ReadOnly,
    Phase::Returning,
    Phase::Offered,
    Phase::Withdrawn,
];

/// To which other phases the second opinion lets this site change the record.
fn leads_to(me: &str, before: &Record) -> Vec<Phase> {
    let given = Given::at(me).record(before.clone());
    let allowed = |phase: &Phase| {
        let mut next = then(before, phase.clone());
        next.settled |=
            before.phase == Phase::Promoting && *phase == Phase::Steady && before.active == given.me;
        if *phase == Phase::Unmanaged {
            next.promise.fences = Fences::Never;
        }
        if matches!(phase, Phase::ReadOnly | Phase::Requested) {
            next.target = Some(given.me.clone());
        }
        !opinion_on(&given, next).contains(&Rule::Writer)
    };
    PHASES.into_iter().filter(|phase| *phase != before.phase && allowed(phase)).collect()
}

#[test]
fn the_active_site_leads_each_phase_to_these_and_no_others() {
    use Phase::{Handover, Offered, Promoting, ReadOnly, Requested, Returning, Steady, Unmanaged, Withdrawn};
    let expected: [(Phase, Vec<Phase>); 9] = [
        (Unmanaged, vec![]),
        (Steady, vec![Unmanaged, Requested, Offered, Withdrawn]),
        (Requested, vec![Handover]),
        (Handover, vec![]),
        (Promoting, vec![Unmanaged, Steady, Offered, Withdrawn]),
        (ReadOnly, vec![Returning]),
        (Returning, vec![Unmanaged, Offered, Withdrawn]),
        (Offered, vec![]),
        (Withdrawn, vec![Offered]),
    ];
    for (phase, mut to) in expected {
        for settled in [true, false] {
            let before = Record { settled, active: site("paris"), ..in_phase(phase.clone()) };
            let back = if settled { Steady } else { Promoting };
            if matches!(phase, Unmanaged | Requested | Handover | Returning | Offered | Withdrawn) {
                to.push(back.clone());
            }
            to.sort_by_key(|p| PHASES.iter().position(|q| q == p));
            assert_eq!(leads_to("paris", &before), to, "from {phase}, settled: {settled}");
            to.retain(|p| *p != back || phase == Promoting);
        }
    }
}

#[test]
fn any_other_site_asks_for_a_switchover_and_serves_reads_and_leads_nowhere_else() {
    for phase in PHASES {
        let before = Record { active: site("paris"), target: None, ..in_phase(phase.clone()) };
        let expected = match phase {
            Phase::Unmanaged | Phase::ReadOnly => vec![],
            Phase::Steady => vec![Phase::Requested, Phase::ReadOnly],
            _ => vec![Phase::ReadOnly],
        };
        assert_eq!(leads_to("lyon", &before), expected, "from {phase}");
    }
}

#[rstest]
#[case::nothing(|_: &mut Record| {}, true)]
#[case::a_hold(|r: &mut Record| r.hold = Some(until(60)), true)]
#[case::verdicts(|r: &mut Record| r.moves.clear(), true)]
#[case::sizes(|r: &mut Record| r.sizes.clear(), false)]
#[case::its_promise(|r: &mut Record| r.promise.lease.0 += 1, false)]
#[case::its_settling(|r: &mut Record| r.settled = false, false)]
#[case::a_target(|r: &mut Record| r.target = Some(site("lyon")), false)]
fn what_another_site_changes_of_a_record_in_its_phase_is_about_moves_alone(
    #[case] change: fn(&mut Record),
    #[case] allowed: bool,
) {
    let mut next = then(&steady(), Phase::Steady);
    change(&mut next);
    let found = opinion_on(&Given::at("lyon").record(steady()), next);
    assert_eq!(!found.contains(&Rule::Writer), allowed, "{found:?}");
}

/// What the second opinion says of a plan that does nothing but this.
fn opinion_on_plan(given: &Given, plan: Plan) -> Vec<Rule> {
    given.look(|s| check(given.record.as_ref(), &plan, s).into_iter().map(|v| v.rule).collect())
}

fn step(given: &Given, step: Step) -> Vec<Rule> {
    opinion_on_plan(given, Plan { steps: vec![step], ..Plan::default() })
}

fn scale() -> Step {
    Step::Scale { workload: item("web"), replicas: 1 }
}

fn at_paris(phase: Phase) -> Given {
    Given::at("paris").record(Record { active: site("paris"), ..in_phase(phase) })
}

#[rstest]
#[case::the_active_site_serves(at_paris(Phase::Steady), true)]
#[case::in_a_phase_that_grants_nothing(at_paris(Phase::Handover), false)]
#[case::at_another_site(Given::at("lyon").record(steady()), false)]
fn a_database_serves_where_the_record_lets_it(#[case] given: Given, #[case] allowed: bool) {
    let mut plan = Plan::default();
    plan.databases.insert(item("main"), order(DatabaseRole::Serve { open: true }));
    let expected = if allowed { vec![] } else { vec![Rule::Role] };
    assert_eq!(opinion_on_plan(&given, plan), expected);
}

#[rstest]
#[case::steady(at_paris(Phase::Steady), vec![])]
#[case::in_a_phase_that_grants_nothing(at_paris(Phase::Handover), vec![Rule::Lock])]
#[case::at_another_site(Given::at("lyon").record(steady()), vec![Rule::Lock])]
#[case::suspended(at_paris(Phase::Steady).suspended(), vec![Rule::Intent])]
#[case::a_promotion_of_a_suspended_policy(Given::at("lyon").record(in_phase(Phase::Promoting)).suspended(), vec![])]
#[case::a_promotion_of_a_deleted_policy(Given::at("lyon").record(in_phase(Phase::Promoting)).deleted(), vec![Rule::Intent])]
fn a_site_locks_what_is_its_own_and_in_force(#[case] given: Given, #[case] expected: Vec<Rule>) {
    assert_eq!(opinion_on_plan(&given, Plan { lock: true, ..Plan::default() }), expected);
}

#[rstest]
#[case::steady(at_paris(Phase::Steady), vec![])]
#[case::another_site(Given::at("lyon").record(steady()), vec![])]
#[case::unmanaged(at_paris(Phase::Unmanaged), vec![Rule::Intent])]
#[case::a_newer_record(Given::at("paris").record(Record { schema: 2, ..steady() }), vec![Rule::Intent])]
#[case::suspended(at_paris(Phase::Steady).suspended(), vec![Rule::Intent])]
#[case::suspended_on_the_way(at_paris(Phase::Returning).suspended(), vec![])]
#[case::suspended_on_another_s_way(Given::at("lyon").record(in_phase(Phase::Returning)).suspended(), vec![Rule::Intent])]
#[case::without_a_lease(at_paris(Phase::Steady).lease(Lease::Lapsed), vec![Rule::Lease])]
fn an_effect_is_a_policy_s_in_force(#[case] given: Given, #[case] expected: Vec<Rule>) {
    assert_eq!(step(&given, scale()), expected);
}

#[rstest]
#[case::steady(at_paris(Phase::Steady), vec![])]
#[case::verified(promoting(), vec![])]
#[case::verified_before(Given::at("lyon").record(in_phase(Phase::Promoting)).stamped(Stamp::WriteVerified, 10), vec![])]
#[case::not_verified(Given::at("lyon").record(in_phase(Phase::Promoting)), vec![Rule::Flags])]
#[case::another_site(Given::at("lyon").record(steady()), vec![Rule::Flags])]
fn a_flag_is_cleared_where_writes_are_known_to_succeed(#[case] given: Given, #[case] expected: Vec<Rule>) {
    assert_eq!(step(&given, Step::SetReadOnly { workload: item("web"), on: false }), expected);
}

#[rstest]
#[case::steady(at_paris(Phase::Steady), true)]
#[case::returning(at_paris(Phase::Returning), true)]
#[case::promoting_verified(promoting(), true)]
#[case::promoting_not_verified(Given::at("lyon").record(in_phase(Phase::Promoting)), false)]
#[case::requested(at_paris(Phase::Requested), false)]
#[case::handover(at_paris(Phase::Handover), false)]
#[case::steady_not_claimed_again(at_paris(Phase::Steady).lease(Lease::Regained), false)]
#[case::another_site_in_steady(Given::at("lyon").record(steady()), false)]
#[case::the_target_serves_reads(lost(), true)]
#[case::the_target_serves_reads_by_an_old_view(lost().view(View::Outdated), false)]
#[case::reads_are_another_site_s(Given::at("lyon").record(Record { target: Some(site("milan")), ..in_phase(Phase::ReadOnly) }), false)]
#[case::the_active_site_while_reads_are_served(at_paris(Phase::ReadOnly), false)]
#[case::the_target_of_a_switchover(Given::at("lyon").record(in_phase(Phase::Requested)), false)]
fn traffic_is_pointed_by_a_site_at_itself_where_it_serves(#[case] given: Given, #[case] allowed: bool) {
    let record = given.record.as_ref().unwrap();
    let step = step(&given, point(given.me.as_str(), record.epoch, record.serial));
    assert_eq!(step, if allowed { vec![] } else { vec![Rule::Traffic] });
}

#[rstest]
#[case::of_another_site(|r: &mut Record| r.previous.as_mut().unwrap().site = site("milan"))]
#[case::that_settled(|r: &mut Record| r.previous.as_mut().unwrap().settled = false)]
fn a_take_remembers_the_hold_before_as_it_was(#[case] change: fn(&mut Record)) {
    let found = opinion(&lost(), |p| change(next(p)));
    assert_eq!(found, vec![Rule::Memory]);
}

/// What the second opinion says of a take of `given`'s record by the silence of its active site.
fn by_silence(given: &Given, bound: Option<LossBound>, doing: Option<&str>) -> Vec<Rule> {
    let before = given.record.clone().unwrap();
    given.look(|s| {
        let lease = s.observer.window(&before.active).map(|w| (before.active.clone(), w.revision));
        let mut next = taken(&before);
        next.transition.as_mut().unwrap().loss_bound = bound;
        next.doing = doing.map(crate::world::record::doing).or_else(|| before.doing.clone());
        let change = Change { next, unchanged_lease: lease, why: String::new() };
        let plan = Plan { transition: Some(change), ..Plan::default() };
        check(given.record.as_ref(), &plan, s).into_iter().map(|v| v.rule).collect()
    })
}

/// Lyon, for which paris has been silent for a minute.
fn silent(record: Record) -> Given {
    let given = Given::at("lyon").record(record).report(orphan(10)).contact(0, 60_200);
    given.silent("paris", 60_000).policy(|p| p.failover.promote_after = After::Elapsed(Duration::ZERO))
}

fn without_contact(mut given: Given) -> Given {
    given.seen.databases.get_mut(&item("main")).unwrap().last_contact = None;
    given
}

fn reads_judged(bound: Option<LossBound>) -> Record {
    let mut record = in_phase(Phase::ReadOnly);
    record.transition.as_mut().unwrap().loss_bound = bound;
    record
}

#[rstest]
#[case::right(silent(steady()), vec![])]
#[case::right_from_a_handover(silent(in_phase(Phase::Handover)), vec![])]
#[case::from_reads_that_were_judged(without_contact(silent(reads_judged(Some(small_loss())))), vec![])]
#[case::from_reads_that_were_not(without_contact(silent(reads_judged(None))), vec![Rule::Loss])]
#[case::from_reads_that_were_judged_by_half(without_contact(silent(reads_judged(Some(LossBound { unseen: None, ..small_loss() })))), vec![Rule::Loss])]
#[case::with_more_known_than_was_judged_by_half(silent(reads_judged(Some(LossBound { unseen: None, ..small_loss() }))), vec![])]
#[case::from_a_handover_by_its_position(without_contact(silent(in_phase(Phase::Handover))), vec![])]
#[case::from_a_handover_without_one(without_contact(silent(Record { positions: [].into(), ..in_phase(Phase::Handover) })), vec![Rule::Loss])]
#[case::by_a_position_from_before(without_contact(silent(Record { positions: in_phase(Phase::Handover).positions, ..steady() })), vec![Rule::Loss])]
#[case::without_contact(without_contact(silent(steady())), vec![Rule::Loss])]
#[case::by_what_another_phase_judged(without_contact(silent(in_phase(Phase::Returning))), vec![Rule::Loss])]
#[case::of_an_offer_by_silence(silent(in_phase(Phase::Offered)), vec![])]
#[case::of_an_offer_of_a_site_that_lives(silent(in_phase(Phase::Offered)).silent("paris", 0), vec![Rule::Evidence])]
#[case::silent_for_too_short_a_time(silent(steady()).silent("paris", 2_000), vec![Rule::Evidence])]
#[case::never_by_itself(silent(steady()).policy(|p| p.failover.promote_after = After::Never), vec![Rule::Intent])]
#[case::held(silent(Record { hold: Some(until(1)), ..steady() }), vec![Rule::Intent])]
#[case::held_until_now(silent(Record { hold: Some(until(0)), ..steady() }), vec![])]
#[case::that_still_sends(silent(steady()).report(replica(10)), vec![Rule::Evidence])]
#[case::without_a_replica(silent(steady()).report(waiting(true)), vec![Rule::Evidence])]
#[case::of_an_unmanaged_one(silent(in_phase(Phase::Unmanaged)), vec![Rule::Evidence, Rule::Intent])]
fn a_take_by_silence_has_its_evidence(#[case] given: Given, #[case] expected: Vec<Rule>) {
    assert_eq!(by_silence(&given, Some(small_loss()), None), expected);
}

#[rstest]
#[case::within(Some(LossBound { bytes: Some(16 << 20), unseen: Some(Millis(30_000)) }), true)]
#[case::a_byte_too_many(Some(LossBound { bytes: Some((16 << 20) + 1), unseen: Some(Millis(0)) }), false)]
#[case::a_moment_too_long(Some(LossBound { bytes: Some(0), unseen: Some(Millis(30_001)) }), false)]
#[case::bytes_unknown(Some(LossBound { bytes: None, unseen: Some(Millis(0)) }), false)]
#[case::time_unknown(Some(LossBound { bytes: Some(0), unseen: None }), false)]
#[case::not_judged(None, false)]
fn a_take_loses_at_most_what_the_policy_or_a_person_accepts(
    #[case] bound: Option<LossBound>,
    #[case] within: bool,
) {
    let expected = if within { vec![] } else { vec![Rule::Loss] };
    assert_eq!(by_silence(&silent(steady()), bound, None), expected);
    let ordered = |accept_data_loss| {
        let order = Order::Failover { to: site("lyon"), source_stopped: None, accept_data_loss };
        silent(steady()).moved(mv("m", order))
    };
    assert_eq!(by_silence(&ordered(true), bound, Some("m")), vec![]);
    assert_eq!(by_silence(&ordered(false), bound, Some("m")), expected);
}

#[rstest]
#[case::to_this_site(Order::Failover { to: site("lyon"), source_stopped: None, accept_data_loss: false }, vec![])]
#[case::to_another(Order::Failover { to: site("milan"), source_stopped: None, accept_data_loss: false }, vec![Rule::Intent])]
#[case::no_failover(Order::Switchover { to: site("lyon") }, vec![Rule::Intent])]
fn a_person_s_failover_of_a_held_role_is_this_site_s(#[case] order: Order, #[case] expected: Vec<Rule>) {
    let given = silent(Record { hold: Some(until(1)), ..steady() }).moved(mv("m", order));
    assert_eq!(by_silence(&given, Some(small_loss()), Some("m")), expected);
}

#[rstest]
#[case::of_this_serial(Some("Ada saw it"), Some(10), vec![])]
#[case::of_another_serial(Some("Ada saw it"), Some(9), vec![Rule::Evidence])]
#[case::of_no_serial(Some("Ada saw it"), None, vec![Rule::Evidence])]
#[case::without_a_statement(None, Some(10), vec![Rule::Evidence])]
fn the_role_of_a_site_that_promised_nothing_is_taken_by_a_statement(
    #[case] who: Option<&str>,
    #[case] serial: Option<u64>,
    #[case] expected: Vec<Rule>,
) {
    let order =
        Order::Failover { to: site("lyon"), source_stopped: who.map(str::to_owned), accept_data_loss: true };
    let given = silent(never_fences(steady())).moved(Move { serial, ..mv("m", order) });
    assert_eq!(by_silence(&given, Some(small_loss()), Some("m")), expected);
}

#[rstest]
#[case::right(handover(), vec![])]
#[case::replayed_up_to_the_stop_and_not_past_it(handover().report(spoilt(proof(10), |r| r.positions.as_mut().unwrap().replay = Some(STOPPED_AT))), vec![Rule::Proof])]
#[case::on_another_timeline(handover().report(spoilt(proof(10), |r| r.positions.as_mut().unwrap().timeline = Some(Timeline(2)))), vec![Rule::Proof])]
#[case::meant_for_another({ let mut g = handover(); g.record.as_mut().unwrap().target = Some(site("milan")); g }, vec![Rule::Evidence])]
#[case::before_the_source_has_stopped(Given::at("lyon").record(in_phase(Phase::Requested)).report(proof(10)), vec![Rule::Evidence])]
#[case::an_offer(Given::at("lyon").record(in_phase(Phase::Offered)).report(orphan(10)), vec![])]
#[case::an_offer_without_a_replica(Given::at("lyon").record(in_phase(Phase::Offered)).report(waiting(true)), vec![Rule::Loss])]
#[case::an_offer_without_contact(without_contact(Given::at("lyon").record(in_phase(Phase::Offered)).report(orphan(10))), vec![Rule::Loss])]
#[case::an_offer_that_says_nothing(Given::at("lyon").record(Record { offer: None, ..in_phase(Phase::Offered) }).report(orphan(10)), vec![Rule::Evidence])]
fn a_take_without_a_comparison_of_the_lease_has_its_proof(#[case] given: Given, #[case] expected: Vec<Rule>) {
    assert_eq!(opinion_on(&given, taken(given.record.as_ref().unwrap())), expected);
}

#[rstest]
#[case::nothing_was_opened_after_a_hold_of_this_site(true, "lyon", true, true)]
#[case::something_was_opened(false, "lyon", true, false)]
#[case::after_a_hold_of_another(true, "milan", true, false)]
#[case::after_a_hold_that_never_settled(true, "lyon", false, false)]
fn an_offer_excuses_the_site_whose_hold_came_just_before(
    #[case] never_opened: bool,
    #[case] before: &str,
    #[case] settled: bool,
    #[case] excused: bool,
) {
    let mut record = in_phase(Phase::Offered);
    record.offer.as_mut().unwrap().never_opened = never_opened;
    record.previous = Some(PreviousHold { site: site(before), settled });
    record.hold = Some(until(1));
    let given = without_contact(Given::at("lyon").record(record).report(waiting(true)));
    let found = opinion_on(&given, taken(given.record.as_ref().unwrap()));
    assert_eq!(found.is_empty(), excused, "{found:?}");
}

#[test]
fn a_server_whose_last_message_is_young_still_sends() {
    let receives = |message| {
        let mut r = replica(10);
        let p = r.positions.as_mut().unwrap();
        p.age = Millis(120);
        p.upstream.as_mut().unwrap().message_age = message;
        let mut given = silent(steady());
        given.seen.databases.get_mut(&item("main")).unwrap().guard =
            Fact::Known { value: r.into(), age: Duration::from_millis(90) };
        by_silence(&given, Some(small_loss()), None)
    };
    // The limit is 405 ms.
    assert_eq!(receives(Some(Millis(195))), vec![]);
    assert_eq!(receives(Some(Millis(194))), vec![Rule::Evidence]);
    assert_eq!(receives(None), vec![Rule::Evidence]);
}
