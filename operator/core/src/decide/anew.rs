//! May a record that the arbiter has lost be made anew?
//!
//! An arbiter that was restored from a backup, or emptied, knows less than was seen of it, and nothing is decided by it
//! ([`Situation::gone_back`]). A person who has understood what happened raises its generation in the values of all sites.
//! Then a site that has seen the newest record of all who can say so makes it anew, as it was: the same site has the role,
//! on the same terms. Nobody gains the role by it; if its holder is dead, another takes it by the usual rules afterwards.
//!
//! The numbers leap ([`LEAP`]), so that they are above every number that somebody may have seen who cannot say so now. A
//! transition that was under way is given up, as is every Move: they were meant for epochs that are over.

use std::time::Duration;

use crate::decide::situation::Situation;
use crate::few::Few;
use crate::name::SiteName;
use crate::observation::{Fact, Marks, RoleSeen};
use crate::plan::{Answer, Change, Gate, Plan};
use crate::policy::Policy;
use crate::record::{Entered, Fences, Phase, Promise, Record, SCHEMA};
use crate::time::human;
use crate::timing::Profile;

/// How far epoch and serial leap: nobody counts so far one by one while a site is away.
pub const LEAP: u64 = 1 << 16;

/// How long a site that knows the numbers alone waits for one that knows who had the role.
const KNOWS_BETTER: Duration = Duration::from_secs(30);

/// Whether a person has raised the arbiter's generation above everything that was seen of this policy.
pub(super) fn is_wanted(s: &Situation<'_>) -> bool {
    let seen = s.seen.known_marks();
    seen != Marks::default() && s.installation.generation > seen.generation
}

/// Proposes the record anew, or says who is waited for. `found` is what the arbiter has now.
pub(super) fn make(s: &Situation<'_>, policy: &Policy, found: Option<&Record>, plan: &mut Plan) {
    let seen = s.seen.known_marks();
    let needed = format!(
        "a record of generation {}, made anew from epoch {}, serial {}",
        s.installation.generation, seen.epoch, seen.serial
    );
    let role = newest_role(s, policy, seen, &needed, plan);
    for site in policy.other_sites(s.me) {
        plan.gates.extend(heard(s, site));
    }
    let (Some(role), true) = (role, plan.gates.iter().all(Gate::passed)) else {
        plan.again(s.now + s.timing().p());
        let why = plan.first_blocker().map(Gate::words).unwrap_or_default();
        plan.summary = format!("the record is not made anew yet; {why}");
        return;
    };
    if !s.lease_alive() || s.claim.is_writing() || found.is_some_and(|_| s.claim.current().is_none()) {
        "the record is not made anew yet: this site's lease is not renewed, or the record is being read or written"
            .clone_into(&mut plan.summary);
        return;
    }
    let next = Record {
        schema: SCHEMA,
        generation: s.installation.generation,
        epoch: seen.epoch.saturating_add(LEAP),
        serial: seen.serial.saturating_add(LEAP),
        active: role.active.clone(),
        // Traffic and flags follow a verified write, as after every take; who is not to act any more lets go from there.
        phase: Phase::Promoting,
        promise: role.promise.clone(),
        settled: false,
        previous: None,
        target: None,
        doing: None,
        hold: role.hold.clone(),
        positions: Few::new(),
        offer: None,
        transition: None,
        entered: Entered { at: s.wall, by: s.me.clone() },
        moves: found.map(|r| r.moves.clone()).unwrap_or_default(),
        history: found.map(|r| r.history.clone()).unwrap_or_default(),
        sizes: found.map(|r| r.sizes.clone()).unwrap_or_default(),
        unknown: found.map(|r| r.unknown.clone()).unwrap_or_default(),
    };
    let why = format!(
        "the arbiter has lost the record of epoch {}, serial {}; it is made anew: {} keeps the role",
        seen.epoch, seen.serial, role.active
    );
    plan.summary.clone_from(&why);
    plan.transition = Some(Change { next, unchanged_lease: None, why });
}

