//! What do a guard and its server do? The rules of grants, locks and fresh answers in a few lines; the whole of them runs
//! in the other worlds of this crate.

use bascule_core::few::Few;
use bascule_core::guard::wire::{
    Cluster, ClusterState, Disk, HighWater, Positions, Report, STREAMING, ServerState, Stopped, UpstreamView,
};
use bascule_core::position::{Lsn, SystemId, Timeline};
use bascule_core::time::Millis;

/// What a guard is told to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Keep,
    Wait,
    Follow { open: bool },
    Serve,
    Lock,
}

/// What a guard is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) epoch: u64,
    pub(super) serial: u64,
    pub(super) role: Role,
    pub(super) checkpoint: bool,
}

/// An answer to a guard's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) told: Told,
    /// The whole ticks after the question in which the server may run.
    pub(super) grant: Option<u8>,
    pub(super) fresh: bool,
}

/// The server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Down,
    Standby { open: bool },
    Promoting,
    Closed,
    Open,
}

/// A question under way: how many ticks ago it was asked, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    ago: u8,
    need: bool,
}

/// A guard, its server and its disk.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) boot: u8,
    pub(super) server: Server,
    /// The ticks after this one in which the server may run under its grant.
    grant: Option<u8>,
    /// The same for what a server that is or becomes a primary is watched by: it outlives a grant that was taken away.
    watch: Option<u8>,
    role: Option<Role>,
    epoch: u64,
    serial: u64,
    pub(super) locked: Option<u64>,
    asked: Option<Asked>,
    /// A question was asked in this tick.
    pub(super) asked_now: bool,
    /// What was told in the last question.
    reported: Option<Box<Report>>,
    /// The last answer allowed one step that needs the record to have been read for it.
    permitted: bool,
    pub(super) signal: bool,
    pub(super) timeline: u32,
    pub(super) log: u64,
    clean: bool,
    stopped: Option<Stopped>,
    checkpointed: Option<u64>,
    opened: Option<u64>,
    exited: bool,
}

impl Guard {
    pub(super) fn new(standby: bool) -> Self {
        Self {
            boot: 0,
            server: Server::Down,
            grant: None,
            watch: None,
            role: None,
            epoch: 0,
            serial: 0,
            locked: None,
            asked: None,
            asked_now: false,
            reported: None,
            permitted: false,
            signal: standby,
            timeline: 1,
            log: 1,
            clean: true,
            stopped: None,
            checkpointed: None,
            opened: (!standby).then_some(1),
            exited: false,
        }
    }

    pub(super) const fn is_writer(&self) -> bool {
        matches!(self.server, Server::Promoting | Server::Closed | Server::Open)
    }

    /// Whether something is to be done that needs the record to be read for it.
    fn need(&self) -> bool {
        self.role == Some(Role::Serve)
            && self.locked.is_none()
            && match self.server {
                Server::Down => !self.signal,
                Server::Standby { .. } | Server::Closed => true,
                Server::Promoting | Server::Open => false,
            }
    }

    fn down(&mut self) {
        self.server = Server::Down;
        self.watch = None;
        self.permitted = false;
    }

    /// A tick passes. What is past its deadline has been killed in it.
    pub(super) fn tick(&mut self) {
        self.asked_now = false;
        if let Some(asked) = &mut self.asked {
            asked.ago = asked.ago.saturating_add(1).min(4);
        }
        self.grant = self.grant.and_then(|left| left.checked_sub(1));
        self.watch = self.watch.and_then(|left| left.checked_sub(1));
        self.permitted &= self.grant.is_some();
        if self.is_writer() && self.watch.is_none() {
            self.clean = false;
            self.down();
        }
    }

    /// Whether it has said in this tick how it stands.
    pub(super) fn has_told(&self, streams: bool) -> bool {
        self.asked_now && self.reported.as_deref() == Some(&self.report(streams))
    }

    /// The operator has gone: it is asked anew when it is back.
    pub(super) fn disconnected(&mut self) {
        self.asked = None;
        self.reported = None;
    }

