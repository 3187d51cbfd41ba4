//! When the guard asks its operator, when it asks the arbiter instead, and how it takes its leave.

use super::{FAREWELL, Rules};
use crate::guard::action::Action;
use crate::guard::fallback::Step;
use crate::guard::grant::Deadline;
use crate::mutant::forgets;
use crate::time::Boottime;

impl Rules {
    pub(super) fn leave(&mut self, now: Boottime, out: &mut Vec<Action>) {
        if !self.server.is_down() {
            return;
        }
        let connected = self.connected;
        let Some(leaving) = &mut self.leaving else { return };
        match leaving.farewell {
            _ if leaving.gone || !connected => out.push(Action::Exit),
            Some((_, end)) if now >= end => out.push(Action::Exit),
            Some(_) => {}
            None => {
                let nonce = self.grants.ask(false, now);
                leaving.farewell = Some((nonce, now + FAREWELL));
                out.push(Action::Ask { nonce, fresh: false });
            }
        }
    }

    pub(super) fn ask(&mut self, now: Boottime, out: &mut Vec<Action>) {
        if !self.connected || (!self.tell && now < self.ask_at) {
            return;
        }
        self.tell = false;
        self.ask_at = now + self.timing.ask_every();
        self.silent_since.get_or_insert(now);
        let fresh = self.need.is_some() || self.role.is_none();
        let nonce = self.grants.ask(fresh, now);
        out.push(Action::Ask { nonce, fresh });
    }

    pub(super) fn is_silent(&self, now: Boottime) -> bool {
        self.silent_since.is_some_and(|since| now.since(since) >= self.timing.tq.duration())
    }

    pub(super) fn may_fall_back(&self, now: Boottime) -> bool {
        self.memory.locked.is_none()
            && !forgets("a guard outlives its operator")
            && self.leaving.is_none()
            && self.server.is_or_becomes_primary()
            && matches!(self.grants.deadline(), Deadline::At(end) if now < end)
    }

    pub(super) fn fall_back(&mut self, step: Step, now: Boottime, out: &mut Vec<Action>) {
        match step {
            Step::Read(number) => out.push(Action::ReadRecord { number }),
            Step::Renew(number) if self.may_fall_back(now) => out.push(Action::RenewLease { number }),
            Step::Extend(until) if self.may_fall_back(now) => {
                let late = now + self.timing.r.duration();
                let until = if forgets("an extension counts from the reading") { late } else { until };
                self.grants.extend(until, now);
            }
            Step::Nothing | Step::Renew(_) | Step::Extend(_) => {}
        }
    }
}
