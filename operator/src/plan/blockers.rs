//! What stands in the way of an act: the Moves that come to nothing, what a status names, what the rehearsal ran into.

use bascule_core::gate_codes::{self, Kind as GateKind};
use bascule_core::moves::{Move, MoveEnd, Order, Verdict};
use bascule_core::name::SiteName;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::{After, Policy};
use bascule_core::record::Phase;
use bascule_crds::conditions::READY;
use bascule_sim::rehearsal::Rehearsed;

use super::act::View;
use super::live::Live;
use super::told::MovePlan;
use crate::why::explain::{Answer as Found, Finding, Judgement};
use crate::why::judgement::{ARBITER_UNREACHABLE, UNREADABLE};

/// Everything that stands in the way.
pub fn of(view: &View<'_>, done: &Rehearsed) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    if let Some(live) = view.live {
        all.extend(live.explanation.first_blocker.iter().filter(|f| hides_the_rest(f, live)).cloned());
    }
    for name in &view.case.taken {
        all.push(finding(
            &format!("move/{name}"),
            Found::No,
            "a Move of this name stands already and says something else; a Move never changes, so this text is not acted on".to_owned(),
            "a name that no Move has",
            "Give the Move a new name.",
        ));
    }
    for (mv, verdict) in &done.verdicts {
        let code = format!("move/{}", mv.name);
        match verdict.as_ref().map(|v| (v.end, &v.message)) {
            Some((MoveEnd::Done | MoveEnd::BecameFailover, _)) => {}
            Some((end, message)) => {
                let (needed, change) = instead(end);
                all.push(finding(&code, Found::No, format!("{end:?}: {message}"), needed, change));
            }
            None => {
                let MovePlan { message, .. } = View::moved(mv, None, done);
                let change = if is_let_go(done) {
                    "Merge spec.suspend: false with it, or before it."
                } else {
                    gate_codes::of(&code).map_or("", |c| c.change)
                };
                all.push(finding(&code, Found::NotYet, message, "what it waits for", change));
            }
        }
    }
    let moves_role = |(mv, _): &(Move, Option<Verdict>)| mv.order.to().is_some();
    let asked = done.verdicts.iter().any(moves_role);
    for (site, gates) in view.standing.obstacles.iter().filter(|_| asked) {
        let meant = done.verdicts.iter().any(|(mv, _)| mv.order.to() == Some(site));
        let failover = done.verdicts.iter().any(|(mv, _)| matches!(mv.order, Order::Failover { .. }));
        all.extend(gates.iter().filter(|_| meant).map(|g| from_gate(g, view.live, site, failover)));
    }
    // A hold is in the way of what nobody asks for, and is no news where it was asked for.
    let asks_failover = waits_for_failover(done);
    let others = |(_, g): &&(SiteName, Gate)| {
        !g.name.starts_with("move/") && g.name != "hold" && (asks_failover || !about_failover(&g.name))
    };
    for (site, gate) in done.waits.iter().filter(others) {
        let state = gate_codes::of(&gate.name).is_none_or(|c| c.kind == GateKind::State);
        let bad = matches!(gate.answer, Answer::No | Answer::Unknown);
        let ours =
            view.standing.obstacles.get(site).is_some_and(|all| all.iter().any(|g| g.name == gate.name));
        // A site that the policy does not name says nothing of it but that.
        let named = view.policy.has_site(site) || gate.name == "site";
        let under_way = done.before.is_none() || done.goes_on;
        if bad && named && (state || under_way) && !ours && !all.iter().any(|f| f.code == gate.name) {
            all.push(from_gate(gate, None, site, asks_failover));
        }
    }
    all
}

/// Whether a finding says that what the status says is not to be relied on: it is missing or old, its policy is not valid,
/// or its operator does not hear the arbiter.
fn hides_the_rest(f: &Finding, live: &Live) -> bool {
    let deaf =
        |c: &Judgement| c.kind == READY && [ARBITER_UNREACHABLE, UNREADABLE].contains(&c.reason.as_str());
    match f.code.as_str() {
        "condition/Accepted" => true,
        "condition/Ready" => live.explanation.conditions.iter().any(deaf),
        code => code.starts_with("status/"),
    }
}

