//! The guard's own session: over the local socket, as the superuser, under a deadline.

use std::path::Path;
use std::time::Duration;

use bascule_boundary::{self as boundary, Effect};
use bascule_core::guard::wire::{Positions, UpstreamView};
use bascule_core::position::{Lsn, Timeline};
use bascule_core::time::Millis;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls, Row, Statement};

#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;

/// How long one statement may take unless it says otherwise.
const STATEMENT: Duration = Duration::from_secs(5);

/// How long a session that was kept may take to show that it lives.
const ANSWER: Duration = Duration::from_millis(200);

/// The server did not do what the guard asked of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// No answer in time.
    #[error("the server did not answer within {0:?}")]
    TooSlow(Duration),
    /// The server or the connection said no.
    #[error("the server refused the guard's own session or statement")]
    Sql(#[from] tokio_postgres::Error),
}

/// A session. Its connection ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    /// Questions that are asked again and again, parsed and planned once: whoever waits for a promotion shares the
    /// processor with it.
    read: OnceCell<Statement>,
    recovering: OnceCell<Statement>,
    loaded: OnceCell<Statement>,
}

/// One look at a running server.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// It replays; `false`: it is a primary.
    pub(crate) in_recovery: bool,
    /// Where it stands.
    pub(crate) positions: Positions,
    /// What each connected replica has confirmed to have flushed, by its slot.
    pub(crate) confirmed: Vec<(String, Lsn)>,
}

const READ: &str = "SELECT pg_is_in_recovery(), \
    CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn()::text END, \
    pg_last_wal_receive_lsn()::text, pg_last_wal_replay_lsn()::text, \
    CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END, \
    r.status, r.received_tli, r.latest_end_lsn::text, \
    (extract(epoch FROM clock_timestamp() - r.last_msg_receipt_time) * 1000)::float8, \
    (SELECT string_agg(s.slot_name || ' ' || w.flush_lsn, ',') FROM pg_stat_replication w \
        JOIN pg_replication_slots s ON s.active_pid = w.pid WHERE w.flush_lsn IS NOT NULL) \
    FROM (SELECT 1) one LEFT JOIN pg_stat_wal_receiver r ON true";

