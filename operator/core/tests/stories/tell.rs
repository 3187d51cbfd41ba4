//! The stories.

use std::time::Duration;

use bascule_core::moves::{Move, MoveEnd, Order};
use bascule_core::policy::After;
use bascule_core::record::{Cause, Phase};

use crate::sim::Sim;
use crate::world::policy::{hold, mv, switchover};
use crate::world::site;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Reads after 3 s, promoted 20 s later, back after 10 s, no cooldown.
fn quick(p: &mut bascule_core::policy::Policy) {
    p.failover.serve_reads_after = After::Elapsed(secs(3));
    p.failover.promote_after = After::Elapsed(secs(20));
    p.failover.return_after = secs(10);
    p.failover.cooldown = secs(0);
    p.failover.offer_for = secs(15);
}

fn at_once(p: &mut bascule_core::policy::Policy) {
    quick(p);
    p.failover.promote_after = After::Elapsed(secs(0));
}

fn ends(sim: &mut Sim, active: &str, epoch: u64, phase: Phase) {
    sim.now_is("the end");
    let r = sim.record();
    assert_eq!((r.active.clone(), r.epoch, r.phase.clone()), (site(active), epoch, phase), "{}", sim.told());
}

#[test]
fn the_first_record() {
    let mut sim = Sim::new();
    sim.run(5);
    ends(&mut sim, "paris", 1, Phase::Steady);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_planned_switchover_and_the_way_back() {
    let mut sim = Sim::running(quick);
    sim.moved(switchover("to-lyon", "lyon"));
    sim.run(5);
    assert_eq!(sim.record().active, site("lyon"), "{}", sim.told());
    sim.moved(switchover("to-lyon", "lyon"));
    sim.run(3);
    sim.moved(Move { epoch: Some(2), ..switchover("back-to-paris", "paris") });
    sim.run(5);
    ends(&mut sim, "paris", 3, Phase::Steady);
    assert!(sim.record().moves.iter().all(|v| v.end == MoveEnd::Done));
    assert!(sim.record().history.iter().all(|t| t.cause == Cause::Planned));
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_lost_site_is_served_read_only_and_then_promoted_and_comes_back_as_a_replica() {
    let mut sim = Sim::running(quick);
    sim.kill("paris");
    sim.run(10);
    sim.now_is("reads only");
    sim.run(20);
    assert_eq!(sim.record().active, site("lyon"), "{}", sim.told());
    sim.revive("paris");
    sim.run(10);
    ends(&mut sim, "lyon", 2, Phase::Steady);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_lost_site_is_promoted_at_once() {
    let mut sim = Sim::running(at_once);
    sim.kill("paris");
    sim.run(8);
    ends(&mut sim, "lyon", 2, Phase::Steady);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_site_that_returns_in_time_keeps_its_role() {
    let mut sim = Sim::running(quick);
    sim.kill("paris");
    sim.run(10);
    sim.revive("paris");
    sim.run(5);
    sim.now_is("returning");
    sim.run(12);
    ends(&mut sim, "paris", 1, Phase::Steady);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_dead_database_is_offered_and_taken() {
    let mut sim = Sim::running(quick);
    sim.server_dies("paris");
    sim.run(10);
    ends(&mut sim, "lyon", 2, Phase::Steady);
    assert_eq!(sim.record().history[0].cause, Cause::DatabaseDead);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn an_offer_that_nobody_may_take_ends_in_the_site_s_own_recovery() {
    let mut sim = Sim::running(quick);
    sim.database("lyon").lagging = true;
    sim.happens("lyon receives nothing more");
    sim.policy.failover.max_data_loss.bytes = 100;
    sim.run(5);
    sim.server_dies("paris");
    sim.run(5);
    sim.now_is("offered");
    sim.run(20);
    ends(&mut sim, "paris", 1, Phase::Steady);
    assert!(sim.database("paris").writes());
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_promotion_that_fails_is_handed_back_without_loss() {
    let mut sim = Sim::running(quick);
    sim.database("lyon").cannot_promote = true;
    sim.moved(switchover("to-lyon", "lyon"));
    sim.run(70);
    ends(&mut sim, "paris", 3, Phase::Steady);
    assert_eq!(sim.record().history[0].cause, Cause::PromotionFailed);
    assert_eq!(sim.record().moves[0].end, MoveEnd::RolledBack);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_suspended_policy_is_left_alone_and_taken_up_again() {
    let mut sim = Sim::running(at_once);
    sim.happens("the policy is suspended");
    sim.policy.suspend = true;
    sim.run(3);
    sim.kill("paris");
    sim.run(30);
    sim.now_is("nobody acts");
    sim.revive("paris");
    sim.run(3);
    sim.happens("the policy is resumed");
    sim.policy.suspend = false;
    sim.run(5);
    ends(&mut sim, "paris", 1, Phase::Steady);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_primary_whose_policy_was_deleted_starts_again_with_and_without_its_operator() {
    let mut sim = Sim::running(at_once);
    sim.happens("the policy is deleted");
    sim.deleted = true;
    sim.run(3);
    sim.pod_restarts("paris");
    sim.run(1);
    assert!(sim.database("paris").writes(), "{}", sim.told());
    sim.operator_stops("paris");
    sim.pod_restarts("paris");
    sim.run(10);
    assert!(sim.database("paris").writes(), "{}", sim.told());
    assert_eq!(sim.record().phase, Phase::Unmanaged);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_database_whose_node_dies_is_withdrawn_and_waited_out_and_then_offered_and_taken() {
    let mut sim = Sim::running(quick);
    sim.policy.failover.restart_grace = secs(10);
    sim.node_dies("paris");
    sim.run(11);
    sim.now_is("withdrawn");
    sim.run(10);
    sim.node_returns("paris");
    sim.run(5);
    ends(&mut sim, "lyon", 2, Phase::Steady);
    assert_eq!(sim.record().history[0].cause, Cause::DatabaseDead);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_withdrawn_role_is_taken_back_when_the_guard_returns_in_time() {
    let mut sim = Sim::running(quick);
    sim.policy.failover.restart_grace = secs(10);
    sim.node_dies("paris");
    sim.run(11);
    sim.restart_operator("paris");
    sim.run(1);
    sim.node_returns("paris");
    sim.run(5);
    ends(&mut sim, "paris", 1, Phase::Steady);
    assert!(sim.database("paris").writes());
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_hold_keeps_a_lost_site_s_role_until_a_person_resumes() {
    let mut sim = Sim::running(quick);
    sim.moved(hold("wait", "2026-11-28T06:00:00Z".parse().unwrap()));
    sim.kill("paris");
    sim.run(60);
    sim.now_is("held");
    assert_eq!(sim.record().active, site("paris"));
    sim.moved(mv("go-on", Order::Resume));
    sim.run(5);
    ends(&mut sim, "lyon", 2, Phase::Steady);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_switchover_is_aborted_before_its_target_has_proved_anything() {
    let mut sim = Sim::running(quick);
    sim.moved(switchover("to-lyon", "lyon"));
    let database = sim.database("lyon");
    database.replays_until = Some(database.lsn);
    sim.run(2);
    sim.moved(mv("stop-it", Order::Abort));
    sim.run(5);
    ends(&mut sim, "paris", 1, Phase::Steady);
    let ends: Vec<MoveEnd> = sim.record().moves.iter().map(|v| v.end).collect();
    assert_eq!(ends, [MoveEnd::Done, MoveEnd::RolledBack]);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn a_site_that_is_lost_behind_the_loss_bound_is_not_promoted_until_a_person_accepts_it() {
    let mut sim = Sim::running(quick);
    sim.policy.failover.max_data_loss.bytes = 100;
    sim.happens("lyon receives nothing more");
    sim.database("lyon").lagging = true;
    sim.run(5);
    sim.kill("paris");
    sim.run(40);
    sim.now_is("not promoted");
    assert_eq!(sim.record().active, site("paris"));
    let accept = Order::Failover { to: site("lyon"), source_stopped: None, accept_data_loss: true };
    sim.moved(mv("go", accept));
    sim.run(5);
    ends(&mut sim, "lyon", 2, Phase::Steady);
    assert_eq!(sim.record().history[0].cause, Cause::Forced);
    insta::assert_snapshot!(sim.told());
}

#[test]
fn an_operator_that_restarts_in_the_middle_of_a_switchover_takes_the_role_back() {
    let mut sim = Sim::running(quick);
    sim.moved(switchover("to-lyon", "lyon"));
    let database = sim.database("lyon");
    database.replays_until = Some(database.lsn);
    sim.run(2);
    sim.now_is("handed over");
    assert_eq!(sim.record().phase, Phase::Handover, "{}", sim.told());
    sim.restart_operator("paris");
    sim.run(5);
    ends(&mut sim, "paris", 1, Phase::Steady);
    assert!(sim.database("paris").writes());
    insta::assert_snapshot!(sim.told());
}
