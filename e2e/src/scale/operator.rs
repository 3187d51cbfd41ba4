//! The handle of an operator that is measured.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::inside::{Ask, Moment, Report, now_ms};
use super::loopback::{Usage, tied};
use crate::process::Recorded;

/// How long an answer may take; an operator whose engine is busy answers from a thread of its own.
const ANSWER: Duration = Duration::from_secs(20);
/// Between two questions while something is waited for.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(2);

/// A running operator. Dropping it kills it.
#[derive(Debug)]
pub struct Operator {
    /// Its site.
    pub site: &'static str,
    /// When it was started, in milliseconds since the machine's start.
    pub started: f64,
    child: Child,
    process: Recorded,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Operator {
    /// Starts one. What it logs goes to `log`.
    pub fn start(
        site: &'static str,
        other: &str,
        servers: &Path,
        options: &[String],
        log: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["operator", "--other", other, "--servers"]).arg(servers).args(options);
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = tied(&command);
        // The journal's lines are in its file; the log would be written twice.
        command.env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
        let process = Recorded::of(i32::try_from(child.id().context("it has ended already")?)?)?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { site, started: now_ms(), child, process, input, output })
    }

    /// Tells it something; it has heard it when this returns.
    pub async fn tell(&mut self, ask: Ask) -> Result<()> {
        self.send(ask).await?;
        self.report().await.map(drop)
    }

    async fn send(&mut self, ask: Ask) -> Result<()> {
        let line = format!("{}\n", serde_json::to_string(&ask)?);
        self.input.write_all(line.as_bytes()).await.with_context(|| format!("{} has ended", self.site))?;
        Ok(self.input.flush().await?)
    }

    /// Its tally.
    pub async fn report(&mut self) -> Result<Report> {
        self.send(Ask::Report).await?;
        let line = tokio::time::timeout(ANSWER, self.output.next_line())
            .await
            .with_context(|| format!("the operator of {} does not answer", self.site))??;
        let line = line.with_context(|| format!("the operator of {} has ended; see its log", self.site))?;
        serde_json::from_str(&line).with_context(|| format!("not a report: {line}"))
    }

    /// What it uses.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.process)
    }

    /// Waits until this has happened to `n` policies, tells how far it is, and returns the tally.
    pub async fn until(&mut self, moment: Moment, n: usize, deadline: Duration) -> Result<Report> {
        let (begun, mut told) = (Instant::now(), Instant::now());
        loop {
            let report = self.report().await?;
            let there = report.moments.get(&moment).map_or(0, |when| when.n);
            if there >= n {
                return Ok(report);
            }
            if begun.elapsed() > deadline {
                bail!(
                    "{}: {moment:?} has come to {there} of {n} policies within {deadline:?}: {report:?}",
                    self.site
                );
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                let took = begun.elapsed().as_secs_f64();
                eprintln!("    {}: {moment:?} for {there} of {n} after {took:.0} s", self.site);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills it, as a power loss would.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("it cannot be killed")
    }
}
