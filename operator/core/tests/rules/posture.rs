//! What a site's workloads and traffic are to be.

use bascule_core::memory::Stamp;
use bascule_core::observation::{Fact, FlagValue, PodsAsked, ReplicasSeen, TrafficAt};
use bascule_core::plan::{Plan, Step};
use bascule_core::policy::Replicas;
use bascule_core::record::Phase;
use rstest::rstest;

use crate::expect::{flag, gate, goes_to, points_traffic};
use crate::world::given::{Given, Lease};
use crate::world::record::{in_phase, steady};
use crate::world::reports::primary;
use crate::world::{item, site};

fn scaled(plan: &Plan) -> Option<u32> {
    plan.steps.iter().find_map(|s| match s {
        Step::Scale { replicas, .. } => Some(*replicas),
        _ => None,
    })
}

/// Its workload runs so many pods, all of them ready.
fn runs(mut given: Given, wanted: u32) -> Given {
    given.seen.workloads.get_mut(&item("web")).unwrap().replicas =
        Fact::now(ReplicasSeen { wanted, ready: wanted });
    given
}

fn active(given: Given, active: Option<u32>) -> Given {
    given.policy(|p| {
        p.workloads.get_mut(&item("web")).unwrap().replicas =
            Replicas { active, standby: Some(0), read_only: None }
    })
}

#[rstest]
#[case::asleep(runs(Given::at("paris").record(steady()), 0), Some(3))]
#[case::as_somebody_scaled_it(runs(Given::at("paris").record(steady()), 2), None)]
#[case::as_it_is_written(active(runs(Given::at("paris").record(steady()), 5), Some(5)), None)]
#[case::not_as_it_is_written(active(runs(Given::at("paris").record(steady()), 3), Some(5)), Some(5))]
#[case::at_another_site(runs(Given::at("lyon").record(steady()), 3), Some(0))]
#[case::at_another_site_asleep(runs(Given::at("lyon").record(steady()), 0), None)]
#[case::at_the_new_holder(runs(Given::at("lyon").record(in_phase(Phase::Promoting)), 0), Some(3))]
#[case::at_the_old_one(runs(Given::at("paris").record(in_phase(Phase::Promoting)), 5), None)]
#[case::at_the_target(runs(Given::at("lyon").record(in_phase(Phase::Requested)), 0), Some(3))]
fn a_workload_has_the_size_of_its_role(#[case] given: Given, #[case] expected: Option<u32>) {
    assert_eq!(scaled(&given.plan()), expected);
}

#[rstest]
#[case::older((1, 9), true)]
#[case::the_same((1, 10), true)]
#[case::a_newer_serial((1, 11), false)]
#[case::a_newer_epoch((2, 1), false)]
fn traffic_that_is_elsewhere_by_no_newer_record_is_drawn_to_the_active_site(
    #[case] at: (u64, u64),
    #[case] drawn: bool,
) {
    assert_eq!(
        points_traffic(&Given::at("paris").record(steady()).traffic_at("lyon", at.0, at.1).plan()),
        drawn
    );
}

#[rstest]
#[case::marked_in_this_hold(2, 9, false)]
#[case::marked_by_the_holder_before(1, 9, true)]
#[case::not_marked(0, 0, true)]
#[case::by_a_newer_record(3, 1, false)]
fn addresses_that_are_right_already_are_marked_with_the_new_epoch(
    #[case] epoch: u64,
    #[case] serial: u64,
    #[case] marks: bool,
) {
    let mut record = steady();
    record.epoch = 2;
    let plan = Given::at("paris").record(record).traffic_at("paris", epoch, serial).plan();
    assert_eq!(points_traffic(&plan), marks);
}

#[rstest]
#[case::marked_before_reads_were_served_elsewhere(1, 8, true)]
#[case::marked_since(1, 10, false)]
#[case::by_a_newer_record(1, 11, false)]
fn a_site_that_has_its_role_back_marks_addresses_that_are_right_anew(
    #[case] epoch: u64,
    #[case] serial: u64,
    #[case] marks: bool,
) {
    let given =
        Given::at("paris").record(in_phase(Phase::Returning)).traffic_at("paris", epoch, serial).for_ms(100);
    assert_eq!(points_traffic(&given.plan()), marks);
}

