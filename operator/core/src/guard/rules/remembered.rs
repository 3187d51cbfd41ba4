//! An unmanaged database whose guard has just started: does it go by the role it remembers?
//!
//! A promise "never" is remembered without an end, so what is remembered may be older than a takeover that a person
//! has decided. Whoever can read the record reads it first.

use std::time::Duration;

use super::{BACKOFF, Rules, UNMANAGED_PATIENCE};
use crate::guard::action::Action;
use crate::guard::fallback::RecordView;
use crate::guard::wire::Role;
use crate::record::Fences;
use crate::time::Boottime;

/// The number of the reads made for this; the fallback's begin after it.
pub(super) const REMEMBERED: u64 = 0;

/// Where the asking stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    pub(super) has_arbiter: bool,
    /// The record agreed, and nothing has ended since.
    pub(super) confirmed: bool,
    asking: bool,
    not_before: Boottime,
    failures: u32,
    why: Option<&'static str>,
}

impl Rules {
    /// Why a remembered role is not taken up, if it is not.
    pub fn waits_for(&self) -> Option<&'static str> {
        self.remembered.why.filter(|_| self.role.is_none())
    }

    pub(super) fn remembered_role(&mut self, now: Boottime, out: &mut Vec<Action>) -> Option<Role> {
        let role = self.memory.unmanaged.clone()?;
        if now.since(self.started) < UNMANAGED_PATIENCE {
            return None;
        }
        let it = &mut self.remembered;
        if !it.has_arbiter || it.confirmed || !matches!(role, Role::Serve { .. }) {
            return Some(role);
        }
        if !it.asking && now >= it.not_before {
            it.asking = true;
            out.push(Action::ReadRecord { number: REMEMBERED });
        }
        None
    }

    pub(super) fn confirm_remembered(&mut self, view: Option<RecordView>, now: Boottime) {
        let seen = self.memory.high_water;
        let why = match view {
            None => Some("the role is remembered, no operator has spoken and the record cannot be read"),
            Some(v) if seen.is_above(&v.marks) => {
                Some("the role is remembered and the arbiter's record is older than this guard has seen")
            }
            Some(v) if !v.active_here => {
                Some("the role is remembered and the record gives it to another site")
            }
            Some(v) if !v.phase_grants || v.fences != Fences::Never => Some(
                "the role is remembered and the record no longer says that it is kept without an operator",
            ),
            Some(_) => None,
        };
        let it = &mut self.remembered;
        it.asking = false;
        it.confirmed = why.is_none();
        self.tell |= it.why != why;
        it.why = why;
        let pause: Duration = BACKOFF.0.saturating_mul(1 << it.failures.min(10)).min(BACKOFF.1);
        it.failures = if why.is_some() { it.failures.saturating_add(1) } else { 0 };
        it.not_before = now + pause;
    }

    /// What the record promises binds an extension too, when it is less than this site is set to.
    pub(super) fn heed_promise(&mut self, view: Option<RecordView>) {
        let Some(view) = view.filter(|v| !self.memory.high_water.is_above(&v.marks)) else { return };
        if let Fences::Within { holder, fence } = view.fences {
            self.timing.r = self.timing.r.min(holder);
            self.timing.f = self.timing.f.min(fence);
        }
    }
}
