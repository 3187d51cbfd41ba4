//! The guard's rules, sentence by sentence.

use super::*;
use crate::guard::fallback::RecordView;
use crate::guard::wire::{Cluster, ClusterState, Grant};
use crate::position::{Lsn, SystemId, Timeline};
use crate::record::Fences;

mod properties;
mod unlocked;

const FENCES: Fences = Fences::Within { holder: Millis(1250), fence: Millis(300) };
const TIMING: Timing = Timing { p: Millis(250), tq: Millis(250), r: Millis(1250), f: Millis(300) };

const fn t(ms: u64) -> Boottime {
    Boottime::from_millis(ms)
}

fn cluster(standby_signal: bool) -> Disk {
    Disk::Cluster(Cluster {
        system_id: SystemId(1),
        timeline: Timeline(1),
        state: ClusterState::ShutDown,
        checkpoint: Lsn(100),
        standby_signal,
        half_rewound: false,
    })
}

fn upstream() -> Upstream {
    Upstream {
        host: "paris".into(),
        port: 5432,
        user: "replication".into(),
        password: "secret".into(),
        slot: "bascule_lyon".into(),
        application_name: "lyon".into(),
        sslmode: "prefer".into(),
    }
}

fn serve(open: bool) -> Role {
    Role::Serve { open, slots: vec!["bascule_lyon".into()] }
}

fn follow() -> Role {
    Role::Follow { upstream: upstream(), open: true }
}

fn says(serial: u64, role: Role) -> Instruction {
    Instruction {
        serial,
        epoch: 1,
        generation: 0,
        role,
        grant: None,
        fresh: false,
        checkpoint: false,
        unmanaged: false,
        timing: TIMING,
    }
}

fn grants(serial: u64, role: Role, remaining: u64, fresh: bool) -> Instruction {
    Instruction { grant: Some(Grant::For { remaining: Millis(remaining) }), fresh, ..says(serial, role) }
}

/// A guard under test with a connection to an operator.
struct Guard {
    rules: Rules,
    asked: Vec<(u64, bool)>,
}

impl Guard {
    fn new(disk: Disk) -> Self {
        Self::with(Memory::default(), disk)
    }

    fn with(memory: Memory, disk: Disk) -> Self {
        let mut guard = Self { rules: Rules::new(memory, disk, t(0)), asked: Vec::new() };
        guard.on(Event::Connected, 0);
        guard
    }

    /// What is ordered, questions, watch and memory aside.
    fn on(&mut self, event: Event, at: u64) -> Vec<Action> {
        let mut out = self.rules.step(event, t(at));
        for a in &out {
            if let Action::Ask { nonce, fresh } = a {
                self.asked.push((*nonce, *fresh));
            }
        }
        out.retain(|a| !matches!(a, Action::Ask { .. } | Action::Watch(_) | Action::Remember(_)));
        out
    }

    fn last_nonce(&self) -> u64 {
        self.asked.last().unwrap().0
    }

    /// Answers the last question.
    fn answer(&mut self, instruction: Instruction, at: u64) -> Vec<Action> {
        let nonce = self.last_nonce();
        self.on(Event::Answered { nonce, instruction }, at)
    }

    fn tell(&mut self, instruction: Instruction, at: u64) -> Vec<Action> {
        self.on(Event::Told { instruction }, at)
    }

    fn server(&mut self, state: ServerState, at: u64) -> Vec<Action> {
        self.on(Event::Server { state, died: None }, at)
    }

    /// A primary that is open under a grant until `1250` and serial 5.
    fn open_primary() -> Self {
        let mut g = Self::new(cluster(false));
        g.tell(says(5, serve(true)), 0);
        assert_eq!(g.answer(grants(5, serve(true), 1250, true), 0), [Action::StartPrimary]);
        g.server(ServerState::Primary { open: false }, 0);
        let open = g.answer(grants(5, serve(true), 1250, true), 0);
        assert_eq!(open, [Action::Open { epoch: 1, slots: vec!["bascule_lyon".into()] }]);
        g.server(ServerState::Primary { open: true }, 0);
        g.answer(grants(5, serve(true), 1250, false), 0);
        g
    }

