//! The journal is complete: an intent before, an outcome after (S11).

use std::collections::BTreeSet;

use bascule_core::name::PolicyKey;
use bascule_core::record::Record;
use bascule_engine::brain::Command;
use bascule_engine::ports::{JournalEntry, JournalKind};

use super::Invariant;
use crate::world::World;

/// The intents to write a record that each operator has journaled: policy, epoch, serial.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intents(BTreeSet<(usize, PolicyKey, u64, u64)>);

impl World {
    /// A line of an operator's journal.
    pub(crate) fn judge_journal(&mut self, op: usize, entry: &JournalEntry) {
        if let (JournalKind::Intent, Some(policy)) = (entry.kind, &entry.policy) {
            self.judge.announced.0.insert((op, policy.clone(), entry.epoch, entry.serial));
        }
    }

    /// A record is being written.
    pub(crate) fn judge_written(&mut self, op: usize, policy: &PolicyKey, next: &Record) {
        if !self.judge.announced.0.contains(&(op, policy.clone(), next.epoch, next.serial)) {
            let me = &self.sites[self.operators[op].site].name;
            let what = format!("{me} writes serial {} without having said so before", next.serial);
            self.judge.breaks(self.now, Invariant::S11, what);
        }
    }

    /// Something that was announced has ended: the same breath must say how.
    pub(crate) fn judge_outcome(&mut self, op: usize, commands: &[Command]) {
        let said =
            commands.iter().any(|c| matches!(c, Command::Journal(e) if e.kind == JournalKind::Outcome));
        if !said {
            let me = &self.sites[self.operators[op].site].name;
            let what = format!("{me} heard how a step ended and did not say so");
            self.judge.breaks(self.now, Invariant::S11, what);
        }
    }
}
