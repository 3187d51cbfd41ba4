//! The end of a transition, and what a site touches on the way.

use bascule_core::loss::LossBound;
use bascule_core::memory::Stamp;
use bascule_core::moves::{MoveEnd, MoveHash};
use bascule_core::observation::FlagValue;
use bascule_core::plan::Answer;
use bascule_core::record::{Cause, HoldUntil, Phase, PhaseTime, PreviousHold, Record};
use bascule_core::time::Millis;
use bascule_core::timing::Profile;
use rstest::rstest;

use crate::expect::{again_in, answer, flag, gate, goes_to, measured, next, points_traffic, stays};
use crate::world::given::{Given, Lease, View};
use crate::world::record::{doing, fences, in_phase, never_fences, steady, wall};
use crate::world::reports::{dead, primary};
use crate::world::{item, site};

/// Lyon, open and verified, with traffic and flags already there.
fn opened(record: Record) -> Given {
    let (epoch, serial) = (record.epoch, record.serial);
    Given::at("lyon")
        .record(record)
        .report(primary(serial))
        .verified(epoch)
        .flag(FlagValue::ReadWrite)
        .traffic_at("lyon", epoch, serial)
}

#[test]
fn a_transition_ends_in_steady_with_its_times_in_the_history() {
    let plan = opened(in_phase(Phase::Promoting)).plan();
    let record = next(&plan);
    assert_eq!((record.phase.clone(), record.settled), (Phase::Steady, true));
    assert_eq!(record.history[0].cause, Cause::SiteLost);
    assert!(record.transition.is_none());
}

#[test]
fn traffic_waits_for_a_verified_write_and_flags_for_traffic() {
    let started = Given::at("lyon").record(in_phase(Phase::Promoting)).report(primary(10));
    let plan = started.clone().plan();
    assert!(!points_traffic(&plan));
    assert_eq!(flag(&plan), None, "it is read-only and stays so");
    let plan = started.clone().verified(2).traffic_at("paris", 1, 1).plan();
    assert!(points_traffic(&plan));
    assert_eq!(flag(&plan), None);
    let plan = started.verified(2).traffic_at("lyon", 2, 10).plan();
    assert_eq!(flag(&plan), Some(false));
}

#[rstest]
#[case::lapsed(Lease::Lapsed)]
#[case::not_claimed_again(Lease::Regained)]
fn a_holder_that_does_not_grant_clears_no_flag_and_moves_no_traffic(#[case] lease: Lease) {
    let given = Given::at("lyon")
        .record(in_phase(Phase::Promoting))
        .report(primary(10))
        .verified(2)
        .traffic_at("paris", 1, 1)
        .stamped(Stamp::WriteVerified, 20_000)
        .stamped(Stamp::TrafficMoved, 20_000)
        .lease(lease);
    let plan = given.plan();
    assert_ne!(flag(&plan), Some(false));
    assert!(!points_traffic(&plan));
}

#[rstest]
#[case::its_database_has_stopped(cut_off().report(dead(10)), Some(true))]
#[case::its_database_goes_on_by_its_guard(cut_off().report(primary(10)), None)]
#[case::its_guard_was_not_heard_since(cut_off().guard_unknown(), None)]
fn a_site_that_is_cut_off_becomes_read_only_when_its_database_has_stopped(
    #[case] given: Given,
    #[case] expected: Option<bool>,
) {
    assert_eq!(flag(&given.plan()), expected);
}

fn cut_off() -> Given {
    Given::at("paris").record(steady()).flag(FlagValue::ReadWrite).lease(Lease::Lapsed)
}

#[test]
fn a_move_in_progress_is_judged_although_its_transition_was_lost() {
    let mut record = in_phase(Phase::Promoting);
    record.doing = Some(doing("kernel"));
    record.transition = None;
    let plan = opened(record).plan();
    assert_eq!(next(&plan).doing, None);
    assert!(next(&plan).verdict(&MoveHash("kernel".to_owned())).is_some());
}

