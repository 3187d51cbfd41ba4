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
use std::time::Duration;

use anyhow::Context;
use bascule_core::journal::{self, JournalEntry};
use bascule_core::name::SiteName;
use bascule_engine::ports::Journal;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

/// How many lines may wait for the disk: some minutes of a busy fleet.
const WAITING: usize = 4096;

/// What the writer is told.
enum Told {
    Line(String),
    /// Write what waits, and end.
    End,
}

/// A journal in a directory, one file a day, and in the log.
pub struct FileJournal {
    site: SiteName,
    to_disk: Option<SyncSender<Told>>,
    /// Lines that the disk did not take; the journal itself says so as soon as it can.
    lost: Arc<AtomicU64>,
}

/// Ends the journal at the end of the process.
pub struct JournalEnd {
    writer: Option<(SyncSender<Told>, Receiver<()>)>,
}

impl JournalEnd {
    /// Waits until the lines that were queued are written, at most for `deadline`: a disk that hangs must not hold up
    /// the end. Lines that come later are lost.
    pub fn finish(self, deadline: Duration) {
        let Some((into, ended)) = self.writer else { return };
        // A full queue in front of a hanging disk never takes the word; so it is brought by a thread of its own.
        let told = std::thread::Builder::new().name("journal-end".to_owned()).spawn(move || {
            let _ = into.send(Told::End);
        });
        if told.is_err() || ended.recv_timeout(deadline).is_err() {
            tracing::warn!("the journal's last lines may be missing: its disk did not take them in time");
        }
    }
}

impl FileJournal {
    /// Opens the journal in `directory`, whose files are kept for `days`; `None`: the log only.
    pub fn open(site: SiteName, directory: Option<&Path>, days: u32) -> anyhow::Result<(Self, JournalEnd)> {
        let lost = Arc::new(AtomicU64::new(0));
        let Some(directory) = directory else {
            return Ok((Self { site, to_disk: None, lost }, JournalEnd { writer: None }));
        };
        std::fs::create_dir_all(directory)
            .with_context(|| format!("--journal {} cannot be made", directory.display()))?;
        let (into, lines) = sync_channel(WAITING);
        let (end, ended) = sync_channel(1);
        let (directory, losses) = (directory.to_owned(), Arc::clone(&lost));
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                write_lines(&directory, days, &lines, &losses);
                // Nobody waits unless the process ends.
                let _ = end.send(());
            })
            .context("the journal's thread cannot be started")?;
        let end = JournalEnd { writer: Some((into.clone(), ended)) };
        Ok((Self { site, to_disk: Some(into), lost }, end))
    }

    /// How many lines the disk did not take, kept up to date.
    pub fn losses(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }
}

impl Journal for FileJournal {
    fn write(&self, entry: JournalEntry) {
        let (policy, kind) = (entry.policy_word(), entry.kind.word());
        tracing::info!(target: "bascule::journal", site = %self.site, %policy, epoch = entry.epoch, serial = entry.serial, kind, "{}", entry.what);
        let Some(to_disk) = &self.to_disk else { return };
        match to_disk.try_send(Told::Line(entry.line(Timestamp::now(), &self.site))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn write_lines(directory: &Path, days: u32, lines: &Receiver<Told>, lost: &AtomicU64) {
    let mut open: Option<(String, File)> = None;
    let mut told: u64 = 0;
    for line in lines {
        let line = match line {
            Told::Line(line) => line,
            Told::End => return,
        };
        let day = line.get(..10).unwrap_or("unknown").to_owned();
        if open.as_ref().is_none_or(|(of, _)| *of != day) {
            remove_old(directory, &day, days);
        }
        let written = file_of(directory, &mut open, &day).and_then(|file| {
            let missing = lost.load(Ordering::Relaxed);
            if missing > told {
                file.write_all(journal::missing(&day, missing - told).as_bytes())?;
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

/// Removes the files of days that are longer ago than `days`. What is not named after a day is left alone.
fn remove_old(directory: &Path, today: &str, days: u32) {
    let first = today.parse::<Date>().ok().and_then(|t| t.checked_sub(i64::from(days).days()).ok());
    let (Some(first), Ok(entries)) = (first, std::fs::read_dir(directory)) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let named = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".log"));
        if named.and_then(|n| n.parse::<Date>().ok()).is_some_and(|day| day < first)
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(%error, file = %path.display(), "an old file of the journal cannot be removed");
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
    use bascule_core::journal::JournalKind;

    use super::*;

    fn write(journal: &FileJournal, what: &str) {
        journal.write(JournalEntry {
            policy: None,
            epoch: 1,
            serial: 2,
            kind: JournalKind::Intent,
            what: what.to_owned(),
        });
    }

    fn text(directory: &Path) -> String {
        let files = std::fs::read_dir(directory).unwrap();
        files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }

    #[test]
    fn every_entry_is_one_line_of_the_day() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, end) =
            FileJournal::open("paris".try_into().unwrap(), Some(directory.path()), 400).unwrap();
        for what in ["first", "second\nwith a break"] {
            write(&journal, what);
        }
        end.finish(Duration::from_secs(30));
        let text = text(directory.path());
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|l| l.contains(" paris - epoch=1 serial=2 intent: ")), "{text}");
        assert!(text.contains("second / with a break"));
    }

    #[test]
    fn lines_that_are_queued_when_the_process_ends_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, end) =
            FileJournal::open("paris".try_into().unwrap(), Some(directory.path()), 400).unwrap();
        for n in 0..WAITING / 2 {
            write(&journal, &format!("line {n}"));
        }
        end.finish(Duration::from_secs(30));
        assert_eq!(text(directory.path()).lines().count(), WAITING / 2);
        assert_eq!(journal.losses().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn files_of_days_that_are_too_long_ago_are_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["2026-10-31.log", "2026-11-01.log", "2026-11-10.log", "notes.log", "2026-10-31.txt"] {
            std::fs::write(directory.path().join(name), "x").unwrap();
        }
        remove_old(directory.path(), "2026-11-11", 10);
        let mut left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["2026-10-31.txt", "2026-11-01.log", "2026-11-10.log", "notes.log"]);
    }
}
