//! The guard's rules against any order of events.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Happening {
    Wait(u64),
    Answer {
        which: u8,
        serial: u64,
        role: u8,
        remaining: Option<u64>,
        fresh: bool,
    },
    Tell {
        serial: u64,
        role: u8,
    },
    /// What was ordered of the server succeeds.
    Obeys,
    Dies,
    StrangerPromotes,
    Connected(bool),
    Read {
        mine: bool,
        grants: bool,
        serial: u64,
    },
    Renewed(bool),
    Restart,
    Sigterm,
}

fn role(n: u8) -> Role {
    match n {
        0 => Role::Keep,
        1 => Role::Wait { why: "test".into() },
        2 => follow(),
        3 => Role::Lock,
        4 => serve(false),
        _ => serve(true),
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    let remaining = proptest::option::weighted(0.8, 0u64..1250);
    prop_oneof![
        4 => (0u64..500).prop_map(Happening::Wait),
        12 => (0u8..2, 1u64..4, 0u8..12, remaining, proptest::bool::weighted(0.8)).prop_map(
            |(which, serial, role, remaining, fresh)| Happening::Answer { which, serial, role, remaining, fresh }
        ),
        2 => (1u64..8, 0u8..12).prop_map(|(serial, role)| Happening::Tell { serial, role }),
        8 => Just(Happening::Obeys),
        1 => Just(Happening::Dies),
        1 => Just(Happening::StrangerPromotes),
        2 => any::<bool>().prop_map(Happening::Connected),
        4 => (proptest::bool::weighted(0.9), proptest::bool::weighted(0.9), 1u64..8)
            .prop_map(|(mine, grants, serial)| Happening::Read { mine, grants, serial }),
        4 => proptest::bool::weighted(0.8).prop_map(Happening::Renewed),
        1 => Just(Happening::Restart),
        1 => Just(Happening::Sigterm),
    ]
}

/// What was ordered, over all the runs of a property: a property that never orders anything proves nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    starts: u32,
    promotions: u32,
    openings: u32,
    kills: u32,
    renewals: u32,
}

/// Runs the rules and keeps its own account of what may be done.
struct Judge {
    rules: Rules,
    now: u64,
    /// Every question of this process: nonce, when it was asked, whether it was fresh.
    questions: Vec<(u64, u64, bool)>,
    /// No later end than this can follow from what was answered.
    latest_end: u64,
    /// When the server was last heard of, be it with the same word as before: what was asked earlier was asked before
    /// the present need was known. A kill that crosses the news of the end says twice that nothing runs.
    need_since: u64,
    /// In the step of a fresh answer that came with a grant: when its question was asked, and when the grant ends.
    fresh: Option<(u64, u64)>,
    reads: Vec<(u64, u64)>,
    watch: Deadline,
    pending: Option<ServerState>,
    seen: Seen,
}

impl Judge {
    fn new(memory: Memory, now: u64, standby: bool) -> Self {
        Self {
            rules: Rules::new(memory, cluster(standby), t(now)),
            now,
            questions: Vec::new(),
            latest_end: 0,
            need_since: now,
            fresh: None,
            reads: Vec::new(),
            watch: Deadline::None,
            pending: None,
            seen: Seen::default(),
        }
    }

    fn step(&mut self, event: Event) {
        let before = (self.rules.memory().clone(), self.rules.deadline());
        let told = matches!(event, Event::Told { .. });
        let overdue = self.watch.has_passed(t(self.now)) && self.rules.server().is_or_becomes_primary();
        let out = self.rules.step(event, t(self.now));
        if overdue {
            assert_eq!(out.first(), Some(&Action::Kill), "killing comes first");
        }
        if told && let (Deadline::At(old), Deadline::At(new)) = (before.1, self.rules.deadline()) {
            assert!(new <= old, "a pushed instruction extends nothing");
        }
        assert!(!before.0.high_water.is_above(&self.rules.memory().high_water), "the marks never fall");
        if let Deadline::At(end) = self.rules.deadline() {
            assert!(end <= t(self.latest_end), "{end} is later than any answer allows: {}", self.latest_end);
        }
        if let (Some(old), None) = (before.0.locked, self.rules.memory().locked) {
            assert!(self.rules.memory().high_water.serial > old, "only a higher serial unlocks");
        }
        for action in out {
            self.judge(&action);
        }
        if self.rules.server().is_or_becomes_primary() {
            assert_ne!(self.watch, Deadline::None, "a writer runs and no watch is armed");
        }
    }

