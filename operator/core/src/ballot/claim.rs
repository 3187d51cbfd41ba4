//! A site's right to grant for one policy.
//!
//! A site grants only while it knows, by its own reads and writes of the record since its last gap, that the role is
//! still its own. [`Claim`] keeps that knowledge; [`Claim::grant`] is the holder's rule.

use std::time::Duration;

use crate::ballot::holder::{Gap, Holder};
use crate::mutant::forgets;
use crate::name::SiteName;
use crate::record::{Fences, Phase, Record};
use crate::time::Boottime;

/// The arbiter's revision of a record.
pub type RecordRevision = i64;

/// A record as this site last saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// What was read or written.
    pub record: Record,
    /// The arbiter's revision of it: the next compare-and-swap starts from here.
    pub revision: RecordRevision,
    /// When the reply that showed it was received.
    pub received: Boottime,
    /// The gap since which it was read or written; `None` when the read was sent before the last gap ended.
    gap: Option<Gap>,
    /// Since when it may have been overtaken, by another site's write or by an own one whose outcome is unknown: a
    /// read that was sent later, or that shows something newer, comes before the next write.
    stale_since: Option<Boottime>,
}

/// What this site knows about one policy's record.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    view: Option<View>,
    claimed_in: Option<Gap>,
    /// From the order to lock until a later successful compare-and-swap of this site, at this serial.
    locking: Option<u64>,
    in_flight: Option<Sent>,
    gave_up: Option<(Gap, u64)>,
}

/// A compare-and-swap that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    gap: Gap,
}

/// A grant, or rather how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Until so much time has passed since the question.
    For(Duration),
    /// The promise is "never": no deadline.
    Unlimited,
}

/// Why nothing is granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGrant {
    /// The site's own lease was not renewed in time.
    #[error("this site's lease was not renewed in time")]
    LeaseLapsed,
    /// The record was not read since the last gap.
    #[error("the record was not read since the lease was last regained")]
    RecordNotRead,
    /// Another site is active.
    #[error("{active} is active")]
    OtherSite {
        /// Who is.
        active: SiteName,
    },
    /// The record's phase lets nobody write.
    #[error("nobody may write in phase {phase}")]
    Phase {
        /// Which phase.
        phase: Phase,
    },
    /// The record was not re-claimed since the last gap.
    #[error("the role was not re-claimed since the lease was last regained")]
    NotClaimed,
    /// The database was ordered to lock.
    #[error("the database was ordered to lock at serial {serial}")]
    Locking {
        /// The serial of the order.
        serial: u64,
    },
}

impl Claim {
    /// The record as last seen, current or not.
    pub const fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// The record as last seen, if a compare-and-swap may start from it.
    pub fn current(&self) -> Option<&View> {
        self.view.as_ref().filter(|v| v.stale_since.is_none() && self.in_flight.is_none())
    }

    /// Whether an own compare-and-swap is on its way.
    pub const fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether the guards of this policy have been ordered to lock, and at which serial.
    pub const fn locking(&self) -> Option<u64> {
        self.locking
    }

    /// The reply to a linearizable read, sent at `sent`, was received; returns whether it was taken. A reply that shows
    /// less than is known, to a read that was sent before that was known, was overtaken and changes nothing; one that was
    /// sent later shows an arbiter that has gone back, and is for the rules to judge. A read that was sent before the
    /// last gap ended does not count as one since that gap.
    pub fn read(
        &mut self,
        holder: &Holder,
        me: &SiteName,
        found: Option<(Record, RecordRevision)>,
        sent: Boottime,
        received: Boottime,
    ) -> bool {
        let overtaken = self.view.as_ref().is_some_and(|v| sent < v.received);
        let Some((record, revision)) = found else {
            if overtaken {
                return false;
            }
            self.view = None;
            self.claimed_in = None;
            self.locking = None;
            return true;
        };
        if overtaken && self.view.as_ref().is_some_and(|v| v.revision > revision) {
            return false;
        }
        if record.active != *me {
            self.locking = None;
        }
        let since_gap = holder.gap_ended().is_some_and(|ended| sent >= ended);
        // The same revision again: what was known of it stays known. A read from before the gap ended, whose reply comes
        // after an own write, takes nothing from that write.
        let known = self.view.as_ref().filter(|v| v.revision == revision);
        let gap = since_gap.then(|| holder.gap()).or_else(|| known.and_then(|v| v.gap));
        let stale_since = known.and_then(|v| v.stale_since).filter(|since| sent < *since);
        self.view = Some(View { record, revision, received, gap, stale_since });
        true
    }

