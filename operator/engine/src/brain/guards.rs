//! What guards are answered and told.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bascule_core::ballot::claim::Grant as Granted;
use bascule_core::few::Few;
use bascule_core::guard::wire::{Grant, Instruction, Report, Role, Timing, slot_of};
use bascule_core::name::{ItemName, ObjectName};
use bascule_core::observation::Fact;
use bascule_core::plan::{DatabaseRole, Plan};
use bascule_core::record::{Fences, Phase};
use bascule_core::time::{Boottime, Millis};

use super::event::{Command, Look};
use super::policy::{Guard, Pending, State, Way};
use super::{Brain, Identity};
use crate::ports::{GuardEvent, GuardSession, JournalEntry, JournalKind};

/// How many questions of one policy may wait for a read of the record.
const MAX_PENDING: usize = 64;

/// How long a pod that is not connected keeps its place against another one while no policy says `restartGrace`.
const ANOTHER_POD: Duration = Duration::from_mins(2);

impl Brain {
    pub(super) fn guard(&mut self, event: GuardEvent, now: Boottime) {
        match event {
            GuardEvent::Connected { session, hello } => {
                if hello.site != self.id.site {
                    let reason = format!(
                        "the guard of {} was started for site {}, this operator is of site {}: check --site and --operator of the guard",
                        hello.database, hello.site, self.id.site
                    );
                    self.out.push(Command::Refuse { session, reason });
                    return;
                }
                let (key, database) = (hello.policy.clone(), hello.database.clone());
                match bind(self.state(&key), &database, &hello.instance, now) {
                    Ok(None) => {}
                    Ok(Some((older, reason))) => {
                        self.out.push(Command::Refuse { session: older, reason });
                    }
                    Err(reason) => {
                        self.out.push(Command::Refuse { session, reason });
                        return;
                    }
                }
                self.sessions.insert(session, (self.known(&key), database.clone()));
                let what = format!(
                    "the guard of {database} connected from {} (PostgreSQL {})",
                    hello.instance, hello.postgres_version
                );
                let state = self.state(&key);
                let guard = Guard { session, report: None, shown: false, told: None };
                state.guards.insert(database, Box::new(guard));
                let (epoch, serial) = state.epoch_serial();
                state.want_read(now);
                self.out.push(Command::Journal(JournalEntry {
                    policy: Some(key.clone()),
                    epoch,
                    serial,
                    kind: JournalKind::Observed,
                    what,
                }));
                self.dirty.insert(key);
            }
            GuardEvent::Gone { session, reason } => {
                let Some((key, database)) = self.sessions.remove(&session) else { return };
                let Some(state) = self.policies.get_mut(&key) else { return };
                if state.guards.get(&database).is_some_and(|g| g.session == session) {
                    state.guards.remove(&database);
                    if let Some((_, gone)) = state.bound.get_mut(&database) {
                        *gone = Some(now);
                    }
                    let view = state.seen.databases.entry(database.clone()).or_default();
                    view.guard = Fact::unknown(format!("its guard is not connected: {reason}"));
                    // What the server answered before says nothing of now.
                    view.preflight = Fact::unknown("not looked at since its guard was lost");
                    state.looks.now(&Look::Database(database));
                }
                state.pending.retain(|p| p.session != session);
                self.dirty.insert(key);
            }
            GuardEvent::Asked { session, nonce, fresh, report, received } => {
                let Some((key, database)) = self.sessions.get(&session).cloned() else { return };
                let state = self.state(&key);
                let Some(guard) = state.guards.get_mut(&database).filter(|g| g.session == session) else {
                    return;
                };
                let report: Arc<Report> = Arc::from(report);
                guard.report = Some((Arc::clone(&report), received));
                guard.shown = false;
                if is_leaving(&report) {
                    state.granted(&database, &report.boot, None);
                }
                if fresh {
                    state.want_read(received);
                }
                if state.pending.len() < MAX_PENDING {
                    state.pending.push(Pending {
                        session,
                        database,
                        nonce,
                        received: if fresh { received } else { Boottime::default() },
                    });
                }
                self.dirty.insert(key);
            }
        }
    }

