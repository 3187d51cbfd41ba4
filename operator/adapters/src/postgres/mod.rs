//! One PostgreSQL server, asked and checked by SQL with a role that has almost no rights ([`ROLE_SQL`]).
//!
//! Every call has a deadline and returns within it, whether or not the server answers; a connection that missed a
//! deadline is closed and never used again. Nothing here promotes, stops or reconfigures: that is the guard's.

mod bounded;
mod connect;
mod facts;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod grants;
mod port;
mod preflight;
mod settings;
mod target;
mod write;

use std::time::Duration;

use bascule_core::plan::Gate;
use tokio::time::Instant;

pub use connect::{ConnectError, ConnectErrorKind};
pub use facts::{
    Facts, PrimaryPosition, ReplayPause, Replica, Slot, StandbyPosition, TESTED_MAJOR_VERSIONS, WalReceiver,
};
pub use port::Expected;
pub use preflight::{ExpectedRole, Thresholds};
pub use target::{PostgresTarget, Tls, TlsError};
pub use write::WriteCheck;

use connect::Session;

/// Creates the operator's role with exactly the rights it needs on PostgreSQL 15. It is a script for `psql`, which
/// fills in the variable `password` and the name of the database.
pub const ROLE_SQL: &str = include_str!("sql/bascule-role.sql");

/// A server, asked in a session of its own each time: that also proves that the host leads to it now, and that new
/// sessions are let in.
#[derive(Debug)]
pub struct Postgres {
    target: PostgresTarget,
    last_gates: std::sync::Mutex<Option<(Instant, Vec<Gate>)>>,
}

impl Postgres {
    /// An adapter for this server. It connects when it is asked something.
    pub const fn new(target: PostgresTarget) -> Self {
        Self { target, last_gates: std::sync::Mutex::new(None) }
    }

    /// The server.
    pub const fn target(&self) -> &PostgresTarget {
        &self.target
    }

    /// Reads what the server knows; returns within `deadline`.
    pub async fn facts(&self, deadline: Duration) -> Facts {
        let start = Instant::now();
        match Session::open(&self.target, start + deadline).await {
            Err(error) => Facts::unreachable(error),
            Ok(session) => facts::read(&session, start, start + deadline).await,
        }
    }
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