/// The gates that only ask whether a lost site would be replaced by itself.
fn about_failover(gate: &str) -> bool {
    matches!(gate, "silence" | "serveReads" | "promise" | "cooldown" | "promote" | "loss")
}

/// Whether a failover was asked for and has no verdict yet: what keeps a site from taking over is then in the way.
fn waits_for_failover(done: &Rehearsed) -> bool {
    done.verdicts.iter().any(|(mv, verdict)| matches!(mv.order, Order::Failover { .. }) && verdict.is_none())
}

/// What would not happen by itself on the day a site is lost. It keeps nothing of the change from happening.
pub fn by_a_person(policy: &Policy, done: &Rehearsed) -> Option<String> {
    let f = &policy.failover;
    let says_no = |name: &str| done.waits.iter().any(|(_, g)| g.name == name && g.answer == Answer::No);
    if policy.databases.is_empty() || policy.suspend {
        return None;
    }
    if f.promote_after == After::Never {
        return Some(
            "When the active site is lost, a person decides by a Move of type Failover: spec.failover.promote.after is Never."
                .to_owned(),
        );
    }
    says_no("loss").then(|| {
        "When the active site is lost, a person decides by a Move of type Failover with acceptDataLoss: what would be at risk is more than spec.failover.promote.maxDataLoss allows."
            .to_owned()
    })
}

/// Whether nobody acts on the policy.
pub fn is_let_go(done: &Rehearsed) -> bool {
    done.after.as_ref().is_some_and(|r| r.phase == Phase::Unmanaged)
}

/// What is needed instead of a Move that ends so, and what to do.
const fn instead(end: MoveEnd) -> (&'static str, &'static str) {
    match end {
        MoveEnd::Stale => (
            "a Move that names what the policy's status shows",
            "Write a new Move, with another name, that names the epoch (and serial) that `kubectl get fop` shows and times that have not passed: this one never acts again.",
        ),
        MoveEnd::RolledBack => (
            "a switchover that reaches its point of no return",
            "Remove what is found, then write a new Move with another name: this one never acts again.",
        ),
        MoveEnd::Refused | MoveEnd::Done | MoveEnd::BecameFailover => (
            "a Move that fits the state",
            "Remove what is found, or correct the Move, before it is merged: once refused it never acts, and another one needs another name.",
        ),
    }
}

/// A finding that blocks.
pub fn finding(code: &str, answer: Found, found: String, needed: &str, change: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        answer,
        blocks: true,
        found,
        needed: needed.to_owned(),
        age_ms: None,
        change: Some(change.to_owned()).filter(|c| !c.is_empty()),
    }
}

fn from_gate(gate: &Gate, live: Option<&Live>, site: &SiteName, asks_failover: bool) -> Finding {
    // A status names the same obstacle more closely than its row about the site.
    let closer = live.filter(|l| l.site().as_ref() == Some(site)).and_then(|l| {
        let bad = |f: &&Finding| {
            let says = f.blocks && matches!(f.answer, Found::No | Found::Unknown);
            says && (asks_failover || !about_failover(&f.code))
        };
        l.explanation.gates.iter().find(bad).cloned()
    });
    closer.unwrap_or_else(|| {
        let answer = match gate.answer {
            Answer::Yes => Found::Yes,
            Answer::No => Found::No,
            Answer::NotYet => Found::NotYet,
            Answer::Unknown => Found::Unknown,
        };
        let change = gate_codes::of(&gate.name).map_or_else(
            || format!("`bascule why` at {site} names each obstacle, with what to do about it."),
            |code| code.change.to_owned(),
        );
        finding(&gate.name, answer, gate.found.clone(), &gate.needed, &change)
    })
}
