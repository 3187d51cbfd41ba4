//! The journal's lines, the same from an operator and from a guard: intent before, outcome after, readable with `less`.
//! An operator's end with a seal that ties each to the one before it.

pub mod mark;
pub mod seal;

use jiff::Timestamp;

use self::mark::Mark;
use crate::name::{PolicyKey, SiteName};

/// What people are told, in order: an intent before, an outcome after.
#[derive(Clone, Debug)]
pub struct JournalEntry {
    /// About which policy; `None`: about the site.
    pub policy: Option<PolicyKey>,
    /// The record's epoch.
    pub epoch: u64,
    /// The record's serial.
    pub serial: u64,
    /// Whether something is going to be done, was done, or was seen.
    pub kind: JournalKind,
    /// What, in words.
    pub what: String,
}

/// What a journal entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalKind {
    /// It will be done next.
    Intent,
    /// It was done, refused, or its outcome is unknown.
    Outcome,
    /// It was seen.
    Observed,
    /// A person wrote it down.
    Note,
}

impl JournalKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Intent, Self::Outcome, Self::Observed, Self::Note];

    /// The word in the line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Observed => "observed",
            Self::Note => "note",
        }
    }
}

impl JournalEntry {
    /// The policy as the line has it.
    pub fn policy_word(&self) -> String {
        self.policy.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
    }

    /// Its one line, with the line's end.
    pub fn line(&self, at: Timestamp, site: &SiteName) -> String {
        self.text(at, site.as_ref()) + "\n"
    }

    /// Its one line, without the line's end; `site` may be `-` where nobody knows it.
    pub fn text(&self, at: Timestamp, site: &str) -> String {
        format!(
            "{at:.3} {site} {} epoch={} serial={} {}: {}",
            self.policy_word(),
            self.epoch,
            self.serial,
            self.kind.word(),
            self.what.replace('\n', " / ")
        )
    }
}

/// The line that says, on the day or at the moment `at`, how many lines before it are missing.
pub fn missing(at: &str, lines: u64) -> String {
    Mark::Lost { lines }.text(at) + "\n"
}

/// A line of a journal, as it was written by [`JournalEntry::line`] or [`Mark::text`], with or without a seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// An entry.
    Entry(Written<'a>),
    /// The journal tells of itself.
    Mark {
        /// The day or the moment, as it stands there.
        at: &'a str,
        /// What it tells.
        mark: Mark<'a>,
    },
}

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// When it was written, by the clock of the site.
    pub at: Timestamp,
    /// The site.
    pub site: &'a str,
    /// About which policy, as `namespace/name`; `None`: about the site.
    pub policy: Option<&'a str>,
    /// The record's epoch.
    pub epoch: u64,
    /// The record's serial.
    pub serial: u64,
    /// What it is about.
    pub kind: JournalKind,
    /// What, in words.
    pub what: &'a str,
}

/// Reads a line without its end; `None`: no journal writes such a line.
pub fn read(line: &str) -> Option<Line<'_>> {
    let (line, _) = seal::split(line);
    let (at, rest) = line.split_once(' ')?;
    if let Some(words) = rest.strip_prefix("-- ") {
        return Some(Line::Mark { at, mark: Mark::read(words)? });
    }
    let (site, rest) = rest.split_once(' ')?;
    let (policy, rest) = rest.split_once(' ')?;
    let (epoch, rest) = rest.strip_prefix("epoch=")?.split_once(' ')?;
    let (serial, rest) = rest.strip_prefix("serial=")?.split_once(' ')?;
    let (kind, what) = rest.split_once(": ")?;
    Some(Line::Entry(Written {
        at: at.parse().ok()?,
        site,
        policy: Some(policy).filter(|p| *p != "-"),
        epoch: epoch.parse().ok()?,
        serial: serial.parse().ok()?,
        kind: JournalKind::ALL.into_iter().find(|k| k.word() == kind)?,
        what,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_whatever_its_words_are() {
        let entry = JournalEntry {
            policy: Some(PolicyKey::new("web", "shop").unwrap()),
            epoch: 3,
            serial: 12,
            kind: JournalKind::Outcome,
            what: "main: promote: it failed\nwith a break".to_owned(),
        };
        let at = Timestamp::from_millisecond(1_790_000_000_120).unwrap();
        assert_eq!(
            entry.line(at, &"paris".try_into().unwrap()),
            "2026-09-21T14:13:20.120Z paris web/shop epoch=3 serial=12 outcome: main: promote: it failed / with a break\n"
        );
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is() {
        let at = Timestamp::from_millisecond(1_790_000_000_120).unwrap();
        for (policy, kind) in [
            (Some(PolicyKey::new("web", "shop").unwrap()), JournalKind::Outcome),
            (None, JournalKind::Intent),
            (None, JournalKind::Observed),
            (None, JournalKind::Note),
        ] {
            let what = "a: b: epoch=9 -- c".to_owned();
            let entry = JournalEntry { policy, epoch: 3, serial: 12, kind, what };
            let line = entry.line(at, &"paris".try_into().unwrap());
            let Some(Line::Entry(read)) = read(line.trim_end()) else { panic!("{line}") };
            assert_eq!((read.at, read.site, read.epoch, read.serial, read.kind), (at, "paris", 3, 12, kind));
            assert_eq!(read.policy.map(ToOwned::to_owned), entry.policy.as_ref().map(ToString::to_string));
            assert_eq!(read.what, entry.what);
            let numbered = seal::numbered(line.trim_end(), 7);
            let sealed = seal::sealed(&numbered, "9f86d081884c7d65");
            assert_eq!(
                super::read(&sealed),
                super::read(line.trim_end()),
                "a seal is no part of what is said"
            );
        }
        assert_eq!(
            read(missing("2026-09-21", 4).trim_end()),
            Some(Line::Mark { at: "2026-09-21", mark: Mark::Lost { lines: 4 } })
        );
        for wrong in [
            "",
            "2026-09-21",
            "2026-09-21T14:13:20.120Z paris web/shop epoch=3 serial=12 outcome",
            "2026-09-21T14:13:20.120Z paris web/shop epoch=3 serial=x outcome: done",
            "2026-09-21T14:13:20.120Z paris web/shop epoch=3 serial=12 rumour: done",
            "yesterday paris web/shop epoch=3 serial=12 outcome: done",
            "2026-09-21 -- some lines were lost before this one: why",
            "2026-09-21 -- 4 lines",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
