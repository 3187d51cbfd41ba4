//! Which people are told what, when, and by which site.

use std::sync::Arc;
use std::time::Duration;

use bascule_core::moves::{Move, MoveHash, Order};
use bascule_core::name::SiteName;
use bascule_core::notice::{Audience, Case, FRESH, Kind, Memory, Notice, due};
use bascule_core::policy::{Notifications, UserWords};
use bascule_core::project::{Condition, Lag, SiteRole, SiteRow};
use bascule_core::record::{Cause, Phase, Record, Transition};
use jiff::Timestamp;
use rstest::rstest;

use crate::world::policy::policy;
use crate::world::record::{in_phase, never_fences, steady, wall};
use crate::world::{item, site};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn after(passed: Duration) -> Timestamp {
    wall().checked_add(passed).unwrap()
}

fn row(name: &str, lives: Option<bool>) -> SiteRow {
    SiteRow {
        name: site(name),
        role: SiteRole::Unknown,
        lives,
        silent_ms: None,
        promotable: None,
        reason: None,
        spec_hash: None,
        revision: None,
        streaming: None,
        not_streaming: None,
        lag: Lag::default(),
        missing: None,
        age_ms: None,
    }
}

fn condition(kind: &str, status: Option<bool>, reason: &str) -> Condition {
    let message = format!("why it is {reason}").into();
    Condition { kind: kind.to_owned().into(), status, reason: reason.to_owned().into(), message }
}

/// A policy whose administrators have one channel and whose French users another one.
fn case(record: Record) -> Case {
    let mut policy = policy();
    let french = UserWords {
        channels: vec![item("customers-fr")],
        subject: "Boutique".to_owned(),
        read_only: Some("Lecture seule.".to_owned()),
        moved: None,
        back: Some("Tout est revenu.".to_owned()),
        planned: Some("Entretien.".to_owned()),
    };
    policy.notifications =
        Notifications { channels: vec![item("ops")], users: [("fr".to_owned(), french)].into() };
    Case {
        policy: Arc::new(policy),
        record: Some(record),
        sentence: "The sentence.".to_owned(),
        conditions: vec![condition("FailoverPossible", Some(true), "SiteCanTake")],
        sites: vec![row("paris", Some(true)), row("lyon", Some(true))],
        moves: vec![],
    }
}

fn silent(mut case: Case, name: &str) -> Case {
    case.sites.iter_mut().filter(|r| r.name == site(name)).for_each(|r| r.lives = Some(false));
    case
}

fn judged(mut case: Case, condition: Condition) -> Case {
    case.conditions.retain(|c| c.kind != condition.kind);
    case.conditions.push(condition);
    case
}

/// Lyon serves reads since `wall()`.
fn reads() -> Case {
    let mut record = in_phase(Phase::ReadOnly);
    record.target = Some(site("lyon"));
    silent(case(record), "paris")
}

/// Lyon has taken the role in epoch 2, at `wall()`.
fn taken() -> Case {
    let mut record = steady();
    (record.epoch, record.active) = (2, site("lyon"));
    record.entered.at = wall();
    record.history = vec![Transition {
        cause: Cause::SiteLost,
        from: site("paris"),
        to: site("lyon"),
        epoch: 2,
        began: wall(),
        ended: Some(wall()),
        phases: vec![],
        loss_bound: None,
        measured_loss: None,
    }];
    silent(case(record), "paris")
}

fn told(memory: &mut Memory, me: &str, case: &Case, now: Timestamp) -> Vec<Notice> {
    due(memory, &site(me), case, now)
}

fn kinds(notices: &[Notice]) -> Vec<(Kind, &str)> {
    notices.iter().map(|n| (n.kind, n.channel.as_str())).collect()
}

/// What an operator says that starts now.
fn first(me: &str, case: &Case, now: Timestamp) -> Vec<Notice> {
    told(&mut Memory::default(), me, case, now)
}

#[test]
fn while_all_is_well_nobody_is_told_anything() {
    for me in ["paris", "lyon"] {
        let (mut memory, quiet) = (Memory::default(), case(steady()));
        for minutes in 0..90 {
            assert_eq!(told(&mut memory, me, &quiet, after(MINUTE * minutes)), vec![]);
        }
    }
}

