//! The arbiter's members.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::torture::ground::Ground;
use crate::world::{Place, Scope};

/// How long a leader stands still, and how long the one after it leads before it does: several elections.
const STILL: Duration = Duration::from_millis(1500);

pub(super) async fn leaders_frozen(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    let end = Instant::now() + lasts;
    while Instant::now() < end {
        let leader = leader(on)?;
        on.world().freeze(leader, Scope::Arbiter)?;
        sleep(STILL).await;
        on.world().thaw(leader, Scope::Arbiter)?;
        sleep(STILL).await;
    }
    Ok(())
}

/// The place of the member that leads, as whichever member answers says.
fn leader(on: &Ground<'_, '_>) -> Result<Place> {
    let mut leads = None;
    let mut members = Vec::new();
    for place in Place::ALL {
        let Ok(text) =
            on.world().arbiter().ctl_at(place.alone(), "root", &["endpoint", "status", "-w", "json"])
        else {
            continue;
        };
        let answer: Value = serde_json::from_str(&text).context("etcdctl's answer")?;
        let status = &answer[0]["Status"];
        members.push((place, status["header"]["member_id"].clone()));
        leads = status["leader"].as_u64().filter(|id| *id != 0).or(leads);
    }
    let leads = leads.context("no member names a leader")?;
    let found = members.into_iter().find(|(_, id)| id.as_u64() == Some(leads));
    found.map(|(place, _)| place).context("the leader does not answer")
}

pub(super) async fn member_killed(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    on.world().kill_part(at, "arbiter")?;
    sleep(lasts).await;
    on.world().restart_arbiter_member(at)
}

pub(super) async fn member_frozen(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    on.world().freeze(at, Scope::Arbiter)?;
    sleep(lasts).await;
    on.world().thaw(at, Scope::Arbiter)
}

/// What is left of its full disk.
const LEFT: u64 = 16 << 10;

pub(super) async fn member_disk_full(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    on.world().fill_member_disk(at, LEFT)?;
    sleep(lasts).await;
    on.world().empty_member_disk(at)?;
    // One that could not keep what it had promised has ended, as it must; a service manager starts it again.
    if on.world().member_runs(at)? {
        on.scene.note(&format!("the member of {at} lived through it"));
        return Ok(());
    }
    on.world().restart_arbiter_member(at)
}

pub(super) async fn member_replaced(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    on.world().leave_arbiter(at).await?;
    sleep(lasts).await;
    on.world().join_arbiter(at).await
}
