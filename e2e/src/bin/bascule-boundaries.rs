//! `make test-boundaries`: every process killed at every boundary of every effect, on real parts.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use bascule_e2e::boundaries::{Chosen, session};
use clap::Parser;

/// Kills operators and guards at every boundary of everything they do while a role moves on real clusters
#[derive(Parser, Debug)]
struct Cli {
    /// Which deaths: words that a case must hold (flow, process, effect), and n/m for the n-th of m shares
    chosen: Vec<String>,
    /// For how long cases are begun; all of them without it
    #[arg(long, env = "BOUNDARIES_MINUTES")]
    minutes: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("bascule-boundaries: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C and SIGTERM end it, and the world with it.
async fn run(cli: Cli) -> Result<bool> {
    use tokio::signal::unix::{SignalKind, signal};
    let chosen: Chosen = cli.chosen.join(" ").parse().map_err(anyhow::Error::msg)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        well = session(&chosen, cli.minutes.map(Duration::from_mins)) => well,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}
