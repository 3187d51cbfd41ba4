//! Proof that a server takes writes, without the right to write anything.

use std::time::Duration;

use bascule_core::position::{Lsn, SystemId};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{PgLsn, Type};

use super::Postgres;
use super::connect::{Session, describe};
use super::facts::SYSTEM;

/// What became of the attempt to commit something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteCheck {
    /// A transaction was committed and its log is on disk (and on that of synchronous standbys, where they are set).
    Committed {
        /// Up to where the log was on disk afterwards.
        flushed: Lsn,
        /// How long it took, the new session included.
        took: Duration,
    },
    /// The server does not take writes, or not from an ordinary session.
    Refused {
        /// Why, for the person who must act.
        why: String,
    },
    /// The server is a copy of another database. Nothing was sent to it.
    Elsewhere {
        /// Which one.
        found: SystemId,
    },
    /// Nobody knows: the answer to the commit was lost, or a synchronous standby was waited for.
    Unknown {
        /// What was lost.
        why: String,
    },
}

// A transaction that only takes an id is *not* flushed at commit: PostgreSQL waits for the disk only when the
// transaction itself has written log. A transactional logical message writes log, needs no right beyond what every
// role has, leaves nothing behind in any table, and does not need `wal_level = logical`.
const COMMIT: &str = "BEGIN; SET LOCAL synchronous_commit = on; \
    SELECT current_setting('transaction_read_only'), pg_current_xact_id()::text, \
    pg_logical_emit_message(true, 'bascule', 'verify')::text; COMMIT";
const OUTCOME: &str = "SELECT pg_xact_status($1::text::xid8), pg_current_wal_flush_lsn()";

impl Postgres {
    /// Commits an empty but durable transaction in a session of its own, after the server has told in that session
    /// that it is a copy of database `of`; returns within `deadline`.
    pub async fn verify_write(&self, of: SystemId, deadline: Duration) -> WriteCheck {
        let start = Instant::now();
        let until = start + deadline;
        let session = match Session::open(&self.target, until).await {
            Ok(session) => session,
            // Without a session nothing was sent.
            Err(error) => return WriteCheck::Refused { why: error.message },
        };
        match timeout_at(until, identity(&session)).await {
            Err(_) => {
                return WriteCheck::Refused {
                    why: "no answer in time about which database it is".to_owned(),
                };
            }
            Ok(Err(why)) => return WriteCheck::Refused { why },
            Ok(Ok(found)) if found != of => return WriteCheck::Elsewhere { found },
            Ok(Ok(_)) => {}
        }
        match timeout_at(until, commit(&session)).await {
            Err(_) => WriteCheck::Unknown { why: "no answer to the commit in time".to_owned() },
            Ok(Err(check)) => check,
            Ok(Ok(flushed)) => WriteCheck::Committed { flushed, took: start.elapsed() },
        }
    }
}

async fn identity(session: &Session) -> Result<SystemId, String> {
    let row = session.client.query_typed_one(SYSTEM, &[]).await.map_err(|e| session.why(&e))?;
    row.try_get::<_, i64>(0).map(|id| SystemId(id.cast_unsigned())).map_err(|e| describe(&e))
}

pub(super) async fn commit(session: &Session) -> Result<Lsn, WriteCheck> {
    let messages = session.client.simple_query(COMMIT).await.map_err(|error| {
        let why = session.why(&error);
        match error.as_db_error().map(tokio_postgres::error::DbError::code) {
            // The server ended the session: perhaps between the commit and its answer.
            None => WriteCheck::Unknown { why },
            Some(code) if *code == SqlState::ADMIN_SHUTDOWN || *code == SqlState::CRASH_SHUTDOWN => {
                WriteCheck::Unknown { why }
            }
            Some(_) => WriteCheck::Refused { why },
        }
    })?;
    let strange = || WriteCheck::Unknown { why: "unexpected answer to the commit".to_owned() };
    let row = messages.iter().find_map(|m| match m {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?, row.get(1)?, row.get(2)?)),
        _ => None,
    });
    let Some((read_only, id, message)) = row else { return Err(strange()) };
    let message: Lsn = message.parse().map_err(|_| strange())?;
    if read_only == "on" {
        let why = "transactions start read-only here: default_transaction_read_only = on; \
                   ALTER SYSTEM RESET default_transaction_read_only and reload"
            .to_owned();
        return Err(WriteCheck::Refused { why });
    }
    let row = session.client.query_typed_one(OUTCOME, &[(&id, Type::TEXT)]).await;
    let row = row.map_err(|e| WriteCheck::Unknown { why: session.why(&e) })?;
    let read = || -> Result<_, tokio_postgres::Error> {
        Ok((row.try_get::<_, Option<String>>(0)?, row.try_get::<_, PgLsn>(1)?))
    };
    let (status, flushed) = read().map_err(|_| strange())?;
    let flushed = Lsn(flushed.into());
    // The commit record follows the message, so the log must be on disk beyond it.
    if status.as_deref() == Some("committed") && flushed > message {
        Ok(flushed)
    } else {
        let status = status.unwrap_or_else(|| "unknown".to_owned());
        let why =
            format!("transaction {id} is {status}, log on disk up to {flushed}, expected beyond {message}");
        Err(WriteCheck::Unknown { why })
    }
}
