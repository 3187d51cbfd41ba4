//! May the record be believed again after an absence?
//!
//! An arbiter that was restored from a backup, or emptied, holds less than was seen of it. Whoever has seen more refuses
//! it ([`Situation::gone_back`]). A site that was away, or whose operator has just started, has seen nothing: before it
//! takes its role up again, takes another's or acts on a Move, it hears those who may have.
//!
//! These are delays of a proposal and nothing else: it may come as late as it likes, the rules of who may write do not ask
//! when. Each wait for a word ends by itself; another absence begins it anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::decide::situation::Situation;
use crate::facts::SiteFacts;
use crate::guard::wire::{Report, ServerState};
use crate::mutant::forgets;
use crate::name::SiteName;
use crate::observation::{Fact, Marks};
use crate::plan::{Answer, Gate, Plan};
use crate::record::Record;
use crate::time::human;

/// Whether everybody who may have seen more than `record` has been heard, or has been waited for long enough; the gates
/// say who has not.
pub(super) fn is_believed(s: &Situation<'_>, record: &Record, plan: &mut Plan) -> bool {
    let back = s.holder.gap_ended().map_or(Duration::ZERO, |t| s.now.since(t));
    if forgets("who may have seen more is heard first") {
        return true;
    }
    let (unread, marks) = (more_is_known(s, record), own_marks(s));
    plan.waits_for_marks = marks.is_some();
    let gates: Vec<Gate> =
        unread.into_iter().chain(marks).chain(guards(s, back)).chain(sites(s, record, back)).collect();
    let believed = gates.is_empty();
    if !believed {
        plan.again(s.now + s.timing().p());
    }
    plan.gates.extend(gates);
    believed
}

/// Somebody has seen more than the record that was read before their word came: it is read again, and then it is either newer
/// or refused.
fn more_is_known(s: &Situation<'_>, record: &Record) -> Option<Gate> {
    let reports = s.seen.databases.iter().filter_map(|(name, d)| Some((name, d.guard.value()?)));
    let guards = reports.map(|(name, r)| (format!("the guard of {name}"), Marks::from(r.high_water)));
    let facts = s.seen.sites.iter().filter_map(|(site, f)| Some((site, f.value()?.marks?)));
    let sites = facts.map(|(site, marks)| (site.to_string(), marks));
    let found = Marks::from(record);
    let (who, seen) = guards.chain(sites).find(|(_, marks)| *marks > found)?;
    Some(Gate::new(
        "claim/seen",
        Answer::NotYet,
        format!(
            "{who} has seen epoch {}, serial {}; the record said epoch {}, serial {}",
            seen.epoch, seen.serial, record.epoch, record.serial
        ),
        "the record is read once more",
    ))
}

/// This site's marks as they are written down now: another process of this site may have raised them while this one was away,
/// had not looked, or had looked already. What it saw the arbiter lose it writes down a moment later, and an arbiter that was
/// restored looks like any other. An API server that cannot be read costs the time until a death is acted upon and no more.
fn own_marks(s: &Situation<'_>) -> Option<Gate> {
    let wanted = s.timing().r();
    let (asked, old) = match (s.seen.high_water_old_since, s.seen.high_water.age()) {
        (Some(since), _) => (s.now.since(since), true),
        (None, Some(age)) => {
            (Duration::ZERO, age > s.timing().p() && !forgets("marks are read before they count"))
        }
        (None, None) => return None,
    };
    (old && asked < wanted).then(|| {
        Gate::new(
            "claim/marks",
            Answer::NotYet,
            format!("this site's high-water marks are being read for {}", human(asked)),
            format!("the marks as they are written down now, or {} without them", human(wanted)),
        )
    })
}

/// This site's own guards: what they have seen lies beside the data. Without one there is nobody to grant to, so waiting
/// for it costs nothing but the time until its death is acted upon.
fn guards(s: &Situation<'_>, back: Duration) -> Option<Gate> {
    let wanted = s.timing().r();
    let reported = s.seen.databases.iter().filter(|(_, d)| d.guard.value().is_some());
    let known: BTreeSet<_> = reported.map(|(name, _)| name).collect();
    let missing = match s.databases() {
        Some(mut names) => names.find(|name| !known.contains(name)).map(ToString::to_string),
        None => known.is_empty().then(|| "every database".to_owned()),
    };
    let name = missing.filter(|_| back < wanted)?;
    Some(Gate::new(
        "claim/guard",
        Answer::NotYet,
        format!("the guard of {name} has not reported; this site is back since {}", human(back)),
        format!("its word on what it has seen, or {} without it", human(wanted)),
    ))
}

/// The other sites. One that lives and has the role would lose what it writes, if this site believed a record from before.
fn sites(s: &Situation<'_>, record: &Record, back: Duration) -> Option<Gate> {
    // Its writer has never stopped: nobody else has had the role since that was opened.
    if s.seen.databases.values().any(|d| writes_in(&d.guard, record.epoch, back)) {
        return None;
    }
    let wanted = s.timing().l() * 2;
    if back >= wanted {
        return None;
    }
    let named = s.sites().into_iter().flatten();
    let others: BTreeSet<&SiteName> = named.chain(s.seen.sites.keys()).filter(|site| *site != s.me).collect();
    let site = others.into_iter().find(|site| s.lives(site) != Some(false) && !has_answered(s, site))?;
    let lives = match s.lives(site) {
        Some(true) => format!("{site} lives and has not answered yet"),
        _ => format!("whether {site} lives is not known yet"),
    };
    Some(Gate::new(
        "claim/sites",
        Answer::NotYet,
        format!("{lives}; this site is back since {}", human(back)),
        format!(
            "what {site} has seen of the record, its silence of {}, or {} without an answer",
            human(s.timing().l()),
            human(wanted)
        ),
    ))
}

/// Whether this guard has said, since this site is back, that its server takes writes in the hold of `epoch`.
fn writes_in(guard: &Fact<Arc<Report>>, epoch: u64, back: Duration) -> bool {
    let open =
        |r: &Report| matches!(r.state, ServerState::Primary { open: true }) && r.opened_epoch == Some(epoch);
    matches!(guard, Fact::Known { value, age } if open(value) && *age < back)
}

/// Whether `site` has said, since this one is back, what it has seen. One that cannot read its own marks has not.
fn has_answered(s: &Situation<'_>, site: &SiteName) -> bool {
    let facts = s.seen.sites.get(site).and_then(|f| f.value());
    facts.is_some_and(|f: &SiteFacts| f.marks.is_some() && f.answers.get(s.me) == Some(&s.question))
}
