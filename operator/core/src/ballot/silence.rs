//! How long another site's lease has been seen unchanged: the taker's evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::mutant::forgets;
use crate::name::SiteName;
use crate::time::Boottime;

/// The arbiter's revision of a lease key; a key that does not exist has revision zero.
pub type LeaseRevision = i64;

/// An observer of the other sites' leases, by its own linearizable reads only.
#[derive(Clone, Debug)]
pub struct Observer {
    longest_break: Duration,
    last_sent: Option<Boottime>,
    windows: BTreeMap<SiteName, Window>,
}

/// An unbroken series of reads that all found the same revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The revision found.
    pub revision: LeaseRevision,
    /// When the first reply that showed it was received.
    pub first_received: Boottime,
    /// When the last read that showed it was sent.
    pub last_sent: Boottime,
    /// The series before it had found another revision: the lease was *seen* to change, so its site lived then.
    pub changed: bool,
}

impl Window {
    /// How long the lease has been unchanged: from the *receipt* of the first read to the *sending* of the last.
    pub const fn silent_for(&self) -> Duration {
        self.last_sent.since(self.first_received)
    }
}

impl Observer {
    /// An observer that has read nothing. Its series breaks when two reads are sent more than `2 Tq` apart.
    pub fn new(tq: Duration) -> Self {
        Self { longest_break: tq * 2, last_sent: None, windows: BTreeMap::new() }
    }

    /// A read of all leases succeeded: sent at `sent`, its reply received at `received`.
    ///
    /// Replies must be given in the order in which the reads were sent; one that is older than the last is ignored,
    /// for it says nothing about the time since.
    pub fn read(&mut self, sent: Boottime, received: Boottime, found: &BTreeMap<SiteName, LeaseRevision>) {
        if self.last_sent.is_some_and(|last| sent < last) {
            return;
        }
        if self.last_sent.is_some_and(|last| sent.since(last) > self.longest_break)
            && !forgets("a failed read is not unchanged")
        {
            self.windows.clear();
        }
        self.last_sent = Some(sent);
        let known: Vec<SiteName> = self.windows.keys().cloned().collect();
        for site in known {
            if !found.contains_key(&site) {
                self.see(site, 0, sent, received);
            }
        }
        for (site, revision) in found {
            self.see(site.clone(), *revision, sent, received);
        }
    }

    fn see(&mut self, site: SiteName, revision: LeaseRevision, sent: Boottime, received: Boottime) {
        match self.windows.get_mut(&site) {
            Some(w) if w.revision == revision => {
                w.last_sent = if forgets("a silence ends with a sending") { received } else { sent };
            }
            known => {
                // A key that vanished is no sign of life.
                let changed = known.is_some() && revision != 0;
                let first_received = if forgets("a silence begins with a receipt") { sent } else { received };
                let window = Window { revision, first_received, last_sent: sent, changed };
                self.windows.insert(site, window);
            }
        }
    }

    /// A read failed or its answer is unknown. It is not "unchanged": the series starts over at zero.
    pub fn failed(&mut self) {
        if forgets("a failed read is not unchanged") {
            self.windows.values_mut().for_each(|w| w.last_sent = w.last_sent + self.longest_break);
            return;
        }
        self.windows.clear();
        self.last_sent = None;
    }

    /// The same knowledge when `by` more has passed, told without moving the clock: every moment lies that much further
    /// back, at most at the machine's start. Only for a search that must see that two states differ in nothing but when.
    pub fn let_pass(&mut self, by: Duration) {
        self.last_sent = self.last_sent.map(|t| t - by);
        for window in self.windows.values_mut() {
            window.first_received = window.first_received - by;
            window.last_sent = window.last_sent - by;
        }
    }

    /// The unbroken series about `site`, if there is one.
    pub fn window(&self, site: &SiteName) -> Option<Window> {
        self.windows.get(site).copied()
    }

