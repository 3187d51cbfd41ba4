//! `bascule arbiter backup`: a copy of everything that is stored, and old copies thrown away.

use std::fs::{self, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bascule_adapters::arbiter::admin::{Administration, Copied};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::reach::Reach;
use crate::telling::{Output, print};

/// What `--help` says beyond the options.
pub const MORE: &str = "\
The copy is etcd's own snapshot, checked against the sum that came with it; `etcdutl snapshot restore` takes it. An arbiter \
that is put back from a copy has gone back in time, and no site decides by it until `arbiter.generation` is raised in all \
of them; docs/arbiter.md has the steps. Since the sites keep what they have seen of every record, an arbiter that is made \
anew without any copy loses its history and nothing else.

Exit codes: 0 there is a whole copy, 1 there is none (the error says why; older ones are left).

Example:
  bascule arbiter backup arbiter --to /srv/backup/arbiter";

/// How a copy's name begins and ends.
const BEGIN: &str = "arbiter-";
const END: &str = ".db";

/// Where to.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub reach: Reach,

    /// The directory that copies lie in; it is there already.
    #[arg(long, value_name = "DIRECTORY")]
    pub to: PathBuf,

    /// How many copies are kept in it, with this one.
    #[arg(long, value_name = "COPIES", default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,

    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    file: PathBuf,
    bytes: u64,
    from: String,
    etcd: String,
    thrown_away: Vec<PathBuf>,
}

/// Copies.
pub async fn run(args: BackupArgs) -> anyhow::Result<ExitCode> {
    if !args.to.is_dir() {
        bail!("--to {}: found no directory, expected one that is there: make it first", args.to.display());
    }
    let arbiter = Administration::connect(&args.reach.settings()?, args.reach.deadline()?).await?;
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let file = args.to.join(format!("{BEGIN}{now}{END}"));
    let Copied { bytes, version } = copy(&arbiter, &file).await?;
    let told = Told {
        thrown_away: throw_away(&args.to, args.keep as usize)?,
        file,
        bytes,
        from: arbiter.endpoint().to_owned(),
        etcd: version,
    };
    print(&match args.output {
        Output::Json => serde_json::to_string_pretty(&told).context("the answer as JSON")? + "\n",
        Output::Text => text(&told),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The copy comes to its name when it is whole.
async fn copy(arbiter: &Administration, file: &Path) -> anyhow::Result<Copied> {
    if file.exists() {
        bail!("{}: found a copy of this second, expected none; give the command again", file.display());
    }
    let partial = file.with_extension("partial");
    let done = async {
        let mut open = OpenOptions::new();
        // Whatever is under the partial name was left by one that was interrupted.
        open.write(true).create(true).truncate(true).mode(0o600);
        let opened =
            open.open(&partial).with_context(|| format!("{} cannot be written", partial.display()))?;
        let mut to = BufWriter::new(opened);
        let copied = arbiter.snapshot(&mut to).await?;
        to.get_ref().sync_all().with_context(|| format!("{} cannot be written", partial.display()))?;
        fs::rename(&partial, file)
            .with_context(|| format!("{} cannot be made {}", partial.display(), file.display()))?;
        anyhow::Ok(copied)
    }
    .await;
    if done.is_err() {
        // The reason is in the error.
        let _ = fs::remove_file(&partial);
    }
    done
}

/// Leaves the newest copies; returns those that were thrown away.
fn throw_away(directory: &Path, keep: usize) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("--to {} cannot be read", directory.display()))?;
    let mut copies = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("--to {} cannot be read", directory.display()))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let moment = name.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        // Only what this command wrote: its names sort by their time.
        let ours = moment.is_some_and(|m| {
            m.len() == "20261128T031700Z".len() && m.chars().all(|c| c.is_ascii_digit() || "TZ".contains(c))
        });
        if ours {
            copies.push(path);
        }
    }
    copies.sort_unstable();
    let old = copies.len().saturating_sub(keep);
    copies.truncate(old);
    for path in &copies {
        fs::remove_file(path)
            .with_context(|| format!("the old copy {} cannot be removed", path.display()))?;
    }
    Ok(copies)
}

fn text(told: &Told) -> String {
    let mut lines = vec![format!(
        "Copied {} bytes from {}{} to {}",
        told.bytes,
        told.from,
        if told.etcd.is_empty() { String::new() } else { format!(" (etcd {})", told.etcd) },
        told.file.display()
    )];
    lines.extend(told.thrown_away.iter().map(|f| format!("threw away {}", f.display())));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_copies_stay_and_so_does_what_is_no_copy() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            ["arbiter-20261127T031700Z.db", "arbiter-20261126T031700Z.db", "arbiter-mine.db", "notes.txt"];
        for name in names {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let gone = throw_away(dir.path(), 1).unwrap();
        assert_eq!(gone, [dir.path().join("arbiter-20261126T031700Z.db")]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
