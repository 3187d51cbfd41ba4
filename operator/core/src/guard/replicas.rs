//! How far are the replicas behind this primary, by its own log and clock?

use std::collections::VecDeque;
use std::time::Duration;

use super::wire::Behind;
use crate::few::Few;
use crate::position::Lsn;
use crate::time::{Boottime, Millis};

/// How far apart two remembered moments are at least.
const APART: Duration = Duration::from_millis(50);
/// How many moments are remembered; when there are more, every second one of the past is forgotten.
const REMEMBERED: usize = 4096;

/// What the primary had flushed, and when.
#[derive(Clone, Debug, Default)]
pub struct Flushed {
    /// Each: nothing past this was flushed at that moment. In order of both.
    moments: VecDeque<(Boottime, Lsn)>,
}

impl Flushed {
    /// Takes a reading of a primary: what it has flushed, and what each replica has confirmed, by slot. The reading was
    /// begun at `at`, so nothing in it is older.
    pub fn take(&mut self, flush: Lsn, confirmed: &[(String, Lsn)], at: Boottime) -> Few<String, Behind> {
        if self.moments.back().is_none_or(|(last, lsn)| flush > *lsn && at.since(*last) >= APART) {
            self.moments.push_back((at, flush));
        }
        if self.moments.len() > REMEMBERED {
            let mut keep = false;
            self.moments.retain(|_| {
                keep = !keep;
                keep
            });
        }
        confirmed.iter().map(|(slot, lsn)| (slot.clone(), self.behind(flush, *lsn, at))).collect()
    }

    fn behind(&self, flush: Lsn, confirmed: Lsn, at: Boottime) -> Behind {
        let bytes = flush.ahead_of(confirmed);
        if bytes == 0 {
            return Behind { bytes, time: Some(Millis(0)) };
        }
        let passed = self.moments.partition_point(|(_, lsn)| *lsn <= confirmed);
        let then = passed.checked_sub(1).and_then(|i| self.moments.get(i));
        Behind { bytes, time: then.map(|(moment, _)| Millis::from(at.since(*moment))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Boottime {
        Boottime::from_millis(n)
    }

    fn lyon(lsn: u64) -> Vec<(String, Lsn)> {
        vec![("bascule_lyon".to_owned(), Lsn(lsn))]
    }

    #[test]
    fn a_replica_is_as_far_behind_in_time_as_what_it_has_confirmed_is_old() {
        let mut flushed = Flushed::default();
        for second in 0..10 {
            let seen = flushed.take(Lsn(1000 + second * 100), &lyon(1000 + second * 100), ms(second * 1000));
            assert_eq!(seen["bascule_lyon"], Behind { bytes: 0, time: Some(Millis(0)) });
        }
        let seen = flushed.take(Lsn(1900), &lyon(1650), ms(9_500));
        assert_eq!(seen["bascule_lyon"], Behind { bytes: 250, time: Some(Millis(3_500)) });
    }

    #[test]
    fn what_was_confirmed_before_anybody_looked_is_of_unknown_age() {
        let mut flushed = Flushed::default();
        let seen = flushed.take(Lsn(5000), &lyon(10), ms(1));
        assert_eq!(seen["bascule_lyon"], Behind { bytes: 4990, time: None });
    }

    #[test]
    fn an_idle_primary_makes_no_lag_and_no_memory() {
        let mut flushed = Flushed::default();
        for n in 0..100_000 {
            flushed.take(Lsn(7), &lyon(7), ms(n * 20));
        }
        assert_eq!(flushed.moments.len(), 1);
    }

    #[test]
    fn memory_is_bounded_and_forgetting_rounds_up() {
        let mut flushed = Flushed::default();
        for n in 0..20_000_u64 {
            flushed.take(Lsn(n), &[], ms(n * 60));
        }
        assert!(flushed.moments.len() <= REMEMBERED + 1);
        let seen = flushed.take(Lsn(20_000), &lyon(10_000), ms(20_000 * 60));
        let time = seen["bascule_lyon"].time.unwrap();
        assert!(time >= Millis(10_000 * 60), "{time}");
    }

    #[test]
    fn as_many_moments_as_fit_are_remembered_and_then_every_second_one() {
        let mut flushed = Flushed::default();
        for n in 0..REMEMBERED as u64 {
            flushed.take(Lsn(n + 1), &[], ms(n * 50));
        }
        assert_eq!(flushed.moments.len(), REMEMBERED);
        flushed.take(Lsn(REMEMBERED as u64 + 1), &[], ms(REMEMBERED as u64 * 50));
        assert_eq!(flushed.moments.len(), REMEMBERED / 2 + 1);
    }
}
