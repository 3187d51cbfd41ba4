//! The state in a sentence or two: what is, what comes next, who is waited for.

use super::{SiteRow, clock, size};
use crate::decide::{PolicySeen, Situation};
use crate::loss::LossBound;
use crate::plan::{Answer, Gate, Plan};
use crate::policy::After;
use crate::record::{Fences, Phase, Record};
use crate::time::human;

/// How the gates end that hold back traffic and not the promotion.
const SERVING: &str = "/serving";

pub(super) fn sentence(s: &Situation<'_>, plan: &Plan, record: Option<&Record>, sites: &[SiteRow]) -> String {
    let rest = without_warning(s, plan, record, sites);
    match unlocked(s) {
        Some(warning) => format!("{warning} {rest}"),
        None => rest,
    }
}

/// What a person has unlocked, in any site that says so.
fn unlocked(s: &Situation<'_>) -> Option<String> {
    let here =
        crate::decide::unlocked::here(s).map(|(name, word)| format!("{name} in {}, {}", s.me, word.words()));
    let others = s.seen.sites.iter().filter_map(|(site, facts)| Some((site, facts.value()?)));
    let there = others.flat_map(|(site, facts)| {
        let said = facts.blockers.iter().filter_map(|gate| {
            let name = gate.name.strip_prefix("database/")?.strip_suffix("/unlocked")?;
            Some(format!("{name} in {site}, {}", gate.found))
        });
        said.collect::<Vec<_>>()
    });
    let all: Vec<String> = here.chain(there).collect();
    (!all.is_empty()).then(|| format!("UNLOCKED, nothing stops it: {}.", all.join("; ")))
}

fn without_warning(s: &Situation<'_>, plan: &Plan, record: Option<&Record>, sites: &[SiteRow]) -> String {
    let blocker = plan.first_blocker().map(Gate::words);
    let Some(record) = record else {
        return match blocker {
            Some(why) => format!("No site has a role yet: {why}."),
            None => format!("{}.", plan.summary),
        };
    };
    let held_back = |name: &str| plan.gates.iter().any(|g| g.name == name && g.answer == Answer::No);
    if ["arbiter", "schema", "site"].into_iter().any(held_back) {
        return format!("Nothing is done: {}.", blocker.unwrap_or_default());
    }
    let PolicySeen::Present(policy) = &s.policy else { return format!("{}.", plan.summary) };
    if policy.suspend {
        return format!("{}.", plan.summary);
    }
    let active = &record.active;
    let target = record.target.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
    let by = record.doing.as_ref().map(|d| format!(" (Move {})", d.name)).unwrap_or_default();
    // A site that has no part in it has its own questions, which are not what is waited for.
    let part = *active == *s.me
        || (record.target.as_ref() == Some(s.me)
            && matches!(record.phase, Phase::Requested | Phase::Handover))
        || record.phase == Phase::Offered;
    let waits = blocker.filter(|_| part).map(|why| format!(" Waits for {why}.")).unwrap_or_default();
    match record.phase {
        Phase::Steady => steady(s, plan, record, sites),
        Phase::Unmanaged => format!("Not managed: {active} keeps its role and nobody acts.{waits}"),
        Phase::Requested => format!("Switchover from {active} to {target}{by} is being prepared.{waits}"),
        Phase::Handover => {
            format!(
                "Switchover from {active} to {target}{by}: {active} has stopped, {target} proves that it has everything.{waits}"
            )
        }
        Phase::Promoting => {
            let from = record.transition.as_ref().map(|t| format!(" from {}", t.from)).unwrap_or_default();
            format!("{active} takes over{from} (epoch {}){by}.{}{waits}", record.epoch, risk(record))
        }
        Phase::ReadOnly => read_only(s, plan, record),
        Phase::Returning => {
            format!(
                "{active} came back. Reads served from {target} until {active} was open and stable for {}.{waits}",
                human(policy.failover.return_after)
            )
        }
        Phase::Offered => {
            let why = record.offer.as_ref().map_or("", |o| o.reason.as_str());
            format!("{active} offers its role: {why}.{waits}")
        }
        Phase::Withdrawn => format!("{active} waits until a grant that it cannot take back has run out."),
        Phase::Unknown(_) => format!("Nothing is done: the record is in {}.", record.phase),
    }
}

fn steady(s: &Situation<'_>, plan: &Plan, record: &Record, sites: &[SiteRow]) -> String {
    let active = &record.active;
    if *active != *s.me {
        match s.lives(active) {
            Some(false) => return silent(s, plan, record),
            None => {
                return format!(
                    "{active} is active (epoch {}); whether it lives is not known yet.",
                    record.epoch
                );
            }
            Some(true) => {}
        }
    } else if let Err(why) = s.claim.grant(s.holder, s.me, s.now) {
        return format!("{active} is active (epoch {}) and does not write: {why}.", record.epoch);
    } else if let Some(gate) = plan.gates.iter().find(|g| g.name.starts_with("database") && !g.passed()) {
        let next = plan.gates.iter().find(|g| !g.passed() && !g.name.starts_with("database"));
        let next = next.map(|g| format!(" Not offered to another site: {}.", g.words())).unwrap_or_default();
        return format!("The database in {active} does not serve: {}.{next}", gate.found);
    }
    let followers: Vec<String> = sites
        .iter()
        .filter(|row| row.name != *active)
        .map(|row| match (row.lives, row.lag.bytes) {
            (Some(false), _) => format!(
                "{} has been silent for {}",
                row.name,
                human(std::time::Duration::from_millis(row.silent_ms.unwrap_or_default()))
            ),
            (None, _) => format!("whether {} lives is not known", row.name),
            (Some(true), Some(bytes)) => {
                let age = row.lag.age_ms.map(std::time::Duration::from_millis).filter(|a| a.as_secs() >= 2);
                let ago = age.map(|a| format!(" {} ago", human(a))).unwrap_or_default();
                format!("{} follows, {} behind{ago}", row.name, size(bytes))
            }
            (Some(true), None) => match &row.not_streaming {
                Some(why) => format!("{} lives and does not stream ({why})", row.name),
                None => format!("{} lives, its lag is not known", row.name),
            },
        })
        .collect();
    let held = held(s, record).map(|h| format!(" {h}")).unwrap_or_default();
    format!("{active} writes (epoch {}); {}.{held}", record.epoch, followers.join("; "))
}

