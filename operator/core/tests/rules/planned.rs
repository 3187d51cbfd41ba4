//! Switchovers.

use bascule_core::guard::wire::{ClusterState, Disk};
use bascule_core::memory::Stamp;
use bascule_core::moves::{MoveEnd, Order};
use bascule_core::observation::{Fact, FlagValue};
use bascule_core::plan::{Answer, DatabaseRole, Gate};
use bascule_core::position::{Lsn, SystemId, Timeline};
use bascule_core::record::{Cause, Fences, Phase};
use bascule_core::time::Millis;
use rstest::rstest;

use crate::expect::{again_in, answer, flag, gate, goes_to, next, role, stays};
use crate::world::given::{Given, Lease, View};
use crate::world::policy::{mv, switchover};
use crate::world::record::{STOPPED_AT, in_phase, never_fences, steady, stop_position};
use crate::world::reports::{dead, locked, primary, proof, replica};
use crate::world::{item, site};

/// Paris in `Requested`, lyon not ready yet.
fn requested() -> Given {
    Given::at("paris").record(in_phase(Phase::Requested)).flag(FlagValue::ReadWrite)
}

/// The same with lyon ready.
fn target_ready() -> Given {
    requested().facts("lyon", |f| f.ready_for = Some(10))
}

/// Paris about to stop: read-only everywhere, a checkpoint done.
fn ready_to_stop() -> Given {
    let mut report = primary(10);
    report.checkpointed = Some(10);
    target_ready().flag(FlagValue::ReadOnly).report(report)
}

/// Paris stopped and locked.
fn stopped() -> Given {
    ready_to_stop().locking().report(locked(10))
}

/// Lyon in `Handover`.
fn handover() -> Given {
    Given::at("lyon").record(in_phase(Phase::Handover)).report(proof(10))
}

#[rstest]
#[case::the_active_site(Given::at("paris").record(steady()))]
#[case::the_target(Given::at("lyon").record(steady()))]
fn any_site_that_sees_a_switchover_requests_it(#[case] given: Given) {
    let plan = given.moved(switchover("kernel", "lyon")).plan();
    let record = next(&plan);
    assert_eq!(record.phase, Phase::Requested);
    assert_eq!(record.target, Some(site("lyon")));
    assert_eq!(record.active, site("paris"));
    assert_eq!(record.doing.as_ref().unwrap().name.as_str(), "kernel");
}

#[test]
fn the_target_is_closed_only_once_its_operator_has_looked_at_its_database() {
    let open = |open| DatabaseRole::Follow { site: site("paris"), open };
    let target = |phase| Given::at("lyon").record(in_phase(phase));
    assert_eq!(role(&target(Phase::Requested).plan()), &open(false));
    let not_looked_at = |phase| {
        let mut given = target(phase);
        given.seen.databases.get_mut(&item("main")).unwrap().preflight = Fact::unknown("not looked at yet");
        given
    };
    // An operator that has just started is let in by a closed server no more than anybody else: it would never be ready.
    assert_eq!(role(&not_looked_at(Phase::Requested).plan()), &open(true));
    assert_eq!(
        role(&not_looked_at(Phase::Handover).plan()),
        &open(false),
        "nobody waits for a look any more"
    );
}

#[test]
fn users_become_read_only_only_once_the_target_is_ready() {
    assert_eq!(flag(&requested().plan()), None, "the target is not ready: nobody has to wait");
    assert_eq!(flag(&target_ready().plan()), Some(true));
}

#[test]
fn nothing_is_stopped_before_every_pod_has_seen_the_flag() {
    let mut given = ready_to_stop();
    given.seen.workloads.get_mut(&item("web")).unwrap().effective =
        Fact::now(bascule_core::observation::PodsAsked { pods: 3, read_only: 2, unknown: 1 });
    let plan = given.plan();
    assert!(!plan.lock);
    assert_eq!(answer(&plan, "readOnly"), Answer::NotYet);
}

