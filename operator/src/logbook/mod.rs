//! `bascule journal`: what was done, when and why, from the files that operators and guards write. It works from a copy,
//! with every cluster dead.
//!
//! | file | question |
//! |---|---|
//! | `files` | which lines are there? |
//! | `verify` | are they whole? |

pub mod files;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bascule_core::journal::{JournalKind, Line};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::files::{Placed, merged, pages};
use self::verify::Verified;
use crate::telling::{Output, print};

/// The exit code when a journal is not whole.
const NOT_WHOLE: u8 = 2;

/// What `--help` says beyond the options.
pub const MORE: &str = "\
PATH is the directory that an operator writes its journal into (--journal), that of a guard beside its data, or a copy \
of either, or single files; several are merged by their times, which are those of each site's clock.

--verify looks at every line: whether it is one, in order, in the file of its day, whole at the end, and how many lines \
the writer says are missing. The lines are not chained: whoever can write a file can change it unseen.

Exit codes: 0 read (with --verify: whole), 2 with --verify: not whole, 1 there is no journal.

Examples:
  bascule journal /var/lib/bascule/journal --policy shop/shop --since 2026-11-28T03:00:00Z
  bascule journal paris/ lyon/ guard/ --kind outcome     three copies in one order
  bascule journal --verify paris/";

/// What is asked.
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// Journals: directories with .log files, or such files.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// Only of this policy, NAMESPACE/NAME.
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,

    /// Only of this site.
    #[arg(long)]
    pub site: Option<String>,

    /// Only entries of this kind.
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,

    /// Not before this time, such as 2026-11-28T03:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Timestamp>,

    /// Not after this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<Timestamp>,

    /// Say whether the files are whole, instead of what is in them.
    #[arg(long, conflicts_with_all = ["policy", "site", "kind", "since", "until"])]
    pub verify: bool,

    /// How the answer is written; json: one object for each line.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// The kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// It will be done next.
    Intent,
    /// It was done, refused, or its outcome is unknown.
    Outcome,
    /// It was seen.
    Observed,
}

impl From<Kind> for JournalKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Intent => Self::Intent,
            Kind::Outcome => Self::Outcome,
            Kind::Observed => Self::Observed,
        }
    }
}

/// Reads and tells; with `--verify` the exit code says whether it is whole.
pub fn run(args: &JournalArgs) -> anyhow::Result<ExitCode> {
    let pages = pages(&args.paths)?;
    if args.verify {
        let verified = verify::verify(&pages);
        match args.output {
            Output::Text => print(&words(&verified))?,
            Output::Json => {
                print(&(serde_json::to_string_pretty(&verified).context("the answer as JSON")? + "\n"))?;
            }
        }
        return Ok(if verified.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_WHOLE) });
    }
    let mut out = String::new();
    for placed in merged(&pages).iter().filter(|p| is_asked(args, p)) {
        match args.output {
            Output::Text => out.push_str(placed.text),
            Output::Json => out.push_str(&value(placed).to_string()),
        }
        out.push('\n');
    }
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether a line is asked for. One that tells of missing ones, or that is none, concerns everybody.
fn is_asked(args: &JournalArgs, placed: &Placed<'_>) -> bool {
    let in_time = placed.at.is_none_or(|at| {
        args.since.is_none_or(|since| at >= since) && args.until.is_none_or(|until| at <= until)
    });
    let Some(Line::Entry(entry)) = &placed.line else { return in_time };
    in_time
        && args.policy.as_ref().is_none_or(|p| entry.policy == Some(p))
        && args.site.as_ref().is_none_or(|s| entry.site == s)
        && args.kind.is_none_or(|k| entry.kind == k.into())
}

fn value(placed: &Placed<'_>) -> Value {
    match &placed.line {
        Some(Line::Entry(e)) => json!({
            "at": e.at.to_string(), "site": e.site, "policy": e.policy, "epoch": e.epoch, "serial": e.serial,
            "kind": e.kind.word(), "what": e.what,
        }),
        Some(Line::Missing { at, lines }) => json!({ "at": at, "missing": lines }),
        None => json!({ "unreadable": placed.text }),
    }
}

fn words(v: &Verified) -> String {
    let files = if v.files == 1 { "1 file".to_owned() } else { format!("{} files", v.files) };
    let head = match (v.problems.len(), v.lost) {
        (0, _) => format!("{} entries in {files}: whole.\n", v.entries),
        (1, 0) => format!("{} entries in {files}: NOT WHOLE, one problem.\n", v.entries),
        (n, 0) => format!("{} entries in {files}: NOT WHOLE, {n} problems.\n", v.entries),
        (n, lost) => {
            format!("{} entries in {files}: NOT WHOLE, {n} problems, {lost} lines lost.\n", v.entries)
        }
    };
    let lines = v.problems.iter().map(|p| format!("{}:{}: {}\n", p.file, p.line, p.what));
    let note = "The lines are not chained: that nobody changed them cannot be seen from them.\n";
    head + &lines.collect::<String>() + note
}
