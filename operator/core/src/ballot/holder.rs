//! A site's own lease: how long it may act, and when it has to prove itself anew.

use std::time::Duration;

use crate::mutant::forgets;
use crate::time::Boottime;

/// The state of this operator's renewals. It starts in a gap: a restarted operator knows nothing.
#[derive(Clone, Debug)]
pub struct Holder {
    may_act_for: Duration,
    last_sent: Option<Boottime>,
    gap: Gap,
    gap_ended: Option<Boottime>,
}

/// The number of gaps so far. What was learnt or sent in an earlier gap counts for nothing in a later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap(u64);

impl Holder {
    /// A holder that has not renewed yet. `r` is the deadline `R` of the timing profile.
    pub const fn new(r: Duration) -> Self {
        Self { may_act_for: r, last_sent: None, gap: Gap(0), gap_ended: None }
    }

    /// From now on `r` is the deadline: the shortest that this site promises in any record, for an observer of that
    /// record waits no longer.
    pub const fn promise(&mut self, r: Duration) {
        self.may_act_for = r;
    }

    /// The reply to a successful renewal that was sent at `sent` is being processed at `processed`.
    ///
    /// Returns whether it ended a gap: more than `R` has passed, at the moment of processing, since the last
    /// successful renewal was sent. A reply that waited while the process was frozen is not in time.
    pub fn renewed(&mut self, sent: Boottime, processed: Boottime) -> bool {
        let judged = if forgets("a gap is judged when the reply is processed") { sent } else { processed };
        let gap = self.last_sent.is_none_or(|last| judged.since(last) > self.may_act_for);
        let sent = if forgets("a deadline counts from the sending") { processed } else { sent };
        if gap {
            self.gap.0 += 1;
            self.gap_ended = Some(processed);
        }
        self.last_sent = Some(self.last_sent.map_or(sent, |last| last.max(sent)));
        gap
    }

    /// How long the holder may still act at `now`, counted from the *sending* of the last successful renewal.
    pub fn remaining(&self, now: Boottime) -> Option<Duration> {
        now.until(self.last_sent? + self.may_act_for)
    }

    /// [`Holder::remaining`] under another deadline than this holder's own.
    pub fn remaining_within(&self, now: Boottime, r: Duration) -> Option<Duration> {
        now.until(self.last_sent? + r)
    }

    /// The present gap's number.
    pub const fn gap(&self) -> Gap {
        self.gap
    }

    /// How often this process has come back so far: it has another question to the other sites after each.
    pub const fn returns(&self) -> u64 {
        self.gap.0
    }

    /// When the reply to the renewal that ended the last gap was processed.
    pub const fn gap_ended(&self) -> Option<Boottime> {
        self.gap_ended
    }

    /// The same knowledge when `by` more has passed, told without moving the clock: every moment lies that much further
    /// back, at most at the machine's start. Only for a search that must see that two states differ in nothing but when.
    pub fn let_pass(&mut self, by: Duration) {
        self.last_sent = self.last_sent.map(|t| t - by);
        self.gap_ended = self.gap_ended.map(|t| t - by);
    }

    /// When the last successful renewal was sent.
    pub const fn last_sent(&self) -> Option<Boottime> {
        self.last_sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Boottime {
        Boottime::from_millis(n)
    }

    fn holder() -> Holder {
        Holder::new(Duration::from_secs(1))
    }

    #[test]
    fn a_restarted_operator_is_in_a_gap_until_its_first_renewal() {
        let mut h = holder();
        assert_eq!(h.remaining(ms(0)), None);
        assert!(h.renewed(ms(10), ms(12)));
        assert!(!h.renewed(ms(260), ms(262)));
    }

    #[test]
    fn the_deadline_counts_from_the_send_not_from_the_reply() {
        let mut h = holder();
        h.renewed(ms(100), ms(900));
        assert_eq!(h.remaining(ms(900)), Some(Duration::from_millis(200)));
        assert_eq!(h.remaining(ms(1100)), None);
    }

    #[test]
    fn a_gap_is_judged_when_the_reply_is_processed() {
        let mut h = holder();
        h.renewed(ms(0), ms(1));
        // Sent in time, but the process was frozen before it looked at the reply.
        assert!(h.renewed(ms(900), ms(1001)));
        assert_eq!(h.gap_ended(), Some(ms(1001)));
    }

    #[test]
    fn a_gap_is_judged_by_the_deadline_that_was_promised() {
        let mut h = holder();
        h.renewed(ms(0), ms(1));
        h.promise(Duration::from_millis(500));
        assert_eq!(h.remaining(ms(501)), None);
        assert!(h.renewed(ms(600), ms(601)));
    }

    #[test]
    fn an_older_reply_never_shortens_the_deadline() {
        let mut h = holder();
        h.renewed(ms(500), ms(510));
        h.renewed(ms(250), ms(520));
        assert_eq!(h.last_sent(), Some(ms(500)));
    }

    #[test]
    fn a_reply_processed_at_the_very_deadline_ends_no_gap() {
        let mut h = holder();
        h.renewed(ms(0), ms(1));
        assert!(!h.renewed(ms(900), ms(1000)));
    }

    #[test]
    fn each_gap_that_ends_is_one_more_return() {
        let mut h = holder();
        assert_eq!(h.returns(), 0);
        h.renewed(ms(0), ms(5));
        h.renewed(ms(250), ms(255));
        assert_eq!(h.returns(), 1);
        h.renewed(ms(5_000), ms(5_005));
        assert_eq!(h.returns(), 2);
    }

    #[test]
    fn what_happened_and_then_let_pass_is_what_had_happened_earlier() {
        let renewed_from = |start: u64| {
            let mut h = holder();
            h.renewed(ms(start), ms(start + 5));
            h.renewed(ms(start + 250), ms(start + 255));
            h
        };
        let mut later = renewed_from(900);
        later.let_pass(Duration::from_millis(400));
        assert_eq!(format!("{later:?}"), format!("{:?}", renewed_from(500)));
    }
}