#[test]
fn a_hold_that_has_not_ended_outlives_a_transition() {
    let held = |until: &str| {
        let mut record = in_phase(Phase::Promoting);
        record.hold = Some(HoldUntil {
            until: until.parse().unwrap(),
            reason: "x".to_owned(),
            hash: MoveHash("h".to_owned()),
        });
        next(&opened(record).plan()).hold.is_some()
    };
    assert!(held("2026-11-28T05:00:00Z"));
    assert!(!held("2026-11-28T02:00:00Z"));
}

#[test]
fn a_returned_site_gets_its_traffic_back_when_it_was_stable_long_enough() {
    let given = Given::at("paris")
        .record(in_phase(Phase::Returning))
        .flag(FlagValue::ReadOnly)
        .traffic_at("lyon", 1, 9);
    let plan = given.clone().stamped(Stamp::StableSince, 59_000).plan();
    stays(&plan);
    assert!(!points_traffic(&plan));
    let plan = given.clone().stamped(Stamp::StableSince, 61_000).plan();
    assert!(points_traffic(&plan));
    assert_eq!(flag(&plan), None, "flags stay on until it is steady");
    let plan = given.traffic_at("paris", 1, 10).stamped(Stamp::StableSince, 61_000).plan();
    assert_eq!(goes_to(&plan), Some(Phase::Steady));
    assert_eq!(next(&plan).target, None);
}

#[test]
fn a_returned_hold_that_never_settled_goes_on_promoting_with_a_transition_to_finish() {
    let mut record = in_phase(Phase::Returning);
    record.settled = false;
    record.doing = Some(doing("kernel"));
    let given = Given::at("paris").record(record).stamped(Stamp::StableSince, 61_000);
    let plan = given.plan();
    assert_eq!(next(&plan).phase, Phase::Promoting);
    assert!(next(&plan).transition.is_some(), "or the Move in progress would never end");
}

#[test]
fn a_new_promise_is_written_by_a_site_that_grants_and_sees_the_record_as_it_is() {
    let mut record = steady();
    record.promise.profile = "wan".to_owned();
    let given = Given::at("paris").record(record).for_ms(60_000);
    assert_eq!(next(&given.plan()).promise.profile, "metro");
    stays(&given.clone().lease(Lease::Lapsed).plan());
    stays(&given.clone().view(View::Outdated).plan());
    stays(&given.view(View::Writing).plan());
}

#[test]
fn a_stronger_promise_waits_until_old_grants_have_run_out() {
    let mut record = steady();
    record.promise.fences =
        bascule_core::record::Fences::Within { holder: Millis(5_000), fence: Millis(1_000) };
    let given = Given::at("paris").record(record).for_ms(60_000);
    stays(&given.clone().stamped(Stamp::TimingHeard, 5_500).plan());
    stays(&given.clone().guard_unknown().plan());
    let mut deaf = primary(9);
    deaf.serial = 9;
    let plan = given.clone().report(deaf).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "timing"), Answer::NotYet, "its guard may still go by the longer timing");
    assert!(given.stamped(Stamp::TimingHeard, 6_500).plan().transition.is_some());
    assert_eq!(Profile::Metro.timing().holder.0, 1_250);
}

#[test]
fn a_weaker_promise_is_written_before_anybody_behaves_by_it() {
    let mut record = steady();
    record.promise.fences =
        bascule_core::record::Fences::Within { holder: Millis(1_000), fence: Millis(300) };
    record.promise.lease = Millis(1_800);
    assert_eq!(next(&Given::at("paris").record(record).guard_unknown().plan()).promise, fences());
}

