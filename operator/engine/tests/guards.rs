//! Which guard is heard, what it is told, and how the engine treats its arbiter: one brain, event by event.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(unreachable_pub, missing_docs, reason = "the desk is a helper of this binary alone")]

mod desk;
mod sample;

use std::time::Duration;

use bascule_core::facts::SiteFacts;
use bascule_core::guard::wire::{Disk, Grant, Report, Role, ServerState};
use bascule_core::observation::{Fact, Marks};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::Policy;
use bascule_core::record::{Fences, Phase, Record};
use bascule_core::time::{Boottime, Millis};
use bascule_core::timing::Profile;
use bascule_engine::brain::{Command, Event, Found, Look};
use bascule_engine::ports::{ArbiterChange, Cas, Intent, Renewed};

use crate::desk::{Desk, OPEN, item, key, policy, record, report, site};

fn running() -> Desk {
    Desk::running(Profile::Metro, record(Profile::Metro), Some(policy()))
}

/// The guard of a second pod, whose disk is empty.
fn empty(boot: &str) -> Report {
    let reason = "the data directory is empty: a primary is never made from nothing".to_owned();
    let mut r = report(boot, ServerState::Failed { reason, commands: vec![] });
    r.disk = Disk::Empty;
    r.opened_epoch = None;
    r
}

#[test]
fn a_second_pod_of_the_same_database_is_refused_by_name_and_the_first_goes_on() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    assert!(desk.ask(1, report("b1", OPEN)).unwrap().grant.is_some());
    desk.connect(2, "main-1", "b2");
    let reason = desk.refused(2).unwrap();
    assert!(reason.contains("main-1") && reason.contains("main-0"), "{reason}");
    assert_eq!(desk.ask(2, empty("b2")), None, "it is not answered");
    assert!(desk.ask(1, report("b1", OPEN)).unwrap().grant.is_some());
}

#[test]
fn an_operator_whose_renewal_says_that_another_replica_acts_stands_down_and_counts_no_lease_for_it() {
    let mut desk = running();
    let before = desk.brain.lease_remaining(desk.now).unwrap();
    let refused = Renewed::NotActing { who: "paris-2 at 192.0.2.1:8080".to_owned() };
    desk.give(Event::Renewed { sent: desk.now, result: refused });
    let Some((_, Command::StandDown { who })) = desk.said.last() else { panic!("{:?}", desk.said.last()) };
    assert!(who.starts_with("paris-2"), "{who}");
    assert_eq!(desk.brain.lease_remaining(desk.now), Some(before));
}

#[test]
fn a_second_pod_that_was_there_first_gives_way_to_the_pod_with_the_lower_ordinal() {
    let mut desk = running();
    desk.connect(1, "main-1", "b2");
    desk.ask(1, empty("b2"));
    desk.connect(2, "main-0", "b1");
    assert!(desk.refused(1).unwrap().contains("main-1 is a second pod"));
    assert_eq!(desk.refused(2), None);
    assert!(desk.ask(2, report("b1", OPEN)).unwrap().grant.is_some());
}

#[test]
fn a_second_pod_does_not_take_the_place_of_one_that_restarts() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.ask(1, report("b1", OPEN));
    desk.gone(1);
    desk.run(5_000);
    desk.connect(2, "main-1", "b2");
    assert!(desk.refused(2).is_some());
    desk.connect(3, "main-0", "b3");
    assert_eq!(desk.refused(3), None, "a new process of the same pod");
}

#[test]
fn a_second_pod_never_makes_its_site_offer_what_the_first_may_have_open() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 3_000);
    desk.gone(1);
    desk.run(31_000);
    desk.connect(2, "main-1", "b2");
    assert_eq!(desk.refused(2), None, "the other has been away for longer than restartGrace");
    for _ in 0..10 {
        let serial = desk.record.as_ref().unwrap().0.serial;
        let told = desk.ask(2, Report { serial, ..empty("b2") }).unwrap();
        assert_ne!(told.role, Role::Lock);
        desk.run(500);
        assert_ne!(desk.phase(), Phase::Offered);
    }
}

