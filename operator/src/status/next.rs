//! Which command is next. A table of what people do in a state; whether it will be done is for the operators to decide.

use jiff::Timestamp;
use serde::Serialize;

use super::glance::SiteGlance;
use crate::why::explain::{Answer, Explanation};
use crate::why::text::clock;

/// Something that can be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Next {
    /// The command, without `bascule` and without the policy's name.
    pub verb: &'static str,
    /// Its options, with a space before each.
    pub options: String,
    /// What it is for.
    pub what: String,
}

impl Next {
    /// The command for a policy that is named so.
    pub fn command(&self, policy: &str) -> String {
        format!("bascule {} {policy}{}", self.verb, self.options)
    }
}

fn next(verb: &'static str, options: String, what: &str) -> Next {
    Next { verb, options, what: what.to_owned() }
}

/// What can be done about a policy that is explained so.
pub fn of(e: &Explanation, held_until: Option<Timestamp>, sites: &[SiteGlance]) -> Vec<Next> {
    let first = e.first_blocker.as_ref();
    let mut all = Vec::new();
    let reason = || " --reason WHY".to_owned();
    if e.stale || e.message.is_none() {
        // What is to be done about an operator that says nothing is told by `why`.
        all.push(next("why", String::new(), "what to do about an operator that does not speak"));
        return all;
    }
    if let Some(until) = held_until {
        let what = format!("ends the hold, which would end at {}", clock(until));
        all.push(next("resume", reason(), &what));
    }
    let lost = || e.gates.iter().any(|g| g.code == "silence" && g.answer == Answer::Yes);
    match e.phase.as_deref() {
        Some("ReadOnly") => {
            if held_until.is_none() {
                all.push(next("hold", reason(), "keeps it as it is: nobody is promoted meanwhile"));
            }
            all.extend(failover(e, sites));
        }
        Some("Requested" | "Handover") => {
            all.push(next("abort", reason(), "gives the switchover up, as long as that is possible"));
        }
        Some("Promoting" | "Returning" | "Offered" | "Withdrawn") => {
            all.push(next("status", " -w".to_owned(), "follows it to its end"));
        }
        Some("Steady") if lost() => {
            if held_until.is_none() {
                all.push(next("hold", reason(), "keeps it as it is: nothing begins by itself meanwhile"));
            }
            all.extend(failover(e, sites));
        }
        _ => {}
    }
    if let Some(first) = first {
        let what = match (all.is_empty(), &first.change) {
            (true, Some(change)) => format!("{}: {change}", first.code),
            _ => format!("every gate with its evidence; the first that is not Yes is {}", first.code),
        };
        all.push(next("why", String::new(), &what));
    }
    all
}

/// A failover to each site that could be meant, with what it has to say for the first blocker.
fn failover(e: &Explanation, sites: &[SiteGlance]) -> Vec<Next> {
    let says = |code: &str| e.gates.iter().any(|g| g.code == code && g.answer != Answer::Yes);
    let stopped = if says("promise") { " --source-stopped WHO-SAW-IT" } else { "" };
    let what = match (says("promise"), says("loss")) {
        (true, _) => "promotes it now, on your word that the other site is off",
        (_, true) => "promotes it now; what is at risk is shown and has to be accepted by name",
        _ => "promotes it now",
    };
    let others = sites.iter().filter(|s| !s.active && s.promotable != Some(false));
    others.map(|site| next("failover", format!(" --to {}{stopped} --reason WHY", site.name), what)).collect()
}
