//! What a site's own gateway does with writes.

use std::collections::BTreeSet;
use std::time::Duration;

use bascule_core::check::{Rule, check};
use bascule_core::memory::Stamp;
use bascule_core::observation::{Fact, FlagValue, TrafficAt, TrafficView, Writes};
use bascule_core::plan::{Answer, Plan, Step};
use bascule_core::policy::{Backend, HttpRoute, RefuseWrites, Traffic};
use bascule_core::record::Phase;
use rstest::rstest;

use crate::expect::{again_in, answer, flag, gate, goes_to, points_traffic};
use crate::world::given::{Given, Lease};
use crate::world::record::{in_phase, steady};
use crate::world::reports::primary;
use crate::world::{item, site};

/// An HTTPRoute with a backend in each of the three sites.
pub fn route(refuses: bool) -> Traffic {
    let backend = |name: &str| {
        (site(name), Backend { service: format!("web-{name}").as_str().try_into().unwrap(), port: 80 })
    };
    Traffic::HttpRoute(HttpRoute {
        name: "web".try_into().unwrap(),
        rules: BTreeSet::new(),
        backends: ["paris", "lyon", "milan"].map(backend).into(),
        refuse_writes: refuses
            .then(|| RefuseWrites { retry_after: Duration::from_secs(30), except_rules: BTreeSet::new() }),
    })
}

/// The same site with an HTTPRoute besides its name, whose gateway sends requests to `to` and does this with writes.
fn gateway(given: Given, to: &str, writes: Option<Writes>) -> Given {
    let (epoch, serial) = given.record.as_ref().map_or((0, 0), |r| (r.epoch, r.serial));
    let mut given = given.policy(|p| {
        p.traffic.insert(item("gateway"), route(true));
    });
    let at = TrafficAt { site: Some(site(to)), serial, epoch, writes, ..TrafficAt::default() };
    let view = TrafficView { at: Fact::now(at), blockers: Fact::now(vec![]) };
    given.seen.traffic.insert(item("gateway"), view);
    given
}

/// Whether writes are to be refused from now on, if anything is to be done about them.
fn refuses(plan: &Plan) -> Option<bool> {
    plan.steps.iter().find_map(|s| match s {
        Step::RefuseWrites { on, .. } => Some(*on),
        _ => None,
    })
}

fn requested() -> Given {
    Given::at("paris").record(in_phase(Phase::Requested)).flag(FlagValue::ReadWrite)
}

fn ready() -> Given {
    requested().facts("lyon", |f| f.ready_for = Some(10))
}

#[rstest]
#[case::while_it_writes(Given::at("paris").record(steady()), "paris", None)]
#[case::while_the_target_gets_ready(requested(), "paris", None)]
#[case::once_the_target_is_ready(ready(), "paris", Some(true))]
#[case::when_the_active_site_is_lost(Given::at("lyon").record(in_phase(Phase::ReadOnly)).silent("paris", 60_000), "lyon", Some(true))]
#[case::when_the_active_site_is_lost_before_users_are_sent_here(Given::at("lyon").record(in_phase(Phase::ReadOnly)).silent("paris", 60_000), "paris", Some(true))]
#[case::of_the_target_that_is_about_to_take(Given::at("lyon").record(in_phase(Phase::Handover)), "paris", None)]
#[case::of_the_source_that_has_stopped(Given::at("paris").record(in_phase(Phase::Handover)), "paris", Some(true))]
#[case::of_the_source_while_the_target_promotes(Given::at("paris").record(in_phase(Phase::Promoting)), "paris", Some(true))]
#[case::of_the_new_holder_before_its_first_write(Given::at("lyon").record(in_phase(Phase::Promoting)).report(primary(10)), "lyon", None)]
#[case::of_a_site_that_passes_on(Given::at("lyon").record(steady()), "paris", None)]
#[case::of_a_site_that_is_back_and_not_stable(Given::at("paris").record(in_phase(Phase::Returning)), "paris", Some(true))]
#[case::unmanaged(Given::at("paris").record(in_phase(Phase::Unmanaged)), "paris", None)]
fn writes_that_pass_are_refused(#[case] given: Given, #[case] to: &str, #[case] on: Option<bool>) {
    assert_eq!(refuses(&gateway(given, to, Some(Writes::Pass)).plan()), on);
}

