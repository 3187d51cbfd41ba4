//! What a site does next for one policy: total, deterministic, one file per question.
//!
//! | file | question |
//! |---|---|
//! | `situation` | what is known, and the small questions every rule asks |
//! | `first` | may the first record be created? |
//! | `anew` | may a record that the arbiter has lost be made anew? |
//! | `moves` | which Move is acted on, which is refused? |
//! | `eligible` | could this site be promoted? |
//! | `believe` | may the record be believed again after an absence? |
//! | `hold` | must the role be re-claimed, and is it kept well? |
//! | `planned` | may a switchover go on, or must it be rolled back? |
//! | `take` | may this site take the role of a silent one? |
//! | `candidate` | which of several sites takes it? |
//! | `offer` | is the database dead, and who takes it? |
//! | `witness` | whose word counts for a database? |
//! | `withdraw` | is a database's guard gone with its node? |
//! | `finish` | has the new holder opened, and is the transition over? |
//! | `release` | what becomes of a policy that is let go: suspended, deleted, or without this site? |
//! | `measure` | how much was really lost, once the old site has returned? |
//! | `posture` | what shall this site's databases, workloads and traffic be now? |

mod anew;
mod believe;
mod candidate;
mod eligible;
mod finish;
mod first;
mod hold;
mod measure;
mod moves;
mod next;
mod note;
mod offer;
mod planned;
mod posture;
mod release;
mod situation;
mod take;
pub(crate) mod unlocked;
mod withdraw;
mod witness;

pub use anew::LEAP;
pub use eligible::state_words;
pub use note::note;
pub(crate) use posture::{not_passing, not_refusing};
pub use situation::{Installation, Places, PolicySeen, Situation};
pub(crate) use take::said_behind;

use crate::loss::LossBound;
use crate::plan::{Answer, Gate, Plan};
use crate::policy::Policy;
use crate::record::{Phase, Record};

/// Decides what this site does next.
///
/// The answer depends on the situation alone. At most one change of the record is proposed; the effects are those
/// that are due now, whatever was done before.
pub fn decide(s: &Situation<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(view) = s.claim.view() else {
        match &s.policy {
            PolicySeen::Present(policy) if anew::is_wanted(s) => {
                first::wait(policy, &mut plan);
                makes_anew(s, policy, None, &mut plan);
            }
            PolicySeen::Present(policy) => first::create(s, policy, &mut plan),
            PolicySeen::NotListed | PolicySeen::Absent => {
                "there is no policy and no record".clone_into(&mut plan.summary);
            }
        }
        return plan;
    };
    let record = &view.record;
    if let Some(gate) = s.gone_back(record) {
        if let PolicySeen::Present(policy) = &s.policy
            && anew::is_wanted(s)
        {
            makes_anew(s, policy, Some(record), &mut plan);
            posture::keep_everything(s, &mut plan);
            return plan;
        }
        plan.summary = format!("refused: {}", gate.words());
        plan.gates.push(gate);
        posture::keep_everything(s, &mut plan);
        return plan;
    }
    if !record.is_understood() {
        let gate = Gate::new(
            "schema",
            Answer::No,
            format!("the record has schema {} and phase {}", record.schema, record.phase),
            format!(
                "schema {} or lower and a known phase; upgrade this site's operator",
                crate::record::SCHEMA
            ),
        );
        plan.summary = gate.words();
        plan.gates.push(gate);
        posture::keep_everything(s, &mut plan);
        return plan;
    }
    let policy = match &s.policy {
        PolicySeen::Present(policy) => policy,
        PolicySeen::NotListed => {
            "the policies have not been listed yet".clone_into(&mut plan.summary);
            release::keep_roles(s, record, &mut plan);
            hold::reclaim(s, record, &mut plan);
            return plan;
        }
        PolicySeen::Absent => {
            release::keep_roles(s, record, &mut plan);
            release::deleted(s, record, &mut plan);
            return plan;
        }
    };
    plan.blockers = eligible::blockers(s, policy, record);
    if !policy.has_site(s.me) {
        release::keep_roles(s, record, &mut plan);
        release::not_named(s, policy, record, &mut plan);
        return plan;
    }
    if policy.suspend {
        release::suspended(s, policy, record, &mut plan);
        return plan;
    }
    posture::take_up(s, policy, record, &mut plan);
    // A person's word comes before what would be done without it.
    let urgent = moves::is_urgent(s, record);
    if urgent {
        moves::decide(s, policy, record, &mut plan);
    }
    if plan.transition.is_none() {
        if record.active == *s.me {
            hold::decide(s, policy, record, &mut plan);
        } else {
            take::decide(s, policy, record, &mut plan);
        }
    }
    if plan.transition.is_none() && !urgent {
        moves::decide(s, policy, record, &mut plan);
    }
    // What the active site proposes was believed when it re-claimed its role.
    if plan.transition.is_some() && record.active != *s.me && !believe::is_believed(s, record, &mut plan) {
        plan.transition = None;
    }
    if plan.summary.is_empty() {
        plan.summary = summary(s, record, &plan);
    }
    plan
}

