//! Lost sites: who may serve reads, who may take.

use std::time::Duration;

use bascule_core::guard::wire::{Behind, ContactLost, Stopped};
use bascule_core::loss::LossBound;
use bascule_core::moves::MoveEnd;
use bascule_core::observation::{Fact, ReplicasSeen};
use bascule_core::plan::{Answer, DatabaseRole, Gate, Step};
use bascule_core::policy::{After, Replicas};
use bascule_core::position::{Lsn, Timeline};
use bascule_core::record::{Cause, Phase, PhaseTime, Record};
use bascule_core::time::Millis;
use rstest::rstest;

use crate::expect::{again_in, answer, gate, goes_to, measured, next, points_traffic, role, stays};
use crate::world::given::{Given, Lease, View};
use crate::world::policy::{database, policy_in, switchover};
use crate::world::record::{doing, finished, in_phase, never_fences, small_loss, steady};
use crate::world::reports::{locked, orphan, proof, replica, waiting};
use crate::world::{item, site};

/// As the workloads' adapter says it.
pub fn contended(what: &str) -> Gate {
    Gate::new(
        &format!("contended/web/{what}"),
        Answer::No,
        ".spec.replicas is owned by \"argocd-controller\"",
        "argocd: ignoreDifferences for /spec/replicas\nkubectl patch deployment web",
    )
}

/// Lyon, for which paris has been silent for a minute.
fn lost(record: Record) -> Given {
    let orphan = orphan(record.serial);
    Given::at("lyon").record(record).report(orphan).contact(0, 60_200).silent("paris", 60_000)
}

/// The same, and the policy promotes at once.
fn lost_at_once(record: Record) -> Given {
    lost(record).policy(|p| p.failover.promote_after = After::Elapsed(Duration::ZERO))
}

/// Lyon serves reads, and has done so for longer than `promote.after`.
fn reads_served() -> Given {
    let mut record = in_phase(Phase::ReadOnly);
    record.transition.as_mut().unwrap().loss_bound = Some(small_loss());
    lost(record).for_ms(1_900_000)
}

#[test]
fn how_long_reads_have_been_served_is_counted_by_this_process_s_own_clock() {
    let mut record = in_phase(Phase::ReadOnly);
    record.entered.at = record.entered.at.checked_sub(jiff::SignedDuration::from_hours(9)).unwrap();
    let given =
        Given::at("lyon").record(record).report(orphan(10)).contact(0, 60_200).silent("paris", 60_000);
    stays(&given.clone().plan());
    let mut given = given;
    given.unchanged = 1_801_000;
    assert_eq!(
        goes_to(&given.plan()),
        Some(Phase::Promoting),
        "and not by a wall clock that another machine read"
    );
}

#[test]
fn a_silent_site_s_reads_are_served_after_serve_reads_after() {
    let early = Given::at("lyon").record(steady()).report(orphan(10)).silent("paris", 9_000);
    stays(&early.plan());
    let plan = lost(steady()).plan();
    let record = next(&plan);
    assert_eq!(record.phase, Phase::ReadOnly);
    assert_eq!(
        (record.epoch, record.active.clone(), record.target.clone()),
        (1, site("paris"), Some(site("lyon")))
    );
    assert!(plan.transition.as_ref().unwrap().unchanged_lease.is_some(), "the lease is compared too");
}

#[rstest]
#[case::steady(steady())]
#[case::requested(in_phase(Phase::Requested))]
#[case::handover(in_phase(Phase::Handover))]
#[case::returning(in_phase(Phase::Returning))]
#[case::offered(in_phase(Phase::Offered))]
#[case::withdrawn(in_phase(Phase::Withdrawn))]
#[case::promoting(Record { active: site("paris"), ..in_phase(Phase::Promoting) })]
fn silence_permits_a_take_from_every_phase(#[case] record: Record) {
    let (epoch, phase) = (record.epoch, record.phase.clone());
    let mut given = lost_at_once(record);
    if phase == Phase::Handover {
        given = given.report(proof(10));
    }
    let plan = given.plan();
    assert_eq!(next(&plan).phase, Phase::Promoting, "from {phase}");
    assert_eq!(next(&plan).epoch, epoch + 1);
    assert_eq!(next(&plan).active, site("lyon"));
}

