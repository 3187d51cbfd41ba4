//! The status of a Move, and lines of history.

use bascule_core::moves::{MoveEnd, Verdict};
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::record::Transition;
use bascule_crds as api;
use bascule_crds::MoveState;
use bascule_crds::conditions::{READY, RECONCILING, STALLED};
use bascule_engine::intake::moves::Target;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::Set;
use super::objects::SeenMove;

/// How many verdicts the API holds.
const SITES: usize = 320;

/// What one policy says of a Move here.
pub struct Word<'a> {
    /// Which policy.
    pub policy: &'a PolicyKey,
    /// This site.
    pub site: &'a SiteName,
    /// What became of the Move.
    pub state: MoveState,
    /// Why, in words.
    pub message: &'a str,
}

/// What a Move's status says after `word`, with what was said of its other policies before. `meant` are the policies
/// that the Move means now: what waits for another one waits for nothing.
pub fn of(seen: &SeenMove, word: &Word<'_>, meant: &[PolicyKey], now: Timestamp) -> api::MoveStatus {
    let mut sites = seen.status().sites;
    let policy = word.policy.name.as_str();
    let before = sites.iter().position(|s| s.site == word.site.as_str() && s.policy == policy);
    let before = before.map(|at| sites.remove(at));
    sites.retain(|s| ended(s.state) || meant.iter().any(|key| key.name.as_str() == s.policy));
    let seen_at = before.as_ref().and_then(|s| s.seen_at.clone()).unwrap_or(Time(now));
    // The record forgets old verdicts, and finds that whom it has forgotten names an epoch of the past: a Move that has
    // ended neither begins to wait again nor becomes stale.
    let forgotten = matches!(word.state, MoveState::Pending | MoveState::Stale);
    sites.push(before.filter(|s| ended(s.state) && forgotten).unwrap_or_else(|| api::SiteVerdict {
        site: word.site.to_string(),
        policy: policy.to_owned(),
        state: word.state,
        message: Some(word.message.to_owned()),
        seen_at: Some(seen_at),
    }));
    sites.sort_by(|a, b| (advance(a.state), &a.policy, &a.site).cmp(&(advance(b.state), &b.policy, &b.site)));
    sites.truncate(SITES);
    let (state, message) = match &sites[..] {
        [] => (word.state, word.message.to_owned()),
        [only] => (only.state, only.message.clone().unwrap_or_default()),
        [least, ..] => {
            (least.state, format!("{}: {}", least.policy, least.message.clone().unwrap_or_default()))
        }
    };
    status(seen, state, &message, sites, now)
}

/// What the status of a Move says that no policy here speaks of: it is not valid, or means nobody. `None`: a policy
/// does, or it has ended.
pub fn unmet(seen: &SeenMove, meant: &[PolicyKey], now: Timestamp) -> Option<api::MoveStatus> {
    let command = match &seen.command {
        Err(why) => {
            let message =
                format!("not valid, and never acted on: {why}. A Move never changes: write a new one");
            return Some(status(seen, MoveState::Refused, &message, Vec::new(), now));
        }
        Ok(command) => command,
    };
    if !meant.is_empty() || seen.state().is_some_and(ended) {
        return None;
    }
    let message = match &command.target {
        Target::Policy(key) => format!(
            "no FailoverPolicy {} in namespace {} here: create it, or write a new Move with the right policyRef",
            key.name, key.namespace
        ),
        Target::Labelled { namespace, labels } => {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("no FailoverPolicy in namespace {namespace} here has the labels {}", labels.join(", "))
        }
    };
    Some(status(seen, MoveState::Pending, &message, Vec::new(), now))
}

