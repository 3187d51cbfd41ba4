//! Did the policy keep its word?

use std::time::Duration;

use bascule_core::policy::{After, Policy, Traffic};
use bascule_core::project::size;

use super::{Account, Scenario, What, length};

/// Whether a promise was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promised {
    /// It was.
    Held,
    /// It was not.
    Broken,
    /// Nothing of the kind is promised.
    Nothing,
    /// It was not watched for long enough to tell.
    Unknown,
}

/// How it stood when it was not watched any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// More would have happened, and somebody wanted to see no more.
    CutShort,
    /// Nothing more happens before a person acts.
    Stuck,
    /// It was watched to its end, or for long enough.
    Seen,
}

impl Promised {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broken => "BROKEN",
            Self::Nothing => "not promised",
            Self::Unknown => "not known",
        }
    }
}

/// One promise and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Its name.
    pub name: &'static str,
    /// Whether it was kept.
    pub promised: Promised,
    /// What was measured.
    pub measured: String,
    /// What was promised, with its terms.
    pub bound: String,
}

impl Judgement {
    /// Whether it was not kept.
    pub fn is_broken(&self) -> bool {
        self.promised == Promised::Broken
    }
}

/// Judges everything that the policy promises.
pub(super) fn judge(policy: &Policy, scenario: &Scenario, account: &Account, end: End) -> Vec<Judgement> {
    let mut all = Vec::new();
    if !policy.databases.is_empty() {
        all.extend(losses(policy, scenario, account));
        all.push(recovery(policy, scenario, account, end));
    }
    all.extend(switchovers(account, end));
    all.push(invariants(account));
    all
}

fn held(name: &'static str, ok: bool, measured: String, bound: String) -> Judgement {
    let promised = if ok { Promised::Held } else { Promised::Broken };
    Judgement { name, promised, measured, bound }
}

fn losses(policy: &Policy, scenario: &Scenario, account: &Account) -> [Judgement; 2] {
    let max = &policy.failover.max_data_loss;
    let accepted = scenario.events.iter().any(|e| match &e.what {
        What::Move(mv) => {
            matches!(&mv.order, bascule_core::moves::Order::Failover { accept_data_loss: true, .. })
        }
        What::Fault { .. } | What::Switch(_) | What::Revert(_) => false,
    });
    let rows = match account.lost {
        0 => "no row lost".to_owned(),
        n => format!("{} lost", rows(n)),
    };
    let promised = |ok: bool| match (ok, accepted) {
        (true, _) => Promised::Held,
        (false, true) => Promised::Nothing,
        (false, false) => Promised::Broken,
    };
    let waived = if accepted { "; a Move accepted more" } else { "" };
    [
        Judgement {
            name: "maxDataLoss.time",
            promised: promised(account.lost_time <= max.seconds),
            measured: if account.lost > 1 {
                format!("{rows}, {} of writes", length(account.lost_time))
            } else {
                rows.clone()
            },
            bound: format!("at most {}{waived}", length(max.seconds)),
        },
        Judgement {
            name: "maxDataLoss.bytes",
            promised: promised(account.lost_bytes <= max.bytes),
            measured: if account.lost > 0 { format!("{rows}, {}", size(account.lost_bytes)) } else { rows },
            bound: format!("at most {}{waived}", size(max.bytes)),
        },
    ]
}

/// What it takes after all waiting is over: calls to the arbiter, a promotion, pods, the traffic.
const OPENING: Duration = Duration::from_secs(2);

fn recovery(policy: &Policy, scenario: &Scenario, account: &Account, end: End) -> Judgement {
    const NAME: &str = "recovery";
    let Some(longest) = account.longest_outage() else {
        return held(NAME, true, "no write had to wait".to_owned(), "-".to_owned());
    };
    let planned = account.verdicts.iter().any(|v| v.kind == "Switchover")
        && !scenario.events.iter().any(|e| matches!(e.what, What::Fault { .. }));
    let bound = if planned {
        let deadline = policy.failover.switchover_deadline;
        Ok((deadline, format!("within switchoverDeadline, {}", length(deadline))))
    } else {
        let terms = bound(policy, scenario, account);
        terms.map(|(most, terms)| (most, format!("at most {} = {terms}", length(most))))
    };
    // One that is over and was too long is not mended by what came after it.
    let too_long = bound.as_ref().is_ok_and(|(most, _)| longest.took > *most);
    let outage = if too_long { longest } else { account.goes_on().unwrap_or(longest) };
    let goes_on = account.goes_on() == Some(outage);
    let measured = if goes_on {
        let still = if end == End::Stuck { ", and it stays so" } else { "" };
        format!("nobody can write, {} after the last write{still}", length(outage.took))
    } else {
        format!("nobody could write for {}", length(outage.took))
    };
    let (most, bound) = match bound {
        Ok(bound) => bound,
        Err(why) => {
            return Judgement { name: NAME, promised: Promised::Nothing, measured, bound: why };
        }
    };
    let held_by = scenario
        .events
        .iter()
        .any(|e| matches!(&e.what, What::Move(mv) if matches!(mv.order, bascule_core::moves::Order::Hold)));
    if held_by && (goes_on || outage.took > most) {
        let bound = "a Move of type Hold keeps the role where it is".to_owned();
        return Judgement { name: NAME, promised: Promised::Nothing, measured, bound };
    }
    if goes_on && end == End::CutShort && outage.took <= most {
        let needed = Duration::from_secs((outage.from + most).as_secs() + 1);
        let bound = format!("{bound}; watched too short: --for {} or more tells", length(needed));
        return Judgement { name: NAME, promised: Promised::Unknown, measured, bound };
    }
    // One that nothing ends any more is too long, however long it was watched.
    held(NAME, !goes_on && outage.took <= most, measured, bound)
}

