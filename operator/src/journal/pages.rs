//! The files of a journal, one for each day, whose lines are one chain. For one thread, which may wait for the disk.
//!
//! * Several processes may write into one folder: each takes the folder's lock for one line and reads what the others have
//!   added, so that there is one chain. Where the file system has no locks, two may write at once; then both lines name
//!   the same one before them, and `bascule journal --verify` says so.
//! * From one file to the next: the old one's last line names the new one, whose next line names the old one and its
//!   last hash. It goes back the same way when a clock is set back.
//! * A line that a crash cut off is cut off wholly, and the next line says so.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bascule_core::journal::mark::Mark;
use bascule_core::journal::{Line, read};
use jiff::civil::Date;

use super::chain::Link;

/// How often the folder's lock is tried before a line is written without it.
const TRIES: u32 = 100;
/// How long between two tries: a second in all, where a line takes a millisecond.
const BETWEEN: Duration = Duration::from_millis(10);
/// How many characters of a line that was cut off are quoted.
const QUOTED: usize = 120;

/// Whose lines they are, which is in the files' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// `2026-11-28.log`: an operator's.
    Operator,
    /// `2026-11-28.notes.log`: people's own.
    People,
}

impl Whose {
    const ALL: [Self; 2] = [Self::Operator, Self::People];

    const fn ending(self) -> &'static str {
        match self {
            Self::Operator => ".log",
            Self::People => ".notes.log",
        }
    }

    /// The name of a day's file.
    pub fn name(self, day: &str) -> String {
        format!("{day}{}", self.ending())
    }

    /// The day that a file is named after, and whose it is; `None`: it is not of a journal.
    pub fn of(name: &str) -> Option<(Self, Date)> {
        Self::ALL.into_iter().find_map(|whose| {
            let day = name.strip_suffix(whose.ending())?;
            let date: Date = day.parse().ok()?;
            (date.to_string() == day).then_some((whose, date))
        })
    }
}

/// The files.
#[derive(Debug)]
pub struct Pages {
    folder: PathBuf,
    whose: Whose,
    /// For how many days files are kept; `None`: none is removed.
    days: Option<u32>,
    open: Option<Page>,
    /// A file that was open and is not as it was left: its name, and the place behind its last line. It is not told yet.
    gone: Option<(String, Link)>,
    told_of_locks: bool,
}

/// A file, as far as it was read or written.
#[derive(Debug)]
struct Page {
    name: String,
    file: File,
    length: u64,
    link: Link,
    /// Its last line says that the chain goes on in this file.
    goes_on_in: Option<String>,
    /// What is at its end and no whole line: how many bytes, and how they begin. It is cut off before the next line.
    torn: Option<(u64, String)>,
    synced: bool,
}

impl Pages {
    /// The files in a folder, which is there. Nothing of the disk is touched here.
    pub fn new(folder: &Path, whose: Whose, days: Option<u32>) -> Self {
        Self { folder: folder.to_owned(), whose, days, open: None, gone: None, told_of_locks: false }
    }

    /// Adds lines of a day, without their ends, and says into which file. After an error they are to be taken as not there.
    pub fn append(&mut self, day: &str, at: &str, lines: &[String]) -> io::Result<PathBuf> {
        let _turn = self.turn()?;
        let added = self.add(day, at, lines);
        if added.is_err() {
            // What is there is read again before the next line.
            self.open = None;
        }
        added
    }

    /// Has the disk take what was written.
    pub fn sync(&mut self) {
        if let Some(page) = &mut self.open
            && !page.synced
        {
            // What a crash of the machine may take is the last second, and a line that is lost is no reason to stop.
            page.synced = page.file.sync_data().is_ok();
        }
    }

