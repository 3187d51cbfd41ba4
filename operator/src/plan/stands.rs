//! Where a policy stands before the change: as its operator says, or assumed, and then said to be.

use anyhow::bail;
use bascule_core::gate_codes;
use bascule_core::moves::{Move, MoveEnd, MoveHash, Order, Verdict};
use bascule_core::name::{ObjectName, SiteName};
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::{After as Wait, Policy};
use bascule_core::record::{Cause, HoldUntil, Phase, Transition};
use bascule_crds::{FailoverPolicyStatus, GateVerdict, MoveState};
use bascule_sim::rehearsal::Standing;
use jiff::Timestamp;

use super::Asked;
use super::live::Live;
use super::state::Case;
use super::told::{Change, Now};

/// A standing, and how it is known.
pub struct Stands {
    /// The standing.
    pub standing: Standing,
    /// The same, for people.
    pub now: Now,
    /// Whether a cluster said so.
    pub told: bool,
    /// What is assumed, in sentences.
    pub unknown: Vec<String>,
}

/// The standing of a case, before anything is done.
pub fn of(
    case: &Case,
    was: Option<&Policy>,
    first: &[Move],
    live: Option<&Live>,
    asked: &Asked,
) -> anyhow::Result<Stands> {
    let is_written = |l: &&Live| l.status.epoch.is_some() && l.status.active_site.is_some();
    match (was, live.filter(is_written)) {
        (Some(policy), Some(live)) => told(case, policy, live, asked),
        (Some(policy), None) => Ok(assumed(policy, first, live, asked)),
        (None, _) => Ok(nothing(case, asked)),
    }
}

fn standing(policy: Option<&Policy>, active: SiteName, asked: &Asked) -> Standing {
    Standing {
        policy: policy.cloned(),
        active,
        epoch: 1,
        serial: None,
        phase: Phase::Steady,
        silent: false,
        hold: None,
        history: Vec::new(),
        verdicts: Vec::new(),
        obstacles: std::collections::BTreeMap::new(),
        seen: std::collections::BTreeMap::new(),
        wall: asked.at,
        profile: asked.profile,
        seed: 1,
    }
}

/// What only guards know.
pub const DISKS: &str = "whether the data directories are as they must be (a primary's at the active site; a replica's, or an empty one, elsewhere): unknown until the guards say so";

/// There is no policy yet.
fn nothing(case: &Case, asked: &Asked) -> Stands {
    let initial = case.after.as_ref().map(|o| o.spec.initial_site.as_str()).unwrap_or_default();
    // Intake has found it to be one of the sites; without a policy nothing is looked at.
    let active = SiteName::try_from(initial).unwrap_or_else(|_| fallback());
    let now = Now { active: None, epoch: None, serial: None, phase: None, lost: false, told_by: None };
    let unknown = vec![
        format!(
            "whether the arbiter still has a record of an earlier {}: unknown (only the operators can ask it); none is assumed",
            case.key
        ),
        DISKS.to_owned(),
    ];
    Stands { standing: standing(None, active, asked), now, told: false, unknown }
}

#[expect(clippy::expect_used, reason = "a constant that is a name")]
fn fallback() -> SiteName {
    SiteName::try_from("site").expect("a constant that is a name")
}

/// Nobody was asked: what the Moves say, or how the policy begins.
fn assumed(policy: &Policy, first: &[Move], live: Option<&Live>, asked: &Asked) -> Stands {
    let says = |m: &&Move| m.from.as_ref().is_some_and(|site| policy.has_site(site));
    let (active, whose) = match first.iter().find(says).and_then(|m| Some((m.from.clone()?, m))) {
        Some((site, mv)) => (site, format!("as Move {} says", mv.name)),
        None => (policy.initial_site.clone(), "which is spec.initialSite".to_owned()),
    };
    let mut it = standing(Some(policy), active.clone(), asked);
    let mut unknown = Vec::new();
    if live.is_some() {
        unknown.push("what the operator of that cluster knows: unknown; it has written no status that says so (`bascule why` says more)".to_owned());
    }
    unknown.push(format!("active site: unknown; {active} is assumed, {whose}"));
    match first.iter().find_map(|m| Some((m.epoch?, m))) {
        Some((epoch, mv)) => {
            it.epoch = epoch;
            unknown.push(format!(
                "current epoch: unknown; {epoch} is assumed, as Move {} says: in any other epoch it does nothing",
                mv.name
            ));
        }
        None => unknown.push("current epoch: unknown; 1 is assumed".to_owned()),
    }
    if let Some((serial, mv)) = first.iter().find_map(|m| Some((m.serial?, m))) {
        it.serial = Some(serial);
        unknown.push(format!(
            "current serial: unknown; {serial} is assumed, as Move {} says: at any other serial it is stale",
            mv.name
        ));
    } else {
        unknown.push("current serial: unknown".to_owned());
    }
    if policy.suspend {
        it.phase = Phase::Unmanaged;
    }
    lose(&mut it, policy, first);
    if it.silent {
        unknown.push(format!(
            "whether {active} is lost: unknown; it is assumed, for a Failover is refused while {active} lives"
        ));
    }
    let now = Now {
        active: Some(active.to_string()),
        epoch: Some(it.epoch),
        serial: it.serial,
        phase: Some(it.phase.to_string()),
        lost: it.silent,
        told_by: None,
    };
    Stands { standing: it, now, told: false, unknown }
}