    /// A standby that was told to serve and has begun its promotion, grant until 1250.
    fn promoting() -> Self {
        let mut g = Self::new(cluster(true));
        assert_eq!(g.tell(says(5, follow()), 0), [Action::Join { upstream: upstream() }]);
        g.server(ServerState::Standby { open: true }, 0);
        g.tell(says(6, serve(true)), 0);
        assert_eq!(g.answer(grants(6, serve(true), 1250, true), 0), [Action::Promote { close: true }]);
        g
    }
}

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
fn without_an_operator_the_guard_reads_the_record_then_renews_and_counts_from_the_read() {
    let mut g = Guard::open_primary();
    g.on(Event::Disconnected, 100);
    assert_eq!(g.on(Event::Tick { tell: false }, 349), [], "silent for less than Tq");
    assert_eq!(g.on(Event::Tick { tell: false }, 350), [Action::ReadRecord { number: 1 }]);
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let view = Some(RecordView { active_here: true, phase_grants: true, fences: FENCES, marks });
    assert_eq!(g.on(Event::RecordRead { number: 1, view }, 400), [Action::RenewLease { number: 1 }]);
    g.on(Event::LeaseRenewed { number: 1, done: true }, 500);
    assert_eq!(g.rules.deadline(), Deadline::At(t(1600)));
    assert!(g.rules.fallback_in_use());
}

#[test]
fn a_question_to_the_arbiter_that_is_under_way_keeps_the_guard_from_nothing_but_sleep() {
    let mut g = Guard::open_primary();
    g.on(Event::Disconnected, 100);
    assert_eq!(g.on(Event::Tick { tell: false }, 350), [Action::ReadRecord { number: 1 }]);
    for at in [351, 400, 500] {
        let now = Boottime::from_millis(at);
        assert!(g.rules.wakes(now) > now, "it would turn round and round at {at} ms");
    }
}

