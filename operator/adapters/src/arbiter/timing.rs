//! How fast the members elect, for each timing profile: what `bascule arbiter init` and the chart make them run with.

use std::time::Duration;

use bascule_core::timing::Profile;

/// The two settings of etcd that decide how long the arbiter is without a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberTiming {
    /// How often a leader shows that it lives: `--heartbeat-interval`.
    pub heartbeat: Duration,
    /// How long its silence lasts before another one is elected: `--election-timeout`.
    pub election: Duration,
}

impl MemberTiming {
    /// What the members run with under a profile: an election below the longest that the profile holds with, and ten
    /// heartbeats in it.
    pub const fn of(profile: Profile) -> Self {
        let election = match profile {
            Profile::Metro => 300,
            Profile::Region => 700,
            Profile::Wan => 1_000,
            Profile::Conservative => 3_000,
        };
        Self { heartbeat: Duration::from_millis(election / 10), election: Duration::from_millis(election) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_holds_with_the_members_timing_and_etcd_takes_it() {
        for profile in [Profile::Metro, Profile::Region, Profile::Wan, Profile::Conservative] {
            let timing = MemberTiming::of(profile);
            assert!(timing.election <= profile.longest_election(), "{profile}");
            assert_eq!(profile.timing().violations(timing.election), [], "{profile}");
            // etcd refuses to start with less than five heartbeats in an election, or with more than 50 s.
            assert!(timing.heartbeat * 5 <= timing.election && timing.election < Duration::from_secs(50));
        }
    }
}