impl Session {
    /// Connects over the socket in `dir`.
    pub(crate) async fn open(
        dir: &Path,
        port: u16,
        superuser: &str,
        within: Duration,
    ) -> Result<Self, SessionError> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(dir).port(port).user(superuser).dbname("postgres").application_name("bascule guard");
        // A user's own defaults must not get in the way of the guard's statements, and nobody's function of the same name
        // may be called with a superuser's rights: names are the server's own.
        config.options(
            "-c search_path=pg_catalog -c default_transaction_read_only=off -c synchronous_commit=local -c statement_timeout=0",
        );
        let connect = tokio::time::timeout(within, config.connect(NoTls)).await;
        let (client, connection) = connect.map_err(|_| SessionError::TooSlow(within))??;
        // It ends by itself when the client is dropped or the server goes; the next statement tells.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self::of(client))
    }

    fn of(client: Client) -> Self {
        Self { client, read: OnceCell::new(), recovering: OnceCell::new(), loaded: OnceCell::new() }
    }

    /// Asks what is asked again and again.
    async fn asks(&self, question: &OnceCell<Statement>, sql: &str) -> Result<Row, SessionError> {
        self.timed(STATEMENT, async {
            let prepared = question.get_or_try_init(|| self.client.prepare(sql)).await?;
            self.client.query_one(prepared, &[]).await
        })
        .await
    }

    /// Whether it still does what it is told: one that was ended, or whose server was, does not.
    pub(crate) async fn answers(&self) -> bool {
        !self.client.is_closed() && self.timed(ANSWER, self.client.batch_execute("")).await.is_ok()
    }

    /// Runs a statement that changes something.
    async fn changes<T>(
        &self,
        effect: Effect,
        within: Duration,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SessionError> {
        boundary::around(effect, self.timed(within, work)).await
    }

    async fn timed<T>(
        &self,
        within: Duration,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SessionError> {
        Ok(tokio::time::timeout(within, work).await.map_err(|_| SessionError::TooSlow(within))??)
    }

    /// Looks at the server once.
    pub(crate) async fn read(&self) -> Result<Reading, SessionError> {
        let row = self.asks(&self.read, READ).await?;
        let text = |i: usize| row.try_get::<_, Option<&str>>(i);
        let lsn = |i: usize| text(i).map(|s| s.and_then(|s| s.parse::<Lsn>().ok()));
        let own = text(4)?.and_then(|hex| u32::from_str_radix(hex, 16).ok()).map(Timeline);
        let received = row.try_get::<_, Option<i32>>(6)?.and_then(|t| u32::try_from(t).ok());
        let received = received.filter(|t| *t > 0).map(Timeline);
        let upstream = match text(5)? {
            None => None,
            Some(status) => Some(UpstreamView {
                status: status.to_owned(),
                timeline: received,
                reported_end: lsn(7)?,
                message_age: row.try_get::<_, Option<f64>>(8)?.map(|ms| Millis(ms.max(0.0) as u64)),
            }),
        };
        // Text and no array: what reads an array makes room for as many entries as it claims to have.
        let confirmed = text(9)?.unwrap_or_default().split(',').filter_map(|text| {
            let (slot, lsn) = text.split_once(' ')?;
            Some((slot.to_owned(), lsn.parse().ok()?))
        });
        Ok(Reading {
            in_recovery: row.try_get(0)?,
            confirmed: confirmed.collect(),
            positions: Positions {
                timeline: own.or(received),
                flush: lsn(1)?,
                receive: lsn(2)?,
                replay: lsn(3)?,
                upstream,
                age: Millis(0),
            },
        })
    }

    /// Whether it still replays.
    pub(crate) async fn in_recovery(&self) -> Result<bool, SessionError> {
        Ok(self.asks(&self.recovering, "SELECT pg_is_in_recovery()").await?.try_get(0)?)
    }

    /// A number that changes with every reload: a new session that sees another one was let in by new rules.
    pub(crate) async fn loaded(&self) -> Result<String, SessionError> {
        Ok(self.asks(&self.loaded, "SELECT pg_conf_load_time()::text").await?.try_get(0)?)
    }

    /// The first mistake in the `hba_file` as it lies on the disk.
    pub(crate) async fn hba_mistake(&self) -> Result<Option<String>, SessionError> {
        let sql = "SELECT line_number::text || ': ' || error FROM pg_hba_file_rules WHERE error IS NOT NULL LIMIT 1";
        let row = self.timed(STATEMENT, self.client.query_opt(sql, &[])).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Ends every client's session but this one, the guard's other ones too: a name or an address can be claimed by
    /// anybody. Returns how many there were.
    pub(crate) async fn end_sessions(&self) -> Result<i64, SessionError> {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE \
            backend_type = 'client backend' AND pid <> pg_backend_pid()";
        Ok(self.changes(Effect::EndSessions, STATEMENT, self.client.query_one(sql, &[])).await?.try_get(0)?)
    }

    /// The process ids the server itself knows: a child that is not among them is still being let in.
    pub(crate) async fn known_pids(&self) -> Result<Vec<i32>, SessionError> {
        let rows = self.timed(STATEMENT, self.client.query("SELECT pid FROM pg_stat_activity", &[])).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Runs a `CHECKPOINT`.
    pub(crate) async fn checkpoint(&self, within: Duration) -> Result<(), SessionError> {
        self.changes(Effect::RunCheckpoint, within, self.client.batch_execute("CHECKPOINT")).await
    }

    /// Those of these slots that are not there.
    pub(crate) async fn missing_slots(&self, slots: &[String]) -> Result<Vec<String>, SessionError> {
        let sql = "SELECT slot FROM unnest($1::text[]) AS slot WHERE NOT EXISTS \
            (SELECT FROM pg_replication_slots WHERE slot_name = slot)";
        let rows = self.timed(STATEMENT, self.client.query(sql, &[&slots])).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Makes the slots that are not there, and says what bounds their retention.
    pub(crate) async fn make_slots(&self, slots: &[String]) -> Result<(), SessionError> {
        let sql = "SELECT pg_create_physical_replication_slot($1, true) WHERE NOT EXISTS \
            (SELECT FROM pg_replication_slots WHERE slot_name = $1)";
        for slot in slots {
            self.changes(Effect::MakeSlots, STATEMENT, self.client.query_opt(sql, &[slot])).await?;
        }
        Ok(())
    }

    /// Drops slots that hold back WAL for nobody: on a standby, those left from its time as a primary.
    pub(crate) async fn drop_idle_slots(&self, prefix: &str) -> Result<(), SessionError> {
        let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
            WHERE slot_type = 'physical' AND NOT active AND starts_with(slot_name, $1)";
        self.changes(Effect::DropSlots, STATEMENT, self.client.query(sql, &[&prefix])).await?;
        Ok(())
    }

    /// What a person should set differently.
    pub(crate) async fn advice(&self) -> Result<Vec<String>, SessionError> {
        let sql = "SELECT current_setting('max_slot_wal_keep_size') = '-1', \
            current_setting('wal_log_hints')::bool OR current_setting('data_checksums')::bool, \
            current_setting('wal_keep_size') = '0', current_setting('restore_command') <> ''";
        let row = self.timed(STATEMENT, self.client.query_one(sql, &[])).await?;
        let mut notes = Vec::new();
        if row.try_get::<_, bool>(0)? {
            notes.push(
                "max_slot_wal_keep_size is -1: a standby that stays away fills the disk; set a bound"
                    .to_owned(),
            );
        }
        if !row.try_get::<_, bool>(1)? {
            notes.push(
                "neither data checksums nor wal_log_hints is on: pg_rewind will refuse this copy after a failover"
                    .to_owned(),
            );
        }
        if row.try_get::<_, bool>(2)? {
            notes.push(
                "wal_keep_size is 0: a checkpoint after a lost contact may remove the WAL that pg_rewind needs later"
                    .to_owned(),
            );
        }
        if row.try_get::<_, bool>(3)? {
            notes.push(
                "restore_command is set: a promotion takes its history from the archive, where the guard's mark is missing, and cannot be told from another one at the same position"
                    .to_owned(),
            );
        }
        Ok(notes)
    }
}