#[test]
fn a_guard_that_ends_with_its_server_down_gets_no_grant() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    assert!(desk.ask(1, report("b1", OPEN)).unwrap().grant.is_some());
    let mut leaving = report("b1", ServerState::Down);
    leaving.sigterm = true;
    assert_eq!(desk.ask(1, leaving).unwrap().grant, None);
}

#[test]
fn a_primary_whose_policy_is_gone_is_told_to_serve_and_to_remember_it() {
    let mut unmanaged = record(Profile::Metro);
    unmanaged.phase = Phase::Unmanaged;
    unmanaged.promise.fences = Fences::Never;
    let elsewhere = Policy { sites: vec![site("lyon"), site("milan")], ..policy() };
    for policy in [None, Some(Policy { suspend: true, ..policy() }), Some(elsewhere)] {
        let mut desk = Desk::running(Profile::Metro, unmanaged.clone(), policy);
        desk.connect(1, "main-0", "b2");
        let told = desk.asks(1, &report("b2", ServerState::Down), 400).unwrap();
        assert!(matches!(told.role, Role::Serve { open: true, .. }), "{:?}", told.role);
        assert_eq!((told.unmanaged, told.grant), (true, Some(Grant::Unlimited)));
        assert_eq!(desk.phase(), Phase::Unmanaged);
    }
}

#[test]
fn a_primary_whose_policy_was_never_valid_here_keeps_its_role_by_the_record() {
    let mut desk = Desk::new(Profile::Metro, record(Profile::Metro));
    desk.give(Event::Tick);
    let reason = "spec.sites: needs two".to_owned();
    desk.give(Event::Intent(Intent::Invalid { policy: key(), reason }));
    desk.give(Event::Intent(Intent::Listed));
    desk.run(1_000);
    desk.connect(1, "main-0", "b2");
    let told = desk.asks(1, &report("b2", ServerState::Down), 400).unwrap();
    assert!(matches!(told.role, Role::Serve { open: true, .. }), "{:?}", told.role);
}

fn r_and_f(profile: Profile) -> (Millis, Millis) {
    (profile.timing().holder, profile.timing().fence)
}

#[test]
fn a_guard_is_told_the_smaller_of_the_promised_and_the_configured_timing() {
    for (configured, promised, told) in
        [(Profile::Wan, Profile::Metro, Profile::Metro), (Profile::Metro, Profile::Wan, Profile::Metro)]
    {
        let mut desk = Desk::new(configured, record(promised));
        desk.give(Event::Tick);
        desk.run(1_000);
        desk.connect(1, "main-0", "b1");
        let said = desk.ask(1, report("b1", OPEN)).unwrap().timing;
        assert_eq!((said.r, said.f), r_and_f(told), "{configured} under a promise of {promised}");
    }
}

#[test]
fn a_shorter_promise_is_written_only_when_the_guard_has_heard_of_it_and_old_grants_have_run_out() {
    let mut desk = Desk::running(Profile::Metro, record(Profile::Wan), Some(policy()));
    let promised = |desk: &Desk| desk.record.as_ref().unwrap().0.promise.profile.clone();
    desk.connect(1, "main-0", "b1");
    let mut behind = report("b1", OPEN);
    behind.serial = 10;
    desk.asks(1, &behind, 20_000);
    assert_eq!(promised(&desk), "wan");
    desk.asks(1, &report("b1", OPEN), 6_000);
    assert_eq!(promised(&desk), "wan");
    desk.asks(1, &report("b1", OPEN), 1_000);
    assert_eq!(promised(&desk), "metro");
}

#[test]
fn a_pause_longer_than_the_promised_deadline_is_a_gap_whatever_is_configured() {
    let mut desk = Desk::new(Profile::Wan, record(Profile::Metro));
    desk.give(Event::Tick);
    desk.claims();
    desk.connect(1, "main-0", "b1");
    assert!(desk.ask(1, report("b1", OPEN)).unwrap().grant.is_some());
    let serial = desk.record.as_ref().unwrap().0.serial;
    desk.now = desk.now + Duration::from_secs(2);
    desk.ask(1, report("b1", ServerState::Down));
    desk.run(100);
    assert_eq!(desk.record.as_ref().unwrap().0.serial, serial + 1, "another site may have taken: re-claimed");
}

