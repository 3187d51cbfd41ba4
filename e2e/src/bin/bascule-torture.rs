//! `make torture`: random schedules of faults on real parts; `make test-torture`: those that are kept.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bascule_e2e::torture::{Fault, Next, Schedule, kept, kept_folder, torture};
use clap::{Parser, Subcommand};

/// Random schedules of two to four faults on real clusters, databases, DNS and git, with clients at work
#[derive(Parser, Debug)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Draws schedules, from one seed to the next, and plays them
    Random {
        /// For how long schedules are begun; at least one is played
        #[arg(long, env = "TORTURE_MINUTES", default_value_t = 10)]
        minutes: u64,
        /// The first schedule's seed; that of the clock when it is not given
        #[arg(long, env = "TORTURE_SEED")]
        seed: Option<u64>,
        /// Before them, every schedule that is kept, within the same time
        #[arg(long)]
        kept: bool,
    },
    /// Plays the schedules of these files
    Play {
        /// Files with schedules
        files: Vec<PathBuf>,
        /// How often each
        #[arg(short, long, default_value_t = 1)]
        times: usize,
    },
    /// Plays every schedule that is kept: it has failed once, or chance draws it too seldom
    Kept,
    /// Lists every fault of the vocabulary
    Faults,
    /// Shows the schedule of a seed
    Show {
        /// The seed
        seed: u64,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(e) => {
            eprintln!("bascule-torture: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode> {
    let (_, failed) = match cli.what {
        What::Random { minutes, seed, kept: with_kept } => {
            let first = match seed {
                Some(seed) => seed,
                None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            };
            let before = if with_kept { kept_ones()? } else { Vec::new() };
            let schedules = before.into_iter().chain((first..).map(drawn));
            let time = Duration::from_mins(minutes);
            interruptible(torture(schedules, Some(time), |next| {
                if next.kept {
                    return Ok(());
                }
                let file = kept_folder()?.join(format!("{}.txt", next.name));
                let text = format!("# Seed {}. What it found:\n{}", next.name, next.schedule);
                fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
                println!("it is kept for ever: {}", file.display());
                Ok(())
            }))
            .await?
        }
        What::Play { files, times } => {
            let mut schedules = Vec::new();
            for file in files {
                let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                let schedule: Schedule = text.parse().with_context(|| file.display().to_string())?;
                let name = file.file_stem().unwrap_or_default().to_string_lossy();
                let again = format!("bascule-torture play {}", file.display());
                schedules.extend((1..=times).map(|time| Next {
                    name: format!("{name}-{time}"),
                    again: again.clone(),
                    schedule: schedule.clone(),
                    kept: true,
                }));
            }
            interruptible(torture(schedules.into_iter(), None, |_| Ok(()))).await?
        }
        What::Kept => interruptible(torture(kept_ones()?.into_iter(), None, |_| Ok(()))).await?,
        What::Faults => {
            for fault in Fault::all() {
                println!("{fault}");
            }
            return Ok(ExitCode::SUCCESS);
        }
        What::Show { seed } => {
            print!("{}", Schedule::draw(seed));
            return Ok(ExitCode::SUCCESS);
        }
    };
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every schedule that is kept.
fn kept_ones() -> Result<Vec<Next>> {
    let all = kept(&kept_folder()?)?.into_iter().map(|(name, schedule)| Next {
        again: format!("bascule-torture play e2e/torture/kept/{name}.txt"),
        name,
        schedule,
        kept: true,
    });
    Ok(all.collect())
}

fn drawn(seed: u64) -> Next {
    Next {
        name: seed.to_string(),
        again: format!("make torture TORTURE_SEED={seed} TORTURE_MINUTES=0"),
        schedule: Schedule::draw(seed),
        kept: false,
    }
}

/// Ctrl-C and SIGTERM end it, and the world with it.
async fn interruptible<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}