    /// Answers the questions that can be answered, and tells guards what has changed.
    pub(super) fn instruct(&mut self, state: &mut State, plan: &Plan, now: Boottime) {
        let waiting = std::mem::take(&mut state.pending);
        let mut commands: Vec<Command> = Vec::new();
        let mut answered: Vec<ItemName> = Vec::new();
        for p in waiting {
            let wants_fresh = p.received != Boottime::default();
            let fresh = wants_fresh && state.fresh_since.is_some_and(|sent| sent >= p.received);
            // A question that needs a read waits for it, unless the read has failed: then it is answered as it is.
            if wants_fresh && !fresh && state.read_failed.is_none() {
                state.pending.push(p);
                continue;
            }
            let mut instruction =
                instruction(&self.id, &self.holder, state, plan, self.intent_listed, &p.database, fresh, now);
            if let Some(guard) = state.guards.get_mut(&p.database).filter(|g| g.session == p.session) {
                guard.told = Some(plain(&instruction));
                answered.push(p.database.clone());
                let report = guard.report.as_ref().map(|(report, _)| &**report);
                // Whoever ends has no use for a grant, and its word that it is down stands.
                if report.is_none_or(is_leaving) {
                    instruction.grant = None;
                }
                if instruction.grant.is_some()
                    && let Some((report, _)) = guard.report.clone()
                {
                    state.granted(&p.database, &report.boot, Some(now));
                }
                commands.push(Command::Answer {
                    session: p.session,
                    nonce: p.nonce,
                    instruction: Box::new(instruction),
                });
            }
        }
        // Who was just answered knows all of it.
        let others = state.guards.iter().filter(|(name, g)| g.report.is_some() && !answered.contains(name));
        let names: Vec<(ItemName, GuardSession)> =
            others.map(|(name, g)| (name.clone(), g.session)).collect();
        for (name, session) in names {
            let mut instruction =
                instruction(&self.id, &self.holder, state, plan, self.intent_listed, &name, false, now);
            let plain = plain(&instruction);
            if let Some(guard) = state.guards.get_mut(&name)
                && guard.told != Some(plain)
            {
                guard.told = Some(plain);
                (instruction.grant, instruction.fresh) = (None, false);
                commands.push(Command::Tell { session, instruction: Box::new(instruction) });
            }
        }
        self.out.extend(commands);
    }
}

/// Lets the pod `instance` speak for `database`, or says why not. Returns the older connection that ends by it.
///
/// One pod is one server. A second one, as `kubectl scale` makes it, has a disk of its own: what it reports says nothing
/// about the first, and the first must go on.
fn bind(
    state: &mut State,
    database: &ItemName,
    instance: &ObjectName,
    now: Boottime,
) -> Result<Option<(GuardSession, String)>, String> {
    let grace = state.policy.as_ref().map_or(ANOTHER_POD, |p| p.failover.restart_grace);
    let before = state.bound.get(database).filter(|(bound, _)| bound != instance).cloned();
    let reason = |other: &ObjectName, bound: &ObjectName| {
        format!(
            "{other} is a second pod of {database} in this site: {bound} is its server here, and there is one in each site; scale the StatefulSet to 1"
        )
    };
    if let Some((bound, gone)) = &before
        && !comes_before(instance, bound)
        && gone.is_none_or(|t| now.since(t) < grace)
    {
        return Err(reason(instance, bound));
    }
    state.bound.insert(database.clone(), (instance.clone(), None));
    let older = before.and_then(|(bound, _)| {
        let guard = state.guards.get(database)?;
        Some((guard.session, reason(&bound, instance)))
    });
    Ok(older)
}

/// Whether `a` is a pod of the same StatefulSet as `b` with a lower ordinal: it was there first.
fn comes_before(a: &ObjectName, b: &ObjectName) -> bool {
    fn parts(name: &ObjectName) -> Option<(&str, u32)> {
        let (set, ordinal) = name.as_str().rsplit_once('-')?;
        Some((set, ordinal.parse().ok()?))
    }
    parts(a).zip(parts(b)).is_some_and(|((set_a, a), (set_b, b))| set_a == set_b && a < b)
}

