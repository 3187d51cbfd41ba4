//! What a changed policy changes about the day on which the active site is lost: both are played, as `bascule simulate`
//! plays them.

use std::time::Duration;

use anyhow::Context;
use bascule_core::policy::Policy;
use bascule_core::time::{Millis, human};
use bascule_sim::rehearsal::Standing;
use bascule_sim::scenario::{Account, Scenario, length, play, word};

use super::Asked;
use super::state::Case;
use super::told::{Change, IfLost, Later};
use crate::telling::Progress;

/// Differences below this are chance.
const NOTICED: Duration = Duration::from_millis(500);

/// What is different when the active site is lost after the change, compared with before.
pub fn compare(
    case: &Case,
    was: Option<&Policy>,
    is: Option<&Policy>,
    standing: &Standing,
    asked: &Asked,
) -> anyhow::Result<Option<IfLost>> {
    let Some(was) = was.filter(|p| !p.databases.is_empty() && p.has_site(&standing.active)) else {
        return Ok(None);
    };
    let is = match (is, case.change) {
        (Some(is), Change::Changed) if is.has_site(&standing.active) => Some(is),
        (_, Change::Removed) => None,
        _ => return Ok(None),
    };
    let matters = |f: &super::told::FieldChange| {
        let parts = [
            "spec.suspend",
            "spec.failover",
            "spec.databases",
            "spec.traffic",
            "spec.sites",
            "spec.workloads",
        ];
        parts.iter().any(|p| f.field.starts_with(p))
    };
    if case.change == Change::Changed && !case.fields.iter().any(matters) {
        return Ok(None);
    }
    let mut progress = Progress::of(&case.key.to_string());
    let mut account = |policy: Option<&Policy>| -> anyhow::Result<Account> {
        // Nobody acts on a policy that is suspended or deleted: nothing of it is played.
        let Some(policy) = policy.filter(|p| !p.suspend) else { return Ok(Account::default()) };
        let policy = Policy { initial_site: standing.active.clone(), ..policy.clone() };
        let mut scenario = Scenario::quiet(asked.profile, standing.seed);
        let fault = word::fault(&format!("site={}@10s", standing.active), &policy.sites);
        scenario.events.push(fault.map_err(anyhow::Error::msg)?);
        let mut watch = |at| progress.is_at(&format!("{} simulated", human(at)));
        let played = play(&policy, &scenario, &mut watch)
            .with_context(|| format!("{}: {} is lost", case.key, standing.active))?;
        Ok(played.account)
    };
    let (old, new) = (account(Some(was))?, account(is)?);
    progress.ends();
    let mut found = Vec::new();
    for (what, value) in QUESTIONS {
        let (a, b) = (value(&old), value(&new));
        let differ = match (a, b) {
            (Some(a), Some(b)) => a.abs_diff(b) >= NOTICED,
            (a, b) => a.is_some() != b.is_some(),
        };
        if differ {
            let words = |d: Option<Duration>| d.map_or_else(|| "never by itself".to_owned(), length);
            let ms = |d: Option<Duration>| d.map(|d| Millis::from(d).0);
            let what = (*what).to_owned();
            found.push(Later { what, old: words(a), new: words(b), old_ms: ms(a), new_ms: ms(b) });
        }
    }
    let site = standing.active.to_string();
    Ok((!found.is_empty()).then_some(IfLost { site, changes: found }))
}

type Question = (&'static str, fn(&Account) -> Option<Duration>);

/// When the site is lost in these worlds.
const LOST_AT: Duration = Duration::from_secs(10);

const QUESTIONS: &[Question] = &[
    ("reads are served elsewhere after", |a| {
        let reads = a.phases.iter().find(|p| p.phase.starts_with("ReadOnly"))?;
        Some(reads.from.saturating_sub(LOST_AT))
    }),
    ("writes are possible again after", |a| a.longest_outage().filter(|o| o.to.is_some()).map(|o| o.took)),
    ("clients ask the new site after", |a| Some(a.clients_moved?.saturating_sub(LOST_AT))),
];