/// A Failover is for a site that is lost: the others have noticed, and serve reads where the policy lets them.
fn lose(it: &mut Standing, policy: &Policy, moves: &[Move]) {
    if !moves.iter().any(|m| matches!(m.order, Order::Failover { .. })) {
        return;
    }
    it.silent = true;
    let reads = policy.failover.serve_reads_after != Wait::Never;
    let at_once = policy.failover.promote_after.elapsed().is_some_and(|d| d.is_zero());
    if it.phase == Phase::Steady && reads && !at_once {
        it.phase = Phase::ReadOnly;
    }
}

/// What the status says.
fn told(case: &Case, policy: &Policy, live: &Live, asked: &Asked) -> anyhow::Result<Stands> {
    let status = &live.status;
    let key = &case.key;
    let active = status.active_site.as_deref().unwrap_or_default();
    let Ok(active) = SiteName::try_from(active) else {
        bail!(
            "{key}: its status says that {active:?} is active, which is no site's name; use the `bascule` of the operator's version"
        );
    };
    let mut it = standing(Some(policy), active.clone(), asked);
    it.epoch = status.epoch.unwrap_or(1);
    it.serial = status.serial;
    it.phase = status.phase.clone().unwrap_or_default().into();
    let says = status.site.as_deref().unwrap_or("an operator");
    match &it.phase {
        Phase::Steady | Phase::Unmanaged | Phase::ReadOnly => {}
        Phase::Unknown(phase) => bail!(
            "{key}: {says} says that the record is in {phase:?}, which this program does not know; use the `bascule` of the operator's version"
        ),
        phase => bail!(
            "{key}: {says} says that the record is in {phase}: a transition is under way, and what comes after it depends on how it ends; ask again when it is over (`bascule why {key}` says what it waits for)"
        ),
    }
    let silence = status.gates.iter().find(|g| g.name == "silence");
    let elsewhere = status.site.as_deref() != Some(active.as_str());
    it.silent =
        it.phase == Phase::ReadOnly || (elsewhere && silence.is_some_and(|g| g.verdict == GateVerdict::Pass));
    it.hold = status.held_until.as_ref().map(|until| HoldUntil {
        until: until.0,
        reason: "as the status says".to_owned(),
        hash: MoveHash(String::new()),
    });
    it.history = history(status, &active);
    it.verdicts = verdicts(status, asked.at);
    it.obstacles = obstacles(live, &active);
    if case.change == Change::None {
        other_specs(live, &active, &mut it);
    }
    it.seen.clone_from(&live.seen);
    let age = live
        .explanation
        .vouched_age_ms
        .map(|ms| format!(", {} ago", bascule_core::time::human(std::time::Duration::from_millis(ms))));
    let now = Now {
        active: Some(active.to_string()),
        epoch: Some(it.epoch),
        serial: it.serial,
        phase: Some(it.phase.to_string()),
        lost: it.silent,
        told_by: Some(format!("{says}{}", age.unwrap_or_default())),
    };
    Ok(Stands { standing: it, now, told: true, unknown: live.unseen.clone() })
}

fn history(status: &FailoverPolicyStatus, active: &SiteName) -> Vec<Transition> {
    let name = |text: &str| SiteName::try_from(text).ok();
    let one = |t: &bascule_crds::TransitionRecord| {
        let finished = t.finished_at.as_ref().map(|t| t.0);
        Some(Transition {
            cause: cause(&t.cause),
            from: t.from.as_deref().and_then(name).unwrap_or_else(|| active.clone()),
            to: name(&t.to)?,
            epoch: t.epoch,
            began: finished.unwrap_or(Timestamp::UNIX_EPOCH),
            ended: finished,
            phases: Vec::new(),
            loss_bound: None,
            measured_loss: None,
        })
    };
    status.history.iter().filter_map(one).collect()
}

