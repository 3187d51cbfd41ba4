//! Several sites that could take: who goes first, and for how long the others wait.

use std::time::Duration;

use bascule_core::facts::Candidacy;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::After;
use bascule_core::position::{Lsn, Position, SystemId, Timeline};
use bascule_core::record::{Phase, PreviousHold, Record};
use rstest::rstest;

use crate::expect::{again_in, answer, goes_to, next, stays};
use crate::world::given::Given;
use crate::world::policy::policy_in;
use crate::world::record::{in_phase, steady};
use crate::world::reports::{orphan, replica};
use crate::world::{item, site};

/// Where the copies of the tests' reports stand.
const HERE: u64 = 0x2FF_0000;

/// Paris, lyon and milan, in this order; paris has just been silent for long enough.
fn three(me: &str, record: Record) -> Given {
    let given = Given::at(me).policy(|p| {
        *p = policy_in(&["paris", "lyon", "milan"]);
        p.failover.promote_after = After::Elapsed(Duration::ZERO);
    });
    let orphan = orphan(record.serial);
    given.record(record).report(orphan).contact(0, 3_200).silent("paris", 3_000)
}

/// The same, the role offered a moment ago, and everybody lives.
fn offered(me: &str) -> Given {
    let mut record = in_phase(Phase::Offered);
    record.offer.as_mut().unwrap().never_opened = false;
    record.target = None;
    let mut given = three(me, record).contact(0, 150).for_ms(200);
    given.silent.clear();
    given
}

fn says(lsn: u64, able: bool) -> Candidacy {
    let at = Position { system_id: SystemId(77), timeline: Timeline(1), lsn: Lsn(lsn) };
    Candidacy { epoch: 1, able, positions: [(item("main"), at)].into() }
}

fn heard(given: Given, name: &str, said: Candidacy) -> Given {
    given.facts(name, |f| f.candidacy = Some(said))
}

#[rstest]
#[case::lyon_has_more("milan", says(HERE + 1, true), None)]
#[case::lyon_has_as_much_and_comes_first("milan", says(HERE, true), None)]
#[case::lyon_has_less("milan", says(HERE - 1, true), Some(Phase::Promoting))]
#[case::lyon_has_more_and_cannot("milan", says(HERE + 1, false), Some(Phase::Promoting))]
#[case::lyon_spoke_of_another_hold("milan", Candidacy { epoch: 0, ..says(HERE - 1, true) }, None)]
#[case::lyon_does_not_know_what_it_has("milan", Candidacy { positions: [].into(), ..says(0, true) }, Some(Phase::Promoting))]
#[case::milan_has_more("lyon", says(HERE + 1, true), None)]
#[case::milan_has_as_much_and_comes_last("lyon", says(HERE, true), Some(Phase::Promoting))]
fn of_several_sites_the_one_that_loses_least_takes_and_of_equals_the_first(
    #[case] me: &str,
    #[case] said: Candidacy,
    #[case] goes: Option<Phase>,
) {
    let other = if me == "milan" { "lyon" } else { "milan" };
    for given in [three(me, steady()), offered(me)] {
        let plan = heard(given, other, said.clone()).plan();
        assert_eq!(goes_to(&plan), goes);
        if goes.is_none() {
            assert_eq!(answer(&plan, "turn"), Answer::NotYet);
        }
    }
}

#[test]
fn a_history_that_goes_on_is_more_than_a_longer_one_that_was_left() {
    let mut said = says(HERE - 1, true);
    said.positions.get_mut(&item("main")).unwrap().timeline = Timeline(2);
    stays(&heard(three("milan", steady()), "lyon", said).plan());
}

#[test]
fn who_lives_and_has_not_spoken_is_waited_for_as_long_as_silence_takes_and_no_longer() {
    for me in ["lyon", "milan"] {
        let plan = three(me, steady()).plan();
        stays(&plan);
        assert_eq!(answer(&plan, "turn"), Answer::NotYet);
        // Paris was seen to change for the last time 2_845 ms ago; twice L is 4 s.
        assert_eq!(again_in(&plan), Some(4_000 - 2_845));
        assert_eq!(goes_to(&three(me, steady()).silent("paris", 4_400).plan()), Some(Phase::Promoting));
    }
    let better = heard(three("milan", steady()).silent("paris", 4_400), "lyon", says(HERE + 9, true));
    assert_eq!(goes_to(&better.plan()), Some(Phase::Promoting), "whoever does not act loses its turn");
}