    /// The lease revision that proves `site` silent for at least `lease` (the *recorded* promise's `L`), or `None`.
    ///
    /// `record_received` is when the reply to the read of the record was received: the last read of the lease must
    /// have been sent after it. Otherwise the holder may have come back and re-claimed between the two.
    pub fn proves_silence(
        &self,
        site: &SiteName,
        lease: Duration,
        record_received: Boottime,
    ) -> Option<LeaseRevision> {
        let w = self.window(site)?;
        if forgets("a living site is not replaced") {
            return Some(w.revision);
        }
        let lease = if forgets("silence lasts for L") { lease / 2 } else { lease };
        let lease = if forgets("the last tick of L") { lease * 4 / 5 } else { lease };
        let lease = if forgets("silence for L is enough") { lease * 8 } else { lease };
        let after = w.last_sent >= record_received || forgets("the last look comes after the record");
        (w.silent_for() >= lease && after).then_some(w.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const L: Duration = Duration::from_secs(2);

    fn ms(n: u64) -> Boottime {
        Boottime::from_millis(n)
    }

    fn paris() -> SiteName {
        "paris".try_into().unwrap()
    }

    fn found(revision: i64) -> BTreeMap<SiteName, i64> {
        BTreeMap::from([(paris(), revision)])
    }

    fn reads(o: &mut Observer, revision: i64, from: u64, to: u64) {
        for t in (from..=to).step_by(250) {
            o.read(ms(t), ms(t + 20), &found(revision));
        }
    }

    fn observer() -> Observer {
        Observer::new(Duration::from_millis(250))
    }

    #[test]
    fn silence_counts_from_the_receipt_of_the_first_read_to_the_sending_of_the_last() {
        let mut o = observer();
        reads(&mut o, 7, 0, 2000);
        assert_eq!(o.window(&paris()).unwrap().silent_for(), Duration::from_millis(1980));
        assert_eq!(o.proves_silence(&paris(), L, ms(100)), None, "20 ms short");
        reads(&mut o, 7, 2250, 2250);
        assert_eq!(o.proves_silence(&paris(), L, ms(100)), Some(7));
    }

    #[test]
    fn the_last_read_must_be_sent_after_the_reply_to_the_read_of_the_record() {
        let mut o = observer();
        reads(&mut o, 7, 0, 2500);
        assert_eq!(o.proves_silence(&paris(), L, ms(2501)), None);
        assert_eq!(o.proves_silence(&paris(), L, ms(2500)), Some(7));
    }

    #[test]
    fn a_failed_read_is_not_unchanged() {
        let mut o = observer();
        reads(&mut o, 7, 0, 1750);
        o.failed();
        reads(&mut o, 7, 2000, 3750);
        assert_eq!(o.proves_silence(&paris(), L, ms(0)), None);
        reads(&mut o, 7, 4000, 4250);
        assert_eq!(o.proves_silence(&paris(), L, ms(0)), Some(7));
    }

    #[test]
    fn a_break_of_more_than_two_calls_starts_over() {
        let mut o = observer();
        reads(&mut o, 7, 0, 1750);
        o.read(ms(2251), ms(2260), &found(7));
        assert_eq!(o.window(&paris()).unwrap().silent_for(), Duration::ZERO);
    }

    #[test]
    fn any_renewal_ends_the_silence() {
        let mut o = observer();
        reads(&mut o, 7, 0, 2250);
        reads(&mut o, 8, 2500, 2500);
        assert_eq!(o.proves_silence(&paris(), L, ms(0)), None);
    }

    #[test]
    fn a_reply_that_was_overtaken_says_nothing() {
        let mut o = observer();
        reads(&mut o, 8, 500, 500);
        o.read(ms(250), ms(600), &found(7));
        assert_eq!(o.window(&paris()).unwrap().revision, 8);
    }

    #[test]
    fn a_lease_that_vanished_counts_from_the_read_that_missed_it() {
        let mut o = observer();
        reads(&mut o, 7, 0, 500);
        o.read(ms(750), ms(770), &BTreeMap::new());
        let w = o.window(&paris()).unwrap();
        assert_eq!((w.revision, w.first_received), (0, ms(770)));
    }

    #[test]
    fn a_lease_that_was_read_only_once_was_not_seen_to_change() {
        let mut o = observer();
        reads(&mut o, 7, 0, 250);
        assert!(!o.window(&paris()).unwrap().changed);
        reads(&mut o, 8, 500, 500);
        assert!(o.window(&paris()).unwrap().changed);
        o.failed();
        reads(&mut o, 8, 750, 750);
        assert!(!o.window(&paris()).unwrap().changed, "a broken series forgets");
    }

    #[test]
    fn a_site_that_was_never_seen_proves_nothing() {
        assert_eq!(observer().proves_silence(&paris(), Duration::ZERO, ms(0)), None);
    }

    #[test]
    fn of_two_reads_sent_at_once_the_second_reply_counts() {
        let mut o = observer();
        reads(&mut o, 7, 500, 500);
        o.read(ms(500), ms(530), &found(8));
        assert_eq!(o.window(&paris()).unwrap().revision, 8);
    }

    #[test]
    fn a_break_of_two_calls_is_none() {
        let mut o = observer();
        reads(&mut o, 7, 0, 1750);
        o.read(ms(2250), ms(2260), &found(7));
        assert_eq!(o.window(&paris()).unwrap().silent_for(), Duration::from_millis(2230));
    }

    #[test]
    fn what_happened_and_then_let_pass_is_what_had_happened_earlier() {
        let read_from = |start: u64| {
            let mut o = observer();
            reads(&mut o, 7, start, start + 500);
            o
        };
        let mut later = read_from(900);
        later.let_pass(Duration::from_millis(400));
        assert_eq!(format!("{later:?}"), format!("{:?}", read_from(500)));
    }
}