#[rstest]
#[case::reads_by_the_site_that_serves_them(reads(), "lyon", &[(Kind::ReadOnly, "ops"), (Kind::ReadOnly, "customers-fr")])]
#[case::not_by_the_one_that_is_cut_off(reads(), "paris", &[])]
#[case::moved_by_the_new_site_and_not_to_users_without_words(taken(), "lyon", &[(Kind::Moved, "ops")])]
#[case::not_by_the_old_one_that_is_back({ let mut c = taken(); c.sites[0].lives = Some(true); c }, "paris", &[])]
#[case::by_the_other_one_when_the_new_one_is_silent(silent(taken(), "lyon"), "paris", &[(Kind::Moved, "ops")])]
#[case::a_site_that_is_not_known_to_be_silent_is_trusted({ let mut c = taken(); c.sites[1].lives = None; c }, "paris", &[])]
#[case::by_the_other_one_when_the_one_that_serves_reads_is_silent(silent(reads(), "lyon"), "paris", &[(Kind::ReadOnly, "ops"), (Kind::ReadOnly, "customers-fr")])]
fn one_site_speaks(#[case] case: Case, #[case] me: &str, #[case] expected: &[(Kind, &str)]) {
    assert_eq!(kinds(&first(me, &case, after(MINUTE))), expected);
}

#[test]
fn what_was_told_is_not_told_again() {
    let (mut memory, reads) = (Memory::default(), reads());
    assert_eq!(told(&mut memory, "lyon", &reads, wall()).len(), 2);
    for minutes in 1..300 {
        assert_eq!(told(&mut memory, "lyon", &reads, after(MINUTE * minutes)), vec![]);
    }
    // The same happening under another serial, which a hold raises, is the same.
    let mut held = reads;
    held.record.as_mut().unwrap().serial += 1;
    assert_eq!(told(&mut memory, "lyon", &held, after(HOUR * 5)), vec![]);
}

#[test]
fn an_operator_that_starts_tells_what_may_not_have_been_delivered_and_nothing_older() {
    for (passed, expected) in [(FRESH, 2), (FRESH + Duration::from_secs(1), 0)] {
        assert_eq!(first("lyon", &reads(), after(passed)).len(), expected, "{passed:?}");
    }
}

#[test]
fn what_happens_while_an_operator_looks_is_told_whatever_the_other_site_s_clock_says() {
    let mut memory = Memory::default();
    told(&mut memory, "lyon", &case(steady()), after(HOUR));
    let notices = told(&mut memory, "lyon", &reads(), after(HOUR));
    assert_eq!(notices.len(), 2, "{notices:?}");
}

#[test]
fn a_site_that_becomes_the_speaker_tells_what_the_other_one_may_not_have_told() {
    let (mut memory, mut moved) = (Memory::default(), taken());
    (moved.sites[0].lives, moved.sites[1].lives) = (Some(true), Some(true));
    assert_eq!(told(&mut memory, "paris", &moved, wall()), vec![]);
    let dead = silent(moved.clone(), "lyon");
    assert_eq!(kinds(&told(&mut memory.clone(), "paris", &dead, after(FRESH))), [(Kind::Moved, "ops")]);
    assert_eq!(told(&mut memory, "paris", &dead, after(FRESH * 2)), vec![]);
}

#[test]
fn a_site_that_came_back_says_so_and_only_it() {
    let mut returning = in_phase(Phase::Returning);
    returning.target = Some(site("lyon"));
    let returning = case(returning);
    let mut record = steady();
    record.entered.at = after(MINUTE * 5);
    let back = case(record);
    let now = after(MINUTE * 5);
    for (me, expected) in [("paris", &[(Kind::Back, "ops"), (Kind::Back, "customers-fr")][..]), ("lyon", &[])]
    {
        let mut memory = Memory::default();
        assert_eq!(told(&mut memory, me, &returning, wall()), vec![]);
        assert_eq!(kinds(&told(&mut memory, me, &back, now)), expected, "{me}");
        assert_eq!(told(&mut memory, me, &back, after(MINUTE * 6)), vec![]);
    }
    // Over a restart, by the status that was written before it.
    let mut restarted = Memory::from_status(Some((1, Phase::Returning)), None, None);
    assert_eq!(told(&mut restarted, "paris", &back, now).len(), 2);
    let mut long_ago = Memory::from_status(Some((1, Phase::Returning)), None, None);
    assert_eq!(told(&mut long_ago, "paris", &back, after(HOUR)), vec![]);
    let mut always_steady = Memory::from_status(Some((1, Phase::Steady)), None, None);
    assert_eq!(told(&mut always_steady, "paris", &back, now), vec![]);
}

#[test]
fn a_site_that_came_back_says_so_also_when_the_role_had_moved_there_before() {
    let mut reads = taken();
    let record = reads.record.as_mut().unwrap();
    (record.phase, record.target) = (Phase::Returning, Some(site("paris")));
    let mut memory = Memory::default();
    told(&mut memory, "lyon", &reads, after(HOUR));
    let mut back = taken();
    back.record.as_mut().unwrap().entered.at = after(HOUR);
    let notices = told(&mut memory, "lyon", &back, after(HOUR));
    assert_eq!(kinds(&notices), [(Kind::Back, "ops"), (Kind::Back, "customers-fr")]);
}

