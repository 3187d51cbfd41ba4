//! The journal's lines, the same from an operator and from a guard: intent before, outcome after, readable with `less`.

use jiff::Timestamp;

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
}

impl JournalKind {
    /// The word in the line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Observed => "observed",
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
        format!(
            "{at:.3} {site} {} epoch={} serial={} {}: {}\n",
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
    format!("{at} -- {lines} lines were lost before this one: the disk did not take them\n")
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
}
