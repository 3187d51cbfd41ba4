//! The timing profile of an installation, and the inequalities that make silence mean "stopped".

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Millis, human};

/// The largest error of a clock's rate that the rules allow for, in percent.
pub const CLOCK_RATE_ERROR_PERCENT: u64 = 1;

/// A named set of timings for a round trip between the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Profile {
    /// Round trips up to 5 ms.
    Metro,
    /// Round trips up to 50 ms.
    Region,
    /// Round trips up to 250 ms. The default.
    Wan,
    /// Any round trip; slow to act.
    Conservative,
}

impl Profile {
    /// The timings of this profile.
    pub const fn timing(self) -> Timing {
        let (lost, period, call, holder, fence, guard, lease) = match self {
            Self::Metro => (3, 250, 250, 1_250, 300, 200, 2_000),
            Self::Region => (3, 500, 500, 2_500, 500, 500, 4_000),
            Self::Wan => (3, 1_000, 1_000, 5_000, 1_000, 1_000, 8_000),
            Self::Conservative => (5, 2_000, 2_000, 14_000, 5_000, 5_000, 30_000),
        };
        Timing {
            renewals_that_may_be_lost: lost,
            period: Millis(period),
            call: Millis(call),
            holder: Millis(holder),
            fence: Millis(fence),
            scheduling: Millis(guard),
            lease: Millis(lease),
        }
    }

    /// The longest election of the arbiter that fits this profile.
    pub const fn longest_election(self) -> Duration {
        Duration::from_millis(match self {
            Self::Metro => 350,
            Self::Region => 750,
            Self::Wan => 1_500,
            Self::Conservative => 5_000,
        })
    }

    /// The longest round trip between the places that this profile is made for; `None`: any.
    pub const fn longest_round_trip(self) -> Option<Duration> {
        match self {
            Self::Metro => Some(Duration::from_millis(5)),
            Self::Region => Some(Duration::from_millis(50)),
            Self::Wan => Some(Duration::from_millis(250)),
            Self::Conservative => None,
        }
    }

    /// The name used in settings and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metro => "metro",
            Self::Region => "region",
            Self::Wan => "wan",
            Self::Conservative => "conservative",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(s: &str) -> Result<Self, UnknownProfile> {
        [Self::Metro, Self::Region, Self::Wan, Self::Conservative]
            .into_iter()
            .find(|p| p.name() == s)
            .ok_or_else(|| UnknownProfile(s.to_owned()))
    }
}

/// The text names no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timing profile {0:?} is unknown: use metro, region, wan or conservative")]
pub struct UnknownProfile(String);

/// The timings of an installation, the same in every site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// `k`: how many renewals in a row may be lost without a consequence.
    pub renewals_that_may_be_lost: u32,
    /// `p`: the time between two renewals of a site lease.
    pub period: Millis,
    /// `Tq`: the deadline of one call to the arbiter.
    pub call: Millis,
    /// `R`: how long a holder may act after the sending of its last successful renewal.
    pub holder: Millis,
    /// `F`: the longest time a guard needs to stop its server, every process of it.
    pub fence: Millis,
    /// `G`: how late a process may be scheduled.
    pub scheduling: Millis,
    /// `L`: how long an observer must see a lease unchanged before it may take.
    pub lease: Millis,
}

/// An inequality that does not hold, with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {left} is not {relation} {right} ({consequence})")]
pub struct TimingViolation {
    rule: &'static str,
    left: String,
    relation: &'static str,
    right: String,
    consequence: &'static str,
}

impl Timing {
    /// `R`.
    pub const fn r(&self) -> Duration {
        self.holder.duration()
    }

    /// `F`.
    pub const fn f(&self) -> Duration {
        self.fence.duration()
    }

    /// `G`.
    pub const fn g(&self) -> Duration {
        self.scheduling.duration()
    }

    /// `L`.
    pub const fn l(&self) -> Duration {
        self.lease.duration()
    }

    /// `Tq`.
    pub const fn tq(&self) -> Duration {
        self.call.duration()
    }

    /// `p`.
    pub const fn p(&self) -> Duration {
        self.period.duration()
    }

    /// How long a withdrawn grant must have been silent on two machines' clocks: `(R+F+G)(1+rho)/(1-rho)`.
    pub fn withdrawal_wait(&self) -> Duration {
        (self.r() + self.f() + self.g()) * (100 + CLOCK_RATE_ERROR_PERCENT as u32)
            / (100 - CLOCK_RATE_ERROR_PERCENT as u32)
    }

    /// `V`: a message of replication younger than this comes from a server that its guard did not stop in time.
    /// Less than `L-R-F`, so that a server stopped in time never looks alive.
    pub fn veto_age(&self) -> Duration {
        self.l().saturating_sub(self.r() + self.f()) * 9 / 10
    }