/// The causes as a status names them.
fn cause(text: &str) -> Cause {
    match text {
        "FirstRecord" => Cause::Initial,
        "Switchover" => Cause::Planned,
        "DatabaseLost" => Cause::DatabaseDead,
        "Failover" => Cause::Forced,
        "PromotionFailed" => Cause::PromotionFailed,
        _ => Cause::SiteLost,
    }
}

fn verdicts(status: &FailoverPolicyStatus, at: Timestamp) -> Vec<Verdict> {
    let one = |v: &bascule_crds::MoveVerdict| {
        let end = match v.state {
            MoveState::Done => MoveEnd::Done,
            MoveState::Refused => MoveEnd::Refused,
            MoveState::RolledBack => MoveEnd::RolledBack,
            MoveState::Stale => MoveEnd::Stale,
            MoveState::BecameFailover => MoveEnd::BecameFailover,
            MoveState::Pending | MoveState::Requested => return None,
        };
        Some(Verdict {
            hash: MoveHash(v.hash.clone()),
            name: ObjectName::try_from(v.name.as_str()).ok()?,
            end,
            message: v.message.clone().unwrap_or_default(),
            epoch: status.epoch.unwrap_or_default(),
            at,
            not_after: None,
        })
    };
    status.moves.iter().filter_map(one).collect()
}

/// What keeps each site from being promoted, as the status says: the gates of the site that wrote it, and its words about
/// the others.
fn obstacles(live: &Live, active: &SiteName) -> std::collections::BTreeMap<SiteName, Vec<Gate>> {
    let mut all: std::collections::BTreeMap<SiteName, Vec<Gate>> = std::collections::BTreeMap::new();
    for row in live.status.sites.iter().filter(|row| row.name != active.as_str()) {
        let Ok(site) = SiteName::try_from(row.name.as_str()) else { continue };
        let reason =
            row.reason.clone().unwrap_or_else(|| "its operator has not said whether it could".to_owned());
        let answer = match row.promotable {
            Some(true) => continue,
            Some(false) => Answer::No,
            None => Answer::Unknown,
        };
        all.entry(site).or_default().push(gate(answer, &reason));
    }
    all
}

/// Sites that act by another spec than the active one: they do not switch over before they act by the same. A change that
/// is merged for all of them ends that.
fn other_specs(live: &Live, active: &SiteName, it: &mut Standing) {
    let sites = &live.status.sites;
    let spec = |name: &str| sites.iter().find(|s| s.name == name)?.spec_hash.clone();
    let Some(wanted) = spec(active.as_str()) else { return };
    for row in sites.iter().filter(|row| row.name != active.as_str()) {
        let (Some(found), Ok(site)) = (&row.spec_hash, SiteName::try_from(row.name.as_str())) else {
            continue;
        };
        if *found != wanted {
            let found = format!("{site} acts by spec {found}, {active} by spec {wanted}");
            let gate = Gate::new("spec", Answer::NotYet, found, "the same spec in both sites");
            it.obstacles.entry(site).or_default().push(gate);
        }
    }
}

/// The code of what a status says of another site in words that are no gate's.
const NO_GATE: &str = "promotable";

/// A reason why a site could not be promoted: in a status it stands in a gate's own words, `name: found (needed: …)`.
fn gate(answer: Answer, reason: &str) -> Gate {
    let parts = || {
        let (name, rest) = reason.split_once(": ")?;
        gate_codes::of(name)?;
        let (found, needed) = rest.rsplit_once(" (needed: ")?;
        Some(Gate::new(name, answer, found, needed.strip_suffix(')')?))
    };
    parts().unwrap_or_else(|| Gate::new(NO_GATE, answer, reason, "a site that could be promoted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_in_a_gates_words_is_that_gate_again() {
        let was = Gate::new("database/main/disk", Answer::No, "no space: 2 % left", "10 % (more is better)");
        assert_eq!(gate(Answer::No, &was.words()), was);
        let other = gate(Answer::Unknown, "paris has not spoken yet: wait");
        assert_eq!((other.name.as_str(), other.found.as_str()), (NO_GATE, "paris has not spoken yet: wait"));
    }
}
