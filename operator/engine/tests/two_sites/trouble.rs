//! What people hear of an arbiter, and of a cluster, that does not answer.

use bascule_core::facts::SiteFacts;
use bascule_core::guard::wire::Role;
use bascule_core::policy::After;
use bascule_engine::brain::Event;
use bascule_engine::ports::{ArbiterChange, NoUpstream};

use crate::quiet::quiet;
use crate::world::{Faults, World, policy, site, switchover};

fn lyon(w: &mut World) -> &mut Faults {
    &mut w.places.get_mut(&site("lyon")).unwrap().faults
}

/// What lyon journaled that contains `words`.
fn journaled(w: &World, words: &str) -> usize {
    w.journal.iter().filter(|(at, entry)| *at == site("lyon") && entry.what.contains(words)).count()
}

fn shown(w: &World) -> Option<&str> {
    w.shown[&site("lyon")].trouble.as_deref()
}

fn orders(w: &World, from: usize, what: &str) -> usize {
    w.log[from..].iter().filter(|(_, at, order)| *at == site("lyon") && *order == what).count()
}

#[test]
fn why_the_lease_is_not_renewed_is_shown_and_journaled_once() {
    let mut w = quiet();
    lyon(&mut w).renew = Some("permission denied for /bascule/v1/sites/lyon".to_owned());
    w.run(9_000);
    assert_eq!(
        shown(&w),
        Some("this site's lease is not renewed: permission denied for /bascule/v1/sites/lyon")
    );
    assert_eq!(journaled(&w, "permission denied"), 1);
    lyon(&mut w).renew = None;
    w.run(3_000);
    assert_eq!(shown(&w), None);
    assert_eq!(journaled(&w, "over after"), 1);
}

#[test]
fn why_leases_cannot_be_read_and_nothing_can_be_listed_is_shown() {
    let mut w = quiet();
    lyon(&mut w).leases = Some("deadline exceeded".to_owned());
    w.run(9_000);
    assert_eq!(shown(&w), Some("the sites' leases cannot be read: deadline exceeded"));
    *lyon(&mut w) = Faults { list: Some("no leader".to_owned()), watch: true, ..Faults::default() };
    let broken = ArbiterChange::Broken { reason: "no leader".to_owned() };
    w.later(&site("lyon"), 1, Event::Changed(broken));
    w.run(15_000);
    assert!(
        shown(&w).is_some_and(|t| t.contains("records and facts cannot be listed: no leader")),
        "{:?}",
        shown(&w)
    );
}

#[test]
fn a_watch_that_breaks_at_once_is_opened_again_later_and_later() {
    let mut w = quiet();
    w.run(10_000);
    lyon(&mut w).watch = true;
    let from = w.log.len();
    let broken = ArbiterChange::Broken { reason: "compacted".to_owned() };
    w.later(&site("lyon"), 1, Event::Changed(broken));
    w.run(100);
    assert_eq!(orders(&w, from, "list"), 1, "the first time at once");
    w.run(60_000);
    let listed = orders(&w, from, "list");
    assert!((28..=34).contains(&listed), "at most once in the time of a lease, two seconds: {listed}");
    assert!(journaled(&w, "the watch of records and facts breaks") >= 1);
    lyon(&mut w).watch = false;
    w.run(20_000);
    assert_eq!(shown(&w), None);
}

/// Lyon cannot renew for a while and then can again; how often it lists in the half second after.
fn lists_after_a_gap(w: &mut World) -> usize {
    lyon(w).renew = Some("no answer in time".to_owned());
    w.run(5_000);
    lyon(w).renew = None;
    let from = w.log.len();
    w.run(500);
    orders(w, from, "list")
}

#[test]
fn a_site_that_comes_back_lists_at_once_though_its_watch_looks_well() {
    assert_eq!(lists_after_a_gap(&mut quiet()), 1);
}

