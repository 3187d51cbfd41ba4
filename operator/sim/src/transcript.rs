//! What happened, in lines that a person can read. The same seed gives the same bytes.

use std::fmt::Write as _;

use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::plan::Step;
use bascule_engine::ports::{JournalEntry, JournalKind};

use crate::deed::{Deed, Doing, End};
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
    deeds: Vec<Deed>,
}

impl Transcript {
    /// A story that is told, or not.
    pub fn new(on: bool) -> Self {
        Self { on, lines: Vec::new(), deeds: Vec::new() }
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

    /// Whether it is told.
    pub(crate) const fn is_on(&self) -> bool {
        self.on
    }

    /// Something is on its way to be done.
    pub(crate) fn begins(&mut self, deed: impl FnOnce() -> Deed) {
        if self.on {
            self.deeds.push(deed());
        }
    }

    /// A step has ended.
    pub(crate) fn step_ended(&mut self, site: &SiteName, policy: &PolicyKey, step: &Step, end: End) {
        let is = |d: &Deed| matches!(&d.what, Doing::Step { step: s, .. } if s == step);
        self.ended(site, policy, is, end);
    }

    /// A write of the record has ended.
    pub(crate) fn write_ended(&mut self, site: &SiteName, policy: &PolicyKey, serial: u64, end: End) {
        let is = |d: &Deed| matches!(&d.what, Doing::Record { after, .. } if after.serial == serial);
        self.ended(site, policy, is, end);
    }

    fn ended(&mut self, site: &SiteName, policy: &PolicyKey, is: impl Fn(&Deed) -> bool, end: End) {
        let mine = |d: &&mut Deed| d.site == *site && d.policy == *policy && d.end == End::Open && is(d);
        if let Some(deed) = self.deeds.iter_mut().rev().find(mine) {
            deed.end = end;
        }
    }

    /// What was done.
    pub fn deeds(&self) -> &[Deed] {
        &self.deeds
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