#[rstest]
#[case::steady(never_fences(steady()))]
#[case::unmanaged(in_phase(Phase::Unmanaged))]
fn a_promise_never_is_strengthened_only_when_every_guard_has_a_deadline(#[case] record: Record) {
    let mut unlimited = primary(10);
    unlimited.unlimited = true;
    let given = Given::at("paris").record(record).for_ms(60_000);
    stays(&given.clone().report(unlimited).plan());
    stays(&given.clone().guard_unknown().plan());
    stays(&given.clone().view(View::Outdated).plan());
    assert!(given.plan().transition.is_some());
}

#[test]
fn the_verdict_of_a_planned_move_is_done_and_of_any_other_that_it_became_a_failover() {
    for (cause, end) in [
        (Cause::Planned, MoveEnd::Done),
        (Cause::Forced, MoveEnd::Done),
        (Cause::SiteLost, MoveEnd::BecameFailover),
    ] {
        let mut record = in_phase(Phase::Promoting);
        record.doing = Some(doing("kernel"));
        record.transition.as_mut().unwrap().cause = cause;
        assert_eq!(next(&opened(record).plan()).moves[0].end, end);
    }
}

#[test]
fn what_a_transition_waits_for_is_passed_as_soon_as_it_is_there() {
    let plan = opened(in_phase(Phase::Promoting)).plan();
    assert!(gate(&plan, "traffic").passed() && gate(&plan, "readWrite").passed());
}

/// Lyon, open and verified so long ago; neither traffic nor flags have followed.
fn verified_for(ms: u64) -> Given {
    let mut given = opened(in_phase(Phase::Promoting)).flag(FlagValue::ReadOnly).traffic_at("paris", 1, 1);
    given = given.for_ms(60_000);
    given
        .stamped(Stamp::Promoted, ms + 300)
        .stamped(Stamp::Opened, ms + 200)
        .stamped(Stamp::WriteVerified, ms)
}

#[test]
fn traffic_and_flags_are_waited_for_ten_seconds_after_the_write_and_no_longer() {
    let plan = verified_for(9_000).plan();
    stays(&plan);
    assert_eq!(again_in(&plan), Some(1_000));
    assert_eq!((answer(&plan, "traffic"), answer(&plan, "readWrite")), (Answer::NotYet, Answer::NotYet));
    let plan = verified_for(10_000).plan();
    assert_eq!(goes_to(&plan), Some(Phase::Steady));
    assert!(gate(&plan, "traffic").passed() && gate(&plan, "readWrite").passed());
}

#[test]
fn traffic_alone_or_flags_alone_do_not_end_a_transition() {
    stays(&verified_for(6_000).flag(FlagValue::ReadWrite).plan());
    stays(&verified_for(6_000).traffic_at("lyon", 2, 10).plan());
}

#[test]
fn a_transition_s_times_add_up_and_only_what_was_seen_is_among_them() {
    let mut done = verified_for(4_000).flag(FlagValue::ReadWrite).traffic_at("lyon", 2, 10);
    done = done.stamped(Stamp::TrafficMoved, 3_000);
    let plan = done.clone().plan();
    let parts =
        [("promote", 55_700), ("open", 100), ("verify", 200), ("traffic", 1_000), ("flagsOff", 3_000)];
    assert_eq!(measured(&plan), parts);
    let plan = done.policy(|p| p.workloads.get_mut(&item("web")).unwrap().read_only = None).plan();
    assert_eq!(measured(&plan).last(), Some(&("traffic", 1_000)), "no workload has a flag");
    let plan = verified_for(10_000).plan();
    assert_eq!(measured(&plan).last(), Some(&("verify", 200)), "traffic and flags did not follow in time");
}

