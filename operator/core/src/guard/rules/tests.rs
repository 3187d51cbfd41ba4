//! The guard's rules, sentence by sentence.

use super::*;
use crate::guard::fallback::RecordView;
use crate::guard::wire::{Cluster, ClusterState, Grant};
use crate::position::{Lsn, SystemId, Timeline};
use crate::record::Fences;

mod deaths;
mod fallback;
mod grants;
mod properties;
mod steps;
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