#[test]
fn reads_alone_may_be_served_against_a_promise_never_but_nothing_is_promoted() {
    let plan = lost_at_once(never_fences(steady())).plan();
    assert_eq!(next(&plan).phase, Phase::ReadOnly);
    assert_eq!(answer(&plan, "promise"), Answer::No);
}

#[rstest]
#[case::unmanaged(in_phase(Phase::Unmanaged))]
#[case::unknown(in_phase(Phase::Unknown("Levitating".to_owned())))]
#[case::newer_schema(Record { schema: 2, ..steady() })]
fn from_some_records_nothing_is_taken(#[case] record: Record) {
    let plan = lost_at_once(record).plan();
    stays(&plan);
    assert!(plan.steps.is_empty());
}

#[test]
fn after_promote_after_the_target_is_promoted() {
    stays(&reads_served().for_ms(1_700_000).plan());
    let plan = reads_served().plan();
    assert_eq!(next(&plan).phase, Phase::Promoting);
    assert_eq!(next(&plan).transition.as_ref().unwrap().loss_bound, Some(small_loss()));
}

#[rstest]
#[case::the_own_lease_lapsed(reads_served().lease(Lease::Lapsed))]
#[case::an_outdated_view(reads_served().view(View::Outdated))]
#[case::an_own_write_on_its_way(reads_served().view(View::Writing))]
#[case::a_site_that_lives(reads_served().silent("paris", 0))]
#[case::not_silent_for_long_enough(reads_served().silent("paris", 1_900))]
fn without_the_ballot_nothing_is_proposed(#[case] given: Given) {
    stays(&given.plan());
}

#[rstest]
#[case::held({ let mut g = reads_served(); g.record.as_mut().unwrap().hold = Some(bascule_core::record::HoldUntil {
    until: "2026-11-28T05:00:00Z".parse().unwrap(), reason: "wait for Ada".to_owned(),
    hash: bascule_core::moves::MoveHash("h".to_owned()) }); g }, "hold", Answer::No)]
#[case::cooldown({ let mut g = reads_served(); g.record.as_mut().unwrap().history = vec![finished(Cause::Planned, 2_500)]; g }, "cooldown", Answer::NotYet)]
#[case::never(reads_served().policy(|p| p.failover.promote_after = After::Never), "promote", Answer::No)]
#[case::still_delivering(reads_served().report(replica(10)), "veto", Answer::No)]
#[case::perhaps_still_delivering({
    let mut r = replica(10);
    r.positions.as_mut().unwrap().upstream.as_mut().unwrap().message_age = None;
    reads_served().report(r)
}, "veto", Answer::Unknown)]
#[case::guard_unknown(reads_served().guard_unknown(), "database/main/guard", Answer::Unknown)]
#[case::not_a_replica(reads_served().report(waiting(true)), "database/main/server", Answer::NotYet)]
#[case::preflight({ let mut g = reads_served(); g.seen.databases.get_mut(&item("main")).unwrap().preflight =
    Fact::now(vec![Gate::new("wal_level", Answer::No, "minimal", "replica")]); g }, "wal_level", Answer::No)]
#[case::contended({ let mut g = reads_served(); g.seen.workloads.get_mut(&item("web")).unwrap().blockers =
    Fact::now(vec![contended("replicas")]); g }, "contended/web/replicas", Answer::No)]
#[case::workload_unknown({ let mut g = reads_served(); g.seen.workloads.clear(); g }, "workload/web", Answer::Unknown)]
#[case::traffic_unknown({ let mut g = reads_served(); g.seen.traffic.clear(); g }, "traffic/public", Answer::Unknown)]
#[case::marks({ let mut g = reads_served(); g.seen.high_water = Fact::unknown("read-only file system"); g }, "marks", Answer::Unknown)]
#[case::loss({ let mut g = reads_served(); g.record.as_mut().unwrap().transition.as_mut().unwrap().loss_bound =
    Some(LossBound { bytes: Some(1 << 30), unseen: Some(Millis(100)) }); g }, "loss", Answer::No)]
