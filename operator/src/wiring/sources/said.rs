//! What a PolicySource's status says of a round.

use bascule_crds::conditions::{FETCHED, READY, RECONCILING, STALLED};
use bascule_crds::{PolicySourceStatus, SourceError};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::revision::Trouble;
use crate::wiring::conditions::Set;

/// A newer time alone is not worth more than one write in this time.
const FETCHED_AT_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// How many errors the API holds.
const ERRORS: usize = 50;

/// How a round ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Round {
    /// The newest revision is in force.
    InForce {
        /// Which.
        commit: String,
        /// Moves of it that are not acted on, for their names are taken.
        conflicts: Vec<SourceError>,
    },
    /// A revision was fetched and is not, or not wholly, in force.
    NotTaken {
        /// Which.
        commit: String,
        /// Why.
        trouble: Trouble,
    },
    /// No revision was fetched.
    NotFetched {
        /// One CamelCase word.
        reason: &'static str,
        /// Why.
        why: String,
        /// Whether it stays so until a person acts.
        person: bool,
    },
    /// The source is suspended.
    Suspended,
}

/// The status after `round`. `in_force` is the revision that this process has put in force, if any yet.
pub fn status(
    old: &PolicySourceStatus,
    generation: Option<i64>,
    round: &Round,
    in_force: Option<&str>,
    now: Timestamp,
) -> PolicySourceStatus {
    let in_force = in_force.map(str::to_owned).or_else(|| old.last_accepted_revision.clone());
    let (mut accepted, mut fetched, mut errors) = (in_force.clone(), None, Vec::new());
    let mut set = Set::new(&old.conditions, generation, now);
    match round {
        Round::InForce { commit, conflicts } => {
            accepted = Some(commit.clone());
            fetched = Some(commit);
            errors.clone_from(conflicts);
            set.put(FETCHED, Some(true), "Fetched", "the last fetch worked");
            match conflicts.first() {
                None => set.put(READY, Some(true), "Applied", &format!("revision {commit} is in force")),
                Some(first) => {
                    let why = format!(
                        "revision {commit} is in force, except {} of its Moves: {}: {}",
                        conflicts.len(),
                        first.file,
                        first.reason
                    );
                    set.put(READY, Some(false), "MoveDiffers", &why);
                    set.put(STALLED, Some(true), "MoveDiffers", &why);
                }
            }
        }
        Round::NotTaken { commit, trouble } => {
            fetched = Some(commit);
            set.put(FETCHED, Some(true), "Fetched", "the last fetch worked");
            match trouble {
                Trouble::Refused { why, errors: found } => {
                    errors.clone_from(found);
                    set.put(READY, Some(false), "Refused", why);
                    set.put(STALLED, Some(true), "Refused", why);
                }
                Trouble::Passing { why } => {
                    set.put(READY, Some(false), "NotApplied", why);
                    set.put(RECONCILING, Some(true), "NotApplied", why);
                }
            }
        }
        Round::NotFetched { reason, why, person } => {
            errors.clone_from(&old.errors);
            set.put(FETCHED, Some(false), reason, why);
            set.put(READY, Some(false), reason, why);
            if *person {
                set.put(STALLED, Some(true), reason, why);
            }
        }
        Round::Suspended => {
            errors.clone_from(&old.errors);
            let words = in_force.as_ref().map_or_else(
                || "spec.suspend: the repository is not read, and nothing was read before".to_owned(),
                |commit| format!("spec.suspend: the repository is not read; revision {commit} stays in force, and edits by hand stay too"),
            );
            set.put(READY, Some(in_force.is_some()), "Suspended", &words);
        }
    }
    errors.truncate(ERRORS);
    let same = fetched.is_none() || fetched == old.last_fetched_revision.as_ref();
    let recent = old.last_fetched_at.as_ref().filter(|at| now.duration_since(at.0) < FETCHED_AT_EVERY);
    let fetched_at = match (fetched, recent) {
        (Some(_), Some(at)) if same => Some(at.clone()),
        (Some(_), _) => Some(Time(now)),
        (None, _) => old.last_fetched_at.clone(),
    };
    PolicySourceStatus {
        observed_generation: generation,
        last_accepted_revision: accepted,
        last_fetched_revision: fetched.cloned().or_else(|| old.last_fetched_revision.clone()),
        last_fetched_at: fetched_at,
        conditions: set.done(),
        errors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn in_force(commit: &str) -> Round {
        Round::InForce { commit: commit.to_owned(), conflicts: Vec::new() }
    }

    fn condition(status: &PolicySourceStatus, kind: &str) -> Option<String> {
        let found = status.conditions.iter().find(|c| c.type_ == kind)?;
        Some(format!("{} {}", found.status, found.reason))
    }

    fn error(reason: &str) -> SourceError {
        SourceError { file: "shop.yaml".to_owned(), reason: reason.to_owned(), ..SourceError::default() }
    }

    #[test]
    fn a_refused_revision_is_the_one_fetched_last_and_the_one_before_stays_accepted() {
        let old = status(&PolicySourceStatus::default(), Some(1), &in_force("a"), None, at(0));
        let trouble = Trouble::Refused { why: "shop.yaml is wrong".to_owned(), errors: vec![error("wrong")] };
        let round = Round::NotTaken { commit: "b".to_owned(), trouble };
        let new = status(&old, Some(2), &round, Some("a"), at(10));
        assert_eq!(new.last_accepted_revision.as_deref(), Some("a"));
        assert_eq!(new.last_fetched_revision.as_deref(), Some("b"));
        assert_eq!(new.last_fetched_at, Some(Time(at(10))));
        assert_eq!(new.observed_generation, Some(2));
        assert_eq!(new.errors, [error("wrong")]);
        assert_eq!(condition(&new, FETCHED).as_deref(), Some("True Fetched"));
        assert_eq!(condition(&new, READY).as_deref(), Some("False Refused"));
        assert_eq!(condition(&new, STALLED).as_deref(), Some("True Refused"));
    }

    #[test]
    fn trouble_of_the_api_server_is_neither_a_failed_fetch_nor_a_persons_to_mend() {
        let trouble = Trouble::Passing { why: "no answer".to_owned() };
        let round = Round::NotTaken { commit: "b".to_owned(), trouble };
        let new = status(&PolicySourceStatus::default(), Some(1), &round, None, at(0));
        assert_eq!(condition(&new, FETCHED).as_deref(), Some("True Fetched"));
        assert_eq!(condition(&new, READY).as_deref(), Some("False NotApplied"));
        assert_eq!(condition(&new, RECONCILING).as_deref(), Some("True NotApplied"));
        assert_eq!(condition(&new, STALLED), None);
        assert_eq!(new.last_accepted_revision, None);
    }

    #[test]
    fn a_fetch_that_failed_leaves_what_was_fetched_and_accepted() {
        let old = status(&PolicySourceStatus::default(), Some(1), &in_force("a"), None, at(0));
        let round = Round::NotFetched { reason: "FetchFailed", why: "no answer".to_owned(), person: false };
        let new = status(&old, Some(1), &round, Some("a"), at(600));
        assert_eq!(condition(&new, FETCHED).as_deref(), Some("False FetchFailed"));
        assert_eq!(condition(&new, STALLED), None);
        assert_eq!(new.last_accepted_revision, old.last_accepted_revision);
        assert_eq!(new.last_fetched_revision, old.last_fetched_revision);
        assert_eq!(new.last_fetched_at, Some(Time(at(0))));
    }

    #[test]
    fn the_time_of_the_last_fetch_moves_at_most_once_a_minute_while_nothing_changes() {
        let first = status(&PolicySourceStatus::default(), Some(1), &in_force("a"), None, at(0));
        let soon = status(&first, Some(1), &in_force("a"), Some("a"), at(59));
        assert_eq!(soon, first, "not worth a write");
        let later = status(&soon, Some(1), &in_force("a"), Some("a"), at(60));
        assert_eq!(later.last_fetched_at, Some(Time(at(60))));
        let changed = status(&later, Some(1), &in_force("b"), Some("a"), at(61));
        assert_eq!(changed.last_fetched_at, Some(Time(at(61))));
    }

    #[test]
    fn a_suspended_source_says_so_and_what_stays_in_force() {
        let old = status(&PolicySourceStatus::default(), Some(1), &in_force("a"), None, at(0));
        let new = status(&old, Some(2), &Round::Suspended, Some("a"), at(10));
        assert_eq!(condition(&new, READY).as_deref(), Some("True Suspended"));
        let ready = new.conditions.iter().find(|c| c.type_ == READY).unwrap();
        assert!(ready.message.contains("revision a stays in force"), "{}", ready.message);
        let never = status(&PolicySourceStatus::default(), Some(1), &Round::Suspended, None, at(0));
        assert_eq!(condition(&never, READY).as_deref(), Some("False Suspended"));
    }

    #[test]
    fn a_move_whose_name_is_taken_is_reported_although_the_revision_is_in_force() {
        let round =
            Round::InForce { commit: "b".to_owned(), conflicts: vec![error("Move shop/to-lyon exists")] };
        let new = status(&PolicySourceStatus::default(), Some(1), &round, Some("a"), at(0));
        assert_eq!(new.last_accepted_revision.as_deref(), Some("b"));
        assert_eq!(condition(&new, STALLED).as_deref(), Some("True MoveDiffers"));
        assert_eq!(new.errors.len(), 1);
    }
}
