//! Suspended and deleted policies, and sites that are no longer named.

use bascule_core::guard::wire::ServerState;
use bascule_core::plan::DatabaseRole;
use bascule_core::record::{Fences, Phase};
use rstest::rstest;

use crate::expect::{goes_to, next, role, stays};
use crate::world::given::{Given, Lease};
use crate::world::policy::switchover;
use crate::world::record::{in_phase, steady};
use crate::world::reports::{locked, replica, waiting};
use crate::world::site;

#[rstest]
#[case::suspended(Given::at("paris").record(steady()).suspended())]
#[case::deleted(Given::at("paris").record(steady()).deleted())]
fn a_policy_that_is_let_go_becomes_unmanaged_and_its_database_keeps_its_role(#[case] given: Given) {
    let plan = given.plan();
    assert_eq!(next(&plan).phase, Phase::Unmanaged);
    assert_eq!(next(&plan).promise.fences, Fences::Never);
    assert_eq!(
        role(&plan),
        &DatabaseRole::Serve { open: true },
        "a guard that is started anew has no other role"
    );
    assert!(plan.steps.is_empty());
}

#[rstest]
#[case::suspended(Given::at("paris").suspended())]
#[case::deleted(Given::at("paris").deleted())]
#[case::not_listed({ let mut g = Given::at("paris"); g.policy = crate::world::given::Seen::NotListed; g })]
#[case::not_named(Given::at("paris").policy(|p| p.sites = vec![site("lyon"), site("milan")]))]
fn a_primary_that_restarts_without_a_policy_in_force_starts_again(#[case] given: Given) {
    let mut restarted = waiting(false);
    restarted.opened_epoch = Some(1);
    for record in [steady(), in_phase(Phase::Unmanaged)] {
        let given = given.clone().record(record).report(restarted.clone());
        assert_eq!(role(&given.plan()), &DatabaseRole::Serve { open: true });
        assert_eq!(role(&given.lease(Lease::Lapsed).plan()), &DatabaseRole::Keep, "not without a claim");
    }
}

#[rstest]
#[case::never_opened(Given::at("paris").record(steady()).report(waiting(false)))]
#[case::opened_in_an_earlier_hold(Given::at("paris").record(bascule_core::record::Record { epoch: 3, ..steady() }))]
#[case::elsewhere(Given::at("lyon").record(steady()))]
#[case::stopped_for_a_handover(Given::at("paris").record(steady()).locking().report(replica(10)))]
fn letting_a_policy_go_opens_no_database_that_was_not_open_in_this_hold(#[case] given: Given) {
    for given in [given.clone().suspended(), given.deleted()] {
        assert_eq!(role(&given.plan()), &DatabaseRole::Keep);
    }
}

#[rstest]
#[case::suspended(Given::at("lyon").record(steady()).silent("paris", 3_600_000).suspended())]
#[case::deleted(Given::at("lyon").record(steady()).silent("paris", 3_600_000).deleted())]
#[case::a_switchover(Given::at("paris").record(in_phase(Phase::Unmanaged)).suspended().moved(switchover("m", "lyon")))]
#[case::a_handover(Given::at("lyon").record(in_phase(Phase::Handover)).suspended())]
fn a_policy_that_is_let_go_starts_nothing(#[case] given: Given) {
    let plan = given.plan();
    stays(&plan);
    assert!(plan.steps.is_empty());
}

#[rstest]
#[case::suspended(Given::at("paris").record(in_phase(Phase::Handover)).report(locked(10)).suspended())]
#[case::deleted(Given::at("paris").record(in_phase(Phase::Handover)).report(locked(10)).deleted())]
fn a_switchover_that_nobody_finishes_is_rolled_back_although_the_policy_was_let_go(#[case] given: Given) {
    stays(&given.clone().for_ms(2_000).plan());
    let plan = given.for_ms(21_000).plan();
    assert_eq!(next(&plan).phase, Phase::Steady);
}

#[rstest]
#[case::suspended(Given::at("paris").record(in_phase(Phase::Offered)).report(locked(10)).suspended())]
#[case::deleted(Given::at("paris").record(in_phase(Phase::Offered)).report(locked(10)).deleted())]
fn an_offer_that_nobody_takes_is_withdrawn_although_the_policy_was_let_go(#[case] given: Given) {
    let plan = given.for_ms(31_000).plan();
    assert_eq!(next(&plan).phase, Phase::Steady);
}