#[test]
fn a_site_that_the_policy_does_not_name_any_more_is_not_trusted_to_speak() {
    let mut moved = taken();
    moved.sites.iter_mut().for_each(|row| row.lives = Some(true));
    moved.sites.retain(|row| row.name != site("lyon"));
    assert_eq!(kinds(&first("paris", &moved, after(MINUTE))), [(Kind::Moved, "ops")]);
}

#[test]
fn a_decision_is_asked_for_once_it_lasts_and_once() {
    let stalled = judged(reads(), condition("Stalled", Some(true), "ReadOnly"));
    let mut memory = Memory::default();
    let decisions = |notices: Vec<Notice>| notices.iter().filter(|n| n.kind == Kind::DecisionNeeded).count();
    assert_eq!(decisions(told(&mut memory, "lyon", &stalled, wall())), 0);
    assert_eq!(decisions(told(&mut memory, "lyon", &stalled, after(Duration::from_secs(29)))), 0);
    let asked = told(&mut memory, "lyon", &stalled, after(Duration::from_secs(30)));
    assert_eq!(kinds(&asked), [(Kind::DecisionNeeded, "ops")], "users are not asked");
    let text = &asked[0].text;
    for words in
        ["why it is ReadOnly", "bascule why shop/shop", "bascule failover shop/shop --to lyon --reason WHY"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    // It comes and goes: people know already.
    let quiet = reads();
    for minutes in 1..50 {
        let case = if minutes % 2 == 0 { &stalled } else { &quiet };
        assert_eq!(decisions(told(&mut memory, "lyon", case, after(MINUTE * minutes))), 0, "{minutes}");
    }
}

#[test]
fn what_a_person_has_suspended_needs_no_decision() {
    let mut suspended =
        judged(case(in_phase(Phase::Unmanaged)), condition("Stalled", Some(true), "Unmanaged"));
    let mut memory = Memory::from_status(None, None, Some(wall()));
    assert_eq!(
        kinds(&told(&mut memory, "paris", &suspended, after(MINUTE))),
        [(Kind::DecisionNeeded, "ops")]
    );
    Arc::make_mut(&mut suspended.policy).suspend = true;
    let mut memory = Memory::from_status(None, None, Some(wall()));
    assert_eq!(told(&mut memory, "paris", &suspended, after(MINUTE)), vec![]);
}

#[test]
fn a_promise_of_nothing_is_overcome_by_a_person_s_word_only() {
    let mut never = never_fences(reads().record.unwrap());
    never.target = Some(site("lyon"));
    let case = Case { record: Some(never), ..reads() };
    let text = first("lyon", &case, wall())[0].text.clone();
    assert!(text.contains("--source-stopped WHO-SAW-IT"), "{text}");
}

/// When a site that looks every half minute for three days, and has found no protection at `wall()`, says so.
fn unprotected_at(memory: &mut Memory, me: &str) -> Vec<u64> {
    let naked = judged(case(steady()), condition("FailoverPossible", Some(false), "NoSiteCanTake"));
    let mut at = Vec::new();
    for looks in 0..(2 * 60 * 74) {
        let passed = Duration::from_secs(30) * looks;
        let notices = told(memory, me, &naked, after(passed));
        at.extend(notices.iter().map(|n| {
            assert_eq!((n.kind, n.channel.as_str(), n.since), (Kind::Unprotected, "ops", wall()));
            passed.as_secs() / 60
        }));
    }
    at
}

#[test]
fn a_lack_of_protection_is_told_again_at_growing_intervals() {
    let (minutes, hour, day) = (5, 60, 24 * 60);
    let expected = [minutes, hour, 6 * hour, day, 2 * day, 3 * day];
    assert_eq!(unprotected_at(&mut Memory::default(), "paris"), expected);
    assert_eq!(unprotected_at(&mut Memory::default(), "lyon"), [0_u64; 0], "the active site speaks");
}

#[test]
fn a_restart_neither_forgets_nor_repeats_since_when_protection_is_lacking() {
    let naked = judged(case(steady()), condition("FailoverPossible", None, "NotKnown"));
    for (passed, expected) in [
        (MINUTE * 4, 0),
        (MINUTE * 6, 1),
        (MINUTE * 30, 0),
        (HOUR + MINUTE, 1),
        (HOUR * 3, 0),
        (HOUR * 48 + MINUTE, 1),
        (HOUR * 49, 0),
    ] {
        let mut memory = Memory::from_status(None, Some(wall()), None);
        let notices = told(&mut memory, "paris", &naked, after(passed));
        assert_eq!(notices.len(), expected, "{passed:?}");
        assert!(notices.iter().all(|n| n.since == wall()));
    }
}

#[test]
fn protection_that_is_back_ends_it_and_a_transition_is_no_lack_of_it() {
    let naked = judged(case(steady()), condition("FailoverPossible", Some(false), "NoSiteCanTake"));
    let mut memory = Memory::default();
    told(&mut memory, "paris", &naked, wall());
    told(&mut memory, "paris", &case(steady()), after(MINUTE * 4));
    assert_eq!(told(&mut memory, "paris", &naked, after(MINUTE * 8)), vec![]);
    assert_eq!(told(&mut memory, "paris", &naked, after(MINUTE * 13)).len(), 1);
    let moving = judged(case(in_phase(Phase::Handover)), condition("FailoverPossible", Some(false), "x"));
    let mut memory = Memory::from_status(None, Some(wall()), None);
    assert_eq!(told(&mut memory, "paris", &moving, after(HOUR)), vec![]);
}

fn switchover(name: &str, not_before: Option<Timestamp>) -> Move {
    Move {
        hash: MoveHash(format!("hash-of-{name}")),
        name: name.try_into().unwrap(),
        order: Order::Switchover { to: site("lyon") },
        from: Some(site("paris")),
        epoch: Some(1),
        serial: None,
        not_before,
        not_after: None,
        reason: "kernel update".to_owned(),
    }
}

#[rstest]
#[case::later(switchover("m", Some(after(HOUR))), 2)]
#[case::at_once(switchover("m", None), 0)]
#[case::begun(switchover("m", Some(wall())), 0)]
#[case::of_another_epoch(Move { epoch: Some(7), ..switchover("m", Some(after(HOUR))) }, 0)]
#[case::no_switchover(Move { order: Order::Hold, ..switchover("m", Some(after(HOUR))) }, 0)]
fn a_switchover_of_later_is_announced(#[case] mv: Move, #[case] expected: usize) {
    let mut planned = case(steady());
    planned.moves = vec![(mv, wall())];
    let notices = first("paris", &planned, after(MINUTE));
    assert_eq!(notices.len(), expected, "{notices:?}");
    assert_eq!(first("lyon", &planned, after(MINUTE)), vec![]);
    if let [administrators, users] = &notices[..] {
        assert!(administrators.subject.contains("switchover from paris to lyon at 2026-11-28T04:02:00Z"));
        for words in ["Reason: kernel update", "kubectl -n shop delete move m"] {
            assert!(administrators.text.contains(words), "{words}: {}", administrators.text);
        }
        assert_eq!((users.subject.as_str(), users.text.as_str()), ("Boutique", "Entretien."));
    }
}

#[test]
fn users_read_the_policy_s_words_and_administrators_the_operator_s() {
    let notices = first("lyon", &reads(), wall());
    let [administrators, users] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!(administrators.audience, Audience::Administrators);
    assert_eq!(administrators.subject, "shop/shop: read-only: paris is silent, lyon serves reads");
    for words in [
        "The sentence.",
        "Policy: shop/shop",
        "Epoch: 1, serial 10",
        "Told by: lyon",
        "Since: 2026-11-28T03:02:00Z",
        "bascule hold shop/shop --reason WHY",
    ] {
        assert!(administrators.text.contains(words), "{words}: {}", administrators.text);
    }
    assert_eq!(users.audience, Audience::Users("fr".to_owned()));
    assert_eq!((users.subject.as_str(), users.text.as_str()), ("Boutique", "Lecture seule."));
    assert_ne!(users.id, administrators.id);
}

#[test]
fn two_sites_that_tell_the_same_give_it_the_same_id() {
    let by = |me: &str, case: &Case| first(me, case, wall()).into_iter().map(|n| n.id).collect::<Vec<_>>();
    assert_eq!(by("lyon", &taken()), by("paris", &silent(taken(), "lyon")));
}

#[test]
fn without_a_record_the_initial_site_speaks() {
    let stalled = condition("Stalled", Some(true), "NoRecord");
    let none = judged(Case { record: None, ..case(steady()) }, stalled);
    let speaks = |me: &str, case: &Case| {
        let mut memory = Memory::from_status(None, None, Some(wall()));
        told(&mut memory, me, case, after(MINUTE)).len()
    };
    assert_eq!((speaks("paris", &none), speaks("lyon", &none)), (1, 0));
    let gone = silent(none, "paris");
    assert_eq!(speaks("lyon", &gone), 1);
}

#[test]
fn a_policy_that_names_nobody_has_nobody_told() {
    let mut reads = reads();
    Arc::make_mut(&mut reads.policy).notifications = Notifications::default();
    let me: SiteName = site("lyon");
    assert_eq!(due(&mut Memory::default(), &me, &reads, wall()), vec![]);
}
