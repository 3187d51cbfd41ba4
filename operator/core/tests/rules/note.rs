//! Which moments have come, as they are noted before each decision.

use bascule_core::guard::wire::{Report, ServerState};
use bascule_core::memory::Stamp;
use bascule_core::observation::{Fact, PodsAsked};
use bascule_core::record::{Phase, Record};
use rstest::rstest;

use crate::world::given::{Given, moment};
use crate::world::item;
use crate::world::policy::policy_in;
use crate::world::record::{in_phase, steady};
use crate::world::reports::{dead, locked, orphan, primary, proof, replica};

fn paris() -> Given {
    Given::at("paris").record(steady())
}

fn lyon() -> Given {
    Given::at("lyon").record(steady())
}

fn requested() -> Given {
    Given::at("paris").record(in_phase(Phase::Requested)).facts("lyon", |f| f.ready_for = Some(10))
}

fn changed(mut report: Report, change: impl FnOnce(&mut Report)) -> Report {
    change(&mut report);
    report
}

fn read_only(pods: u32, read_only: u32, unknown: u32) -> Given {
    let mut given = paris().flag(bascule_core::observation::FlagValue::ReadOnly);
    given.seen.workloads.get_mut(&item("web")).unwrap().effective =
        Fact::now(PodsAsked { pods, read_only, unknown });
    given
}

#[rstest]
#[case::the_target_is_ready(requested(), Stamp::TargetReady, true)]
#[case::the_target_is_ready_for_another_record(requested().facts("lyon", |f| f.ready_for = Some(9)), Stamp::TargetReady, false)]
#[case::only_the_active_site_waits_for_a_target(
    Given::at("milan").policy(|p| *p = policy_in(&["paris", "lyon", "milan"])).record(in_phase(Phase::Requested))
        .facts("lyon", |f| f.ready_for = Some(10)), Stamp::TargetReady, false)]
#[case::the_proof_is_there(Given::at("lyon").record(in_phase(Phase::Handover)).report(proof(10)), Stamp::Proved, true)]
#[case::it_is_not(Given::at("lyon").record(in_phase(Phase::Handover)).report(orphan(10)), Stamp::Proved, false)]
#[case::the_source_proves_nothing(Given::at("paris").record(in_phase(Phase::Handover)).report(proof(10)), Stamp::Proved, false)]
#[case::nothing_is_proved_before_the_stop(
    Given::at("lyon").record(Record { positions: in_phase(Phase::Handover).positions, ..in_phase(Phase::Requested) }).report(proof(10)),
    Stamp::Proved, false)]
#[case::it_is_a_primary(paris(), Stamp::Promoted, true)]
#[case::it_is_none(paris().report(replica(10)), Stamp::Promoted, false)]
#[case::another_site_s_primary_is_no_promotion(lyon().report(primary(10)), Stamp::Promoted, false)]
#[case::it_is_open(paris(), Stamp::Opened, true)]
#[case::it_is_closed(paris().report(changed(primary(10), |r| r.state = ServerState::Primary { open: false })), Stamp::Opened, false)]
#[case::another_site_s_is_not_opened(lyon().report(primary(10)), Stamp::Opened, false)]
#[case::it_is_stable(paris(), Stamp::StableSince, true)]
#[case::a_write_is_verified(paris().verified(1), Stamp::WriteVerified, true)]
#[case::of_another_epoch(paris().verified(2), Stamp::WriteVerified, false)]
#[case::at_another_site(lyon().verified(1), Stamp::WriteVerified, false)]
#[case::every_guard_has_heard(paris(), Stamp::TimingHeard, true)]
#[case::it_has_heard_of_an_older_record(paris().report(primary(9)), Stamp::TimingHeard, false)]
#[case::it_says_nothing(paris().guard_unknown(), Stamp::TimingHeard, false)]
#[case::another_may_have_a_grant({ let mut g = paris();
    g.seen.databases.get_mut(&item("main")).unwrap().granted.insert("other".to_owned(), moment(500)); g }, Stamp::TimingHeard, false)]
#[case::another_site_s_guards_are_not_asked(lyon().report(primary(10)), Stamp::TimingHeard, false)]
#[case::traffic_is_here(paris(), Stamp::TrafficMoved, true)]
#[case::traffic_is_elsewhere(lyon(), Stamp::TrafficMoved, false)]
#[case::its_guard_is_gone(paris().guard_unknown(), Stamp::GuardGone, true)]
#[case::it_is_there(paris(), Stamp::GuardGone, false)]
#[case::another_site_s_is_nobody_s_loss(lyon().guard_unknown(), Stamp::GuardGone, false)]
#[case::it_was_asked_to_stop_and_is_down(paris().report(changed(locked(10), |r| r.sigterm = true)), Stamp::DeadSince, true)]
#[case::it_is_down_unasked(paris().report(locked(10)), Stamp::DeadSince, false)]
#[case::it_was_asked_and_still_runs(paris().report(changed(primary(10), |r| r.sigterm = true)), Stamp::DeadSince, false)]
#[case::a_copy_was_asked(lyon().report(changed(locked(10), |r| r.sigterm = true)), Stamp::DeadSince, false)]
#[case::the_lock_is_ordered(requested().locking(), Stamp::LockOrdered, true)]
#[case::it_is_not_ordered(requested(), Stamp::LockOrdered, false)]
#[case::it_stopped(requested().locking().report(locked(10)), Stamp::Stopped, true)]
#[case::it_stopped_unasked(requested().report(locked(10)), Stamp::Stopped, false)]
#[case::it_stopped_badly(requested().locking().report(dead(10)), Stamp::Stopped, false)]
#[case::it_stopped_and_did_not_lock(requested().locking().report(changed(locked(10), |r| r.locked = None)), Stamp::Stopped, false)]
#[case::it_runs_again(requested().locking().report(changed(locked(10), |r| r.state = ServerState::Starting { writer: false })), Stamp::Stopped, false)]
#[case::every_pod_has_seen_the_flag(read_only(3, 3, 0), Stamp::ReadOnlySeen, true)]
#[case::one_has_not(read_only(3, 2, 0), Stamp::ReadOnlySeen, false)]
#[case::one_did_not_answer(read_only(3, 3, 1), Stamp::ReadOnlySeen, false)]
#[case::the_flag_is_off(paris(), Stamp::ReadOnlySeen, false)]
fn a_moment_is_noted_when_it_has_come(#[case] given: Given, #[case] stamp: Stamp, #[case] come: bool) {
    assert_eq!(given.look(|s| s.memory.at(stamp).is_some()), come);
}
