//! One PostgreSQL server, asked and checked by SQL with a role that has almost no rights ([`ROLE_SQL`]).
//!
//! Every call has a deadline and returns within it, whether or not the server answers; a connection that missed a
//! deadline is closed and never used again. Nothing here promotes, stops or reconfigures: that is the guard's.

mod connect;
mod facts;
mod grants;
mod port;
mod preflight;
mod settings;
mod target;
mod write;

use std::time::Duration;

use bascule_core::plan::Gate;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

pub use connect::{ConnectError, ConnectErrorKind};
pub use facts::{
    Facts, PrimaryPosition, ReplayPause, Replica, Slot, StandbyPosition, TESTED_MAJOR_VERSIONS, WalReceiver,
};
pub use preflight::{ExpectedRole, Thresholds};
pub use target::{PostgresTarget, Tls, TlsError};
pub use write::WriteCheck;

use connect::Session;

/// Creates the operator's role with exactly the rights it needs on PostgreSQL 15. It is a script for `psql`, which
/// fills in the variable `password` and the name of the database.
pub const ROLE_SQL: &str = include_str!("sql/bascule-role.sql");

/// A server and, while it answers in time, one open connection to it.
///
/// Questions wait for each other, so one server never gets more than one session for facts; verifying a write and
/// preflight open sessions of their own, because they also prove that new sessions are let in.
#[derive(Debug)]
pub struct Postgres {
    target: PostgresTarget,
    kept: Mutex<Option<Session>>,
    last_gates: std::sync::Mutex<Option<(Instant, Vec<Gate>)>>,
}

impl Postgres {
    /// An adapter for this server. It connects when it is asked something.
    pub const fn new(target: PostgresTarget) -> Self {
        Self { target, kept: Mutex::const_new(None), last_gates: std::sync::Mutex::new(None) }
    }

    /// The server.
    pub const fn target(&self) -> &PostgresTarget {
        &self.target
    }

    /// Reads what the server knows, over the kept connection or a new one; returns within `deadline`.
    ///
    /// A kept connection that turns out to be closed is replaced once.
    pub async fn facts(&self, deadline: Duration) -> Facts {
        let start = Instant::now();
        let until = start + deadline;
        let Ok(mut kept) = timeout_at(until, self.kept.lock()).await else {
            return Facts::unreachable(ConnectError::timeout("another question to it took all the time"));
        };
        // Taken out: when this future is dropped or the deadline passes, the connection goes with it.
        if let Some(session) = kept.take().filter(Session::is_open) {
            let facts = facts::read(&session, start, until).await;
            // A session that was ended meanwhile fails its first question at once; one more try is then due.
            if facts.in_recovery.value().is_some() || !facts.in_time {
                if facts.in_time {
                    *kept = Some(session);
                }
                return facts;
            }
        }
        match Session::open(&self.target, until).await {
            Err(error) => Facts::unreachable(error),
            Ok(session) => {
                let facts = facts::read(&session, start, until).await;
                if facts.in_time && facts.in_recovery.value().is_some() {
                    *kept = Some(session);
                }
                facts
            }
        }
    }
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
