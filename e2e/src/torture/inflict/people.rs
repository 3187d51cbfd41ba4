//! What people merge and delete.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::shop::{MoveText, NAMESPACE, POLICY, PolicyText, Shop};
use crate::torture::ground::Ground;
use crate::world::Place;

/// Why, in every Move.
const REASON: &str = "somebody wants it now";
/// How long a Hold lasts if its Resume is not heard.
const HELD: Duration = Duration::from_mins(1);
/// How often somebody edits again what was put back.
const AGAIN: Duration = Duration::from_millis(700);

pub(super) async fn switchovers(on: &Ground<'_, '_>, number: usize) -> Result<()> {
    let (from, epoch) = on.read_status().await?;
    let to = from.other_site().unwrap_or(from);
    let name = |n: usize| format!("{}-switchover-{number}-{n}", on.name);
    let moves: Vec<MoveText> =
        (1..=number).map(|n| MoveText::switchover(&name(n), from, to, epoch, REASON)).collect();
    on.merge(&moves)
}

pub(super) async fn failover(on: &Ground<'_, '_>) -> Result<()> {
    let (from, epoch) = on.read_status().await?;
    let to = from.other_site().unwrap_or(from);
    on.merge(&[MoveText::failover(&format!("{}-failover", on.name), from, to, epoch)])
}

pub(super) async fn held(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    let (active, epoch) = on.read_status().await?;
    let until = jiff::Timestamp::now().checked_add(lasts + HELD)?;
    let name = format!("{}-hold", on.name);
    on.merge(&[MoveText::order("Hold", &name, active, epoch, REASON, Some(until))])?;
    sleep(lasts).await;
    let (active, epoch) = on.read_status().await?;
    let name = format!("{}-resume", on.name);
    on.merge(&[MoveText::order("Resume", &name, active, epoch, REASON, None)])
}

pub(super) async fn abort(on: &Ground<'_, '_>) -> Result<()> {
    let (active, epoch) = on.read_status().await?;
    on.merge(&[MoveText::order("Abort", &format!("{}-abort", on.name), active, epoch, REASON, None)])
}

pub(super) fn policy_deleted(on: &Ground<'_, '_>, at: Place) -> Result<()> {
    let args = ["delete", "fop", "-n", NAMESPACE, POLICY, "--wait=false", "--request-timeout=5s"];
    on.world().kubectl(at, &args).map(drop)
}

pub(super) async fn policy_removed(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    on.commit(Shop::remove_policy)?;
    sleep(lasts).await;
    on.commit(|shop| shop.commit_policy("the policy again", &on.scene.policy)).map(drop)
}

pub(super) async fn suspended(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    let text = PolicyText { suspend: true, ..on.scene.policy.clone() };
    on.commit(|shop| shop.commit_policy("suspended", &text))?;
    sleep(lasts).await;
    on.commit(|shop| shop.commit_policy("not any more", &on.scene.policy)).map(drop)
}

/// Timing that no policy here has.
pub(super) async fn timing_edited(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let spec = "{\"failover\":{\"serveReads\":{\"after\":\"47s\"},\"promote\":{\"after\":\"7m\"}}}";
    edited(on, at, spec, lasts).await
}

pub(super) async fn suspended_at(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    edited(on, at, "{\"suspend\":true}", lasts).await
}

/// Nobody takes it back but Bascule itself: in the end both sites must have what git says.
async fn edited(on: &Ground<'_, '_>, at: Place, spec: &str, lasts: Duration) -> Result<()> {
    let patch = format!("{{\"spec\":{spec}}}");
    let args = ["patch", "fop", "-n", NAMESPACE, POLICY, "--type=merge", "-p", &patch];
    let args = [&args[..], &["--request-timeout=3s", "-o", "jsonpath={.metadata.generation}"]].concat();
    let end = Instant::now() + lasts;
    let (mut edits, mut generations) = (0_u32, Vec::new());
    while edits == 0 || Instant::now() < end {
        generations.push(on.world().kubectl(at, &args)?);
        edits += 1;
        sleep(AGAIN).await;
    }
    generations.dedup();
    on.scene.note(&format!("edited {edits} times, {} times after it was put back", generations.len() - 1));
    Ok(())
}