#[test]
fn a_write_that_is_refused_at_once_is_tried_again_after_a_pause_that_grows() {
    let mut desk = running();
    desk.cas = Some(|_, _| Cas::Unknown { reason: "permission denied".to_owned() });
    desk.give(Event::Intent(Intent::Policy(Box::new(Policy { suspend: true, ..policy() }))));
    desk.said.clear();
    desk.run(30_000);
    let writes = desk.count(|c| matches!(c, Command::Write { .. }));
    assert!((4..=8).contains(&writes), "{writes} writes in 30 s");
    desk.cas = None;
    desk.run(10_000);
    assert_eq!(desk.phase(), Phase::Unmanaged);
}

#[test]
fn an_arbiter_that_was_restored_is_noticed_and_not_asked_all_the_time() {
    let mut desk = running();
    let mut old = record(Profile::Metro);
    old.serial = 5;
    desk.record = Some((old, 50));
    desk.give(Event::Intent(Intent::Policy(Box::new(Policy { suspend: true, ..policy() }))));
    desk.said.clear();
    desk.run(5_000);
    let reads = desk.count(|c| matches!(c, Command::ReadRecord(_)));
    assert!(reads <= 5, "{reads} reads in 5 s");
    assert_eq!(desk.count(|c| matches!(c, Command::Write { .. })), 0);
    desk.connect(1, "main-0", "b1");
    let told = desk.asks(1, &report("b1", OPEN), 400).unwrap();
    assert_eq!((told.serial, told.role), (5, Role::Keep));
    let told_people = desk.count(|c| {
        matches!(c, Command::Journal(entry) if entry.what.contains("gone back in time"))
            || matches!(c, Command::Publish(shown) if format!("{:?}", shown.report).contains("gone back in time"))
    });
    assert!(told_people > 0);
}

#[test]
fn a_reply_that_was_overtaken_answers_no_question_that_needs_a_fresh_read() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.ask(1, report("b1", OPEN));
    let before = desk.now - Duration::from_millis(900);
    let (old, _) = desk.record.clone().unwrap();
    desk.give(Event::Record {
        policy: key(),
        sent: before,
        received: desk.now,
        result: Ok(Some((Box::new(old), 1))),
    });
    desk.said.clear();
    desk.run(200);
    let reads = desk.count(|c| matches!(c, Command::ReadRecord(_)));
    assert!(reads <= 1, "{reads} reads");
}

/// A process that was frozen wakes: its lease is regained, and a read that it had sent before comes in last.
#[test]
fn a_late_reply_from_before_a_pause_does_not_end_the_grants() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 1_000);
    desk.now = desk.now + Duration::from_secs(6);
    let before = desk.now;
    desk.now = desk.now + Duration::from_millis(1);
    desk.give(Event::Tick);
    desk.run(20);
    let (newest, revision) = desk.record.clone().unwrap();
    desk.give(Event::Record {
        policy: key(),
        sent: before,
        received: desk.now,
        result: Ok(Some((Box::new(newest), revision))),
    });
    desk.run(300);
    assert!(desk.asks(1, &report("b1", OPEN), 1_000).unwrap().grant.is_some());
}

/// Since when the record has been in `Offered`, from the moment it was seen in `Withdrawn`.
fn offered_after(desk: &mut Desk) -> Duration {
    let start = desk.now;
    while desk.phase() != Phase::Offered {
        desk.run(10);
        assert!(desk.now.since(start) < Duration::from_secs(20), "never offered");
    }
    desk.now.since(start)
}

#[test]
fn after_a_restart_a_withdrawal_is_waited_out_from_the_read_that_shows_it() {
    let mut desk = Desk::new(Profile::Metro, Record { phase: Phase::Withdrawn, ..record(Profile::Metro) });
    desk.give(Event::Tick);
    desk.give(Event::Intent(Intent::Policy(Box::new(policy()))));
    desk.give(Event::Intent(Intent::Listed));
    let waited = offered_after(&mut desk);
    assert!(waited >= Profile::Metro.timing().l(), "{waited:?}");
}