#[test]
fn a_site_that_comes_back_does_not_wait_for_a_listing_that_was_lost_with_the_way() {
    let mut w = quiet();
    w.run(10_000);
    lyon(&mut w).lost_list = true;
    let broken = ArbiterChange::Broken { reason: "silent".to_owned() };
    w.later(&site("lyon"), 1, Event::Changed(broken));
    w.run(100);
    lyon(&mut w).lost_list = false;
    assert_eq!(lists_after_a_gap(&mut w), 1);
}

#[test]
fn what_is_said_of_a_broken_watch_ends_though_the_lease_was_regained_meanwhile() {
    let mut w = quiet();
    w.run(10_000);
    lyon(&mut w).watch = true;
    let broken = ArbiterChange::Broken { reason: "no leader".to_owned() };
    w.later(&site("lyon"), 1, Event::Changed(broken));
    w.run(15_000);
    assert_eq!(shown(&w), Some("the watch of records and facts breaks: the watch was cancelled"));
    lyon(&mut w).renew = Some("no answer in time".to_owned());
    w.run(5_000);
    *lyon(&mut w) = Faults::default();
    w.run(15_000);
    assert_eq!(shown(&w), None);
}

#[test]
fn a_process_that_starts_lists_once() {
    let mut w = World::new(&policy(After::Never));
    w.run(500);
    assert_eq!(orders(&w, 0, "list"), 1);
}

#[test]
fn facts_that_cannot_be_written_are_tried_later_and_later_and_said_so() {
    let mut w = quiet();
    lyon(&mut w).facts = Some("the value is too large".to_owned());
    w.link = false;
    let from = w.log.len();
    w.run(60_000);
    let tried = orders(&w, from, "write facts");
    assert!((8..=14).contains(&tried), "with pauses up to ten seconds: {tried}");
    assert_eq!(
        shown(&w),
        Some("what this site says of the policy cannot be written: the value is too large")
    );
    assert_eq!(journaled(&w, "the value is too large"), 1);
    lyon(&mut w).facts = None;
    w.run(12_000);
    assert_eq!(shown(&w), None);
}

#[test]
fn what_the_arbiter_holds_and_nobody_can_read_is_advice_and_journaled_once() {
    let mut w = quiet();
    lyon(&mut w).unreadable = vec!["the key /bascule/v1/x is not one of Bascule's".to_owned()];
    for _ in 0..3 {
        let broken = ArbiterChange::Broken { reason: "compacted".to_owned() };
        w.later(&site("lyon"), 1, Event::Changed(broken));
        w.run(5_000);
    }
    let gate = w.shown[&site("lyon")].report.gates.iter().find(|g| g.name == "arbiter/unreadable").unwrap();
    assert!(gate.passed() && gate.found.contains("/bascule/v1/x"), "{gate:?}");
    assert_eq!(journaled(&w, "unreadable in the arbiter"), 1);
}

/// Lyon looks up the way to paris again and finds `fault`.
fn looked_up(w: &mut World, fault: NoUpstream) -> Option<Role> {
    lyon(w).upstream = Some(fault);
    w.run(31_000);
    w.places[&site("lyon")].server.wanted.clone()
}

#[test]
fn a_way_that_cannot_be_looked_up_now_is_still_the_way() {
    let mut w = quiet();
    let reason = "the API server does not answer".to_owned();
    let wanted = looked_up(&mut w, NoUpstream::Unknown { reason });
    assert!(matches!(wanted, Some(Role::Follow { .. })), "{wanted:?}");
    let gates = &w.shown[&site("lyon")].report.gates;
    assert!(gates.iter().any(|g| g.name == "database/main/upstream/paris" && g.passed()), "{gates:#?}");
}

#[test]
fn a_way_whose_secret_is_gone_is_no_way_any_more() {
    let mut w = quiet();
    let reason = "Secret shop/main-replication does not exist".to_owned();
    let wanted = looked_up(&mut w, NoUpstream::Missing { reason: reason.clone() });
    assert_eq!(wanted, Some(Role::Wait { why: reason }));
}

