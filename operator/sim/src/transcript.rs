//! What happened, in lines that a person can read. The same seed gives the same bytes.

use std::fmt::Write as _;

use bascule_core::name::SiteName;
use bascule_engine::ports::{JournalEntry, JournalKind};

use crate::time::Moment;

/// A line of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Moment,
    /// Who.
    pub who: String,
    /// What.
    pub what: String,
}

/// The story so far.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    on: bool,
    lines: Vec<Line>,
}

impl Transcript {
    /// A story that is told, or not.
    pub fn new(on: bool) -> Self {
        Self { on, lines: Vec::new() }
    }

    fn add(&mut self, at: Moment, who: &str, what: &str) {
        if self.on {
            self.lines.push(Line { at, who: who.to_owned(), what: what.to_owned() });
        }
    }

    pub(crate) fn journal(&mut self, at: Moment, site: &SiteName, entry: &JournalEntry) {
        // An intent is told before it is done; that somebody else was first is news.
        let news = entry.kind != JournalKind::Outcome || entry.what.starts_with("not recorded");
        if self.on && news {
            self.add(at, site.as_str(), &entry.what);
        }
    }

    pub(crate) fn guard(&mut self, at: Moment, site: &SiteName, what: &str) {
        if self.on {
            self.add(at, &format!("{site} guard"), what);
        }
    }

    pub(crate) fn fact(&mut self, at: Moment, site: &SiteName, what: &str) {
        self.add(at, site.as_str(), what);
    }

    pub(crate) fn fault(&mut self, at: Moment, what: &str) {
        self.add(at, "FAULT", what);
    }

    pub(crate) fn person(&mut self, at: Moment, what: &str) {
        self.add(at, "PERSON", what);
    }

    /// The lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The whole as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let at = line.at.since_start().as_secs_f64();
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{at:>9.3} s  {:<12}  {}", line.who, line.what);
        }
        out
    }
}
