//! Whether journals are whole: whether each line is tied to the one before it, each file to the one before it, and what
//! is missing. Pure. The chain has no secret: who can write a file can make a new chain, and that is said in docs/journal.md.

mod between;
mod line;

use bascule_core::journal::mark::Mark;
use bascule_core::journal::{Line, read, seal};
use jiff::tz::TimeZone;
use serde::Serialize;

use self::line::Scan;
use super::files::Page;

/// How many lines of a file are quoted at most.
const QUOTED: usize = 20;
/// How many are kept at most until the first of them are known.
const KEPT: usize = 50 * QUOTED;

/// What a look at every line brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// How many files were read.
    pub files: usize,
    /// How many entries are in them.
    pub entries: usize,
    /// How many lines are tied to the one before them.
    pub chained: usize,
    /// How many have no seal of their own: a guard's, or an older program's.
    pub unchained: usize,
    /// How many lines their writers say are missing.
    pub lost: u64,
    /// What is not as it was written, or missing; the first of a file first.
    pub problems: Vec<Problem>,
    /// What is as it should be, and worth knowing.
    pub notes: Vec<Note>,
    /// Where each chain ends: its last line. Written down elsewhere, it proves what was there by then.
    pub ends: Vec<End>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Of what kind.
    pub kind: Kind,
    /// What is wrong: what was found, and what was expected.
    pub what: String,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A line does not fit the one before it: one of the two is not as it was written.
    Changed,
    /// Lines are not there.
    Removed,
    /// A line is where it was not written.
    Inserted,
    /// Two lines follow one: two processes wrote at once without a lock, or one was inserted.
    Forked,
    /// A file is not there.
    MissingFile,
    /// A chain begins where one was already.
    Anew,
    /// A line is not whole.
    Torn,
    /// The journal itself says that lines are missing.
    Hole,
    /// Lines without a seal, behind some that have one.
    Unchained,
    /// No journal writes such a line.
    Unreadable,
    /// A time is before the one of the line before it, or of another day than its file, and no chain says that it belongs there.
    Order,
}

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What.
    pub what: String,
}

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// The file.
    pub file: String,
    /// How many lines it has.
    pub lines: u64,
    /// The last one's hash.
    pub hash: String,
}

/// Looks at every line.
pub fn verify(pages: &[Page]) -> Verified {
    let mut all = Verified { files: pages.len(), ..Verified::default() };
    let mut scans = Vec::new();
    for page in pages {
        let mut found = Found::of(page);
        lines(page, &mut all, &mut found);
        scans.push(Scan::of(page, &mut found));
        found.into(&mut all);
    }
    between::look(&scans, &mut all);
    for scan in scans.iter().filter(|s| s.chained > 0 && !s.is_over) {
        all.ends.push(End { file: scan.file.clone(), lines: scan.end.number, hash: scan.end.hash.clone() });
    }
    all.chained = scans.iter().map(|s| s.chained).sum();
    all.unchained = scans.iter().map(|s| s.unchained).sum();
    all
}

/// What is found in one file.
struct Found {
    file: String,
    problems: Vec<Problem>,
    notes: Vec<Note>,
}

impl Found {
    fn of(page: &Page) -> Self {
        Self { file: page.path.display().to_string(), problems: Vec::new(), notes: Vec::new() }
    }

    /// Whether it is worth looking through all lines for what one means: not for more than are told.
    fn has_room(&self) -> bool {
        self.problems.len() < QUOTED
    }

    fn problem(&mut self, line: usize, kind: Kind, what: String) {
        if self.problems.len() >= KEPT {
            return;
        }
        self.problems.push(Problem { file: self.file.clone(), line, kind, what });
    }

    fn note(&mut self, line: usize, what: String) {
        if self.notes.len() >= KEPT {
            return;
        }
        self.notes.push(Note { file: self.file.clone(), line, what });
    }

    fn into(mut self, all: &mut Verified) {
        // Stable: what the lines say is before what the chain says of them.
        self.problems.sort_by_key(|p| p.line);
        self.problems.truncate(QUOTED);
        self.notes.sort_by_key(|n| n.line);
        self.notes.truncate(QUOTED);
        all.problems.append(&mut self.problems);
        all.notes.append(&mut self.notes);
    }
}

/// The lines of a file with their numbers, without their ends; the last one may have none.
fn numbered(text: &str) -> impl Iterator<Item = (usize, Result<&str, &str>)> {
    let lines = text.split_inclusive('\n').enumerate();
    lines.map(|(n, line)| (n + 1, line.strip_suffix('\n').ok_or(line)))
}

/// What each line says, whatever the chain says of it.
fn lines(page: &Page, all: &mut Verified, found: &mut Found) {
    let mut last = None;
    for (n, text) in numbered(&page.text) {
        let text = match text {
            Ok(text) => text,
            Err(cut) => {
                let what = format!(
                    "it is cut off after {} bytes: a crash, or a copy that was made while it was written",
                    cut.len()
                );
                found.problem(n, Kind::Torn, what);
                continue;
            }
        };
        match read(text) {
            None => {
                found.problem(n, Kind::Unreadable, format!("no journal writes such a line: {}", short(text)));
            }
            Some(Line::Mark { mark: Mark::Lost { lines }, .. }) => {
                all.lost = all.lost.saturating_add(lines);
                let what = format!("{lines} lines before it are missing: the disk did not take them");
                found.problem(n, Kind::Hole, what);
            }
            Some(Line::Mark { mark: Mark::Cut { bytes, began }, .. }) => {
                let what = format!(
                    "a line that was not whole was cut off before it, as the journal says: {bytes} bytes, {began}"
                );
                found.problem(n, Kind::Torn, what);
            }
            Some(Line::Mark { mark: Mark::Gone { file, lines, hash }, .. }) => {
                let what = format!(
                    "{file} was taken away or made shorter while it was written, as the journal says: it had {lines} lines, the last one #{hash}"
                );
                found.problem(n, Kind::Removed, what);
            }
            Some(Line::Mark { .. }) => {}
            Some(Line::Entry(entry)) => {
                all.entries += 1;
                let is_chained = seal::split(text).1.is_some();
                // A chain says in which order lines were written: then it is the clock.
                let mut odd = |what: String| {
                    if is_chained {
                        found.note(n, what);
                    } else {
                        found.problem(n, Kind::Order, what);
                    }
                };
                if let Some(last) = last.filter(|last| entry.at < *last) {
                    let why = if is_chained {
                        "the clock was set back"
                    } else {
                        "the clock was set back, or lines were moved"
                    };
                    odd(format!("it says {}, which is before {last} of the line before: {why}", entry.at));
                }
                let day = entry.at.to_zoned(TimeZone::UTC).date();
                if let Some(named) = page.day.filter(|named| *named != day) {
                    odd(format!("it is of {day}, and the file is named after {named}"));
                }
                last = Some(entry.at);
            }
        }
    }
}

fn short(text: &str) -> String {
    let first: String = text.chars().take(80).collect();
    if first.len() < text.len() { format!("{first:?}…") } else { format!("{first:?}") }
}

#[cfg(test)]
mod tests;