#[test]
fn the_active_site_locks_when_everything_is_ready() {
    let plan = ready_to_stop().plan();
    assert!(plan.lock);
    assert_eq!(role(&plan), &DatabaseRole::Lock);
    stays(&plan);
}

#[test]
fn a_clean_stop_is_handed_over_with_its_exact_position() {
    let plan = stopped().plan();
    let record = next(&plan);
    assert_eq!(record.phase, Phase::Handover);
    assert_eq!(record.positions[&item("main")], stop_position());
    assert_eq!(record.epoch, 1, "the active site is still paris");
}

#[rstest]
#[case::not_clean(dead(10))]
#[case::an_older_stop({ let mut r = locked(10); r.stopped.as_mut().unwrap().serial = 5; r })]
#[case::the_disk_says_otherwise({
    let mut r = locked(10);
    if let Disk::Cluster(c) = &mut r.disk { c.state = ClusterState::InProduction; }
    r
})]
#[case::another_checkpoint({
    let mut r = locked(10);
    if let Disk::Cluster(c) = &mut r.disk { c.checkpoint = Lsn(9); }
    r
})]
fn a_stop_that_proves_nothing_is_rolled_back(#[case] report: bascule_core::guard::wire::Report) {
    let plan = stopped().report(report).plan();
    let record = next(&plan);
    assert_eq!(record.phase, Phase::Steady);
    assert_eq!(record.moves[0].end, MoveEnd::RolledBack);
}

#[test]
fn a_lock_is_confirmed_by_the_guard_and_never_inferred_from_time() {
    stays(&stopped().guard_unknown().for_ms(60_000).plan());
    stays(&stopped().report(primary(10)).for_ms(60_000).plan());
}

#[test]
fn the_target_takes_once_it_has_proved_that_it_has_everything() {
    let plan = handover().plan();
    let record = next(&plan);
    assert_eq!((record.phase.clone(), record.epoch), (Phase::Promoting, 2));
    assert_eq!(record.active, site("lyon"));
    assert!(plan.transition.as_ref().unwrap().unchanged_lease.is_none(), "the proof needs no silence");
}

#[rstest]
#[case::not_replayed(|r: &mut bascule_core::guard::wire::Report| r.positions.as_mut().unwrap().replay = Some(crate::world::record::STOPPED_AT))]
#[case::another_timeline(|r: &mut bascule_core::guard::wire::Report| r.positions.as_mut().unwrap().timeline = Some(Timeline(2)))]
#[case::timeline_unknown(|r: &mut bascule_core::guard::wire::Report| r.positions.as_mut().unwrap().timeline = None)]
#[case::another_database(|r: &mut bascule_core::guard::wire::Report| if let Disk::Cluster(c) = &mut r.disk { c.system_id = SystemId(1) })]
#[case::positions_unknown(|r: &mut bascule_core::guard::wire::Report| r.positions = None)]
fn without_the_proof_the_target_takes_nothing(#[case] change: fn(&mut bascule_core::guard::wire::Report)) {
    let mut report = proof(10);
    change(&mut report);
    stays(&handover().report(report).plan());
}

#[test]
fn a_target_whose_high_water_mark_cannot_be_written_takes_nothing() {
    let mut given = handover();
    given.seen.high_water = Fact::unknown("the ConfigMap cannot be written");
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, "marks"), Answer::Unknown);
}

/// Lyon in `Handover`, its receiver gone, `short` bytes before the checkpoint at which its source has stopped.
fn cut(short: u64) -> bascule_core::guard::wire::Report {
    let mut report = proof(10);
    if let Some(p) = &mut report.positions {
        let held = Some(Lsn(STOPPED_AT.0 - short));
        (p.receive, p.replay) = (held, held);
    }
    report
}

