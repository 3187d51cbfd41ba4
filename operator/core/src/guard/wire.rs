//! What a guard and its operator say to each other: JSON in length-delimited frames over mutual TLS.
//!
//! The guard asks, the operator answers; the operator may also tell at any time. No message carries a moment of
//! either machine's clock: times are relative, and the one who asked counts from the moment it asked.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::unlocked::Unlocked;

use crate::few::Few;
use crate::name::{ItemName, ObjectName, PolicyKey, SiteName};
use crate::position::{Lsn, SystemId, Timeline};
use crate::time::Millis;

/// The version of these messages. A peer that speaks another one is refused by name.
pub const PROTOCOL: u32 = 1;

/// The largest frame either side accepts, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

/// From the guard to the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum FromGuard {
    /// Who speaks; the first message of a connection, sent once.
    Hello(Hello),
    /// A question for an instruction, with what the guard sees.
    Ask(Box<Ask>),
}

/// From the operator to the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum FromOperator {
    /// The answer to the [`Ask`] with this nonce.
    Answer {
        /// The nonce of the question.
        nonce: u64,
        /// What to do.
        instruction: Instruction,
    },
    /// An instruction without a question: it can give or take a role at once, and never extends a deadline.
    Tell {
        /// What to do.
        instruction: Instruction,
    },
    /// The operator will not talk to this guard and closes the connection.
    Refuse {
        /// Why, for the person who must act.
        reason: String,
    },
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`PROTOCOL`] of the guard.
    pub protocol: u32,
    /// The policy that names the database.
    pub policy: PolicyKey,
    /// The database's name in the policy.
    pub database: ItemName,
    /// The site the guard was started for.
    pub site: SiteName,
    /// The pod's name.
    pub instance: ObjectName,
    /// A random name of this guard process; another one after every restart.
    pub boot: String,
    /// The server's version as it names itself, for example `15.20`.
    pub postgres_version: String,
}

/// A question for an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// Echoed by the answer; never used twice by one guard process.
    pub nonce: u64,
    /// Whether the answer must come from a read of the record made after this question arrived.
    pub fresh: bool,
    /// What the guard sees.
    pub report: Report,
}

/// What a guard shall do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instruction {
    /// The record's serial that this follows from. Lower ones than the guard has seen are refused.
    pub serial: u64,
    /// The record's epoch.
    pub epoch: u64,
    /// The arbiter's generation.
    pub generation: u64,
    /// What to be.
    pub role: Role,
    /// Permission to write. Only an answer's grant counts; `None` gives nothing and takes nothing away.
    pub grant: Option<Grant>,
    /// The record was read after the question arrived. Starting a primary, promoting and opening need it.
    pub fresh: bool,
    /// Run a `CHECKPOINT` now; the report says when it is done.
    pub checkpoint: bool,
    /// The policy is `Unmanaged`: keep the role over restarts without asking, until told otherwise.
    pub unmanaged: bool,
    /// The installation's timing.
    pub timing: Timing,
}

/// The part of the installation's timing that a guard needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// Renew period `p`.
    pub p: Millis,
    /// Deadline of one call, `Tq`.
    pub tq: Millis,
    /// The holder's deadline `R`.
    pub r: Millis,
    /// The time within which the guard has stopped every process, `F`.
    pub f: Millis,
}

impl Timing {
    /// How often the guard asks when nothing changes: the smaller of `p` and a quarter of `R`.
    pub fn ask_every(self) -> std::time::Duration {
        self.p.duration().min(self.r.duration() / 4).max(std::time::Duration::from_millis(10))
    }
}

/// Permission to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grant {
    /// Until this long after the moment the guard asked.
    For {
        /// The time that was left when the question arrived.
        remaining: Millis,
    },
    /// Without a deadline: the recorded promise is "never".
    Unlimited,
}

