//! When does a spare replica of a site's operator take over from the one that acts?
//!
//! One replica of a site acts at a time: it renews the site's lease, answers guards, writes records and does steps. The
//! others stand by. Who acts is written in the arbiter, in one key for each site, which the acting replica writes again
//! with every renewal of the site's lease.
//!
//! **Nothing here says who may write to a database.** A replica that takes over is to the protocol what an operator that has
//! just started is: it is in a gap, reads everything anew and re-claims by compare-and-swap. Taking over too early costs a
//! restart of the other one and no more. What is decided here keeps a site quiet.
//!
//! A spare takes over when
//!
//! - nobody acts: the acting replica has handed over, or there never was one; or
//! - the process of the acting replica is gone, as the machine that it ran on says. It must have been reached there before:
//!   what refuses a replica that was never reached may be a firewall, and two replicas behind one would take over from each
//!   other for ever; or
//! - the key has been unchanged for longer than `R`, counted from the *receipt* of the first read to the *sending* of the
//!   last, by an unbroken series of the spare's own linearizable reads. The acting replica's lease has run out by then: it
//!   grants nothing and does no step, also if it was only frozen.

use std::time::Duration;

use crate::time::Boottime;
use crate::timing::Timing;

/// The arbiter's revision of the key that says who acts.
pub type ActingRevision = i64;

/// What the machine at the acting replica's address says of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// A process listens there. It may stand still.
    Listens,
    /// Nobody listens there, or somebody in between says so.
    Refuses,
    /// The spare itself listens there by now: the other process is gone.
    IsOurs,
    /// Nothing: it has not answered, or was not asked.
    Silent,
}

/// What a read of that key found of another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acts<'a> {
    /// Which process acts.
    pub replica: &'a str,
    /// The key's revision: another one after each renewal.
    pub revision: ActingRevision,
    /// What is said of that process.
    pub machine: Machine,
}

/// What a spare does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another one acts, or it is not known.
    Wait,
    /// Take over, if the key is still at this revision; `None`: if there is none.
    Take(Option<ActingRevision>),
}

/// A spare's view of the replica that acts, by its own linearizable reads only.
#[derive(Clone, Debug)]
pub struct Spare {
    silence: Duration,
    longest_break: Duration,
    series: Option<Series>,
    /// The replica that was reached at its address.
    reached: Option<String>,
}

/// An unbroken series of reads that all found the same revision.
#[derive(Clone, Copy, Debug)]
struct Series {
    revision: ActingRevision,
    first_received: Boottime,
    last_sent: Boottime,
}

impl Spare {
    /// A spare that has read nothing. Its series breaks when two reads are sent more than `4 Tq` apart: a read, a claim of
    /// the site's name and a try to take over that failed may lie between them. Such a try says nothing about the acting
    /// replica: its silence is not waited for anew.
    pub fn new(timing: &Timing) -> Self {
        Self { silence: Self::silence(timing), longest_break: timing.tq() * 4, series: None, reached: None }
    }

    /// How long the acting replica must have been silent: `R + p`, so that its lease has run out by its own clock, however
    /// wrong the rate of one of the two clocks may be.
    pub fn silence(timing: &Timing) -> Duration {
        timing.r() + timing.p()
    }

    /// A read succeeded: sent at `sent`, its reply received at `received`. `None`: nobody acts.
    pub fn read(&mut self, sent: Boottime, received: Boottime, found: Option<Acts<'_>>) -> Turn {
        let Some(found) = found else {
            self.series = None;
            return Turn::Take(None);
        };
        let unbroken = |s: &Series| sent.since(s.last_sent) <= self.longest_break;
        let series = match self.series.filter(|s| s.revision == found.revision && unbroken(s)) {
            Some(series) => Series { last_sent: sent, ..series },
            None => Series { revision: found.revision, first_received: received, last_sent: sent },
        };
        self.series = Some(series);
        let silent = series.last_sent.since(series.first_received) >= self.silence;
        let gone = match found.machine {
            Machine::Listens => {
                self.reached = Some(found.replica.to_owned());
                false
            }
            Machine::Refuses => self.reached.as_deref() == Some(found.replica),
            Machine::IsOurs => true,
            Machine::Silent => false,
        };
        if gone || silent { Turn::Take(Some(found.revision)) } else { Turn::Wait }
    }

    /// A read failed or its answer is unknown. It is not "unchanged": the series starts over at zero.
    pub const fn failed(&mut self) {
        self.series = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::{CLOCK_RATE_ERROR_PERCENT, Profile};

    const TIMING: Timing = Profile::Metro.timing();

    fn ms(n: u64) -> Boottime {
        Boottime::from_millis(n)
    }

    const fn acts(revision: ActingRevision) -> Acts<'static> {
        Acts { replica: "a", revision, machine: Machine::Silent }
    }

