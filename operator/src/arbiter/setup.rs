//! `bascule arbiter setup`: users, roles and authentication in the running arbiter.

use std::process::ExitCode;

use anyhow::Context as _;
use bascule_adapters::arbiter::admin::{Administration, Done};
use clap::Args;
use serde::Serialize;

use super::reach::Reach;
use crate::telling::{Output, print};

/// What `--help` says beyond the options.
pub const MORE: &str = "\
Until it has run, every certificate of the arbiter may do everything. Afterwards a site's operator reads all of Bascule's \
keys and writes its own name and lease, records and facts; a guard writes its site's lease; and only root, and the users \
that maintain a member, may back up, defragment and change members.

Doing it again changes nothing, or what a further site needs: run it after each `bascule arbiter init --from`.

Exit codes: 0 it is as it must be, 1 it is not (the error says what was being done and which member said what).

Examples:
  bascule arbiter setup arbiter
  bascule arbiter setup arbiter --endpoints https://203.0.113.7:2379     asks that member";

/// What is to be set up.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub reach: Reach,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Serialize)]
struct Told {
    asked: String,
    changed: usize,
    done: Vec<One>,
}

#[derive(Serialize)]
struct One {
    what: String,
    changed: bool,
}

/// Makes it so.
pub async fn run(args: SetupArgs) -> anyhow::Result<ExitCode> {
    let about = args.reach.description()?;
    let arbiter = Administration::connect(&args.reach.settings()?, args.reach.deadline()?).await?;
    let members: Vec<String> = about.members.iter().map(|m| m.name.clone()).collect();
    let done = arbiter
        .set_up(&about.sites, &members)
        .await
        .context("what was done before stays done; when the reason is gone, give the same command again")?;
    let changed = done.iter().filter(|d| d.changed).count();
    let told = Told {
        asked: arbiter.endpoint().to_owned(),
        changed,
        done: done.into_iter().map(|Done { what, changed }| One { what, changed }).collect(),
    };
    print(&match args.output {
        Output::Json => serde_json::to_string_pretty(&told).context("the answer as JSON")? + "\n",
        Output::Text => text(&told),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn text(told: &Told) -> String {
    let mut lines: Vec<String> = told
        .done
        .iter()
        .map(|d| format!("  {}  {}", if d.changed { "made " } else { "there" }, d.what))
        .collect();
    let said = match told.changed {
        0 => "nothing had to be changed".to_owned(),
        1 => "one change".to_owned(),
        more => format!("{more} changes"),
    };
    lines.insert(0, format!("Asked {}: {said}.", told.asked));
    lines.join("\n") + "\n"
}