#[test]
fn after_an_unknown_outcome_a_withdrawal_is_waited_out_from_the_read_that_shows_it() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 1_000);
    lyon_can_take(&mut desk);
    desk.gone(1);
    desk.give(found(nobody_answers()));
    // Applied, but nobody hears of it.
    desk.cas = Some(|_, _| Cas::Unknown { reason: "timed out".to_owned() });
    desk.run(31_000);
    let tried = desk.said.iter().rev().find_map(|(at, c)| match c {
        Command::Write { next, .. } if next.phase == Phase::Withdrawn => Some((*at, (**next).clone())),
        _ => None,
    });
    let (sent, next) = tried.unwrap();
    let revision = desk.record.as_ref().unwrap().1 + 1;
    desk.record = Some((next, revision));
    desk.cas = None;
    desk.run(500);
    let waited = offered_after(&mut desk) + Duration::from_millis(500);
    assert!(
        waited >= Profile::Metro.timing().l(),
        "{waited:?} since the read, {:?} since the send",
        desk.now.since(sent)
    );
}

/// The looks at the database since the desk's clock showed `since`.
fn looks(desk: &Desk, since: Boottime) -> Vec<u64> {
    let looked = |(at, c): &(Boottime, Command)| match c {
        Command::Look { what: Look::Database(_), .. } if *at >= since => Some(at.since(since)),
        _ => None,
    };
    desk.said.iter().filter_map(looked).map(|d| u64::try_from(d.as_millis()).unwrap()).collect()
}

/// What the look at the database found.
fn found(gates: Fact<Vec<Gate>>) -> Event {
    Event::Seen { policy: key(), what: Look::Database(item("main")), found: Found::Database(gates) }
}

#[test]
fn a_database_whose_guard_is_gone_is_looked_at_at_once_and_again_soon() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 1_000);
    desk.give(found(Fact::now(vec![])));
    desk.run(1_000);
    let lost = desk.now;
    desk.gone(1);
    assert_eq!(looks(&desk, lost), [0]);
    // A server that ends a moment later than its guard's connection.
    desk.give(found(Fact::now(vec![])));
    desk.run(1_500);
    assert_eq!(looks(&desk, lost).len(), 2, "{:?}", looks(&desk, lost));
}

#[test]
fn what_was_seen_before_the_guard_was_gone_proves_nothing() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 1_000);
    lyon_can_take(&mut desk);
    desk.give(found(nobody_answers()));
    desk.gone(1);
    desk.run(40_000);
    assert_eq!(desk.phase(), Phase::Steady);
    desk.give(found(nobody_answers()));
    assert_eq!(desk.phase(), Phase::Withdrawn);
}

fn nobody_answers() -> Fact<Vec<Gate>> {
    let name = "database/main/ConnectUnreachable";
    Fact::now(vec![Gate::new(name, Answer::Unknown, "connection refused", "a session")])
}

/// Lyon says that nothing keeps it from being promoted.
fn lyon_can_take(desk: &mut Desk) {
    let facts = SiteFacts {
        schema: 1,
        site: site("lyon"),
        question: 2,
        number: 1,
        answers: [].into(),
        marks: None,
        spec_hash: Some("same".to_owned()),
        revision: None,
        blockers: vec![],
        ready_for: None,
        cannot_prove: None,
        candidacy: None,
        disks: [].into(),
        lag_bytes: [].into(),
        behind: [].into(),
        not_streaming: [].into(),
        diverged: [].into(),
        sizes: [].into(),
    };
    let change = ArbiterChange::Facts { policy: key(), site: site("lyon"), facts: Box::new(facts) };
    desk.give(Event::Changed(change));
}

#[test]
fn a_policy_that_is_gone_wants_nothing_at_every_moment() {
    let mut desk = running();
    // Every look finds something.
    let looks: Vec<_> = desk
        .said
        .iter()
        .filter_map(|(_, c)| match c {
            Command::Look { policy, what: what @ Look::Database(_), .. } => {
                Some((policy.key.clone(), what.clone()))
            }
            _ => None,
        })
        .collect();
    assert!(!looks.is_empty());
    for (policy, what) in looks {
        let found = Found::Database(Fact::now(vec![]));
        desk.give(Event::Seen { policy, what, found });
    }
    desk.give(Event::Intent(Intent::PolicyGone(key())));
    desk.run(60_000);
    assert!(desk.brain.next_tick() > desk.now, "it is woken in vain without a pause");
}