    const fn says(replica: &str, revision: ActingRevision, machine: Machine) -> Acts<'_> {
        Acts { replica, revision, machine }
    }

    /// Reads every 250 ms from `from` to `to`, each answered within 2 ms; what the last one said.
    fn reads(spare: &mut Spare, from: u64, to: u64, found: Option<Acts<'_>>) -> Turn {
        (from..=to).step_by(250).map(|t| spare.read(ms(t), ms(t + 2), found)).last().unwrap()
    }

    #[test]
    fn a_role_that_nobody_has_is_taken_at_once() {
        let mut spare = Spare::new(&TIMING);
        assert_eq!(spare.read(ms(0), ms(1), None), Turn::Take(None));
    }

    #[test]
    fn a_replica_that_renews_is_left_alone() {
        let mut spare = Spare::new(&TIMING);
        for n in 0..100 {
            let t = n * 250;
            assert_eq!(spare.read(ms(t), ms(t + 2), Some(acts(i64::try_from(n).unwrap()))), Turn::Wait);
        }
    }

    #[test]
    fn a_silent_replica_is_followed_once_its_lease_has_run_out_and_not_before() {
        let mut spare = Spare::new(&TIMING);
        let silence = u64::try_from(Spare::silence(&TIMING).as_millis()).unwrap();
        assert_eq!(reads(&mut spare, 0, silence, Some(acts(7))), Turn::Wait);
        assert_eq!(spare.read(ms(silence + 2), ms(silence + 4), Some(acts(7))), Turn::Take(Some(7)));
    }

    #[test]
    fn the_silence_outlasts_the_lease_by_any_two_clocks() {
        for profile in [Profile::Metro, Profile::Region, Profile::Wan, Profile::Conservative] {
            let timing = profile.timing();
            let error = u32::try_from(CLOCK_RATE_ERROR_PERCENT).unwrap();
            let lease = timing.r() * (100 + error) / (100 - error);
            assert!(Spare::silence(&timing) > lease, "{profile}");
            // A site whose replica dies is not taken for lost.
            assert!(Spare::silence(&timing) < timing.l(), "{profile}");
        }
    }

    #[test]
    fn a_renewal_a_failed_read_and_a_break_start_the_silence_over() {
        let renewed = |s: &mut Spare| {
            s.read(ms(1_300), ms(1_302), Some(acts(8)));
            reads(s, 1_500, 2_700, Some(acts(8)))
        };
        let failed = |s: &mut Spare| {
            s.failed();
            reads(s, 1_500, 2_700, Some(acts(7)))
        };
        let broken = |s: &mut Spare| reads(s, 2_300, 3_550, Some(acts(7)));
        for then in [renewed, failed, broken] {
            let mut spare = Spare::new(&TIMING);
            assert_eq!(reads(&mut spare, 0, 1_250, Some(acts(7))), Turn::Wait);
            assert_eq!(then(&mut spare), Turn::Wait);
        }
    }

    #[test]
    fn a_try_that_failed_is_made_again_without_another_silence() {
        let mut spare = Spare::new(&TIMING);
        assert_eq!(reads(&mut spare, 0, 1_750, Some(acts(7))), Turn::Take(Some(7)));
        // The read, the claim and the take have each had their whole deadline, on a loaded machine.
        let next = 1_750 + 3 * 250 + 200;
        assert_eq!(spare.read(ms(next), ms(next + 2), Some(acts(7))), Turn::Take(Some(7)));
        // Somebody else was first.
        assert_eq!(spare.read(ms(next + 250), ms(next + 252), Some(acts(8))), Turn::Wait);
    }

    #[test]
    fn a_process_that_is_gone_is_followed_at_once_and_only_from_the_revision_that_was_read() {
        let mut spare = Spare::new(&TIMING);
        assert_eq!(spare.read(ms(0), ms(1), Some(says("a", 8, Machine::Listens))), Turn::Wait);
        assert_eq!(spare.read(ms(250), ms(251), Some(says("a", 9, Machine::Refuses))), Turn::Take(Some(9)));
    }

    #[test]
    fn a_replica_that_was_never_reached_is_not_believed_to_be_gone() {
        let mut spare = Spare::new(&TIMING);
        assert_eq!(spare.read(ms(0), ms(1), Some(says("b", 7, Machine::Listens))), Turn::Wait);
        for n in 0..20 {
            let t = 250 + n * 250;
            let refused = says("a", 8 + i64::try_from(n).unwrap(), Machine::Refuses);
            assert_eq!(spare.read(ms(t), ms(t + 2), Some(refused)), Turn::Wait);
        }
    }

    #[test]
    fn a_process_whose_address_is_this_ones_own_is_gone() {
        let mut spare = Spare::new(&TIMING);
        assert_eq!(spare.read(ms(0), ms(1), Some(says("a", 9, Machine::IsOurs))), Turn::Take(Some(9)));
    }
}
