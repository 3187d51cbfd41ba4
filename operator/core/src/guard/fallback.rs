//! No operator answers: may the guard ask the arbiter itself? Only to extend a grant that has not run out.
//!
//! The record is read first, then the site's lease is renewed, and the new deadline is `R` after the *send of that
//! read*: one read allows one extension. The guard never claims anything.

use std::time::Duration;

use super::wire::HighWater;
use crate::mutant::forgets;
use crate::record::Fences;
use crate::time::Boottime;

/// What the record says, as far as the guard needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// This site is the active one.
    pub active_here: bool,
    /// The phase is one in which the active site may write: `Steady`, `Requested`, `Returning` or `Promoting`.
    pub phase_grants: bool,
    /// What the active site has promised: an extension must not outlast it, whatever this site is set to.
    pub fences: Fences,
    /// The record's epoch, serial and generation.
    pub marks: HighWater,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Read the record now, under the deadline `Tq`; the answer goes to [`Fallback::read`] with this number.
    Read(u64),
    /// Renew the site's lease now; the answer goes to [`Fallback::renewed`] with this number.
    Renew(u64),
    /// The grant now lasts until this moment.
    Extend(Boottime),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Reading { sent: Boottime },
    Renewing { read_sent: Boottime },
}

/// Where the asking stands.
#[derive(Clone, Copy, Debug)]
pub struct Fallback {
    stage: Stage,
    number: u64,
    not_before: Boottime,
    /// Whether the last extension came from here and no operator has answered since.
    in_use: bool,
}

impl Default for Fallback {
    fn default() -> Self {
        Self { stage: Stage::Idle, number: 0, not_before: Boottime::default(), in_use: false }
    }
}

impl Fallback {
    /// Whether the grant in force was extended by the guard itself.
    pub const fn in_use(&self) -> bool {
        self.in_use
    }

    /// An operator answered: what was begun counts for nothing.
    pub fn abandon(&mut self) {
        self.stage = Stage::Idle;
        self.in_use = false;
    }

    /// When it will want to read next.
    pub fn wakes(&self) -> Option<Boottime> {
        matches!(self.stage, Stage::Idle).then_some(self.not_before)
    }

    /// Reads when nothing is under way and the pace allows it.
    pub fn begin(&mut self, now: Boottime, every: Duration) -> Step {
        if self.stage != Stage::Idle || now < self.not_before {
            return Step::Nothing;
        }
        self.number += 1;
        self.stage = Stage::Reading { sent: now };
        self.not_before = now + every;
        Step::Read(self.number)
    }

    /// The read `number` ended. A failed read, another site's record, a phase that grants nothing and a record
    /// from the past all end it without an extension.
    pub fn read(&mut self, number: u64, view: Option<RecordView>, seen: HighWater) -> Step {
        let Stage::Reading { sent } = self.stage else { return Step::Nothing };
        if number != self.number {
            return Step::Nothing;
        }
        match view {
            Some(v)
                if (v.active_here && v.phase_grants && !seen.is_above(&v.marks))
                    || forgets("the fallback goes by the record") =>
            {
                self.stage = Stage::Renewing { read_sent: sent };
                Step::Renew(number)
            }
            _ => {
                self.stage = Stage::Idle;
                Step::Nothing
            }
        }
    }

    /// The renewal `number` ended.
    pub fn renewed(&mut self, number: u64, done: bool, r: Duration) -> Step {
        let Stage::Renewing { read_sent } = self.stage else { return Step::Nothing };
        if number != self.number {
            return Step::Nothing;
        }
        self.stage = Stage::Idle;
        if !done {
            return Step::Nothing;
        }
        self.in_use = true;
        Step::Extend(read_sent + r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;

    const EVERY: Duration = Duration::from_millis(250);
    const R: Duration = Duration::from_millis(1250);
    const SEEN: HighWater = HighWater { epoch: 3, serial: 10, generation: 0 };

    fn mine() -> RecordView {
        let fences = Fences::Within { holder: Millis(1250), fence: Millis(300) };
        RecordView { active_here: true, phase_grants: true, fences, marks: SEEN }
    }

    #[test]
    fn fallback_deadline_is_counted_from_the_send_of_its_record_read_not_of_the_renewal_that_follows() {
        let mut f = Fallback::default();
        assert_eq!(f.begin(Boottime::from_millis(1000), EVERY), Step::Read(1));
        assert_eq!(f.read(1, Some(mine()), SEEN), Step::Renew(1));
        assert_eq!(f.renewed(1, true, R), Step::Extend(Boottime::from_millis(2250)));
    }

    #[test]
    fn one_read_allows_one_extension() {
        let mut f = Fallback::default();
        f.begin(Boottime::from_millis(1000), EVERY);
        f.read(1, Some(mine()), SEEN);
        f.renewed(1, true, R);
        assert_eq!(f.renewed(1, true, R), Step::Nothing);
        assert_eq!(f.read(1, Some(mine()), SEEN), Step::Nothing);
    }

    #[test]
    fn fallback_reads_the_record_at_all_and_a_read_that_failed_or_says_no_extends_nothing() {
        let refused = [
            None,
            Some(RecordView { active_here: false, ..mine() }),
            Some(RecordView { phase_grants: false, ..mine() }),
            Some(RecordView { marks: HighWater { serial: 9, ..SEEN }, ..mine() }),
            Some(RecordView { marks: HighWater { epoch: 2, ..SEEN }, ..mine() }),
        ];
        for view in refused {
            let mut f = Fallback::default();
            f.begin(Boottime::from_millis(1000), EVERY);
            assert_eq!(f.read(1, view, SEEN), Step::Nothing, "{view:?}");
            assert_eq!(f.renewed(1, true, R), Step::Nothing, "{view:?}");
        }
    }

    #[test]
    fn a_harmless_change_of_the_record_does_not_stop_a_database_whose_operator_is_away() {
        let mut f = Fallback::default();
        f.begin(Boottime::from_millis(1000), EVERY);
        let later = RecordView { marks: HighWater { serial: 11, ..SEEN }, ..mine() };
        assert_eq!(f.read(1, Some(later), SEEN), Step::Renew(1));
    }

    #[test]
    fn an_answer_of_an_operator_makes_a_renewal_under_way_count_for_nothing() {
        let mut f = Fallback::default();
        f.begin(Boottime::from_millis(1000), EVERY);
        f.read(1, Some(mine()), SEEN);
        f.abandon();
        assert_eq!(f.renewed(1, true, R), Step::Nothing);
    }

    #[test]
    fn a_failed_renewal_extends_nothing_and_the_next_read_waits_for_its_turn() {
        let mut f = Fallback::default();
        f.begin(Boottime::from_millis(1000), EVERY);
        f.read(1, Some(mine()), SEEN);
        assert_eq!(f.renewed(1, false, R), Step::Nothing);
        assert_eq!(f.begin(Boottime::from_millis(1100), EVERY), Step::Nothing);
        assert_eq!(f.begin(Boottime::from_millis(1250), EVERY), Step::Read(2));
    }
}