/// What a guard shall be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum Role {
    /// The operator cannot read the record now: go on with the role and the deadline you have.
    Keep,
    /// No role. What runs goes on under its deadline; nothing is started.
    Wait {
        /// For whom or what, in words.
        why: String,
    },
    /// A standby of `upstream`. Needs no grant.
    Follow {
        /// Whom to follow.
        upstream: Upstream,
        /// Whether clients may connect, for reads.
        open: bool,
    },
    /// The primary: started closed, or promoted when it is a standby, then opened by command.
    Serve {
        /// Whether clients may connect.
        open: bool,
        /// The replication slots that the standbys use; made at opening.
        slots: Vec<String>,
    },
    /// Stop fast and stay down until an instruction with a higher serial.
    Lock,
}

impl Role {
    /// Its name, for logs and reasons.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Wait { .. } => "wait",
            Self::Follow { .. } => "follow",
            Self::Serve { .. } => "serve",
            Self::Lock => "lock",
        }
    }
}

/// Where a standby gets its WAL. Its `Debug` hides the password.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// Host name or address of the primary.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The replication role.
    pub user: String,
    /// Its password; empty when the certificate or the address is enough.
    pub password: String,
    /// The slot made for this standby on the primary.
    pub slot: String,
    /// How the standby names itself on the primary.
    pub application_name: String,
    /// libpq's `sslmode`.
    pub sslmode: String,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({}@{}:{} slot {})", self.user, self.host, self.port, self.slot)
    }
}

/// What the guard sees; the whole of it with every question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The highest serial the guard has accepted.
    pub serial: u64,
    /// Locked at this serial: nothing is or becomes a primary, the trigger is gone, and only a higher serial
    /// unlocks. Absent while the server is still being stopped.
    pub locked: Option<u64>,
    /// The same as in [`Hello`].
    pub boot: String,
    /// What the server is.
    pub state: ServerState,
    /// What lies on the disk. While a server runs, its control file as last written.
    pub disk: Disk,
    /// The server's positions as last read; absent while no server answers, except that a primary's last ones are kept
    /// until another server runs: their age grows.
    pub positions: Option<Positions>,
    /// How far each connected replica is behind this primary, by the name of its replication slot.
    #[serde(default)]
    pub replicas: Few<String, Behind>,
    /// How the last stop of a primary by this guard ended.
    pub stopped: Option<Stopped>,
    /// The serial of the last instruction whose `CHECKPOINT` is done.
    pub checkpointed: Option<u64>,
    /// The epoch of the hold in which this database was last opened, or was about to be: written beside the data
    /// before opening. An epoch below the record's means "never opened in this hold"; a marker that cannot be read counts
    /// as one of the highest epoch seen.
    pub opened_epoch: Option<u64>,
    /// What lay past the fork when this database last came back on another history; saved, never wiped.
    pub diverged: Option<Diverged>,
    /// What this standby knew when it lost contact with its primary; absent while it streams.
    pub contact_lost: Option<ContactLost>,
    /// The highest values the guard has seen, kept beside the data.
    pub high_water: HighWater,
    /// Why the server died, when it was not the guard who stopped it.
    pub exited: Option<String>,
    /// The pod was asked to stop (a rollout or a drain).
    pub sigterm: bool,
    /// The guard extends its grant by asking the arbiter itself.
    pub fallback: bool,
    /// The grant it holds has no deadline.
    #[serde(default)]
    pub unlimited: bool,
    /// Why this standby cannot follow its primary any more, as far as the primary's slot says so: the log that it needs is
    /// gone. With what a person has to do.
    #[serde(default)]
    pub log_gone: Option<String>,
    /// A person has said that the server runs without grants, and until when that was so.
    #[serde(default)]
    pub unlocked: Option<Unlocked>,
    /// What else a person should know: settings that are missing, a role that cannot be followed yet.
    pub notes: Vec<String>,
}

impl Report {
    /// A person's word by which this server runs without grants now: nothing that it says proves a stop.
    pub fn unlocked(&self) -> Option<&Unlocked> {
        super::unlocked::in_force(self.unlocked.as_ref())
    }

    /// Whether `upstream` sends what this copy wrote itself until it stopped cleanly: only this copy ever wrote on that
    /// timeline, and a server that is promoted leaves it, so that the sender is a standby too.
    pub fn sends_its_own(&self, upstream: &UpstreamView) -> bool {
        self.stopped.as_ref().is_some_and(|own| own.clean && upstream.timeline == Some(own.timeline))
    }
}

