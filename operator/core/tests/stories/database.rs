//! A database with its guard, which does at once what it is told, under the guard's rules of grants and locks.

use bascule_core::few::Few;
use bascule_core::guard::wire::{
    Behind, Cluster, ClusterState, Disk, HighWater, Positions, Report, ServerState, Stopped, UpstreamView,
};
use bascule_core::plan::DatabaseRole;
use bascule_core::position::{Lsn, SystemId, Timeline};
use bascule_core::time::Millis;

/// What a shutdown checkpoint takes in the log.
const CHECKPOINT: u64 = 0x78;
/// How long a guard waits for its operator before it goes by what it remembers, in milliseconds.
const UNMANAGED_PATIENCE: u64 = 5_000;

#[derive(Clone, Debug)]
pub struct Database {
    pub state: ServerState,
    pub timeline: u32,
    pub lsn: u64,
    pub exited: Option<String>,
    /// Promotions do not work here.
    pub cannot_promote: bool,
    /// A replica that receives nothing.
    pub lagging: bool,
    /// It receives everything, and has stopped replaying here.
    pub replays_until: Option<u64>,
    pub streams: bool,
    /// The end of its primary's log, as last heard.
    pub upstream_end: u64,
    /// Who is connected to it.
    pub replicas: Few<String, Behind>,
    pub grant_until: Option<u64>,
    serial: u64,
    locked: Option<u64>,
    standby_signal: bool,
    clean: bool,
    stopped: Option<Stopped>,
    checkpointed: Option<u64>,
    opened_epoch: Option<u64>,
    /// The role that its guard has; none after a restart.
    role: Option<DatabaseRole>,
    /// What an unmanaged guard remembers beside the data.
    remembers: Option<DatabaseRole>,
    /// Since when the guard runs, or has no role.
    started: u64,
}

impl Database {
    pub fn new(standby_signal: bool) -> Self {
        Self {
            state: ServerState::Down,
            timeline: 1,
            lsn: 0x100_0000,
            exited: None,
            cannot_promote: false,
            lagging: false,
            replays_until: None,
            streams: false,
            upstream_end: 0,
            replicas: Few::new(),
            grant_until: None,
            serial: 0,
            locked: None,
            standby_signal,
            clean: true,
            stopped: None,
            checkpointed: None,
            opened_epoch: None,
            role: None,
            remembers: None,
            started: 0,
        }
    }

    /// Whether clients can write.
    pub fn writes(&self) -> bool {
        self.state == ServerState::Primary { open: true }
    }

    /// The machine lost its power.
    pub fn power_off(&mut self) {
        self.state = ServerState::Down;
        self.clean = false;
        self.grant_until = None;
        self.exited = None;
        self.streams = false;
    }

    /// The guard begins anew, at `now`: of its role it knows what it remembers beside the data.
    pub fn boots(&mut self, now: u64) {
        self.power_off();
        self.role = None;
        self.started = now;
    }

    /// The server was killed; its guard locks itself.
    pub fn dies(&mut self) {
        self.power_off();
        self.exited = Some("killed by signal 9".to_owned());
        self.locked = Some(self.serial);
    }

    /// Obeys `role`, said of a record with this serial and epoch. A grant is `Some(until)`.
    pub fn obey(
        &mut self,
        role: &DatabaseRole,
        serial: u64,
        epoch: u64,
        checkpoint: bool,
        grant: Option<u64>,
        unmanaged: bool,
    ) {
        let frees = matches!(role, DatabaseRole::Follow { .. } | DatabaseRole::Serve { .. });
        if serial < self.serial || (frees && self.locked.is_some_and(|at| serial <= at)) {
            return;
        }
        self.serial = serial;
        if checkpoint && self.writes() {
            self.checkpointed = Some(serial);
        }
        if *role == DatabaseRole::Keep {
            // It gives no role and takes none away; a grant counts only for a role that was given before.
            if matches!(self.role, Some(DatabaseRole::Serve { .. })) && self.locked.is_none() {
                self.grant_until = grant.or(self.grant_until);
            }
            return;
        }
        if frees {
            self.locked = None;
        }
        if !matches!(role, DatabaseRole::Wait { .. }) {
            self.remembers = (frees && unmanaged).then(|| role.clone());
        }
        self.role = Some(role.clone());
        match role {
            DatabaseRole::Keep | DatabaseRole::Wait { .. } => {}
            DatabaseRole::Lock => {
                if self.writes() {
                    self.stop(serial);
                }
                self.state = ServerState::Down;
                self.grant_until = None;
                self.locked = Some(serial);
            }
            DatabaseRole::Follow { open, .. } => {
                self.grant_until = None;
                self.standby_signal = true;
                self.exited = None;
                self.state = ServerState::Standby { open: *open };
            }
            DatabaseRole::Serve { open } => {
                self.grant_until = grant.or(self.grant_until);
                if grant.is_some() && !self.writes() {
                    self.serve(*open, epoch);
                }
            }
        }
    }

