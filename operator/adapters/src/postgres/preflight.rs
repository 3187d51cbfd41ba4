//! Whether this server could take part in a transition, asked all year.

use std::time::Duration;

use bascule_core::blocker::{CONNECT_NOT_READY, CONNECT_TIMEOUT, CONNECT_UNREACHABLE};
use tokio::time::{Instant, timeout_at};

use super::connect::{ConnectErrorKind, Session};
use super::facts::{self, Facts, TESTED_MAJOR_VERSIONS};
use super::grants;
use super::settings::Settings;
use super::{Postgres, PostgresTarget};
use crate::finding::{Finding, Severity};

/// Which role the server should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedRole {
    /// It should take writes.
    Primary,
    /// It should follow a primary.
    Standby,
    /// Either is right.
    Either,
}

/// What the settings are compared with. The numbers come from the timing profile and the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Within this time a dead replication link must be seen: the observer's lease `L`.
    pub dead_link_within: Duration,
    /// How long a standby may wait before it connects to its primary again.
    pub retry_at_most: Duration,
    /// How many receivers the server must be able to serve.
    pub wal_senders_at_least: u32,
    /// How many replication slots it must be able to hold.
    pub slots_at_least: u32,
    /// Whether the replicas are several: one of them is then promoted, and the others must find the log that they lack at a
    /// server that has held no slot for them.
    pub replicas_change_primary: bool,
}

const SERVER: &str = "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), pg_is_in_recovery()";

impl Postgres {
    /// Compares version, role, settings and grants with what a transition needs, in a session of its own; returns
    /// within `deadline`. An empty list means that everything was asked and nothing is wrong.
    pub async fn preflight(
        &self,
        role: ExpectedRole,
        limits: &Thresholds,
        deadline: Duration,
    ) -> Vec<Finding> {
        self.look(role, limits, deadline).await.map_or_else(|why| vec![why], |(findings, _)| findings)
    }

    /// The same, with what the server says about itself in the same session; the error says why there is none.
    pub(super) async fn look(
        &self,
        role: ExpectedRole,
        limits: &Thresholds,
        deadline: Duration,
    ) -> Result<(Vec<Finding>, Facts), Finding> {
        let start = Instant::now();
        let until = start + deadline;
        let session = Session::open(&self.target, until)
            .await
            .map_err(|error| cannot_connect(&self.target, error.kind, error.message))?;
        let examined = timeout_at(until, examine(&session, role, limits));
        // A dozen questions are on their way at once: too much for the stack of whoever waits for them.
        let asked = Box::pin(async { tokio::join!(examined, facts::read(&session, start, until)) });
        let (findings, facts) = asked.await;
        Ok((findings.unwrap_or_else(|_| vec![unanswered("preflight", "no answer in time")]), facts))
    }
}

pub(super) async fn examine(session: &Session, role: ExpectedRole, limits: &Thresholds) -> Vec<Finding> {
    let server = async {
        let fail = |e: tokio_postgres::Error| session.why(&e);
        let row = session.client.query_typed_one(SERVER, &[]).await.map_err(fail)?;
        let read =
            || Ok((row.try_get::<_, i32>(0)?, row.try_get::<_, String>(1)?, row.try_get::<_, bool>(2)?));
        read().map_err(fail)
    };
    let (server, settings, grants) =
        tokio::join!(server, Settings::read(&session.client), grants::check(&session.client));
    let mut findings = Vec::new();
    match server {
        Err(why) => findings.push(unanswered("version and role", &why)),
        Ok((number, version, in_recovery)) => {
            findings.extend(check_version(number, &version));
            findings.extend(check_role(role, in_recovery));
        }
    }
    match settings {
        Err(why) => findings.push(unanswered("settings", &why)),
        Ok(settings) => findings.extend(settings.check(role, limits)),
    }
    match grants {
        Err(why) => findings.push(unanswered("grants", &why)),
        Ok(found) => findings.extend(found),
    }
    findings
}

