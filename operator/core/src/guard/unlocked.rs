//! A person's word that a server runs without its grants: break-glass, for the night in which Bascule is gone for good.
//!
//! It is a file beside the data, and nothing but a person's other word ends it. While it is in force the guard stops for
//! no deadline and no order, so nothing that rests on its fence may rest on it: its site promises nothing, and what its
//! guard says proves no stop.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a person has said, and whether it still holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unlocked {
    /// Since when, by the clock of the machine; for people.
    pub since: Timestamp,
    /// Why, in that person's words.
    pub reason: String,
    /// A standby is to be promoted; otherwise the server runs as what lies on its disk.
    pub promote: bool,
    /// When it was given back; `None`: it is in force. It is never forgotten.
    pub until: Option<Timestamp>,
}

impl Unlocked {
    /// Whether the server runs without grants now.
    pub const fn in_force(&self) -> bool {
        self.until.is_none()
    }

    /// In words.
    pub fn words(&self) -> String {
        let Self { since, reason, .. } = self;
        match self.until {
            None => format!("unlocked by a person since {since:.0}: {reason}"),
            Some(until) => format!("unlocked by a person from {since:.0} to {until:.0}: {reason}"),
        }
    }
}

/// The one in force among what a guard reports.
pub fn in_force(unlocked: Option<&Unlocked>) -> Option<&Unlocked> {
    unlocked.filter(|u| u.in_force())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_since_when_and_why_and_until_when_once_it_was_given_back() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut it =
            Unlocked { since: at(0), reason: "both arbiters burnt".into(), promote: false, until: None };
        assert_eq!(it.words(), "unlocked by a person since 1970-01-01T00:00:00Z: both arbiters burnt");
        it.until = Some(at(60));
        assert_eq!(
            it.words(),
            "unlocked by a person from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z: both arbiters burnt"
        );
        assert_eq!(in_force(Some(&it)), None);
    }
}
