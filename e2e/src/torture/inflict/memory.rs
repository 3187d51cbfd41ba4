//! Memory that runs out.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use crate::torture::ground::Ground;
use crate::world::Place;

/// Room above what is used; somebody else takes it.
const ROOM: u64 = 4 << 20;
/// How much is asked for on top.
const ASKED: &str = "64m";

/// The container gets hardly more memory than it uses, and somebody in it asks for more: the kernel ends the process
/// that it thinks is worth the least.
pub(super) async fn out_of_memory(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let group = on.guard(at)?.cgroup("memory").context("the guard is in no memory cgroup")?;
    let group = Path::new("/sys/fs/cgroup/memory").join(group);
    let (limit, usage) = (group.join("memory.limit_in_bytes"), group.join("memory.usage_in_bytes"));
    ensure!(limit.exists(), "{} is not there: only cgroup version 1 is written", limit.display());
    let used: u64 = std::fs::read_to_string(&usage)?.trim().parse()?;
    let before = killed(&group)?;
    std::fs::write(&limit, (used + ROOM).to_string())
        .with_context(|| format!("cannot limit {}", group.display()))?;
    let line =
        format!("echo $$ > {}/cgroup.procs && head -c {ASKED} /dev/zero | tail > /dev/null", group.display());
    let asker = Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).spawn();
    sleep(lasts).await;
    let by_now = killed(&group);
    // The container may be gone by now, and its limit with it.
    let _ = std::fs::write(&limit, "-1");
    let mut asker = asker?;
    let _ = asker.kill();
    asker.wait()?;
    if let Ok(by_now) = by_now {
        ensure!(by_now > before, "there was memory enough");
    }
    Ok(())
}

/// How many processes the kernel has ended there.
fn killed(group: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(group.join("memory.oom_control"))?;
    let line =
        text.lines().find_map(|l| l.strip_prefix("oom_kill ")).context("no count of killed processes")?;
    Ok(line.parse()?)
}