fn nothing_is_promoted_and_the_reason_is_named(
    #[case] given: Given,
    #[case] name: &str,
    #[case] says: Answer,
) {
    let plan = given.plan();
    stays(&plan);
    assert_eq!(gate(&plan, name).answer, says, "{}", gate(&plan, name).words());
}

#[rstest]
#[case::nothing_known(|g: &mut Given| g.seen.databases.get_mut(&item("main")).unwrap().last_contact = None, LossBound { bytes: None, unseen: None })]
#[case::the_known_gap(|_: &mut Given| {}, LossBound { bytes: Some(4096), unseen: Some(Millis(5_000 + 1_550)) })]
fn the_loss_is_judged_by_what_was_known_when_contact_was_lost(
    #[case] change: fn(&mut Given),
    #[case] expected: LossBound,
) {
    let mut given = lost(steady()).contact(4096, 64_995);
    change(&mut given);
    let bound = next(&given.plan()).transition.as_ref().unwrap().loss_bound.unwrap();
    assert_eq!(bound.bytes, expected.bytes);
    let near = |a: Option<Millis>, b: Option<Millis>| match (a, b) {
        (Some(a), Some(b)) => a.0.abs_diff(b.0) <= 300,
        (a, b) => a == b,
    };
    assert!(near(bound.unseen, expected.unseen), "{bound:?}");
}

#[test]
fn a_loss_that_was_unknown_at_first_is_judged_again_from_what_the_standby_kept() {
    let mut given = reads_served().contact(0, 60_200);
    given.record.as_mut().unwrap().transition.as_mut().unwrap().loss_bound = Some(LossBound::UNKNOWN);
    assert_eq!(goes_to(&given.plan()), Some(Phase::Promoting));
}

#[test]
fn a_lag_that_the_lost_site_itself_had_said_counts_though_the_standby_knows_of_none() {
    let behind = |bytes| {
        let said = Behind { bytes, time: Some(Millis(4_000)) };
        lost_at_once(steady())
            .facts("paris", move |f| drop(f.behind.insert(item("main"), [(site("lyon"), said)].into())))
    };
    let knows_of_none = next(&lost_at_once(steady()).plan()).transition.as_ref().unwrap().loss_bound.unwrap();
    let plan = behind(4_096).plan();
    assert_eq!(next(&plan).phase, Phase::Promoting);
    let bound = next(&plan).transition.as_ref().unwrap().loss_bound.unwrap();
    assert_eq!(bound.bytes, Some(4_096));
    assert_eq!(bound.unseen, knows_of_none.unseen.map(|t| Millis(t.0 + 4_000)));
    let plan = behind(1 << 30).plan();
    assert_eq!(answer(&plan, "loss"), Answer::No);
    assert_eq!(next(&plan).phase, Phase::ReadOnly);
}

#[test]
fn a_take_from_handover_judges_loss_by_the_exact_position() {
    let given = lost_at_once(in_phase(Phase::Handover));
    let mut behind = orphan(10);
    behind.positions.as_mut().unwrap().receive = Some(bascule_core::position::Lsn(0x300_0000));
    let plan = given.clone().report(behind).plan();
    let bound = next(&plan).transition.as_ref().unwrap().loss_bound.unwrap();
    assert_eq!(bound, LossBound { bytes: Some(0x28), unseen: Some(Millis(0)) });

    let mut elsewhere = orphan(10);
    elsewhere.positions.as_mut().unwrap().timeline = Some(Timeline(2));
    let plan = given.report(elsewhere).plan();
    assert_eq!(next(&plan).phase, Phase::ReadOnly, "a position on another timeline compares with nothing");
    assert_eq!(next(&plan).transition.as_ref().unwrap().loss_bound, Some(LossBound::UNKNOWN));
}

