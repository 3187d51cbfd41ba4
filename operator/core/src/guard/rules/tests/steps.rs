//! Starting, opening, following, promoting, checkpoints.

use super::*;

#[test]
fn opening_is_a_step_of_its_own_with_its_own_fresh_grant() {
    let mut g = Guard::promoting();
    assert_eq!(g.server(ServerState::Primary { open: false }, 100), []);
    assert!(g.asked.last().unwrap().1, "the question for opening is a fresh one");
    assert_eq!(g.answer(grants(6, serve(true), 1250, false), 110), []);
    g.on(Event::Tick { tell: true }, 120);
    assert_eq!(
        g.answer(grants(6, serve(true), 1250, true), 121),
        [Action::Open { epoch: 1, slots: vec!["bascule_lyon".into()] }]
    );
}

#[test]
fn the_guard_removes_the_trigger_before_it_stops_a_server_that_is_becoming_a_primary() {
    let mut g = Guard::promoting();
    let out = g.tell(says(7, Role::Lock), 100);
    assert!(matches!(out[..], [Action::RemoveTrigger, Action::Stop { .. }]), "{out:?}");
    assert_eq!(g.rules.locked(), None);
}

#[test]
fn a_standby_that_somebody_else_promoted_is_killed_at_once() {
    for role in [follow(), Role::Wait { why: "x".into() }] {
        let mut g = Guard::new(cluster(true));
        g.tell(says(5, follow()), 0);
        g.server(ServerState::Standby { open: true }, 0);
        g.tell(says(6, role), 10);
        assert_eq!(g.server(ServerState::Primary { open: true }, 20), [Action::Kill]);
    }
}

#[test]
fn opening_a_standby_is_a_step_of_its_own_and_is_tried_again_after_a_pause() {
    let mut g = Guard::new(cluster(true));
    g.tell(says(5, follow()), 0);
    assert_eq!(g.server(ServerState::Standby { open: false }, 10), [Action::OpenStandby]);
    assert_eq!(g.on(Event::Failed, 20), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 100), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 120), [Action::OpenStandby]);
    g.server(ServerState::Standby { open: true }, 130);
    assert_eq!(g.rules.server(), &ServerState::Standby { open: true });
}

#[test]
fn a_standby_that_has_left_its_upstreams_history_is_stopped_and_joins_again() {
    for state in [ServerState::Standby { open: true }, ServerState::Starting { writer: false }] {
        let mut g = Guard::new(cluster(true));
        g.tell(says(5, follow()), 0);
        g.server(state.clone(), 10);
        assert!(matches!(g.on(Event::Strayed, 20)[..], [Action::Stop { .. }]), "{state:?}");
        assert_eq!(g.server(ServerState::Down, 30), [Action::Join { upstream: upstream() }]);
    }
    let mut g = Guard::open_primary();
    assert_eq!(g.on(Event::Strayed, 20), [], "a primary follows nobody");
}

#[test]
fn a_standby_that_is_being_started_under_another_upstream_is_stopped() {
    let mut g = Guard::new(cluster(true));
    g.tell(says(5, follow()), 0);
    let other = Upstream { host: "lyon".into(), ..upstream() };
    let role = Role::Follow { upstream: other.clone(), open: true };
    assert!(matches!(g.tell(says(6, role), 10)[..], [Action::Stop { .. }]));
    assert_eq!(g.server(ServerState::Down, 20), [Action::Join { upstream: other }]);
}

#[test]
fn a_standby_needs_a_role_and_no_grant_and_clones_into_an_empty_directory_only() {
    let join = Action::Join { upstream: upstream() };
    let cases = [
        (Disk::Empty, vec![Action::Clone { upstream: upstream() }]),
        (cluster(true), vec![join.clone()]),
        (cluster(false), vec![join]),
        (Disk::Unreadable { reason: "PG_VERSION says 16".into() }, vec![]),
    ];
    for (disk, expected) in cases {
        assert_eq!(Guard::new(disk.clone()).tell(says(5, follow()), 0), expected, "{disk:?}");
    }
}

#[test]
fn an_empty_or_half_rewound_directory_is_never_served() {
    let half = match cluster(false) {
        Disk::Cluster(c) => Disk::Cluster(Cluster { half_rewound: true, ..c }),
        other => other,
    };
    for disk in [Disk::Empty, half] {
        let mut g = Guard::new(disk);
        g.tell(says(5, serve(true)), 0);
        assert_eq!(g.answer(grants(5, serve(true), 1250, true), 10), []);
        assert!(matches!(g.rules.server(), ServerState::Failed { .. }));
    }
}