#[test]
fn the_fallback_does_not_renew_while_locked_or_stopped() {
    let mut g = Guard::open_primary();
    g.on(Event::Disconnected, 100);
    g.on(Event::Tick { tell: false }, 350);
    g.on(Event::Connected, 360);
    g.tell(says(6, Role::Lock), 370);
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let view = Some(RecordView { active_here: true, phase_grants: true, fences: FENCES, marks });
    assert_eq!(g.on(Event::RecordRead { number: 1, view }, 400), []);
    g.on(Event::Disconnected, 410);
    for at in (420..1200).step_by(50) {
        assert_eq!(g.on(Event::Tick { tell: false }, at), []);
    }
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
fn an_unmanaged_database_keeps_its_role_over_a_restart_once_no_operator_has_spoken() {
    let mut g = Guard::open_primary();
    g.on(Event::Tick { tell: true }, 100);
    let unmanaged = Instruction { unmanaged: true, grant: Some(Grant::Unlimited), ..says(6, serve(true)) };
    g.answer(unmanaged, 110);
    assert_eq!(g.rules.deadline(), Deadline::Never);
    let mut again = Guard::with(g.rules.memory().clone(), cluster(false));
    assert_eq!(again.on(Event::Tick { tell: false }, 4999), []);
    assert_eq!(again.on(Event::Tick { tell: false }, 5000), [Action::StartPrimary]);
    let mut told = Guard::with(g.rules.memory().clone(), cluster(false));
    told.tell(says(7, follow()), 10);
    told.server(ServerState::Standby { open: true }, 20);
    assert_eq!(told.on(Event::Tick { tell: false }, 6000), [], "an operator's word replaces the memory");
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
fn an_answer_without_a_grant_does_not_switch_the_fallback_off() {
    let mut g = Guard::open_primary();
    for (role, at) in [(serve(true), 300), (Role::Keep, 320)] {
        g.on(Event::Tick { tell: true }, at);
        assert_eq!(g.answer(says(5, role), at + 10), []);
    }
    let read = g.on(Event::Tick { tell: false }, 600);
    assert_eq!(read, [Action::ReadRecord { number: 1 }]);
    g.on(Event::Tick { tell: true }, 610);
    g.answer(says(5, serve(true)), 620);
    let marks = HighWater { epoch: 1, serial: 5, generation: 0 };
    let view = Some(RecordView { active_here: true, phase_grants: true, fences: FENCES, marks });
    assert_eq!(g.on(Event::RecordRead { number: 1, view }, 630), [Action::RenewLease { number: 1 }]);
    g.on(Event::LeaseRenewed { number: 1, done: true }, 640);
    assert_eq!(g.rules.deadline(), Deadline::At(t(1850)));
}

#[test]
fn the_fallback_keeps_the_promise_of_the_record_when_it_is_less_than_what_this_site_is_set_to() {
    let extended = |fences| {
        let mut g = Guard::open_primary();
        g.on(Event::Disconnected, 100);
        g.on(Event::Tick { tell: false }, 350);
        let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
        let view = Some(RecordView { active_here: true, phase_grants: true, fences, marks });
        g.on(Event::RecordRead { number: 1, view }, 400);
        g.on(Event::LeaseRenewed { number: 1, done: true }, 500);
        (g.rules.deadline(), g.rules.timing().f)
    };
    let within = |holder, fence| Fences::Within { holder: Millis(holder), fence: Millis(fence) };
    assert_eq!(extended(within(1000, 200)), (Deadline::At(t(1350)), Millis(200)));
    assert_eq!(extended(within(5000, 1000)), (Deadline::At(t(1600)), Millis(300)));
}

#[test]
fn a_remembered_role_is_taken_up_only_when_the_record_agrees() {
    let memory = Memory {
        high_water: HighWater { epoch: 1, serial: 6, generation: 0 },
        unmanaged: Some(serve(true)),
        ..Memory::default()
    };
    let marks = memory.high_water;
    let agrees = RecordView { active_here: true, phase_grants: true, fences: Fences::Never, marks };
    let refused = [
        None,
        Some(RecordView { active_here: false, ..agrees }),
        Some(RecordView { phase_grants: false, ..agrees }),
        Some(RecordView { fences: FENCES, ..agrees }),
        Some(RecordView { marks: HighWater { serial: 5, ..marks }, ..agrees }),
    ];
    let read = [Action::ReadRecord { number: 0 }];
    for view in refused {
        let mut g = Guard::with(memory.clone(), cluster(false));
        g.rules = g.rules.with_arbiter(true);
        assert_eq!(g.on(Event::Tick { tell: false }, 4999), []);
        assert_eq!(g.on(Event::Tick { tell: false }, 5000), read);
        assert_eq!(g.on(Event::Tick { tell: false }, 5010), [], "one question at a time");
        assert_eq!(g.on(Event::RecordRead { number: 0, view }, 5050), [], "{view:?}");
        assert!(g.rules.waits_for().is_some(), "{view:?}");
        assert_eq!(g.on(Event::Tick { tell: false }, 5060), [], "not without a pause");
        assert_eq!(g.on(Event::Tick { tell: false }, 5200), read);
        let started = g.on(Event::RecordRead { number: 0, view: Some(agrees) }, 5210);
        assert_eq!(started, [Action::StartPrimary]);
        assert_eq!(g.rules.waits_for(), None);
        g.server(ServerState::Primary { open: false }, 5220);
        g.server(ServerState::Primary { open: true }, 5230);
        let died = Event::Server { state: ServerState::Down, died: Some("a crash".into()) };
        assert_eq!(g.on(died, 9000), read, "asked again before every start");
    }
}

#[test]
fn a_guard_says_what_it_was_told_and_by_whom_its_grant_was_extended() {
    let g = Guard::open_primary();
    assert_eq!(g.rules.role(), Some(&serve(true)));
    assert!(!g.rules.sigterm() && !g.rules.fallback_in_use());
    assert_eq!(Guard::new(cluster(false)).rules.role(), None);
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
fn what_must_outlive_the_guard_is_written_when_it_changes_and_only_then() {
    let written = |out: Vec<Action>| out.into_iter().any(|a| matches!(a, Action::Remember(_)));
    let mut g = Guard::open_primary();
    assert!(written(g.rules.step(Event::Told { instruction: says(6, serve(true)) }, t(10))));
    assert!(!written(g.rules.step(Event::Told { instruction: says(6, serve(true)) }, t(20))));
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

#[test]
fn a_primary_that_somebody_else_stops_is_killed_at_its_deadline_all_the_same() {
    let mut g = Guard::open_primary();
    assert_eq!(g.server(ServerState::Stopping, 1_000), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 1_249), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 1_250), [Action::Kill]);
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

#[test]
fn a_remembered_role_that_the_record_confirmed_is_not_asked_about_while_its_server_runs() {
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let memory = Memory { high_water: marks, unmanaged: Some(serve(true)), ..Memory::default() };
    let mut g = Guard::with(memory, cluster(false));
    g.rules = g.rules.with_arbiter(true);
    assert_eq!(g.on(Event::Tick { tell: false }, 5000), [Action::ReadRecord { number: 0 }]);
    let view = Some(RecordView { active_here: true, phase_grants: true, fences: Fences::Never, marks });
    assert_eq!(g.on(Event::RecordRead { number: 0, view }, 5010), [Action::StartPrimary]);
    let open = [Action::Open { epoch: 1, slots: vec!["bascule_lyon".into()] }];
    assert_eq!(g.server(ServerState::Primary { open: false }, 6000), open);
    assert_eq!(g.server(ServerState::Primary { open: true }, 6010), []);
    assert_eq!(g.on(Event::Tick { tell: false }, 9000), []);
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

#[test]
fn a_renewal_that_was_on_its_way_when_the_pod_was_asked_to_end_extends_nothing() {
    let mut g = Guard::open_primary();
    g.on(Event::Disconnected, 100);
    g.on(Event::Tick { tell: false }, 350);
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let view = Some(RecordView { active_here: true, phase_grants: true, fences: FENCES, marks });
    assert_eq!(g.on(Event::RecordRead { number: 1, view }, 400), [Action::RenewLease { number: 1 }]);
    g.on(Event::Sigterm, 450);
    g.on(Event::LeaseRenewed { number: 1, done: true }, 500);
    assert_eq!(g.rules.deadline(), Deadline::At(t(1250)));
}

#[test]
fn a_remembered_role_that_cannot_be_confirmed_is_asked_about_after_longer_and_longer_pauses() {
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let memory = Memory { high_water: marks, unmanaged: Some(serve(true)), ..Memory::default() };
    let mut g = Guard::with(memory, cluster(false));
    g.rules = g.rules.with_arbiter(true);
    let (mut at, read) = (5_000, [Action::ReadRecord { number: 0 }]);
    for pause in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000, 10_000, 10_000] {
        assert_eq!(g.on(Event::Tick { tell: false }, at), read);
        assert_eq!(g.on(Event::RecordRead { number: 0, view: None }, at), []);
        assert_eq!(g.on(Event::Tick { tell: false }, at + pause - 1), []);
        at += pause;
    }
}

#[test]
fn why_a_remembered_role_waits_is_told_at_once_and_once() {
    let marks = HighWater { epoch: 1, serial: 6, generation: 0 };
    let memory = Memory { high_water: marks, unmanaged: Some(serve(true)), ..Memory::default() };
    let mut g = Guard::with(memory, cluster(false));
    g.rules = g.rules.with_arbiter(true);
    g.on(Event::Tick { tell: false }, 5000);
    let asked = g.asked.len();
    g.on(Event::RecordRead { number: 0, view: None }, 5010);
    assert_eq!(g.asked.len(), asked + 1);
    g.on(Event::Tick { tell: false }, 5110);
    g.on(Event::RecordRead { number: 0, view: None }, 5120);
    assert_eq!(g.asked.len(), asked + 1);
}