#[rstest]
#[case::when_it_writes(Given::at("paris").record(steady()), "paris", Some(false))]
#[case::when_it_passes_on_to_who_writes(Given::at("lyon").record(steady()), "paris", Some(false))]
#[case::not_while_it_leads_to_a_site_that_does_not_write(Given::at("lyon").record(steady()), "lyon", None)]
#[case::not_before_a_write_is_verified(Given::at("lyon").record(in_phase(Phase::Promoting)).report(primary(10)), "lyon", None)]
#[case::not_before_users_are_here(Given::at("lyon").record(in_phase(Phase::Promoting)).report(primary(10)).verified(2).traffic_at("paris", 1, 1), "lyon", None)]
#[case::once_users_are_here(Given::at("lyon").record(in_phase(Phase::Promoting)).report(primary(10)).verified(2).traffic_at("lyon", 2, 10), "lyon", Some(false))]
#[case::not_during_a_hold(Given::at("lyon").record(in_phase(Phase::ReadOnly)).silent("paris", 60_000), "lyon", None)]
fn writes_that_are_refused_pass_again(#[case] given: Given, #[case] to: &str, #[case] on: Option<bool>) {
    let plan = gateway(given, to, Some(Writes::Refused)).plan();
    assert_eq!(refuses(&plan), on, "{:?}", plan.steps);
}

#[test]
fn where_a_gateway_leads_is_changed_before_what_it_does_with_writes() {
    let given = gateway(Given::at("lyon").record(steady()), "lyon", Some(Writes::Refused));
    let plan = given.plan();
    assert!(points_traffic(&plan));
    assert_eq!(refuses(&plan), None, "{:?}", plan.steps);
}

#[rstest]
#[case::refused_as_they_shall_be(Some(Writes::Refused), None)]
#[case::put_right(Some(Writes::Mixed("a rule is missing".to_owned())), Some(true))]
#[case::not_possible(Some(Writes::CannotRefuse("no responder".to_owned())), None)]
#[case::answered_by_nobody(Some(Writes::Lost("no grant".to_owned())), Some(false))]
#[case::not_known(None, None)]
fn what_is_found_decides_whether_anything_is_done(#[case] found: Option<Writes>, #[case] on: Option<bool>) {
    assert_eq!(refuses(&gateway(ready(), "paris", found).plan()), on);
}

#[test]
fn a_route_that_is_not_known_is_left_alone() {
    let mut given = gateway(ready(), "paris", Some(Writes::Pass));
    given.seen.traffic.insert(item("gateway"), TrafficView::default());
    assert_eq!(refuses(&given.plan()), None);
}

#[test]
fn a_site_that_is_cut_off_has_writes_refused_and_does_nothing_else_to_its_route() {
    let mut given = Given::at("paris").record(steady()).lease(Lease::Lapsed);
    given = given.report(crate::world::reports::dead(10));
    let plan = gateway(given, "paris", Some(Writes::Pass)).plan();
    assert_eq!((flag(&plan), refuses(&plan)), (Some(true), Some(true)), "{:?}", plan.steps);
    assert!(!points_traffic(&plan));

    let standby = Given::at("lyon").record(in_phase(Phase::ReadOnly)).lease(Lease::Lapsed);
    assert_eq!(refuses(&gateway(standby, "lyon", Some(Writes::Pass)).plan()), None);
    let standby = Given::at("lyon").record(steady()).lease(Lease::Lapsed);
    assert_eq!(refuses(&gateway(standby, "paris", Some(Writes::Refused)).plan()), None);
}

#[test]
fn a_policy_that_asks_for_it_no_more_takes_back_what_it_left() {
    let mut given = gateway(ready(), "paris", Some(Writes::Refused));
    given = given.policy(|p| {
        p.traffic.insert(item("gateway"), route(false));
    });
    assert_eq!(refuses(&given.plan()), Some(false));
}

/// Paris about to stop: flags seen, a checkpoint done; its gateway does this with writes.
fn about_to_stop(writes: Writes, ready_for: u64) -> Given {
    let mut report = primary(10);
    report.checkpointed = Some(10);
    let given = ready().flag(FlagValue::ReadOnly).report(report).stamped(Stamp::TargetReady, ready_for);
    gateway(given, "paris", Some(writes))
}