#[rstest]
#[case::of_that_history(Some(Timeline(1)), Some(0x28))]
#[case::of_another_history(Some(Timeline(2)), None)]
#[case::of_none_that_is_known(None, None)]
fn a_replica_that_was_started_since_has_what_its_guard_has_kept(
    #[case] timeline: Option<Timeline>,
    #[case] missing: Option<u64>,
) {
    let mut started = orphan(10);
    let positions = started.positions.as_mut().unwrap();
    (positions.timeline, positions.receive) = (None, None);
    started.contact_lost = Some(ContactLost {
        timeline,
        reported_end: Some(Lsn(0x300_0000)),
        received: Some(Lsn(0x300_0000)),
        report_age: Some(Millis(50)),
        since: Some(Millis(2_000)),
    });
    let plan = lost_at_once(in_phase(Phase::Handover)).report(started).plan();
    let bound = next(&plan).transition.as_ref().unwrap().loss_bound.unwrap();
    assert_eq!((bound.bytes, bound.unseen), (missing, missing.map(|_| Millis(0))));
}

#[test]
fn a_position_of_a_switchover_proves_nothing_once_the_source_has_opened_again() {
    // Paris stopped for a switchover, was lost, came back and wrote again: the old position is worthless.
    let mut came_back = in_phase(Phase::ReadOnly);
    came_back.positions = in_phase(Phase::Handover).positions;
    let plan = Given::at("paris").record(came_back).lease(Lease::Regained).plan();
    assert_eq!(next(&plan).phase, Phase::Returning);
    assert!(next(&plan).positions.is_empty());

    let mut returning = in_phase(Phase::Returning);
    returning.positions = in_phase(Phase::Handover).positions;
    let mut given = lost_at_once(returning).report(proof(10));
    given.seen.databases.get_mut(&item("main")).unwrap().last_contact = None;
    let plan = given.plan();
    assert_eq!(next(&plan).phase, Phase::ReadOnly, "the loss is unknown: nothing is promoted");
}

#[test]
fn a_site_that_comes_back_in_time_re_claims_and_its_interrupted_switchover_has_its_verdict() {
    let mut record = in_phase(Phase::ReadOnly);
    record.doing = Some(doing("kernel"));
    let plan = Given::at("paris").record(record).lease(Lease::Regained).plan();
    let record = next(&plan);
    assert_eq!(record.phase, Phase::Returning);
    assert_eq!(record.doing, None, "or no other Move could ever start");
    assert_eq!(record.moves[0].end, MoveEnd::RolledBack);
}

#[test]
fn a_new_silence_while_returning_starts_over() {
    let plan = lost(in_phase(Phase::Returning)).plan();
    assert_eq!(next(&plan).phase, Phase::ReadOnly);
}

#[test]
fn the_target_serves_reads_and_gets_the_traffic() {
    let plan = serving(2).plan();
    assert!(points_traffic(&plan));
    assert_eq!(role(&plan), &DatabaseRole::Follow { site: site("paris"), open: true });
    assert!(!points_traffic(&serving(2).view(View::Outdated).plan()));
    assert!(!points_traffic(&serving(2).lease(Lease::Lapsed).plan()));
}

/// Lyon serves reads by two pods, so many of them ready.
fn serving(ready: u32) -> Given {
    let mut given = lost(in_phase(Phase::ReadOnly));
    given.seen.workloads.get_mut(&item("web")).unwrap().replicas =
        Fact::now(ReplicasSeen { wanted: 2, ready });
    given
}

#[test]
fn reads_are_served_by_as_many_replicas_as_writes_where_nothing_else_is_written() {
    let scaled = |given: Given| {
        given.plan().steps.iter().find_map(|s| match s {
            Step::Scale { replicas, .. } => Some(*replicas),
            _ => None,
        })
    };
    let reads = |change: fn(&mut Replicas)| {
        lost(in_phase(Phase::ReadOnly))
            .policy(|p| change(&mut p.workloads.get_mut(&item("web")).unwrap().replicas))
    };
    assert_eq!(scaled(reads(|_| {})), Some(2));
    assert_eq!(scaled(reads(|r| r.read_only = None)), Some(3), "as observed while active");
    assert_eq!(scaled(reads(|r| *r = Replicas { active: Some(5), read_only: None, ..*r })), Some(5));
    assert_eq!(scaled(reads(|r| *r = Replicas::default())), None, "the policy does not scale it");
}

