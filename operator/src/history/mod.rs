//! `bascule history`: which site was active when, by what and by whose Move, what it cost; and what became of Moves.
//!
//! | file | question |
//! |---|---|
//! | `told` | what does a status remember? Pure |
//! | `epochs` | what do journals tell of it, with every cluster dead? Pure |
//! | `text` | how is it read? |

mod epochs;
mod text;
mod told;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::flags::Which;
use crate::logbook::files;
use crate::telling::{Output, print};

/// What `--help` says beyond the options.
pub const MORE: &str = "\
A status remembers the last ten transitions and the last twenty Moves. What is older is in the journals: with --journal \
no cluster is asked, and each epoch is told with the first line that names it.

Exit codes: 0 told, 1 there is no answer.

Examples:
  bascule history shop
  bascule history shop --journal paris/ --journal lyon/     from copies of two sites' journals
  bascule history -o json | jq '.policies[].transitions[0]'";

/// What is asked.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Which policies, and where.
    #[command(flatten)]
    pub which: Which,

    /// Read journals instead: a directory with .log files, or such a file; several times for several.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub journal: Vec<PathBuf>,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Every policy, as JSON.
#[derive(Debug, Serialize)]
struct Policies<T> {
    policies: Vec<T>,
}

/// Asks and tells.
pub async fn run(args: HistoryArgs) -> anyhow::Result<ExitCode> {
    let wanted = args.which.wanted()?;
    if !args.journal.is_empty() {
        let pages = files::pages(&args.journal)?;
        let all = epochs::of(&files::merged(&pages), &wanted);
        return tell(args.output, all, text::epochs);
    }
    let cluster = args.which.access.connect().await?;
    let seen = cluster.wanted(&wanted).await?;
    let now = Timestamp::now();
    let all: Vec<told::History> = seen.iter().map(|s| told::of(s, now)).collect();
    tell(args.output, all, |all| if all.is_empty() { cluster.nothing(&wanted) } else { text::whole(all) })
}

fn tell<T: Serialize>(
    output: Output,
    all: Vec<T>,
    words: impl Fn(&[T]) -> String,
) -> anyhow::Result<ExitCode> {
    print(&match output {
        Output::Text => words(&all),
        Output::Json => {
            serde_json::to_string_pretty(&Policies { policies: all }).context("the answer as JSON")? + "\n"
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
