//! What a policy's status says. Pure: of what the engine shows, what the status said before, and the time, so that a
//! simulation has the status that an operator would write.

use bascule_core::moves::Verdict;
use bascule_core::name::SiteName;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::FenceClass;
use bascule_core::project::{Fence, SiteRow, TransitionRow};
use bascule_core::record::Cause;
use bascule_core::time::{Millis, human};
use bascule_crds as api;
use bascule_crds::conditions as kinds;
use bascule_engine::ports::Shown;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::Set;
use super::move_status;

/// The object as its cluster has it now: it may be newer than the one that was judged.
#[derive(Clone, Copy, Debug)]
pub struct Newest<'a> {
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// Why it is not valid, if so.
    pub invalid: Option<&'a str>,
    /// Why nobody would be told by channels that the policy names, a reason for each. `None`: it names none, or nobody knows
    /// the site's channels, as in a simulation.
    pub unknown_channels: Option<&'a [String]>,
}

/// What a policy's status says in the cluster of `site` after its operator has shown this at `now`; `before` is what it
/// said until then.
pub fn of(
    site: &SiteName,
    shown: &Shown,
    before: &api::FailoverPolicyStatus,
    newest: Newest<'_>,
    now: Timestamp,
) -> api::FailoverPolicyStatus {
    let generation = generation(shown, before, newest);
    let mut status = status(shown, before, generation, now);
    if shown.record.is_none() {
        // An operator that has just been started, and that may not reach the arbiter for long: what is past stays past.
        status.last_transition.clone_from(&before.last_transition);
        status.history.clone_from(&before.history);
        status.moves.clone_from(&before.moves);
    }
    if let Some(unknown) = newest.unknown_channels {
        let mut set = Set::new(&before.conditions, generation, now);
        if unknown.is_empty() {
            let message = "this site has every channel that the policy names";
            set.put(kinds::CHANNELS_KNOWN, Some(true), "Known", message);
        } else {
            set.put(kinds::CHANNELS_KNOWN, Some(false), "UnknownChannel", &unknown.join("; "));
        }
        status.conditions.extend(set.done());
        status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    }
    api::FailoverPolicyStatus { site: Some(site.to_string()), ..status }
}

/// The generation that the report judged: the newest object may be newer.
fn generation(shown: &Shown, before: &api::FailoverPolicyStatus, newest: Newest<'_>) -> Option<i64> {
    match (&shown.invalid, &shown.policy) {
        (None, Some(policy)) => Some(policy.generation),
        (Some(why), _) if newest.invalid == Some(why) => newest.generation,
        _ => before.observed_generation,
    }
}

fn status(
    shown: &Shown,
    old: &api::FailoverPolicyStatus,
    generation: Option<i64>,
    now: Timestamp,
) -> api::FailoverPolicyStatus {
    let report = &shown.report;
    let message =
        shown.invalid.clone().or_else(|| shown.trouble.clone()).unwrap_or_else(|| report.sentence.clone());
    let mut gates: Vec<api::GateStatus> = Vec::new();
    for gate in report.gates.iter().take(64) {
        if !gates.iter().any(|g| g.name == gate.name) {
            gates.push(gate_status(gate));
        }
    }
    let history = report.history.iter();
    api::FailoverPolicyStatus {
        site: None,
        heartbeat: None,
        written_at: Some(Time(now)),
        observed_generation: generation,
        message: Some(message),
        active_site: report.active.as_ref().map(ToString::to_string),
        epoch: report.epoch,
        serial: report.serial,
        phase: Some(report.phase.clone().unwrap_or_else(|| "NoRecord".to_owned())),
        lag: Some(report.lag.words()),
        fence: report.fence.as_ref().map(|f| fence(f.class)),
        revision: shown.policy.as_ref().and_then(|p| p.revision.clone()),
        spec_hash: shown.policy.as_ref().map(|p| p.spec_hash.clone()),
        held_until: report.held_until.map(Time),
        conditions: conditions(shown, old, generation, now),
        gates,
        sites: report.sites.iter().map(|row| site(row, report.fence.as_ref())).collect(),
        last_transition: report.last.as_ref().map(|row| last(row, &report.moves)),
        history: history.map(|t| move_status::history(t, cause(t.cause), &report.moves)).collect(),
        moves: report
            .moves
            .iter()
            .take(20)
            .map(|v| move_status::verdict(v, move_status::end(v.end)))
            .collect(),
    }
}