#[test]
fn traffic_waits_for_a_pod_that_is_ready_to_serve_reads() {
    let plan = serving(0).plan();
    assert!(!points_traffic(&plan));
    assert_eq!(answer(&plan, "workload/web/serving"), Answer::NotYet);
    assert!(plan.look_again.is_some());
    assert!(points_traffic(&serving(1).plan()));
    assert!(points_traffic(&serving(0).for_ms(120_000).plan()), "nobody waits for ever");
}

#[test]
fn traffic_does_not_wait_long_for_what_is_not_known() {
    let unknown = |ms| {
        let mut given = lost(in_phase(Phase::ReadOnly)).for_ms(ms);
        given.seen.workloads.get_mut(&item("web")).unwrap().replicas = Fact::unknown("timed out");
        given.plan()
    };
    assert!(!points_traffic(&unknown(14_000)));
    assert_eq!(answer(&unknown(14_000), "workload/web/serving"), Answer::Unknown);
    assert!(points_traffic(&unknown(15_000)));
}

#[test]
fn a_workload_that_serves_no_reads_holds_no_traffic_back() {
    let mut given = serving(0);
    given = given.policy(|p| p.workloads.get_mut(&item("web")).unwrap().replicas.read_only = Some(0));
    assert!(points_traffic(&given.plan()));
}

/// Milan as a third site, with lyon the target of what goes on.
fn third(record: Record) -> Given {
    let three = ["paris", "lyon", "milan"];
    let mut given = Given::at("milan").policy(|p| *p = policy_in(&three));
    given = given.policy(|p| {
        p.databases.insert(item("main"), database(&three));
        p.failover.promote_after = After::Elapsed(Duration::ZERO);
    });
    let orphan = proof(record.serial);
    given.record(record).report(orphan).contact(0, 60_200).silent("paris", 60_000)
}

#[rstest]
#[case::reads(in_phase(Phase::ReadOnly))]
#[case::handover(in_phase(Phase::Handover))]
fn a_third_site_leaves_the_role_to_a_target_that_lives(#[case] record: Record) {
    let plan = third(record.clone()).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "target"), Answer::NotYet);
    assert!(third(record).silent("lyon", 60_000).plan().transition.is_some());
}

#[test]
fn a_move_in_progress_that_became_a_failover_says_so() {
    let mut record = in_phase(Phase::Requested);
    record.doing = Some(doing("kernel"));
    let plan = lost_at_once(record).plan();
    assert_eq!(next(&plan).transition.as_ref().unwrap().cause, Cause::SiteLost);
    assert_eq!(next(&plan).doing.as_ref().unwrap().name.as_str(), "kernel", "judged when it has opened");
}

#[test]
fn nothing_happens_while_every_site_lives() {
    for me in ["paris", "lyon"] {
        let plan = Given::at(me).record(steady()).plan();
        stays(&plan);
        assert_eq!(plan.steps, vec![]);
    }
}

#[test]
fn a_switchover_waits_for_a_silent_source() {
    let early = Given::at("lyon").record(steady()).silent("paris", 5_000);
    let plan = early.moved(switchover("m", "lyon")).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "move/m"), Answer::NotYet);
}

#[test]
fn an_arbiter_that_has_gone_back_in_time_is_refused() {
    let mut given = lost_at_once(steady());
    given.seen.high_water =
        Fact::now(bascule_core::observation::Marks { generation: 0, epoch: 1, serial: 11 });
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, "arbiter"), Answer::No);
    assert_eq!(role(&plan), &DatabaseRole::Keep);
}

#[rstest]
#[case::not_written_down_yet(Fact::now(bascule_core::observation::Marks { generation: 0, epoch: 1, serial: 10 }))]
#[case::cannot_be_written(Fact::unknown("the ConfigMap cannot be written"))]
fn what_was_seen_counts_as_a_mark_before_it_is_written_down(
    #[case] written: Fact<bascule_core::observation::Marks>,
) {
    let mut given = lost_at_once(steady());
    given.seen.high_water = written;
    given.seen.seen_marks = bascule_core::observation::Marks { generation: 0, epoch: 1, serial: 11 };
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, "arbiter"), Answer::No);
}

