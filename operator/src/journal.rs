//! The journal: intent before, outcome after, one line each, readable with `less`.
//!
//! Guarantees: writing never blocks the engine; a full disk never blocks a fence. What could not be written is counted
//! and said in the journal itself as soon as it can be. What is written is tied line to line.
//!
//! | file | question |
//! |---|---|
//! | `chain` | what ties a line to the one before it? Pure |
//! | `pages` | in which file is the next line, and what stands around it? |

pub mod chain;
pub mod pages;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use anyhow::Context;
use bascule_core::journal::JournalEntry;
use bascule_core::journal::mark::Mark;
use bascule_core::name::SiteName;
use bascule_engine::ports::Journal;
use jiff::Timestamp;

use self::pages::{Pages, Whose};

/// How many lines may wait for the disk: some minutes of a busy fleet.
const WAITING: usize = 4096;
/// How long nothing must have been said before the disk is asked to take what was written.
const QUIET: Duration = Duration::from_secs(1);

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
        match to_disk.try_send(Told::Line(entry.text(Timestamp::now(), self.site.as_ref()))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn write_lines(directory: &Path, days: u32, lines: &Receiver<Told>, lost: &AtomicU64) {
    let mut writer = Writer { pages: Pages::new(directory, Whose::Operator, Some(days)), lost, told: 0 };
    loop {
        match lines.recv_timeout(QUIET) {
            Ok(Told::Line(line)) => writer.take(line),
            Err(RecvTimeoutError::Timeout) => writer.pages.sync(),
            Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => return writer.end(),
        }
    }
}

/// What writes, on the journal's own thread.
struct Writer<'a> {
    pages: Pages,
    lost: &'a AtomicU64,
    /// How many of the lost lines the journal has told of.
    told: u64,
}

impl Writer<'_> {
    fn take(&mut self, line: String) {
        let at = line.split(' ').next().unwrap_or("unknown").to_owned();
        if let Err(error) = self.put(&at, Some(line))
            && self.lost.fetch_add(1, Ordering::Relaxed) == self.told
        {
            tracing::warn!(%error, "the journal cannot be written");
        }
    }

    /// Writes a line, and before it how many are missing.
    fn put(&mut self, at: &str, line: Option<String>) -> std::io::Result<()> {
        let missing = self.lost.load(Ordering::Relaxed);
        let hole = (missing > self.told).then(|| Mark::Lost { lines: missing - self.told }.text(at));
        let lines: Vec<String> = hole.into_iter().chain(line).collect();
        if !lines.is_empty() {
            self.pages.append(at.get(..10).unwrap_or("unknown"), at, &lines)?;
            self.told = missing;
        }
        Ok(())
    }

    /// Says what is missing at the end: nobody could tell later.
    fn end(mut self) {
        if let Err(error) = self.put(&format!("{:.3}", Timestamp::now()), None) {
            tracing::warn!(%error, "the journal cannot say which lines are missing");
        }
        self.pages.sync();
    }
}

#[cfg(test)]
mod tests {
    use bascule_core::journal::{JournalKind, seal};

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
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
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
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().skip(1).all(|l| l.contains(" paris - epoch=1 serial=2 intent: ")), "{text}");
        assert!(text.lines().next().is_some_and(|l| l.contains(" -- the journal begins here")), "{text}");
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
        assert_eq!(text(directory.path()).lines().count(), 1 + WAITING / 2);
        assert_eq!(journal.losses().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn lines_that_a_full_disk_did_not_take_are_told_once_there_is_room_and_the_end_tells_them_too() {
        let directory = tempfile::tempdir().unwrap();
        let at = format!("{:.3}", Timestamp::now());
        let blocked = directory.path().join(Whose::Operator.name(&at[..10]));
        let lost = AtomicU64::new(0);
        let mut writer =
            Writer { pages: Pages::new(directory.path(), Whose::Operator, None), lost: &lost, told: 0 };
        std::os::unix::fs::symlink("/dev/full", &blocked).unwrap();
        writer.take(format!("{at} one"));
        writer.take(format!("{at} two"));
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        std::fs::remove_file(&blocked).unwrap();
        writer.take(format!("{at} three"));
        lost.fetch_add(3, Ordering::Relaxed);
        writer.end();
        let text = text(directory.path());
        let said: Vec<&str> = text.lines().map(|l| seal::split(l).0.split_once(' ').unwrap().1).collect();
        assert_eq!(
            said,
            [
                "-- the journal begins here: no file of it was there before",
                "-- 2 lines were lost before this one: the disk did not take them",
                "three",
                "-- 3 lines were lost before this one: the disk did not take them",
            ]
        );
    }
}
