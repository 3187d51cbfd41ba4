//! Coming back under another server: has this copy's history left the upstream's, what would be lost, and the rewind.
//!
//! The WAL past the fork is saved and counted before anything changes it. Nothing is ever wiped.

mod kept;
mod wal;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bascule_boundary::Effect;
use bascule_core::guard::lineage::{Fork, History, fork, same_by_number};
use bascule_core::guard::wire::{Cluster, ClusterState, Diverged, Upstream};
use bascule_core::position::{Lsn, SystemId, Timeline};
use serde::{Deserialize, Serialize};

use self::wal::{Past, copy_wal, count, is_end_of_log, written};
use crate::effect;
use crate::server::{Server, StepError};
use crate::store::{DIVERGED, REWINDING};
use crate::tool::{Patience, ToolError, conninfo, write_passfile};

/// How long one question to the upstream may take.
const QUESTION: Duration = Duration::from_secs(10);
/// How long `pg_rewind` or `pg_waldump` may be silent.
const SILENT: Duration = Duration::from_mins(10);
/// How long the upstream's first checkpoint after its promotion is waited for.
const CHECKPOINT: Duration = Duration::from_mins(1);
/// How long the recovery of a crashed copy may take.
const RECOVERY: Duration = Duration::from_hours(1);

/// How far a rewind has come, kept beside the data while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Stage {
    Begun,
    Rewound,
}

/// Why this copy cannot follow.
#[derive(Debug)]
pub(crate) enum CannotFollow {
    /// The upstream does not answer at all.
    Silent(String),
    /// The upstream is a standby itself: where its own history will begin is not known yet.
    Undecided(String),
    /// It may work later: the upstream is not ready, or fell silent in between.
    Later(String),
    /// A person has to act.
    Never {
        /// Why.
        reason: String,
        /// What to do, exactly.
        commands: Vec<String>,
    },
}

/// What was found out.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It can be started as a standby.
    Follows,
    /// It has to be brought back first.
    Diverged {
        /// From where.
        fork: Fork,
        /// `pg_rewind` finds this fork too.
        by_number: bool,
    },
}

/// From where on a slot keeps log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// From here on.
    From(Lsn),
    /// It is there and keeps none: PostgreSQL has invalidated it (`max_slot_wal_keep_size`).
    Nothing,
    /// There is no such slot, or the answer is none.
    Unknown,
}

/// Reads psql's answer to `READ_REPLICATION_SLOT`: `slot_type|restart_lsn|restart_tli`, all of them empty without such a
/// slot (PostgreSQL's "Streaming Replication Protocol").
fn kept_from(answer: &str) -> Kept {
    let mut words = answer.trim().split('|');
    match (words.next(), words.next()) {
        (Some("physical"), Some("")) => Kept::Nothing,
        (Some("physical"), Some(lsn)) => lsn.parse().map_or(Kept::Unknown, Kept::From),
        _ => Kept::Unknown,
    }
}

impl From<StepError> for CannotFollow {
    fn from(e: StepError) -> Self {
        Self::Later(e.in_full())
    }
}

impl From<ToolError> for CannotFollow {
    fn from(e: ToolError) -> Self {
        Self::Later(e.to_string())
    }
}

/// One copy, and whom it shall follow.
pub(crate) struct Rejoin<'a> {
    pub(crate) server: &'a Server,
    pub(crate) upstream: &'a Upstream,
    pub(crate) cluster: &'a Cluster,
}