#[rstest]
#[case::suspended(Given::at("paris").record(steady()).report(locked(8)).suspended())]
#[case::deleted(Given::at("paris").record(steady()).report(locked(8)).deleted())]
fn a_database_that_was_locked_for_a_rollback_is_served_again_before_the_policy_is_let_go(
    #[case] given: Given,
) {
    let plan = given.plan();
    stays(&plan);
    assert_eq!(role(&plan), &DatabaseRole::Serve { open: true });
}

#[test]
fn a_promotion_past_its_point_of_no_return_is_finished_although_the_policy_is_suspended() {
    let given = Given::at("lyon").record(in_phase(Phase::Promoting)).report(replica(10)).suspended();
    assert_eq!(role(&given.plan()), &DatabaseRole::Serve { open: true });
}

#[test]
fn a_site_that_came_back_opens_its_database_although_the_policy_is_suspended() {
    let given = Given::at("paris").record(in_phase(Phase::Returning)).report(waiting(false)).suspended();
    assert_eq!(role(&given.plan()), &DatabaseRole::Serve { open: true });
}

#[rstest]
#[case::promoting(Given::at("lyon").record(in_phase(Phase::Promoting)))]
#[case::returning(Given::at("paris").record(in_phase(Phase::Returning)))]
fn a_deleted_policy_is_let_go_from_every_phase_that_grants(#[case] given: Given) {
    assert_eq!(goes_to(&given.deleted().plan()), Some(Phase::Unmanaged));
}

#[test]
fn an_active_site_that_is_no_longer_named_keeps_its_role_and_re_claims_it() {
    let given = Given::at("paris").record(steady()).policy(|p| p.sites = vec![site("lyon"), site("milan")]);
    assert_eq!(role(&given.plan()), &DatabaseRole::Serve { open: true });
    stays(&given.plan());
    assert_eq!(goes_to(&given.lease(Lease::Regained).plan()), Some(Phase::Steady));
}

#[test]
fn an_unmanaged_hold_that_never_settled_is_managed_again_in_promoting() {
    let mut record = in_phase(Phase::Promoting);
    record.phase = Phase::Unmanaged;
    record.promise.fences = Fences::Never;
    let plan = Given::at("lyon").record(record).plan();
    assert_eq!(next(&plan).phase, Phase::Promoting);
    assert!(matches!(next(&plan).promise.fences, Fences::Within { .. }));
}

#[rstest]
#[case::as_it_is_written(true)]
#[case::as_no_version_writes_it(false)]
fn a_steady_hold_without_a_deadline_gets_its_promise_and_stays_steady(#[case] settled: bool) {
    let mut record = steady();
    record.settled = settled;
    record.promise.fences = Fences::Never;
    let plan = Given::at("paris").record(record).plan();
    assert_eq!(next(&plan).phase, Phase::Steady);
    assert_eq!(next(&plan).settled, settled);
    assert!(matches!(next(&plan).promise.fences, Fences::Within { .. }));
}

#[test]
fn while_the_policies_are_not_listed_the_role_is_re_claimed_and_nothing_else_happens() {
    let mut given = Given::at("paris").record(steady()).lease(Lease::Regained);
    given.policy = crate::world::given::Seen::NotListed;
    let plan = given.plan();
    assert_eq!(next(&plan).phase, Phase::Steady);
    assert!(plan.steps.is_empty());
    assert_eq!(role(&plan), &DatabaseRole::Keep);
}

#[test]
fn a_guard_that_is_down_for_another_reason_does_not_keep_a_policy_from_being_let_go() {
    let mut report = waiting(false);
    report.state = ServerState::Failed { reason: "no space left".to_owned(), commands: vec![] };
    let plan = Given::at("paris").record(steady()).report(report).suspended().plan();
    assert_eq!(goes_to(&plan), Some(Phase::Unmanaged));
}

#[test]
fn a_role_that_was_given_up_under_a_policy_that_is_gone_waits_for_its_taker_to_the_very_moment() {
    let given = Given::at("paris").record(in_phase(Phase::Handover)).report(locked(10)).deleted();
    let plan = given.clone().for_ms(19_000).plan();
    stays(&plan);
    assert_eq!(crate::expect::again_in(&plan), Some(1_000));
    assert_eq!(goes_to(&given.for_ms(20_000).plan()), Some(Phase::Steady));
}
