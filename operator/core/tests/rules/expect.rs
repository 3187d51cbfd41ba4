//! Short ways to say what a plan is.

use bascule_core::plan::{Answer, DatabaseRole, Gate, Plan, Step};
use bascule_core::record::{Phase, Record};

use crate::world::given::moment;
use crate::world::item;

/// The proposed record.
pub fn next(plan: &Plan) -> &Record {
    &plan.transition.as_ref().unwrap_or_else(|| panic!("no change is proposed: {}", words(plan))).next
}

/// The phase that is proposed, if a change is.
pub fn goes_to(plan: &Plan) -> Option<Phase> {
    plan.transition.as_ref().map(|c| c.next.phase.clone())
}

/// Nothing is proposed.
pub fn stays(plan: &Plan) {
    assert!(plan.transition.is_none(), "nothing may be proposed: {:?}", plan.transition);
}

/// The gate with this name.
pub fn gate<'a>(plan: &'a Plan, name: &str) -> &'a Gate {
    plan.gates.iter().find(|g| g.name == name).unwrap_or_else(|| panic!("no gate {name}: {}", words(plan)))
}

/// The answer of the gate with this name.
pub fn answer(plan: &Plan, name: &str) -> Answer {
    gate(plan, name).answer
}

/// What the database shall be.
pub fn role(plan: &Plan) -> &DatabaseRole {
    &plan.databases[&item("main")].role
}

/// The flag's step, if one is due: on or off.
pub fn flag(plan: &Plan) -> Option<bool> {
    plan.steps.iter().find_map(|s| match s {
        Step::SetReadOnly { on, .. } => Some(*on),
        _ => None,
    })
}

/// In how many milliseconds the plan is to be made again.
pub fn again_in(plan: &Plan) -> Option<u64> {
    plan.look_again.map(|t| t.since(moment(0)).as_millis() as u64)
}

/// What the transition of the proposed record has measured.
pub fn measured(plan: &Plan) -> Vec<(&str, u64)> {
    let transition = next(plan).transition.as_ref().or(next(plan).history.first());
    transition.map_or(vec![], |t| t.phases.iter().map(|p| (p.name.as_str(), p.took.0)).collect())
}

/// Whether traffic is to be pointed here.
pub fn points_traffic(plan: &Plan) -> bool {
    plan.steps.iter().any(|s| matches!(s, Step::PointTraffic { .. }))
}

fn words(plan: &Plan) -> String {
    let gates: Vec<String> = plan.gates.iter().map(|g| format!("{:?} {}", g.answer, g.words())).collect();
    format!("{}\n  {}", plan.summary, gates.join("\n  "))
}