fn status(
    seen: &SeenMove,
    state: MoveState,
    message: &str,
    sites: Vec<api::SiteVerdict>,
    now: Timestamp,
) -> api::MoveStatus {
    let old = seen.status();
    let generation = seen.object.metadata.generation;
    let mut set = Set::new(&old.conditions, generation, now);
    match state {
        MoveState::Done | MoveState::BecameFailover => set.put(READY, Some(true), "Done", message),
        MoveState::Pending | MoveState::Requested => {
            set.put(READY, Some(false), "Waiting", message);
            set.put(RECONCILING, Some(true), "Waiting", message);
        }
        MoveState::Refused | MoveState::RolledBack | MoveState::Stale => {
            set.put(READY, Some(false), "Ended", message);
            set.put(STALLED, Some(true), "Ended", message);
        }
    }
    api::MoveStatus {
        observed_generation: generation,
        state: Some(state),
        message: Some(message.to_owned()),
        hash: seen.command.as_ref().ok().map(|c| c.command.hash.0.clone()),
        conditions: set.done(),
        sites,
    }
}

/// Whether nothing becomes of a Move in this state any more.
pub const fn ended(state: MoveState) -> bool {
    !matches!(state, MoveState::Pending | MoveState::Requested)
}

/// What became of a Move, as its status says it.
pub const fn end(end: MoveEnd) -> MoveState {
    match end {
        MoveEnd::Done => MoveState::Done,
        MoveEnd::Refused => MoveState::Refused,
        MoveEnd::RolledBack => MoveState::RolledBack,
        MoveEnd::Stale => MoveState::Stale,
        MoveEnd::BecameFailover => MoveState::BecameFailover,
    }
}

/// How far a Move has come: what has not ended first, then what did not do what was asked.
const fn advance(state: MoveState) -> u8 {
    match state {
        MoveState::Pending => 0,
        MoveState::Requested => 1,
        MoveState::Refused => 2,
        MoveState::Stale => 3,
        MoveState::RolledBack => 4,
        MoveState::BecameFailover => 5,
        MoveState::Done => 6,
    }
}

/// A verdict as the policy's status shows it.
pub fn verdict(v: &Verdict, state: MoveState) -> api::MoveVerdict {
    api::MoveVerdict {
        name: v.name.to_string(),
        hash: v.hash.0.clone(),
        state,
        message: Some(v.message.clone()),
    }
}

/// The Move that a finished transition carried out: the one whose verdict was given when it ended.
pub fn mover(t: &Transition, verdicts: &[Verdict]) -> Option<String> {
    let at = t.ended?;
    let carried_out = |v: &&Verdict| v.at == at && matches!(v.end, MoveEnd::Done | MoveEnd::BecameFailover);
    verdicts.iter().find(carried_out).map(|v| v.name.to_string())
}

/// A finished transition as one line of the history.
pub fn history(t: &Transition, cause: &str, verdicts: &[Verdict]) -> api::TransitionRecord {
    let whole: u64 = t.phases.iter().filter(|p| p.name != "writePause").map(|p| p.took.0).sum();
    api::TransitionRecord {
        epoch: t.epoch,
        cause: cause.to_owned(),
        move_name: mover(t, verdicts),
        from: Some(t.from.to_string()),
        to: t.to.to_string(),
        finished_at: t.ended.map(Time),
        ms: Some(whole),
        data_loss: loss(t),
    }
}