    /// Whether there is something to ask or to tell.
    pub(super) fn asks(&self, streams: bool) -> bool {
        let unasked = self.need() && !self.permitted && !self.asked.is_some_and(|a| a.need);
        unasked || !self.has_told(streams)
    }

    /// Asks; returns the report and whether the record is to be read for the answer.
    pub(super) fn ask(&mut self, streams: bool) -> (Report, bool) {
        let (report, need) = (self.report(streams), self.need());
        self.asked = Some(Asked { ago: 0, need });
        self.asked_now = true;
        self.reported = Some(Box::new(report.clone()));
        (report, need)
    }

    /// Takes an instruction; `false` when the whole of it is refused.
    pub(super) fn take(&mut self, told: Told) -> bool {
        let mark = HighWater { epoch: self.epoch, serial: self.serial, generation: 0 };
        if mark.is_above(&HighWater { epoch: told.epoch, serial: told.serial, generation: 0 }) {
            return false;
        }
        let frees = matches!(told.role, Role::Follow { .. } | Role::Serve);
        if frees && self.locked.is_some_and(|at| told.serial <= at) {
            return false;
        }
        (self.epoch, self.serial) = (told.epoch, told.serial);
        if told.checkpoint && matches!(self.server, Server::Closed | Server::Open) {
            self.checkpointed = Some(told.serial);
        }
        if told.role == Role::Keep {
            return true;
        }
        if frees {
            self.locked = None;
        }
        if !matches!(told.role, Role::Serve | Role::Wait) {
            self.grant = None;
            self.permitted = false;
        }
        if told.role == Role::Lock {
            self.locked = Some(told.serial);
        }
        if let (Role::Follow { open }, Server::Standby { open: now }) = (told.role, &mut self.server) {
            *now = open;
        }
        if let (Role::Serve, Server::Standby { open }) = (told.role, &mut self.server) {
            *open = false;
        }
        self.role = Some(told.role);
        true
    }

    /// Takes the answer to its last question.
    pub(super) fn answered(&mut self, a: Answer) {
        let Some(asked) = self.asked.take() else { return };
        if !self.take(a.told) || self.role != Some(Role::Serve) || self.locked.is_some() {
            return;
        }
        let Some(left) = a.grant.and_then(|ticks| ticks.checked_sub(asked.ago)) else { return };
        self.grant = self.grant.max(Some(left));
        self.watch = self.grant;
        self.permitted = a.fresh && asked.need && a.told.role == Role::Serve && self.need();
    }

    /// Whether its role wants the server to be stopped.
    pub(super) fn is_to_stop(&self) -> bool {
        match self.role {
            Some(Role::Lock) => self.server != Server::Down,
            Some(Role::Follow { .. }) => self.is_writer(),
            _ => false,
        }
    }

    /// Stops the server: a writer fast and cleanly.
    pub(super) fn stop(&mut self) -> bool {
        if matches!(self.server, Server::Open | Server::Closed) {
            self.stopped = Some(Stopped {
                serial: self.serial,
                system_id: SystemId(7),
                timeline: Timeline(self.timeline),
                checkpoint: Lsn(self.log * 100 + 50),
                clean: true,
            });
            // The shutdown checkpoint is the last thing in the log.
            self.log += 1;
            self.clean = true;
        }
        self.down();
        true
    }

