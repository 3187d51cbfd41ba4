//! The part of the engine's `Site` port that a database server answers by SQL.

use std::sync::PoisonError;
use std::time::Duration;

use bascule_core::observation::Fact;
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use bascule_core::position::SystemId;
use tokio::time::Instant;

use super::facts::Facts;
use super::preflight::{ExpectedRole, Thresholds};
use super::write::WriteCheck;
use super::{Postgres, PostgresTarget};

/// What a site knows of a database without asking its server.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Which database lies on the disk of this site's server, as its guard reads it; `None` while no guard tells.
    pub disk: Option<SystemId>,
    /// The field of the policy that leads to the server, for the person who must correct it.
    pub field: String,
}

impl Postgres {
    /// What stands in the way of a transition, by the operator's own role: identity, role, settings, grants, the
    /// Secret.
    ///
    /// A server that cannot be asked now is unknown. One that the guard has closed lets only the guard in; then the
    /// last answer stands, with its true age, because closing changes neither settings nor grants.
    ///
    /// The gates are named `item/…`.
    pub async fn gates(
        &self,
        item: &str,
        active: bool,
        expected: &Expected,
        limits: &Thresholds,
        deadline: Duration,
    ) -> Fact<Vec<Gate>> {
        let start = Instant::now();
        // The active server is for a moment a standby that is being promoted; the guard reports that.
        let role = if active { ExpectedRole::Either } else { ExpectedRole::Standby };
        let looked = self.look(role, limits, deadline).await;
        let (findings, facts) = match looked {
            Ok((findings, facts)) => (findings, Some(facts)),
            Err(why) => (vec![why], None),
        };
        let two_writers = format!("{item}/twoWriters");
        // A server that answers lives, whatever it could not say.
        if let Some(now) = findings.iter().find(|f| ANSWERED.contains(&f.code)) {
            return Fact::now(now.gate(item, Answer::Unknown).into_iter().collect());
        }
        if let Some(now) = findings.iter().find(|f| PASSING.contains(&f.code)) {
            let last = self.last_gates.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return match last.filter(|_| now.code == "ConnectNotAllowed") {
                Some((at, mut value)) => {
                    // Whoever is let in by nobody takes no writes.
                    value.retain(|gate| gate.name != two_writers);
                    Fact::Known { value, age: at.elapsed() }
                }
                None => Fact::unknown(now.to_string()),
            };
        }
        let mut gates: Vec<Gate> = Vec::new();
        if let Some(facts) = facts {
            gates.extend(self.identity(&format!("{item}/identity"), expected, &facts));
            if !active {
                gates.extend(self.writer(&two_writers, expected, &facts));
            }
        }
        // The role is told above, with what it means.
        gates.extend(findings.iter().filter(|f| f.code != "Role").filter_map(|f| f.gate(item, Answer::No)));
        *self.last_gates.lock().unwrap_or_else(PoisonError::into_inner) = Some((start, gates.clone()));
        Fact::Known { value: gates, age: start.elapsed() }
    }

    /// A gate when the server is not a copy of the database on this site's disk. Without a guard's report there is
    /// nothing to compare with, and the missing report blocks by itself.
    fn identity(&self, name: &str, expected: &Expected, facts: &Facts) -> Option<Gate> {
        let disk = expected.disk?;
        let needed =
            || format!("system identifier {disk}, as on this site's disk; {}", self.way_out(expected));
        match &facts.system_identifier {
            Fact::Known { value, .. } if *value == disk => None,
            Fact::Known { value, .. } => {
                let found =
                    format!("{} is a server of another database, with system identifier {value}", self.at());
                Some(Gate::new(name, Answer::No, found, needed()))
            }
            Fact::Unknown { reason } => Some(Gate::new(name, Answer::Unknown, reason.clone(), needed())),
        }
    }

    /// A gate when the server of a site that is not active is not a standby.
    fn writer(&self, name: &str, expected: &Expected, facts: &Facts) -> Option<Gate> {
        let needed = format!(
            "a standby, because another site is active. Two servers may be taking writes: {}; if it does, see in its \
             guard's log why it runs as a primary, and stop it before clients reach it",
            self.way_out(expected)
        );
        match &facts.in_recovery {
            Fact::Known { value: true, .. } => None,
            Fact::Known { value: false, .. } => {
                let timeline =
                    facts.timeline.value().map_or_else(String::new, |t| format!(" on timeline {}", t.0));
                let found = format!("{} is a primary{timeline}, and this site is not active", self.at());
                Some(Gate::new(name, Answer::No, found, needed))
            }
            Fact::Unknown { reason } => Some(Gate::new(name, Answer::Unknown, reason.clone(), needed)),
        }
    }

    fn at(&self) -> String {
        format!("{}:{}", self.target.host, self.target.port)
    }

    fn way_out(&self, expected: &Expected) -> String {
        format!("check that {} = {} leads to this site's own server", expected.field, self.target.host)
    }

    /// Commits something durable through the operator's own role, once, on the database that lies on this site's
    /// disk and on no other.
    pub async fn prove_write(&self, expected: &Expected, deadline: Duration) -> Outcome {
        let Some(disk) = expected.disk else {
            return Outcome::refused(
                "no guard tells which database lies on this site's disk, so a write would prove nothing",
            );
        };
        match self.verify_write(disk, deadline).await {
            WriteCheck::Committed { .. } => Outcome::Done,
            WriteCheck::Refused { why } => Outcome::Refused { reason: why },
            WriteCheck::Unknown { why } => Outcome::Unknown { reason: why },
            WriteCheck::Elsewhere { found } => Outcome::refused(format!(
                "{} is a server of another database: it has system identifier {found}, this site's disk has {disk}; {}",
                self.at(),
                self.way_out(expected)
            )),
        }
    }

    /// Whether this adapter still serves that server with that role, or a new one has to be made.
    pub fn serves(&self, target: &PostgresTarget) -> bool {
        self.target.same_as(target)
    }
}

/// Findings that say only that nobody could be asked now: they may be gone at the next look.
const PASSING: [&str; 4] = ["ConnectTimeout", "ConnectUnreachable", "ConnectNotAllowed", "ConnectNotReady"];

/// The same, of a server that is there: a database whose guard is not heard of is given up when it does not answer either.
const ANSWERED: [&str; 2] = ["ConnectTooMany", "Unanswered"];