fn silent(s: &Situation<'_>, plan: &Plan, record: &Record) -> String {
    let heard = last_heard(s, record);
    let next = plan.first_blocker().map(|g| format!(" Waits for {}.", g.words())).unwrap_or_default();
    let coming = plan.transition.as_ref().map(|c| format!(" {}.", c.why)).unwrap_or_default();
    format!("{} is silent, {heard}.{}", record.active, if coming.is_empty() { next } else { coming })
}

fn read_only(s: &Situation<'_>, plan: &Plan, record: &Record) -> String {
    let target = record.target.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
    let since = clock(record.entered.at, s.wall, false);
    let waits = plan.gates.iter().find(|g| g.name.ends_with(SERVING) && !g.passed());
    let waits = waits.map(|g| format!(" Traffic waits for {}.", g.words())).unwrap_or_default();
    format!(
        "Reads served from {target} since {since}.{waits} {}{} {}.",
        promotes(s, plan, record),
        risk(record),
        capital(&last_heard(s, record))
    )
    .replace(" at risk. Last heard", " at risk, last heard")
}

/// What has to happen before the target is promoted.
fn promotes(s: &Situation<'_>, plan: &Plan, record: &Record) -> String {
    let PolicySeen::Present(policy) = &s.policy else { return String::new() };
    if record.promise.fences == Fences::Never {
        let active = &record.active;
        return format!("Promotes only by a Move with sourceStopped, for {active} promised nothing.");
    }
    if let Some(held) = held(s, record) {
        return held;
    }
    let After::Elapsed(after) = policy.failover.promote_after else {
        return "Promotes only by a Move of type Failover.".to_owned();
    };
    let own = record.target.as_ref() == Some(s.me);
    let due = record.entered.at.checked_add(after).unwrap_or(record.entered.at);
    let other = plan.gates.iter().find(|g| {
        !g.passed()
            && !matches!(g.name.as_str(), "promote" | "silence" | "serveReads" | "hold")
            && !g.name.ends_with(SERVING)
    });
    if let Some(gate) = other.filter(|_| own) {
        return format!("Not promoted: {}.", gate.words());
    }
    if due > s.wall {
        let soon = due.duration_since(s.wall) < jiff::SignedDuration::from_mins(2);
        return format!("Promotes {} unless held.", clock(due, s.wall, soon));
    }
    let blocker = plan.gates.iter().find(|g| !g.passed() && !g.name.ends_with(SERVING));
    match blocker.filter(|_| own) {
        Some(gate) => format!("Promotion is due; waits for {}.", gate.words()),
        None => "Promotion is due.".to_owned(),
    }
}

fn held(s: &Situation<'_>, record: &Record) -> Option<String> {
    let hold = record.hold.as_ref().filter(|h| h.until > s.wall)?;
    Some(format!("Held until {} ({}).", clock(hold.until, s.wall, false), hold.reason))
}

/// When the active site was last heard; only what was really seen.
fn last_heard(s: &Situation<'_>, record: &Record) -> String {
    let Some(window) = s.observer.window(&record.active) else {
        return format!("when {} was last heard is not known", record.active);
    };
    let ago = s.now.since(window.first_received);
    if !window.changed {
        return format!("silent for at least {}", human(ago));
    }
    match s.wall.checked_sub(ago) {
        Ok(at) => format!("last heard {}", clock(at, s.wall, true)),
        Err(_) => format!("last heard {} ago", human(ago)),
    }
}

/// What is at risk by the transition under way, as its own sentence with a space before it.
fn risk(record: &Record) -> String {
    let bound = record.transition.as_ref().and_then(|t| t.loss_bound);
    match bound {
        Some(b) if b == LossBound::NOTHING => " Nothing is lost.".to_owned(),
        Some(b) => format!(" {}.", capital(&at_risk(&b))),
        None => String::new(),
    }
}

/// The bound in words.
pub(super) fn at_risk(bound: &LossBound) -> String {
    match (bound.bytes, bound.unseen) {
        (Some(bytes), Some(unseen)) => {
            format!("at most {} and what was written in {} at risk", size(bytes), human(unseen.duration()))
        }
        (Some(bytes), None) => format!("{} and what was written in an unknown time at risk", size(bytes)),
        (None, _) => "what is at risk is not known".to_owned(),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
