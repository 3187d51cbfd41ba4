//! May a record that the arbiter has lost be made anew?
//!
//! An arbiter that was restored from a backup, or emptied, knows less than was seen of it, and nothing is decided by it
//! ([`Situation::gone_back`]). A person who has understood what happened raises its generation in the values of all sites.
//! Then a site that has seen the newest record of all who can say so makes it anew, as it was: the same site has the role,
//! on the same terms. Nobody gains the role by it; if its holder is dead, another takes it by the usual rules afterwards.
//!
//! The numbers leap ([`LEAP`]), so that they are above every number that somebody may have seen who cannot say so now. A
//! transition that was under way is given up, as is every Move: they were meant for epochs that are over.

use std::collections::BTreeMap;

use crate::decide::situation::Situation;
use crate::name::SiteName;
use crate::observation::{Fact, Marks, RoleSeen};
use crate::plan::{Answer, Change, Gate, Plan};
use crate::policy::Policy;
use crate::record::{Entered, Phase, Record, SCHEMA};
use crate::time::human;
use crate::timing::Profile;

/// How far epoch and serial leap: nobody counts so far one by one while a site is away.
pub const LEAP: u64 = 1 << 16;

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
    let role = newest_role(s, seen, &needed, plan);
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
        positions: BTreeMap::new(),
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

/// Who had the role in the newest record of all that anybody has seen, if this site knows that.
fn newest_role<'a>(s: &Situation<'a>, seen: Marks, needed: &str, plan: &mut Plan) -> Option<&'a RoleSeen> {
    if let Fact::Unknown { reason } = &s.seen.high_water {
        plan.gates.push(Gate::new("marks", Answer::Unknown, reason.clone(), "this site's high-water mark"));
        return None;
    }
    let role = s.seen.role_seen.as_ref();
    let newest = role.filter(|r| r.at == seen);
    if newest.is_none() {
        let found = role.map_or_else(
            || "this site does not know who had the role".to_owned(),
            |r| {
                format!(
                    "this site has seen epoch {}, serial {}; another one, or a guard, has seen epoch {}, serial {}",
                    r.at.epoch, r.at.serial, seen.epoch, seen.serial
                )
            },
        );
        plan.gates.push(Gate::new("anew/role", Answer::NotYet, found, needed.to_owned()));
    }
    newest
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