/// A site that has no part in the policy, or whose policy is suspended, leaves it to the others.
fn makes_anew(s: &Situation<'_>, policy: &Policy, found: Option<&Record>, plan: &mut Plan) {
    if policy.has_site(s.me) && !policy.suspend {
        anew::make(s, policy, found, plan);
        return;
    }
    let why = if policy.suspend { "the policy is suspended" } else { "the policy does not name this site" };
    let gate = Gate::new("anew/role", Answer::No, why, "a site of a policy that is not suspended");
    plan.summary = gate.words();
    plan.gates.push(gate);
}

/// Every gate between the situation and a promotion of this site that nobody asks for, for people: the answers decide
/// nothing here.
pub(crate) fn promotion_gates(s: &Situation<'_>, policy: &Policy, record: &Record) -> Vec<Gate> {
    let mut gates = take::promote_gates(s, policy, record, None);
    // Replication that delivers while its site lives is as it should be, and no alarm.
    if s.proves_silence(record).is_none() {
        gates.retain(|gate| gate.name != "veto");
    }
    gates
}

/// How long after a role was withdrawn it is offered.
pub(crate) fn withdrawal_wait(s: &Situation<'_>, record: &Record) -> std::time::Duration {
    witness::granted_until_gone(s, record)
}

/// What a promotion of this site would lose at most, if it were done now.
pub(crate) fn loss_now(s: &Situation<'_>, policy: &Policy, record: &Record) -> LossBound {
    take::loss(s, policy, record)
}

fn summary(s: &Situation<'_>, record: &crate::record::Record, plan: &Plan) -> String {
    if let Some(change) = &plan.transition {
        return change.why.clone();
    }
    let waiting = plan.first_blocker().map(|g| format!("; {}", g.words())).unwrap_or_default();
    match record.phase {
        Phase::Steady if record.active == *s.me => {
            format!("{} is active (epoch {}){waiting}", record.active, record.epoch)
        }
        Phase::Steady => {
            let blocked =
                plan.blockers.first().map(|g| format!("; {} cannot be promoted: {}", s.me, g.words()));
            format!("{} is active (epoch {}){}", record.active, record.epoch, blocked.unwrap_or_default())
        }
        Phase::Unmanaged => format!("{} keeps its role; nobody acts", record.active),
        Phase::ReadOnly => {
            let by = record.target.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
            format!("{} is silent; {by} serves reads{waiting}", record.active)
        }
        _ if record.active == *s.me || record.target.as_ref() == Some(s.me) => {
            format!("{}{waiting}", record.phase)
        }
        _ => format!("{} (this site has no part in it){waiting}", record.phase),
    }
}