/// How long nobody may be able to write, and what it is made of; or why nothing is promised.
fn bound(policy: &Policy, scenario: &Scenario, account: &Account) -> Result<(Duration, String), String> {
    let timing = scenario.profile.timing();
    let f = &policy.failover;
    if policy.suspend {
        return Err("the policy is suspended".to_owned());
    }
    let After::Elapsed(promote) = f.promote_after else {
        return Err("spec.failover.promote.after is Never: a person promotes".to_owned());
    };
    let After::Elapsed(reads) = f.serve_reads_after else {
        return Err("spec.failover.serveReads.after is Never: a person acts".to_owned());
    };
    let mut terms: Vec<(Duration, String)> = Vec::new();
    if promote.is_zero() || timing.l() >= reads {
        terms.push((timing.l(), format!("L {}", length(timing.l()))));
    } else {
        terms.push((reads, format!("serveReads.after {}", length(reads))));
    }
    if !promote.is_zero() {
        terms.push((promote, format!("promote.after {}", length(promote))));
    }
    if account.phases.iter().any(|p| p.phase.starts_with("Returning")) {
        // It came back while its reads were served elsewhere.
        terms.push((f.return_after, format!("serveReads.returnAfter {}", length(f.return_after))));
    }
    let guard = |e: &super::Event| matches!(&e.what, What::Fault { kind, .. } if kind.takes_the_guard());
    if scenario.events.iter().any(guard) {
        let wait = f.restart_grace + timing.withdrawal_wait();
        terms.push((
            wait,
            format!(
                "databaseLost.restartGrace {} and until it has certainly stopped {}",
                length(f.restart_grace),
                length(timing.withdrawal_wait())
            ),
        ));
    }
    let calls = timing.p() + timing.tq() * 5;
    terms.push((calls, format!("a renewal (P) and 5 calls to the arbiter {}", length(calls))));
    let ttl = policy.traffic.values().map(Traffic::lingers).max().unwrap_or_default();
    if !ttl.is_zero() {
        terms.push((ttl, format!("DNS ttl {}", length(ttl))));
    }
    terms.push((OPENING, format!("opening {}", length(OPENING))));
    let sum = terms.iter().map(|(d, _)| *d).sum();
    Ok((sum, terms.into_iter().map(|(_, words)| words).collect::<Vec<_>>().join(" + ")))
}

fn rows(n: usize) -> String {
    if n == 1 { "1 row".to_owned() } else { format!("{n} rows") }
}

fn switchovers(account: &Account, end: End) -> Vec<Judgement> {
    let planned = account.verdicts.iter().filter(|v| v.kind == "Switchover");
    let judge = |v: &super::Verdict| {
        let done = v.end.as_deref() == Some("Done");
        let measured = match &v.end {
            Some(end) if done && account.lost > 0 => {
                format!("{}: {end}; {} lost in all that happened", v.name, rows(account.lost))
            }
            Some(end) if done => format!("{}: {end}", v.name),
            Some(end) => format!("{}: {end}, {}", v.name, v.message),
            None => format!("{}: {}", v.name, v.message),
        };
        let bound = "done, and nothing lost".to_owned();
        if v.end.is_none() && end == End::CutShort {
            let bound = format!("{bound}; watched too short");
            return Judgement { name: "switchover", promised: Promised::Unknown, measured, bound };
        }
        held("switchover", done && account.lost == 0, measured, bound)
    };
    planned.map(judge).collect()
}

fn invariants(account: &Account) -> Judgement {
    let found = &account.violations;
    let measured = match found.as_slice() {
        [] => "never two writers, nor another one broken".to_owned(),
        [(_, first), rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            format!("{first}{more}; please report it")
        }
    };
    held("invariants", found.is_empty(), measured, "docs/guarantees.md".to_owned())
}
