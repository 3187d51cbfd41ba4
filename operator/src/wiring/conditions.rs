//! Conditions after the conventions of kstatus, with a time that changes only when the judgement does.

use bascule_crds::conditions::Condition;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The longest message that is stored.
const LONGEST: usize = 4096;

/// The conditions of one object, put together anew.
pub struct Set<'a> {
    old: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    new: Vec<Condition>,
}

impl<'a> Set<'a> {
    /// Starts from the conditions as they are stored.
    pub const fn new(old: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { old, generation, now, new: Vec::new() }
    }

    /// Adds a judgement; `None` is unknown.
    pub fn put(&mut self, kind: &str, holds: Option<bool>, reason: &str, message: &str) {
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = self.old.iter().find(|c| c.type_ == kind && c.status == status);
        let since = same.map_or(Time(self.now), |c| c.last_transition_time.clone());
        let message: String = message.chars().take(LONGEST).collect();
        self.new.retain(|c| c.type_ != kind);
        self.new.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time: since,
        });
    }

    /// All judgements, by type.
    pub fn done(mut self) -> Vec<Condition> {
        self.new.sort_by(|a, b| a.type_.cmp(&b.type_));
        self.new
    }
}
