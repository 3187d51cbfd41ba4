//! The journal: intent before, outcome after, one line each, readable with `less`.
//!
//! Guarantees: writing never blocks the engine; a full disk never blocks a fence. What could not be written is counted
//! and said in the journal itself as soon as it can be.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use anyhow::Context;
use bascule_core::name::SiteName;
use bascule_engine::ports::{Journal, JournalEntry, JournalKind};
use jiff::Timestamp;

/// How many lines may wait for the disk: some minutes of a busy fleet.
const WAITING: usize = 4096;

/// A journal in a directory, one file a day, and in the log.
pub struct FileJournal {
    site: SiteName,
    to_disk: Option<SyncSender<String>>,
    /// Lines that the disk did not take; the journal itself says so as soon as it can.
    lost: Arc<AtomicU64>,
}

impl FileJournal {
    /// Opens the journal in `directory`; `None`: the log only.
    pub fn open(site: SiteName, directory: Option<&Path>) -> anyhow::Result<Self> {
        let lost = Arc::new(AtomicU64::new(0));
        let to_disk = match directory {
            None => None,
            Some(directory) => {
                std::fs::create_dir_all(directory)
                    .with_context(|| format!("--journal {} cannot be made", directory.display()))?;
                let (into, lines) = sync_channel(WAITING);
                let (directory, lost) = (directory.to_owned(), Arc::clone(&lost));
                std::thread::Builder::new()
                    .name("journal".to_owned())
                    .spawn(move || write_lines(&directory, &lines, &lost))
                    .context("the journal's thread cannot be started")?;
                Some(into)
            }
        };
        Ok(Self { site, to_disk, lost })
    }
}

impl Journal for FileJournal {
    fn write(&self, entry: JournalEntry) {
        let kind = match entry.kind {
            JournalKind::Intent => "intent",
            JournalKind::Outcome => "outcome",
            JournalKind::Observed => "observed",
        };
        let policy = entry.policy.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        tracing::info!(target: "bascule::journal", site = %self.site, %policy, epoch = entry.epoch, serial = entry.serial, kind, "{}", entry.what);
        let Some(to_disk) = &self.to_disk else { return };
        let line = format!(
            "{:.3} {} {policy} epoch={} serial={} {kind}: {}\n",
            Timestamp::now(),
            self.site,
            entry.epoch,
            entry.serial,
            entry.what.replace('\n', " / ")
        );
        match to_disk.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn write_lines(directory: &Path, lines: &Receiver<String>, lost: &AtomicU64) {
    let mut open: Option<(String, File)> = None;
    let mut told: u64 = 0;
    for line in lines {
        let day = line.get(..10).unwrap_or("unknown").to_owned();
        let written = file_of(directory, &mut open, &day).and_then(|file| {
            let missing = lost.load(Ordering::Relaxed);
            if missing > told {
                writeln!(
                    file,
                    "{day} -- {} lines were lost before this one: the disk did not take them",
                    missing - told
                )?;
                told = missing;
            }
            file.write_all(line.as_bytes())?;
            file.flush()
        });
        if let Err(error) = written {
            open = None;
            if lost.fetch_add(1, Ordering::Relaxed) == told {
                tracing::warn!(%error, directory = %directory.display(), "the journal cannot be written");
            }
        }
    }
}

fn file_of<'a>(
    directory: &Path,
    open: &'a mut Option<(String, File)>,
    day: &str,
) -> std::io::Result<&'a mut File> {
    if open.as_ref().is_none_or(|(of, _)| of != day) {
        let path: PathBuf = directory.join(format!("{day}.log"));
        *open = Some((day.to_owned(), OpenOptions::new().create(true).append(true).open(path)?));
    }
    open.as_mut().map(|(_, file)| file).ok_or_else(|| std::io::Error::other("the journal's file is not open"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_one_line_of_the_day() {
        let directory = tempfile::tempdir().unwrap();
        let journal = FileJournal::open("paris".try_into().unwrap(), Some(directory.path())).unwrap();
        for what in ["first", "second\nwith a break"] {
            journal.write(JournalEntry {
                policy: None,
                epoch: 1,
                serial: 2,
                kind: JournalKind::Intent,
                what: what.to_owned(),
            });
        }
        drop(journal);
        let text = loop {
            let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
            if let Some(Ok(file)) = files.into_iter().next() {
                let text = std::fs::read_to_string(file.path()).unwrap();
                if text.lines().count() == 2 {
                    break text;
                }
            }
            std::thread::yield_now();
        };
        assert!(text.lines().all(|l| l.contains(" paris - epoch=1 serial=2 intent: ")), "{text}");
        assert!(text.contains("second / with a break"));
    }
}
