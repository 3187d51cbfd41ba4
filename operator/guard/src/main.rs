//! The guard alone: what the tests start, and a smaller program than `bascule` for images where that matters.

use std::process::ExitCode;

use bascule_guard::{Args, Config, LockArgs, UnlockArgs, lock, run, unlock};
use clap::Parser;

#[derive(Parser)]
#[command(name = "bascule-guard", about = "Process 1 beside a PostgreSQL server")]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// What a person does beside a guard that runs.
#[derive(Parser)]
#[command(name = "bascule-guard")]
enum Beside {
    /// Run the server without Bascule, until it is given back.
    Unlock(UnlockArgs),
    /// Give it back.
    Lock(LockArgs),
}

fn beside() -> Option<ExitCode> {
    let first = std::env::args().nth(1)?;
    if !matches!(first.as_str(), "unlock" | "lock") {
        return None;
    }
    let out = &mut std::io::stdout();
    let done = match Beside::parse() {
        Beside::Unlock(args) => unlock(&args, out),
        Beside::Lock(args) => lock(&args, out),
    };
    Some(done.map_or_else(
        |e| {
            #[expect(clippy::print_stderr, reason = "the answer of a command")]
            {
                eprintln!("bascule-guard: {}", in_full(&e));
            }
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

// A program that could leave a rule out is never made: the switch is for the simulator's `make mutants` alone.
const _: () = assert!(!bascule_core::mutant::BUILT_IN, "build without the feature `mutants` of bascule-core");

fn main() -> ExitCode {
    if let Some(code) = beside() {
        return code;
    }
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = Config::try_from(Cli::parse().args)
        .map_err(|e| in_full(&e))
        .and_then(|config| runtime.map_err(|e| in_full(&e)).map(|r| (r, config)))
        .and_then(|(runtime, config)| runtime.block_on(run(config)).map_err(|e| in_full(&e)));
    result.unwrap_or_else(|why| {
        tracing::error!(%why, "the guard cannot run");
        ExitCode::FAILURE
    })
}

fn in_full(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        cause = e.source();
    }
    text
}
