//! `bascule journal`: what was done, when and why, from the files that operators and guards write. It works from a copy,
//! with every cluster dead.
//!
//! | file | question |
//! |---|---|
//! | `files` | which lines are there? |
//! | `verify` | are they whole? |
//! | `add` | what has a person to say? |

mod add;
pub mod files;
pub mod verify;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bascule_core::journal::mark::Mark;
use bascule_core::journal::{JournalKind, Line, seal};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};

use self::add::AddArgs;
use self::files::{Placed, merged, pages};
use self::verify::Verified;
use crate::telling::{Output, print};

/// The exit code when a journal is not whole.
const NOT_WHOLE: u8 = 2;

/// What `--help` says beyond the options.
pub const MORE: &str = "\
PATH is the directory that an operator writes its journal into (--journal), that of a guard beside its data, or a copy \
of either, or single files; several are merged by their times, which are those of each site's clock.

--verify looks at every line: whether it is tied to the one before it, and each file to the one before it, whether it is \
whole, and how many lines the writer says are missing. It names the first line that does not fit. A guard's lines and \
those of an older operator have no chain, and it says so. The chain has no secret: whoever can write every file can \
make a new one, unless its last line is written down elsewhere. See docs/journal.md.

`bascule journal add TEXT --dir DIR` adds a person's own entry. (A folder with the name `add` is ./add.)

Exit codes: 0 read (with --verify: whole), 2 with --verify: not whole, 1 there is no journal.

Examples:
  bascule journal /var/lib/bascule/journal --policy shop/shop --since 2026-11-28T03:00:00Z
  bascule journal paris/ lyon/ guard/ --kind outcome     three copies in one order
  bascule journal --verify paris/";

/// What is asked.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct JournalArgs {
    /// What else there is to do.
    #[command(subcommand)]
    pub deed: Option<Deed>,

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

/// What is done to a journal instead of reading it.
#[derive(Debug, Subcommand)]
pub enum Deed {
    /// Write down what you did or saw, beside the operator's lines.
    #[command(after_long_help = add::MORE, after_help = "Exit codes: 0 written, 1 not written. See --help for more.")]
    Add(AddArgs),
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
    /// A person wrote it down.
    Note,
}

impl From<Kind> for JournalKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Intent => Self::Intent,
            Kind::Outcome => Self::Outcome,
            Kind::Observed => Self::Observed,
            Kind::Note => Self::Note,
        }
    }
}

/// Reads and tells; with `--verify` the exit code says whether it is whole.
pub fn run(args: &JournalArgs) -> anyhow::Result<ExitCode> {
    if let Some(Deed::Add(args)) = &args.deed {
        return add::run(args);
    }
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
        Some(Line::Entry(e)) => {
            let mut value = json!({
                "at": e.at.to_string(), "site": e.site, "policy": e.policy, "epoch": e.epoch, "serial": e.serial,
                "kind": e.kind.word(), "what": e.what,
            });
            if let (JournalKind::Note, Some((who, what))) = (e.kind, e.what.split_once(": ")) {
                value["who"] = who.into();
                value["what"] = what.into();
            }
            value
        }
        Some(Line::Mark { at, mark: Mark::Lost { lines } }) => json!({ "at": at, "missing": lines }),
        Some(Line::Mark { at, .. }) => {
            let words = seal::split(placed.text).0.split_once(" -- ").map_or("", |(_, words)| words);
            json!({ "at": at, "journal": words })
        }
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
    let notes = v.notes.iter().map(|n| format!("{}:{}: (all right) {}\n", n.file, n.line, n.what));
    head + &lines.collect::<String>() + &notes.collect::<String>() + &chain(v)
}

/// What the chain says of these lines, and what it does not.
fn chain(v: &Verified) -> String {
    let mut out = String::new();
    if v.unchained > 0 {
        let _ = writeln!(
            out,
            "{} lines have no seal, a guard's or an older program's: that nobody changed them cannot be seen from them.",
            v.unchained
        );
    }
    let is_told = |kind| matches!(kind, verify::Kind::Hole | verify::Kind::Torn);
    if v.chained > 0 && !v.problems.is_empty() && v.problems.iter().all(|p| is_told(p.kind)) {
        out.push_str("The chain fits: nothing is missing but what is told here.\n");
    }
    if v.chained > 0 {
        let _ = writeln!(
            out,
            "{} lines are chained. The last hash, written down elsewhere, proves that the lines before it are as they were then:",
            v.chained
        );
    }
    for end in &v.ends {
        let _ = writeln!(out, "{}:{}: #{}", end.file, end.lines, end.hash);
    }
    out
}
