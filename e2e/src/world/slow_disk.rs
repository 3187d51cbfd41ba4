//! A disk that is slow for some processes: whatever they sync takes longer. Their calls are held up one by one, with
//! `strace`, for memory has no throttle and the machine's own disk is everybody's.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::World;
use crate::command::{tail, wait};
use crate::process::Recorded;

/// How long the tracer may take to let go.
const LETS_GO: Duration = Duration::from_secs(5);

/// Processes whose syncs are held up, and what they start meanwhile. Let go when this is dropped.
#[derive(Debug)]
pub struct SlowDisk {
    tracer: Child,
    log: PathBuf,
}

impl World {
    /// Holds each `fsync` and `fdatasync` of some processes up for so long. `name` is one that nobody else uses now.
    pub fn slow_disk(&self, name: &str, processes: &[Recorded], delay: Duration) -> Result<SlowDisk> {
        ensure!(!processes.is_empty(), "no process to hold up");
        let log = self.run().root().join(format!("slow-disk-{name}.log"));
        let said = std::fs::File::create(self.run().root().join(format!("slow-disk-{name}.err")))?;
        // The tracer dies with the thread that started it, and those that it holds up go on.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "strace", "-f", "-q", "-e", "trace=fsync,fdatasync", "-e"]);
        command.arg(format!("inject=fsync,fdatasync:delay_enter={}", delay.as_micros()));
        command.arg("-o").arg(&log);
        for process in processes {
            command.args(["-p", &process.pid.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let tracer = command.spawn().context("cannot start strace")?;
        Ok(SlowDisk { tracer, log })
    }
}

impl SlowDisk {
    /// Whether anybody is still held up.
    pub fn holds(&mut self) -> Result<bool> {
        Ok(self.tracer.try_wait()?.is_none())
    }

    /// Lets everybody go; answers how many calls were held up.
    pub fn let_go(mut self) -> Result<usize> {
        self.end()?;
        let text = std::fs::read_to_string(&self.log)
            .with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(text.lines().filter(|line| line.contains("DELAYED")).count())
    }

    /// What the tracer complained about.
    pub fn complaint(&self) -> String {
        let text = std::fs::read_to_string(self.log.with_extension("err")).unwrap_or_default();
        tail(text.trim(), 500).to_owned()
    }

    fn end(&mut self) -> Result<()> {
        if self.holds()? {
            let tracer = Recorded::of(i32::try_from(self.tracer.id())?)?;
            tracer.signal(Signal::TERM)?;
            // Past this it is killed, and the kernel lets them go: one that is frozen does not let the tracer end.
            wait(&mut self.tracer, LETS_GO)?;
        }
        Ok(())
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
