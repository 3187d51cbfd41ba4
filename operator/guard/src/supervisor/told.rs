//! What the journal is told of the steps: each intent has its outcome, and what is tried again and again to the same
//! end is told once.

use std::collections::BTreeMap;

use bascule_core::guard::wire::{Diverged, HighWater, ServerState};
use bascule_core::time::human;

use super::Supervisor;
use crate::journal::{Begun, Journal};
use crate::watch::Killed;

const KILL: &str = "kill every process of the server";

/// What has been told and has not ended.
#[derive(Default)]
pub(super) struct Doing {
    steps: Steps,
    stop: Option<Begun>,
    kill: Option<Begun>,
}

/// The step that is under way, and the parts of it.
#[derive(Default)]
struct Steps {
    open: Vec<Open>,
    /// How each ended, and how often, since a step last succeeded: a copy that waits for its upstream tries every few
    /// seconds, and would push everything else out of the journal.
    ends: BTreeMap<String, (String, u32)>,
}

struct Open {
    what: String,
    /// `None`: its intent was told by an earlier try.
    begun: Option<Begun>,
}

impl Steps {
    fn begin(&mut self, journal: &Journal, marks: HighWater, what: String) {
        let begun = (!self.ends.contains_key(&what)).then(|| journal.begins(marks, what.clone()));
        self.open.push(Open { what, begun });
    }

    /// The innermost one has ended.
    fn end(&mut self, journal: &Journal, marks: HighWater, how: &str) {
        let Some(Open { what, begun }) = self.open.pop() else { return };
        let (before, tries) = self.ends.remove(&what).unwrap_or_default();
        let tries = tries + 1;
        match begun {
            Some(begun) => journal.ends(begun, how),
            None if before == how => {}
            None => journal.ended(marks, &format!("{what}: {how} (at try {tries})")),
        }
        self.ends.insert(what, (how.to_owned(), tries));
    }

    fn end_all(&mut self, journal: &Journal, marks: HighWater, how: &str) {
        while !self.open.is_empty() {
            self.end(journal, marks, how);
        }
    }

    fn succeed(&mut self, journal: &Journal, marks: HighWater, how: &str) {
        self.end_all(journal, marks, how);
        self.ends.clear();
    }
}

impl Supervisor {
    pub(super) fn marks(&self) -> HighWater {
        self.rules.memory().high_water
    }

    /// A step of the server is about to begin; whatever was under way is given up for it.
    pub(super) fn tells_step(&mut self, what: String) {
        self.tells_end_of_step("given up for what follows");
        self.tells_part(what);
    }

    /// A part of the step is about to begin.
    pub(super) fn tells_part(&mut self, what: impl Into<String>) {
        let marks = self.marks();
        self.state.doing.steps.begin(&self.journal, marks, what.into());
    }

    pub(super) fn tells_end_of_step(&mut self, how: &str) {
        let marks = self.marks();
        self.state.doing.steps.end_all(&self.journal, marks, how);
    }

    pub(super) fn tells_state(&mut self, state: &ServerState) {
        let marks = self.marks();
        let how = match state {
            _ if state.is_busy() => return,
            ServerState::Failed { reason, .. } => {
                return self.tells_end_of_step(&format!("failed: {reason}"));
            }
            ServerState::Down => "done, and the server is down",
            _ => "done",
        };
        self.state.doing.steps.succeed(&self.journal, marks, how);
    }

    pub(super) fn tells_saved(&mut self, diverged: &Diverged) {
        let how = format!(
            "done: {} bytes with {} transactions are in {}",
            diverged.bytes, diverged.transactions, diverged.path
        );
        let marks = self.marks();
        self.state.doing.steps.end(&self.journal, marks, &how);
    }

    /// A fast stop has been ordered: only then is it told.
    pub(super) fn tells_stop(&mut self) {
        self.tells_end_of_step("given up for a stop");
        let begun = self.journal.begins(self.marks(), "stop fast");
        if let Some(before) = self.state.doing.stop.replace(begun) {
            self.journal.ends(before, "ordered again");
        }
    }

    /// A kill has been ordered: only then is it told.
    pub(super) fn tells_kill(&mut self) {
        self.tells_end_of_step("given up for a kill");
        if self.state.doing.kill.is_none() {
            self.state.doing.kill = Some(self.journal.begins(self.marks(), KILL));
        }
    }

    /// The watch has killed: because it was told to, or by itself, which nobody could tell before.
    pub(super) fn tells_killed(&mut self, killed: Killed) {
        let late = killed.late.map(|late| format!(", begun {} after the deadline", human(late)));
        let how = format!("done within {}{}", human(killed.took), late.unwrap_or_default());
        match self.state.doing.kill.take() {
            Some(begun) => self.journal.ends(begun, &how),
            None => self.journal.ended(self.marks(), &format!("{KILL}: {how}")),
        }
    }

    /// Nothing of the server runs any more; `asked`: somebody here had ended it.
    pub(super) fn tells_gone(&mut self, asked: bool, why: &str) {
        self.tells_end_of_step(&format!("the server has ended: {why}"));
        if let Some(begun) = self.state.doing.stop.take() {
            self.journal.ends(begun, &format!("done: {why}"));
        }
        if !asked {
            self.journal.observed(self.marks(), &format!("the server died: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bascule_core::name::PolicyKey;

    use super::*;
    use crate::journal::JOURNAL;

    fn told(act: impl FnOnce(&mut Steps, &Journal)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let policy = PolicyKey::new("web", "shop").unwrap();
        let (site, database) = ("paris".try_into().unwrap(), "main".to_owned().try_into().unwrap());
        let (journal, end) = Journal::open(dir.path(), site, policy, database).unwrap();
        act(&mut Steps::default(), &journal);
        end.finish(Duration::from_secs(30));
        let text = std::fs::read_to_string(dir.path().join(JOURNAL)).unwrap();
        // Without the moment, the marks and how long it took.
        let words = |line: &str| {
            let (_, words) = line.split_once("serial=0 ").unwrap();
            words.split(" (after ").next().unwrap().to_owned()
        };
        text.lines().map(words).collect()
    }

    #[test]
    fn what_is_tried_again_to_the_same_end_is_told_once_until_a_step_succeeds() {
        let marks = HighWater::default();
        let lines = told(|steps, journal| {
            let mut follow = |how: &str| {
                steps.begin(journal, marks, "follow".to_owned());
                match how {
                    "done" => steps.succeed(journal, marks, how),
                    _ => steps.end_all(journal, marks, how),
                }
            };
            for how in ["silent", "silent", "silent", "refused", "refused", "done", "silent"] {
                follow(how);
            }
        });
        assert_eq!(
            lines,
            [
                "intent: main: follow",
                "outcome: main: follow: silent",
                "outcome: main: follow: refused (at try 4)",
                "outcome: main: follow: done (at try 6)",
                "intent: main: follow",
                "outcome: main: follow: silent",
            ]
        );
    }

    #[test]
    fn a_part_ends_before_its_whole() {
        let marks = HighWater::default();
        let lines = told(|steps, journal| {
            for what in ["follow", "save"] {
                steps.begin(journal, marks, what.to_owned());
            }
            steps.end(journal, marks, "done: 7 bytes");
            steps.begin(journal, marks, "rewind".to_owned());
            steps.end_all(journal, marks, "done");
        });
        assert_eq!(
            lines,
            [
                "intent: main: follow",
                "intent: main: save",
                "outcome: main: save: done: 7 bytes",
                "intent: main: rewind",
                "outcome: main: rewind: done",
                "outcome: main: follow: done",
            ]
        );
    }
}