fn conditions(
    shown: &Shown,
    old: &api::FailoverPolicyStatus,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<kinds::Condition> {
    let mut set = Set::new(&old.conditions, generation, now);
    for c in &shown.report.conditions {
        set.put(&c.kind, c.status, &c.reason, &c.message);
    }
    match (&shown.invalid, &shown.trouble) {
        (Some(why), _) => {
            set.put(kinds::ACCEPTED, Some(false), "Invalid", why);
            set.put(kinds::READY, Some(false), "Invalid", why);
            set.put(kinds::STALLED, Some(true), "Invalid", why);
        }
        (None, Some(why)) => {
            set.put(kinds::ACCEPTED, Some(true), "Valid", "the spec is valid");
            set.put(kinds::READY, None, "ArbiterUnreachable", why);
        }
        (None, None) => set.put(kinds::ACCEPTED, Some(true), "Valid", "the spec is valid"),
    }
    set.done()
}

fn site(row: &SiteRow, promised: Option<&Fence>) -> api::SiteStatus {
    let age = |ms: u64| human(Millis(ms).duration());
    api::SiteStatus {
        name: row.name.to_string(),
        role: Some(row.role.name().to_owned()),
        promotable: row.promotable,
        reason: row.reason.clone(),
        spec_hash: row.spec_hash.clone(),
        revision: row.revision.clone(),
        lag: Some(api::Lag { bytes: row.lag.bytes, report_age_ms: row.age_ms }),
        fence_class: promised.map(|f| fence(f.class)),
        fence_does_not_cover: promised.map(|f| f.does_not_cover.clone()),
        age: row.age_ms.map(age),
    }
}

fn gate_status(gate: &Gate) -> api::GateStatus {
    api::GateStatus {
        name: gate.name.clone(),
        verdict: match gate.answer {
            Answer::Yes => api::GateVerdict::Pass,
            Answer::No => api::GateVerdict::Block,
            Answer::NotYet => api::GateVerdict::NotYet,
            Answer::Unknown => api::GateVerdict::Unknown,
        },
        value: Some(gate.found.clone()),
        threshold: Some(gate.needed.clone()),
        age: gate.age_ms.map(|ms| human(Millis(ms).duration())),
        message: gate.words(),
    }
}

const fn fence(class: FenceClass) -> api::Fence {
    match class {
        FenceClass::Advisory => api::Fence::Advisory,
        FenceClass::External => api::Fence::External,
        FenceClass::Guard => api::Fence::Guard,
        FenceClass::Gate => api::Fence::Gate,
    }
}

const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Initial => "FirstRecord",
        Cause::Planned => "Switchover",
        Cause::SiteLost => "SiteLost",
        Cause::DatabaseDead => "DatabaseLost",
        Cause::Forced => "Failover",
        Cause::PromotionFailed => "PromotionFailed",
    }
}

