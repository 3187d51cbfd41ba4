//! The lines of journals as they lie on a disk, or in a copy of one: an operator's directory with a file for each day, a
//! guard's with its two files, or single files of either.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bascule_core::journal::{Line, read};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::journal::pages::Whose;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 256 << 20;
/// How many files are read at most.
const MOST_FILES: usize = 5000;

/// A file with its text.
pub struct Page {
    /// Its path.
    pub path: PathBuf,
    /// What is in it; letters that are none are replaced.
    pub text: String,
    /// The day that it is named after, for an operator's, or for people's own.
    pub day: Option<Date>,
    /// It was asked for by itself: that the files around it are not there says nothing.
    pub alone: bool,
}

/// Every file of the journals at these paths: their `.log` files, in the order of their names.
pub fn pages(paths: &[PathBuf]) -> anyhow::Result<Vec<Page>> {
    let mut found: Vec<(PathBuf, bool)> = Vec::new();
    for path in paths {
        let kind = fs::metadata(path).with_context(|| {
            format!(
                "PATH: a journal was expected at {}: a directory with .log files, or one of them",
                path.display()
            )
        })?;
        if !kind.is_dir() {
            found.push((path.clone(), true));
            continue;
        }
        let mut own = Vec::new();
        for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
            let entry = entry.with_context(|| path.display().to_string())?.path();
            if entry.extension().is_some_and(|e| e == "log") && entry.is_file() {
                own.push(entry);
            }
        }
        if own.is_empty() {
            bail!("{}: found no .log file there, expected those of a journal", path.display());
        }
        // The older of a guard's two files has the longer name.
        own.sort_by_key(|p| (p.file_name() == Some("journal.log".as_ref()), p.clone()));
        found.extend(own.into_iter().map(|path| (path, false)));
    }
    if found.len() > MOST_FILES {
        bail!(
            "found {} files, expected at most {MOST_FILES}: give those of the days that matter",
            found.len()
        );
    }
    found.into_iter().map(|(path, alone)| page(path, alone)).collect()
}

fn page(path: PathBuf, alone: bool) -> anyhow::Result<Page> {
    let size = fs::metadata(&path).with_context(|| path.display().to_string())?.len();
    if size > LARGEST {
        bail!("{}: found {size} bytes, expected at most {LARGEST}", path.display());
    }
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    let day = day_of(&path);
    Ok(Page { text: String::from_utf8_lossy(&bytes).into_owned(), path, day, alone })
}

fn day_of(path: &Path) -> Option<Date> {
    Whose::of(path.file_name()?.to_str()?).map(|(_, day)| day)
}

/// A line with its place.
#[derive(Clone, Debug)]
pub struct Placed<'a> {
    /// When it was written, as far as it tells.
    pub at: Option<Timestamp>,
    /// The line; `None`: no journal writes such a line.
    pub line: Option<Line<'a>>,
    /// The whole of it.
    pub text: &'a str,
}

/// The lines of all pages by the time that they tell; one that tells none stays behind the one before it.
pub fn merged(pages: &[Page]) -> Vec<Placed<'_>> {
    let mut all: Vec<(Timestamp, Placed<'_>)> = Vec::new();
    for page in pages {
        let mut last = Timestamp::MIN;
        for text in page.text.lines() {
            let line = read(text);
            let at = match &line {
                Some(Line::Entry(entry)) => Some(entry.at),
                Some(Line::Mark { at, .. }) => at.parse().ok(),
                None => None,
            };
            last = at.unwrap_or(last);
            all.push((last, Placed { at, line, text }));
        }
    }
    // One file is told as it is: what is printed is a copy whose chain fits.
    if pages.len() > 1 {
        // Stable: lines of one moment stay in the order of their file.
        all.sort_by_key(|(at, _)| *at);
    }
    all.into_iter().map(|(_, placed)| placed).collect()
}
