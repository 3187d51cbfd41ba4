//! `make bench`: measures failovers between two real clusters and writes `target/bench/failover.json`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use bascule_e2e::bench::{self, Figure, Report};
use bascule_e2e::kept::keep_logs;
use bascule_e2e::world::{Options, World};
use clap::{Parser, ValueEnum};

/// Measures planned switchovers, deaths of a site, deaths of a server, and how soon an event has an effect.
#[derive(Parser, Clone, Debug)]
struct Cli {
    /// What to measure
    #[arg(value_enum, default_values_t = [What::EventToEffect, What::Planned, What::DatabaseKilled, What::KillMetro])]
    what: Vec<What>,
    /// How often each is measured
    #[arg(short, long, default_value_t = 30)]
    n: usize,
    /// Where the figures go
    #[arg(short, long, default_value = "target/bench/failover.json")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Move `Hold` and `Resume`: from the API server to the record
    EventToEffect,
    /// Planned switchovers
    Planned,
    /// The active server is killed
    DatabaseKilled,
    /// The active site is killed
    KillMetro,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let measured = World::with(Options::default(), |world| async move {
        let report = measure(&world, &cli).await;
        // A figure that surprises is explained by them.
        if let Ok(folder) = keep_logs(&world, "bench") {
            eprintln!("logs are kept in {}", folder.display());
        }
        world.down()?;
        report
    })
    .await;
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bascule-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(world: &World, cli: &Cli) -> Result<()> {
    bench::prepare(world).await?;
    let mut report = Report::default();
    for what in &cli.what {
        let figure: Figure = match what {
            What::EventToEffect => bench::event_to_effect(world, cli.n).await?,
            What::Planned => bench::planned(world, cli.n).await?,
            What::DatabaseKilled => bench::database_killed(world, cli.n).await?,
            What::KillMetro => bench::kill_site(world, cli.n).await?,
        };
        println!("{}", figure.words());
        report.figures.push(figure);
        // After each, so that a failure later on costs nothing.
        report.write(&cli.output)?;
    }
    println!("written to {}", cli.output.display());
    Ok(())
}