    /// Starts, promotes or opens: one step, as far as it is permitted.
    pub(super) fn go_on(&mut self, other: &Self) -> bool {
        match (self.role, self.server) {
            (Some(Role::Follow { open }), Server::Down) if self.locked.is_none() => {
                let writer = matches!(other.server, Server::Open | Server::Closed);
                let ahead = writer && other.timeline > self.timeline;
                if !self.signal && !writer {
                    return false;
                }
                if ahead || !self.signal {
                    // It is rewound to the other's history.
                    (self.timeline, self.log) = (other.timeline, other.log);
                }
                self.signal = true;
                self.exited = false;
                self.server = Server::Standby { open };
            }
            (Some(Role::Serve), Server::Down) if self.signal && self.locked.is_none() => {
                self.server = Server::Standby { open: false };
            }
            (_, Server::Promoting) => {
                self.timeline += 1;
                self.signal = false;
                self.clean = false;
                self.server = Server::Closed;
            }
            _ if !(self.need() && self.permitted && self.grant.is_some()) => return false,
            (_, Server::Down) => {
                self.server = Server::Closed;
                self.clean = false;
                self.exited = false;
                self.log += 1;
            }
            (_, Server::Standby { .. }) => self.server = Server::Promoting,
            (_, Server::Closed) => {
                self.opened = Some(self.epoch);
                self.server = Server::Open;
            }
            (_, Server::Open) => return false,
        }
        self.permitted = false;
        true
    }

    /// Receives what the other has written.
    pub(super) fn catch_up(&mut self, other: &Self) -> bool {
        let follows = matches!((self.server, self.role), (Server::Standby { .. }, Some(Role::Follow { .. })));
        let more = (other.timeline, other.log) > (self.timeline, self.log) && !other.signal;
        if !(follows && more) {
            return false;
        }
        (self.timeline, self.log) = (other.timeline, other.log);
        true
    }

    /// The pod restarts.
    pub(super) fn restart(&mut self) {
        self.clean &= !self.is_writer();
        self.down();
        self.boot += 1;
        self.grant = None;
        self.role = None;
        self.asked = None;
        self.asked_now = false;
        self.reported = None;
        self.exited = false;
    }

    /// The server is killed by somebody else; its guard locks itself.
    pub(super) fn dies(&mut self) {
        self.down();
        self.clean = false;
        self.grant = None;
        self.exited = true;
        self.locked = Some(self.serial);
    }

    fn report(&self, streams: bool) -> Report {
        let state = match self.server {
            Server::Down => ServerState::Down,
            Server::Standby { open } => ServerState::Standby { open },
            Server::Promoting => ServerState::Promoting,
            Server::Closed => ServerState::Primary { open: false },
            Server::Open => ServerState::Primary { open: true },
        };
        let standby = matches!(self.server, Server::Standby { .. });
        let cluster = match (self.signal, self.clean) {
            (true, _) => ClusterState::InArchiveRecovery,
            (false, true) => ClusterState::ShutDown,
            (false, false) => ClusterState::InProduction,
        };
        let stop = self.stopped.as_ref().filter(|_| self.clean && !self.signal);
        let log = Lsn(self.log * 100);
        Report {
            serial: self.serial,
            locked: self.locked.filter(|_| self.server == Server::Down),
            boot: format!("boot {}", self.boot),
            state,
            disk: Disk::Cluster(Cluster {
                system_id: SystemId(7),
                timeline: Timeline(self.timeline),
                state: cluster,
                checkpoint: stop.map_or(Lsn(50), |s| s.checkpoint),
                standby_signal: self.signal,
                half_rewound: false,
            }),
            positions: (standby || self.server == Server::Open).then(|| Positions {
                timeline: Some(Timeline(self.timeline)),
                flush: (!standby).then_some(log),
                receive: standby.then_some(log),
                replay: standby.then_some(log),
                upstream: (standby && streams).then(|| UpstreamView {
                    status: STREAMING.to_owned(),
                    timeline: Some(Timeline(self.timeline)),
                    reported_end: Some(log),
                    message_age: Some(Millis(0)),
                }),
                age: Millis(0),
            }),
            replicas: Few::new(),
            stopped: self.stopped.clone(),
            checkpointed: self.checkpointed,
            opened_epoch: self.opened,
            diverged: None,
            contact_lost: None,
            high_water: HighWater { epoch: self.epoch, serial: self.serial, generation: 0 },
            exited: self.exited.then(|| "killed by signal 9".to_owned()),
            sigterm: false,
            fallback: false,
            unlimited: false,
            log_gone: None,
            unlocked: None,
            notes: vec![],
        }
    }
}