/// Who had the role in the newest record of all that anybody has seen.
///
/// A site may know the numbers alone: its operator died after it had told its guard and before it wrote down who had the
/// role. Whoever knows better is waited for; then it follows from the numbers, for the epoch grows by one exactly when the
/// active site changes, and of two sites it is one or the other. On what terms is not known then: the slowest are taken.
fn newest_role(
    s: &Situation<'_>,
    policy: &Policy,
    seen: Marks,
    needed: &str,
    plan: &mut Plan,
) -> Option<RoleSeen> {
    if let Fact::Unknown { reason } = &s.seen.high_water {
        plan.gates.push(Gate::new("marks", Answer::Unknown, reason.clone(), "this site's high-water mark"));
        return None;
    }
    let mut refuse = |answer, found: String, needed: String| {
        plan.gates.push(Gate::new("anew/role", answer, found, needed));
        None
    };
    let Some(role) = &s.seen.role_seen else {
        let found = "this site does not know who had the role".to_owned();
        return refuse(Answer::NotYet, found, needed.to_owned());
    };
    if role.at == seen {
        return Some(RoleSeen::clone(role));
    }
    let found = format!(
        "this site has seen epoch {}, serial {}; another one, or a guard, has seen epoch {}, serial {}",
        role.at.epoch, role.at.serial, seen.epoch, seen.serial
    );
    let Some(active) = follows(policy, role, seen) else {
        return refuse(Answer::NotYet, found, needed.to_owned());
    };
    let back = s.holder.gap_ended().map_or(Duration::ZERO, |t| s.now.since(t));
    if back < KNOWS_BETTER {
        let needed =
            format!("{needed}, by whoever knows who had the role, or {} without it", human(KNOWS_BETTER));
        return refuse(Answer::NotYet, found, needed);
    }
    let slowest = Profile::Conservative.timing();
    let fences = match role.promise.fences {
        Fences::Never => Fences::Never,
        Fences::Within { .. } => Fences::Within { holder: slowest.holder, fence: slowest.fence },
    };
    let promise = Promise {
        fences,
        lease: slowest.lease,
        profile: Profile::Conservative.name().to_owned(),
        ..role.promise.clone()
    };
    Some(RoleSeen { at: seen, active, promise, hold: role.hold.clone() })
}

/// Who has the role at these marks when `role` had it at its own.
fn follows(policy: &Policy, role: &RoleSeen, seen: Marks) -> Option<SiteName> {
    if role.at.generation != seen.generation {
        return None;
    }
    match (seen.epoch.checked_sub(role.at.epoch)?, policy.sites.as_slice()) {
        (0, _) => Some(role.active.clone()),
        (changes, [a, b]) if [a, b].contains(&&role.active) => {
            let other = if role.active == *a { b } else { a };
            Some(if changes.is_multiple_of(2) { role.active.clone() } else { other.clone() })
        }
        _ => None,
    }
}

/// Whether another site has said what it has seen, or has been silent for so long that it writes no more: it may have taken
/// the role since, on terms that nobody here knows, so the slowest of all profiles is waited for.
fn heard(s: &Situation<'_>, site: &SiteName) -> Option<Gate> {
    let facts = s.seen.sites.get(site).and_then(|f| f.value());
    if facts.is_some_and(|f| f.marks.is_some() && f.answers.get(s.me) == Some(&s.question)) {
        return None;
    }
    let (silent, lease) = (s.silent_for(site).unwrap_or_default(), Profile::Conservative.timing().l());
    (silent < lease).then(|| {
        Gate::new(
            &format!("anew/site/{site}"),
            Answer::NotYet,
            format!(
                "{site} has not said what it has seen of the record, and is silent for {}",
                human(silent)
            ),
            format!("its word, or its silence of {}", human(lease)),
        )
    })
}