/// What the server beside the guard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum ServerState {
    /// No process of it runs.
    Down,
    /// It is being started.
    Starting {
        /// As a primary.
        writer: bool,
    },
    /// A standby.
    Standby {
        /// Clients may connect, for reads.
        open: bool,
    },
    /// A standby that was told to become a primary.
    Promoting,
    /// A primary.
    Primary {
        /// Clients may connect.
        open: bool,
    },
    /// It is being stopped.
    Stopping,
    /// The data directory is being filled from the upstream.
    Cloning,
    /// The data directory is being rewound to the upstream's history.
    Rewinding,
    /// The last thing tried failed and will not be tried again by itself while the instruction stays the same.
    Failed {
        /// Why.
        reason: String,
        /// The exact commands by which a person can go on; empty when a new instruction may help.
        commands: Vec<String>,
    },
}

impl ServerState {
    /// Whether it may accept writes now, or will without another command.
    pub const fn is_or_becomes_primary(&self) -> bool {
        matches!(self, Self::Starting { writer: true } | Self::Promoting | Self::Primary { .. })
    }

    /// Whether no process of a server runs.
    pub const fn is_down(&self) -> bool {
        matches!(self, Self::Down | Self::Failed { .. })
    }

    /// Whether something that was begun has not ended yet.
    pub const fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Starting { .. } | Self::Promoting | Self::Stopping | Self::Cloning | Self::Rewinding
        )
    }
}

/// What lies in the data directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum Disk {
    /// Nothing: it may be cloned into.
    Empty,
    /// A database cluster.
    Cluster(Cluster),
    /// Something that cannot be read as a cluster of a tested version.
    Unreadable {
        /// What was found and what was expected.
        reason: String,
    },
}

/// What a cluster's control file says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Which database.
    pub system_id: SystemId,
    /// The timeline of the latest checkpoint, or the later one that recovery has already reached.
    pub timeline: Timeline,
    /// In which state it was last written.
    pub state: ClusterState,
    /// Where the latest checkpoint's record starts.
    pub checkpoint: Lsn,
    /// Whether `standby.signal` lies beside it: the next start is a standby's.
    pub standby_signal: bool,
    /// A rewind was begun and not finished: it must not be served.
    pub half_rewound: bool,
}

/// The state of a cluster in its control file, as `pg_controldata` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterState {
    /// "starting up"
    StartingUp,
    /// "shut down": a primary that was stopped cleanly.
    ShutDown,
    /// "shut down in recovery": a standby that was stopped cleanly.
    ShutDownInRecovery,
    /// "shutting down"
    ShuttingDown,
    /// "in crash recovery"
    InCrashRecovery,
    /// "in archive recovery": a standby that runs, or was killed.
    InArchiveRecovery,
    /// "in production": a primary that runs, or was killed.
    InProduction,
}

/// Where a running server stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Positions {
    /// The timeline it writes or replays.
    pub timeline: Option<Timeline>,
    /// A primary's flushed end of WAL.
    pub flush: Option<Lsn>,
    /// A standby's received and flushed end of WAL.
    pub receive: Option<Lsn>,
    /// A standby's replayed position.
    pub replay: Option<Lsn>,
    /// The receiver's view of its primary; absent while there is no receiver.
    pub upstream: Option<UpstreamView>,
    /// How old this reading was when the report was made.
    pub age: Millis,
}

impl Positions {
    /// How far a standby has the log. A receiver that has begun and received nothing yet stands at the beginning of its
    /// segment; what was replayed was certainly received before.
    pub fn held(&self) -> Option<Lsn> {
        self.receive.max(self.replay)
    }

    /// Whether a receiver receives.
    pub fn streams(&self) -> bool {
        self.upstream.as_ref().is_some_and(UpstreamView::streams)
    }
}

/// PostgreSQL's word for a receiver that receives.
pub const STREAMING: &str = "streaming";

/// What a standby's receiver knows of its primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamView {
    /// `pg_stat_wal_receiver.status`, for example [`STREAMING`].
    pub status: String,
    /// The timeline it receives.
    pub timeline: Option<Timeline>,
    /// The end of WAL that the primary last reported.
    pub reported_end: Option<Lsn>,
    /// How old the primary's last message was at the reading.
    pub message_age: Option<Millis>,
}

