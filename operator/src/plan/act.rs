//! One act, from what was rehearsed to what is told.

use std::time::Duration;

use bascule_core::moves::{Move, Verdict};
use bascule_core::plan::Step as Order;
use bascule_core::policy::Policy;
use bascule_core::record::{Cause, Phase};
use bascule_core::time::Millis;
use bascule_sim::deed::{Before as Was, Deed, Doing, End};
use bascule_sim::rehearsal::{Rehearsed, Standing};
use jiff::Timestamp;

use super::blockers::{self, finding};
use super::live::Live;
use super::risk;
use super::state::Case;
use super::told::{Act, Expected, MovePlan, Step};
use super::words::{self, Known};
use crate::why::explain::Answer as Found;

/// What an act is told from.
pub struct View<'a> {
    /// The case.
    pub case: &'a Case,
    /// The policy as it will be, or as it was.
    pub policy: &'a Policy,
    /// What a cluster says.
    pub live: Option<&'a Live>,
    /// Where it stood before the act.
    pub standing: &'a Standing,
    /// Whether a cluster said so.
    pub told: bool,
}

impl View<'_> {
    /// What is told of what was rehearsed.
    pub fn act(&self, begins: Option<Timestamp>, policy_changes: bool, done: &Rehearsed) -> Act {
        let fresh = done.before.is_none();
        let known = Known { serial: self.standing.serial.is_some() || fresh };
        let mut steps: Vec<Step> = Vec::new();
        for (at, deed) in &done.deeds {
            let step = words::step(*at, deed, self.policy, known);
            // A guard that tries again does the same.
            let again = |s: &Step| {
                (&s.site, &s.object, &s.what) == (&step.site, &step.object, &step.what)
                    && matches!(deed.what, Doing::Guard { .. })
            };
            let overtaken = matches!((&deed.what, &deed.end), (Doing::Record { .. }, End::Failed(_)));
            if !overtaken && !steps.iter().any(again) {
                steps.push(step);
            }
        }
        let objects = words::objects(&steps, done, self.policy, known);
        let moves = done.verdicts.iter().map(|(mv, verdict)| Self::moved(mv, verdict.as_ref(), done));
        Act {
            begins,
            policy_changes,
            moves: moves.collect(),
            blockers: blockers::of(self, done),
            expected: self.expected(done),
            risk: risk::of(self.policy, self.standing, self.live, done, self.told),
            steps,
            objects,
        }
    }

    /// What becomes of a Move.
    pub fn moved(mv: &Move, verdict: Option<&Verdict>, done: &Rehearsed) -> MovePlan {
        let waits = done.waits.iter().find(|(_, g)| g.name == format!("move/{}", mv.name));
        let message = match (verdict, waits) {
            (Some(verdict), _) => match &done.after {
                Some(record) => words::unmeasured(&verdict.message, record),
                None => verdict.message.clone(),
            },
            (None, Some((_, gate))) => gate.words(),
            (None, None) if blockers::is_let_go(done) => {
                "the policy is suspended, and nobody acts on its Moves".to_owned()
            }
            (None, None) => "it waits: no operator acts on it now".to_owned(),
        };
        MovePlan {
            name: mv.name.to_string(),
            kind: mv.order.kind().to_owned(),
            to: mv.order.to().map(ToString::to_string),
            verdict: verdict.map(|v| format!("{:?}", v.end)),
            message,
        }
    }

    fn expected(&self, done: &Rehearsed) -> Expected {
        let row = done.transition.as_ref();
        let ttl = done.deeds.iter().filter_map(|(_, deed)| match &deed.what {
            Doing::Step { before, after, .. } if before == after => None,
            Doing::Step { before: Was::Published(Some((_, old))), .. } => {
                Some(Millis::from(old.lingers()).0).filter(|ms| *ms > 0)
            }
            _ => None,
        });
        Expected {
            took_ms: Millis::from(done.took).0,
            write_pause_ms: row.and_then(|r| r.write_pause_ms),
            // Where a site is lost, users were read-only before anybody acted.
            read_only_ms: row.filter(|_| !self.standing.silent).and_then(|_| users_wait(done)),
            writes_after_ms: self.writes_after(done),
            dns_ttl_ms: ttl.max(),
            last_here: row.and_then(|r| self.last_here(r.transition.cause)),
            goes_on: done.goes_on,
        }
    }

    /// When a site that was lost is replaced: its successor takes writes, users are sent there and may write.
    fn writes_after(&self, done: &Rehearsed) -> Option<u64> {
        let moved = |d: &Deed| match &d.what {
            Doing::Record { before: Some(before), after, .. } => {
                after.phase == Phase::Steady && before.phase == Phase::Promoting
            }
            _ => false,
        };
        let settled = done.deeds.iter().find(|(_, d)| moved(d)).map(|(at, _)| Millis::from(*at).0);
        settled.filter(|_| self.standing.silent && done.transition.is_some())
    }

    /// What the last transition of this kind took in the cluster that was asked.
    fn last_here(&self, cause: Cause) -> Option<String> {
        let status = &self.live?.status;
        let wanted = match cause {
            Cause::Planned => "Switchover",
            Cause::Forced => "Failover",
            _ => return None,
        };
        let ms = |ms: u64| bascule_core::time::human(Duration::from_millis(ms));
        let one = status.history.iter().find(|t| t.cause == wanted)?;
        let at = one.finished_at.as_ref().map(|t| format!(", finished {}", t.0)).unwrap_or_default();
        let last =
            status.last_transition.as_ref().filter(|t| t.cause == wanted && t.epoch == Some(one.epoch));
        let pause = last.and_then(|t| t.write_pause_ms).map(|p| format!(", database pause {}", ms(p)));
        let took = one.ms.map_or_else(|| "not measured".to_owned(), |t| format!("{} in all", ms(t)));
        Some(format!("epoch {}: {took}{}{at}", one.epoch, pause.unwrap_or_default()))
    }
}