#[test]
fn a_primary_that_shall_follow_is_stopped_first() {
    let mut g = Guard::open_primary();
    assert!(matches!(g.tell(says(6, follow()), 100)[..], [Action::Stop { .. }]));
    assert_eq!(g.server(ServerState::Down, 150), [Action::Join { upstream: upstream() }]);
}

#[test]
fn nothing_was_opened_is_kept_over_the_restart_because_the_open_order_names_its_epoch() {
    // The marker itself is the supervisor's: written before opening. The rules give the epoch of the hold.
    let mut g = Guard::new(cluster(false));
    let hold = |fresh| Instruction { epoch: 7, ..grants(5, serve(true), 1250, fresh) };
    g.tell(Instruction { epoch: 7, ..says(5, serve(true)) }, 0);
    g.answer(hold(true), 1);
    g.server(ServerState::Primary { open: false }, 2);
    assert!(matches!(g.answer(hold(true), 3)[..], [Action::Open { epoch: 7, .. }]));
}

#[test]
fn a_checkpoint_is_ordered_once_per_serial() {
    let mut g = Guard::open_primary();
    let asks = Instruction { checkpoint: true, ..says(6, serve(true)) };
    assert_eq!(g.tell(asks.clone(), 10), [Action::Checkpoint { serial: 6 }]);
    assert_eq!(g.tell(asks, 20), []);
}

#[test]
fn a_checkpoint_that_is_ordered_while_no_primary_runs_is_made_once_one_does() {
    let mut g = Guard::new(cluster(false));
    let asks = Instruction { checkpoint: true, ..says(6, serve(true)) };
    assert_eq!(g.tell(asks.clone(), 0), []);
    let leave = Instruction { checkpoint: true, ..grants(6, serve(true), 1250, true) };
    assert_eq!(g.answer(leave.clone(), 0), [Action::StartPrimary]);
    g.server(ServerState::Primary { open: false }, 10);
    let now = g.answer(leave, 10);
    assert!(now.contains(&Action::Checkpoint { serial: 6 }), "{now:?}");
    g.server(ServerState::Primary { open: true }, 20);
    assert_eq!(g.tell(asks, 30), []);
}

#[test]
fn a_checkpoint_that_failed_is_ordered_again_after_a_pause() {
    let mut g = Guard::open_primary();
    let asks = Instruction { checkpoint: true, ..says(6, serve(true)) };
    assert_eq!(g.tell(asks.clone(), 10), [Action::Checkpoint { serial: 6 }]);
    assert_eq!(g.on(Event::CheckpointFailed { serial: 5 }, 20), []);
    assert_eq!(g.tell(asks.clone(), 30), [], "another one's failure");
    assert_eq!(g.on(Event::CheckpointFailed { serial: 6 }, 40), []);
    assert_eq!(g.tell(asks.clone(), 50), []);
    assert_eq!(g.tell(asks.clone(), 40 + 1_000), [Action::Checkpoint { serial: 6 }]);
    assert_eq!(g.tell(asks, 40 + 1_100), []);
}

#[test]
fn a_standby_that_may_be_open_is_closed_before_its_promotion() {
    let opening = || {
        let mut g = Guard::new(cluster(true));
        g.tell(says(5, follow()), 0);
        assert_eq!(g.server(ServerState::Standby { open: false }, 10), [Action::OpenStandby]);
        g
    };
    let mut under_way = opening();
    under_way.tell(says(6, serve(true)), 20);
    let ordered = under_way.answer(grants(6, serve(true), 1250, true), 30);
    assert_eq!(ordered, [Action::Promote { close: true }]);
    let mut failed = opening();
    failed.on(Event::Failed, 20);
    let closed = Role::Follow { upstream: upstream(), open: false };
    assert_eq!(failed.tell(says(6, closed.clone()), 30), [Action::Close]);
    assert_eq!(failed.tell(says(6, closed), 40), []);
    failed.server(ServerState::Standby { open: false }, 50);
    failed.tell(says(7, serve(true)), 60);
    let ordered = failed.answer(grants(7, serve(true), 1250, true), 70);
    assert_eq!(ordered, [Action::Promote { close: false }]);
}

#[test]
fn a_standby_told_to_serve_after_a_restart_starts_without_an_upstream_and_is_then_promoted() {
    let mut g = Guard::new(cluster(true));
    assert_eq!(g.tell(says(6, serve(true)), 0), [Action::StartOrphan]);
    g.server(ServerState::Standby { open: false }, 10);
    assert_eq!(g.answer(grants(6, serve(true), 1250, true), 20), [Action::Promote { close: false }]);
}

#[test]
fn a_standby_says_whom_it_follows_and_a_server_that_is_promoted_follows_nobody() {
    let mut g = Guard::new(cluster(true));
    g.tell(says(5, follow()), 0);
    assert_eq!(g.rules.following(), Some(&upstream()));
    g.server(ServerState::Standby { open: true }, 0);
    assert_eq!(g.rules.following(), Some(&upstream()));
    assert_eq!(Guard::promoting().rules.following(), None);
}

