//! What a server says about itself: every item is known or unknown for itself.

use std::time::Duration;

use bascule_core::observation::Fact;
use bascule_core::position::{Lsn, SystemId, Timeline};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, PgLsn};

use super::connect::{ConnectError, Session, describe};

/// The major versions of PostgreSQL that the tests of this adapter run against. Others are refused by name.
pub const TESTED_MAJOR_VERSIONS: [u32; 1] = [15];

/// Where a primary writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrimaryPosition {
    /// The timeline it writes on, from the name of its current WAL file. The control file would lag behind a
    /// promotion until a checkpoint ends.
    pub timeline: Timeline,
    /// Up to where its log is on disk: what an immediate stop could not lose.
    pub flush: Lsn,
    /// Up to where its log is made up in memory.
    pub insert: Lsn,
}

/// Whether a standby applies what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayPause {
    /// It applies.
    Running,
    /// Somebody asked for a pause that has not come into force.
    Requested,
    /// It receives and applies nothing until somebody resumes it.
    Paused,
}

/// How far a standby is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyPosition {
    /// What it received and wrote to disk by streaming since it was started; `None` when it has not streamed.
    pub receive: Option<Lsn>,
    /// What it applied; `None` before the first record.
    pub replay: Option<Lsn>,
    /// Whether it applies what it receives.
    pub pause: ReplayPause,
}

impl StandbyPosition {
    /// The furthest position that is certainly on this standby's disk. After a restart `receive` starts over at the
    /// beginning of a segment, so the larger of the two counts.
    pub fn held(&self) -> Option<Lsn> {
        self.receive.max(self.replay)
    }
}

/// A standby's own view of its primary. All ages are differences on one machine's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalReceiver {
    /// `streaming`, `waiting`, `starting`, …: PostgreSQL's word.
    pub status: String,
    /// The timeline of what was received last.
    pub received_timeline: Option<Timeline>,
    /// What it wrote to disk.
    pub flushed: Option<Lsn>,
    /// How long ago the last message of any kind came. On a quiet link a message comes only when one side asks for
    /// it, so this climbs to half of the smaller of the two timeouts.
    pub last_message_age: Option<Duration>,
    /// The end of log that the primary reported in its last message. A keepalive reports what was *sent*, which is
    /// less than what was written while sending lags; so it may also fall.
    pub latest_end: Option<Lsn>,
    /// How long `latest_end` has been standing still: the time between the messages on the primary's clock plus the
    /// time since the last one on the standby's.
    pub latest_end_age: Option<Duration>,
    /// The host it streams from.
    pub sender_host: Option<String>,
    /// The slot it uses there.
    pub slot: Option<String>,
}

/// One receiver of this server's log, as this server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The name it gave itself.
    pub application_name: String,
    /// Its address; `None` for a Unix socket.
    pub client_address: Option<String>,
    /// `streaming`, `catchup`, `startup`, `backup` or `stopping`.
    pub state: String,
    /// `async`, `potential`, `sync` or `quorum`.
    pub sync_state: String,
    /// What was sent to it.
    pub sent: Option<Lsn>,
    /// What it has on disk.
    pub flush: Option<Lsn>,
    /// What it has applied.
    pub replay: Option<Lsn>,
    /// How long the last writes took until they were on its disk, measured here; `None` while nothing is written.
    pub flush_lag: Option<Duration>,
    /// When it sent its last reply, in microseconds since 2000 **on its own clock**: compare it only with an earlier
    /// value from the same replica, to see whether it still answers.
    pub reply_time: Option<i64>,
}