impl UpstreamView {
    /// Whether it receives.
    pub fn streams(&self) -> bool {
        self.status == STREAMING
    }
}

/// How far a replica is behind its primary, as the primary knows it: by its own log and its own clock. The replica
/// itself cannot tell while what it would learn it from is still on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Behind {
    /// Bytes that the primary has flushed and the replica has not confirmed to have flushed.
    pub bytes: u64,
    /// How long ago the primary had flushed no more than the replica has confirmed by now, rounded up; `None`: longer
    /// than anybody remembers.
    pub time: Option<Millis>,
}

impl Behind {
    /// A replica that is behind by less than this is not worth saying: every one is, while something is written.
    pub const NOTICE: Millis = Millis(500);

    /// What is to be said of a replica to the other sites, after `said` was said before: in powers of two, so that a
    /// lag that grows or shrinks is said a few times and one that stays about as it is only once. A replica that went
    /// away (`now` is none) is still as far behind as it was.
    pub fn to_say(said: Option<Self>, now: Option<Self>) -> Option<Self> {
        let Some(now) = now else { return said };
        if now.time.is_some_and(|t| t < Self::NOTICE) {
            return None;
        }
        let whole_seconds = |t: Millis| Millis(t.0.div_ceil(1000).next_power_of_two().saturating_mul(1000));
        let next = Self { bytes: now.bytes.next_power_of_two(), time: now.time.map(whole_seconds) };
        let unknown_is_most = |b: Self| b.time.map_or(u64::MAX, |t| t.0);
        // One step down is no news: it would be said again and again at the edge.
        let about_the_same = |old: &Self| {
            let within = |old: u64, new: u64| new <= old && new >= old / 2;
            within(old.bytes, next.bytes) && within(unknown_is_most(*old), unknown_is_most(next))
        };
        Some(said.filter(about_the_same).unwrap_or(next))
    }
}

/// How a stop ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// The serial the guard knew when it was stopped.
    pub serial: u64,
    /// Which database.
    pub system_id: SystemId,
    /// On which timeline.
    pub timeline: Timeline,
    /// Where the latest checkpoint's record starts; after a clean stop that is the shutdown checkpoint, the last
    /// record of all: a standby that has replayed past it has everything.
    pub checkpoint: Lsn,
    /// The control file says "shut down".
    pub clean: bool,
}

/// WAL past a fork, saved before a rewind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diverged {
    /// The timeline it was written on.
    pub timeline: Timeline,
    /// Where the upstream's history left this one.
    pub fork: Lsn,
    /// The end of the last record.
    pub end: Lsn,
    /// `end - fork`.
    pub bytes: u64,
    /// Commit records past the fork: at least every acknowledged lost transaction; some were perhaps never
    /// acknowledged.
    pub transactions: u64,
    /// Where the segments were saved, on the database's volume.
    pub path: String,
}

/// What a standby knew when it lost contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContactLost {
    /// The timeline it received.
    pub timeline: Option<Timeline>,
    /// The last end of WAL that the primary reported; unknown when it never did.
    pub reported_end: Option<Lsn>,
    /// What had been received.
    pub received: Option<Lsn>,
    /// The age of the primary's last message at that moment, rounded up to the moment the loss was noticed.
    pub report_age: Option<Millis>,
    /// How long ago the loss was noticed; unknown after the machine restarted.
    pub since: Option<Millis>,
}

/// The highest values ever seen; they never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HighWater {
    /// Of the record's epoch.
    pub epoch: u64,
    /// Of the record's serial.
    pub serial: u64,
    /// Of the arbiter's generation.
    pub generation: u64,
}

impl HighWater {
    /// Whether `other` is behind this mark in any part: an answer from an arbiter that has gone back in time, or
    /// an old message.
    pub const fn is_above(&self, other: &Self) -> bool {
        self.generation > other.generation || self.epoch > other.epoch || self.serial > other.serial
    }
}