fn last(row: &TransitionRow, verdicts: &[Verdict]) -> api::LastTransition {
    let t = &row.transition;
    api::LastTransition {
        cause: cause(t.cause).to_owned(),
        move_name: row.by_move.clone().or_else(|| move_status::mover(t, verdicts)),
        from: Some(t.from.to_string()),
        to: t.to.to_string(),
        epoch: Some(t.epoch),
        started_at: Some(Time(t.began)),
        finished_at: t.ended.map(Time),
        phases: t.phases.iter().map(|p| api::PhaseTime { name: p.name.clone(), ms: p.took.0 }).collect(),
        write_pause_ms: row.write_pause_ms,
        read_only_ms: row.read_only_ms,
        data_loss: move_status::loss(t),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::samples::{gate, shown};

    fn now() -> Timestamp {
        Timestamp::from_second(1000).unwrap()
    }

    fn of(shown: &Shown) -> api::FailoverPolicyStatus {
        status(shown, &api::FailoverPolicyStatus::default(), Some(7), now())
    }

    fn condition<'a>(status: &'a api::FailoverPolicyStatus, kind: &str) -> &'a kinds::Condition {
        status.conditions.iter().find(|c| c.type_ == kind).unwrap()
    }

    #[test]
    fn a_status_says_who_is_active_how_far_the_others_are_and_what_the_last_transition_cost() {
        let status = of(&shown());
        assert_eq!(status.active_site.as_deref(), Some("lyon"));
        assert_eq!((status.epoch, status.serial), (Some(4), Some(12)));
        assert_eq!(status.phase.as_deref(), Some("Steady"));
        assert_eq!(status.sites.len(), 1);
        assert_eq!(status.sites[0].lag.and_then(|l| l.bytes), Some(4096));
        let last = status.last_transition.unwrap();
        assert_eq!((last.cause.as_str(), last.write_pause_ms), ("Switchover", Some(128)));
        assert_eq!(last.move_name.as_deref(), Some("to-paris"));
        let loss = last.data_loss.unwrap();
        assert_eq!((loss.transactions, loss.bytes), (Some(7), Some(512)));
        assert_eq!(status.history[0].move_name.as_deref(), Some("to-paris"));
        assert_eq!(status.moves.len(), 2);
    }

    #[test]
    fn no_record_is_shown_as_such_and_nothing_is_made_up() {
        let mut shown = shown();
        shown.record = None;
        let r = &mut shown.report;
        (r.phase, r.epoch, r.serial, r.active, r.last, r.fence) = (None, None, None, None, None, None);
        r.history.clear();
        let status = of(&shown);
        assert_eq!(status.phase.as_deref(), Some("NoRecord"));
        assert_eq!((status.epoch, status.active_site, status.last_transition), (None, None, None));
    }

    #[test]
    fn while_no_record_was_read_what_is_past_stays_told_and_who_is_active_does_not() {
        let before = of(&shown());
        let mut shown = shown();
        shown.record = None;
        let r = &mut shown.report;
        (r.phase, r.epoch, r.serial, r.active, r.last, r.fence) = (None, None, None, None, None, None);
        r.history.clear();
        r.moves.clear();
        let newest = Newest { generation: Some(7), invalid: None, unknown_channels: None };
        let status = super::of(&"paris".try_into().unwrap(), &shown, &before, newest, now());
        assert_eq!((status.epoch, status.active_site), (None, None));
        assert_eq!(status.last_transition, before.last_transition);
        assert_eq!((status.history, status.moves), (before.history, before.moves));
    }

    #[test]
    fn a_status_says_when_it_was_written() {
        assert_eq!(of(&shown()).written_at.map(|t| t.0), Some(now()));
    }

    #[test]
    fn what_time_will_tell_is_no_refusal() {
        use api::GateVerdict::{Block, NotYet, Pass, Unknown};

        let verdict = |answer| gate_status(&Gate::new("loss", answer, "found", "needed")).verdict;
        let all = [Answer::Yes, Answer::No, Answer::NotYet, Answer::Unknown].map(verdict);
        assert_eq!(all, [Pass, Block, NotYet, Unknown]);
    }

    #[test]
    fn gates_keep_their_answers_and_no_name_is_said_twice() {
        let mut shown = shown();
        shown.report.gates = vec![gate("silence", false), gate("veto", true), gate("silence", true)];
        let gates = of(&shown).gates;
        let found: Vec<_> = gates.iter().map(|g| (g.name.as_str(), g.verdict)).collect();
        assert_eq!(found, [("silence", api::GateVerdict::Block), ("veto", api::GateVerdict::Pass)]);
    }

    #[test]
    fn an_invalid_policy_is_stalled_with_the_reason() {
        let mut shown = shown();
        shown.invalid = Some("spec.sites: found one".to_owned());
        let status = of(&shown);
        assert_eq!(status.message.as_deref(), Some("spec.sites: found one"));
        for (kind, is) in [(kinds::ACCEPTED, "False"), (kinds::READY, "False"), (kinds::STALLED, "True")] {
            assert_eq!(condition(&status, kind).status, is, "{kind}");
            assert_eq!(condition(&status, kind).observed_generation, Some(7));
        }
    }

    #[test]
    fn a_channel_that_this_site_does_not_have_is_a_condition_that_keeps_its_time() {
        let (shown, site) = (shown(), "lyon".try_into().unwrap());
        let newest = Newest { generation: Some(2), invalid: None, unknown_channels: None };
        let none = super::of(&site, &shown, &api::FailoverPolicyStatus::default(), newest, now());
        assert!(none.conditions.iter().all(|c| c.type_ != kinds::CHANNELS_KNOWN), "nobody is to be told");
        let reasons = ["no channel pager".to_owned(), "no channel of-fr".to_owned()];
        let unknown = Newest { unknown_channels: Some(&reasons), ..newest };
        let first = super::of(&site, &shown, &none, unknown, now());
        let found = condition(&first, kinds::CHANNELS_KNOWN);
        assert_eq!((found.status.as_str(), found.reason.as_str()), ("False", "UnknownChannel"));
        assert_eq!(found.message, "no channel pager; no channel of-fr");
        assert_eq!(
            condition(&first, kinds::ACCEPTED),
            condition(&none, kinds::ACCEPTED),
            "nothing else changes"
        );
        assert!(first.conditions.is_sorted_by(|a, b| a.type_ < b.type_), "one of each, in order");
        let later = Timestamp::from_second(2000).unwrap();
        let second = super::of(&site, &shown, &first, unknown, later);
        assert_eq!(condition(&second, kinds::CHANNELS_KNOWN).last_transition_time.0, now());
        let known = Newest { unknown_channels: Some(&[]), ..newest };
        let third = super::of(&site, &shown, &second, known, later);
        let found = condition(&third, kinds::CHANNELS_KNOWN);
        assert_eq!((found.status.as_str(), found.last_transition_time.0), ("True", later));
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_judgement_stands() {
        let mut shown = shown();
        let first = of(&shown);
        let later = Timestamp::from_second(2000).unwrap();
        let second = status(&shown, &first, Some(8), later);
        let time = |s: &api::FailoverPolicyStatus| condition(s, kinds::ACCEPTED).last_transition_time.0;
        assert_eq!(time(&second), now());
        assert_eq!(condition(&second, kinds::ACCEPTED).observed_generation, Some(8));
        shown.invalid = Some("no".to_owned());
        assert_eq!(time(&status(&shown, &second, Some(8), later)), later);
    }

    #[test]
    fn the_generation_is_the_one_that_was_judged_and_not_the_newest() {
        let mut shown = shown();
        let before = api::FailoverPolicyStatus { observed_generation: Some(1), ..Default::default() };
        let newest = Newest { generation: Some(9), invalid: None, unknown_channels: None };
        assert_eq!(generation(&shown, &before, newest), Some(2), "the policy of the report");
        shown.invalid = Some("wrong".to_owned());
        assert_eq!(generation(&shown, &before, newest), Some(1), "the newest object was not judged yet");
        assert_eq!(generation(&shown, &before, Newest { invalid: Some("wrong"), ..newest }), Some(9));
    }
}