#[test]
fn facts_whose_writing_ended_unknown_are_written_again_although_they_are_as_before() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 1_000);
    desk.facts = Outcome::unknown("deadline exceeded");
    let reason = "permission denied".to_owned();
    desk.ask(1, Report { disk: Disk::Unreadable { reason }, ..report("b1", OPEN) });
    desk.facts = Outcome::Done;
    // Before the next try the trouble is over.
    desk.asks(1, &report("b1", OPEN), 20_000);
    let last = desk.said.iter().rev().find_map(|(_, c)| match c {
        Command::WriteFacts { facts, .. } => Some(facts.clone()),
        _ => None,
    });
    let disks = last.unwrap().disks;
    assert!(
        disks.values().all(|d| matches!(d, Disk::Cluster(_))),
        "what was written last is not so: {disks:?}"
    );
}

#[test]
fn a_question_that_needs_a_fresh_read_is_answered_although_its_read_was_overtaken() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 1_000);
    let old = desk.record.clone().unwrap();
    desk.mute = true;
    let sent = desk.now;
    assert_eq!(desk.ask_for(1, report("b1", OPEN), true), None, "the read is under way");
    desk.run(10);
    // A write of its own overtakes the read.
    desk.give(Event::Intent(Intent::Policy(Box::new(Policy { suspend: true, ..policy() }))));
    desk.run(10);
    assert_eq!(desk.phase(), Phase::Unmanaged);
    desk.mute = false;
    desk.said.clear();
    let result = Ok(Some((Box::new(old.0), old.1)));
    desk.give(Event::Record { policy: key(), sent, received: desk.now, result });
    desk.run(2_000);
    assert_eq!(desk.count(|c| matches!(c, Command::Answer { .. })), 1);
}

fn last_facts(desk: &Desk) -> SiteFacts {
    let said = desk.said.iter().rev().find_map(|(_, c)| match c {
        Command::WriteFacts { facts, .. } => Some((**facts).clone()),
        _ => None,
    });
    said.unwrap()
}

#[test]
fn a_site_that_comes_back_asks_the_others_anew_and_believes_no_record_of_which_they_have_seen_more() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 1_000);
    let (before, serial) = (last_facts(&desk).question, desk.record.as_ref().unwrap().0.serial);
    desk.now = desk.now + Duration::from_mins(1);
    desk.give(Event::Tick);
    desk.ask(1, report("b1", ServerState::Down));
    let question = last_facts(&desk).question;
    assert_ne!(question, before, "an answer from before it was away says nothing");
    lyon_can_take(&mut desk);
    desk.run(500);
    let mut answer = last_facts(&desk);
    answer.site = site("lyon");
    answer.answers = [(site("paris"), question)].into();
    answer.marks = Some(Marks { generation: 0, epoch: 2, serial: 40 });
    let change = ArbiterChange::Facts { policy: key(), site: site("lyon"), facts: Box::new(answer) };
    desk.give(Event::Changed(change));
    desk.asks(1, &report("b1", ServerState::Down), 20_000);
    assert_eq!(desk.record.as_ref().unwrap().0.serial, serial, "lyon has had the role since");
    assert_eq!(desk.asks(1, &report("b1", ServerState::Down), 400).unwrap().grant, None);
}

#[test]
fn a_site_that_comes_back_reads_what_another_process_of_it_has_written_down_and_believes_no_record_below_it()
{
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 1_000);
    let serial = desk.record.as_ref().unwrap().0.serial;
    desk.marks.insert(key(), Marks { generation: 0, epoch: 1, serial: serial + 1 }.into());
    desk.now = desk.now + Duration::from_mins(1);
    desk.give(Event::Tick);
    desk.asks(1, &report("b1", ServerState::Down), 20_000);
    assert_eq!(desk.record.as_ref().unwrap().0.serial, serial, "this arbiter has gone back");
}

