//! What was really lost, once the old site is back.

use bascule_core::guard::wire::{Diverged, Report};
use bascule_core::observation::Fact;
use bascule_core::position::{Lsn, Timeline};
use bascule_core::record::{Cause, MeasuredLoss, Phase, Record, Transition};
use rstest::rstest;

use crate::expect::{next, stays};
use crate::world::given::{Given, Lease, View};
use crate::world::record::{finished, in_phase};
use crate::world::reports::{dead, primary};
use crate::world::{item, site};

/// What paris counted past the fork, on its old timeline.
fn diverged(timeline: u32, bytes: u64, transactions: u64) -> Diverged {
    Diverged {
        timeline: Timeline(timeline),
        fork: Lsn(1_000),
        end: Lsn(1_000 + bytes),
        bytes,
        transactions,
        path: "/data/saved/1".to_owned(),
    }
}

/// Lyon has the role since it took it from a lost paris.
fn taken(cause: Cause) -> Record {
    Record {
        phase: Phase::Steady,
        settled: true,
        transition: None,
        history: vec![finished(cause, 60)],
        ..in_phase(Phase::Promoting)
    }
}

fn serving(timeline: u32) -> Report {
    let mut report = primary(10);
    report.opened_epoch = Some(2);
    report.positions.as_mut().unwrap().timeline = Some(Timeline(timeline));
    report
}

/// Lyon on the second timeline; paris is back and has counted.
fn back(record: Record) -> Given {
    let given = Given::at("lyon").record(record).report(serving(2));
    given.facts("paris", |f| drop(f.diverged.insert(item("main"), diverged(1, 4_096, 12))))
}

#[test]
fn what_the_old_site_counted_is_written_to_the_transition_that_it_lost_by() {
    let plan = back(taken(Cause::SiteLost)).plan();
    let record = next(&plan);
    let measured = MeasuredLoss { bytes: 4_096, transactions: 12, saved: "paris:/data/saved/1".to_owned() };
    assert_eq!(record.history[0].measured_loss, Some(measured));
    assert_eq!((record.phase.clone(), record.serial), (Phase::Steady, 11));
    assert_eq!(
        plan.transition.as_ref().unwrap().why,
        "paris is back: 4096 bytes with 12 committed transactions were not in the new history; saved in paris:/data/saved/1"
    );
}

#[test]
fn the_losses_of_several_databases_are_added_up() {
    let mut given = back(taken(Cause::SiteLost)).policy(|p| {
        p.databases.insert(item("second"), crate::world::policy::database(&["paris", "lyon"]));
    });
    given.seen.databases.insert(item("second"), crate::world::given::database(serving(2)));
    let Some(Fact::Known { value, .. }) = given.seen.sites.get_mut(&site("paris")) else { panic!() };
    value.diverged.insert(item("second"), diverged(1, 4, 1));
    let measured = MeasuredLoss {
        bytes: 4_100,
        transactions: 13,
        saved: "paris:/data/saved/1, paris:/data/saved/1".to_owned(),
    };
    assert_eq!(next(&given.plan()).history[0].measured_loss, Some(measured));
}

#[rstest]
#[case::it_was_planned(back(taken(Cause::Planned)))]
#[case::it_was_the_first(back(taken(Cause::Initial)))]
#[case::it_is_measured_already(back({ let mut r = taken(Cause::SiteLost);
    r.history[0].measured_loss = Some(MeasuredLoss { bytes: 0, transactions: 0, saved: String::new() }); r }))]
#[case::it_was_this_site_s_own(back({ let mut r = taken(Cause::PromotionFailed);
    r.history[0] = Transition { from: site("lyon"), ..r.history[0].clone() }; r })
    .facts("lyon", |f| drop(f.diverged.insert(item("main"), diverged(1, 1, 1)))))]
#[case::nothing_was_counted(back(taken(Cause::SiteLost)).facts("paris", |_| {}))]
#[case::it_was_written_on_an_older_timeline(back(taken(Cause::SiteLost)).report(serving(3)))]
#[case::nothing_ever_moved(back(Record { history: vec![], ..taken(Cause::SiteLost) }))]
#[case::its_lease_has_lapsed(back(taken(Cause::SiteLost)).lease(Lease::Lapsed))]
#[case::the_record_may_have_changed(back(taken(Cause::SiteLost)).view(View::Outdated))]
#[case::an_own_write_is_on_its_way(back(taken(Cause::SiteLost)).view(View::Writing))]
fn nothing_is_measured_of_what_is_not_known_to_be_that_loss(#[case] given: Given) {
    stays(&given.plan());
}

#[test]
fn a_loss_is_not_written_while_a_database_is_being_locked() {
    let report = Report { opened_epoch: Some(2), positions: serving(2).positions, ..dead(10) };
    let plan = back(taken(Cause::SiteLost))
        .report(report)
        .policy(|p| p.failover.cooldown = std::time::Duration::ZERO)
        .plan();
    assert!(plan.lock);
    stays(&plan);
}
