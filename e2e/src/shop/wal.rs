//! What the guard of a returned site has saved: the lost transactions, read with PostgreSQL's own tool.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Shop, database};
use crate::command::{SHORT, outcome};
use crate::world::Place;

/// PostgreSQL's reader of its log.
const WALDUMP: &str = "/usr/lib/postgresql/15/bin/pg_waldump";

/// The guard's own note of what it has saved.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    /// The timeline on which it was written.
    pub timeline: u32,
    /// Where the histories part.
    pub fork: String,
    /// The end of the last record.
    pub end: String,
    /// Bytes from the fork to the end.
    pub bytes: u64,
    /// Commits past the fork.
    pub transactions: u64,
    /// Where the segments are, as the guard's container sees it.
    pub path: String,
}

impl Shop<'_> {
    /// What the guard of a site says it has saved; `None` when it never had to.
    pub fn saved(&self, site: Place) -> Result<Option<Saved>> {
        let file = self.volume(site).join("bascule/diverged.json");
        match std::fs::read(&file) {
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", file.display()))?,
            )),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// The saved segments on the host.
    pub fn saved_folder(&self, site: Place, saved: &Saved) -> Result<PathBuf> {
        let below = Path::new(&saved.path).strip_prefix(database::MOUNT);
        Ok(self.volume(site).join(below.with_context(|| format!("{} is not on the volume", saved.path))?))
    }
}

/// Numbers of the transactions whose commit is in the saved segments, at or past the fork.
pub fn saved_commits(folder: &Path, saved: &Saved) -> Result<BTreeSet<String>> {
    let mut command = std::process::Command::new(WALDUMP);
    command
        .arg("--path")
        .arg(folder)
        .args(["--timeline", &saved.timeline.to_string(), "--start", &saved.fork, "--end", &saved.end])
        .args(["--rmgr", "Transaction"])
        .env("LC_ALL", "C");
    // It ends with an error wherever the log ends; what it printed before counts.
    let (_, said, _) = outcome(command, None, SHORT)?;
    let commits: BTreeSet<String> = said
        .lines()
        .filter(|line| line.contains("desc: COMMIT"))
        .filter_map(|line| {
            let (_, rest) = line.split_once("tx:")?;
            Some(rest.split(',').next()?.trim().to_owned())
        })
        .collect();
    ensure!(
        !commits.is_empty() || saved.transactions == 0,
        "pg_waldump read no commit in {}: {said}",
        folder.display()
    );
    Ok(commits)
}