#[test]
fn a_target_whose_receiver_ended_before_the_stop_says_that_it_can_never_prove() {
    let said =
        |report| Given::at("lyon").record(in_phase(Phase::Handover)).report(report).plan().cannot_prove;
    assert_eq!(said(cut(0)), Some(10), "the checkpoint itself is missing");
    assert_eq!(said(cut(4096)), Some(10));
    assert_eq!(said(proof(10)), None, "it has everything");
    let mut streams = cut(4096);
    streams.positions.as_mut().unwrap().upstream = replica(10).positions.unwrap().upstream;
    assert_eq!(said(streams), None, "what was sent before the stop may still come");
    let mut unknown = cut(4096);
    let positions = unknown.positions.as_mut().unwrap();
    (positions.receive, positions.replay) = (None, None);
    assert_eq!(said(unknown), None);
    let old = |ms| {
        let mut old = cut(4096);
        old.positions.as_mut().unwrap().age = Millis(ms);
        said(old)
    };
    assert_eq!(old(1_001), None, "it was read before the source had stopped");
    assert_eq!(old(1_000), None, "it may have been");
    assert_eq!(old(999), Some(10));
}

#[test]
fn a_word_about_another_record_ends_no_handover() {
    let paris = |serial| {
        let given = Given::at("paris").record(in_phase(Phase::Handover)).report(locked(10));
        given.facts("lyon", |f| f.cannot_prove = serial).plan()
    };
    stays(&paris(None));
    stays(&paris(Some(9)));
}

#[test]
fn the_new_holder_writes_its_own_promise() {
    let mut record = never_fences(in_phase(Phase::Handover));
    record.promise.profile = "wan".to_owned();
    let plan = Given::at("lyon").record(record).report(proof(10)).plan();
    assert!(matches!(next(&plan).promise.fences, Fences::Within { .. }));
    assert_eq!(next(&plan).promise.profile, "metro");
}

#[rstest]
#[case::requested(requested().for_ms(121_000))]
#[case::handover(Given::at("paris").record(in_phase(Phase::Handover)).report(locked(10)).for_ms(21_000))]
#[case::the_end_of_the_log_is_lost(Given::at("paris").record(in_phase(Phase::Handover)).report(locked(10)).facts("lyon", |f| f.cannot_prove = Some(10)))]
#[case::aborted(requested().moved(mv("stop", Order::Abort)))]
#[case::aborted_in_handover(Given::at("paris").record(in_phase(Phase::Handover)).report(locked(10)).moved(mv("stop", Order::Abort)))]
#[case::aborted_while_locked(stopped().report(primary(10)).moved(mv("stop", Order::Abort)))]
#[case::aborted_in_handover_while_locked(Given::at("paris").record(in_phase(Phase::Handover)).locking().report(locked(10)).moved(mv("stop", Order::Abort)))]
#[case::a_blocker(requested().facts("lyon", |f| f.blockers.push(Gate::new("secret", Answer::No, "gone", "a Secret"))))]
#[case::after_a_restart(requested().lease(Lease::Regained))]
#[case::after_a_restart_in_handover(Given::at("paris").record(in_phase(Phase::Handover)).lease(Lease::Regained))]
fn before_the_point_of_no_return_any_failure_goes_back_to_steady(#[case] given: Given) {
    let plan = given.plan();
    let record = next(&plan);
    assert_eq!(record.phase, Phase::Steady);
    assert_eq!((record.epoch, record.active.clone()), (1, site("paris")));
    assert_eq!((record.target.clone(), record.doing.clone()), (None, None));
    assert!(record.positions.is_empty());
    assert!(record.moves.iter().any(|v| v.name.as_str() == "kernel"), "the Move has its verdict");
}

#[rstest]
#[case(View::Outdated)]
#[case(View::Writing)]
fn nothing_is_rolled_back_from_a_view_that_may_be_overtaken(#[case] view: View) {
    stays(&requested().for_ms(121_000).view(view).plan());
}