    fn serve(&mut self, open: bool, epoch: u64) {
        if self.standby_signal {
            if self.cannot_promote {
                let reason = "the timeline's history file is damaged".to_owned();
                self.state = ServerState::Failed { reason, commands: vec![] };
                return;
            }
            self.timeline += 1;
            self.standby_signal = false;
        }
        self.opened_epoch = Some(epoch);
        self.exited = None;
        self.clean = false;
        self.state = ServerState::Primary { open };
    }

    fn stop(&mut self, serial: u64) {
        self.stopped = Some(Stopped {
            serial,
            system_id: SystemId(77),
            timeline: Timeline(self.timeline),
            checkpoint: Lsn(self.lsn),
            clean: true,
        });
        self.lsn += CHECKPOINT;
        self.clean = true;
    }

    /// Past its deadline the guard kills; without a word from its operator it goes by what it remembers.
    pub fn watch(&mut self, now: u64) {
        if self.state.is_or_becomes_primary() && self.grant_until.is_none_or(|end| now >= end) {
            self.state = ServerState::Down;
            self.clean = false;
            self.grant_until = None;
        }
        if let (None, Some(DatabaseRole::Serve { open })) = (&self.role, self.remembers.clone())
            && now >= self.started + UNMANAGED_PATIENCE
            && !self.writes()
        {
            self.grant_until = Some(u64::MAX);
            self.serve(open, self.opened_epoch.unwrap_or(0));
        }
    }

    pub fn report(&self) -> Report {
        let standby = matches!(self.state, ServerState::Standby { .. });
        let checkpoint =
            self.stopped.as_ref().filter(|_| self.clean).map_or(Lsn(0x80_0000), |s| s.checkpoint);
        let state = match (self.standby_signal, self.clean) {
            (true, _) => ClusterState::InArchiveRecovery,
            (false, true) => ClusterState::ShutDown,
            (false, false) => ClusterState::InProduction,
        };
        Report {
            serial: self.serial,
            locked: self.locked.filter(|_| self.state.is_down()),
            boot: "b".to_owned(),
            state: self.state.clone(),
            disk: Disk::Cluster(Cluster {
                system_id: SystemId(77),
                timeline: Timeline(self.timeline),
                state,
                checkpoint,
                standby_signal: self.standby_signal,
                half_rewound: false,
            }),
            positions: (standby || self.writes()).then(|| Positions {
                timeline: Some(Timeline(self.timeline)),
                flush: self.writes().then_some(Lsn(self.lsn)),
                receive: standby.then_some(Lsn(self.lsn)),
                replay: standby.then_some(Lsn(self.replays_until.unwrap_or(self.lsn))),
                upstream: self.streams.then(|| UpstreamView {
                    status: "streaming".to_owned(),
                    timeline: Some(Timeline(self.timeline)),
                    reported_end: Some(Lsn(self.upstream_end)),
                    message_age: Some(Millis(50)),
                }),
                age: Millis(0),
            }),
            replicas: self.replicas.clone(),
            stopped: self.stopped.clone(),
            checkpointed: self.checkpointed,
            opened_epoch: self.opened_epoch,
            diverged: None,
            contact_lost: None,
            high_water: HighWater { epoch: 1, serial: self.serial, generation: 0 },
            exited: self.exited.clone(),
            sigterm: false,
            fallback: false,
            unlimited: false,
            log_gone: None,
            unlocked: None,
            notes: vec![],
        }
    }
}
