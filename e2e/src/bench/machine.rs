//! What was measured on: the machine in words, how busy it was meanwhile, and the commit.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::interval_at;

use crate::command::run;

/// Processor time of the whole machine since it was started, in clock ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    total: u64,
    idle: u64,
    steal: u64,
}

impl Ticks {
    /// Until now.
    pub(super) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::of(&text).context("/proc/stat has no line of all processors")
    }

    fn of(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user time already.
        let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|n| n.parse().ok()).collect();
        // What was nice gives way at once: it is as good as idle.
        let idle = ticks.get(1)? + ticks.get(3)? + ticks.get(4)?;
        Some(Self { total: ticks.iter().sum(), idle, steal: *ticks.get(7)? })
    }

    /// Percent that were used by anything that is not nice, and that were taken away, from an earlier moment to this one.
    pub(super) fn since(self, earlier: Self) -> Option<(f64, f64)> {
        let total = self.total.checked_sub(earlier.total).filter(|t| *t > 0)?;
        let percent = |ticks: u64| ticks as f64 * 100.0 / total as f64;
        let used = total.saturating_sub(self.idle.saturating_sub(earlier.idle));
        Some((percent(used).round(), percent(self.steal.saturating_sub(earlier.steal)).round()))
    }
}

/// How much of a quiet machine is in use, in percent: the sandbox at rest takes a part of it.
const QUIET: f64 = 50.0;
/// Over which time that is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Waits until the machine has nothing else to do, no longer than the deadline. Asked before a sample and never after it, so
/// that no sample is chosen by what it measured.
pub(super) async fn quiet(deadline: Duration) -> Result<()> {
    let begin = Instant::now();
    let mut last = Ticks::now()?;
    let mut looks = interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    while begin.elapsed() < deadline {
        looks.tick().await;
        let now = Ticks::now()?;
        if now.since(last).is_some_and(|(busy, _)| busy <= QUIET) {
            return Ok(());
        }
        last = now;
    }
    Ok(())
}

/// Load of the last minute.
pub(super) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The machine in one line.
pub(crate) fn describe() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map(usize::from).unwrap_or_default();
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "processor unknown".to_owned());
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<f64>().ok())
        .map_or_else(|| "memory unknown".to_owned(), |kib| format!("{:.0} GiB", kib / 1024.0 / 1024.0));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores, {model}, {memory}, Linux {}, all places on it", kernel.trim())
}

/// The commit that is measured, with a `+` when a file of the sources is not as it was committed.
pub(crate) fn commit() -> Result<String> {
    let sources = crate::tools::workspace()?.display().to_string();
    // Root measures what somebody else has checked out.
    let git = ["-c", "safe.directory=*", "-C", &sources];
    let head = run("git", [&git[..], &["rev-parse", "--short=10", "HEAD"]].concat())?;
    let status = ["status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!README.md"];
    let changed = !run("git", [&git[..], &status].concat())?.trim().is_empty();
    Ok(format!("{}{}", head.trim(), if changed { "+" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_and_stolen_time_are_shares_of_the_time_between_two_looks() {
        let before = Ticks::of("cpu  100 20 100 780 0 0 0 0 0 0\ncpu0 1 1").unwrap();
        let after = Ticks::of("cpu  140 30 110 800 10 0 0 10 0 0\n").unwrap();
        assert_eq!(after.since(before), Some((60.0, 10.0)));
        assert_eq!(before.since(after), None);
    }
}
