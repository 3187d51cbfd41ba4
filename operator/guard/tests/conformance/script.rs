//! What a script can order, break and look at, and how a report is told.

use bascule_core::guard::wire::{
    ClusterState, Disk, Grant, Instruction, Positions, Report, Role, ServerState, Timing, Upstream,
};
use bascule_core::time::Millis;
use bascule_sim::side_by_side::Step;

/// A place with a guard. The database begins at the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    A,
    B,
}

impl At {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The role that the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Take writes.
    Serve,
    /// The role of a primary without the leave to act in it.
    ServeWithoutGrant,
    /// Follow the other one.
    Follow,
    /// Follow somebody who does not exist.
    FollowNobody,
    Lock,
    Wait,
}

/// What a report is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sees {
    Open,
    /// A standby that reads, receives, and has all that it was told of.
    Streams,
    /// A standby that lets clients read, whether it receives or not.
    Standby,
    Down,
    Locked(u64),
    /// Locked at whatever serial.
    LockedByItself,
    /// It has replayed past the other one's last checkpoint, which was its stop.
    ReplayedTheStop,
    /// It will not go on by itself.
    Failed,
    /// It streams after what it had alone, at least so many transactions, was saved and taken off.
    Rewound(u64),
    ContactLost,
    /// It has found `standby.signal` there.
    StandbyOnDisk,
    /// The report of another process of the guard.
    NewProcess,
    /// It has heard of this serial.
    Serial(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Do {
    /// A guard's container starts.
    Start(At),
    Order(At, Wants, u64, u64),
    Until(At, Sees),
    /// One row after the other, each committed; only if clients are let in.
    Insert(At, u32),
    /// Waits until a client reads so many rows, and says how many it reads.
    Rows(At, u32),
    /// For a while nothing may change: a report at the end of it.
    Still(At),
    /// The operator answers again.
    Answer(At),
    // What goes wrong.
    /// The operator does not answer any more.
    Deaf(At),
    KillServer(At),
    KillGuard(At),
    /// The guard's process stands still until its grant has long run out, and goes on.
    FreezeGuard(At),
    /// Every process of the server stands still.
    FreezeServer(At),
    /// A superuser promotes it.
    PromoteByHand(At),
    /// A person puts `standby.signal` there.
    MakeStandby(At),
}

impl Step for Do {
    fn fails(&self) -> bool {
        matches!(
            self,
            Self::Deaf(_)
                | Self::KillServer(_)
                | Self::KillGuard(_)
                | Self::FreezeGuard(_)
                | Self::FreezeServer(_)
                | Self::PromoteByHand(_)
                | Self::Order(_, Wants::ServeWithoutGrant | Wants::FollowNobody, ..)
        )
    }
}

/// The profile `metro`.
pub(crate) const TIMING: Timing = Timing { p: Millis(250), tq: Millis(250), r: Millis(1250), f: Millis(300) };

/// What an operator that wants something answers.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) role: Role,
    pub(crate) serial: u64,
    pub(crate) epoch: u64,
    pub(crate) grant: Option<u64>,
    pub(crate) deaf: bool,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            role: Role::Wait { why: "the test has not decided".into() },
            serial: 1,
            epoch: 1,
            grant: None,
            deaf: false,
        }
    }

    /// Changes what is wanted; `upstream` is the other one.
    pub(crate) fn order(
        &mut self,
        wants: Wants,
        serial: u64,
        epoch: u64,
        upstream: impl Fn(bool) -> Upstream,
    ) {
        self.role = match wants {
            Wants::Serve | Wants::ServeWithoutGrant => {
                Role::Serve { open: true, slots: vec!["bascule_other".into()] }
            }
            Wants::Follow => Role::Follow { upstream: upstream(true), open: true },
            Wants::FollowNobody => Role::Follow { upstream: upstream(false), open: true },
            Wants::Lock => Role::Lock,
            Wants::Wait => Role::Wait { why: "a test".into() },
        };
        self.grant = matches!(wants, Wants::Serve).then_some(TIMING.r.0);
        (self.serial, self.epoch) = (serial, epoch);
    }

    pub(crate) fn instruction(&self, fresh: bool) -> Instruction {
        let serves = matches!(self.role, Role::Serve { .. });
        Instruction {
            serial: self.serial,
            epoch: self.epoch,
            generation: 0,
            role: self.role.clone(),
            grant: self.grant.filter(|_| serves).map(|ms| Grant::For { remaining: Millis(ms) }),
            fresh,
            checkpoint: false,
            unmanaged: false,
            timing: TIMING,
        }
    }
}

