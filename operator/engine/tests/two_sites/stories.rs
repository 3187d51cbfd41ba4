//! The engine's glue carries the stories to their end.

use std::collections::BTreeSet;
use std::time::Duration;

use bascule_core::guard::wire::ServerState;
use bascule_core::moves::MoveEnd;
use bascule_core::name::SiteName;
use bascule_core::policy::After;
use bascule_core::record::Phase;

use crate::world::{World, policy, site, switchover};

#[test]
fn two_sites_agree_on_the_first_record_and_the_initial_site_opens() {
    let mut w = World::new(&policy(After::Never));
    w.until("paris opens and lyon follows", 10, |w| w.settled("paris", 1));
    w.until("lyon follows", 5, |w| {
        matches!(w.places[&site("lyon")].server.state, ServerState::Standby { .. })
    });
    let quiet = w.record.clone();
    w.run(10_000);
    assert_eq!(w.record, quiet, "a quiet fleet writes nothing");
}

#[test]
fn a_move_takes_the_role_over_and_the_same_move_again_does_nothing() {
    let mut w = World::new(&policy(After::Never));
    w.until("paris opens", 10, |w| w.settled("paris", 1));
    w.run(1_000);
    let mv = switchover("to-lyon", "paris", "lyon", 1);
    w.moves(std::slice::from_ref(&mv));
    w.until("lyon opens", 20, |w| w.settled("lyon", 2));
    let verdicts: Vec<MoveEnd> = w.record.as_ref().unwrap().0.moves.iter().map(|v| v.end).collect();
    assert_eq!(verdicts, [MoveEnd::Done]);
    w.moves(&[]);
    w.run(500);
    let before = w.record.clone();
    w.moves(&[mv]);
    w.run(5_000);
    assert_eq!(w.record, before);
    w.moves(&[switchover("back", "lyon", "paris", 2)]);
    w.until("paris opens again", 20, |w| w.settled("paris", 3));
}

#[test]
fn a_dead_site_is_read_only_elsewhere_first_and_then_replaced_for_good() {
    let mut w = World::new(&policy(After::Elapsed(Duration::from_secs(3))));
    w.until("paris opens", 10, |w| w.settled("paris", 1));
    w.run(3_000);
    w.kill("paris");
    let silent = w.until("lyon serves reads", 6, |w| w.is(&Phase::ReadOnly, "paris", 1));
    assert!(silent >= Duration::from_secs(2), "not before L: {silent:?}");
    w.until("traffic goes to lyon", 3, |w| w.traffic.0 == site("lyon"));
    w.until("lyon is promoted", 10, |w| w.is(&Phase::Steady, "lyon", 2) && w.open("lyon"));
    w.boot("paris");
    w.until("paris follows", 10, |w| {
        matches!(w.places[&site("paris")].server.state, ServerState::Standby { .. })
    });
    w.run(5_000);
    assert!(w.settled("lyon", 2));
}

#[test]
fn with_promote_after_zero_a_dead_site_is_replaced_after_l_without_serving_reads_first() {
    let mut policy = policy(After::Elapsed(Duration::ZERO));
    policy.failover.serve_reads_after = After::Elapsed(Duration::from_secs(20));
    let mut w = World::new(&policy);
    w.until("paris opens", 10, |w| w.settled("paris", 1));
    w.run(3_000);
    w.kill("paris");
    let took = w.until("lyon opens", 4, |w| w.open("lyon"));
    assert!(took >= Duration::from_secs(2), "not before L: {took:?}");
    assert!(!w.story.iter().any(|line| line.contains("serves reads;")), "{}", w.story.join("\n"));
}

#[test]
fn what_another_process_of_the_site_wrote_down_meanwhile_is_read_before_a_role_is_taken() {
    let mut w = World::new(&policy(After::Elapsed(Duration::ZERO)));
    w.until("paris opens", 10, |w| w.settled("paris", 1));
    w.run(3_000);
    let kept = w.marks.get_mut(&site("lyon")).and_then(|all| all.values_mut().next()).unwrap();
    kept.marks.epoch = 2;
    w.kill("paris");
    w.run(6_000);
    assert!(w.is(&Phase::Steady, "paris", 1), "{:?}", w.phase());
    let refused = |w: &World| w.story.iter().any(|line| line.contains("gone back in time: epoch 1"));
    assert!(refused(&w), "{}", w.story.join("\n"));
}

#[test]
fn a_site_that_comes_back_during_read_only_takes_its_role_back() {
    let mut w = World::new(&policy(After::Elapsed(Duration::from_mins(5))));
    w.until("paris opens", 10, |w| w.settled("paris", 1));
    w.run(3_000);
    w.kill("paris");
    w.until("lyon serves reads", 6, |w| w.is(&Phase::ReadOnly, "paris", 1));
    w.run(2_000);
    w.boot("paris");
    w.until("paris returns", 10, |w| w.is(&Phase::Returning, "paris", 1));
    w.until("paris is steady", 20, |w| w.settled("paris", 1));
}

#[test]
fn a_dead_database_is_offered_and_taken() {
    let mut w = World::new(&policy(After::Elapsed(Duration::ZERO)));
    w.until("paris opens", 10, |w| w.settled("paris", 1));
    w.run(5_000);
    let server = &mut w.places.get_mut(&site("paris")).unwrap().server;
    server.state = ServerState::Down;
    server.exited = Some("killed by signal 9".to_owned());
    server.locked = Some(server.serial);
    server.deadline = None;
    w.until("lyon takes the offer", 5, |w| w.open("lyon"));
    w.until("lyon settles", 15, |w| w.settled("lyon", 2));
}

#[test]
fn a_restarted_operator_re_claims_and_its_database_goes_on() {
    let mut w = World::new(&policy(After::Never));
    w.until("paris opens", 10, |w| w.settled("paris", 1));
    w.run(2_000);
    let serial = w.record.as_ref().unwrap().0.serial;
    let server_was_open = w.open("paris");
    assert!(server_was_open);
    w.boot("paris");
    w.run(1_000);
    assert!(w.open("paris"), "no restart of the operator stops a database\n{}", w.story.join("\n"));
    let (record, _) = w.record.clone().unwrap();
    assert_eq!(record.serial, serial + 1, "one re-claim");
    let names: BTreeSet<&str> = w.leases.keys().map(SiteName::as_str).collect();
    assert_eq!(names, BTreeSet::from(["lyon", "paris"]));
}
