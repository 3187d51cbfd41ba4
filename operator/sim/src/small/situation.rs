//! How does the core see one operator's world?

use std::time::Duration;

use bascule_core::check::check;
use bascule_core::decide::{PolicySeen, Situation, decide, note};
use bascule_core::facts::{SCHEMA, SiteFacts};
use bascule_core::few::Few;
use bascule_core::loss::LastContact;
use bascule_core::memory::Memory;
use bascule_core::observation::{DatabaseView, Fact, Observation};
use bascule_core::plan::{Gate, Plan};
use bascule_core::position::Lsn;
use jiff::Timestamp;

use super::operator::Operator;
use super::setting::{Setting, TICK, database, policy, sites};

/// What an operator observes, apart from the ballot.
fn observation(op: &Operator) -> Observation {
    let now = op.now();
    let guard = match &op.report {
        Some((report, at)) if now.since(*at) <= TICK * 3 => {
            Fact::Known { value: report.clone().into(), age: now.since(*at) }
        }
        Some(_) => Fact::unknown("its guard has not asked for long"),
        None => Fact::unknown("its guard is not connected"),
    };
    let view = DatabaseView {
        guard,
        // How much may be lost is no question here: always little, and always known.
        last_contact: Some(LastContact { reported_end: Lsn(100), received: Lsn(100), reported_at: now }),
        preflight: Fact::now(vec![]),
        write_verified: op.verified,
        granted: op.granted.clone(),
    };
    let other = sites()[1 - op.site].clone();
    let heard =
        op.heard.as_ref().map(|(f, _)| (other, Fact::Known { value: f.clone(), age: Duration::ZERO }));
    Observation {
        databases: Few::from([(database(), view)]),
        sites: heard.into_iter().collect(),
        high_water: Fact::now(op.marks),
        seen_marks: op.seen,
        ..Observation::default()
    }
}

/// Decides for `op`: the plan, what is remembered, and what the second opinion has against it.
pub(super) fn decide_for(op: &Operator, setting: &Setting) -> (Plan, Memory, Option<String>) {
    let (me, installation, policy) = (&sites()[op.site], setting.installation(), policy());
    let (seen, moves) = (observation(op), setting.moves());
    let mut memory = op.memory.clone();
    let mut s = Situation {
        me,
        now: op.now(),
        wall: Timestamp::UNIX_EPOCH,
        installation: &installation,
        policy: PolicySeen::Present(&policy),
        holder: &op.holder,
        observer: &op.observer,
        claim: &op.claim,
        seen: &seen,
        moves: &moves,
        question: op.asks(),
        memory: &op.memory,
    };
    note(&mut memory, &s);
    s.memory = &memory;
    let plan = decide(&s);
    let found = check(s.claim.view().map(|v| &v.record), &plan, &s);
    let wrong = found.first().map(|v| format!("the second opinion objects: {v}"));
    (plan, memory, wrong)
}

/// What `op` says to the other site. Why it could not be promoted is told without figures: they would tell states apart
/// that the rules do not.
pub(super) fn facts(op: &Operator, plan: &Plan) -> SiteFacts {
    let [a, b] = sites();
    let (me, other) = if op.site == 0 { (a, b) } else { (b, a) };
    let simply = |g: &Gate| Gate::new(&g.name, g.answer, "", "");
    let heard = op.heard.as_ref();
    SiteFacts {
        schema: SCHEMA,
        site: me,
        question: op.asks(),
        number: 1,
        answers: heard.map(|(f, _)| (other, f.question)).into_iter().collect(),
        marks: op.claim.current().map(|_| op.marks.max(op.seen)),
        spec_hash: Some(policy().spec_hash),
        revision: None,
        blockers: plan.blockers.iter().map(simply).collect(),
        ready_for: plan.ready_for,
        cannot_prove: plan.cannot_prove,
        candidacy: plan.candidacy.clone(),
        disks: op.report.iter().map(|(r, _)| (database(), r.disk.clone())).collect(),
        behind: Few::new(),
        lag_bytes: Few::new(),
        not_streaming: Few::new(),
        sizes: Few::new(),
        diverged: Few::new(),
    }
}
