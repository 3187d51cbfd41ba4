//! Which notices are due.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::speaker::speaker;
use super::words;
use super::{Audience, Case, Kind, Notice};
use crate::moves::Order;
use crate::name::{ItemName, SiteName};
use crate::record::{Cause, Phase, Record, Transition};

/// For how long a happening is told by a site that has not told it yet: because its operator starts only now, or because
/// the site that should have told it turns out to be silent.
///
/// It is as long as a delivery is tried. So what happened less than this before an operator starts is told once more by
/// it, and what happened earlier is not: it was delivered, or said to be lost, by the operator before.
pub const FRESH: Duration = Duration::from_mins(15);

/// A decision that is needed for less than this is none: the next look may answer it.
const DECISION_SETTLES: Duration = Duration::from_secs(30);

/// After which times without protection it is told; then every [`UNPROTECTED_EVERY`].
const UNPROTECTED_AFTER: [Duration; 4] =
    [Duration::from_mins(5), Duration::from_hours(1), Duration::from_hours(6), Duration::from_hours(24)];

/// How often a lack of protection is told in the end.
const UNPROTECTED_EVERY: Duration = Duration::from_hours(24);

/// What is not so any more for this long may be told anew when it is so again.
const FORGOTTEN: Duration = Duration::from_hours(1);

/// What one site remembers of what it saw and told of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    looked: bool,
    before: Option<(u64, Phase)>,
    returned: Option<Timestamp>,
    unprotected: Option<Timestamp>,
    stalled: Option<Timestamp>,
    seen: BTreeMap<String, Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    first: Timestamp,
    last: Timestamp,
    told: bool,
}

impl Memory {
    /// What an operator that starts knows from the status that the one before it wrote: the epoch and phase of the
    /// record then, and since when protection was lacking and a person was waited for.
    pub fn from_status(
        before: Option<(u64, Phase)>,
        unprotected: Option<Timestamp>,
        stalled: Option<Timestamp>,
    ) -> Self {
        Self { before, unprotected, stalled, ..Self::default() }
    }
}

