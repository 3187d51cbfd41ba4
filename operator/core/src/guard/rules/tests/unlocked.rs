//! A server that a person has unlocked.

use jiff::Timestamp;

use super::*;
use crate::guard::unlocked::Unlocked;

fn word(promote: bool) -> Unlocked {
    Unlocked {
        since: Timestamp::UNIX_EPOCH,
        reason: "the arbiter burnt down".to_owned(),
        promote,
        until: None,
    }
}

fn unlock(promote: bool) -> Event {
    Event::Unlocked(Some(word(promote)))
}

fn give_back() -> Event {
    Event::Unlocked(Some(Unlocked { until: Some(Timestamp::UNIX_EPOCH), ..word(false) }))
}

/// Nobody has ever spoken to it.
fn alone(disk: Disk) -> Guard {
    let mut g = Guard::new(disk);
    g.on(Event::Disconnected, 0);
    g
}

#[test]
fn what_was_a_primary_is_started_and_opened_without_a_grant_and_no_deadline_ends_it() {
    let mut g = alone(cluster(false));
    assert_eq!(g.on(unlock(false), 10), [Action::StartPrimary]);
    let opens = g.server(ServerState::Primary { open: false }, 20);
    assert_eq!(opens, [Action::Open { epoch: 0, slots: vec![] }]);
    g.server(ServerState::Primary { open: true }, 30);
    assert_eq!(g.rules.deadline(), Deadline::Never);
    for at in (1_000..200_000).step_by(1_000) {
        assert_eq!(g.on(Event::Tick { tell: false }, at), []);
    }
}

#[test]
fn a_grant_that_runs_out_ends_nothing_once_the_word_was_taken() {
    let mut g = Guard::open_primary();
    assert_eq!(g.on(unlock(false), 1_000), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 60_000), []);
    assert_eq!(g.rules.server(), &ServerState::Primary { open: true });
}

#[test]
fn a_standby_serves_reads_by_itself_and_is_promoted_only_when_the_word_says_so() {
    let mut g = alone(cluster(true));
    assert_eq!(g.on(unlock(false), 10), [Action::StartOrphan]);
    assert_eq!(g.server(ServerState::Standby { open: false }, 20), [Action::OpenStandby]);
    g.server(ServerState::Standby { open: true }, 30);
    assert_eq!(g.on(Event::Tick { tell: false }, 60_000), []);
    assert_eq!(g.rules.deadline(), Deadline::None, "it writes nothing");
    assert_eq!(g.on(unlock(true), 60_001), [Action::Promote { close: true }]);
    g.server(ServerState::Primary { open: false }, 60_100);
    assert_eq!(g.rules.deadline(), Deadline::Never);
}

#[test]
fn no_operator_is_obeyed_or_heard_before_the_person_gives_it_back() {
    let mut g = Guard::open_primary();
    g.on(unlock(false), 1_000);
    for role in [Role::Lock, follow(), Role::Wait { why: "no".into() }, serve(false)] {
        assert_eq!(g.tell(says(9, role.clone()), 1_100), [], "{role:?}");
        g.on(Event::Tick { tell: true }, 1_200);
        assert_eq!(g.answer(grants(9, role.clone(), 100, true), 1_210), [], "{role:?}");
    }
    assert_eq!((g.rules.memory().high_water.serial, g.rules.memory().locked), (5, None));
    assert_eq!(g.rules.deadline(), Deadline::Never);
}

#[test]
fn it_is_stopped_cleanly_when_it_is_given_back_and_serves_again_only_by_a_fresh_grant() {
    let mut g = Guard::open_primary();
    g.on(unlock(false), 1_000);
    let by = t(90_000) + PATIENCE;
    assert_eq!(g.on(give_back(), 90_000), [Action::Stop { by }]);
    assert_eq!(g.server(ServerState::Down, 90_100), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 200_000), [], "it waits for its role");
    g.on(Event::Tick { tell: true }, 200_001);
    assert_eq!(g.answer(grants(9, serve(true), 1250, true), 200_010), [], "asked before it had a role");
    g.on(Event::Tick { tell: true }, 200_020);
    assert_eq!(g.answer(grants(9, serve(true), 1250, true), 200_030), [Action::StartPrimary]);
}

#[test]
fn the_word_outlives_the_guard_and_a_lock() {
    let mut g = Guard::open_primary();
    g.tell(says(6, Role::Lock), 10);
    g.server(ServerState::Down, 20);
    assert_eq!(g.rules.locked(), Some(6));
    assert_eq!(g.on(unlock(false), 30), [Action::StartPrimary]);
    assert_eq!(g.rules.locked(), None, "nobody may take it for stopped");
    let mut again = alone(cluster(false));
    again.rules = Rules::new(g.rules.memory().clone(), cluster(false), t(0));
    assert_eq!(again.on(Event::Tick { tell: false }, 10), [Action::StartPrimary]);
    again.server(ServerState::Primary { open: false }, 20);
    again.on(give_back(), 30);
    again.server(ServerState::Down, 40);
    assert_eq!(again.rules.locked(), Some(6), "what it was told before is not forgotten");
}

#[test]
fn a_primary_that_dies_is_started_again_and_does_not_lock_itself() {
    let mut g = Guard::open_primary();
    g.on(unlock(false), 1_000);
    g.on(Event::Server { state: ServerState::Down, died: Some("signal 9".into()) }, 2_000);
    assert_eq!(g.rules.memory().locked, None);
    assert_eq!(g.on(Event::Tick { tell: false }, 3_000), [Action::StartPrimary]);
}

#[test]
fn a_copy_that_is_half_rewound_is_not_started_by_any_word() {
    let Disk::Cluster(whole) = cluster(false) else { panic!() };
    for signal in [false, true] {
        let half = Cluster { half_rewound: true, standby_signal: signal, ..whole.clone() };
        let mut g = alone(Disk::Cluster(half));
        assert_eq!(g.on(unlock(signal), 10), []);
        assert_eq!(g.on(Event::Tick { tell: false }, 60_000), []);
    }
}

#[test]
fn a_pod_that_is_asked_to_end_ends() {
    let mut g = Guard::open_primary();
    g.on(unlock(false), 1_000);
    assert_eq!(g.on(Event::Sigterm, 2_000), [Action::Stop { by: t(2_000) + PATIENCE }]);
}