#[test]
fn facts_that_an_arbiter_has_lost_are_written_again() {
    let mut desk = running();
    desk.run(1_000);
    desk.said.clear();
    desk.give(Event::Changed(ArbiterChange::Broken { reason: "it was restored".to_owned() }));
    desk.run(5_000);
    assert_eq!(desk.count(|c| matches!(c, Command::WriteFacts { .. })), 1);
}

#[test]
fn a_site_answers_nothing_while_it_does_not_know_what_became_of_its_own_write() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 1_000);
    assert!(last_facts(&desk).marks.is_some());
    desk.cas = Some(|_, _| Cas::Unknown { reason: "deadline exceeded".to_owned() });
    desk.mute = true;
    desk.give(Event::Intent(Intent::Policy(Box::new(Policy { suspend: true, ..policy() }))));
    let mut asks = last_facts(&desk);
    asks.site = site("lyon");
    asks.question = 77;
    let change = ArbiterChange::Facts { policy: key(), site: site("lyon"), facts: Box::new(asks) };
    desk.give(Event::Changed(change));
    let said = last_facts(&desk);
    assert_eq!((said.answers[&site("lyon")], said.marks), (77, None));
    desk.mute = false;
    desk.cas = None;
    let (sent, result) = (desk.now, Err("deadline exceeded".to_owned()));
    desk.give(Event::Record { policy: key(), sent, received: desk.now, result });
    desk.run(20_000);
    assert!(last_facts(&desk).marks.is_some(), "the others wait for it");
}

#[test]
fn a_proxy_is_told_to_send_writes_while_the_lease_lasts_and_the_database_is_open() {
    let mut desk = running();
    let takes = |desk: &Desk| desk.brain.takes_writes(&key(), desk.now);
    assert_eq!(takes(&desk).unwrap_err(), "main: its guard is not connected");
    desk.connect(1, "main-0", "b1");
    desk.ask(1, report("b1", ServerState::Standby { open: true }));
    assert!(takes(&desk).unwrap_err().starts_with("main: its server is a replica"), "{:?}", takes(&desk));
    desk.asks(1, &report("b1", ServerState::Primary { open: false }), 300);
    assert!(takes(&desk).is_err(), "open for nobody yet");
    desk.asks(1, &report("b1", OPEN), 300);
    assert_eq!(takes(&desk), Ok(()));
    // A connection that is lost and comes back cuts nobody off.
    desk.gone(1);
    desk.run(100);
    assert_eq!(takes(&desk), Ok(()));
    desk.run(u64::try_from(desk.timing.r().as_millis()).unwrap());
    assert_eq!(takes(&desk).unwrap_err(), "main: its guard is not connected");
}

#[test]
fn a_proxy_is_told_of_a_guard_that_has_fallen_silent() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 300);
    desk.run(u64::try_from(desk.timing.r().as_millis()).unwrap());
    let why = desk.brain.takes_writes(&key(), desk.now).unwrap_err();
    assert!(why.starts_with("main: its guard has said nothing for "), "{why}");
}

#[test]
fn a_proxy_is_sent_away_when_the_lease_has_lapsed_or_another_site_is_active_or_the_policy_is_not_known() {
    let mut desk = running();
    desk.connect(1, "main-0", "b1");
    desk.asks(1, &report("b1", OPEN), 300);
    let lapsed = desk.now + desk.timing.r() * 2;
    assert_eq!(
        desk.brain.takes_writes(&key(), lapsed).unwrap_err(),
        "this site's lease was not renewed in time"
    );
    let other = bascule_core::name::PolicyKey::new("shop", "other").unwrap();
    let why = desk.brain.takes_writes(&other, desk.now).unwrap_err();
    assert_eq!(why, "no valid policy shop/other is known in paris");
    let mut elsewhere = record(Profile::Metro);
    elsewhere.active = site("lyon");
    let desk = Desk::running(Profile::Metro, elsewhere, Some(policy()));
    assert_eq!(desk.brain.takes_writes(&key(), desk.now).unwrap_err(), "lyon is active");
}
