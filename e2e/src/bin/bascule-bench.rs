//! `make bench`: measures changes of the active site beside a peer and beside the floor; `docs/benchmarks.jsonl` has every
//! sample, `docs/benchmarks.md` what they say.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bascule_e2e::bench::{self, Series, System, Wanted};
use bascule_e2e::kept::keep_logs;
use bascule_e2e::tools::Tools;
use bascule_e2e::world::{Options, World};
use clap::Parser;

/// Measures planned changes, deaths of a server and of a site, and the return of a site, by Bascule, by Patroni and by hand.
#[derive(Parser, Clone, Debug)]
struct Cli {
    /// What to measure, all series when nothing is named: planned, floor-planned, patroni-planned, patroni-tuned-planned,
    /// the same with database-killed, kill-metro with floor-kill, patroni-kill and patroni-tuned-kill, event-to-effect, …
    #[arg(value_parser = Series::named)]
    series: Vec<Series>,
    /// How many samples each shall have in the end
    #[arg(short, long, default_value_t = 30)]
    n: usize,
    /// No sample is begun after so many minutes
    #[arg(short, long, default_value_t = 60)]
    minutes: u64,
    /// Where the samples are
    #[arg(short, long, default_value = "docs/benchmarks.jsonl")]
    file: PathBuf,
    /// Only write the page anew, from the samples that there are
    #[arg(long)]
    page: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = if cli.page { Ok(()) } else { Box::pin(measure(&cli)).await };
    // Also after a run that broke off: what it has measured stays.
    match result.and(write_page(&cli.file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bascule-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(cli: &Cli) -> Result<()> {
    let series = if cli.series.is_empty() { Series::all().to_vec() } else { cli.series.clone() };
    let time = Duration::from_secs(cli.minutes * 60);
    let wanted = Wanted { series, n: cli.n, time, file: cli.file.clone() };
    let missing = wanted.missing()?;
    if missing.is_empty() {
        println!("every series has {} samples in {}", cli.n, cli.file.display());
        return Ok(());
    }
    let options = Options::default();
    if missing
        .iter()
        .any(|(s, _)| matches!(s.system, System::Patroni | System::PatroniTuned) || s.act.by_proxy())
    {
        Tools::ensure_peer(&options.progress)?;
    }
    Box::pin(World::with(options, |world| async move {
        let measured = bench::run(&world, &wanted).await;
        // A figure that surprises is explained by them.
        if let Ok(folder) = keep_logs(&world, "bench") {
            eprintln!("logs are kept in {}", folder.display());
        }
        world.down()?;
        measured
    }))
    .await
}

fn write_page(file: &Path) -> Result<()> {
    let page = file.with_extension("md");
    std::fs::write(&page, bench::page(&bench::read(file)?))
        .with_context(|| format!("cannot write {}", page.display()))?;
    println!("written to {}", page.display());
    Ok(())
}
