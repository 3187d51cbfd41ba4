//! The Bascule operator and its command line, as a library: the program `bascule` is [`main`] and nothing else.
//!
//! One static binary: `bascule operator` runs in every site, `bascule guard postgres` beside every database, and every
//! other command wherever somebody asks; each has its own directory.

mod arbiter;
mod check;
mod cli;
mod completion;
mod flags;
mod gather;
mod given;
mod guard_witness;
mod history;
mod init;
mod journal;
mod logbook;
mod metrics;
mod moves;
mod plan;
mod responder;
mod serve;
mod settings;
mod simulate;
mod status;
mod table;
mod telemetry;
mod telling;
mod tree;
mod version;
mod why;
mod wiring;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

pub use crate::cli::{LogFormat, OperatorArgs};
pub use crate::wiring::Parts;

use crate::cli::{Cli, Command, GuardKind};

// A program that could leave a rule out is never made: the switch is for the simulator's `make mutants` alone.
const _: () = assert!(!bascule_core::mutant::BUILT_IN, "build without the feature `mutants` of bascule-core");

/// Runs the command line of this process to its end.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => {
            // Where even that cannot be printed, nobody reads.
            let _ = wrong.print();
            // 2, which clap would give, is an answer of `why`, `simulate` and `plan`.
            return if wrong.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            // The chain is printed once, here; nothing below prints its own source.
            #[expect(clippy::print_stderr, reason = "the last word of a process that cannot go on")]
            {
                eprintln!("bascule: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::GitFetch => Ok(bascule_adapters::git::child_main()),
        Command::Operator(args) => operate(*args, |parts| parts),
        Command::Switchover(args) => order(*args),
        Command::Failover(args) => order(*args),
        Command::Hold(args) => order(*args),
        Command::Resume(args) => order(*args),
        Command::Abort(args) => order(*args),
        Command::Status(args) => asking(status::run(*args)),
        Command::History(args) => asking(history::run(*args)),
        Command::Gather(args) => asking(gather::run(*args)),
        Command::Journal(args) => logbook::run(&args),
        Command::Tree(args) => asking(tree::run(*args)),
        Command::Arbiter(command) => arbiter::run(command),
        Command::Version(args) => asking(version::run(*args)),
        Command::Completion(args) => completion::run(&args),
        Command::Check(args) => asking(check::run(*args)),
        Command::Init(args) => asking(init::run(*args)),
        Command::Why(args) => asking(why::run(*args)),
        Command::Plan(args) => asking(plan::run(*args)),
        Command::Simulate(args) => simulate::run(&args),
        Command::Guard(GuardKind::Install { folder }) => {
            bascule_guard::install(&folder)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Guard(GuardKind::Unlock(args)) => {
            bascule_guard::unlock(&args, &mut std::io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Guard(GuardKind::Lock(args)) => {
            bascule_guard::lock(&args, &mut std::io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Guard(GuardKind::Postgres(args)) => {
            install_crypto()?;
            telemetry::start(cli::LogFormat::Text)?;
            let config = bascule_guard::Config::try_from(*args).map_err(anyhow::Error::new)?;
            let witness = config.arbiter_kubeconfig.clone().map(guard_witness::GuardWitness::shared);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .worker_threads(2)
                .build()
                .context("the runtime cannot be started")?;
            runtime.block_on(bascule_guard::run_with(config, witness)).map_err(anyhow::Error::new)
        }
    }
}

/// Runs an operator until it is told to end or cannot go on. `change` may put other parts in the place of the real ones: a
/// measurement simulates servers and workloads, which no single machine has ten thousand of.
pub fn operate(args: OperatorArgs, change: impl FnOnce(Parts) -> Parts) -> anyhow::Result<ExitCode> {
    install_crypto()?;
    telemetry::start(args.log_format)?;
    let settings = settings::Settings::read(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .context("the runtime cannot be started")?;
    runtime.block_on(wiring::run(settings, change))
}

/// Runs a person's order.
fn order(args: impl Into<(moves::asked::Order, moves::asked::Common)>) -> anyhow::Result<ExitCode> {
    let (order, common) = args.into();
    asking(moves::run(order, common))
}

/// Runs a command that asks others and ends.
fn asking(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    install_crypto()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    runtime.block_on(command)
}

fn install_crypto() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().map_err(|_| {
        anyhow::anyhow!("a TLS provider was installed twice; this is a defect of Bascule, please report it")
    })
}