/// What a transition may have lost, and what was counted at the old site's return.
pub fn loss(t: &Transition) -> Option<api::DataLoss> {
    (t.loss_bound.is_some() || t.measured_loss.is_some()).then(|| api::DataLoss {
        bound_bytes: t.loss_bound.and_then(|b| b.bytes),
        bound_ms: t.loss_bound.and_then(|b| b.unseen).map(|m| m.0),
        bytes: t.measured_loss.as_ref().map(|m| m.bytes),
        transactions: t.measured_loss.as_ref().map(|m| m.transactions),
        saved_at: t.measured_loss.as_ref().map(|m| m.saved.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::samples::{key, shown, to_lyon};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn say(
        seen: &mut SeenMove,
        policy: &str,
        state: MoveState,
        meant: &[&str],
        second: i64,
    ) -> api::MoveStatus {
        let (policy, site) = (key(policy), "paris".try_into().unwrap());
        let meant: Vec<PolicyKey> = meant.iter().map(|name| key(name)).collect();
        let word = Word { policy: &policy, site: &site, state, message: "because" };
        let status = of(seen, &word, &meant, at(second));
        seen.said = Some(status.clone());
        status
    }

    #[test]
    fn a_move_of_several_policies_is_as_far_as_the_least_advanced_of_them() {
        let mut seen = to_lyon("selector");
        let both = ["blog", "shop"];
        let first = say(&mut seen, "shop", MoveState::Done, &both, 0);
        assert_eq!((first.state, first.message.as_deref()), (Some(MoveState::Done), Some("because")));
        let second = say(&mut seen, "blog", MoveState::Requested, &both, 1);
        assert_eq!(second.state, Some(MoveState::Requested));
        assert_eq!(second.message.as_deref(), Some("blog: because"));
        assert_eq!(second.sites.len(), 2, "one policy's word does not take the other's away: {second:?}");
        assert_eq!(say(&mut seen, "blog", MoveState::Refused, &both, 2).state, Some(MoveState::Refused));
        assert_eq!(say(&mut seen, "blog", MoveState::Done, &both, 3).state, Some(MoveState::Done));
    }

    #[test]
    fn a_move_carries_its_hash_and_when_it_was_first_seen() {
        let mut seen = to_lyon("shop");
        let first = say(&mut seen, "shop", MoveState::Pending, &["shop"], 5);
        assert_eq!(first.hash, seen.command.as_ref().ok().map(|c| c.command.hash.0.clone()));
        let later = say(&mut seen, "shop", MoveState::Done, &["shop"], 60);
        assert_eq!(later.sites[0].seen_at, Some(Time(at(5))));
    }

    #[test]
    fn a_move_that_has_ended_neither_waits_again_nor_is_stale_when_the_record_has_forgotten_it() {
        let mut seen = to_lyon("shop");
        say(&mut seen, "shop", MoveState::Done, &["shop"], 0);
        assert_eq!(say(&mut seen, "shop", MoveState::Pending, &["shop"], 1).state, Some(MoveState::Done));
        assert_eq!(say(&mut seen, "shop", MoveState::Stale, &["shop"], 2).state, Some(MoveState::Done));
    }

    #[test]
    fn a_policy_that_is_gone_is_not_waited_for() {
        let mut seen = to_lyon("selector");
        say(&mut seen, "blog", MoveState::Pending, &["blog", "shop"], 0);
        let status = say(&mut seen, "shop", MoveState::Done, &["shop"], 1);
        assert_eq!((status.state, status.sites.len()), (Some(MoveState::Done), 1));
    }

    #[test]
    fn a_move_that_means_no_policy_here_says_which_one_it_looks_for() {
        let mut seen = to_lyon("shpo");
        let status = unmet(&seen, &[], at(0)).unwrap();
        assert_eq!(status.state, Some(MoveState::Pending));
        let message = status.message.clone().unwrap_or_default();
        assert!(message.starts_with("no FailoverPolicy shpo in namespace shop here"), "{message}");
        seen.said = Some(status.clone());
        assert_eq!(unmet(&seen, &[], at(60)), Some(status), "said again it is the same");
        assert_eq!(unmet(&seen, &[key("shpo")], at(0)), None);
        let labelled = unmet(&to_lyon("selector"), &[], at(0)).unwrap().message.unwrap();
        assert!(labelled.contains("has the labels tier=customer"), "{labelled}");
    }

    #[test]
    fn a_move_that_is_not_valid_is_refused_with_the_reason() {
        let mut seen = to_lyon("shop");
        seen.command = Err("spec.epoch: epoch is missing".to_owned());
        let status = unmet(&seen, &[key("shop")], at(0)).unwrap();
        assert_eq!(status.state, Some(MoveState::Refused));
        assert!(status.message.is_some_and(|m| m.contains("epoch is missing") && m.contains("new one")));
        assert!(status.conditions.iter().any(|c| c.type_ == STALLED && c.status == "True"));
    }

    #[test]
    fn the_move_of_a_finished_transition_is_the_one_judged_when_it_ended() {
        let shown = shown();
        let transition = &shown.report.history[0];
        assert_eq!(mover(transition, &shown.report.moves).as_deref(), Some("to-paris"));
        assert_eq!(mover(transition, &shown.report.moves[..1]), None, "a Hold of the same epoch");
        assert_eq!(
            history(transition, "Switchover", &shown.report.moves).move_name.as_deref(),
            Some("to-paris")
        );
    }
}
