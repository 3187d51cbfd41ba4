//! Who saw and did what, in lines that a person reads from top to bottom, without noise.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Account, length};
use crate::time::Moment;
use crate::world::World;

/// Who a fault comes from.
pub(super) const FAULT: &str = "FAULT";
/// Who merges Moves.
pub(super) const PERSON: &str = "PERSON";
/// Who writes.
const CLIENTS: &str = "clients";

/// One line of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, from the moment the world was steady.
    pub at: Duration,
    /// Who saw or did it: `paris`, `paris guard`, `clients`, `FAULT`, `PERSON`, `JUDGE`.
    pub who: String,
    /// What.
    pub what: String,
    /// How often the same was said again afterwards.
    pub again: u32,
    /// When it was said for the last time.
    pub until: Duration,
}

/// Collects the lines.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    began: Moment,
    /// How many lines of the transcript were taken.
    heard: usize,
    /// Who is active, as each site last said.
    active: BTreeMap<String, String>,
    lines: Vec<Line>,
}

impl Teller {
    /// From now on the story is told.
    pub(super) fn new(world: &World, began: Moment) -> Self {
        let mut teller =
            Self { began, heard: world.transcript.lines().len(), active: BTreeMap::new(), lines: Vec::new() };
        // Who is active at the beginning is no news.
        if let Some(active) = world.policies.first().and_then(|p| world.record(&p.key)).map(|r| &r.active) {
            teller.active = world.sites.iter().map(|s| (s.name.to_string(), active.to_string())).collect();
        }
        teller
    }

    /// Whether a line of the transcript says something new. What stands in the way is told from the operators' status,
    /// with its answer: the journal's summaries of it are left out, and so are bare names of phases.
    fn is_news(&mut self, who: &str, what: &str) -> bool {
        // Faults are told by the scenario, in people's words.
        if who == FAULT || what.contains("(needed: ") {
            return false;
        }
        if let Some((active, rest)) = what.split_once(" is active (epoch ")
            && rest.ends_with(')')
            && !rest.contains(';')
        {
            let before = self.active.insert(who.to_owned(), active.to_owned());
            return before.as_deref() != Some(active);
        }
        // A guard names no phases.
        who.ends_with(" guard") || !what.chars().all(char::is_alphanumeric)
    }

    /// Something that the transcript does not have.
    pub(super) fn at(&mut self, at: Duration, who: &str, what: &str) {
        self.lines.push(Line { at, who: who.to_owned(), what: what.to_owned(), again: 0, until: at });
    }

    /// Takes what is new in the transcript.
    pub(super) fn hear(&mut self, world: &World) {
        let new = world.transcript.lines().get(self.heard..).unwrap_or_default();
        self.heard += new.len();
        for line in new {
            if self.is_news(&line.who, &line.what) {
                self.at(line.at.since(self.began), &line.who, &line.what);
            }
        }
    }

    /// What clients noticed.
    pub(super) fn clients(&mut self, account: &Account) {
        for outage in &account.outages {
            self.at(outage.from, CLIENTS, "the last write is acknowledged before an outage");
            if let Some(to) = outage.to {
                let by = outage.by.as_deref().unwrap_or("somebody");
                let what = format!(
                    "writes are acknowledged again, by {by}, {} after the last one",
                    length(outage.took)
                );
                self.at(to, CLIENTS, &what);
            }
        }
        for (at, what) in &account.violations {
            self.at(*at, "JUDGE", what);
        }
    }

    /// The lines in order of time, up to the end, with repeats folded into the first of them.
    pub(super) fn finish(self, watched: Duration) -> Vec<Line> {
        let mut lines = self.lines;
        lines.retain(|l| l.at <= watched);
        lines.sort_by_key(|l| l.at);
        let mut told: Vec<Line> = Vec::new();
        // Nothing is folded across what changes the scene.
        let mut scene = 0;
        for line in lines {
            if line.who == FAULT || line.who == PERSON {
                scene = told.len() + 1;
            }
            let same = |l: &&mut Line| l.who == line.who && alike(&l.what, &line.what);
            match told.iter_mut().skip(scene).find(same) {
                Some(earlier) => {
                    earlier.again += 1;
                    earlier.until = line.at;
                }
                None => told.push(line),
            }
        }
        told
    }
}

/// Whether two lines say the same, numbers aside.
fn alike(a: &str, b: &str) -> bool {
    let bare = |s: &str| s.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect::<String>();
    a == b || bare(a) == bare(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(lines: &[(u64, &str, &str)]) -> Vec<(u64, String, u32, u64)> {
        let line = |(at, who, what): &(u64, &str, &str)| Line {
            at: Duration::from_secs(*at),
            who: (*who).to_owned(),
            what: (*what).to_owned(),
            again: 0,
            until: Duration::from_secs(*at),
        };
        let lines = lines.iter().map(line).collect();
        let teller = Teller { began: Moment(0), heard: 0, active: BTreeMap::new(), lines };
        let told = teller.finish(Duration::from_secs(100));
        told.into_iter().map(|l| (l.at.as_secs(), l.what, l.again, l.until.as_secs())).collect()
    }

    #[test]
    fn what_is_said_again_is_folded_until_the_scene_changes() {
        let told = folded(&[
            (1, "paris", "the lease was not renewed for 1.5 s"),
            (3, "paris", "the lease was not renewed for 3 s"),
            (2, "lyon", "all is well"),
            (4, FAULT, "paris loses power"),
            (5, "paris", "the lease was not renewed for 9 s"),
            (101, "paris", "after the end"),
        ]);
        let what: Vec<(u64, u32, u64)> =
            told.iter().map(|(at, _, again, until)| (*at, *again, *until)).collect();
        assert_eq!(what, [(1, 1, 3), (2, 0, 2), (4, 0, 4), (5, 0, 5)]);
    }
}