#[test]
fn sites_with_different_specs_do_not_switch_over() {
    let given = requested().facts("lyon", |f| {
        f.ready_for = Some(10);
        f.spec_hash = Some("spec-2".to_owned());
    });
    let plan = given.plan();
    assert_eq!(answer(&plan, "spec"), Answer::NotYet);
    assert_eq!(flag(&plan), None);
}

#[test]
fn the_target_says_for_which_serial_it_is_ready() {
    let mut report = replica(10);
    report.state = bascule_core::guard::wire::ServerState::Standby { open: false };
    let mut given = Given::at("lyon").record(in_phase(Phase::Requested)).report(report);
    assert_eq!(given.plan().ready_for, None, "its workload is not scaled yet");
    let web = crate::world::given::web(FlagValue::ReadOnly, 3);
    given.seen.workloads.insert(item("web"), web);
    assert_eq!(given.plan().ready_for, Some(10));
}

#[test]
fn a_policy_without_databases_hands_over_without_a_stop() {
    let bare = |given: Given| given.policy(|p| p.databases.clear());
    let plan = bare(ready_to_stop()).plan();
    assert!(plan.lock);
    assert_eq!(goes_to(&bare(stopped()).plan()), Some(Phase::Handover));
    assert_eq!(goes_to(&bare(handover()).plan()), Some(Phase::Promoting));
}

#[test]
fn no_other_move_touches_the_record_while_a_switchover_is_under_way() {
    for given in [requested(), ready_to_stop(), stopped(), handover()] {
        let alone = given.plan().transition;
        let later = given.moved(switchover("second", "lyon")).moved({
            let mut stale = mv("stale", Order::Resume);
            stale.epoch = Some(0);
            stale
        });
        assert_eq!(later.plan().transition, alone);
    }
}

#[test]
fn a_finished_switchover_reports_its_pause_and_is_done() {
    let mut record = in_phase(Phase::Promoting);
    record.doing = Some(crate::world::record::doing("kernel"));
    let mut t =
        crate::world::record::transition(Cause::Planned, Some(bascule_core::loss::LossBound::NOTHING));
    t.epoch = 2;
    for (name, took) in [("stop", 60), ("prove", 20)] {
        t.phases.push(bascule_core::record::PhaseTime {
            name: name.to_owned(),
            site: site("paris"),
            took: bascule_core::time::Millis(took),
        });
    }
    record.transition = Some(t);
    let plan = Given::at("lyon")
        .record(record)
        .report(primary(10))
        .verified(2)
        .flag(FlagValue::ReadWrite)
        .traffic_at("lyon", 2, 10)
        .stamped(Stamp::Promoted, 900)
        .stamped(Stamp::Opened, 880)
        .stamped(Stamp::WriteVerified, 860)
        .stamped(Stamp::TrafficMoved, 300)
        .plan();
    let record = next(&plan);
    assert_eq!(record.phase, Phase::Steady);
    assert!(record.settled);
    let pause = record.history[0].phases.iter().find(|p| p.name == "writePause").unwrap();
    assert_eq!(pause.took.0, 60 + 20 + 140);
    let flags = record.history[0].phases.iter().find(|p| p.name == "flagsOff").unwrap();
    assert_eq!(flags.took.0, 300, "from the traffic's move until the flags were seen to be off");
    assert_eq!(record.moves[0].end, MoveEnd::Done);
}

#[test]
fn the_flags_way_to_the_pods_is_measured_by_itself() {
    let plan = stopped()
        .stamped(Stamp::TargetReady, 900)
        .stamped(Stamp::ReadOnlySeen, 650)
        .stamped(Stamp::LockOrdered, 600)
        .stamped(Stamp::Stopped, 540)
        .plan();
    let phases = &next(&plan).transition.as_ref().unwrap().phases;
    let phases: Vec<(&str, u64)> = phases.iter().map(|p| (p.name.as_str(), p.took.0)).collect();
    assert_eq!(phases, [("flagsSeen", 250), ("checkpoint", 50), ("stop", 60)]);
}

