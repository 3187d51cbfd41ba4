//! Grants, deadlines and locks.

use super::*;

#[test]
fn a_guard_without_a_role_starts_nothing_however_long_it_waits() {
    for disk in [Disk::Empty, cluster(true), cluster(false)] {
        let mut g = Guard::new(disk);
        for at in (0..60_000).step_by(500) {
            assert_eq!(g.on(Event::Tick { tell: false }, at), []);
        }
        assert_eq!(g.answer(says(5, Role::Wait { why: "no record yet".into() }), 60_000), []);
    }
}

#[test]
fn starting_a_primary_needs_a_grant_and_a_fresh_answer_to_a_question_asked_since() {
    let mut g = Guard::new(cluster(false));
    let before = g.last_nonce();
    assert_eq!(g.tell(says(5, serve(true)), 10), []);
    assert_ne!(before, g.last_nonce(), "the need itself asks at once");
    let early = Event::Answered { nonce: before, instruction: grants(5, serve(true), 1250, true) };
    assert_eq!(g.on(early, 11), [], "that question was asked before the need arose");
    assert_eq!(g.answer(grants(5, serve(true), 1250, false), 20), [], "not fresh");
    g.on(Event::Tick { tell: true }, 30);
    assert_eq!(g.answer(Instruction { grant: None, ..grants(5, serve(true), 1, true) }, 31), [], "no grant");
    g.on(Event::Tick { tell: true }, 40);
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 41), [Action::StartPrimary]);
}

#[test]
fn a_kill_that_crosses_the_news_of_the_end_says_it_twice_and_the_second_word_wants_a_question_of_its_own() {
    let mut g = Guard::open_primary();
    g.on(Event::Tick { tell: true }, 10);
    let slow = g.last_nonce();
    assert_eq!(g.on(Event::Tick { tell: false }, 1250), [Action::Kill]);
    let slow = Event::Answered { nonce: slow, instruction: grants(5, serve(true), 1240, false) };
    assert_eq!(g.on(slow, 1260), [], "its grant ended on its way");
    assert_eq!(g.server(ServerState::Down, 1300), [Action::Kill], "ordered before the news is read");
    let (first, fresh) = *g.asked.last().unwrap();
    assert!(fresh, "starting again is asked for anew");
    assert_eq!(g.server(ServerState::Down, 1500), [], "that kill found nothing");
    assert_ne!(g.last_nonce(), first, "the second word asks at once");
    let early = Event::Answered { nonce: first, instruction: grants(5, serve(true), 1250, true) };
    assert_eq!(g.on(early, 1510), [], "that question was asked before the last word of the server");
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 1520), [Action::StartPrimary]);
}

#[test]
fn a_fresh_answer_whose_grant_ended_on_its_way_permits_nothing_and_a_later_grant_does_not_revive_it() {
    let mut g = Guard::new(cluster(false));
    g.tell(says(5, serve(true)), 0);
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 1250), [], "the grant ended on its way");
    g.on(Event::Tick { tell: true }, 1260);
    assert_eq!(g.answer(grants(5, serve(true), 1250, false), 1270), [], "a grant, but no fresh answer");
    g.on(Event::Tick { tell: true }, 1280);
    let ended = g.answer(grants(5, serve(true), 20, true), 1310);
    assert_eq!(ended, [], "its own grant has ended, whatever an older one has left");
    g.on(Event::Tick { tell: true }, 1320);
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 1330), [Action::StartPrimary]);
}

#[test]
fn a_grant_counts_from_the_moment_of_asking_not_from_the_receipt_of_the_answer() {
    let mut g = Guard::new(cluster(false));
    g.tell(says(5, serve(true)), 100);
    g.answer(grants(5, serve(true), 1250, true), 900);
    assert_eq!(g.rules.deadline(), Deadline::At(t(1350)));
}

#[test]
fn a_pushed_grant_never_moves_the_deadline() {
    let mut g = Guard::open_primary();
    g.tell(grants(6, serve(true), 60_000, true), 1000);
    assert_eq!(g.rules.deadline(), Deadline::At(t(1250)));
    g.tell(Instruction { grant: Some(Grant::Unlimited), ..says(7, serve(true)) }, 1001);
    assert_eq!(g.rules.deadline(), Deadline::At(t(1250)));
}