    /// The folder's lock, while what is returned lives. A process that dies gives it back.
    fn turn(&mut self) -> io::Result<File> {
        let folder = File::open(&self.folder)?;
        // Who did not get it after all that time does not wait for it again, until it is free once.
        for _ in 0..if self.told_of_locks { 1 } else { TRIES } {
            match folder.try_lock() {
                Ok(()) => {
                    self.told_of_locks = false;
                    return Ok(folder);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN),
                Err(TryLockError::Error(error)) => {
                    self.without(&error);
                    return Ok(folder);
                }
            }
        }
        self.without(&"another process holds it");
        Ok(folder)
    }

    fn without(&mut self, why: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.told_of_locks, true) {
            tracing::warn!(%why, folder = %self.folder.display(), "the journal's folder cannot be locked; lines are written without");
        }
    }

    fn add(&mut self, day: &str, at: &str, lines: &[String]) -> io::Result<PathBuf> {
        let began = self.open.is_none();
        let tail = self.tail()?;
        let name = self.whose.name(day);
        let is_same = tail.as_ref().is_some_and(|t| t.name == name && t.goes_on_in.is_none());
        let (mut page, first) = match tail {
            Some(page) if is_same => (page, None),
            tail => self.over(tail, &name, at)?,
        };
        let mut texts: Vec<String> = first.into_iter().collect();
        texts.extend(page.told_cut(at));
        let gone =
            self.gone.as_ref().map(|(file, link)| Mark::Gone { file, lines: link.number, hash: &link.hash });
        texts.extend(gone.map(|gone| gone.text(at)));
        if began || !is_same {
            texts.extend(self.retire(day, at));
        }
        texts.extend(lines.iter().cloned());
        page.put(&texts)?;
        self.gone = None;
        self.open = Some(page);
        Ok(self.folder.join(name))
    }

    /// Ends the file that the chain is in and opens another, with the line that ties it.
    fn over(&self, tail: Option<Page>, name: &str, at: &str) -> io::Result<(Page, Option<String>)> {
        let Some(mut old) = tail else {
            return Ok((self.page(name)?, Some(Mark::First.text(at))));
        };
        if old.goes_on_in.is_none() {
            let mut texts: Vec<String> = old.told_cut(at).into_iter().collect();
            texts.push(Mark::Into { file: name }.text(at));
            old.put(&texts)?;
            // The next file names this line: a crash must not take it and leave that one.
            old.file.sync_data()?;
        }
        let after = Mark::After { file: &old.name, hash: &old.link.hash }.text(at);
        let page = if old.name == name { old } else { self.page(name)? };
        Ok((page, Some(after)))
    }

    /// The file that the chain is in; `None`: there is none.
    fn tail(&mut self) -> io::Result<Option<Page>> {
        if let Some(mut page) = self.open.take() {
            let known = page.link.clone();
            if !page.read_on(&self.folder)? {
                self.gone = Some((page.name, known));
            } else if page.goes_on_in.is_none() {
                return Ok(Some(page));
            }
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if Whose::of(&name).is_some_and(|(whose, _)| whose == self.whose) {
                names.push(name);
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        let (mut ended, mut newest): (Option<Page>, Option<Page>) = (None, None);
        for name in names {
            let page = self.page(&name)?;
            if page.link.number == 0 {
                // A crash came before its first line was whole: nothing is tied to it, and it to nothing.
                continue;
            }
            let Some(next) = &page.goes_on_in else { return Ok(Some(page)) };
            // A crash between the last line of one file and the first of the next leaves none that is not ended.
            if ended.is_none() && !self.is_answered(&page, next) {
                ended = Some(page);
            } else if newest.is_none() {
                newest = Some(page);
            }
        }
        // The file in which it went on is gone; what follows the newest one twice is told by who verifies.
        Ok(ended.or(newest))
    }

    /// Whether a file's last line is named by the one in which it says that the chain goes on.
    fn is_answered(&self, page: &Page, next: &str) -> bool {
        let Ok(text) = std::fs::read(self.folder.join(next)) else { return false };
        let text = String::from_utf8_lossy(&text);
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).any(|line| {
            matches!(read(line), Some(Line::Mark { mark: Mark::After { hash, .. }, .. }) if hash == page.link.hash)
        })
    }

    fn page(&self, name: &str) -> io::Result<Page> {
        let path = self.folder.join(name);
        if std::fs::metadata(&path).is_ok_and(|m| !m.is_file()) {
            let why = format!("{} is no regular file: move it out of the journal's folder", path.display());
            return Err(io::Error::other(why));
        }
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        let mut page = Page {
            name: name.to_owned(),
            file,
            length: 0,
            link: Link::begin(),
            goes_on_in: None,
            torn: None,
            synced: true,
        };
        page.read_on(&self.folder)?;
        Ok(page)
    }

    /// Removes the files of days that are too long ago, and says which. What is not named after a day is left alone.
    fn retire(&self, today: &str, at: &str) -> Vec<String> {
        let Some(days) = self.days else { return Vec::new() };
        let gone = remove_old(&self.folder, today, days);
        gone.iter().map(|file| Mark::Retired { file, days }.text(at)).collect()
    }
}

