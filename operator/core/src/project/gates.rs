//! Every question that a person may want the answer to, all year.

use crate::decide::{PolicySeen, Situation, promotion_gates};
use crate::plan::{Answer, Gate, Plan, merged};
use crate::record::{Phase, Record};

/// The gates of the plan, this site's blockers, what else a promotion of this site would need, and advice.
pub(super) fn gates(s: &Situation<'_>, plan: &Plan, record: Option<&Record>) -> Vec<Gate> {
    let mut all: Vec<Gate> = plan.gates.iter().chain(&plan.blockers).cloned().collect();
    let asked = |all: &[Gate], gate: &Gate| all.iter().any(|g| g.name == gate.name);
    let needed: Vec<Gate> = promotion(s, plan, record).into_iter().filter(|g| !asked(&all, g)).collect();
    all.extend(needed);
    all.extend(advice(s).cloned());
    merged(all)
}

/// What a promotion of this site would need, as long as it is a site that may ever be promoted.
fn promotion(s: &Situation<'_>, plan: &Plan, record: Option<&Record>) -> Vec<Gate> {
    let (PolicySeen::Present(policy), Some(record)) = (&s.policy, record) else { return Vec::new() };
    let refused = |g: &Gate| matches!(g.name.as_str(), "arbiter" | "schema") && g.answer == Answer::No;
    let concerned = policy.has_site(s.me)
        && !policy.suspend
        && record.active != *s.me
        && record.is_understood()
        && record.phase != Phase::Unmanaged
        && !plan.gates.iter().any(refused);
    if concerned { promotion_gates(s, policy, record) } else { Vec::new() }
}

/// What a person should know although it stands in nobody's way: the gates among the findings that are passed.
pub(super) fn advice<'a>(s: &'a Situation<'_>) -> impl Iterator<Item = &'a Gate> {
    let databases = s.seen.databases.values().map(|d| &d.preflight);
    let workloads = s.seen.workloads.values().map(|w| &w.blockers);
    let traffic = s.seen.traffic.values().map(|t| &t.blockers);
    let found = databases.chain(workloads).chain(traffic).filter_map(|f| f.value()).flatten();
    s.seen.advice.iter().chain(found).filter(|g| g.passed())
}