#[test]
fn the_stop_waits_for_gateways_that_do_not_refuse_writes_yet_and_not_for_long() {
    let plan = about_to_stop(Writes::Pass, 1_000).plan();
    assert!(!plan.lock);
    assert_eq!(answer(&plan, "writesRefused"), Answer::NotYet);
    assert!(gate(&plan, "writesRefused").found.contains("gateway: writes reach the application"));
    assert!(again_in(&plan).is_some_and(|ms| ms <= 4_000), "{:?}", again_in(&plan));
    assert!(about_to_stop(Writes::Pass, 6_000).plan().lock, "it is no fence");
    assert!(about_to_stop(Writes::Refused, 1_000).plan().lock);
    assert!(about_to_stop(Writes::CannotRefuse("no responder".to_owned()), 1_000).plan().lock);

    let mut behind = about_to_stop(Writes::Refused, 1_000);
    if let Some(TrafficView { at: Fact::Known { value, .. }, .. }) =
        behind.seen.traffic.get_mut(&item("gateway"))
    {
        value.differing = vec!["Gateway public: Accepted is of generation 3, the route's is 4".to_owned()];
    }
    assert!(!behind.plan().lock, "a gateway that has not taken it over lets them pass");
}

#[test]
fn a_transition_ends_when_no_gateway_refuses_writes_any_more_or_late() {
    let opened = |writes| {
        let given = Given::at("lyon")
            .record(in_phase(Phase::Promoting))
            .report(primary(10))
            .verified(2)
            .flag(FlagValue::ReadWrite)
            .traffic_at("lyon", 2, 10);
        gateway(given, "lyon", Some(writes))
    };
    let waits = opened(Writes::Refused).plan();
    assert_eq!(goes_to(&waits), None);
    assert!(gate(&waits, "readWrite").found.contains("gateway: writes are refused"));
    assert_eq!(goes_to(&opened(Writes::Pass).plan()), Some(Phase::Steady));
    let late = opened(Writes::Refused).stamped(Stamp::WriteVerified, 11_000);
    assert_eq!(goes_to(&late.plan()), Some(Phase::Steady));
}

/// What the second opinion says of a plan that only tells the gateway this.
fn opinion(given: &Given, on: bool, epoch: u64, serial: u64) -> Vec<Rule> {
    let step = Step::RefuseWrites { traffic: item("gateway"), on, epoch, serial };
    let plan = Plan { steps: vec![step], ..Plan::default() };
    given.look(|s| check(given.record.as_ref(), &plan, s).into_iter().map(|v| v.rule).collect())
}

#[test]
fn the_second_opinion_knows_when_a_gateway_may_be_told_what() {
    let steady_at = |me, to| gateway(Given::at(me).record(steady()), to, Some(Writes::Pass));
    assert_eq!(opinion(&steady_at("paris", "paris"), false, 1, 10), []);
    assert_eq!(opinion(&steady_at("paris", "paris"), true, 1, 10), [Rule::Flags], "it writes");
    assert_eq!(
        opinion(&steady_at("lyon", "paris"), true, 1, 10),
        [Rule::Flags],
        "it passes on to who writes"
    );
    assert_eq!(
        opinion(&steady_at("lyon", "lyon"), false, 1, 10),
        [Rule::Flags],
        "nobody writes where it leads"
    );
    assert_eq!(opinion(&steady_at("paris", "paris"), false, 1, 9), [Rule::Traffic]);
    let hold = gateway(Given::at("lyon").record(in_phase(Phase::ReadOnly)), "lyon", Some(Writes::Refused));
    assert_eq!(opinion(&hold, false, 1, 10), [Rule::Flags]);
    let lapsed = gateway(
        Given::at("lyon").record(in_phase(Phase::ReadOnly)).lease(Lease::Lapsed),
        "lyon",
        Some(Writes::Pass),
    );
    assert_eq!(opinion(&lapsed, true, 1, 10), [Rule::Lease]);
    let mut unnamed = steady_at("paris", "paris");
    unnamed = unnamed.policy(|p| {
        p.traffic.remove(&item("gateway"));
    });
    assert!(opinion(&unnamed, false, 1, 10).contains(&Rule::Named));
}
