//! A copy whose upstream does not say where their histories part: may it be started without that word?

use std::time::Duration;

use super::wire::{Cluster, ClusterState};
use crate::time::Boottime;

/// How long the upstream has to be silent before a copy that was killed as a primary is brought to a clean end without it.
/// Its recovery adds a checkpoint to its log, which costs a rewind that it might not have needed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came in place of the upstream's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    /// Nothing at all.
    Silent,
    /// It is a standby itself: where its own history will begin is not known yet.
    Undecided,
    /// It answers, and is not ready, or fell silent in between.
    NotReady,
}

/// What becomes of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is started as a standby that nobody feeds. It serves reads, and a person may have it promoted.
    Start,
    /// It was killed as a primary. It is brought to a clean end with all of its log, then looked at again: without a person,
    /// nothing promotes it on the strength of that.
    Recover,
    /// It stays down: the upstream will say.
    Wait,
}

/// How long the upstream has been silent.
#[derive(Clone, Debug, Default)]
pub struct Alone {
    silent: Option<Boottime>,
}

impl Alone {
    /// The upstream said where their histories part.
    pub const fn told(&mut self) {
        self.silent = None;
    }

    /// It did not. `strayed`: this copy is known to have left its history, which still holds.
    ///
    /// A copy that never left recovery has nothing of its own, and a primary that was shut down cleanly loses nothing that a
    /// rewind needs by running as a standby. One that was killed may have what nobody else has: it is kept, and once the copy
    /// has come to a clean end it stands as if it had been shut down.
    pub fn untold(&mut self, answer: Untold, cluster: &Cluster, strayed: bool, now: Boottime) -> Verdict {
        let since = match answer {
            Untold::Silent => *self.silent.get_or_insert(now),
            Untold::Undecided | Untold::NotReady => {
                self.silent = None;
                now
            }
        };
        if strayed || cluster.half_rewound {
            return Verdict::Wait;
        }
        match (answer, cluster.state) {
            (Untold::Silent | Untold::NotReady, _) if cluster.standby_signal => Verdict::Start,
            (Untold::Silent | Untold::Undecided, ClusterState::ShutDown) => Verdict::Start,
            (
                Untold::Silent,
                ClusterState::InProduction | ClusterState::InCrashRecovery | ClusterState::ShuttingDown,
            ) if now.since(since) >= PATIENCE => Verdict::Recover,
            _ => Verdict::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Lsn, SystemId, Timeline};

    fn cluster(state: ClusterState, standby_signal: bool) -> Cluster {
        Cluster {
            system_id: SystemId(1),
            timeline: Timeline(1),
            state,
            checkpoint: Lsn(100),
            standby_signal,
            half_rewound: false,
        }
    }

    const AT: Boottime = Boottime::from_millis(60_000);

    fn at_once(answer: Untold, cluster: &Cluster, strayed: bool) -> Verdict {
        Alone::default().untold(answer, cluster, strayed, AT)
    }

    #[test]
    fn a_copy_starts_without_its_upstreams_word_only_if_it_can_have_nothing_of_its_own_or_ended_cleanly() {
        use ClusterState::{InArchiveRecovery, InProduction, ShutDown, ShutDownInRecovery};
        use Untold::{NotReady, Silent, Undecided};
        use Verdict::{Start, Wait};
        let table = [
            (Silent, InArchiveRecovery, true, Start),
            (NotReady, ShutDownInRecovery, true, Start),
            (Undecided, InArchiveRecovery, true, Wait),
            (Silent, ShutDown, false, Start),
            (Undecided, ShutDown, false, Start),
            (NotReady, ShutDown, false, Wait),
            (Silent, InProduction, false, Wait),
            (Undecided, InProduction, false, Wait),
            (NotReady, InProduction, false, Wait),
            (Silent, ShutDownInRecovery, false, Wait),
        ];
        for (answer, state, signal, expected) in table {
            assert_eq!(
                at_once(answer, &cluster(state, signal), false),
                expected,
                "{answer:?} {state:?} {signal}"
            );
        }
    }

    #[test]
    fn what_has_strayed_or_is_half_rewound_waits_for_its_upstream() {
        let half = Cluster { half_rewound: true, ..cluster(ClusterState::InArchiveRecovery, true) };
        assert_eq!(at_once(Untold::Silent, &half, false), Verdict::Wait);
        for state in [ClusterState::ShutDown, ClusterState::InArchiveRecovery, ClusterState::InProduction] {
            let mut alone = Alone::default();
            for second in 0..60 {
                let now = AT + Duration::from_secs(second);
                assert_eq!(alone.untold(Untold::Silent, &cluster(state, true), true, now), Verdict::Wait);
            }
        }
    }

    #[test]
    fn a_copy_that_was_killed_as_a_primary_is_recovered_after_ten_silent_seconds_in_a_row() {
        let killed = [ClusterState::InProduction, ClusterState::InCrashRecovery, ClusterState::ShuttingDown];
        for state in killed {
            let mut alone = Alone::default();
            let mut after = |answer, seconds| {
                alone.untold(answer, &cluster(state, false), false, AT + Duration::from_secs(seconds))
            };
            assert_eq!(after(Untold::Silent, 0), Verdict::Wait);
            assert_eq!(after(Untold::Silent, 9), Verdict::Wait);
            assert_eq!(after(Untold::Undecided, 9), Verdict::Wait);
            assert_eq!(after(Untold::Silent, 11), Verdict::Wait);
            assert_eq!(after(Untold::Silent, 20), Verdict::Wait);
            assert_eq!(after(Untold::Silent, 21), Verdict::Recover);
            alone.told();
            assert_eq!(
                alone.untold(Untold::Silent, &cluster(state, false), false, AT + Duration::from_secs(22)),
                Verdict::Wait
            );
        }
    }
}