#[test]
fn a_guard_that_wakes_past_its_deadline_kills_before_anything_else() {
    let late = |g: &mut Guard, event| g.rules.step(event, t(5000));
    let mut g = Guard::open_primary();
    assert_eq!(late(&mut g, Event::Tick { tell: false })[0], Action::Kill);
    let mut g = Guard::open_primary();
    let nonce = g.last_nonce();
    let instruction = grants(5, serve(true), 60_000, true);
    assert_eq!(
        late(&mut g, Event::Answered { nonce, instruction })[0],
        Action::Kill,
        "even with a new grant in hand"
    );
    let mut g = Guard::promoting();
    assert_eq!(late(&mut g, Event::Tick { tell: false })[..2], [Action::Kill, Action::RemoveTrigger]);
}

#[test]
fn a_guard_does_not_grant_itself_anything_after_expiry() {
    let mut g = Guard::open_primary();
    g.on(Event::Disconnected, 100);
    g.on(Event::Tick { tell: false }, 400);
    assert_eq!(g.on(Event::Tick { tell: false }, 1250)[0], Action::Kill);
    let view = Some(RecordView {
        active_here: true,
        phase_grants: true,
        fences: FENCES,
        marks: HighWater { epoch: 1, serial: 5, generation: 0 },
    });
    assert_eq!(g.on(Event::RecordRead { number: 1, view }, 1260), []);
    assert_eq!(g.on(Event::LeaseRenewed { number: 1, done: true }, 1270), []);
    assert_eq!(g.rules.deadline(), Deadline::None);
}

#[test]
fn a_lock_stops_fast_and_clears_the_grant_at_once_and_the_old_deadline_still_kills() {
    let mut g = Guard::open_primary();
    assert!(matches!(g.tell(says(6, Role::Lock), 100)[..], [Action::Stop { .. }]));
    assert_eq!(g.rules.deadline(), Deadline::None);
    assert_eq!(g.rules.locked(), None, "not confirmed while it is being stopped");
    assert_eq!(g.on(Event::Tick { tell: false }, 1250), [Action::Kill]);
    g.server(ServerState::Down, 1300);
    assert_eq!(g.rules.locked(), Some(6));
}

#[test]
fn grants_and_locks_carry_the_serial_and_a_locked_guard_takes_only_a_higher_one() {
    let mut g = Guard::open_primary();
    g.tell(says(6, Role::Lock), 100);
    g.server(ServerState::Down, 150);
    for stale in [5, 6] {
        g.on(Event::Tick { tell: true }, 200);
        assert_eq!(g.answer(grants(stale, serve(true), 1250, true), 210), [], "serial {stale}");
        assert_eq!(g.tell(says(stale, follow()), 211), [], "serial {stale}");
        assert_eq!(g.rules.deadline(), Deadline::None);
    }
    g.tell(says(7, serve(true)), 300);
    assert_eq!(g.answer(grants(7, serve(true), 1250, true), 310), [Action::StartPrimary]);
}

#[test]
fn a_lock_outlives_the_guard() {
    let mut g = Guard::open_primary();
    g.tell(says(6, Role::Lock), 100);
    let mut again = Guard::with(g.rules.memory().clone(), cluster(false));
    assert_eq!(again.tell(says(6, serve(true)), 10), []);
    assert_eq!(again.answer(grants(6, serve(true), 1250, true), 20), []);
    again.tell(says(7, serve(true)), 30);
    assert_eq!(again.answer(grants(7, serve(true), 1250, true), 40), [Action::StartPrimary]);
}

#[test]
fn an_answer_from_an_arbiter_that_went_back_in_time_is_refused() {
    let mut g = Guard::open_primary();
    for back in [
        Instruction { epoch: 0, ..grants(9, serve(true), 60_000, true) },
        grants(4, serve(true), 60_000, true),
    ] {
        g.on(Event::Tick { tell: true }, 100);
        g.answer(back, 110);
        assert_eq!(g.rules.deadline(), Deadline::At(t(1250)));
    }
}

