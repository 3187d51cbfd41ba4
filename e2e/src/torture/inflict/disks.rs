//! Disks that answer late.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use crate::process::Recorded;
use crate::torture::ground::Ground;
use crate::world::{Place, Scope};

/// How long a sync takes: a disk of a cloud on a bad day.
const DELAY: Duration = Duration::from_millis(200);
/// How long each of the few syncs of a promotion takes: five of them were seen.
const PROMOTION_DELAY: Duration = Duration::from_secs(2);
/// Between two looks at who is held up: a container that was replaced has new processes.
const LOOK: Duration = Duration::from_millis(200);

/// Guard and server, for their files lie on the same disk.
pub(super) async fn database_slow(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let processes = || {
        let all = on.world().processes_of_pods(at)?;
        let mut of_it = Vec::new();
        for process in all {
            if process.command.contains("bascule guard postgres") || process.command.starts_with("postgres") {
                of_it.push(process.recorded);
            }
        }
        Ok(of_it)
    };
    let name = format!("database-{at}");
    held_up(slow(on, &name, processes, DELAY, lasts).await?)
}

/// The standby's startup process: it writes the new history and its first segment, and syncs them.
pub(super) async fn promotion_slow(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    let at = on.roles.standby;
    let processes = || {
        let all = on.world().processes_of_pods(at)?;
        Ok(all
            .into_iter()
            .filter(|p| p.command.starts_with("postgres: startup"))
            .map(|p| p.recorded)
            .collect())
    };
    // Without a promotion in that time it syncs nothing.
    slow(on, &format!("promotion-{at}"), processes, PROMOTION_DELAY, lasts).await.map(drop)
}

pub(super) async fn member_slow(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let processes = || on.world().processes_in(at, Scope::Arbiter);
    let name = format!("arbiter-{at}");
    held_up(slow(on, &name, processes, DELAY, lasts).await?)
}

fn held_up((delayed, complaint): (usize, String)) -> Result<()> {
    ensure!(delayed > 0, "no sync was held up: {complaint}");
    Ok(())
}

/// Answers how many syncs were held up, and what the tracer complained about last.
async fn slow(
    on: &Ground<'_, '_>,
    name: &str,
    processes: impl Fn() -> Result<Vec<Recorded>>,
    delay: Duration,
    lasts: Duration,
) -> Result<(usize, String)> {
    let end = Instant::now() + lasts;
    let (mut delayed, mut complaint) = (0, String::new());
    while Instant::now() < end {
        let found = processes()?;
        if found.is_empty() {
            sleep(LOOK).await;
            continue;
        }
        let mut disk = on.world().slow_disk(name, &found, delay)?;
        while Instant::now() < end && disk.holds()? {
            sleep(LOOK).await;
        }
        complaint = disk.complaint();
        delayed += disk.let_go()?;
    }
    on.scene.note(&format!("{delayed} syncs of {name} took {delay:?} longer"));
    Ok((delayed, complaint))
}
