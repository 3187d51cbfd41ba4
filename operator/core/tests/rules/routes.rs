//! Traffic targets that every site has one of: its own HTTPRoute.

use std::collections::BTreeSet;

use bascule_core::memory::Stamp;
use bascule_core::observation::{Fact, TrafficAt, TrafficView};
use bascule_core::plan::{Plan, Step};
use bascule_core::policy::{Backend, HttpRoute, Traffic};
use bascule_core::record::Phase;
use rstest::rstest;

use crate::expect::points_traffic;
use crate::world::given::{Given, Lease};
use crate::world::record::{in_phase, steady};
use crate::world::{item, site};

/// The same site with an HTTPRoute in the place of the name.
fn routed(given: Given) -> Given {
    let backend = |name: &str| {
        (site(name), Backend { service: format!("web-{name}").as_str().try_into().unwrap(), port: 80 })
    };
    let route = HttpRoute {
        name: "web".try_into().unwrap(),
        rules: BTreeSet::new(),
        backends: [backend("paris"), backend("lyon")].into(),
        refuse_writes: None,
    };
    given.policy(|p| {
        p.traffic.insert(item("public"), Traffic::HttpRoute(route));
    })
}

fn pointed(plan: &Plan) -> Option<String> {
    plan.steps.iter().find_map(|s| match s {
        Step::PointTraffic { site, .. } => Some(site.to_string()),
        _ => None,
    })
}

#[rstest]
#[case::of_the_active_site(Given::at("paris").record(steady()).traffic_at("lyon", 1, 9), Some("paris"))]
#[case::of_the_active_site_as_it_shall_be(Given::at("paris").record(steady()).traffic_at("paris", 1, 9), None)]
#[case::of_a_site_that_stands_by(Given::at("lyon").record(steady()).traffic_at("lyon", 1, 9), Some("paris"))]
#[case::of_a_site_that_stands_by_as_it_shall_be(Given::at("lyon").record(steady()).traffic_at("paris", 1, 9), None)]
#[case::by_a_newer_record(Given::at("lyon").record(steady()).traffic_at("lyon", 1, 11), None)]
#[case::by_a_newer_epoch(Given::at("lyon").record(steady()).traffic_at("lyon", 2, 1), None)]
#[case::of_the_target_while_it_gets_ready(Given::at("lyon").record(in_phase(Phase::Requested)).traffic_at("lyon", 1, 1), None)]
#[case::of_the_site_that_loses_the_role(Given::at("paris").record(in_phase(Phase::Promoting)).traffic_at("paris", 1, 1), None)]
fn every_sites_own_route_leads_to_the_site_that_serves(#[case] given: Given, #[case] to: Option<&str>) {
    assert_eq!(pointed(&routed(given).plan()).as_deref(), to);
}

#[test]
fn a_name_is_pointed_by_nobody_but_the_site_that_it_leads_to() {
    assert!(!points_traffic(&Given::at("lyon").record(steady()).traffic_at("lyon", 1, 9).plan()));
}

#[test]
fn a_route_that_is_right_is_marked_with_the_new_epoch_by_whoever_stands_by() {
    let mut record = steady();
    record.epoch = 2;
    let at = |epoch| routed(Given::at("lyon").record(record.clone()).traffic_at("paris", epoch, 9)).plan();
    assert_eq!(pointed(&at(1)).as_deref(), Some("paris"));
    assert_eq!(pointed(&at(2)), None);
}

#[rstest]
#[case::without_a_lease(|g: Given| g.lease(Lease::Lapsed))]
#[case::back_after_it_was_away(|g: Given| g.lease(Lease::Regained))]
#[case::suspended(Given::suspended)]
#[case::deleted(Given::deleted)]
fn a_site_that_may_not_act_leaves_its_route_alone(#[case] but: fn(Given) -> Given) {
    let given = || routed(Given::at("lyon").record(steady()).traffic_at("lyon", 1, 9));
    assert!(points_traffic(&given().plan()));
    assert!(!points_traffic(&but(given()).plan()));
}

#[test]
fn a_route_that_is_not_known_is_left_alone() {
    let mut given = routed(Given::at("lyon").record(steady()));
    given.seen.traffic.insert(item("public"), TrafficView::default());
    assert!(!points_traffic(&given.plan()));
}

#[test]
fn a_route_whose_gateway_has_not_obeyed_yet_is_not_written_again_and_counts_as_not_moved() {
    let at = |differing: &[&str]| {
        let mut given = routed(Given::at("lyon").record(in_phase(Phase::Promoting)));
        let at = TrafficAt {
            site: Some(site("lyon")),
            serial: 10,
            epoch: 1,
            differing: differing.iter().map(|s| (*s).to_owned()).collect(),
            silent: Vec::new(),
            writes: None,
        };
        given
            .seen
            .traffic
            .insert(item("public"), TrafficView { at: Fact::now(at), blockers: Fact::now(Vec::new()) });
        given
    };
    let moved = |given: Given| given.look(|s| s.memory.at(Stamp::TrafficMoved).is_some());
    assert!(!points_traffic(&at(&["gateway public: generation 3 of 4"]).plan()));
    assert!(!moved(at(&["gateway public: generation 3 of 4"])));
    assert!(moved(at(&[])));
}