impl Rejoin<'_> {
    fn impossible(&self, reason: impl Into<String>) -> CannotFollow {
        let data = self.server.data.display();
        CannotFollow::Never {
            reason: reason.into(),
            commands: vec![
                format!("mv {data} {data}.kept"),
                "# the guard then clones the upstream into the empty place by itself".to_owned(),
            ],
        }
    }

    fn conninfo(&self, more: &[(&str, &str)]) -> Result<String, CannotFollow> {
        let passfile = self.server.passfile();
        write_passfile(&passfile, self.upstream)
            .map_err(|e| CannotFollow::Later(format!("{}: {e}", passfile.display())))?;
        Ok(conninfo(self.upstream, &passfile, more))
    }

    async fn ask(&self, conninfo: &str, sql: &str) -> Result<String, ToolError> {
        let mut command = self.server.tools.command("psql");
        command.args(["-XAtq", "-d", conninfo, "-c", sql]);
        self.server.tools.must(None, command, Patience::Within(QUESTION)).await
    }

    /// Finds out whether this copy's history has left the upstream's. Changes nothing.
    pub(crate) async fn standing(&self) -> Result<Standing, CannotFollow> {
        let replication = self.conninfo(&[("replication", "true")])?;
        // Asked before its timeline: what it answers then is not older than its promotion.
        let recovers = self.ask(&replication, "SHOW in_hot_standby").await;
        let recovers = recovers.map_err(|e| {
            let kind = if is_silence(&e) { CannotFollow::Silent } else { CannotFollow::Later };
            kind(e.to_string())
        })?;
        let identity = self.ask(&replication, "IDENTIFY_SYSTEM").await?;
        let mut words = identity.trim().split('|');
        let system = words.next().and_then(|w| w.parse().ok()).map(SystemId);
        let timeline = words.next().and_then(|w| w.parse().ok()).map(Timeline);
        let (Some(system), Some(timeline)) = (system, timeline) else {
            return Err(CannotFollow::Later(format!("the upstream's identity is {identity:?}")));
        };
        if system != self.cluster.system_id {
            return Err(self.impossible(format!(
                "the upstream is database {system}, this is {}: they never were copies of each other",
                self.cluster.system_id
            )));
        }
        // A copy that was a primary may have more than the upstream has: only its promotion shows where it ends.
        if !self.cluster.standby_signal && recovers.trim() != "off" {
            return Err(CannotFollow::Undecided(
                "the upstream is itself a standby still: where its own history will begin is not known yet"
                    .to_owned(),
            ));
        }
        let theirs = if timeline.0 > 1 {
            let answer = self.ask(&replication, &format!("TIMELINE_HISTORY {timeline}")).await?;
            let text = answer.split_once('|').map_or("", |(_, text)| text);
            History::parse(timeline, text).map_err(|e| CannotFollow::Later(e.to_string()))?
        } else {
            History::without_ancestors(timeline)
        };
        let ours = self.own_history()?;
        let found = fork(&ours, &theirs);
        match found {
            Fork::None => Ok(Standing::Follows),
            Fork::Strangers => Err(self.impossible("the two histories have no timeline in common")),
            Fork::At { lsn, .. } => {
                let past = self.past(&ours, lsn).await?;
                // The checkpoint's own record at or past the fork is WAL past it, readable or not.
                if past.records == 0 && self.cluster.checkpoint < lsn {
                    Ok(Standing::Follows)
                } else {
                    Ok(Standing::Diverged { fork: found, by_number: same_by_number(&ours, &theirs) })
                }
            }
        }
    }

    /// Why this copy, whose log ends at `has`, can never stream from the upstream again; `None`: it can, or nobody knows.
    ///
    /// What the upstream's slot does not keep may be there all the same: this says nothing about a copy that streams.
    pub(crate) async fn log_gone(&self, has: Lsn) -> Option<String> {
        let replication = self.conninfo(&[("replication", "true")]).ok()?;
        let slot = &self.upstream.slot;
        let answer = self.ask(&replication, &format!("READ_REPLICATION_SLOT \"{slot}\"")).await.ok()?;
        let data = self.server.data.display();
        let mend = format!(
            "this copy must be made anew: in its pod, mv {data} {data}.kept, then delete the pod; its guard clones the primary"
        );
        match kept_from(&answer) {
            Kept::From(begin) if begin > has => Some(format!(
                "its primary's slot {slot} keeps log from {begin} on, and this copy has it up to {has}; {mend}"
            )),
            Kept::Nothing => Some(format!("its primary's slot {slot} keeps no log any more; {mend}")),
            Kept::From(_) | Kept::Unknown => None,
        }
    }

    /// Two promotions that got the same number: `pg_rewind` would take them for one history.
    pub(crate) fn twins(&self, fork: Fork) -> CannotFollow {
        let from = match fork {
            Fork::At { lsn, .. } => format!(" at {lsn}"),
            Fork::None | Fork::Strangers => String::new(),
        };
        self.impossible(format!(
            "this copy and the upstream were promoted apart from each other{from} to timelines of the same number, \
             which pg_rewind cannot tell apart; what this copy has alone is saved"
        ))
    }

    fn own_history(&self) -> Result<History, CannotFollow> {
        let timeline = self.cluster.timeline;
        if timeline.0 <= 1 {
            return Ok(History::without_ancestors(timeline));
        }
        let path = self.wal().join(format!("{:08X}.history", timeline.0));
        let text = std::fs::read_to_string(&path).map_err(|e| {
            self.impossible(format!("{}: {e}: this copy's own history is not known", path.display()))
        })?;
        History::parse(timeline, &text).map_err(|e| self.impossible(e.to_string()))
    }

    fn wal(&self) -> PathBuf {
        self.server.data.join("pg_wal")
    }

    /// Counts the records at or past `lsn`, on whatever timelines this copy wrote them. What cannot be read is an error,
    /// never nothing.
    async fn past(&self, ours: &History, lsn: Lsn) -> Result<Past, CannotFollow> {
        let mut past = Past::default();
        let mut start = lsn;
        for (timeline, end) in ours.from(lsn) {
            let from = start;
            start = end.unwrap_or(start);
            let written = written(&self.wal(), timeline)
                .map_err(|e| CannotFollow::Later(format!("{}: {e}", self.wal().display())))?;
            let Some((first, last)) = written.range(from, end).map_err(|why| self.impossible(why))? else {
                continue;
            };
            let mut command = self.server.tools.command("pg_waldump");
            command.arg("-p").arg(self.wal()).args(["-s", &from.to_string()]);
            if let Some(end) = end {
                command.args(["-e", &end.to_string()]);
            }
            // By name: without one it takes any segment for a sample of them all, one that was made ahead too.
            command.args([first, last]);
            let (seen, said) = self.server.tools.lines(command, SILENT, past, count).await?;
            if let Some(why) = said.lines().find(|line| !line.trim().is_empty() && !is_end_of_log(line)) {
                return Err(CannotFollow::Later(format!(
                    "what this copy has past {lsn} cannot be read: {why}"
                )));
            }
            past = seen;
        }
        Ok(past)
    }

    /// Saves and counts what this copy has past the fork. A second call finds the first's work.
    pub(crate) async fn save(&self, found: Fork) -> Result<Diverged, CannotFollow> {
        let Fork::At { timeline, lsn } = found else {
            return Err(self.impossible("there is no fork to save from"));
        };
        let ours = self.own_history()?;
        let past = self.past(&ours, lsn).await?;
        let end = past.end.unwrap_or(lsn);
        let before: Option<Diverged> =
            self.server.store.read(DIVERGED).map_err(|e| CannotFollow::Later(e.to_string()))?;
        if let Some(done) = before
            && (done.timeline, done.fork, done.end) == (timeline, lsn, end)
            && Path::new(&done.path).is_dir()
        {
            return Ok(done);
        }
        let wal = self.wal();
        let root = self.server.store.dir().join("diverged");
        let path = tokio::task::spawn_blocking(move || copy_wal(&wal, &root, lsn, end))
            .await
            .map_err(|e| CannotFollow::Later(e.to_string()))?
            .map_err(|e| {
                CannotFollow::Later(format!("the diverged WAL cannot be saved, so nothing is rewound: {e}"))
            })?;
        let diverged = Diverged {
            timeline,
            fork: lsn,
            end,
            bytes: end.ahead_of(lsn),
            transactions: past.commits,
            path: path.display().to_string(),
        };
        self.server.store.write(DIVERGED, &diverged).map_err(|e| CannotFollow::Later(e.to_string()))?;
        Ok(diverged)
    }

    /// Rewinds to the upstream's history. Only after [`Rejoin::save`].
    pub(crate) async fn rewind(&self) -> Result<(), CannotFollow> {
        let store = &self.server.store;
        let kept = |e: crate::store::StoreError| CannotFollow::Later(e.to_string());
        let stage = store.read::<Stage>(REWINDING).map_err(kept)?;
        if stage != Some(Stage::Rewound) {
            let source = self.conninfo(&[("dbname", "postgres")])?;
            self.wait_for_checkpoint(&source).await?;
            if stage.is_none() {
                self.end_cleanly().await?;
                // A rewind that is cut short leaves the upstream's in their place.
                self.keep_own_files()?;
            }
            store.write(REWINDING, &Stage::Begun).map_err(kept)?;
            if stage.is_none() || !self.is_rewound() {
                if stage.is_some() {
                    self.restore_log()?;
                }
                self.run_rewind(&source).await?;
            }
            self.restore_own_files()?;
            store.write(REWINDING, &Stage::Rewound).map_err(kept)?;
            self.forget_log();
        }
        self.server.standby_signal()?;
        store.remove(Effect::RemoveRewinding, REWINDING).map_err(kept)
    }

    /// Whether `pg_rewind` came to its end though nobody took note: then this copy is the upstream's as of its backup
    /// label, and a crash recovery would make a history of its own of it.
    fn is_rewound(&self) -> bool {
        self.cluster.state == ClusterState::InArchiveRecovery
            && self.server.data.join("backup_label").exists()
    }

    /// Brings this copy to the clean end that `pg_rewind` needs. All of its log stays.
    pub(crate) async fn end_cleanly(&self) -> Result<(), CannotFollow> {
        // It would make the crash recovery impossible.
        let signal = self.server.data.join("standby.signal");
        match effect::remove_file(Effect::RemoveStandbySignal, &signal) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(CannotFollow::Later(format!("{}: {e}", signal.display())));
            }
            _ => {}
        }
        self.recover().await
    }

    async fn run_rewind(&self, source: &str) -> Result<(), CannotFollow> {
        let mut command = self.server.tools.command("pg_rewind");
        command.arg("-D").arg(&self.server.data).arg(format!("--source-server={source}"));
        command.env("PATH", path_with(&self.server.tools.bin));
        match self.server.tools.must(Some(Effect::RunRewind), command, Patience::Silent(SILENT)).await {
            Ok(_) => Ok(()),
            Err(e) if was_cut(&e) => Err(e.into()),
            Err(e) => Err(self.impossible(format!("pg_rewind: {e}"))),
        }
    }

    /// Brings a crashed copy to the clean end that `pg_rewind` needs. `pg_rewind` would do it too, but its recovery ends
    /// with a checkpoint that may remove the WAL before the fork, which it then misses.
    async fn recover(&self) -> Result<(), CannotFollow> {
        if matches!(self.cluster.state, ClusterState::ShutDown | ClusterState::ShutDownInRecovery) {
            return Ok(());
        }
        self.server.forget_postmaster()?;
        let mut command = self.server.tools.command("postgres");
        // With the user's settings: they may be on the command line only, and this start writes into the control file
        // whether `wal_log_hints` is on, which `pg_rewind` insists on.
        command.arg("--single").args(self.server.user_arguments()).arg("-D").arg(&self.server.data);
        // Everything: the largest value there is, in megabytes.
        command.args(["-c", "wal_keep_size=2147483647", "template1"]);
        match self.server.tools.must(Some(Effect::RunRecovery), command, Patience::Within(RECOVERY)).await {
            Ok(_) => Ok(()),
            Err(e @ ToolError::Failed { .. }) => Err(self.impossible(format!("crash recovery: {e}"))),
            Err(e) => Err(e.into()),
        }
    }

    /// Before its first checkpoint on the new timeline a promoted server's control file still names the old one,
    /// and `pg_rewind` would find "no rewind required" and leave a broken standby.
    async fn wait_for_checkpoint(&self, source: &str) -> Result<(), CannotFollow> {
        let sql = "SELECT timeline_id::text || ' ' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) \
            FROM pg_control_checkpoint()";
        let began = crate::clock::now();
        loop {
            let answer = self.ask(source, sql).await?;
            let mut words = answer.split_whitespace();
            let checkpointed = words.next().and_then(|w| w.parse::<u32>().ok());
            let current = words.next().and_then(|w| u32::from_str_radix(w, 16).ok());
            if checkpointed.is_some() && checkpointed == current {
                return Ok(());
            }
            if crate::clock::now().since(began) > CHECKPOINT {
                return Err(CannotFollow::Later(
                    "the upstream has made no checkpoint since its promotion".to_owned(),
                ));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Whether nobody answered: a server that refuses says why, and will perhaps not refuse another time.
fn is_silence(e: &ToolError) -> bool {
    match e {
        ToolError::TooSlow { .. } => true,
        ToolError::Failed { said, .. } => !said.contains("FATAL:") && was_cut(e),
        ToolError::NotStarted { .. } => false,
    }
}

/// Whether the tool was cut off from its source, or could not run, rather than refused: that may work another time.
fn was_cut(e: &ToolError) -> bool {
    const SIGNS: [&str; 22] = [
        "connection to server",
        "no connection to the server",
        "server closed the connection",
        "connection not open",
        "connection reset",
        "connection timed out",
        "connection refused",
        "connection has been closed",
        "terminating connection",
        "could not receive data",
        "could not send data",
        "could not translate host name",
        "timeout expired",
        "timeout",
        "ssl ",
        "eof detected",
        "broken pipe",
        "no route to host",
        "network is unreachable",
        "lost synchronization",
        "the database system is",
        "must not be in recovery mode",
    ];
    match e {
        ToolError::NotStarted { .. } | ToolError::TooSlow { .. } => true,
        ToolError::Failed { how, said, .. } => {
            let said = said.to_lowercase();
            how.starts_with("it was killed") || SIGNS.iter().any(|sign| said.contains(sign))
        }
    }
}

/// `PATH` with the tools' directory first: `pg_rewind` starts `postgres` for a crash recovery.
fn path_with(bin: &Path) -> String {
    let rest = std::env::var("PATH").unwrap_or_default();
    format!("{}:{rest}", bin.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_keeps_nothing_is_told_from_one_that_is_not_there() {
        // As PostgreSQL 15 answers for a slot that it keeps, one that it has invalidated, and none.
        assert_eq!(kept_from("physical|0/5000028|1\n"), Kept::From("0/5000028".parse().unwrap()));
        assert_eq!(kept_from("physical||\n"), Kept::Nothing);
        assert_eq!(kept_from("||\n"), Kept::Unknown);
        assert_eq!(kept_from(""), Kept::Unknown);
    }

    #[test]
    fn a_rewind_that_was_cut_off_is_tried_again_and_one_that_was_refused_is_not() {
        let failed = |how: &str, said: &str| ToolError::Failed {
            tool: "pg_rewind".into(),
            how: how.into(),
            said: said.into(),
        };
        let exited = |said| failed("it exited with status 1", said);
        let later = [
            exited(
                r#"pg_rewind: error: connection to server at "10.0.0.1", port 5432 failed: Connection refused"#,
            ),
            exited(
                "pg_rewind: error: could not fetch remote file: server closed the connection unexpectedly",
            ),
            exited("pg_rewind: error: error running query (SELECT 1): SSL SYSCALL error: EOF detected"),
            exited("pg_rewind: error: could not receive data from server: Connection timed out"),
            exited("FATAL:  terminating connection due to administrator command"),
            exited("FATAL:  the database system is shutting down"),
            failed("it was killed by SIGKILL", ""),
            ToolError::TooSlow { tool: "pg_rewind".into(), after: SILENT, what: "a sign of progress" },
            ToolError::NotStarted { tool: "pg_rewind".into(), reason: "too many open files".into() },
        ];
        let never = [
            exited("pg_rewind: error: could not find previous WAL record at 0/3000028"),
            exited(
                "pg_rewind: error: target server needs to use either data checksums or \"wal_log_hints = on\"",
            ),
            exited("pg_rewind: error: source and target clusters are from different systems"),
        ];
        assert_eq!(later.iter().filter(|e| !was_cut(e)).collect::<Vec<_>>().len(), 0, "{later:?}");
        assert_eq!(never.iter().filter(|e| was_cut(e)).collect::<Vec<_>>().len(), 0, "{never:?}");
    }

    #[test]
    fn a_server_that_refuses_is_not_silent() {
        let said = |said: &str| ToolError::Failed {
            tool: "psql".into(),
            how: "it exited with status 2".into(),
            said: said.into(),
        };
        let at = r#"psql: error: connection to server at "10.0.0.1", port 5432 failed: "#;
        let silent = [
            said(&format!("{at}Connection refused")),
            said(&format!("{at}No route to host")),
            said(&format!("{at}timeout expired")),
            said(
                r#"psql: error: could not translate host name "db.lyon" to address: Name or service not known"#,
            ),
            ToolError::TooSlow { tool: "psql".into(), after: QUESTION, what: "an answer" },
        ];
        let answered = [
            said(&format!("{at}FATAL:  password authentication failed for user \"replicator\"")),
            said(&format!("{at}FATAL:  the database system is starting up")),
            said("ERROR:  syntax error"),
            ToolError::NotStarted { tool: "psql".into(), reason: "no such file".into() },
        ];
        assert!(silent.iter().all(is_silence), "{silent:?}");
        assert!(!answered.iter().any(is_silence), "{answered:?}");
    }
}
