//! Disks that answer late.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use crate::process::Recorded;
use crate::torture::ground::Ground;
use crate::world::{Place, Scope};

/// How long a sync takes: a disk of a cloud on a bad day.
const DELAY: Duration = Duration::from_millis(200);
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
    slow(on, &format!("database-{at}"), processes, lasts).await
}

pub(super) async fn member_slow(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let processes = || on.world().processes_in(at, Scope::Arbiter);
    slow(on, &format!("arbiter-{at}"), processes, lasts).await
}

async fn slow(
    on: &Ground<'_, '_>,
    name: &str,
    processes: impl Fn() -> Result<Vec<Recorded>>,
    lasts: Duration,
) -> Result<()> {
    let end = Instant::now() + lasts;
    let (mut delayed, mut complaint) = (0, String::new());
    while Instant::now() < end {
        let found = processes()?;
        if found.is_empty() {
            sleep(LOOK).await;
            continue;
        }
        let mut disk = on.world().slow_disk(name, &found, DELAY)?;
        while Instant::now() < end && disk.holds()? {
            sleep(LOOK).await;
        }
        complaint = disk.complaint();
        delayed += disk.let_go()?;
    }
    ensure!(delayed > 0, "no sync was held up: {complaint}");
    on.scene.note(&format!("{delayed} syncs of {name} took {DELAY:?} longer"));
    Ok(())
}
