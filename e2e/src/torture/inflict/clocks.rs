//! Clocks that leap, and clocks that run fast or slow.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::torture::ground::Ground;
use crate::world::Place;

/// Seconds.
pub(super) const HOUR: i64 = 3600;
/// What the protocol allows a clock to be wrong, one in a hundred: in millionths.
pub(super) const RATE: i64 = 10_000;

pub(super) async fn stepped(on: &Ground<'_, '_>, at: Place, seconds: i64, lasts: Duration) -> Result<()> {
    let clock = on.world().clock(at)?;
    on.told().clock_stepped = true;
    clock.step(seconds)?;
    sleep(lasts).await;
    let shown = on.world().operator_has_the_clock(at);
    clock.step(-seconds)?;
    shown
}

pub(super) async fn wrong(on: &Ground<'_, '_>, at: Place, per_million: i64, lasts: Duration) -> Result<()> {
    let clock = on.world().clock(at)?;
    let before = clock.offset()?;
    clock.gain(per_million)?;
    sleep(lasts).await;
    clock.gain(0)?;
    let gained = clock.offset()? - before;
    on.scene.note(&format!("the clocks of {at} have gained {gained:.3} s"));
    Ok(())
}