/// A replication slot of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether it is for physical replication.
    pub physical: bool,
    /// Whether somebody streams from it now.
    pub active: bool,
    /// The oldest log that it keeps.
    pub restart: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`; `None` for a slot that was never used.
    pub wal_status: Option<String>,
    /// How many bytes may still be written before it is in danger of being lost; `None`: no bound is set, or it is lost.
    pub safe_wal_size: Option<i64>,
}

/// Everything that one round of questions found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Why no session could be opened; every fact is then unknown.
    pub unreachable: Option<ConnectError>,
    /// Whether this server replays another one's log (a standby) or not (a primary).
    pub in_recovery: Fact<bool>,
    /// Which database this is a copy of.
    pub system_identifier: Fact<SystemId>,
    /// The version, like 150020 for 15.20.
    pub server_version_num: Fact<u32>,
    /// The timeline: a primary's from its current WAL file, a standby's from its WAL receiver. Unknown on a standby
    /// that has no receiver. The number alone does not prove lineage.
    pub timeline: Fact<Timeline>,
    /// The timeline of the last checkpoint, from the control file. Behind `timeline` after a promotion.
    pub checkpoint_timeline: Fact<Timeline>,
    /// A primary's position; `None` on a standby.
    pub primary: Fact<Option<PrimaryPosition>>,
    /// A standby's position; `None` on a primary.
    pub standby: Fact<Option<StandbyPosition>>,
    /// A standby's WAL receiver; `None` when there is none.
    pub wal_receiver: Fact<Option<WalReceiver>>,
    /// Who receives this server's log.
    pub replicas: Fact<Vec<Replica>>,
    /// Its replication slots.
    pub slots: Fact<Vec<Slot>>,
    /// Whether new transactions of this role start read-only. It stops only those who do not ask for more.
    pub default_transaction_read_only: Fact<bool>,
    /// How many client sessions are open, without this one.
    pub client_backends: Fact<u32>,
    /// How many prepared transactions exist: they hold locks over a restart and a promotion.
    pub prepared_transactions: Fact<u32>,
}

impl Facts {
    /// Nothing is known, because no session could be opened.
    pub fn unreachable(error: ConnectError) -> Self {
        fn no<T>(reason: &str) -> Fact<T> {
            Fact::unknown(reason)
        }
        let reason = &error.message.clone();
        Self {
            unreachable: Some(error),
            in_recovery: no(reason),
            system_identifier: no(reason),
            server_version_num: no(reason),
            timeline: no(reason),
            checkpoint_timeline: no(reason),
            primary: no(reason),
            standby: no(reason),
            wal_receiver: no(reason),
            replicas: no(reason),
            slots: no(reason),
            default_transaction_read_only: no(reason),
            client_backends: no(reason),
            prepared_transactions: no(reason),
        }
    }
}

const IN_RECOVERY: &str = "SELECT pg_is_in_recovery()";
/// Which database a server is a copy of.
pub(super) const SYSTEM: &str = "SELECT system_identifier FROM pg_control_system()";
const VERSION: &str = "SELECT current_setting('server_version_num')::int4";
const READ_ONLY: &str = "SELECT current_setting('default_transaction_read_only')::bool";
const CHECKPOINT: &str = "SELECT timeline_id FROM pg_control_checkpoint()";
const PRIMARY: &str = "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int4,
    pg_current_wal_flush_lsn(), pg_current_wal_insert_lsn() WHERE NOT pg_is_in_recovery()";
const STANDBY: &str = "SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(),
    pg_get_wal_replay_pause_state() WHERE pg_is_in_recovery()";
// `latest_end_time` and `last_msg_send_time` are the primary's clock, the other two the standby's.
const RECEIVER: &str = "SELECT status, received_tli, flushed_lsn,
    (extract(epoch FROM clock_timestamp() - last_msg_receipt_time) * 1000000)::int8,
    latest_end_lsn,
    (extract(epoch FROM (last_msg_send_time - latest_end_time)
        + (clock_timestamp() - last_msg_receipt_time)) * 1000000)::int8,
    sender_host, slot_name FROM pg_stat_wal_receiver";
const REPLICAS: &str =
    "SELECT application_name, host(client_addr), state, sync_state, sent_lsn, flush_lsn, replay_lsn,
    (extract(epoch FROM flush_lag) * 1000000)::int8,
    (extract(epoch FROM reply_time - timestamptz '2000-01-01 00:00:00+00') * 1000000)::int8
    FROM pg_stat_replication ORDER BY application_name, pid";
const SLOTS: &str =
    "SELECT slot_name::text, slot_type = 'physical', active, restart_lsn, wal_status, safe_wal_size
    FROM pg_replication_slots ORDER BY slot_name";
const BACKENDS: &str =
    "SELECT count(*) FILTER (WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
    count(*) FILTER (WHERE backend_type IS NULL) FROM pg_stat_activity";
const PREPARED: &str = "SELECT count(*) FROM pg_prepared_xacts";

const HIDDEN: &str = "the server hides it from this role; GRANT pg_read_all_stats TO it";

/// Asks everything at once: one round trip, whose questions fail one by one.
pub(super) async fn read(session: &Session, start: Instant, deadline: Instant) -> Facts {
    let q = |sql: &'static str| async move {
        match timeout_at(deadline, session.client.query_typed(sql, &[])).await {
            Err(_) => Err("no answer in time".to_owned()),
            Ok(Err(e)) => Err(session.why(&e)),
            Ok(Ok(rows)) => Ok(rows),
        }
    };
    let (recovery, system, version, read_only, checkpoint, primary) =
        (q(IN_RECOVERY), q(SYSTEM), q(VERSION), q(READ_ONLY), q(CHECKPOINT), q(PRIMARY));
    let (standby, receiver, replicas, slots, backends, prepared) =
        (q(STANDBY), q(RECEIVER), q(REPLICAS), q(SLOTS), q(BACKENDS), q(PREPARED));
    let answers = tokio::join!(
        recovery, system, version, read_only, checkpoint, primary, standby, receiver, replicas, slots,
        backends, prepared
    );
    let age = start.elapsed();
    let primary = fact(answers.5, age, |rows| rows.first().map(primary_position).transpose());
    let wal_receiver = fact(answers.7, age, |rows| rows.first().map(wal_receiver_row).transpose());
    Facts {
        unreachable: None,
        in_recovery: fact(answers.0, age, |rows| one(rows, 0)),
        system_identifier: fact(answers.1, age, |rows| {
            one::<i64>(rows, 0).map(|id| SystemId(id.cast_unsigned()))
        }),
        server_version_num: fact(answers.2, age, |rows| one::<i32>(rows, 0).map(i32::cast_unsigned)),
        timeline: timeline(&primary, &wal_receiver),
        checkpoint_timeline: fact(answers.4, age, |rows| {
            one::<i32>(rows, 0).map(|t| Timeline(t.cast_unsigned()))
        }),
        primary,
        standby: fact(answers.6, age, |rows| rows.first().map(standby_position).transpose()),
        wal_receiver,
        replicas: fact(answers.8, age, |rows| rows.iter().map(replica_row).collect()),
        slots: fact(answers.9, age, |rows| rows.iter().map(slot_row).collect()),
        default_transaction_read_only: fact(answers.3, age, |rows| one(rows, 0)),
        client_backends: fact(answers.10, age, |rows| {
            // Rows of other roles have no type for somebody who may not see them: a count would be too small.
            if one::<i64>(rows, 1)? > 0 { Err(HIDDEN.to_owned()) } else { count(rows) }
        }),
        prepared_transactions: fact(answers.11, age, count),
    }
}

type Rows = Result<Vec<Row>, String>;

fn fact<T>(rows: Rows, age: Duration, parse: impl FnOnce(&[Row]) -> Result<T, String>) -> Fact<T> {
    match rows.and_then(|rows| parse(&rows)) {
        Ok(value) => Fact::Known { value, age },
        Err(reason) => Fact::Unknown { reason },
    }
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, String> {
    row.try_get(column).map_err(|e| format!("unexpected answer: {}", describe(&e)))
}

fn one<T: for<'a> FromSql<'a>>(rows: &[Row], column: usize) -> Result<T, String> {
    get(rows.first().ok_or("the server answered nothing")?, column)
}

fn count(rows: &[Row]) -> Result<u32, String> {
    u32::try_from(one::<i64>(rows, 0)?).map_err(|e| format!("unexpected answer: {e}"))
}

fn lsn(row: &Row, column: usize) -> Result<Option<Lsn>, String> {
    Ok(get::<Option<PgLsn>>(row, column)?.map(|l| Lsn(l.into())))
}

fn duration(row: &Row, column: usize) -> Result<Option<Duration>, String> {
    // A clock that was set back gives a negative age: as young as can be said.
    let micros = get::<Option<i64>>(row, column)?;
    Ok(micros.map(|m| Duration::from_micros(u64::try_from(m).unwrap_or(0))))
}

fn primary_position(row: &Row) -> Result<PrimaryPosition, String> {
    let missing = || "the server answered no position".to_owned();
    Ok(PrimaryPosition {
        timeline: Timeline(get::<i32>(row, 0)?.cast_unsigned()),
        flush: lsn(row, 1)?.ok_or_else(missing)?,
        insert: lsn(row, 2)?.ok_or_else(missing)?,
    })
}

fn standby_position(row: &Row) -> Result<StandbyPosition, String> {
    let pause = match get::<&str>(row, 2)? {
        "not paused" => ReplayPause::Running,
        "pause requested" => ReplayPause::Requested,
        "paused" => ReplayPause::Paused,
        other => return Err(format!("unexpected answer: pause state {other:?}")),
    };
    Ok(StandbyPosition { receive: lsn(row, 0)?, replay: lsn(row, 1)?, pause })
}

fn wal_receiver_row(row: &Row) -> Result<WalReceiver, String> {
    Ok(WalReceiver {
        // Without the grant the row is there, but empty.
        status: get::<Option<String>>(row, 0)?.ok_or(HIDDEN)?,
        received_timeline: get::<Option<i32>>(row, 1)?.map(|t| Timeline(t.cast_unsigned())),
        flushed: lsn(row, 2)?,
        last_message_age: duration(row, 3)?,
        latest_end: lsn(row, 4)?,
        latest_end_age: duration(row, 5)?,
        sender_host: get(row, 6)?,
        slot: get(row, 7)?,
    })
}

fn replica_row(row: &Row) -> Result<Replica, String> {
    Ok(Replica {
        application_name: get::<Option<String>>(row, 0)?.unwrap_or_default(),
        client_address: get(row, 1)?,
        state: get::<Option<String>>(row, 2)?.ok_or(HIDDEN)?,
        sync_state: get::<Option<String>>(row, 3)?.ok_or(HIDDEN)?,
        sent: lsn(row, 4)?,
        flush: lsn(row, 5)?,
        replay: lsn(row, 6)?,
        flush_lag: duration(row, 7)?,
        reply_time: get(row, 8)?,
    })
}

fn slot_row(row: &Row) -> Result<Slot, String> {
    Ok(Slot {
        name: get(row, 0)?,
        physical: get(row, 1)?,
        active: get(row, 2)?,
        restart: lsn(row, 3)?,
        wal_status: get(row, 4)?,
        safe_wal_size: get(row, 5)?,
    })
}

fn timeline(primary: &Fact<Option<PrimaryPosition>>, receiver: &Fact<Option<WalReceiver>>) -> Fact<Timeline> {
    match (primary, receiver) {
        (Fact::Known { value: Some(position), age }, _) => {
            Fact::Known { value: position.timeline, age: *age }
        }
        (Fact::Unknown { reason }, _) | (_, Fact::Unknown { reason }) => Fact::unknown(reason.clone()),
        (_, Fact::Known { value: Some(WalReceiver { received_timeline: Some(value), .. }), age }) => {
            Fact::Known { value: *value, age: *age }
        }
        (_, Fact::Known { .. }) => {
            Fact::unknown("a standby without a WAL receiver does not tell its timeline")
        }
    }
}
