//! The guard's journal: what it did to the server, intent before and outcome after, in its log and beside the data.
//!
//! Guarantees: nobody waits for it. Lines go to a thread of its own by a queue that is never waited for, so a disk that
//! is full or hangs loses lines, which are counted and told in the journal itself, and holds up no step. What stops a
//! server is told only once it is ordered. Beside the data are never more than two files of a fixed size.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use bascule_boundary::{Effect, during};
use bascule_core::guard::wire::HighWater;
use bascule_core::journal::{JournalEntry, JournalKind, missing};
use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::time::{Boottime, human};
use jiff::Timestamp;

use crate::clock;
use crate::effect;

/// The file that is written to.
pub(crate) const JOURNAL: &str = "journal.log";
/// The one before it.
const BEFORE: &str = "journal.1.log";
/// How large a file may become, in bytes: some thousand lines.
const SIZE: u64 = 1 << 20;
/// How many lines may wait for the disk.
const WAITING: usize = 1024;
/// How long nothing must have been said before the file is synced: a sync in the middle of a promotion would compete
/// with the server's own.
const QUIET: Duration = Duration::from_secs(1);

/// What the writer is told.
enum Told {
    Line(String),
    /// Write what waits, and end.
    End,
}

/// The journal. Clones are the same journal.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    whose: Arc<Whose>,
    into: SyncSender<Told>,
    /// Lines that the disk did not take.
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Whose {
    site: SiteName,
    policy: PolicyKey,
    database: ItemName,
}

/// A step that has been told and whose end has not.
#[derive(Debug)]
pub(crate) struct Begun {
    what: String,
    marks: HighWater,
    at: Boottime,
}

/// Ends the journal at the end of the process.
pub(crate) struct JournalEnd {
    into: SyncSender<Told>,
    ended: Receiver<()>,
}

impl JournalEnd {
    /// Waits until what was told is written, at most for `deadline`.
    pub(crate) fn finish(self, deadline: Duration) {
        // A full queue is one that the disk does not take: then there is nothing to wait for.
        if self.into.try_send(Told::End).is_err() || self.ended.recv_timeout(deadline).is_err() {
            tracing::warn!("the journal's last lines may be missing: its disk did not take them in time");
        }
    }
}

impl Journal {
    /// Opens the journal in `dir`. Nothing of the disk is touched here.
    pub(crate) fn open(
        dir: &Path,
        site: SiteName,
        policy: PolicyKey,
        database: ItemName,
    ) -> io::Result<(Self, JournalEnd)> {
        let (into, lines) = sync_channel(WAITING);
        let (end, ended) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let mut pages = Pages { dir: dir.to_owned(), size: SIZE, lost: lost.clone(), told: 0, open: None };
        std::thread::Builder::new().name("journal".into()).spawn(move || {
            pages.write(&lines);
            // Nobody waits unless the process ends.
            let _ = end.send(());
        })?;
        let whose = Arc::new(Whose { site, policy, database });
        Ok((Self { whose, into: into.clone(), lost }, JournalEnd { into, ended }))
    }

    /// Says what is going to be done.
    pub(crate) fn begins(&self, marks: HighWater, what: impl Into<String>) -> Begun {
        let begun = Begun { what: what.into(), marks, at: clock::now() };
        self.tell(marks, JournalKind::Intent, &begun.what);
        begun
    }

    /// Says how it ended.
    pub(crate) fn ends(&self, begun: Begun, how: &str) {
        let Begun { what, marks, at } = begun;
        let took = human(clock::now().since(at));
        self.tell(marks, JournalKind::Outcome, &format!("{what}: {how} (after {took})"));
    }

    /// Says what became of something whose beginning nobody could tell.
    pub(crate) fn ended(&self, marks: HighWater, what: &str) {
        self.tell(marks, JournalKind::Outcome, what);
    }

    /// Says what was seen.
    pub(crate) fn observed(&self, marks: HighWater, what: &str) {
        self.tell(marks, JournalKind::Observed, what);
    }

