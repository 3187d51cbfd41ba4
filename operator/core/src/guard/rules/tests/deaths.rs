//! Servers that die, and pods that end.

use super::*;

#[test]
fn a_primary_that_dies_locks_itself_and_comes_back_only_by_a_later_decision() {
    let mut g = Guard::open_primary();
    let died = Some("killed by signal 9".to_owned());
    assert_eq!(g.on(Event::Server { state: ServerState::Down, died }, 100), []);
    assert_eq!(g.rules.locked(), Some(5));
    assert_eq!(g.rules.exited(), Some("killed by signal 9"));
    g.on(Event::Tick { tell: true }, 300);
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 310), []);
    g.tell(says(6, serve(true)), 400);
    assert_eq!(g.answer(grants(6, serve(true), 1250, true), 410), [Action::StartPrimary]);
}

#[test]
fn a_standby_that_dies_is_started_again_after_a_pause() {
    let mut g = Guard::new(cluster(true));
    g.tell(says(5, follow()), 0);
    g.server(ServerState::Standby { open: true }, 0);
    let died = Some("killed by signal 9".to_owned());
    assert_eq!(g.on(Event::Server { state: ServerState::Down, died }, 100), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 150), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 200), [Action::Join { upstream: upstream() }]);
}

#[test]
fn a_pod_that_is_asked_to_end_stops_fast_says_so_and_exits() {
    let mut g = Guard::open_primary();
    assert!(matches!(g.on(Event::Sigterm, 100)[..], [Action::Stop { .. }]));
    g.server(ServerState::Down, 150);
    assert!(g.rules.sigterm());
    assert_eq!(g.rules.locked(), None, "a rollout is not an offer");
    let farewell = g.asked.iter().rev().nth(1).unwrap().0;
    let nonces = [farewell, g.last_nonce()];
    let out: Vec<Action> = nonces
        .into_iter()
        .flat_map(|nonce| g.on(Event::Answered { nonce, instruction: says(5, Role::Keep) }, 160))
        .collect();
    assert!(out.contains(&Action::Exit), "{out:?}");
}

#[test]
fn a_pod_that_is_asked_to_end_does_not_wait_for_a_deaf_operator() {
    let mut g = Guard::open_primary();
    g.on(Event::Sigterm, 100);
    assert_eq!(g.server(ServerState::Down, 150), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 449), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 450), [Action::Exit]);
    let mut g = Guard::new(cluster(true));
    g.on(Event::Disconnected, 10);
    assert_eq!(g.on(Event::Sigterm, 20), [Action::Exit]);
}

#[test]
fn a_primary_that_could_not_be_started_is_started_again_by_a_later_decision_and_after_a_pause() {
    let mut g = Guard::new(cluster(false));
    g.tell(says(5, serve(true)), 0);
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 0), [Action::StartPrimary]);
    let failed = || ServerState::Failed { reason: "postgres -C: no space left".into(), commands: Vec::new() };
    g.server(failed(), 10);
    assert_eq!(g.rules.locked(), Some(5), "it is the record's business first");
    g.on(Event::Tick { tell: true }, 500);
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 510), []);
    g.tell(says(6, serve(true)), 600);
    assert_eq!(g.answer(grants(6, serve(true), 1250, true), 610), [Action::StartPrimary]);
    g.server(failed(), 620);
    g.tell(says(7, serve(true)), 630);
    assert_eq!(g.answer(grants(7, serve(true), 1250, true), 640), [], "not before its pause is over");
    g.on(Event::Tick { tell: false }, 900);
    assert_eq!(g.answer(grants(7, serve(true), 1250, true), 910), [Action::StartPrimary]);
}

#[test]
fn a_standby_that_dies_locks_nothing_also_while_it_is_being_stopped() {
    let died = || Event::Server { state: ServerState::Down, died: Some("killed by signal 9".into()) };
    let mut g = Guard::new(cluster(true));
    g.tell(says(5, follow()), 0);
    g.server(ServerState::Standby { open: true }, 0);
    let mut stopped = Guard { rules: g.rules.clone(), asked: g.asked.clone() };
    g.on(died(), 100);
    assert_eq!(g.rules.locked(), None);
    let other = Upstream { host: "lyon".into(), ..upstream() };
    let stop = stopped.tell(says(6, Role::Follow { upstream: other, open: true }), 10);
    assert_eq!(stop, [Action::Stop { by: t(10) + PATIENCE }]);
    stopped.on(died(), 20);
    assert_eq!(stopped.rules.locked(), None);
}

#[test]
fn a_primary_that_dies_while_its_pod_ends_locks_nothing() {
    let mut g = Guard::open_primary();
    g.on(Event::Sigterm, 100);
    g.on(Event::Server { state: ServerState::Down, died: Some("killed by signal 9".into()) }, 110);
    assert_eq!(g.rules.locked(), None, "a rollout is not an offer");
}

#[test]
fn only_the_answer_to_its_last_report_lets_a_pod_that_ends_go_early() {
    let mut g = Guard::open_primary();
    g.on(Event::Sigterm, 100);
    g.server(ServerState::Down, 150);
    let farewell = g.asked.iter().rev().nth(1).unwrap().0;
    assert_eq!(g.answer(says(5, Role::Keep), 160), []);
    let answer = Event::Answered { nonce: farewell, instruction: says(5, Role::Keep) };
    assert_eq!(g.on(answer, 170), [Action::Exit]);
}

#[test]
fn a_server_that_ran_in_between_is_started_again_after_the_shortest_pause() {
    let mut g = Guard::new(cluster(true));
    g.tell(says(5, follow()), 0);
    for at in [100, 1_000] {
        g.server(ServerState::Standby { open: true }, at);
        let died = Some("killed by signal 9".to_owned());
        assert_eq!(g.on(Event::Server { state: ServerState::Down, died }, at + 10), []);
        assert_eq!(g.on(Event::Tick { tell: false }, at + 109), []);
        assert_eq!(g.on(Event::Tick { tell: false }, at + 110), [Action::Join { upstream: upstream() }]);
    }
}

#[test]
fn a_server_that_never_came_to_run_is_started_again_after_longer_and_longer_pauses() {
    let mut g = Guard::new(cluster(true));
    g.tell(says(5, follow()), 0);
    let mut at = 0;
    for pause in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000] {
        let died = Some("exited with 1".to_owned());
        assert_eq!(g.on(Event::Server { state: ServerState::Down, died }, at), []);
        assert_eq!(g.on(Event::Tick { tell: false }, at + pause - 1), []);
        at += pause;
        assert_eq!(g.on(Event::Tick { tell: false }, at), [Action::Join { upstream: upstream() }]);
    }
}
