//! Where do two histories of one database part? From their timeline history files, never from the numbers alone.

use crate::position::{Lsn, Timeline};

/// The way a cluster came to its timeline: each ancestor with the position where the next one left it, oldest
/// first, then the timeline itself, which has no end yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    ancestors: Vec<(Timeline, Lsn)>,
    current: Timeline,
}

/// Why a history file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the history of timeline {timeline} is {found:?}: expected a timeline number and an LSN"
)]
pub struct HistoryError {
    timeline: Timeline,
    line: usize,
    found: String,
}

/// How a copy stands to the history of the server it shall follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// Everything up to here is common: the upstream's own history left, or will leave, the copy's at this
    /// position of this timeline. WAL of the copy that starts at or after it is the copy's alone.
    At {
        /// The copy's timeline there.
        timeline: Timeline,
        /// The position.
        lsn: Lsn,
    },
    /// Both are on the same timeline with the same ancestors: there is no fork between them.
    None,
    /// They have no timeline in common.
    Strangers,
}

impl History {
    /// Timeline 1, or any timeline whose file is not needed, has no ancestors.
    pub const fn without_ancestors(current: Timeline) -> Self {
        Self { ancestors: Vec::new(), current }
    }

    /// Reads the text of `current`'s history file, as PostgreSQL writes it: comments with `#`, then
    /// `timeline<TAB>LSN<TAB>reason` lines.
    pub fn parse(current: Timeline, text: &str) -> Result<Self, HistoryError> {
        let mut ancestors = Vec::new();
        for (i, raw) in text.lines().enumerate() {
            let line = raw.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let mut words = line.split_whitespace();
            let pair = (words.next().and_then(|w| w.parse().ok()), words.next().and_then(|w| w.parse().ok()));
            let (Some(timeline), Some(lsn)) = pair else {
                return Err(HistoryError { timeline: current, line: i + 1, found: raw.to_owned() });
            };
            ancestors.push((Timeline(timeline), lsn));
        }
        Ok(Self { ancestors, current })
    }

    /// The timeline this history leads to.
    pub const fn current(&self) -> Timeline {
        self.current
    }

    fn steps(&self) -> impl Iterator<Item = (Timeline, Option<Lsn>)> + '_ {
        self.ancestors.iter().map(|(t, l)| (*t, Some(*l))).chain([(self.current, None)])
    }

    /// The timelines from the one that contains `lsn` on, each with its end: where WAL from `lsn` on is found.
    pub fn from(&self, lsn: Lsn) -> Vec<(Timeline, Option<Lsn>)> {
        self.steps().filter(|(_, end)| end.is_none_or(|e| e > lsn)).collect()
    }
}

/// Where the copy with `local` history and the upstream with `upstream` history part.
pub fn fork(local: &History, upstream: &History) -> Fork {
    let mut last = Fork::Strangers;
    for ((ours, our_end), (theirs, their_end)) in local.steps().zip(upstream.steps()) {
        if ours != theirs {
            return last;
        }
        match (our_end, their_end) {
            (None, None) => return Fork::None,
            (Some(a), Some(b)) if a == b => last = Fork::At { timeline: ours, lsn: a },
            (Some(a), Some(b)) => return Fork::At { timeline: ours, lsn: a.min(b) },
            (Some(end), None) | (None, Some(end)) => return Fork::At { timeline: ours, lsn: end },
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(current: u32, lines: &str) -> History {
        History::parse(Timeline(current), lines).unwrap()
    }

    fn at(timeline: u32, lsn: &str) -> Fork {
        Fork::At { timeline: Timeline(timeline), lsn: lsn.parse().unwrap() }
    }

    #[test]
    fn two_histories_part_where_their_files_first_differ() {
        let one = History::without_ancestors(Timeline(1));
        let two = history(2, "1\t0/3000000\tno recovery target specified\n");
        let other_two = history(2, "1\t0/2000000\tno recovery target specified\n");
        let three = history(3, "1\t0/3000000\tx\n\n2\t0/5000000\ty\n");
        let cases = [
            (&one, &one, Fork::None),
            (&one, &two, at(1, "0/3000000")),
            (&two, &one, at(1, "0/3000000")),
            (&two, &two, Fork::None),
            (&two, &other_two, at(1, "0/2000000")),
            (&two, &three, at(2, "0/5000000")),
            (&one, &three, at(1, "0/3000000")),
            (&other_two, &three, at(1, "0/2000000")),
            (&History::without_ancestors(Timeline(7)), &three, Fork::Strangers),
        ];
        for (local, upstream, expected) in cases {
            assert_eq!(fork(local, upstream), expected, "{local:?} against {upstream:?}");
        }
    }

    #[test]
    fn equal_timeline_numbers_with_different_ancestors_are_not_the_same_history() {
        let a = history(3, "1\t0/3000000\tx\n2\t0/5000000\ty\n");
        let b = history(3, "1\t0/3000000\tx\n");
        assert_eq!(fork(&a, &b), at(1, "0/3000000"));
    }

    #[test]
    fn a_damaged_history_names_its_line() {
        let e = History::parse(Timeline(2), "# comment\n1 nonsense\n").unwrap_err().to_string();
        assert!(e.contains("line 2") && e.contains("nonsense"), "{e}");
    }

    #[test]
    fn wal_past_a_position_lies_on_every_later_timeline() {
        let three = history(3, "1\t0/3000000\tx\n2\t0/5000000\ty\n");
        let names: Vec<u32> = three.from("0/4000000".parse().unwrap()).iter().map(|(t, _)| t.0).collect();
        assert_eq!(names, [2, 3]);
    }
}