    fn judge(&mut self, action: &Action) {
        let live = self.rules.deadline().is_live(t(self.now));
        if matches!(action, Action::StartPrimary | Action::Promote { .. } | Action::Open { .. }) {
            assert!(live, "{action:?} without a grant");
            assert!(self.rules.memory().locked.is_none(), "{action:?} while locked");
            assert!(self.watch.is_live(t(self.now)), "{action:?} unwatched");
            let (asked, end) = self.fresh.take().expect("only a fresh answer with a grant begins this");
            assert!(asked >= self.need_since, "{action:?} by an answer to a question from before");
            assert!(self.now < end, "{action:?} by an answer whose grant ended on its way");
        }
        match action {
            Action::Watch(deadline) => self.watch = *deadline,
            Action::Ask { nonce, fresh } => self.questions.push((*nonce, self.now, *fresh)),
            Action::ReadRecord { number } => self.reads.push((*number, self.now)),
            Action::RenewLease { .. } => {
                assert!(live && self.rules.memory().locked.is_none(), "renewed while locked or expired");
                self.seen.renewals += 1;
            }
            Action::StartPrimary => {
                self.seen.starts += 1;
                self.pending = Some(ServerState::Primary { open: false });
            }
            Action::Promote { .. } => {
                self.seen.promotions += 1;
                self.pending = Some(ServerState::Primary { open: false });
            }
            Action::Open { .. } => {
                self.seen.openings += 1;
                self.pending = Some(ServerState::Primary { open: true });
            }
            Action::StartOrphan | Action::Join { .. } => {
                self.pending = Some(ServerState::Standby { open: false });
            }
            Action::OpenStandby => self.pending = Some(ServerState::Standby { open: true }),
            Action::Close => {
                let standby = matches!(self.rules.server(), ServerState::Standby { .. });
                self.pending = Some(if standby {
                    ServerState::Standby { open: false }
                } else {
                    ServerState::Primary { open: false }
                });
            }
            Action::Kill => {
                self.seen.kills += 1;
                self.pending = Some(ServerState::Down);
            }
            Action::Stop { .. } | Action::Clone { .. } => self.pending = Some(ServerState::Down),
            _ => {}
        }
    }

    fn server(&mut self, state: ServerState, died: Option<String>) {
        self.need_since = self.now;
        self.step(Event::Server { state, died });
    }