#[test]
fn an_offer_is_left_to_the_better_copy_for_half_its_time_at_most() {
    let at = |ms| heard(offered("milan").for_ms(ms), "lyon", says(HERE, true));
    let plan = at(1_900).plan();
    stays(&plan);
    assert_eq!(again_in(&plan), Some(100));
    assert_eq!(goes_to(&at(2_000).plan()), Some(Phase::Promoting));
    let short = |ms| at(ms).policy(|p| p.failover.offer_for = Duration::from_secs(2));
    stays(&short(900).plan());
    assert_eq!(goes_to(&short(1_000).plan()), Some(Phase::Promoting));
}

#[test]
fn nobody_waits_for_a_site_that_is_dead_or_has_said_all_year_that_it_cannot() {
    let dead = three("milan", steady()).silent("lyon", 3_000);
    assert_eq!(goes_to(&dead.plan()), Some(Phase::Promoting));
    let blocked = three("milan", steady()).facts("lyon", |f| {
        f.blockers = vec![Gate::new("database/main/disk", Answer::No, "unreadable", "a cluster")];
    });
    assert_eq!(goes_to(&blocked.plan()), Some(Phase::Promoting));
}

#[test]
fn reads_are_served_by_the_site_that_can_be_promoted_later() {
    let later = |me, said| {
        let given = three(me, steady()).policy(|p| {
            p.failover.promote_after = After::Elapsed(Duration::from_mins(1));
            p.failover.serve_reads_after = After::Elapsed(Duration::from_secs(2));
        });
        heard(given, if me == "milan" { "lyon" } else { "milan" }, said).plan()
    };
    stays(&later("lyon", says(HERE + 1, true)));
    assert_eq!(goes_to(&later("lyon", says(HERE + 1, false))), Some(Phase::ReadOnly));
    assert_eq!(next(&later("milan", says(HERE, false))).target, Some(site("milan")));
}

#[test]
fn a_site_that_serves_reads_and_cannot_be_promoted_does_not_keep_another_one_from_it() {
    let reads = |able| {
        let given = three("milan", in_phase(Phase::ReadOnly)).silent("paris", 60_000).contact(0, 60_200);
        heard(given, "lyon", says(HERE - 1, able))
    };
    stays(&reads(true).plan());
    assert_eq!(next(&reads(false).plan()).active, site("milan"));
    // Neither can: who serves reads goes on with it.
    stays(&reads(false).contact(1 << 30, 60_200).plan());
}

#[test]
fn a_role_that_is_handed_back_is_left_to_the_site_that_has_everything() {
    let given = |ms| {
        let mut given = offered("milan").for_ms(ms);
        let record = given.record.as_mut().unwrap();
        record.active = site("lyon");
        record.target = Some(site("paris"));
        record.previous = Some(PreviousHold { site: site("paris"), settled: true });
        record.offer.as_mut().unwrap().never_opened = true;
        given
    };
    let plan = given(500).plan();
    stays(&plan);
    assert_eq!(answer(&plan, "turn"), Answer::NotYet);
    assert_eq!(goes_to(&given(2_000).silent("paris", 60_000).plan()), Some(Phase::Promoting));
}

#[test]
fn a_site_says_what_it_would_bring_once_it_is_asked_and_only_where_others_could_take_too() {
    let said = |given: Given| given.plan().candidacy;
    assert_eq!(said(three("milan", steady())), Some(says(HERE, true)));
    assert_eq!(said(offered("milan")), Some(says(HERE, true)));
    assert_eq!(said(three("milan", steady()).contact(1 << 30, 3_200)), Some(says(HERE, false)));
    let mut lives = three("milan", steady());
    lives.silent.clear();
    assert_eq!(said(lives), None);
    let two = Given::at("lyon").record(steady()).report(orphan(10)).silent("paris", 60_000);
    assert_eq!(said(two), None);
    // What still comes in grows with every look.
    let vetoed = said(three("milan", steady()).report(replica(10))).unwrap();
    assert!(!vetoed.able && vetoed.positions.is_empty(), "{vetoed:?}");
}