/// For how long users cannot write: from the first read-only flag, or from the stop where there is none, until the last
/// flag is off and the names point at the new site.
fn users_wait(done: &Rehearsed) -> Option<u64> {
    let steps = || done.deeds.iter().filter(|(_, deed)| !matches!(deed.end, End::Failed(_)));
    let stops = |deed: &Deed| match &deed.what {
        Doing::Step { step: Order::SetReadOnly { on, .. }, .. } => *on,
        what => matches!(what, Doing::Lock),
    };
    let opens = |deed: &Deed| match &deed.what {
        Doing::Step { step: Order::SetReadOnly { on, .. }, .. } => !*on,
        Doing::Step { step, .. } => matches!(step, Order::PointTraffic { .. } | Order::VerifyWrite { .. }),
        _ => false,
    };
    let from = steps().find(|(_, deed)| stops(deed)).map(|(at, _)| *at)?;
    let until = steps().filter(|(_, deed)| opens(deed)).map(|(at, _)| *at).max()?;
    Some(Millis::from(until.checked_sub(from)?).0)
}

/// An act that cannot be as it is assumed.
pub fn cannot_be(begins: Option<Timestamp>, moves: &[Move], why: &str) -> Act {
    let told = |mv: &Move| MovePlan {
        name: mv.name.to_string(),
        kind: mv.order.kind().to_owned(),
        to: mv.order.to().map(ToString::to_string),
        verdict: None,
        message: why.to_owned(),
    };
    let blocker = |mv: &Move| {
        let code = format!("move/{}", mv.name);
        let (needed, change) = (
            "a state in which the Move is what is waited for",
            "Plan it with --against live at the site that shall take over, when it has come to that.",
        );
        finding(&code, Found::Unknown, why.to_owned(), needed, change)
    };
    Act {
        begins,
        policy_changes: false,
        moves: moves.iter().map(told).collect(),
        steps: Vec::new(),
        objects: Vec::new(),
        blockers: moves.iter().map(blocker).collect(),
        expected: Expected::default(),
        risk: risk::unknown(),
    }
}
