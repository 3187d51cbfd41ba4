//! Until when may this database be written? The guard's questions and the deadline that their answers give.

use std::collections::BTreeMap;

use super::wire::Grant;
use crate::mutant::forgets;
use crate::time::Boottime;

/// How many questions may wait for an answer; older ones are forgotten, so their answers count for nothing.
const MAX_WAITING: usize = 64;

/// Until when a server that may write is allowed to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deadline {
    /// It is not.
    #[default]
    None,
    /// Until this moment; at the moment itself no more.
    At(Boottime),
    /// Without end.
    Never,
}

impl Deadline {
    /// Whether there is time left at `now`.
    pub fn is_live(self, now: Boottime) -> bool {
        match self {
            Self::None => false,
            Self::At(_) if forgets("a guard stops at its deadline") => true,
            Self::At(end) => now < end,
            Self::Never => true,
        }
    }

    /// Whether it was given and has passed.
    pub fn has_passed(self, now: Boottime) -> bool {
        matches!(self, Self::At(end) if now >= end && !forgets("a guard stops at its deadline"))
    }
}

impl Grant {
    /// Until when it allows, given in answer to a question asked at `asked`.
    pub fn deadline(self, asked: Boottime) -> Deadline {
        match self {
            Self::For { remaining } => Deadline::At(asked + remaining.duration()),
            Self::Unlimited => Deadline::Never,
        }
    }
}

/// A question that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When it was sent; its answer's grant counts from here.
    pub at: Boottime,
    /// Whether it asked for a record read made after it arrived.
    pub fresh: bool,
}

/// The questions asked, and the deadline that came of the answers.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    last_nonce: u64,
    waiting: BTreeMap<u64, Asked>,
    deadline: Deadline,
}

impl Grants {
    /// Until when the server may write.
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// A new question sent at `now`; returns its nonce.
    pub fn ask(&mut self, fresh: bool, now: Boottime) -> u64 {
        self.last_nonce += 1;
        self.waiting.insert(self.last_nonce, Asked { at: now, fresh });
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_first();
        }
        self.last_nonce
    }

    /// The question that `nonce` answers. Each counts once; an unknown nonce is an answer to nobody.
    pub fn answered(&mut self, nonce: u64) -> Option<Asked> {
        self.waiting.remove(&nonce)
    }

    /// Takes the grant that answered a question asked at `asked`. A grant with an end never shortens another one
    /// with an end: both rest on a renewal of their own. It does replace one without end.
    pub fn take(&mut self, grant: Grant, asked: Boottime) {
        self.deadline = match (grant.deadline(asked), self.deadline) {
            (Deadline::At(new), Deadline::At(old)) => Deadline::At(old.max(new)),
            (new, _) => new,
        };
    }

    /// Keeps writing without end, from what was remembered beside the data.
    pub fn resume_without_end(&mut self) {
        self.deadline = Deadline::Never;
    }

    /// Extends a grant that has an end and has not reached it; anything else stays as it is.
    pub fn extend(&mut self, until: Boottime, now: Boottime) {
        if let Deadline::At(old) = self.deadline
            && now < old
        {
            self.deadline = Deadline::At(old.max(until));
        }
    }

    /// Gives the grant up.
    pub fn clear(&mut self) {
        self.deadline = Deadline::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;

    const fn t(ms: u64) -> Boottime {
        Boottime::from_millis(ms)
    }

    #[test]
    fn the_deadline_counts_from_the_moment_the_guard_asked() {
        let mut g = Grants::default();
        let nonce = g.ask(false, t(1000));
        let asked = g.answered(nonce).unwrap();
        g.take(Grant::For { remaining: Millis(500) }, asked.at);
        assert_eq!(g.deadline(), Deadline::At(t(1500)));
        assert!(g.deadline().is_live(t(1499)));
        assert!(g.deadline().has_passed(t(1500)));
    }

    #[test]
    fn an_answer_counts_once_and_an_unknown_nonce_never() {
        let mut g = Grants::default();
        let nonce = g.ask(false, t(0));
        assert!(g.answered(nonce + 1).is_none());
        assert!(g.answered(nonce).is_some());
        assert!(g.answered(nonce).is_none());
    }

    #[test]
    fn an_older_answer_does_not_shorten_the_deadline() {
        let mut g = Grants::default();
        g.take(Grant::For { remaining: Millis(500) }, t(1000));
        g.take(Grant::For { remaining: Millis(500) }, t(900));
        assert_eq!(g.deadline(), Deadline::At(t(1500)));
    }

    #[test]
    fn only_an_unexpired_grant_can_be_extended() {
        let mut g = Grants::default();
        g.extend(t(9000), t(0));
        assert_eq!(g.deadline(), Deadline::None);
        g.take(Grant::For { remaining: Millis(500) }, t(1000));
        g.extend(t(2000), t(1500));
        assert_eq!(g.deadline(), Deadline::At(t(1500)));
        g.extend(t(2000), t(1499));
        assert_eq!(g.deadline(), Deadline::At(t(2000)));
    }

    #[test]
    fn a_thousand_unanswered_questions_do_not_grow_the_memory() {
        let mut g = Grants::default();
        let first = g.ask(false, t(0));
        for i in 0..1000 {
            g.ask(false, t(i));
        }
        assert!(g.waiting.len() <= MAX_WAITING);
        assert!(g.answered(first).is_none());
    }

    #[test]
    fn as_many_questions_as_fit_wait_for_their_answers() {
        let mut g = Grants::default();
        let first = g.ask(false, t(0));
        for i in 1..MAX_WAITING {
            g.ask(false, t(i as u64));
        }
        assert!(g.answered(first).is_some());
    }
}