#[test]
fn keep_extends_what_runs_and_starts_nothing() {
    let mut g = Guard::open_primary();
    g.on(Event::Tick { tell: true }, 1000);
    g.answer(grants(5, Role::Keep, 1250, false), 1010);
    assert_eq!(g.rules.deadline(), Deadline::At(t(2250)));
    let mut g = Guard::new(cluster(false));
    g.tell(says(5, serve(true)), 0);
    assert_eq!(g.answer(grants(5, Role::Keep, 1250, true), 10), []);
}

#[test]
fn wait_stops_nothing_and_extends_nothing() {
    let mut g = Guard::open_primary();
    g.on(Event::Tick { tell: true }, 1000);
    assert_eq!(g.answer(grants(6, Role::Wait { why: "withdrawn".into() }, 1250, true), 1010), []);
    assert_eq!(g.rules.deadline(), Deadline::At(t(1250)));
    assert_eq!(g.on(Event::Tick { tell: false }, 1250), [Action::Kill]);
}

#[test]
fn under_a_promise_never_a_grant_has_no_deadline_but_starting_still_asks() {
    let unlimited =
        |serial| Instruction { grant: Some(Grant::Unlimited), fresh: true, ..says(serial, serve(true)) };
    let mut g = Guard::new(cluster(false));
    g.tell(says(5, serve(true)), 0);
    assert_eq!(g.answer(unlimited(5), 0), [Action::StartPrimary]);
    g.server(ServerState::Primary { open: false }, 0);
    g.answer(unlimited(5), 0);
    g.server(ServerState::Primary { open: true }, 0);
    g.on(Event::Disconnected, 10);
    assert_eq!(g.on(Event::Tick { tell: false }, 86_400_000), []);
    let mut again = Guard::with(g.rules.memory().clone(), cluster(false));
    assert_eq!(
        again.on(Event::Tick { tell: false }, 86_400_000),
        [],
        "nothing is remembered of a promise never"
    );
}

#[test]
fn a_guard_says_what_it_was_told_and_by_whom_its_grant_was_extended() {
    let g = Guard::open_primary();
    assert_eq!(g.rules.role(), Some(&serve(true)));
    assert!(!g.rules.sigterm() && !g.rules.fallback_in_use());
    assert_eq!(Guard::new(cluster(false)).rules.role(), None);
}

#[test]
fn a_guard_sleeps_until_the_next_moment_at_which_something_is_due() {
    let mut silent = Guard::open_primary();
    silent.on(Event::Disconnected, 100);
    assert_eq!(silent.rules.wakes(t(150)), t(350), "the operator has been silent for Tq");
    let mut died = Guard::new(cluster(true));
    died.tell(says(5, follow()), 0);
    died.server(ServerState::Standby { open: true }, 0);
    died.on(Event::Server { state: ServerState::Down, died: Some("killed by signal 9".into()) }, 100);
    assert_eq!(died.rules.wakes(t(150)), t(200), "the pause is over");
    let mut told = Guard::new(cluster(true));
    told.tell(says(5, Role::Wait { why: "x".into() }), 10);
    assert!(told.rules.wakes(t(10)) > t(10), "nothing is due now");
}

#[test]
fn what_must_outlive_the_guard_is_written_when_it_changes_and_only_then() {
    let written = |out: Vec<Action>| out.into_iter().any(|a| matches!(a, Action::Remember(_)));
    let mut g = Guard::open_primary();
    assert!(written(g.rules.step(Event::Told { instruction: says(6, serve(true)) }, t(10))));
    assert!(!written(g.rules.step(Event::Told { instruction: says(6, serve(true)) }, t(20))));
}

#[test]
fn a_primary_that_somebody_else_stops_is_killed_at_its_deadline_all_the_same() {
    let mut g = Guard::open_primary();
    assert_eq!(g.server(ServerState::Stopping, 1_000), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 1_249), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 1_250), [Action::Kill]);
}

#[test]
fn a_guard_asks_at_its_very_time() {
    let mut g = Guard::new(cluster(false));
    g.answer(says(5, Role::Wait { why: "x".into() }), 0);
    g.on(Event::Tick { tell: false }, 1);
    let asked = g.asked.len();
    let due = g.rules.wakes(t(1)).since_boot().as_millis() as u64;
    g.on(Event::Tick { tell: false }, due - 1);
    assert_eq!(g.asked.len(), asked);
    g.on(Event::Tick { tell: false }, due);
    assert_eq!(g.asked.len(), asked + 1);
}