#[test]
fn a_site_that_is_not_silent_for_long_enough_is_judged_again_at_that_very_moment() {
    // It was seen to change for the last time 1_095 ms ago.
    let plan = Given::at("lyon").record(steady()).silent("paris", 1_250).plan();
    assert_eq!(again_in(&plan), Some(2_000 - 1_095));
    let plan = Given::at("lyon").record(steady()).report(orphan(10)).silent("paris", 9_000).plan();
    assert_eq!(again_in(&plan), Some(10_000 - 8_845));
}

#[test]
fn reads_wait_for_their_time_in_a_hold_that_had_been_lost_before_too() {
    stays(&lost(in_phase(Phase::Returning)).silent("paris", 5_000).contact(0, 5_200).plan());
}

#[test]
fn after_reads_are_served_the_promotion_is_decided_at_its_very_moment() {
    assert_eq!(again_in(&reads_served().for_ms(1_700_000).plan()), Some(100_000));
}

#[test]
fn the_loss_is_told_with_the_age_of_what_is_known() {
    assert_eq!(gate(&reads_served().for_ms(1_700_000).plan(), "loss").age_ms, Some(60_200));
    let mut given = reads_served();
    given.seen.databases.get_mut(&item("main")).unwrap().last_contact = None;
    assert_eq!(gate(&given.for_ms(1_700_000).plan(), "loss").age_ms, None);
}

#[test]
fn a_message_is_as_old_as_it_was_and_what_its_report_and_the_guard_s_word_have_aged_since() {
    let receives = |message| {
        let mut r = replica(10);
        let p = r.positions.as_mut().unwrap();
        p.age = Millis(120);
        p.upstream.as_mut().unwrap().message_age = Some(Millis(message));
        let mut given = reads_served();
        given.seen.databases.get_mut(&item("main")).unwrap().guard =
            Fact::Known { value: r.into(), age: Duration::from_millis(90) };
        given.plan()
    };
    // The limit is 405 ms.
    assert_eq!(goes_to(&receives(195)), Some(Phase::Promoting));
    stays(&receives(194));
    assert_eq!(gate(&receives(194), "veto").age_ms, Some(404));
}

#[rstest]
#[case::its_own(Timeline(1), true, Some(Phase::Promoting))]
#[case::its_own_that_it_may_have_lost_the_end_of(Timeline(1), false, None)]
#[case::another_one(Timeline(2), true, None)]
fn who_sends_the_log_of_a_timeline_that_only_this_copy_wrote_is_no_writer(
    #[case] timeline: Timeline,
    #[case] clean: bool,
    #[case] goes: Option<Phase>,
) {
    let mut r = replica(10);
    r.stopped = locked(10).stopped.map(|stop| Stopped { timeline: Timeline(1), clean, ..stop });
    r.positions.as_mut().unwrap().upstream.as_mut().unwrap().timeline = Some(timeline);
    assert_eq!(goes_to(&reads_served().report(r).plan()), goes);
}

#[test]
fn a_replica_that_does_not_run_is_named_once() {
    let plan = reads_served().report(waiting(true)).plan();
    assert_eq!(answer(&plan, "database/main/server"), Answer::NotYet);
    assert!(!plan.gates.iter().any(|g| g.name == "database/main/replica"));
}

#[rstest]
#[case(LossBound { bytes: Some(0), unseen: None })]
#[case(LossBound { bytes: None, unseen: Some(Millis(0)) })]
fn a_loss_of_which_half_was_known_at_first_is_judged_again(#[case] bound: LossBound) {
    let mut given = reads_served().contact(0, 60_200);
    given.record.as_mut().unwrap().transition.as_mut().unwrap().loss_bound = Some(bound);
    assert_eq!(goes_to(&given.plan()), Some(Phase::Promoting));
}

/// A part of a transition that the other site has measured.
fn part(name: &str) -> PhaseTime {
    PhaseTime { name: name.to_owned(), site: site("paris"), took: Millis(7) }
}