#[test]
fn the_write_pause_of_a_switchover_is_its_stop_its_proof_and_the_way_to_a_verified_write() {
    let switched = |cause, names: &[(&str, u64)]| {
        let mut record = in_phase(Phase::Promoting);
        let t = record.transition.as_mut().unwrap();
        t.cause = cause;
        let part = |(name, ms): &(&str, u64)| PhaseTime {
            name: (*name).to_owned(),
            site: site("paris"),
            took: Millis(*ms),
        };
        t.phases = names.iter().map(part).collect();
        let given = opened(record).for_ms(900).stamped(Stamp::WriteVerified, 500);
        let plan = given.plan();
        let pause = measured(&plan).iter().find(|(name, _)| *name == "writePause").map(|(_, ms)| *ms);
        (pause, plan.transition.unwrap().why)
    };
    let (pause, why) = switched(Cause::Planned, &[("stop", 300), ("prove", 20)]);
    assert_eq!(pause, Some(300 + 20 + 400));
    assert!(why.contains("database pause 720 ms"), "{why}");
    let (pause, why) = switched(Cause::Planned, &[("stop", 300)]);
    assert_eq!(pause, None, "its proof was not measured");
    assert!(!why.contains("pause"), "{why}");
    assert_eq!(switched(Cause::SiteLost, &[("stop", 300), ("prove", 20)]).0, None);
}

#[test]
fn a_hold_ends_at_its_very_moment() {
    let mut record = in_phase(Phase::Promoting);
    record.hold = Some(HoldUntil { until: wall(), reason: "x".to_owned(), hash: MoveHash("h".to_owned()) });
    assert_eq!(next(&opened(record).plan()).hold, None);
}

#[test]
fn a_returned_site_is_stable_at_its_very_moment_and_its_traffic_is_waited_for_ten_seconds() {
    let given = |ago| {
        let given = Given::at("paris").record(in_phase(Phase::Returning)).flag(FlagValue::ReadOnly);
        given.traffic_at("lyon", 1, 9).stamped(Stamp::StableSince, ago).plan()
    };
    assert_eq!(again_in(&given(59_000)), Some(1_000));
    assert_eq!(answer(&given(59_000), "stable"), Answer::NotYet);
    let plan = given(60_000);
    assert!(points_traffic(&plan) && gate(&plan, "stable").passed());
    assert_eq!((again_in(&plan), answer(&plan, "traffic")), (Some(10_000), Answer::NotYet));
    stays(&plan);
    let plan = given(70_000);
    assert_eq!(goes_to(&plan), Some(Phase::Steady));
    assert!(gate(&plan, "traffic").passed());
    assert_eq!(next(&plan).transition, None, "it ended with the silence");
}

#[rstest]
#[case::a_switchover(Some("kernel"), Cause::Planned)]
#[case::a_failover(None, Cause::SiteLost)]
fn a_transition_that_a_silence_interrupted_is_finished_with_what_is_still_known_of_it(
    #[case] order: Option<&str>,
    #[case] cause: Cause,
) {
    let mut record = in_phase(Phase::Returning);
    record.settled = false;
    record.doing = order.map(doing);
    record.previous = Some(PreviousHold { site: site("lyon"), settled: true });
    let plan = Given::at("paris").record(record).stamped(Stamp::StableSince, 61_000).plan();
    let t = next(&plan).transition.as_ref().unwrap();
    assert_eq!((t.cause, t.from.as_str(), t.to.as_str()), (cause, "lyon", "paris"));
    assert_eq!(t.loss_bound, Some(LossBound::UNKNOWN));
}

#[test]
fn a_site_that_came_back_and_whose_database_died_locks_it_before_it_gets_anything_back() {
    let given =
        Given::at("paris").record(in_phase(Phase::Returning)).report(dead(10)).traffic_at("paris", 1, 10);
    let plan = given.stamped(Stamp::StableSince, 61_000).plan();
    assert!(plan.lock);
    stays(&plan);
}

#[test]
fn a_site_that_came_back_gets_nothing_back_while_its_guards_are_ordered_to_lock() {
    let given = Given::at("paris").record(in_phase(Phase::Returning)).report(primary(10)).locking();
    let plan = given.traffic_at("paris", 1, 10).stamped(Stamp::StableSince, 61_000).plan();
    assert!(plan.lock);
    stays(&plan);
}

