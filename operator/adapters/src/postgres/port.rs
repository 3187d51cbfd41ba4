//! The part of the engine's `Site` port that a database server answers by SQL.

use std::sync::PoisonError;
use std::time::Duration;

use bascule_core::observation::Fact;
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use tokio::time::Instant;

use super::preflight::{ExpectedRole, Thresholds};
use super::write::WriteCheck;
use super::{Postgres, PostgresTarget};
use crate::finding::Severity;

impl Postgres {
    /// What stands in the way of a transition, by the operator's own role: settings, grants, the Secret.
    ///
    /// A server that cannot be asked now is unknown. One that the guard has closed lets only the guard in; then the
    /// last answer stands, with its true age, because closing changes neither settings nor grants.
    ///
    /// The gates are named `item/…`.
    pub async fn gates(
        &self,
        item: &str,
        active: bool,
        limits: &Thresholds,
        deadline: Duration,
    ) -> Fact<Vec<Gate>> {
        let start = Instant::now();
        // The active server is for a moment a standby that is being promoted; the guard reports that.
        let role = if active { ExpectedRole::Either } else { ExpectedRole::Standby };
        let findings = self.preflight(role, limits, deadline).await;
        if let Some(now) = findings.iter().find(|f| PASSING.contains(&f.code)) {
            let last = self.last_gates.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return match last.filter(|_| now.code == "ConnectNotAllowed") {
                Some((at, value)) => Fact::Known { value, age: at.elapsed() },
                None => Fact::unknown(now.to_string()),
            };
        }
        let blocking = findings.iter().filter(|f| f.severity == Severity::Block);
        let gates: Vec<Gate> = blocking.map(|f| f.gate(item, Answer::No)).collect();
        *self.last_gates.lock().unwrap_or_else(PoisonError::into_inner) = Some((start, gates.clone()));
        Fact::Known { value: gates, age: start.elapsed() }
    }

    /// Commits something durable through the operator's own role, once.
    pub async fn prove_write(&self, deadline: Duration) -> Outcome {
        match self.verify_write(deadline).await {
            WriteCheck::Committed { .. } => Outcome::Done,
            WriteCheck::Refused { why } => Outcome::Refused { reason: why },
            WriteCheck::Unknown { why } => Outcome::Unknown { reason: why },
        }
    }

    /// Whether this adapter still serves that server with that role, or a new one has to be made.
    pub fn serves(&self, target: &PostgresTarget) -> bool {
        self.target.same_as(target)
    }
}

/// Findings that say only that nobody could be asked now: they may be gone at the next look.
const PASSING: [&str; 6] = [
    "ConnectTimeout",
    "ConnectUnreachable",
    "ConnectNotAllowed",
    "ConnectNotReady",
    "ConnectTooMany",
    "Unanswered",
];