impl Page {
    /// Reads what others have added since. `false`: it is another file by now.
    fn read_on(&mut self, folder: &Path) -> io::Result<bool> {
        let (here, there) = (self.file.metadata()?, std::fs::metadata(folder.join(&self.name)));
        if !there.is_ok_and(|there| is_same(&here, &there)) || here.len() < self.length {
            return Ok(false);
        }
        self.torn = None;
        if here.len() == self.length {
            return Ok(true);
        }
        self.file.seek(SeekFrom::Start(self.length))?;
        let mut rest = BufReader::new(&self.file);
        let mut line = Vec::new();
        loop {
            line.clear();
            if rest.read_until(b'\n', &mut line)? == 0 {
                return Ok(true);
            }
            let text = String::from_utf8_lossy(&line);
            let Some(text) = text.strip_suffix('\n') else { break };
            self.length += line.len() as u64;
            self.link = self.link.behind(text);
            self.goes_on_in = match read(text) {
                Some(Line::Mark { mark: Mark::Into { file }, .. }) => Some(file.to_owned()),
                _ => None,
            };
        }
        let began: String = String::from_utf8_lossy(&line).chars().take(QUOTED).collect();
        self.torn = Some((line.len() as u64, format!("{began:?}")));
        Ok(true)
    }

    fn told_cut(&self, at: &str) -> Option<String> {
        self.torn.as_ref().map(|(bytes, began)| Mark::Cut { bytes: *bytes, began }.text(at))
    }

    /// Seals texts and writes them, all or none.
    fn put(&mut self, texts: &[String]) -> io::Result<()> {
        if self.torn.is_some() {
            self.file.set_len(self.length)?;
        }
        let (mut link, mut all) = (self.link.clone(), String::new());
        for text in texts {
            let (line, next) = link.seal(text);
            link = next;
            all.push_str(&line);
            all.push('\n');
        }
        if let Err(error) = self.file.write_all(all.as_bytes()) {
            // A disk that does not take this either may: what is not whole is cut off before the next line.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += all.len() as u64;
        self.link = link;
        self.goes_on_in = None;
        self.torn = None;
        self.synced = false;
        Ok(())
    }
}

fn is_same(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Removes the files of days that are longer ago than `days`, and names them.
fn remove_old(folder: &Path, today: &str, days: u32) -> Vec<String> {
    use jiff::ToSpan as _;
    let first = today.parse::<Date>().ok().and_then(|t| t.checked_sub(i64::from(days).days()).ok());
    let (Some(first), Ok(entries)) = (first, std::fs::read_dir(folder)) else { return Vec::new() };
    let mut gone = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if Whose::of(name).is_none_or(|(_, day)| day >= first) {
            continue;
        }
        match std::fs::remove_file(&path) {
            Ok(()) => gone.push(name.to_owned()),
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "an old file of the journal cannot be removed");
            }
        }
    }
    gone.sort_unstable();
    gone
}

#[cfg(test)]
mod tests;