    /// Whether the record as last seen was seen before the last gap ended: nothing is granted until it is read again.
    pub fn must_read(&self, holder: &Holder) -> bool {
        self.view.as_ref().is_some_and(|v| holder.gap_ended().is_some() && v.gap != Some(holder.gap()))
    }

    /// A compare-and-swap from the current view is being sent. Giving up the role begins with the sending: from now
    /// on nothing is granted unless a later own write succeeds.
    pub fn sending(&mut self, holder: &Holder, me: &SiteName, next: &Record) {
        self.in_flight = Some(Sent { gap: holder.gap() });
        if !next.lets_write(me) && !forgets("giving up begins with the sending") {
            self.claimed_in = None;
            self.gave_up = Some((holder.gap(), next.serial));
        }
    }

    /// The own compare-and-swap was applied.
    ///
    /// It re-claims the role only if it was sent after the reply to the renewal that ended the last gap, and if the
    /// lease has time left now. A view that is newer than this write stays: it shows what another site made of it.
    pub fn applied(
        &mut self,
        holder: &Holder,
        me: &SiteName,
        record: Record,
        revision: RecordRevision,
        now: Boottime,
    ) {
        let sent = self.in_flight.take();
        let fresh = sent.is_some_and(|s| s.gap == holder.gap() && holder.gap_ended().is_some());
        let newer = self.view.as_ref().filter(|v| v.revision > revision);
        let still_mine = newer.is_none_or(|v| v.record.lets_write(me));
        if record.lets_write(me) && still_mine && fresh && holder.remaining(now).is_some() {
            self.claimed_in = Some(holder.gap());
            self.locking = None;
        }
        if newer.is_some() {
            return;
        }
        if record.active != *me {
            self.locking = None;
        }
        self.view = Some(View {
            record,
            revision,
            received: now,
            gap: fresh.then(|| holder.gap()),
            stale_since: None,
        });
    }

    /// The own compare-and-swap lost to another write, or its outcome is unknown: read before writing again.
    pub fn lost_or_unknown(&mut self, now: Boottime) {
        if forgets("rolling back is a compare-and-swap") {
            self.locking = None;
        }
        self.in_flight = None;
        self.outdated(now);
    }

    /// The record may have changed (a watch said so): read before writing.
    pub const fn outdated(&mut self, now: Boottime) {
        if let Some(v) = &mut self.view {
            v.stale_since = Some(now);
        }
    }

    /// The same knowledge when `by` more has passed, told without moving the clock: every moment lies that much further
    /// back, at most at the machine's start. Only for a search that must see that two states differ in nothing but when.
    pub fn let_pass(&mut self, by: Duration) {
        if let Some(view) = &mut self.view {
            view.received = view.received - by;
            view.stale_since = view.stale_since.map(|t| t - by);
        }
    }

    /// The serial at which this process itself gave the role up, if its lease has not lapsed since.
    pub fn gave_up_at(&self, holder: &Holder) -> Option<u64> {
        self.gave_up.filter(|(gap, _)| *gap == holder.gap()).map(|(_, serial)| serial)
    }

    /// Guards are ordered to lock: nothing is granted until a later own write succeeds.
    pub fn lock_ordered(&mut self, serial: u64) {
        self.locking.get_or_insert(serial);
    }

    /// Whether the role is this site's, but must be re-claimed by a compare-and-swap before anything is granted.
    pub fn must_reclaim(&self, holder: &Holder, me: &SiteName) -> bool {
        self.view.as_ref().is_some_and(|v| v.record.active == *me)
            && (self.claimed_in != Some(holder.gap()) || holder.gap_ended().is_none())
    }

    /// The holder's rule: whether this site grants at `now`, and for how long.
    pub fn grant(&self, holder: &Holder, me: &SiteName, now: Boottime) -> Result<Grant, NoGrant> {
        self.grant_as(holder, me, now, false)
    }