#[test]
fn a_switchover_goes_on_until_its_move_s_notafter_has_passed_and_is_not_given_up_once_it_locks() {
    let until = |given: Given, seconds| {
        let mut given = given;
        let t = crate::world::record::wall().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        given.record.as_mut().unwrap().doing.as_mut().unwrap().not_after = Some(t);
        given.plan()
    };
    stays(&until(requested(), 0));
    stays(&until(requested(), 1));
    let plan = until(requested(), -1);
    assert_eq!(next(&plan).phase, Phase::Steady);
    assert_eq!(next(&plan).moves[0].message, "the Move's notAfter has passed");
    assert_eq!(goes_to(&until(stopped(), -1)), Some(Phase::Handover));
}

#[test]
fn a_switchover_that_ran_out_of_time_says_what_it_was_waiting_for() {
    let said = |given: Given| {
        let plan = given.for_ms(120_000).plan();
        next(&plan).moves[0].message.clone()
    };
    assert_eq!(said(target_ready()), "not ready within 2 m: web's flag is ReadWrite");
    // Users become read-only no sooner than the target is ready: their flag is no cause.
    for given in [requested(), requested().flag(FlagValue::ReadOnly)] {
        assert_eq!(
            said(given),
            "not ready within 2 m: targetReady: lyon gets ready (needed: lyon is ready for serial 10)"
        );
    }
    assert_eq!(
        said(target_ready().silent("lyon", 90_000)),
        "not ready within 2 m: target: lyon was last seen to renew 89.7 s ago (needed: a living target)"
    );
    let said = said(target_ready().flag(FlagValue::ReadOnly).moved(switchover("next", "lyon")));
    assert!(said.starts_with("not ready within 2 m: ") && !said.contains("targetReady"), "{said}");
}

#[test]
fn a_stop_is_judged_once_its_guard_has_locked_for_the_record_as_it_is() {
    let mut report = dead(9);
    report.stopped.as_mut().unwrap().serial = 9;
    let mut given = stopped().report(report);
    given.locking = Some(9);
    stays(&given.plan());
}

#[test]
fn a_handover_is_waited_for_until_its_very_end() {
    let given = Given::at("paris").record(in_phase(Phase::Handover)).report(locked(10));
    let plan = given.clone().for_ms(19_000).plan();
    stays(&plan);
    assert_eq!(again_in(&plan), Some(1_000));
    assert_eq!(goes_to(&given.for_ms(20_000).plan()), Some(Phase::Steady));
}

#[test]
fn a_target_that_lags_by_a_segment_at_most_keeps_the_pause_short_whatever_may_be_lost() {
    let lags = |bytes: u64| {
        let mut report = replica(10);
        report.state = bascule_core::guard::wire::ServerState::Standby { open: false };
        let positions = report.positions.as_mut().unwrap();
        positions.upstream.as_mut().unwrap().reported_end = Some(Lsn(0x2FF_0000 + bytes));
        let given = Given::at("lyon").record(in_phase(Phase::Requested)).report(report);
        let given = given.policy(|p| p.failover.max_data_loss.bytes = 0);
        gate(&given.plan(), "database/main/lag").passed()
    };
    assert!(lags(16 << 20));
    assert!(!lags((16 << 20) + 1));
}

#[test]
fn the_proof_says_where_its_replica_is_and_where_the_source_stopped() {
    let found = |given: Given| gate(&given.plan(), "proof").found.clone();
    assert_eq!(found(handover()), "main has replayed 0/30000A0, stopped at 0/3000028 on timeline 1");
    assert_eq!(
        found(handover().guard_unknown()),
        "main: replayed position unknown, stopped at 0/3000028 on timeline 1"
    );
    let mut given = handover();
    given.record.as_mut().unwrap().positions.clear();
    assert_eq!(found(given), "main: the record has no position");
}
