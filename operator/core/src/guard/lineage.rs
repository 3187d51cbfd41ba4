//! Where do two histories of one database part? From their timeline history files, never from the numbers alone.
//!
//! A server that is promoted takes the next free number, so two copies promoted at the same position get equal
//! numbers and equal files. What tells them apart is a mark: the guard writes it, as a comment, into the history file
//! of the timeline that is left, and the server copies that file into the new timeline's. From there it goes wherever
//! the new history goes.

use crate::position::{Lsn, Timeline};

/// Begins the comment that names a promotion.
const MARK: &str = "# bascule promotion ";

/// A timeline that was left.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ancestor {
    timeline: Timeline,
    end: Lsn,
    /// Which promotion left it; none: it was not a guard's.
    mark: Option<String>,
}

/// The way a cluster came to its timeline: each ancestor with the position where the next one left it, oldest
/// first, then the timeline itself, which has no end yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    ancestors: Vec<Ancestor>,
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
        let mut mark = None;
        for (i, raw) in text.lines().enumerate() {
            if let Some(token) = raw.strip_prefix(MARK) {
                mark = Some(token.trim().to_owned());
            }
            let line = raw.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let mut words = line.split_whitespace();
            let pair = (words.next().and_then(|w| w.parse().ok()), words.next().and_then(|w| w.parse().ok()));
            let (Some(timeline), Some(end)) = pair else {
                return Err(HistoryError { timeline: current, line: i + 1, found: raw.to_owned() });
            };
            ancestors.push(Ancestor { timeline: Timeline(timeline), end, mark: mark.take() });
        }
        Ok(Self { ancestors, current })
    }

    /// The timeline this history leads to.
    pub const fn current(&self) -> Timeline {
        self.current
    }

    fn steps(&self) -> impl Iterator<Item = (Timeline, Option<Lsn>, Option<&str>)> + '_ {
        let left = self.ancestors.iter().map(|a| (a.timeline, Some(a.end), a.mark.as_deref()));
        left.chain([(self.current, None, None)])
    }

    /// The timelines from the one that contains `lsn` on, each with its end: where WAL from `lsn` on is found.
    pub fn from(&self, lsn: Lsn) -> Vec<(Timeline, Option<Lsn>)> {
        self.steps().map(|(t, end, _)| (t, end)).filter(|(_, end)| end.is_none_or(|e| e > lsn)).collect()
    }
}

/// The text of a timeline's history file with the mark of the promotion that is about to leave it; an earlier
/// attempt's mark is replaced.
pub fn marked(text: &str, token: &str) -> String {
    let is_mark = |line: &&str| line.starts_with(MARK) || line.trim().is_empty();
    let tail = text.lines().rev().take_while(is_mark).count();
    let kept = text.lines().count() - tail;
    let mut out: String = text.lines().take(kept).flat_map(|line| [line, "\n"]).collect();
    out.extend([MARK, token, "\n"]);
    out
}

/// Where the copy with `local` history and the upstream with `upstream` history part.
pub fn fork(local: &History, upstream: &History) -> Fork {
    part(local, upstream, true)
}

/// Whether `pg_rewind`, which knows numbers and positions only, finds the same fork between them.
pub fn same_by_number(local: &History, upstream: &History) -> bool {
    local.current != upstream.current && part(local, upstream, true) == part(local, upstream, false)
}

fn part(local: &History, upstream: &History, by_marks: bool) -> Fork {
    let mut last = Fork::Strangers;
    for ((ours, our_end, our_mark), (theirs, their_end, their_mark)) in local.steps().zip(upstream.steps()) {
        if ours != theirs {
            return last;
        }
        match (our_end, their_end) {
            (None, None) => return Fork::None,
            (Some(a), Some(b)) if a == b => last = Fork::At { timeline: ours, lsn: a },
            (Some(a), Some(b)) => return Fork::At { timeline: ours, lsn: a.min(b) },
            (Some(end), None) | (None, Some(end)) => return Fork::At { timeline: ours, lsn: end },
        }
        if by_marks && our_mark != their_mark {
            return last;
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
    fn equal_numbers_and_positions_of_two_promotions_are_two_histories() {
        let promoted = |parent: &str, token: &str, line: &str| format!("{}\n{line}", marked(parent, token));
        let paris = promoted("", "p", "1\t0/3000000\tx\n");
        let lyon = promoted("", "l", "1\t0/3000000\tx\n");
        let by_hand = "1\t0/3000000\tx\n";
        let later = promoted(&lyon, "q", "2\t0/5000000\ty\n");
        let cases = [
            (history(2, &lyon), history(2, &lyon), Fork::None, false),
            (history(2, &lyon), history(2, &paris), at(1, "0/3000000"), false),
            (history(2, &lyon), history(2, by_hand), at(1, "0/3000000"), false),
            (history(2, by_hand), history(2, by_hand), Fork::None, false),
            (history(2, &lyon), history(3, &later), at(2, "0/5000000"), true),
            (history(2, &paris), history(3, &later), at(1, "0/3000000"), false),
            (history(3, &later), history(2, &paris), at(1, "0/3000000"), false),
            (History::without_ancestors(Timeline(1)), history(2, &lyon), at(1, "0/3000000"), true),
        ];
        for (ours, theirs, expected, by_number) in cases {
            assert_eq!(fork(&ours, &theirs), expected, "{ours:?} against {theirs:?}");
            assert_eq!(same_by_number(&ours, &theirs), by_number, "{ours:?} against {theirs:?}");
        }
    }

    #[test]
    fn a_promotion_that_is_tried_again_leaves_one_mark() {
        let once = marked("1\t0/3000000\tx\n", "first");
        let twice = marked(&once, "second");
        assert_eq!(twice, "1\t0/3000000\tx\n# bascule promotion second\n");
        assert_eq!(history(2, &twice), history(2, "1\t0/3000000\tx\n"), "its own timeline is not left yet");
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

    #[test]
    fn the_log_at_the_very_end_of_a_timeline_lies_on_the_next() {
        let h = history(2, "1\t0/500\tno recovery target specified");
        assert_eq!(h.from(Lsn(0x4FF)), [(Timeline(1), Some(Lsn(0x500))), (Timeline(2), None)]);
        assert_eq!(h.from(Lsn(0x500)), [(Timeline(2), None)]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let wrong = History::parse(Timeline(3), "# a comment\n1\t0/500\tok\nnonsense\n").unwrap_err();
        assert_eq!((wrong.line, wrong.found.as_str()), (3, "nonsense"));
    }
}