    /// [`Claim::grant`], but with a deadline even under the promise "never": a promise is strengthened by behaving so
    /// first.
    pub fn grant_as(
        &self,
        holder: &Holder,
        me: &SiteName,
        now: Boottime,
        deadline_wanted: bool,
    ) -> Result<Grant, NoGrant> {
        let view = self.view.as_ref().ok_or(NoGrant::RecordNotRead)?;
        if view.record.active != *me {
            return Err(NoGrant::OtherSite { active: view.record.active.clone() });
        }
        if !view.record.phase.grants() && !forgets("the phase is looked at before granting") {
            return Err(NoGrant::Phase { phase: view.record.phase.clone() });
        }
        if let Some(serial) = self.locking {
            return Err(NoGrant::Locking { serial });
        }
        let mut remaining = holder.remaining(now).ok_or(NoGrant::LeaseLapsed)?;
        if forgets("a grant ends with the lease") {
            return Ok(Grant::Unlimited);
        }
        if view.gap != Some(holder.gap()) {
            return Err(NoGrant::RecordNotRead);
        }
        if self.claimed_in != Some(holder.gap()) && !forgets("a role is re-claimed after a gap") {
            return Err(NoGrant::NotClaimed);
        }
        match view.record.promise.fences {
            Fences::Never if deadline_wanted => Ok(Grant::For(remaining)),
            Fences::Never => Ok(Grant::Unlimited),
            Fences::Within { holder: promised, .. } => {
                // The record's promise binds, whatever this operator was configured with since.
                let within = holder.remaining_within(now, promised.duration()).ok_or(NoGrant::LeaseLapsed)?;
                remaining = remaining.min(within);
                Ok(Grant::For(remaining))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    const R: Duration = Duration::from_secs(1);

    fn ms(n: u64) -> Boottime {
        Boottime::from_millis(n)
    }

    fn site(name: &str) -> SiteName {
        name.try_into().unwrap()
    }

    fn in_phase(phase: Phase) -> Record {
        Record { phase, ..sample() }
    }

    /// Paris, its lease renewed, the record read and claimed.
    fn claimed(phase: Phase) -> (Holder, Claim) {
        let (mut h, mut c) = (Holder::new(R), Claim::default());
        h.renewed(ms(0), ms(5));
        c.read(&h, &site("paris"), Some((in_phase(phase.clone()), 1)), ms(6), ms(8));
        c.sending(&h, &site("paris"), &in_phase(phase.clone()));
        c.applied(&h, &site("paris"), in_phase(phase), 2, ms(10));
        (h, c)
    }

    #[test]
    fn a_claimed_role_is_granted_until_r_after_the_last_renewal_was_sent() {
        let (h, c) = claimed(Phase::Steady);
        assert_eq!(c.grant(&h, &site("paris"), ms(400)), Ok(Grant::For(Duration::from_millis(600))));
        assert_eq!(c.grant(&h, &site("paris"), ms(1000)), Err(NoGrant::LeaseLapsed));
    }

    #[test]
    fn a_restarted_operator_grants_nothing_before_it_has_re_claimed() {
        let (mut h, mut c) = (Holder::new(R), Claim::default());
        assert_eq!(c.grant(&h, &site("paris"), ms(0)), Err(NoGrant::RecordNotRead));
        h.renewed(ms(0), ms(5));
        c.read(&h, &site("paris"), Some((sample(), 1)), ms(6), ms(8));
        assert_eq!(c.grant(&h, &site("paris"), ms(9)), Err(NoGrant::NotClaimed));
        assert!(c.must_reclaim(&h, &site("paris")));
    }

    #[test]
    fn after_a_gap_a_record_read_before_it_grants_nothing() {
        let (mut h, c) = claimed(Phase::Steady);
        h.renewed(ms(1200), ms(1205));
        assert_eq!(c.grant(&h, &site("paris"), ms(1210)), Err(NoGrant::RecordNotRead));
    }

    #[test]
    fn a_read_sent_before_the_gap_ended_is_not_one_since_the_gap() {
        let (mut h, mut c) = claimed(Phase::Steady);
        h.renewed(ms(1200), ms(1205));
        c.read(&h, &site("paris"), Some((sample(), 2)), ms(1204), ms(1210));
        assert_eq!(c.grant(&h, &site("paris"), ms(1211)), Err(NoGrant::RecordNotRead));
    }

    #[test]
    fn a_read_from_before_the_gap_ended_takes_nothing_from_an_own_write_since() {
        let (mut h, mut c) = claimed(Phase::Steady);
        h.renewed(ms(1200), ms(1205));
        c.sending(&h, &site("paris"), &sample());
        c.applied(&h, &site("paris"), sample(), 3, ms(1215));
        c.read(&h, &site("paris"), Some((sample(), 3)), ms(1204), ms(1216));
        assert!(c.grant(&h, &site("paris"), ms(1217)).is_ok());
        assert!(!c.must_read(&h));
    }

    #[test]
    fn after_a_gap_a_record_from_before_it_must_be_read() {
        let (mut h, mut c) = claimed(Phase::Steady);
        assert!(!c.must_read(&h));
        h.renewed(ms(1200), ms(1205));
        assert!(c.must_read(&h));
        c.read(&h, &site("paris"), Some((sample(), 2)), ms(1204), ms(1210));
        assert!(c.must_read(&h));
        c.read(&h, &site("paris"), Some((sample(), 2)), ms(1206), ms(1212));
        assert!(!c.must_read(&h));
    }

    #[test]
    fn after_a_gap_a_read_is_not_enough_a_re_claim_is_needed() {
        let (mut h, mut c) = claimed(Phase::Steady);
        h.renewed(ms(1200), ms(1205));
        c.read(&h, &site("paris"), Some((sample(), 2)), ms(1206), ms(1210));
        assert_eq!(c.grant(&h, &site("paris"), ms(1211)), Err(NoGrant::NotClaimed));
        c.sending(&h, &site("paris"), &sample());
        c.applied(&h, &site("paris"), sample(), 3, ms(1215));
        assert!(c.grant(&h, &site("paris"), ms(1216)).is_ok());
    }

    #[test]
    fn a_re_claim_sent_before_the_renewal_that_ended_the_gap_does_not_count() {
        let (mut h, mut c) = claimed(Phase::Steady);
        c.sending(&h, &site("paris"), &sample());
        h.renewed(ms(1200), ms(1205));
        c.applied(&h, &site("paris"), sample(), 3, ms(1206));
        assert!(c.grant(&h, &site("paris"), ms(1207)).is_err());
        assert!(c.must_reclaim(&h, &site("paris")));
    }

    #[test]
    fn a_re_claim_whose_reply_comes_after_the_lease_lapsed_does_not_count() {
        let (mut h, mut c) = claimed(Phase::Steady);
        h.renewed(ms(1200), ms(1205));
        c.read(&h, &site("paris"), Some((sample(), 2)), ms(1206), ms(1207));
        c.sending(&h, &site("paris"), &sample());
        c.applied(&h, &site("paris"), sample(), 3, ms(2300));
        assert!(c.must_reclaim(&h, &site("paris")));
    }

    #[test]
    fn the_phase_is_looked_at_before_granting() {
        for phase in [Phase::Handover, Phase::ReadOnly, Phase::Offered, Phase::Withdrawn] {
            let (h, c) = claimed(phase.clone());
            assert_eq!(c.grant(&h, &site("paris"), ms(20)), Err(NoGrant::Phase { phase }));
        }
    }

    #[test]
    fn another_site_grants_nothing() {
        let (h, c) = claimed(Phase::Steady);
        let e = c.grant(&h, &site("lyon"), ms(20));
        assert_eq!(e, Err(NoGrant::OtherSite { active: site("paris") }));
    }

    #[test]
    fn from_the_order_to_lock_until_a_later_own_write_nothing_is_granted() {
        let (h, mut c) = claimed(Phase::Requested);
        c.lock_ordered(1);
        assert_eq!(c.grant(&h, &site("paris"), ms(20)), Err(NoGrant::Locking { serial: 1 }));
        c.read(&h, &site("paris"), Some((in_phase(Phase::Requested), 2)), ms(21), ms(22));
        assert!(c.grant(&h, &site("paris"), ms(23)).is_err(), "a read does not unlock");
        c.sending(&h, &site("paris"), &in_phase(Phase::Steady));
        assert!(c.grant(&h, &site("paris"), ms(24)).is_err(), "sending the rollback does not unlock");
        c.applied(&h, &site("paris"), in_phase(Phase::Steady), 3, ms(25));
        assert!(c.grant(&h, &site("paris"), ms(26)).is_ok());
    }

    #[test]
    fn giving_the_role_up_begins_with_the_sending() {
        for phase in [Phase::Handover, Phase::Offered, Phase::Withdrawn] {
            let (h, mut c) = claimed(Phase::Requested);
            c.sending(&h, &site("paris"), &in_phase(phase));
            assert_eq!(c.grant(&h, &site("paris"), ms(20)), Err(NoGrant::NotClaimed));
            c.lost_or_unknown(ms(21));
            c.read(&h, &site("paris"), Some((in_phase(Phase::Requested), 2)), ms(21), ms(22));
            assert_eq!(
                c.grant(&h, &site("paris"), ms(23)),
                Err(NoGrant::NotClaimed),
                "only an own write takes it back"
            );
        }
    }

    #[test]
    fn nothing_is_written_from_a_view_that_may_be_overtaken() {
        let (h, mut c) = claimed(Phase::Steady);
        c.sending(&h, &site("paris"), &sample());
        assert!(c.current().is_none(), "one write at a time");
        c.lost_or_unknown(ms(20));
        assert!(c.current().is_none(), "unknown is resolved by reading");
        c.read(&h, &site("paris"), Some((sample(), 2)), ms(19), ms(25));
        assert!(c.current().is_none(), "by a read that was sent since");
        c.read(&h, &site("paris"), Some((sample(), 3)), ms(30), ms(31));
        assert!(c.current().is_some());
    }

    #[test]
    fn a_reply_that_a_later_write_has_overtaken_changes_nothing() {
        let (h, mut c) = claimed(Phase::Steady);
        c.read(&h, &site("paris"), Some((in_phase(Phase::ReadOnly), 1)), ms(7), ms(40));
        assert_eq!(c.view().unwrap().record.phase, Phase::Steady);
    }

    #[test]
    fn a_later_read_that_shows_less_is_taken_for_the_rules_to_judge() {
        let (h, mut c) = claimed(Phase::Steady);
        c.read(&h, &site("paris"), Some((sample(), 9)), ms(30), ms(31));
        let mut old = sample();
        old.serial = 0;
        assert!(!c.read(&h, &site("paris"), Some((old.clone(), 4)), ms(30), ms(40)), "it was overtaken");
        assert!(c.read(&h, &site("paris"), Some((old, 4)), ms(31), ms(41)));
        assert_eq!(c.current().unwrap().record.serial, 0);
    }

    #[test]
    fn an_old_read_that_found_no_record_does_not_hide_the_one_that_was_written_since() {
        let (h, mut c) = claimed(Phase::Steady);
        assert!(!c.read(&h, &site("paris"), None, ms(7), ms(40)));
        assert!(c.view().is_some());
    }

    #[test]
    fn a_reply_to_an_own_write_does_not_hide_what_another_site_wrote_since() {
        let (h, mut c) = claimed(Phase::Steady);
        c.lock_ordered(1);
        c.sending(&h, &site("paris"), &sample());
        c.read(&h, &site("paris"), Some((in_phase(Phase::ReadOnly), 7)), ms(30), ms(31));
        c.applied(&h, &site("paris"), sample(), 6, ms(32));
        let view = c.current().unwrap();
        assert_eq!((view.record.phase.clone(), view.revision), (Phase::ReadOnly, 7));
        assert!(c.grant(&h, &site("paris"), ms(33)).is_err());
        assert_eq!(c.locking(), Some(1), "a role that was given up since unlocks nothing");
    }

    #[test]
    fn an_own_write_counts_although_a_move_was_noted_before_its_reply() {
        let (mut h, mut c) = (Holder::new(R), Claim::default());
        h.renewed(ms(0), ms(5));
        c.read(&h, &site("paris"), Some((sample(), 1)), ms(6), ms(7));
        c.sending(&h, &site("paris"), &sample());
        c.read(&h, &site("paris"), Some((in_phase(Phase::Requested), 3)), ms(8), ms(9));
        assert!(c.grant(&h, &site("paris"), ms(9)).is_err());
        c.applied(&h, &site("paris"), sample(), 2, ms(10));
        assert_eq!(c.view().unwrap().record.phase, Phase::Requested);
        assert!(c.grant(&h, &site("paris"), ms(11)).is_ok());
    }

    #[test]
    fn the_promise_never_has_no_deadline() {
        let (h, mut c) = claimed(Phase::Steady);
        let mut never = sample();
        never.promise.fences = Fences::Never;
        c.sending(&h, &site("paris"), &never);
        c.applied(&h, &site("paris"), never, 3, ms(30));
        assert_eq!(c.grant(&h, &site("paris"), ms(40)), Ok(Grant::Unlimited));
    }

    #[test]
    fn a_write_that_keeps_the_role_interrupts_no_grant() {
        let (h, mut c) = claimed(Phase::Steady);
        c.sending(&h, &site("paris"), &sample());
        assert!(c.grant(&h, &site("paris"), ms(20)).is_ok());
        assert_eq!(c.gave_up_at(&h), None);
    }

    #[test]
    fn a_write_is_on_its_way_until_what_became_of_it_is_known_or_given_up() {
        let (h, mut c) = claimed(Phase::Steady);
        assert!(!c.is_writing());
        c.sending(&h, &site("paris"), &sample());
        assert!(c.is_writing());
        c.lost_or_unknown(ms(20));
        assert!(!c.is_writing());
        c.sending(&h, &site("paris"), &sample());
        c.applied(&h, &site("paris"), sample(), 3, ms(30));
        assert!(!c.is_writing());
    }

    #[test]
    fn a_read_that_was_sent_as_the_record_was_said_to_have_changed_is_since() {
        let (h, mut c) = claimed(Phase::Steady);
        c.outdated(ms(20));
        c.read(&h, &site("paris"), Some((sample(), 2)), ms(20), ms(25));
        assert!(c.current().is_some());
    }

    #[test]
    fn an_own_write_counts_although_a_read_from_before_the_gap_ended_showed_it_first() {
        let (mut h, mut c) = claimed(Phase::Steady);
        h.renewed(ms(1200), ms(1205));
        c.sending(&h, &site("paris"), &sample());
        c.read(&h, &site("paris"), Some((sample(), 3)), ms(1204), ms(1213));
        c.applied(&h, &site("paris"), sample(), 3, ms(1215));
        assert!(c.grant(&h, &site("paris"), ms(1216)).is_ok());
    }

    #[test]
    fn a_write_that_hands_the_role_over_unlocks_nothing() {
        let (h, mut c) = claimed(Phase::Requested);
        c.lock_ordered(1);
        c.sending(&h, &site("paris"), &in_phase(Phase::Handover));
        c.applied(&h, &site("paris"), in_phase(Phase::Handover), 3, ms(25));
        assert_eq!(c.locking(), Some(1));
    }

    #[test]
    fn the_promise_never_has_a_deadline_where_one_is_wanted() {
        let (h, mut c) = claimed(Phase::Steady);
        let mut never = sample();
        never.promise.fences = Fences::Never;
        c.sending(&h, &site("paris"), &never);
        c.applied(&h, &site("paris"), never, 3, ms(30));
        let grant = c.grant_as(&h, &site("paris"), ms(400), true);
        assert_eq!(grant, Ok(Grant::For(Duration::from_millis(600))));
    }

    #[test]
    fn what_happened_and_then_let_pass_is_what_had_happened_earlier() {
        let known_from = |start: u64| {
            let (mut h, mut c) = (Holder::new(R), Claim::default());
            h.renewed(ms(start), ms(start + 5));
            c.read(&h, &site("paris"), Some((sample(), 1)), ms(start + 6), ms(start + 8));
            c.outdated(ms(start + 9));
            c
        };
        let mut later = known_from(900);
        later.let_pass(Duration::from_millis(400));
        assert_eq!(format!("{later:?}"), format!("{:?}", known_from(500)));
    }
}
