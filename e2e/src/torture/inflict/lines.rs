//! Lines between places.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep, sleep_until};

use crate::torture::ground::Ground;
use crate::world::place::POSTGRES_PORT;
use crate::world::{Cut, End, Place};

/// A flapping line is down for so long, then up for so long.
const FLAP: Duration = Duration::from_millis(1500);
/// Bytes a second of a thin line.
const THIN: u64 = 20_000;

async fn with(on: &Ground<'_, '_>, cut: Cut, lasts: Duration) -> Result<()> {
    let number = on.cut(cut)?;
    sleep(lasts).await;
    on.uncut(number)
}

pub(super) async fn one_way(on: &Ground<'_, '_>, from: End, to: End, lasts: Duration) -> Result<()> {
    with(on, Cut::one_way(from, to), lasts).await
}

pub(super) async fn cut(on: &Ground<'_, '_>, a: End, b: End, lasts: Duration) -> Result<()> {
    with(on, Cut::between(a, b), lasts).await
}

pub(super) async fn flapping(on: &Ground<'_, '_>, a: End, b: End, lasts: Duration) -> Result<()> {
    let end = Instant::now() + lasts;
    while Instant::now() < end {
        with(on, Cut::between(a, b), FLAP).await?;
        sleep_until(end.min(Instant::now() + FLAP)).await;
    }
    Ok(())
}

pub(super) async fn alone(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    with(on, Cut::isolate(at), lasts).await
}

pub(super) async fn no_arbiter(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    with(on, Cut::from_arbiter(at), lasts).await
}

pub(super) async fn no_replication(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    with(on, Cut::replication(), lasts).await
}

pub(super) async fn thin_line(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    on.world().limit(on.roles.active, on.roles.standby, POSTGRES_PORT, THIN)?;
    sleep(lasts).await;
    on.world().unlimit(on.roles.standby)
}