#[test]
fn a_mark_whose_answer_was_lost_is_there_once_it_was_read() {
    let mut w = World::new(&policy(After::Never));
    lyon(&mut w).raised = Some("no answer within 5 s".to_owned());
    w.until("paris opens", 10, |w| w.settled("paris", 1));
    w.run(5_000);
    let agrees = |w: &World| {
        let all = &w.shown[&site("lyon")].report.conditions;
        all.iter().find(|c| c.kind == "ArbiterAgrees").map(|c| c.message.clone())
    };
    assert_eq!(
        agrees(&w).as_deref(),
        Some("this site's high-water mark cannot be written: no answer within 5 s")
    );
    // Its lease is regained after a gap, and the marks are read anew.
    lyon(&mut w).renew = Some("no answer in time".to_owned());
    w.run(5_000);
    lyon(&mut w).renew = None;
    w.run(10_000);
    assert_eq!(agrees(&w).as_deref(), Some("the arbiter answers with what was seen or more"));
}

#[test]
fn pods_that_could_not_be_told_of_a_flag_are_told_as_soon_as_they_can_be() {
    let mut w = World::new(&policy(After::Never));
    w.until("paris opens", 10, |w| w.settled("paris", 1));
    w.run(1_000);
    let untold = Some("the flag is set, but pods may see it later: 429".to_owned());
    w.places.get_mut(&site("paris")).unwrap().faults.untold = untold;
    w.moves(&[switchover("to-lyon", "paris", "lyon", 1)]);
    w.run(5_000);
    assert!(w.places[&site("paris")].flag, "the flag itself is set");
    assert_eq!(w.record.as_ref().unwrap().0.active, site("paris"), "users may still be writing");
    w.places.get_mut(&site("paris")).unwrap().faults.untold = None;
    w.until("lyon opens", 8, |w| w.settled("lyon", 2));
    let told = w.log.iter().filter(|(_, at, order)| *at == site("paris") && *order == "perform").count();
    assert!(told < 20, "{told} steps");
}

/// Others are written over what lyon has said; how often it says its own again in ten seconds.
fn said_over(change: impl Fn(&mut SiteFacts)) -> usize {
    let mut w = quiet();
    // Nothing that lyon has said is still under way.
    w.run(100);
    let own = w.facts[&site("lyon")].clone();
    let mut others = own.clone();
    change(&mut others);
    others.lag_bytes.clear();
    w.facts.insert(site("lyon"), others.clone());
    for at in ["paris", "lyon"] {
        let change = ArbiterChange::Facts {
            policy: policy(After::Never).key,
            site: site("lyon"),
            facts: Box::new(others.clone()),
        };
        w.later(&site(at), 1, Event::Changed(change));
    }
    let from = w.log.len();
    w.run(10_000);
    assert_eq!(
        (w.facts[&site("lyon")].question, &w.facts[&site("lyon")].lag_bytes),
        (own.question, &own.lag_bytes)
    );
    orders(&w, from, "write facts")
}

#[test]
fn what_another_process_of_this_site_has_said_is_not_left_standing() {
    assert_eq!(said_over(|facts| facts.question += 1), 1);
}

#[test]
fn what_this_site_had_said_before_and_was_written_late_is_not_left_standing() {
    assert_eq!(said_over(|facts| facts.number -= 1), 1);
}

#[test]
fn a_record_that_is_not_listed_any_more_is_read_again() {
    let mut w = quiet();
    w.record = None;
    let broken = ArbiterChange::Broken { reason: "the arbiter was emptied".to_owned() };
    w.later(&site("lyon"), 1, Event::Changed(broken));
    let from = w.log.len();
    w.run(200);
    assert_eq!(orders(&w, from, "read record"), 1);
}
