//! Judges a history: one writer at a time, nothing acknowledged lost, nothing written twice, and how long nothing
//! worked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::history::{Attempt, History, Kind, Outcome, Stamp};
use super::sql::Row;

/// Two sites that acknowledged writes at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The acknowledged write that fits nowhere.
    pub write: Box<Attempt>,
    /// The order of sites that was expected.
    pub expected: Vec<String>,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "row {} was acknowledged by {} outside of its time; the writers were to be {}",
            self.write.token,
            self.write.site().unwrap_or("nobody"),
            self.expected.join(", then ")
        )
    }
}

impl std::error::Error for Overlap {}

/// A time in which nothing worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last success before it (or the window's start).
    pub from: Stamp,
    /// The first success after it (or the window's end).
    pub to: Stamp,
}

impl Gap {
    /// Its length.
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

impl History {
    /// Proves that the sites wrote one after the other in this order, each from a moment on at which the one before
    /// it had stopped: there must be moments of change such that every acknowledged write was in flight at some
    /// moment of its own site's time.
    pub fn one_writer_at_a_time(&self, order: &[&str]) -> Result<(), Overlap> {
        let mut acked: Vec<&Attempt> = self.acked().collect();
        acked.sort_by_key(|a| (a.end, a.start));
        // `starts[i]` is the latest moment at which turn `i` can have begun: the first acknowledgement of that turn.
        // Later than that it cannot be, and the later it is, the more room has everything before it.
        let mut starts: Vec<Stamp> = vec![Stamp(0)];
        for write in acked {
            let site = write.site().unwrap_or_default();
            let turn = starts.len() - 1;
            let current = order.get(turn).is_some_and(|s| *s == site);
            // An answer may be late: the write belongs to an earlier turn if it was sent before that turn's end.
            let earlier = || (0..turn).any(|i| order[i] == site && write.start <= starts[i + 1]);
            if current || earlier() {
                continue;
            }
            match order.iter().skip(turn + 1).position(|s| *s == site) {
                // Turns in which nothing was written begin together with the one that follows them.
                Some(skipped) => starts.extend(std::iter::repeat_n(write.end, skipped + 1)),
                None => {
                    return Err(Overlap {
                        write: Box::new(write.clone()),
                        expected: order.iter().map(|s| (*s).to_owned()).collect(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Acknowledged writes that are not in the database.
    pub fn lost<'a>(&'a self, rows: &[Row]) -> Vec<&'a Attempt> {
        let there: BTreeSet<&str> = rows.iter().map(|r| r.token.as_str()).collect();
        self.acked().filter(|a| !there.contains(a.token.as_str())).collect()
    }

    /// Tokens that the database has more than once.
    pub fn written_twice(&self, rows: &[Row]) -> Vec<String> {
        let mut count: BTreeMap<&str, u32> = BTreeMap::new();
        for row in rows {
            *count.entry(&row.token).or_default() += 1;
        }
        count.into_iter().filter(|(_, n)| *n > 1).map(|(token, _)| token.to_owned()).collect()
    }

    /// Writes that were refused for certain and are in the database all the same.
    pub fn refused_but_written<'a>(&'a self, rows: &[Row]) -> Vec<&'a Attempt> {
        let there: BTreeSet<&str> = rows.iter().map(|r| r.token.as_str()).collect();
        let refused = self.of(Kind::Write).filter(|a| matches!(a.outcome, Outcome::Refused(_)));
        refused.filter(|a| there.contains(a.token.as_str())).collect()
    }

    /// The longest time within a window without a success of this kind.
    pub fn longest_gap(&self, kind: Kind, from: Stamp, to: Stamp) -> Gap {
        let mut ends: Vec<Stamp> =
            self.of(kind).filter(|a| a.worked() && a.end >= from && a.end <= to).map(|a| a.end).collect();
        ends.sort_unstable();
        let mut longest = Gap { from, to: from };
        let mut last = from;
        for end in ends.into_iter().chain([to]) {
            let gap = Gap { from: last, to: end };
            if gap.length() > longest.length() {
                longest = gap;
            }
            last = end;
        }
        longest
    }

    /// The first success of a kind at a site that began after a moment.
    pub fn first_at(&self, kind: Kind, site: &str, after: Stamp) -> Option<&Attempt> {
        self.of(kind).filter(|a| a.start >= after && a.site() == Some(site)).min_by_key(|a| a.end)
    }

    /// The success of a kind at a site that was begun last.
    pub fn last_begun_at(&self, kind: Kind, site: &str) -> Option<&Attempt> {
        self.of(kind).filter(|a| a.site() == Some(site)).max_by_key(|a| a.start)
    }

    /// The last success of a kind at a site that ended before a moment.
    pub fn last_at(&self, kind: Kind, site: &str, before: Stamp) -> Option<&Attempt> {
        self.of(kind).filter(|a| a.end <= before && a.site() == Some(site)).max_by_key(|a| a.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(site: &str, start: u64, end: u64) -> Attempt {
        Attempt {
            kind: Kind::Write,
            worker: 0,
            token: format!("{site}-{start}"),
            start: Stamp(start),
            end: Stamp(end),
            outcome: Outcome::Acked { site: site.to_owned(), id: 1, xid: "1".to_owned() },
            address: None,
        }
    }

    fn history(attempts: &[Attempt]) -> History {
        History { attempts: attempts.to_vec() }
    }

    #[test]
    fn writers_one_after_the_other_are_accepted_and_a_late_answer_does_no_harm() {
        let late = ack("paris", 5, 40);
        let h = history(&[ack("paris", 1, 2), ack("lyon", 20, 30), late, ack("lyon", 41, 42)]);
        h.one_writer_at_a_time(&["paris", "lyon"]).unwrap();
    }

    #[test]
    fn a_write_at_the_old_site_after_one_at_the_new_site_is_an_overlap() {
        let h = history(&[ack("paris", 1, 2), ack("lyon", 20, 30), ack("paris", 31, 32)]);
        let overlap = h.one_writer_at_a_time(&["paris", "lyon"]).unwrap_err();
        assert_eq!(overlap.write.token, "paris-31");
        h.one_writer_at_a_time(&["paris", "lyon", "paris"]).unwrap();
    }

    #[test]
    fn a_site_that_flickers_within_its_own_turn_is_an_overlap() {
        let h = history(&[ack("lyon", 1, 2), ack("paris", 3, 4), ack("lyon", 5, 6)]);
        assert!(h.one_writer_at_a_time(&["paris", "lyon"]).is_err());
    }

    #[test]
    fn a_turn_without_a_write_is_skipped() {
        history(&[ack("lyon", 5, 6)]).one_writer_at_a_time(&["paris", "lyon"]).unwrap();
    }

    #[test]
    fn the_longest_gap_counts_the_ends_of_the_window() {
        let h = history(&[ack("paris", 10, 20), ack("paris", 25, 30)]);
        assert_eq!(h.longest_gap(Kind::Write, Stamp(0), Stamp(35)), Gap { from: Stamp(0), to: Stamp(20) });
        assert_eq!(
            h.longest_gap(Kind::Write, Stamp(15), Stamp(100)),
            Gap { from: Stamp(30), to: Stamp(100) }
        );
        assert_eq!(h.longest_gap(Kind::Read, Stamp(15), Stamp(100)).length(), Duration::from_nanos(85));
    }

    #[test]
    fn acked_rows_that_are_gone_and_rows_that_are_there_twice_are_found() {
        let h = history(&[ack("paris", 1, 2), ack("paris", 3, 4)]);
        let row = |token: &str| Row { id: 1, token: token.to_owned(), site: "paris".to_owned() };
        let rows = [row("paris-3"), row("paris-3")];
        assert_eq!(h.lost(&rows).len(), 1);
        assert_eq!(h.written_twice(&rows), vec!["paris-3".to_owned()]);
    }
}