#[test]
fn a_take_keeps_what_was_measured_while_reads_were_served_and_begins_anew_from_any_other_phase() {
    let mut given = reads_served();
    given.record.as_mut().unwrap().transition.as_mut().unwrap().phases = vec![part("detect")];
    assert_eq!(measured(&given.plan()), [("detect", 7), ("readOnly", 1_900_000)]);
    let mut record = in_phase(Phase::Requested);
    record.transition.as_mut().unwrap().phases = vec![part("stop")];
    assert_eq!(measured(&lost_at_once(record).plan()), []);
}

#[test]
fn a_site_lives_by_the_lease_that_it_promised_when_it_is_active_and_by_this_site_s_own_otherwise() {
    let lives = |silent: &str| {
        let mut record = steady();
        record.promise.lease = Millis(8_000);
        let given = Given::at("lyon").policy(|p| *p = policy_in(&["paris", "lyon", "milan"])).record(record);
        given.silent(silent, 5_000).look(|s| s.lives(&site(silent)))
    };
    assert_eq!((lives("paris"), lives("milan")), (Some(true), Some(false)));
}

#[rstest]
#[case::as_it_was_seen((1, 1, 10), false)]
#[case::of_a_later_epoch((1, 2, 1), true)]
#[case::of_a_later_serial((1, 1, 11), true)]
#[case::of_a_later_generation((2, 0, 0), true)]
#[case::of_an_earlier_generation((0, 9, 99), false)]
fn a_record_from_before_what_was_seen_is_refused(#[case] marks: (u64, u64, u64), #[case] refused: bool) {
    let mut given = lost_at_once(Record { generation: 1, ..steady() });
    let (generation, epoch, serial) = marks;
    given.seen.high_water = Fact::now(bascule_core::observation::Marks { generation, epoch, serial });
    assert_eq!(given.plan().gates.iter().any(|g| g.name == "arbiter"), refused);
}

#[test]
fn a_cooldown_and_a_hold_end_at_their_very_moments() {
    let cooled = |ago| {
        let mut given = reads_served();
        given.record.as_mut().unwrap().history = vec![finished(Cause::Planned, ago)];
        given.unchanged = 1_900_000;
        given.plan()
    };
    assert_eq!(answer(&cooled(3_599), "cooldown"), Answer::NotYet);
    assert_eq!(goes_to(&cooled(3_600)), Some(Phase::Promoting));
    let held = |seconds| {
        let mut given = reads_served();
        let until =
            crate::world::record::wall().checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
        given.record.as_mut().unwrap().hold = Some(bascule_core::record::HoldUntil {
            until,
            reason: "x".to_owned(),
            hash: bascule_core::moves::MoveHash("h".to_owned()),
        });
        given.plan()
    };
    stays(&held(1));
    assert_eq!(goes_to(&held(0)), Some(Phase::Promoting));
    assert_eq!(goes_to(&held(-1)), Some(Phase::Promoting));
}

#[test]
fn a_running_primary_blocks_nothing_of_its_own_site_and_a_server_that_failed_does() {
    assert_eq!(Given::at("paris").record(steady()).plan().blockers, []);
    let mut report = waiting(true);
    report.state =
        bascule_core::guard::wire::ServerState::Failed { reason: "no space".to_owned(), commands: vec![] };
    let blocked = |me| Given::at(me).record(steady()).report(report.clone()).plan().blockers;
    for me in ["paris", "lyon"] {
        let gates = blocked(me);
        assert_eq!((gates[0].name.as_str(), gates[0].answer), ("database/main/server", Answer::No));
        assert_eq!(gates[0].found, "no space");
    }
    // Where nothing goes on by itself, what a person has to do is told with it.
    report.state = bascule_core::guard::wire::ServerState::Failed {
        reason: "no way back".to_owned(),
        commands: vec!["mv data data.kept".to_owned(), "# it is made anew".to_owned()],
    };
    let found = &Given::at("lyon").record(steady()).report(report).plan().blockers[0].found;
    assert_eq!(found, "no way back; to go on, in its pod: mv data data.kept; # it is made anew");
}