/// Whether the guard was asked to end and its server is down: it will not start it again.
const fn is_leaving(report: &Report) -> bool {
    report.sigterm && report.state.is_down()
}

/// The part of an instruction whose change is worth telling, as a hash: no grant, not fresh.
fn plain(instruction: &Instruction) -> u64 {
    let Instruction { serial, epoch, generation, role, grant: _, fresh: _, checkpoint, unmanaged, timing } =
        instruction;
    let mut plain = DefaultHasher::new();
    (serial, epoch, generation, role, checkpoint, unmanaged, timing).hash(&mut plain);
    plain.finish()
}

#[expect(
    clippy::too_many_arguments,
    reason = "an instruction follows from exactly these parts, in one place"
)]
fn instruction(
    id: &Identity,
    holder: &bascule_core::ballot::holder::Holder,
    state: &State,
    plan: &Plan,
    listed: bool,
    database: &ItemName,
    fresh: bool,
    now: Boottime,
) -> Instruction {
    let t = id.installation.timing;
    let mut timing = Timing { p: t.period, tq: t.call, r: t.holder, f: t.fence };
    // What the record promises binds the guard too: it stops, and extends its own grant, within these.
    if let Some(Fences::Within { holder, fence }) = state.claim.view().map(|v| v.record.promise.fences) {
        timing.r = timing.r.min(holder);
        timing.f = timing.f.min(fence);
    }
    let Some(view) = state.claim.view() else {
        // Without a record nobody has a role; before it was read, everybody keeps the one he has.
        let role =
            if state.record_known && listed { Role::Wait { why: plan.summary.clone() } } else { Role::Keep };
        return Instruction {
            serial: 0,
            epoch: 0,
            generation: id.installation.generation,
            role,
            grant: None,
            fresh: false,
            checkpoint: false,
            unmanaged: false,
            timing,
        };
    };
    let record = &view.record;
    let order = plan.databases.get(database);
    let role = match order.map(|o| &o.role) {
        None | Some(DatabaseRole::Keep) => Role::Keep,
        Some(DatabaseRole::Wait { why }) => Role::Wait { why: why.clone() },
        Some(DatabaseRole::Lock) => Role::Lock,
        Some(DatabaseRole::Serve { open }) => Role::Serve { open: *open, slots: slots(id, state, database) },
        Some(DatabaseRole::Follow { site, open }) => {
            match state.upstreams.get(&(database.clone(), site.clone())) {
                Some(Way { upstream: Some(upstream), .. }) => {
                    Role::Follow { upstream: upstream.clone(), open: *open }
                }
                Some(Way { failed: Some(why), .. }) => Role::Wait { why: why.clone() },
                Some(_) | None => Role::Wait { why: format!("the way to {site} is being looked up") },
            }
        }
    };
    let managed = state.policy.as_ref().is_some_and(|p| !p.suspend && p.has_site(&id.site));
    let grant = match state.claim.grant_as(holder, &id.site, now, managed) {
        Ok(Granted::For(remaining)) => Some(Grant::For { remaining: Millis::from(remaining) }),
        Ok(Granted::Unlimited) => Some(Grant::Unlimited),
        Err(_) => None,
    };
    Instruction {
        serial: record.serial,
        epoch: record.epoch,
        generation: record.generation,
        grant: grant.filter(|_| matches!(role, Role::Serve { .. } | Role::Keep)),
        role,
        fresh,
        checkpoint: order.is_some_and(|o| o.checkpoint),
        unmanaged: record.phase == Phase::Unmanaged && record.promise.fences == Fences::Never && !managed,
        timing,
    }
}

/// One slot for every other site's replica.
fn slots(id: &Identity, state: &State, database: &ItemName) -> Vec<String> {
    let Some(policy) = &state.policy else { return Vec::new() };
    let instances = policy.databases.get(database).map(|d| &d.instances);
    instances.into_iter().flat_map(Few::keys).filter(|site| **site != id.site).map(slot_of).collect()
}
