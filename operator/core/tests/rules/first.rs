//! The first record.

use bascule_core::guard::wire::{ClusterState, Disk};
use bascule_core::observation::{Fact, Marks};
use bascule_core::plan::{Answer, DatabaseRole};
use bascule_core::position::{SystemId, Timeline};
use bascule_core::record::Phase;
use rstest::rstest;

use crate::expect::{gate, next, role, stays};
use crate::world::given::{Given, Lease, database, facts};
use crate::world::reports::waiting;
use crate::world::{item, site};

fn initial() -> Given {
    let mut given = Given::at("paris");
    given.seen.databases.insert(item("main"), database(waiting(false)));
    given.seen.sites.insert(site("lyon"), Fact::now(facts(&site("lyon"))));
    given
}

fn with_disk(mut given: Given, change: impl FnOnce(&mut bascule_core::guard::wire::Cluster)) -> Given {
    let mut report = waiting(false);
    if let Disk::Cluster(c) = &mut report.disk {
        change(c);
    }
    given.seen.databases.insert(item("main"), database(report));
    given
}

fn lyon_disk(given: Given, change: impl FnOnce(&mut bascule_core::guard::wire::Cluster)) -> Given {
    given.facts("lyon", |f| {
        if let Some(Disk::Cluster(c)) = f.disks.get_mut(&item("main")) {
            change(c);
        }
    })
}

#[test]
fn the_initial_site_creates_the_record_when_every_site_agrees() {
    let plan = initial().plan();
    let record = next(&plan);
    assert_eq!((record.epoch, record.serial, &record.phase), (1, 1, &Phase::Steady));
    assert_eq!(record.active, site("paris"));
    assert!(matches!(role(&plan), DatabaseRole::Wait { .. }), "no role before the record exists");
}

#[test]
fn an_empty_data_directory_at_the_other_site_will_be_cloned() {
    let given = initial().facts("lyon", |f| {
        f.disks.insert(item("main"), Disk::Empty);
    });
    assert_eq!(next(&given.plan()).phase, Phase::Steady);
}

#[rstest]
#[case::another_site(Given { me: site("lyon"), ..initial() }, "initialSite")]
#[case::suspended(initial().suspended(), "suspend")]
#[case::old_answer(initial().facts("lyon", |f| { f.answers.insert(site("paris"), 6); }), "site/lyon")]
#[case::other_spec(initial().facts("lyon", |f| f.spec_hash = Some("other".to_owned())), "site/lyon/spec")]
#[case::no_guard_there(initial().facts("lyon", |f| f.disks.clear()), "site/lyon/database/main")]
#[case::another_database(lyon_disk(initial(), |c| c.system_id = SystemId(78)), "site/lyon/database/main")]
#[case::two_primaries(lyon_disk(initial(), |c| c.standby_signal = false), "site/lyon/database/main")]
#[case::a_later_history_there(lyon_disk(initial(), |c| c.timeline = Timeline(2)), "site/lyon/database/main")]
#[case::a_replica_here(with_disk(initial(), |c| c.standby_signal = true), "database/main")]
#[case::a_replica_without_its_signal(with_disk(initial(), |c| c.state = ClusterState::ShutDownInRecovery), "database/main")]
#[case::half_rewound(with_disk(initial(), |c| c.half_rewound = true), "database/main")]
#[case::no_guard_here(initial().guard_unknown(), "database/main")]
fn no_record_is_created_and_the_reason_is_said(#[case] given: Given, #[case] name: &str) {
    let plan = given.plan();
    stays(&plan);
    assert!(!gate(&plan, name).passed(), "{}", plan.summary);
    assert!(matches!(role(&plan), DatabaseRole::Wait { .. }));
}

#[test]
fn a_site_that_remembers_a_record_never_creates_a_first_one() {
    let mut given = initial();
    given.seen.high_water = Fact::now(Marks { generation: 0, epoch: 3, serial: 40 });
    stays(&given.plan());
    given.seen.high_water = Fact::unknown("the ConfigMap cannot be read");
    let plan = given.plan();
    stays(&plan);
    assert_eq!(gate(&plan, "marks").answer, Answer::Unknown);
}

#[test]
fn a_site_without_its_lease_creates_nothing() {
    stays(&initial().lease(Lease::Lapsed).plan());
}