/// Something that is so, with what distinguishes it from the next of its kind.
struct Happening {
    kind: Kind,
    id: String,
    since: Timestamp,
    /// When it became worth telling.
    at: Timestamp,
    subject: String,
    facts: Vec<(&'static str, String)>,
}

/// What is to be told now by `me`. The memory must be the one of this policy, and is changed: what is returned counts as
/// told. Looking once a minute is enough; every change of the case should be looked at.
pub fn due(memory: &mut Memory, me: &SiteName, case: &Case, now: Timestamp) -> Vec<Notice> {
    observe(memory, me, case, now);
    let speaks = speaker(me, case) == Some(me);
    let mut notices = Vec::new();
    for happening in happenings(memory, case, now) {
        let first = if memory.looked { now } else { happening.at };
        let seen = memory.seen.entry(happening.id.clone()).or_insert(Seen { first, last: now, told: false });
        seen.last = now;
        if speaks && !seen.told && now.duration_since(seen.first) <= signed(FRESH) {
            seen.told = true;
            notices.extend(addressed(&happening, me, case));
        }
    }
    memory.seen.retain(|_, seen| now.duration_since(seen.last) <= signed(FORGOTTEN));
    memory.looked = true;
    notices
}

/// Remembers what lasts.
fn observe(memory: &mut Memory, me: &SiteName, case: &Case, now: Timestamp) {
    // Without this judgement nothing is known; a record that cannot be read takes no protection away.
    if let Some(possible) = case.condition("FailoverPossible") {
        memory.unprotected =
            if possible.status == Some(true) { None } else { memory.unprotected.or(Some(now)) };
    }
    let stalled = case.condition("Stalled").is_some_and(|c| c.status == Some(true));
    memory.stalled = if stalled { memory.stalled.or(Some(now)) } else { None };
    let Some(record) = &case.record else { return };
    let was_read_only = memory.before.as_ref().is_some_and(|(epoch, phase)| {
        *epoch == record.epoch && matches!(phase, Phase::ReadOnly | Phase::Returning)
    });
    if record.phase != Phase::Steady {
        memory.returned = None;
    } else if was_read_only && record.active == *me {
        memory.returned = Some(record.entered.at);
    }
    memory.before = Some((record.epoch, record.phase.clone()));
}

fn happenings(memory: &Memory, case: &Case, now: Timestamp) -> Vec<Happening> {
    let mut all = Vec::new();
    if let Some(record) = &case.record {
        all.extend(read_only(case, record));
        all.extend(moved(case, record));
        all.extend(back(memory, case, record));
        all.extend(unprotected(memory, case, record, now));
        all.extend(planned(case, record, now));
    }
    all.extend(decision(memory, case, now));
    all
}

fn happening(case: &Case, kind: Kind, which: impl std::fmt::Display, at: Timestamp) -> Happening {
    Happening {
        kind,
        id: format!("{}/{}/{kind}/{which}", case.policy.key, case.epoch()),
        since: at,
        at,
        subject: String::new(),
        facts: Vec::new(),
    }
}

fn read_only(case: &Case, record: &Record) -> Option<Happening> {
    if record.phase != Phase::ReadOnly {
        return None;
    }
    let target = record.target.as_ref()?;
    let at = record.entered.at;
    Some(Happening {
        subject: format!("read-only: {} is silent, {target} serves reads", record.active),
        facts: words::of_transition(record.transition.as_ref()),
        ..happening(case, Kind::ReadOnly, at.as_second(), at)
    })
}

/// The transition that gave the active site its role, once it is over.
fn finished(record: &Record) -> Option<&Transition> {
    let last = record.history.first()?;
    let its = last.epoch == record.epoch && last.to == record.active && last.from != last.to;
    (its && last.cause != Cause::Initial).then_some(last)
}

fn moved(case: &Case, record: &Record) -> Option<Happening> {
    let last = finished(record)?;
    let at = last.ended?;
    Some(Happening {
        subject: format!("moved: {} writes, {} does not any more", last.to, last.from),
        facts: words::of_transition(Some(last)),
        ..happening(case, Kind::Moved, record.epoch, at)
    })
}

fn back(memory: &Memory, case: &Case, record: &Record) -> Option<Happening> {
    let at = memory.returned?;
    Some(Happening {
        subject: format!("back: {} reads and writes again", record.active),
        facts: vec![(
            "Promoted",
            "nobody: the site that was silent has kept its role and its data".to_owned(),
        )],
        ..happening(case, Kind::Back, at.as_second(), at)
    })
}

fn decision(memory: &Memory, case: &Case, now: Timestamp) -> Option<Happening> {
    let stalled = case.condition("Stalled").filter(|c| c.status == Some(true))?;
    let since = memory.stalled?;
    // A person has said so.
    let meant = case.policy.suspend && stalled.reason == "Unmanaged";
    if meant || now.duration_since(since) < signed(DECISION_SETTLES) {
        return None;
    }
    let which = format!("{}/{}", case.serial(), stalled.reason);
    let at = since.checked_add(DECISION_SETTLES).unwrap_or(since);
    Some(Happening {
        since,
        subject: "a decision is needed: nothing more happens by itself".to_owned(),
        facts: vec![("Waits for", stalled.message.to_string())],
        ..happening(case, Kind::DecisionNeeded, which, at)
    })
}

fn unprotected(memory: &Memory, case: &Case, record: &Record, now: Timestamp) -> Option<Happening> {
    let since = memory.unprotected.filter(|_| record.phase == Phase::Steady)?;
    let lasts = Duration::try_from(now.duration_since(since)).ok()?;
    let (which, after) = milestone(lasts)?;
    let why = case.condition("FailoverPossible").map(|c| c.message.to_string()).unwrap_or_default();
    Some(Happening {
        since,
        subject: format!(
            "unprotected for {}: no other site could take over from {}",
            crate::time::human(after),
            record.active
        ),
        facts: vec![("Because", why)],
        ..happening(
            case,
            Kind::Unprotected,
            format!("{}/{which}", since.as_second()),
            since.checked_add(after).unwrap_or(since),
        )
    })
}

/// The last time at which a lack of protection that lasts for so long was to be told, and which one it was.
fn milestone(lasts: Duration) -> Option<(u64, Duration)> {
    let [.., last] = UNPROTECTED_AFTER;
    if lasts >= last + UNPROTECTED_EVERY {
        let more = lasts.saturating_sub(last).as_secs() / UNPROTECTED_EVERY.as_secs();
        let after = last + Duration::from_secs(more * UNPROTECTED_EVERY.as_secs());
        return Some((UNPROTECTED_AFTER.len() as u64 + more - 1, after));
    }
    let passed = UNPROTECTED_AFTER.iter().enumerate().rev().find(|(_, after)| lasts >= **after);
    passed.map(|(which, after)| (which as u64, *after))
}

fn planned(case: &Case, record: &Record, now: Timestamp) -> Vec<Happening> {
    let later = case.moves.iter().filter_map(|(mv, made)| {
        let Order::Switchover { to } = &mv.order else { return None };
        let begins = mv.not_before.filter(|t| *t > now)?;
        if record.verdict(&mv.hash).is_some() || mv.epoch.is_some_and(|epoch| epoch != record.epoch) {
            return None;
        }
        let mut facts = vec![
            ("Begins", format!("{begins}")),
            ("Reason", mv.reason.clone()),
            ("Move", mv.name.to_string()),
        ];
        if let Some(ends) = mv.not_after {
            facts.insert(1, ("Not after", format!("{ends}")));
        }
        Some(Happening {
            subject: format!("planned: switchover from {} to {to} at {begins}", record.active),
            facts,
            ..happening(case, Kind::Planned, &mv.hash.0, *made)
        })
    });
    later.collect()
}

/// The notices of a happening: to each channel of the administrators, and to each of the users who have words for it.
fn addressed(happening: &Happening, me: &SiteName, case: &Case) -> Vec<Notice> {
    let notice = |channel: &ItemName, audience: Audience, id: &str, subject: String, text: String| Notice {
        id: format!("{}/{id}", happening.id),
        kind: happening.kind,
        policy: case.policy.key.clone(),
        epoch: case.epoch(),
        serial: case.serial(),
        site: me.clone(),
        since: happening.since,
        channel: channel.clone(),
        audience,
        subject,
        text,
    };
    let to = &case.policy.notifications;
    let text = words::administrators(happening.kind, &happening.facts, happening.since, me, case);
    let subject = format!("{}: {}", case.policy.key, happening.subject);
    let mut all: Vec<Notice> = to
        .channels
        .iter()
        .map(|channel| {
            notice(channel, Audience::Administrators, "administrators", subject.clone(), text.clone())
        })
        .collect();
    for (language, users) in &to.users {
        let words = match happening.kind {
            Kind::ReadOnly => &users.read_only,
            Kind::Moved => &users.moved,
            Kind::Back => &users.back,
            Kind::Planned => &users.planned,
            Kind::DecisionNeeded | Kind::Unprotected => continue,
        };
        let Some(words) = words else { continue };
        let audience = || Audience::Users(language.clone());
        let id = format!("users/{language}");
        let each = users.channels.iter();
        all.extend(each.map(|c| notice(c, audience(), &id, users.subject.clone(), words.clone())));
    }
    all
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
