//! What does a guard do while a person has unlocked its server, and when it is given back?

use super::Rules;
use crate::guard::action::Action;
use crate::guard::grant::Deadline;
use crate::guard::unlocked::{Unlocked, in_force};
use crate::guard::wire::{Disk, Role, ServerState};
use crate::time::Boottime;

impl Rules {
    /// A person's word, while it is in force.
    pub fn unlocked(&self) -> Option<&Unlocked> {
        in_force(self.memory.unlocked.as_ref())
    }

    pub(super) fn take_word(&mut self, word: Option<Unlocked>, now: Boottime, out: &mut Vec<Action>) {
        let (before, after) = (self.unlocked().cloned(), in_force(word.as_ref()).cloned());
        self.memory.unlocked = word;
        if before == after {
            return;
        }
        self.tell = true;
        self.failures = 0;
        self.retry_at = now;
        (self.need, self.permitted) = (None, false);
        match after {
            Some(_) => {
                if matches!(self.server, ServerState::Failed { .. }) {
                    self.server = ServerState::Down;
                }
            }
            None => self.give_back(now, out),
        }
    }

    /// From here on it is a guard that has just started: no role and no grant. A server that writes is stopped, cleanly,
    /// so that its copy can follow whoever has the role.
    fn give_back(&mut self, now: Boottime, out: &mut Vec<Action>) {
        self.role = None;
        self.grants.clear();
        self.remembered.confirmed = false;
        self.started = now;
        self.silent_since = Some(now);
        if self.server.is_or_becomes_primary() {
            self.stop(now, out);
        }
    }

    /// Moves the server towards what the person has said, one step.
    pub(super) fn run_unlocked(&mut self, promote: bool, now: Boottime, out: &mut Vec<Action>) {
        let standby = self.is_standby() || (self.server.is_down() && self.has_standby_signal());
        if !standby || promote {
            if self.grants.deadline() != Deadline::Never {
                self.grants.resume_without_end();
            }
            let slots = match &self.role {
                Some(Role::Serve { slots, .. }) => slots.clone(),
                _ => Vec::new(),
            };
            return self.serve(true, slots, now, out);
        }
        self.need = None;
        self.grants.clear();
        let whole = matches!(&self.disk, Disk::Cluster(c) if !c.half_rewound);
        match &self.server {
            ServerState::Down | ServerState::Failed { .. } if whole && now >= self.retry_at => {
                self.following = None;
                out.push(Action::StartOrphan);
                self.set(ServerState::Starting { writer: false });
            }
            ServerState::Standby { open: false } if now >= self.retry_at && !self.access_pending => {
                self.access_pending = true;
                self.ajar = true;
                out.push(Action::OpenStandby);
            }
            _ => {}
        }
    }
}