/// Whether a report shows what is waited for. `other` is the other one's last report, `before` the process that had
/// reported when the waiting began.
pub(crate) fn shows(report: &Report, sees: Sees, other: Option<&Report>, before: &str) -> bool {
    // The first message of a stream comes a moment after its beginning, and only with it the primary's end is known.
    // What a clone's primary wrote meanwhile is on its way then: the last reading before a stop must not be of that moment.
    let streams = report.positions.as_ref().is_some_and(|p| {
        p.upstream
            .as_ref()
            .is_some_and(|u| u.streams() && u.reported_end.is_some() && p.held() >= u.reported_end)
    });
    let standby = report.state == ServerState::Standby { open: true };
    match sees {
        Sees::Open => report.state == ServerState::Primary { open: true },
        Sees::Streams => standby && streams,
        Sees::Standby => standby,
        Sees::Down => report.state == ServerState::Down,
        Sees::Locked(serial) => report.locked == Some(serial) && report.state == ServerState::Down,
        Sees::LockedByItself => report.locked.is_some() && report.state == ServerState::Down,
        Sees::ReplayedTheStop => {
            let stop = other.and_then(|r| r.stopped.as_ref()).map(|s| s.checkpoint);
            stop.is_some() && report.positions.as_ref().is_some_and(|p| p.replay > stop)
        }
        Sees::Failed => matches!(report.state, ServerState::Failed { .. }),
        Sees::Rewound(least) => {
            standby && streams && report.diverged.as_ref().is_some_and(|d| d.transactions >= least)
        }
        Sees::ContactLost => report.contact_lost.is_some(),
        Sees::StandbyOnDisk => matches!(&report.disk, Disk::Cluster(c) if c.standby_signal),
        Sees::NewProcess => report.boot != before,
        Sees::Serial(serial) => report.serial >= serial,
    }
}

/// A report in lines: what the operator goes by, without positions and times.
pub(crate) fn told(report: &Report) -> Vec<String> {
    let mut lines = vec![match &report.state {
        // The words are for people; whether a person is needed is what counts.
        ServerState::Failed { commands, .. } if commands.is_empty() => {
            "failed, to be ordered anew".to_owned()
        }
        ServerState::Failed { .. } => "failed, for a person".to_owned(),
        state => format!("{state:?}"),
    }];
    if let Some(serial) = report.locked {
        lines.push(format!("locked at {serial}"));
    }
    if report.state.is_down() {
        lines.push(match &report.disk {
            Disk::Empty => "nothing on the disk".to_owned(),
            Disk::Unreadable { .. } => "a disk that cannot be read".to_owned(),
            Disk::Cluster(c) => {
                let state = match c.state {
                    // A standby that was killed and one that was stopped at a bad moment are started alike.
                    ClusterState::InArchiveRecovery | ClusterState::ShutDownInRecovery => {
                        "a standby's".to_owned()
                    }
                    state => format!("{state:?}"),
                };
                let signal = if c.standby_signal { ", standby.signal" } else { "" };
                let half = if c.half_rewound { ", half rewound" } else { "" };
                format!("on the disk: {state}, timeline {}{signal}{half}", c.timeline.0)
            }
        });
    }
    if let Some(stopped) = &report.stopped {
        let how = if stopped.clean { "cleanly" } else { "not cleanly" };
        lines.push(format!(
            "its last stop as a primary: {how}, at serial {}, timeline {}",
            stopped.serial, stopped.timeline.0
        ));
    }
    if let Some(epoch) = report.opened_epoch {
        lines.push(format!("opened in epoch {epoch}"));
    }
    if let Some(diverged) = &report.diverged {
        lines.push(format!("something of timeline {} was saved", diverged.timeline.0));
    }
    if let Some(lost) = &report.contact_lost {
        // A reading that was taken while a stop's last records were on their way knows of their end before they are here:
        // chance. Whether they have come is not.
        let held = report.positions.as_ref().and_then(Positions::held).max(lost.received);
        let all = held.is_some() && held >= lost.reported_end;
        let reported = if lost.reported_end.is_some() { "reported" } else { "not reported" };
        lines.push(format!(
            "contact lost, the end {reported}, {}",
            if all { "all of it here" } else { "some of it missing" }
        ));
    }
    if report.exited.is_some() {
        lines.push("it ended by itself".to_owned());
    }
    let marks = report.high_water;
    lines.push(format!("marks: epoch {}, serial {}", marks.epoch, marks.serial));
    lines
}