#[test]
fn a_site_that_is_back_moves_nothing_by_the_record_from_before_it_was_away() {
    let mut reads =
        Given::at("lyon").record(in_phase(Phase::ReadOnly)).silent("paris", 60_000).traffic_at("paris", 1, 1);
    reads.seen.workloads.get_mut(&item("web")).unwrap().replicas =
        Fact::now(ReplicasSeen { wanted: 0, ready: 1 });
    let (there, back) = (reads.plan(), reads.lease(Lease::Regained).plan());
    assert!(points_traffic(&there) && scaled(&there).is_some());
    assert!(!points_traffic(&back) && scaled(&back).is_none(), "{back:?}");
}

#[rstest]
#[case::older(1, 9, None)]
#[case::the_same(1, 10, Some(11))]
#[case::newer(1, 12, Some(11))]
#[case::of_another_epoch(2, 1, None)]
fn a_mark_for_another_site_that_the_record_cannot_overtake_is_overtaken_by_a_higher_serial(
    #[case] epoch: u64,
    #[case] serial: u64,
    #[case] next: Option<u64>,
) {
    let given = Given::at("paris").record(steady()).traffic_at("lyon", epoch, serial);
    let change = given.plan().transition;
    assert_eq!(change.as_ref().map(|c| c.next.serial), next, "{change:?}");
    assert!(change.is_none_or(|c| c.next.phase == Phase::Steady && c.next.active == site("paris")));
}

#[test]
fn a_site_that_serves_reads_marks_no_addresses_that_are_right_already() {
    let mut record = in_phase(Phase::ReadOnly);
    record.epoch = 2;
    let given = Given::at("lyon").record(record).silent("paris", 60_000).traffic_at("lyon", 1, 9);
    assert!(!points_traffic(&given.plan()));
}

#[test]
fn only_traffic_for_reads_waits_for_a_pod() {
    let mut given = Given::at("paris").record(steady()).traffic_at("lyon", 1, 9);
    given.seen.workloads.get_mut(&item("web")).unwrap().replicas =
        Fact::now(ReplicasSeen { wanted: 3, ready: 0 });
    assert!(points_traffic(&given.plan()));
    let mut here =
        Given::at("lyon").record(in_phase(Phase::ReadOnly)).silent("paris", 60_000).traffic_at("lyon", 1, 10);
    here.seen.workloads.get_mut(&item("web")).unwrap().replicas =
        Fact::now(ReplicasSeen { wanted: 2, ready: 0 });
    assert!(!here.plan().gates.iter().any(|g| g.name.ends_with("/serving")), "it is here already");
}

#[test]
fn where_traffic_points_is_told_with_what_is_not_known() {
    let found = |at: Option<Fact<TrafficAt>>| {
        let mut given = Given::at("lyon").record(in_phase(Phase::Promoting)).report(primary(10)).verified(2);
        given = given.stamped(Stamp::WriteVerified, 100);
        match at {
            Some(at) => given.seen.traffic.get_mut(&item("public")).unwrap().at = at,
            None => given.seen.traffic.clear(),
        }
        gate(&given.plan(), "traffic").found.clone()
    };
    let at = |name: Option<&str>, differing: &[&str], silent: &[&str]| {
        let words = |w: &[&str]| w.iter().map(ToString::to_string).collect();
        Some(Fact::now(TrafficAt {
            site: name.map(site),
            differing: words(differing),
            silent: words(silent),
            ..TrafficAt::default()
        }))
    };
    assert_eq!(found(at(Some("paris"), &[], &[])), "public answers paris");
    assert_eq!(
        found(at(Some("paris"), &[], &["a is silent", "b too"])),
        "public answers paris (a is silent, b too)"
    );
    assert_eq!(found(at(None, &["a says lyon", "b says paris"], &[])), "public: a says lyon, b says paris");
    assert_eq!(found(Some(Fact::unknown("timed out"))), "public: timed out");
    assert_eq!(found(None), "public was not looked at yet");
}

