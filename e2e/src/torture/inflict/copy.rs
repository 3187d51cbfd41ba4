//! A standby whose log is gone: it can never follow again, and its copy must be made anew by a person.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;

use super::database::session;
use crate::shop::{DATABASE_POD, NAMESPACE, View};
use crate::torture::ground::Ground;
use crate::waiting::until;
use crate::world::{Cut, Place};

/// How long the active server may take to notice that its replica is gone, and to remove what is not needed.
const GONE: Duration = Duration::from_secs(20);
/// How long Bascule may take to say so: a standby that does not stream looks for the reason after 5, 10, 20, 40 s.
const SAID: Duration = Duration::from_secs(75);
/// How long a standby that can follow may take until it does, and how long it must then go on.
const FOLLOWS: Duration = Duration::from_secs(12);
const STAYS: Duration = Duration::from_secs(1);
/// How long a copy may take.
const COPIED: Duration = Duration::from_mins(1);
/// How long a statement may take.
const ANSWER: Duration = Duration::from_secs(3);

/// The segment that the replicas need next.
const NEEDED: &str =
    "select pg_walfile_name(restart_lsn) from pg_replication_slots where restart_lsn is not null";
const STREAMING: &str = "select pid::text from pg_stat_replication where state = 'streaming'";
const CONNECTED: &str = "select count(*)::text from pg_stat_replication";
/// Segments are removed by checkpoints, and only whole ones.
const REMOVE: [&str; 4] = [
    "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active",
    "select pg_logical_emit_message(true, 'more', 'more')",
    "select pg_switch_wal()",
    "checkpoint",
];

pub(super) async fn log_removed(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    let begin = std::time::Instant::now();
    let at = on.roles.active;
    let cut = on.cut(Cut::replication())?;
    let removed = remove(on, at).await;
    tokio::time::sleep(lasts.saturating_sub(begin.elapsed())).await;
    on.uncut(cut)?;
    let segment = removed?;
    on.told().log_removed = true;
    on.scene.note(&format!("segment {segment} is gone at {at}"));
    Ok(())
}

async fn remove(on: &Ground<'_, '_>, at: Place) -> Result<String> {
    let needed = ask(on, at, NEEDED).await?.context("no replica has a slot")?;
    until(&format!("{at} to give its replica up"), GONE, || async {
        let connected = ask(on, at, CONNECTED).await?;
        ensure!(connected.as_deref() == Some("0"), "{connected:?} are connected");
        Ok(())
    })
    .await?;
    let there = format!("select name from pg_ls_waldir() where name = '{needed}'");
    until(&format!("segment {needed} to be removed at {at}"), GONE, || async {
        for statement in REMOVE {
            ask(on, at, statement).await?;
        }
        let found = ask(on, at, &there).await?;
        ensure!(found.is_none(), "it is there");
        Ok(())
    })
    .await?;
    Ok(needed)
}

/// Whether a replica streams, and stays.
async fn streams(on: &Ground<'_, '_>, active: Place) -> Result<bool> {
    let stays = until(&format!("a replica of {active} to stream"), FOLLOWS, || async {
        for _ in 0..2 {
            let pid = ask(on, active, STREAMING).await?;
            tokio::time::sleep(STAYS).await;
            ensure!(pid.is_some() && pid == ask(on, active, STREAMING).await?, "none does");
        }
        Ok(())
    })
    .await;
    Ok(stays.is_ok())
}

/// The first column of the first row.
async fn ask(on: &Ground<'_, '_>, at: Place, sql: &str) -> Result<Option<String>> {
    let client = session(on, at).await?;
    let rows =
        timeout(ANSWER, client.simple_query(sql)).await.with_context(|| format!("no answer to {sql}"))?;
    let rows = rows.with_context(|| sql.to_owned())?;
    Ok(rows.iter().find_map(|row| match row {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

/// Once every other fault is over: where the standby still lacks its log, both sites must say that it does not follow,
/// and a person makes its copy anew.
pub(in crate::torture) async fn made_anew(on: &Ground<'_, '_>) -> Result<()> {
    let (active, _) = on.read_status().await?;
    let standby = active.other_site().context("a site")?;
    if streams(on, active).await? {
        on.scene.note(&format!("{standby} follows all the same"));
        return Ok(());
    }
    for site in Place::SITES {
        let what = format!("L5: {site} to say that {standby} does not follow");
        let unprotected = |view: &View| {
            for kind in ["ReplicationHealthy", "FailoverPossible"] {
                let told = view.condition_message(kind);
                ensure!(view.condition(kind) == "False", "{kind} is {:?}: {told}", view.condition(kind));
            }
            let told = view.condition_message("ReplicationHealthy");
            ensure!(told.contains("must be made anew"), "what to do is not said: {told}");
            Ok(())
        };
        let view = on.shop().view_when(site, &what, SAID, unprotected).await?;
        on.scene.note(&format!("{site} says: {}", view.condition_message("ReplicationHealthy")));
    }
    let volume = on.shop().volume(standby);
    let (data, kept) = (volume.join("pgdata"), volume.join("pgdata.kept"));
    if kept.exists() {
        std::fs::remove_dir_all(&kept)?;
    }
    let old = on.world().pod(standby, NAMESPACE, DATABASE_POD).await?;
    std::fs::rename(&data, &kept).with_context(|| format!("cannot move {}", data.display()))?;
    let args = ["delete", "pod", "-n", NAMESPACE, DATABASE_POD, "--grace-period=0", "--force"];
    on.world().kubectl(standby, &args)?;
    on.scene.note(&format!("a person moves the data of {standby} away and deletes its pod"));
    until(&format!("a new copy at {standby}"), COPIED, || async {
        let pod = on.world().pod(standby, NAMESPACE, DATABASE_POD).await?;
        ensure!(pod.uid != old.uid, "the old pod is still there");
        ensure!(data.join("PG_VERSION").exists(), "there is no data");
        Ok(())
    })
    .await
}