/// The name of the replication slot that the replica in `site` uses on a primary. PostgreSQL allows `a-z`, `0-9` and
/// `_` in it.
pub fn slot_of(site: &SiteName) -> String {
    format!("bascule_{}", site.as_str().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn lag(bytes: u64, ms: u64) -> Behind {
        Behind { bytes, time: Some(Millis(ms)) }
    }

    #[test]
    fn a_lag_is_said_in_powers_of_two_when_it_grows_and_again_when_it_has_shrunk_by_more_than_a_half() {
        assert_eq!(Behind::to_say(None, Some(lag(70_000, 499))), None, "every replica is a little behind");
        let said = Behind::to_say(None, Some(lag(70_000, 1_500)));
        assert_eq!(said, Some(lag(131_072, 2_000)));
        assert_eq!(Behind::to_say(said, Some(lag(100_000, 1_900))), said);
        assert_eq!(Behind::to_say(said, Some(lag(60_000, 900))), said, "half is about the same");
        assert_eq!(
            Behind::to_say(said, Some(lag(60_000, 2_100))),
            Some(lag(65_536, 4_000)),
            "it grew in time"
        );
        assert_eq!(Behind::to_say(said, Some(lag(20_000, 900))), Some(lag(32_768, 1_000)));
        assert_eq!(Behind::to_say(said, Some(lag(0, 0))), None);
    }

    #[test]
    fn a_replica_that_went_away_is_as_far_behind_as_it_was_and_unknown_is_the_most() {
        let said = Some(lag(65_536, 4_000));
        assert_eq!(Behind::to_say(said, None), said);
        let unknown = Some(Behind { bytes: 65_536, time: None });
        assert_eq!(Behind::to_say(said, unknown), unknown);
        assert_eq!(Behind::to_say(unknown, said), said);
    }

    #[test]
    fn a_guard_asks_four_times_within_r_at_least_and_no_oftener_than_every_ten_milliseconds() {
        let every =
            |p, r| Timing { p: Millis(p), tq: Millis(1), r: Millis(r), f: Millis(1) }.ask_every().as_millis();
        assert_eq!((every(250, 1_250), every(1_000, 1_000), every(1, 4)), (250, 250, 10));
    }

    #[test]
    fn a_mark_is_above_whatever_is_behind_it_in_any_part() {
        let mark = |generation, epoch, serial| HighWater { epoch, serial, generation };
        let seen = mark(2, 2, 2);
        assert!(!seen.is_above(&seen));
        assert!(!seen.is_above(&mark(3, 3, 3)));
        for behind in [mark(1, 3, 3), mark(3, 1, 3), mark(3, 3, 1)] {
            assert!(seen.is_above(&behind), "{behind:?}");
        }
    }

    #[test]
    fn what_was_begun_and_has_not_ended_is_busy() {
        let failed = ServerState::Failed { reason: "x".into(), commands: vec![] };
        for (state, busy) in [
            (ServerState::Starting { writer: true }, true),
            (ServerState::Promoting, true),
            (ServerState::Stopping, true),
            (ServerState::Cloning, true),
            (ServerState::Rewinding, true),
            (ServerState::Down, false),
            (ServerState::Standby { open: true }, false),
            (ServerState::Primary { open: true }, false),
            (failed, false),
        ] {
            assert_eq!(state.is_busy(), busy, "{state:?}");
        }
    }

    #[test]
    fn a_lag_of_half_a_second_is_worth_saying() {
        assert_eq!(Behind::to_say(None, Some(lag(70_000, 500))), Some(lag(131_072, 1_000)));
    }

    #[test]
    fn an_upstream_is_shown_without_its_password() {
        let upstream = Upstream {
            host: "paris".into(),
            port: 5432,
            user: "replication".into(),
            password: "secret".into(),
            slot: "bascule_lyon".into(),
            application_name: "lyon".into(),
            sslmode: "prefer".into(),
        };
        assert_eq!(format!("{upstream:?}"), "Upstream(replication@paris:5432 slot bascule_lyon)");
    }

    #[test]
    fn a_role_has_its_name() {
        assert_eq!(Role::Keep.name(), "keep");
        assert_eq!(Role::Lock.name(), "lock");
        assert_eq!(Role::Wait { why: String::new() }.name(), "wait");
        assert_eq!(Role::Serve { open: true, slots: vec![] }.name(), "serve");
    }
}