    fn happens(&mut self, what: &Happening) {
        match what {
            Happening::Wait(ms) => {
                self.now += ms;
                self.step(Event::Tick { tell: false });
            }
            Happening::Answer { which, serial, role: r, remaining, fresh } => {
                let question = self.questions.iter().rev().nth(usize::from(*which)).copied();
                let Some((nonce, at, asked_fresh)) = question else { return };
                // Near the serial the guard knows, or most answers would be refused for their age alone.
                let serial = self.rules.memory().high_water.serial + serial - 1;
                let grant = remaining.map(|ms| Grant::For { remaining: Millis(ms) });
                if let Some(ms) = *remaining {
                    self.latest_end = self.latest_end.max(at + ms);
                    self.fresh = (*fresh && asked_fresh).then_some((at, at + ms));
                }
                let instruction = Instruction { grant, fresh: *fresh, ..says(serial, role(*r)) };
                self.step(Event::Answered { nonce, instruction });
                self.fresh = None;
            }
            Happening::Tell { serial, role: r } => {
                self.step(Event::Told { instruction: says(*serial, role(*r)) });
            }
            Happening::Obeys => {
                if let Some(state) = self.pending.take() {
                    self.server(state, None);
                }
            }
            Happening::Dies => {
                if !self.rules.server().is_down() {
                    self.pending = None;
                    self.server(ServerState::Down, Some("died".into()));
                }
            }
            Happening::StrangerPromotes => {
                if matches!(self.rules.server(), ServerState::Standby { .. }) {
                    self.pending = None;
                    self.server(ServerState::Primary { open: true }, None);
                    assert!(!self.rules.server().is_or_becomes_primary(), "it is killed at once");
                }
            }
            Happening::Connected(true) => self.step(Event::Connected),
            Happening::Connected(false) => self.step(Event::Disconnected),
            Happening::Read { mine, grants, serial } => {
                let Some((number, _)) = self.reads.last().copied() else { return };
                let serial = self.rules.memory().high_water.serial.saturating_sub(1) + serial;
                let marks = HighWater { epoch: 1, serial, generation: 0 };
                let view =
                    Some(RecordView { active_here: *mine, phase_grants: *grants, fences: FENCES, marks });
                self.step(Event::RecordRead { number, view });
            }
            Happening::Renewed(done) => {
                let Some((number, sent)) = self.reads.last().copied() else { return };
                self.latest_end = self.latest_end.max(sent + TIMING.r.0);
                self.step(Event::LeaseRenewed { number, done: *done });
            }
            Happening::Restart => {
                let (memory, seen) = (self.rules.memory().clone(), self.seen);
                *self = Self { seen, ..Self::new(memory, self.now, self.now.is_multiple_of(2)) };
                self.step(Event::Connected);
            }
            Happening::Sigterm => self.step(Event::Sigterm),
        }
    }
}

fn judged(standby: bool, happenings: &[Happening]) -> Seen {
    let mut judge = Judge::new(Memory::default(), 0, standby);
    judge.step(Event::Connected);
    for what in happenings {
        judge.happens(what);
    }
    judge.seen
}

#[test]
fn no_order_of_events_starts_promotes_or_opens_without_a_fresh_grant_or_leaves_a_writer_unwatched() {
    use proptest::test_runner::{Config, TestRunner};
    let total = std::cell::Cell::new(Seen::default());
    let strategy = (any::<bool>(), proptest::collection::vec(happening(), 1..150));
    let default = Config::default();
    // The default is what PROPTEST_CASES says: it may ask for more, never for less.
    let config = Config { cases: default.cases.max(2000), failure_persistence: None, ..default };
    let result = TestRunner::new(config).run(&strategy, |(standby, happenings)| {
        let (a, b) = (total.get(), judged(standby, &happenings));
        total.set(Seen {
            starts: a.starts + b.starts,
            promotions: a.promotions + b.promotions,
            openings: a.openings + b.openings,
            kills: a.kills + b.kills,
            renewals: a.renewals + b.renewals,
        });
        Ok(())
    });
    if let Err(e) = result {
        panic!("{e}");
    }
    let seen = total.get();
    let all = [seen.starts, seen.promotions, seen.openings, seen.kills, seen.renewals];
    assert!(all.iter().all(|n| *n > 20), "too little happened to prove anything: {seen:?}");
}

/// An answer to the question before the last (`1`) or the last (`0`) that says to serve closed.
fn answer(which: u8, remaining: Option<u64>, fresh: bool) -> Happening {
    Happening::Answer { which, serial: 1, role: 4, remaining, fresh }
}

#[test]
fn orders_of_events_that_once_broke_the_property_hold() {
    use Happening::{Obeys, Wait};
    let started_and_past_its_end = || vec![answer(0, None, false), answer(0, Some(1), true), Wait(381)];
    let mut end_is_said_twice = started_and_past_its_end();
    end_is_said_twice.extend([
        answer(1, Some(0), false),
        Obeys,
        Wait(250),
        Obeys,
        answer(1, Some(251), true),
    ]);
    let mut dead_grant_is_revived = started_and_past_its_end();
    dead_grant_is_revived.extend([
        answer(1, Some(0), false),
        Obeys,
        Wait(250),
        answer(1, Some(0), true),
        answer(0, Some(1), false),
    ]);
    for happenings in [end_is_said_twice, dead_grant_is_revived] {
        let seen = judged(false, &happenings);
        assert!(seen.starts > 0 && seen.kills > 1, "a kill that crosses the end: {seen:?}");
    }
}
