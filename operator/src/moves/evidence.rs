//! What is known before, what is expected after, what is at risk.

use std::fmt::Write as _;

use anyhow::bail;
use bascule_crds::{Move, MoveType};
use bascule_engine::intake::moves;
use jiff::Timestamp;

use super::asked::Order;
use super::make::yaml;
use crate::plan;
use crate::plan::told::{Plan, Risk};
use crate::status::{glance, text};
use crate::why::ask::Cluster;
use crate::why::explain::{Finding, Seen};

/// Everything that a person decides by.
pub struct Evidence {
    /// The Move that would be made.
    pub mv: Move,
    /// The policy's name.
    pub policy: String,
    before: glance::Glance,
    /// What would happen; why it cannot be said; `None`: no role is asked for.
    plan: Option<Result<Plan, String>>,
}

impl Evidence {
    /// Looks at the cluster. What cannot be rehearsed is said and keeps nobody from anything.
    pub async fn gather(cluster: &Cluster, seen: &Seen, mv: Move, now: Timestamp) -> anyhow::Result<Self> {
        let before = glance::of(seen, now);
        let command = moves::convert(&mv)?;
        let moves_role = matches!(mv.spec.move_type, MoveType::Switchover | MoveType::Failover);
        let plan = if moves_role {
            Some(plan::of_move(cluster, command, now).await.map_err(|why| format!("{why:#}")))
        } else {
            None
        };
        Ok(Self { mv, policy: seen.name.clone(), before, plan })
    }

    /// All of it, for people.
    pub fn text(&self, order: &Order, now: Timestamp) -> anyhow::Result<String> {
        let mut out = format!("Before:\n{}\nThe Move:\n", text::standing(&self.before, now));
        for line in yaml(&self.mv)?.lines() {
            let _ = writeln!(out, "  {line}");
        }
        out.push_str("\nExpected:\n");
        match (&self.plan, order) {
            (Some(Ok(plan)), _) => out.push_str(&plan::text::written(plan, "When it is made:")),
            (Some(Err(why)), _) => {
                let _ = writeln!(out, "  not known: it cannot be rehearsed: {why}");
            }
            (None, Order::Hold { .. }) => {
                let until = self.mv.spec.not_after.as_ref().map(|t| t.0.to_string()).unwrap_or_default();
                let _ = writeln!(
                    out,
                    "  Nothing begins by itself until {until}, whatever fails; Moves are still acted on. Databases, guards and reads go on."
                );
            }
            (None, Order::Resume) => out.push_str(match self.before.held_until {
                Some(_) => "  The hold ends; what is due by the policy then happens, a promotion included.\n",
                None => "  Nothing: no hold is known here.\n",
            }),
            (None, _) => out.push_str(
                "  The switchover is given up when it has not passed its point of no return; the source goes on as before.\n",
            ),
        }
        if let Some(note) = self.elsewhere() {
            let _ = writeln!(out, "\n  {note}");
        }
        Ok(out)
    }

    /// Where a word about the record has to be said to be heard at once.
    fn elsewhere(&self) -> Option<String> {
        let (here, active) = (self.before.site.as_ref()?, &self.before.active.as_ref()?.site);
        let here_is_enough = matches!(self.mv.spec.move_type, MoveType::Switchover | MoveType::Failover);
        (here != active && !here_is_enough).then(|| {
            format!(
                "This is {here}'s cluster, and {active} is active: {active}'s operator puts it into the record as soon as it sees it (make it there with --context, or at both with --git); {here}'s own does so once {active} is silent."
            )
        })
    }

    /// Fails when a failover would be made where nobody carries it out.
    fn reach(&self) -> anyhow::Result<()> {
        let (Some(here), Some(to)) = (&self.before.site, &self.mv.spec.to) else { return Ok(()) };
        if self.mv.spec.move_type != MoveType::Failover || here == to {
            return Ok(());
        }
        bail!(
            "Failover of {}: this is the cluster of {here}, expected that of {to}, whose operator carries it out. Nothing was made: choose {to}'s cluster with --context, or put it into both with --git",
            self.policy
        )
    }

    /// What is at risk; `None`: nothing, for no role moves or nothing can be lost.
    pub fn risk(&self) -> Option<String> {
        let failover = self.mv.spec.move_type == MoveType::Failover;
        match self.plan.as_ref()? {
            Err(_) => failover.then(|| "not known, for it cannot be rehearsed".to_owned()),
            Ok(plan) => {
                let acts = plan.policies.iter().flat_map(|p| &p.acts);
                let mut risks = acts.map(|act| &act.risk).filter(|risk| !is_none(risk));
                risks.next().map(|risk| risk.words.clone())
            }
        }
    }

    /// Fails when the operators would refuse the Move, as far as a fresh status tells. An old one tells too little to
    /// keep a person from anything.
    pub fn refuse(&self, into_git: bool) -> anyhow::Result<()> {
        if !into_git {
            self.reach()?;
        }
        let (Some(Ok(plan)), false) = (&self.plan, self.before.stale) else { return Ok(()) };
        let name = self.mv.metadata.name.as_deref().unwrap_or_default();
        let acts = || plan.policies.iter().flat_map(|p| &p.acts);
        let ends_otherwise =
            |verdict: &Option<String>| verdict.as_ref().is_some_and(|v| v != "Done" && v != "BecameFailover");
        if !acts().flat_map(|a| &a.moves).any(|m| m.name == name && ends_otherwise(&m.verdict)) {
            return Ok(());
        }
        let blocker = |f: &&Finding| f.code == format!("move/{name}");
        let Some(why) = acts().flat_map(|a| &a.blockers).find(blocker) else { return Ok(()) };
        bail!(
            "Move {}/{name}, {:?} of {}: found {}, expected {}. Nothing was made. {}",
            self.before.namespace,
            self.mv.spec.move_type,
            self.policy,
            why.found,
            why.needed,
            why.change.as_deref().unwrap_or_default()
        )
    }
}

/// Known to be nothing.
fn is_none(risk: &Risk) -> bool {
    (risk.bytes, risk.time_ms) == (Some(0), Some(0))
}
