//! `make bench-scale`: how an operator grows from ten policies to ten thousand; `target/bench/scale.json` has every number,
//! `docs/scale.md` the table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bascule_e2e::progress::Progress;
use bascule_e2e::scale::{self, Figures, Wanted, inside::Inside};
use bascule_e2e::tools::Tools;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Measures cold start, changes, the death of a site, rest, memory and restart with more and more policies.
#[derive(Parser, Debug)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// How many policies, one fleet after the other
    #[arg(short, value_delimiter = ',', default_value = "10,100,1000,10000")]
    n: Vec<usize>,
    /// Where the numbers go
    #[arg(short, long, default_value = "target/bench/scale.json")]
    file: PathBuf,
    /// Where the page goes; left out: no page
    #[arg(long)]
    page: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The operator that is measured; started by this program itself
    #[command(hide = true)]
    Operator(Box<Inside>),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        Some(Command::Operator(inside)) => scale::inside::run(*inside),
        None => measure(&cli).map(|()| ExitCode::SUCCESS),
    };
    ended.unwrap_or_else(|e| {
        eprintln!("bascule-scale: {e:#}");
        ExitCode::FAILURE
    })
}

fn measure(cli: &Cli) -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider was installed twice"))?;
    let tools = Tools::ensure(&Progress::shown())?;
    let programs = tools.server("etcd").parent().context("etcd lies nowhere")?.to_owned();
    let memory = Path::new("/dev/shm");
    let folder = tempfile::Builder::new().prefix("bascule-scale-").tempdir_in(memory)?;
    let wanted = Wanted { sizes: cli.n.clone(), programs, folder: folder.path().to_owned() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // The servers and their folder go with the run, also when somebody breaks it off.
        tokio::select! {
            ended = scale::run(&wanted, |figures| write(cli, figures)) => ended,
            _ = terminate.recv() => bail!("broken off"),
            _ = tokio::signal::ctrl_c() => bail!("broken off"),
        }
    })
}

fn write(cli: &Cli, figures: &Figures) -> Result<()> {
    let parent = cli.file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let text = serde_json::to_string_pretty(&figures.json())?;
    let put = |path: &Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    put(&cli.file, &format!("{text}\n"))?;
    if let Some(page) = &cli.page {
        put(page, &scale::page(figures))?;
    }
    println!("{}", figures.table());
    Ok(())
}