#[test]
fn who_has_not_seen_the_read_only_flag_is_told() {
    let found = |change: fn(&mut Given)| {
        let mut given = Given::at("paris").record(in_phase(Phase::Requested)).flag(FlagValue::ReadOnly);
        given = given.facts("lyon", |f| f.ready_for = Some(10));
        change(&mut given);
        gate(&given.plan(), "readOnly").found.clone()
    };
    let seen = |g: &mut Given| {
        g.seen.workloads.get_mut(&item("web")).unwrap().effective =
            Fact::now(PodsAsked { pods: 3, read_only: 2, unknown: 1 });
    };
    assert_eq!(found(seen), "web: 2 of 3 pods have seen it, 1 did not answer");
    assert_eq!(found(|g| g.seen.workloads.clear()), "web was not looked at yet");
    assert_eq!(found(|g| *g = g.clone().policy(|p| p.workloads.clear())), "no workload has a flag");
}

#[rstest]
#[case::all_have_seen_it(FlagValue::ReadOnly, (3, 3, 0), None)]
#[case::who_does_not_answer_may_have_seen_it(FlagValue::ReadOnly, (3, 2, 1), None)]
#[case::one_has_not_seen_it(FlagValue::ReadOnly, (3, 2, 0), Some(true))]
#[case::it_is_not_set(FlagValue::ReadWrite, (3, 0, 0), Some(true))]
#[case::nobody_is_there_to_be_told(FlagValue::NoPods, (0, 0, 0), None)]
fn pods_that_have_not_seen_a_flag_are_told_again(
    #[case] flag_is: FlagValue,
    #[case] (pods, read_only, unknown): (u32, u32, u32),
    #[case] told: Option<bool>,
) {
    let mut given = Given::at("paris").record(in_phase(Phase::Handover)).flag(flag_is);
    given.seen.workloads.get_mut(&item("web")).unwrap().effective =
        Fact::now(PodsAsked { pods, read_only, unknown });
    assert_eq!(flag(&given.plan()), told);
}

#[rstest]
#[case::nobody_runs((0, 0, 0), FlagValue::NoPods)]
#[case::all_refuse((3, 3, 0), FlagValue::ReadOnly)]
#[case::all_accept((3, 0, 0), FlagValue::ReadWrite)]
#[case::they_differ((3, 1, 0), FlagValue::Other("1 of 3 pods are read-only".to_owned()))]
#[case::who_is_silent_does_not_count((3, 2, 1), FlagValue::ReadOnly)]
#[case::all_are_silent((3, 0, 3), FlagValue::Other("none of 3 pods answered".to_owned()))]
fn a_flag_that_only_pods_have_is_what_those_say_that_answer(
    #[case] (pods, read_only, unknown): (u32, u32, u32),
    #[case] found: FlagValue,
) {
    assert_eq!(PodsAsked { pods, read_only, unknown }.flag(), found);
}

#[test]
fn pods_that_still_refuse_writes_are_told_again_where_the_flag_is_off() {
    let mut given = Given::at("paris").record(steady()).flag(FlagValue::ReadWrite);
    assert_eq!(flag(&given.plan()), None);
    given.seen.workloads.get_mut(&item("web")).unwrap().effective =
        Fact::now(PodsAsked { pods: 3, read_only: 1, unknown: 0 });
    assert_eq!(flag(&given.plan()), Some(false));
}

#[test]
fn a_site_that_a_policy_no_longer_names_takes_a_role_back_that_it_was_giving_away() {
    let given = Given::at("paris").record(in_phase(Phase::Requested));
    let given = given.policy(|p| p.sites = vec![site("lyon"), site("milan")]);
    assert_eq!(goes_to(&given.plan()), Some(Phase::Steady));
}