#[test]
fn another_disk_lets_a_server_that_failed_try_again_and_is_told_at_once() {
    let mut g = Guard::new(Disk::Empty);
    g.tell(says(5, serve(true)), 0);
    assert!(matches!(g.rules.server(), ServerState::Failed { .. }));
    g.on(Event::Tick { tell: false }, 5);
    let asked = g.asked.len();
    g.on(Event::Disk(Disk::Empty), 10);
    assert!(matches!(g.rules.server(), ServerState::Failed { .. }), "it is the same");
    assert_eq!(g.asked.len(), asked);
    g.on(Event::Disk(cluster(false)), 20);
    assert_eq!(g.rules.server(), &ServerState::Down);
    assert!(g.asked.len() > asked);
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 30), [Action::StartPrimary]);
}

#[test]
fn another_reading_of_the_disk_stops_no_server_that_runs() {
    let mut g = Guard::open_primary();
    let asked = g.asked.len();
    g.on(Event::Disk(cluster(true)), 10);
    assert_eq!(g.rules.server(), &ServerState::Primary { open: true });
    assert_eq!(g.asked.len(), asked + 1);
}

#[test]
fn the_failure_of_another_serial_s_checkpoint_orders_none_anew() {
    let mut g = Guard::open_primary();
    let asks = Instruction { checkpoint: true, ..says(6, serve(true)) };
    assert_eq!(g.tell(asks.clone(), 10), [Action::Checkpoint { serial: 6 }]);
    g.on(Event::CheckpointFailed { serial: 5 }, 20);
    assert_eq!(g.tell(asks, 1_100), []);
}

#[test]
fn a_standby_that_is_to_be_promoted_is_not_stopped_for_its_history() {
    let mut g = Guard::new(cluster(true));
    g.tell(says(5, follow()), 0);
    g.server(ServerState::Standby { open: true }, 0);
    g.tell(says(6, serve(true)), 10);
    assert_eq!(g.on(Event::Strayed, 20), []);
}

#[test]
fn a_standby_that_shall_be_closed_and_is_gets_no_order() {
    let mut g = Guard::new(cluster(true));
    g.tell(says(5, Role::Follow { upstream: upstream(), open: false }), 0);
    assert_eq!(g.server(ServerState::Standby { open: false }, 10), []);
}

#[test]
fn a_promotion_that_failed_is_tried_again_after_a_pause() {
    let mut g = Guard::promoting();
    g.on(Event::Failed, 10);
    g.server(ServerState::Standby { open: false }, 20);
    g.on(Event::Tick { tell: true }, 30);
    assert_eq!(g.answer(grants(6, serve(true), 1250, true), 40), []);
    g.on(Event::Tick { tell: false }, 110);
    assert_eq!(g.answer(grants(6, serve(true), 1250, true), 111), [Action::Promote { close: false }]);
}

/// A primary that has just been started, closed, with a grant until 1250.
fn closed_primary(open: bool) -> Guard {
    let mut g = Guard::new(cluster(false));
    g.tell(says(5, serve(open)), 0);
    assert_eq!(g.answer(grants(5, serve(open), 1250, true), 0), [Action::StartPrimary]);
    assert_eq!(g.server(ServerState::Primary { open: false }, 0), []);
    g
}

#[test]
fn a_primary_is_opened_once_and_again_after_a_pause_when_that_failed() {
    let open = [Action::Open { epoch: 1, slots: vec!["bascule_lyon".into()] }];
    let mut g = closed_primary(true);
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 0), open);
    for at in [10, 20] {
        g.on(Event::Tick { tell: true }, at);
        assert_eq!(g.answer(grants(5, serve(true), 1250, true), at), [], "it is under way");
    }
    g.on(Event::Failed, 30);
    g.on(Event::Tick { tell: true }, 40);
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 50), [], "not before its pause is over");
    g.on(Event::Tick { tell: true }, 130);
    assert_eq!(g.answer(grants(5, serve(true), 1250, true), 131), open);
    assert_eq!(g.server(ServerState::Primary { open: true }, 140), [], "it is as it shall be");
}

#[test]
fn a_primary_that_shall_be_closed_is_not_opened_and_an_open_one_is_closed_by_one_order() {
    let mut g = closed_primary(false);
    assert_eq!(g.answer(grants(5, serve(false), 1250, true), 10), []);
    let mut g = Guard::open_primary();
    assert_eq!(g.tell(says(6, serve(false)), 10), [Action::Close]);
    assert_eq!(g.tell(says(6, serve(false)), 20), []);
}