#[test]
fn a_re_claim_forgets_a_target_only_of_what_is_over() {
    let reclaimed = |record: Record| {
        let given = Given::at("paris").record(record).lease(Lease::Regained);
        next(&given.plan()).target.clone()
    };
    assert_eq!(reclaimed(Record { target: Some(site("lyon")), ..steady() }), None);
    assert_eq!(reclaimed(in_phase(Phase::Returning)), Some(site("lyon")));
}

#[test]
fn a_site_that_was_only_slow_takes_its_role_back_from_reads_although_its_lease_never_lapsed() {
    let plan = Given::at("paris").record(in_phase(Phase::ReadOnly)).plan();
    assert_eq!(goes_to(&plan), Some(Phase::Returning));
    assert_eq!(plan.transition.unwrap().why, "paris came back while lyon served reads");
}

/// Paris in `Steady` under a promise of 5 s and 1 s, and a lease of 8 s; its installation is set to less.
fn promised_longer() -> Record {
    let mut record = steady();
    record.promise.fences =
        bascule_core::record::Fences::Within { holder: Millis(5_000), fence: Millis(1_000) };
    record.promise.lease = Millis(8_000);
    record
}

#[rstest]
#[case::the_holder_s(|r: &mut Record| r.promise.fences = bascule_core::record::Fences::Within { holder: Millis(1_251), fence: Millis(300) })]
#[case::the_fence_s(|r: &mut Record| r.promise.fences = bascule_core::record::Fences::Within { holder: Millis(1_250), fence: Millis(301) })]
#[case::the_lease_s(|r: &mut Record| r.promise.lease = Millis(2_001))]
fn each_time_of_a_promise_is_shortened_only_after_it_was_heard_of(#[case] change: fn(&mut Record)) {
    let mut record = steady();
    change(&mut record);
    let given = Given::at("paris").record(record).report(primary(9)).for_ms(60_000);
    let plan = given.plan();
    stays(&plan);
    assert_eq!(answer(&plan, "timing"), Answer::NotYet);
}

#[test]
fn a_shorter_promise_waits_for_the_old_one_and_a_late_process_to_the_very_moment() {
    let heard =
        |ago| Given::at("paris").record(promised_longer()).for_ms(60_000).stamped(Stamp::TimingHeard, ago);
    let plan = heard(6_000).plan();
    stays(&plan);
    assert_eq!(again_in(&plan), Some(200));
    assert!(heard(6_200).plan().transition.is_some());
}

#[test]
fn no_promise_is_written_while_a_database_is_being_locked() {
    let mut record = steady();
    record.promise.profile = "wan".to_owned();
    let plan = Given::at("paris").record(record).report(dead(10)).for_ms(60_000).plan();
    assert!(plan.lock);
    stays(&plan);
}

#[test]
fn flags_wait_for_traffic_five_seconds_after_the_write_and_no_longer() {
    let given = |ago| verified_for(ago).traffic_at("paris", 1, 1).plan();
    let plan = given(2_000);
    assert_eq!((flag(&plan), again_in(&plan)), (None, Some(3_000)));
    assert_eq!(flag(&given(4_999)), None);
    assert_eq!(flag(&given(5_000)), Some(false));
}

#[test]
fn a_site_that_is_not_active_refuses_writes() {
    assert_eq!(flag(&Given::at("lyon").record(steady()).flag(FlagValue::ReadWrite).plan()), Some(true));
}

#[test]
fn a_site_that_is_cut_off_becomes_read_only_once_its_guard_must_have_stopped_the_server() {
    let cut = |back| {
        let mut given = cut_off().report(dead(10));
        given.installation.timing.holder = Millis(2_500);
        given.installation.timing.fence = Millis(500);
        given.back = back;
        flag(&given.plan())
    };
    assert_eq!((cut(0), cut(1)), (None, Some(true)));
}