    fn tell(&self, marks: HighWater, kind: JournalKind, what: &str) {
        let Whose { site, policy, database } = &*self.whose;
        tracing::info!(target: "bascule::journal", %site, %policy, %database, epoch = marks.epoch, serial = marks.serial, kind = kind.word(), "{what}");
        let entry = JournalEntry {
            policy: Some(policy.clone()),
            epoch: marks.epoch,
            serial: marks.serial,
            kind,
            what: format!("{database}: {what}"),
        };
        if self.into.try_send(Told::Line(entry.line(Timestamp::now(), site))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The two files, on the journal's own thread.
struct Pages {
    dir: PathBuf,
    size: u64,
    lost: Arc<AtomicU64>,
    /// How many of the lost lines the journal has told of.
    told: u64,
    open: Option<Page>,
}

struct Page {
    file: File,
    length: u64,
    synced: bool,
}

impl Pages {
    fn write(&mut self, lines: &Receiver<Told>) {
        loop {
            match lines.recv_timeout(QUIET) {
                Ok(Told::Line(line)) => self.take(&line),
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => return self.sync(),
            }
        }
    }

    fn take(&mut self, line: &str) {
        if let Err(error) = self.append(line) {
            self.open = None;
            if self.lost.fetch_add(1, Ordering::Relaxed) == self.told {
                tracing::warn!(%error, directory = %self.dir.display(), "the journal cannot be written");
            }
        }
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        let lost = self.lost.load(Ordering::Relaxed);
        let missing = if lost > self.told {
            missing(line.split(' ').next().unwrap_or("unknown"), lost - self.told)
        } else {
            String::new()
        };
        let text = missing + line;
        let page = self.page(text.len() as u64)?;
        if let Err(e) = during(Effect::AppendJournal, || page.file.write_all(text.as_bytes())) {
            // A line that is cut off would run into the next one; a disk that does not take that either may.
            let _ = page.file.set_len(page.length);
            return Err(e);
        }
        page.length += text.len() as u64;
        page.synced = false;
        self.told = lost;
        Ok(())
    }

    /// The file that has room for so many bytes more.
    fn page(&mut self, more: u64) -> io::Result<&mut Page> {
        let path = self.dir.join(JOURNAL);
        let mut page = match self.open.take() {
            Some(page) => page,
            None => Page::open(&path)?,
        };
        if page.length > 0 && page.length + more > self.size {
            drop(page);
            effect::rename(Effect::TurnJournal, &path, &self.dir.join(BEFORE))?;
            page = Page::open(&path)?;
        }
        Ok(self.open.insert(page))
    }

    fn sync(&mut self) {
        if let Some(page) = &mut self.open
            && !page.synced
        {
            // What a crash of the machine may take is the last second, and a line that is lost is no reason to stop.
            page.synced = page.file.sync_data().is_ok();
        }
    }
}

impl Page {
    fn open(path: &Path) -> io::Result<Self> {
        let file = effect::open_to_append(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length, synced: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(dir: &Path, size: u64) -> Pages {
        Pages { dir: dir.to_owned(), size, lost: Arc::default(), told: 0, open: None }
    }

    fn text(dir: &Path, name: &str) -> String {
        std::fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn there_are_never_more_than_two_files_of_their_size_and_the_last_lines_are_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut pages = pages(dir.path(), 100);
        for n in 100..200 {
            pages.take(&format!("line {n}\n"));
        }
        let (now, before) = (text(dir.path(), JOURNAL), text(dir.path(), BEFORE));
        assert!(now.len() <= 100 && before.len() <= 100, "{} {}", now.len(), before.len());
        let both: Vec<u32> = format!("{before}{now}").lines().map(|l| l[5..].parse().unwrap()).collect();
        assert_eq!(both, (200 - u32::try_from(both.len()).unwrap()..200).collect::<Vec<_>>());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_guard_that_starts_again_goes_on_in_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        for n in 1..=2 {
            pages(dir.path(), 100).take(&format!("line {n}\n"));
        }
        assert_eq!(text(dir.path(), JOURNAL), "line 1\nline 2\n");
    }

    #[test]
    fn lines_that_a_full_disk_did_not_take_are_told_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join(JOURNAL);
        std::os::unix::fs::symlink("/dev/full", &at).unwrap();
        let mut pages = pages(dir.path(), 1000);
        pages.take("2026-11-25T10:00:00.000Z one\n");
        pages.take("2026-11-25T10:00:01.000Z two\n");
        std::fs::remove_file(&at).unwrap();
        for line in ["2026-11-25T10:00:02.000Z three\n", "2026-11-25T10:00:03.000Z four\n"] {
            pages.take(line);
        }
        let said =
            "2026-11-25T10:00:02.000Z -- 2 lines were lost before this one: the disk did not take them";
        assert_eq!(
            text(dir.path(), JOURNAL).lines().collect::<Vec<_>>(),
            [said, "2026-11-25T10:00:02.000Z three", "2026-11-25T10:00:03.000Z four"]
        );
    }

    #[test]
    fn a_disk_that_hangs_holds_up_nobody_and_not_the_end_either() {
        let dir = tempfile::tempdir().unwrap();
        // Opening it for writing waits for a reader, who never comes.
        nix::unistd::mkfifo(&dir.path().join(JOURNAL), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let policy = PolicyKey::new("web", "shop").unwrap();
        let (site, database) = ("paris".try_into().unwrap(), "main".to_owned().try_into().unwrap());
        let (journal, end) = Journal::open(dir.path(), site, policy, database).unwrap();
        let began = clock::now();
        for _ in 0..10 * WAITING {
            let begun = journal.begins(HighWater::default(), "promote");
            journal.ends(begun, "done");
        }
        end.finish(Duration::from_millis(100));
        assert!(clock::now().since(began) < Duration::from_secs(5));
        assert!(journal.lost.load(Ordering::Relaxed) > 18 * WAITING as u64);
    }
}