fn check_version(number: i32, version: &str) -> Option<Finding> {
    let major = number.cast_unsigned() / 10_000;
    let tested: Vec<String> = TESTED_MAJOR_VERSIONS.iter().map(ToString::to_string).collect();
    (!TESTED_MAJOR_VERSIONS.contains(&major)).then(|| Finding {
        code: "Version",
        severity: Severity::Block,
        field: "server version".to_owned(),
        found: version.to_owned(),
        expected: format!("PostgreSQL {}", tested.join(" or ")),
        hint: "this version was not tested with Bascule; use one that was".to_owned(),
    })
}

fn check_role(expected: ExpectedRole, in_recovery: bool) -> Option<Finding> {
    let (right, expected) = match expected {
        ExpectedRole::Primary => (!in_recovery, "a primary"),
        ExpectedRole::Standby => (in_recovery, "a standby"),
        ExpectedRole::Either => (true, "either"),
    };
    (!right).then(|| Finding {
        code: "Role",
        severity: Severity::Block,
        field: "role".to_owned(),
        found: if in_recovery { "a standby" } else { "a primary" }.to_owned(),
        expected: expected.to_owned(),
        hint: "is this the right host? the guard beside the server sets its role".to_owned(),
    })
}

fn unanswered(what: &str, why: &str) -> Finding {
    Finding {
        code: "Unanswered",
        severity: Severity::Block,
        field: what.to_owned(),
        found: format!("unknown: {why}"),
        expected: "an answer".to_owned(),
        hint: "nothing is assumed about what was not answered".to_owned(),
    }
}

fn cannot_connect(target: &PostgresTarget, kind: ConnectErrorKind, message: String) -> Finding {
    let (user, dbname) = (&target.user, &target.dbname);
    if kind == ConnectErrorKind::NoConnectGrant {
        let grant = format!("GRANT CONNECT ON DATABASE \"{dbname}\" TO \"{user}\";");
        return Finding { found: message, ..grants::missing("CONNECT", &grant) };
    }
    let (code, hint) = match kind {
        ConnectErrorKind::Timeout => {
            (CONNECT_TIMEOUT, "is the server frozen or overloaded, or a link cut?".to_owned())
        }
        ConnectErrorKind::Unreachable => {
            (CONNECT_UNREACHABLE, "does the server run, and do host and port fit?".to_owned())
        }
        ConnectErrorKind::Tls => {
            ("ConnectTls", "compare ca.crt with the server's certificate and its names".to_owned())
        }
        ConnectErrorKind::Password => (
            "ConnectPassword",
            format!(
                "put the password of role {user} into Secret {}; ROLE_SQL creates the role",
                target.secret
            ),
        ),
        ConnectErrorKind::NotAllowed => (
            "ConnectNotAllowed",
            format!("add a line to pg_hba.conf that lets {user} into {dbname} from the operator's address"),
        ),
        ConnectErrorKind::NoDatabase => ("ConnectNoDatabase", "correct the name of the database".to_owned()),
        ConnectErrorKind::NotReady => (
            CONNECT_NOT_READY,
            "wait, or look at the server's log; a standby needs hot_standby = on".to_owned(),
        ),
        ConnectErrorKind::TooManySessions => {
            ("ConnectTooMany", "raise max_connections, or limit the application".to_owned())
        }
        ConnectErrorKind::NoConnectGrant | ConnectErrorKind::Other => ("ConnectFailed", String::new()),
    };
    Finding {
        code,
        severity: Severity::Block,
        field: "connection".to_owned(),
        found: message,
        expected: format!("a session of {user} in {dbname} at {}:{}", target.host, target.port),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_was_not_tested_is_refused_by_name_and_a_tested_one_is_not() {
        for number in [140_012, 160_001, 90_624, 0] {
            let finding = check_version(number, "16.1 (Ubuntu)").unwrap();
            assert_eq!((finding.code, finding.severity), ("Version", Severity::Block), "{number}");
            assert_eq!(
                (finding.found.as_str(), finding.expected.as_str()),
                ("16.1 (Ubuntu)", "PostgreSQL 15")
            );
            assert!(!finding.hint.is_empty());
        }
        assert_eq!(check_version(150_018, "15.18 (Debian 15.18-0+deb12u1)").map(|f| f.code), None);
    }
}