    /// Everything that is wrong with these timings, given the arbiter's election timeout. Empty means: fit for use.
    pub fn violations(&self, election: Duration) -> Vec<TimingViolation> {
        let mut found = Vec::new();
        let mut want = |ok: bool, v: TimingViolation| {
            if !ok {
                found.push(v);
            }
        };
        let slowest = self.period.max(self.call).duration();
        let needed = slowest * (self.renewals_that_may_be_lost + 1) + self.tq();
        want(
            self.r() >= needed,
            TimingViolation {
                rule: "R >= (k+1)*max(p,Tq) + Tq",
                left: format!("R = {}", human(self.r())),
                relation: ">=",
                right: human(needed),
                consequence: "a few slow renewals would stop a healthy database",
            },
        );
        let needed = election * 2 + self.tq() * 2;
        want(
            self.r() >= needed,
            TimingViolation {
                rule: "R >= 2*election + 2*Tq",
                left: format!("R = {}", human(self.r())),
                relation: ">=",
                right: format!("{} with an election timeout of {}", human(needed), human(election)),
                consequence: "the loss of the arbiter's leader would stop healthy databases",
            },
        );
        let stop = self.r() + self.f() + self.g();
        let rho = CLOCK_RATE_ERROR_PERCENT as u32;
        let seen = self.l() * (100 - rho) / (100 + rho);
        want(
            stop <= seen,
            TimingViolation {
                rule: "R + F + G <= L*(1-rho)/(1+rho)",
                left: format!("R + F + G = {}", human(stop)),
                relation: "<=",
                right: format!("{} (L = {})", human(seen), human(self.l())),
                consequence: "a silent holder might still write when another site takes over",
            },
        );
        want(
            !self.period.duration().is_zero()
                && !self.call.duration().is_zero()
                && !self.fence.duration().is_zero(),
            TimingViolation {
                rule: "p, Tq, F > 0",
                left: format!("p = {}, Tq = {}, F = {}", self.period, self.call, self.fence),
                relation: ">",
                right: "0".to_owned(),
                consequence: "nothing can be done in no time",
            },
        );
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_fit_for_its_longest_election() {
        for p in [Profile::Metro, Profile::Region, Profile::Wan, Profile::Conservative] {
            assert_eq!(p.timing().violations(p.longest_election()), [], "{p}");
            assert_eq!(p.name().parse::<Profile>().unwrap(), p);
            assert_eq!(p.to_string(), p.name());
            assert_ne!(p.timing().violations(p.longest_election() * 2), [], "{p}");
        }
    }

    #[test]
    fn a_profile_gives_a_call_more_time_than_its_longest_round_trip() {
        for p in [Profile::Metro, Profile::Region, Profile::Wan] {
            assert!(p.longest_round_trip().unwrap() * 4 <= p.timing().tq(), "{p}");
        }
        assert_eq!(Profile::Conservative.longest_round_trip(), None);
    }

    #[test]
    fn a_lease_one_tick_short_is_refused_with_its_numbers() {
        let mut t = Profile::Metro.timing();
        t.lease = Millis(1_785);
        let found = t.violations(Duration::from_millis(350));
        assert_eq!(found.len(), 1);
        let text = found[0].to_string();
        assert!(text.contains("R + F + G = 1.7 s") && text.contains("L = 1.7 s"), "{text}");
    }

    #[test]
    fn a_slow_election_is_refused() {
        let found = Profile::Metro.timing().violations(Duration::from_secs(1));
        assert!(found[0].to_string().contains("election"), "{found:?}");
    }

    #[test]
    fn a_server_stopped_in_time_never_vetoes() {
        for p in [Profile::Metro, Profile::Region, Profile::Wan, Profile::Conservative] {
            let t = p.timing();
            assert!(t.veto_age() + t.r() + t.f() < t.l(), "{p}");
        }
    }

    #[test]
    fn the_wait_after_a_withdrawal_fits_into_l() {
        for p in [Profile::Metro, Profile::Region, Profile::Wan, Profile::Conservative] {
            assert!(p.timing().withdrawal_wait() <= p.timing().l(), "{p}");
        }
    }

    /// What is wrong with the metro profile after a change, by its rules, with an election of so many milliseconds.
    fn wrong(election: u64, change: impl FnOnce(&mut Timing)) -> Vec<&'static str> {
        let mut t = Profile::Metro.timing();
        change(&mut t);
        t.violations(Duration::from_millis(election)).iter().map(|v| v.rule).collect()
    }

    #[test]
    fn each_inequality_holds_up_to_its_last_millisecond() {
        let (renewals, election) = ("R >= (k+1)*max(p,Tq) + Tq", "R >= 2*election + 2*Tq");
        let (silence, time) = ("R + F + G <= L*(1-rho)/(1+rho)", "p, Tq, F > 0");
        assert_eq!(wrong(375, |_| {}), [""; 0]);
        assert_eq!(wrong(376, |_| {}), [election]);
        assert_eq!(wrong(350, |t| t.holder = Millis(1_249)), [renewals]);
        assert_eq!(wrong(350, |t| t.period = Millis(251)), [renewals]);
        assert_eq!(wrong(350, |t| t.call = Millis(251)), [renewals]);
        assert_eq!(wrong(350, |t| t.renewals_that_may_be_lost = 4), [renewals]);
        assert_eq!(wrong(350, |t| t.lease = Millis(1_786)), [""; 0]);
        assert_eq!(wrong(350, |t| t.lease = Millis(1_785)), [silence]);
        assert_eq!(wrong(350, |t| t.scheduling = Millis(411)), [silence]);
        assert_eq!(wrong(350, |t| t.period = Millis(0)), [time]);
        assert_eq!(wrong(350, |t| t.call = Millis(0)), [time]);
        assert_eq!(wrong(350, |t| t.fence = Millis(0)), [time]);
    }

    #[test]
    fn waits_are_what_their_formulas_say() {
        let t = Profile::Metro.timing();
        assert_eq!(t.withdrawal_wait(), Duration::from_millis(1_750) * 101 / 99);
        assert_eq!(t.veto_age(), Duration::from_millis(405));
    }
}
