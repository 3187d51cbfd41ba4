//! What shall this site's databases, workloads and traffic be now?

use std::time::Duration;

use crate::decide::note::all_databases;
use crate::decide::situation::Situation;
use crate::few::Few;
use crate::guard::wire::Report;
use crate::memory::Stamp;
use crate::mutant::forgets;
use crate::name::{ItemName, SiteName};
use crate::observation::{Fact, FlagValue, Observation, TrafficAt, TrafficView, Writes};
use crate::plan::{Answer, DatabaseOrder, DatabaseRole, Gate, Lane, Plan, Step};
use crate::policy::{Policy, Replicas, Traffic};
use crate::record::{Phase, Record};
use crate::time::human;

/// How long the read-only flags of a new holder wait for traffic once a write is verified.
const FLAGS_WAIT: Duration = Duration::from_secs(5);

/// How long traffic waits for a workload that has no ready pod: long enough for an image to be pulled.
const READY_DEADLINE: Duration = Duration::from_mins(2);

/// How long traffic waits for a workload of which nothing is known.
const UNKNOWN_DEADLINE: Duration = Duration::from_secs(15);

/// Nothing changes: every database keeps its role.
pub(super) fn keep_everything(s: &Situation<'_>, plan: &mut Plan) {
    for name in s.seen.databases.keys() {
        plan.databases.insert(name.clone(), DatabaseOrder { role: DatabaseRole::Keep, checkpoint: false });
    }
}

/// Every database of this site is ordered to stop and stay down.
pub(super) fn lock(plan: &mut Plan) {
    plan.lock = true;
    for order in plan.databases.values_mut() {
        *order = DatabaseOrder { role: DatabaseRole::Lock, checkpoint: false };
    }
}

/// What this site shall be, by the record: roles for its databases, and the effects that are due.
pub(super) fn take_up(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    for (name, database) in &policy.databases {
        if database.instances.contains_key(s.me) {
            plan.databases
                .insert(name.clone(), DatabaseOrder { role: role(s, record, name), checkpoint: false });
        }
    }
    if record.phase == Phase::Unmanaged {
        return;
    }
    flags(s, policy, record, plan);
    // A site that has lost its lease touches nothing but its own read-only flags, of its workloads and of its gateways; nor
    // does one that is back and has not read since what it may have missed.
    let may_act = s.lease_alive() && !s.claim.must_read(s.holder);
    if may_act {
        sizes(s, policy, record, plan);
        traffic(s, policy, record, plan);
    }
    gateways(s, policy, record, may_act, plan);
}

fn role(s: &Situation<'_>, record: &Record, database: &ItemName) -> DatabaseRole {
    if record.active == *s.me {
        if s.claim.locking().is_some() {
            return DatabaseRole::Lock;
        }
        return match record.phase {
            Phase::Steady | Phase::Requested | Phase::Returning | Phase::Promoting | Phase::Unmanaged => {
                DatabaseRole::Serve { open: true }
            }
            Phase::Handover if forgets("the phase is looked at before granting") => {
                DatabaseRole::Serve { open: true }
            }
            Phase::Handover | Phase::Offered | Phase::Withdrawn => DatabaseRole::Lock,
            Phase::ReadOnly => DatabaseRole::Wait { why: format!("{} must take its role back first", s.me) },
            Phase::Unknown(_) => DatabaseRole::Keep,
        };
    }
    // The target is closed before the pause, so that nothing has to be ended within it; but not before it was looked at
    // once by the operator's own role, which a closed server lets in no more than anybody else. An operator that has just
    // started has seen nothing yet, and would never be ready.
    let looked_at = s.seen.databases.get(database).is_some_and(|d| matches!(d.preflight, Fact::Known { .. }));
    let about_to_take = record.target.as_ref() == Some(s.me)
        && match record.phase {
            Phase::Requested => looked_at,
            Phase::Handover => true,
            _ => false,
        };
    if forgets("a copy follows the active site") {
        return DatabaseRole::Keep;
    }
    DatabaseRole::Follow { site: record.active.clone(), open: !about_to_take }
}

/// Whether this site's workloads shall refuse writes; `None`: leave the flags as they are.
fn read_only(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<bool> {
    if record.active != *s.me {
        return (!forgets("a site that is not active refuses writes")).then_some(true);
    }
    match record.phase {
        Phase::Steady => {
            if s.grants() {
                return Some(false);
            }
            // Cut off: the database has stopped by now, and users get a correct answer. A database that goes on by its
            // guard's own way to the arbiter is not stopped by a flag because its operator was frozen.
            let must_stop_within = s.timing().r() + s.timing().f();
            let lapsed = s.holder.last_sent().is_some_and(|t| s.now.since(t) > must_stop_within);
            let stopped = all_databases(policy, s.seen, |state| !state.is_or_becomes_primary());
            let dead = s.claim.locking().is_some();
            (dead || (lapsed && stopped)).then_some(true)
        }
        // Users wait from the moment the target can take, not while it gets ready.
        Phase::Requested | Phase::Handover if forgets("the losing site refuses writes") => None,
        Phase::Requested => {
            let begun = s.claim.locking().is_some() || s.memory.at(Stamp::TargetReady).is_some();
            begun.then_some(true)
        }
        Phase::Handover | Phase::ReadOnly | Phase::Returning | Phase::Offered | Phase::Withdrawn => {
            Some(true)
        }
        Phase::Promoting => {
            let verified = s.memory.at(Stamp::WriteVerified);
            let moved = s.memory.at(Stamp::TrafficMoved);
            let waited = verified.is_some_and(|t| s.now.since(t) >= FLAGS_WAIT);
            Some(!(s.grants() && verified.is_some() && (moved.is_some() || waited)))
        }
        Phase::Unmanaged | Phase::Unknown(_) => None,
    }
}

fn flags(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let Some(on) = read_only(s, policy, record) else { return };
    // It is cleared only where this site grants, so with time left on its lease.
    if !on && forgets("the new holder accepts writes") {
        return;
    }
    let wanted = if on { FlagValue::ReadOnly } else { FlagValue::ReadWrite };
    for (name, _) in policy.workloads.iter().filter(|(_, w)| w.read_only.is_some()) {
        let Some(view) = s.seen.workloads.get(name) else { continue };
        let differs = view.flag.value().is_some_and(|v| *v != wanted);
        // Setting it also makes every kubelet look at it, and that part may have failed alone.
        let unheard = view.effective.value().is_some_and(|pods| pods.say_otherwise(on));
        if differs || unheard && view.flag.value().is_some() {
            plan.steps.push(Step::SetReadOnly { workload: name.clone(), on });
        }
    }
    if let (true, Phase::Promoting, Some(verified)) = (on, &record.phase, s.memory.at(Stamp::WriteVerified)) {
        plan.again_when(verified + FLAGS_WAIT, s.now);
    }
}

/// The replicas that each workload has while its site is active: as written, or as the active site last ran it.
pub(super) fn active_sizes(policy: &Policy, record: &Record) -> Few<ItemName, u32> {
    let size = |name: &ItemName, written: Option<u32>| written.or_else(|| record.sizes.get(name).copied());
    policy
        .workloads
        .iter()
        .filter(|(_, w)| is_scaled(&w.replicas))
        .filter_map(|(name, w)| size(name, w.replicas.active).map(|n| (name.clone(), n)))
        .collect()
}

/// The replicas that each workload has while its site serves reads: as written, or as while active.
fn read_only_sizes(policy: &Policy, record: &Record) -> Few<ItemName, u32> {
    let written = policy.workloads.iter().filter_map(|(name, w)| Some((name.clone(), w.replicas.read_only?)));
    let mut sizes = active_sizes(policy, record);
    sizes.extend(written);
    sizes
}

/// Whether the policy says anything about how many replicas the workload has.
fn is_scaled(replicas: &Replicas) -> bool {
    *replicas != Replicas::default()
}

fn sizes(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let mine = record.active == *s.me;
    let target = record.target.as_ref() == Some(s.me);
    let running = active_sizes(policy, record);
    let reading = read_only_sizes(policy, record);
    for (name, w) in &policy.workloads {
        let Some(seen) = s.seen.workloads.get(name).and_then(|w| w.replicas.value()) else { continue };
        let wanted = match record.phase {
            Phase::Steady if mine => {
                // A number that nobody wrote belongs to whoever scales it while active; only a workload that is
                // still at its standby size is brought up.
                let asleep = w.replicas.active.is_none() && w.replicas.standby == Some(seen.wanted);
                if w.replicas.active.is_some() || asleep { running.get(name).copied() } else { None }
            }
            Phase::Steady => w.replicas.standby,
            Phase::Requested | Phase::Handover if target => running.get(name).copied(),
            Phase::Promoting | Phase::Returning if mine => running.get(name).copied(),
            Phase::ReadOnly | Phase::Returning if target => reading.get(name).copied(),
            _ => None,
        };
        let wanted = wanted.filter(|_| !forgets("workloads have the size of their role"));
        if let Some(replicas) = wanted.filter(|n| *n != seen.wanted) {
            plan.steps.push(Step::Scale { workload: name.clone(), replicas });
        }
    }
}

/// Whom this site's own traffic targets lead to while another site serves: its users are passed on. A site that is to
/// serve points at itself first, so requests are never sent round in a circle.
fn passes_on<'a>(s: &Situation<'_>, record: &'a Record) -> Option<&'a SiteName> {
    if record.active == *s.me || forgets("every site's own traffic follows the role") {
        return None;
    }
    match record.phase {
        Phase::Steady => Some(&record.active),
        Phase::ReadOnly => record.target.as_ref().filter(|target| *target != s.me),
        _ => None,
    }
}

/// Whether this site shall be where the traffic goes.
fn wants_traffic(s: &Situation<'_>, policy: &Policy, record: &Record) -> bool {
    if record.active == *s.me {
        return match record.phase {
            Phase::Steady => s.grants(),
            Phase::Promoting if forgets("users are sent to a database that was written to") => true,
            Phase::Promoting => s.grants() && s.memory.at(Stamp::WriteVerified).is_some(),
            Phase::Returning => {
                let stable = s.memory.at(Stamp::StableSince).map(|t| s.now.since(t));
                s.grants() && stable.is_some_and(|d| d >= policy.failover.return_after)
            }
            _ => false,
        };
    }
    record.phase == Phase::ReadOnly && record.target.as_ref() == Some(s.me) && s.claim.current().is_some()
}

/// Which workloads cannot serve the reads that the traffic would bring, as gates. Nobody waits for ever: the site that
/// the traffic comes from is silent, so that late is worse than incomplete.
fn not_serving(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) -> Vec<Gate> {
    let passed = s.in_phase();
    let reading = read_only_sizes(policy, record);
    let mut gates = Vec::new();
    for name in policy.workloads.keys() {
        let replicas = s.seen.workloads.get(name).map(|w| &w.replicas);
        let seen = replicas.and_then(Fact::value);
        let wanted = reading.get(name).copied().or_else(|| seen.map(|r| r.wanted));
        if wanted == Some(0) || seen.is_some_and(|r| r.ready > 0) {
            continue;
        }
        let (answer, found, patience) = match (seen, replicas) {
            (Some(_), _) => {
                let found = format!("0 of {} ready", wanted.unwrap_or_default());
                (Answer::NotYet, found, READY_DEADLINE)
            }
            (None, Some(Fact::Unknown { reason })) => (Answer::Unknown, reason.clone(), UNKNOWN_DEADLINE),
            (None, _) => (Answer::Unknown, "not looked at yet".to_owned(), UNKNOWN_DEADLINE),
        };
        if passed < patience {
            plan.again(s.now + patience.saturating_sub(passed));
            let needed = format!("a ready replica before users are sent here, or {}", human(patience));
            gates.push(Gate::new(&format!("workload/{name}/serving"), answer, found, needed));
        }
    }
    gates
}

fn traffic(s: &Situation<'_>, policy: &Policy, record: &Record, plan: &mut Plan) {
    let wanted = wants_traffic(s, policy, record) || forgets("only the serving site draws traffic");
    let returning = record.phase == Phase::Returning && record.active == *s.me && s.grants();
    if forgets("traffic follows the role") {
        return;
    }
    if !(wanted || returning) {
        let others = passes_on(s, record);
        for (name, t) in policy.traffic.iter().filter(|(_, t)| t.is_in_every_site()) {
            let (Some(site), Some(at)) = (others, s.seen.traffic.get(name).and_then(|t| t.at.value())) else {
                continue;
            };
            let due = at.site.as_ref() != Some(site) || at.epoch < record.epoch;
            point(name, t, site, at, record, due, plan);
        }
        return;
    }
    let elsewhere = |t: &TrafficView| t.at.value().is_some_and(|at| at.site.as_ref() != Some(s.me));
    if record.phase == Phase::ReadOnly && s.seen.traffic.values().any(elsewhere) {
        let mut waits = not_serving(s, policy, record, plan);
        if !waits.is_empty() {
            plan.gates.append(&mut waits);
            return;
        }
    }
    for (name, t) in &policy.traffic {
        let Some(at) = s.seen.traffic.get(name).and_then(|t| t.at.value()) else { continue };
        let elsewhere = at.site.as_ref() != Some(s.me);
        // Addresses that are right already are marked anew all the same when somebody else has served since: an update
        // that was sent for him, and that comes late, goes by the mark which it found.
        let stale = record.active == *s.me && at.epoch < record.epoch;
        let before_it_returned = returning && !elsewhere && at.serial < record.serial;
        let due = wanted && (elsewhere || stale) || before_it_returned;
        point(name, t, s.me, at, record, due, plan);
    }
}

/// Whether this site's gateway shall refuse writes of what leads to where `at` says; `None`: it is left as it is.
fn refuses(s: &Situation<'_>, policy: &Policy, record: &Record, at: &TrafficAt) -> Option<bool> {
    if record.active == *s.me {
        let shall = read_only(s, policy, record);
        // What was not refused before is not for the moment until the flags are off: a gateway needs as long for each change.
        return shall.filter(|on| !(*on && record.phase == Phase::Promoting));
    }
    match record.phase {
        // The same for whoever takes the role next.
        Phase::Handover if record.target.as_ref() == Some(s.me) => None,
        // Nobody accepts any, whoever serves the reads.
        Phase::Handover | Phase::ReadOnly | Phase::Offered | Phase::Withdrawn => Some(true),
        // Passed on to whoever writes.
        Phase::Steady if at.site.as_ref() == Some(&record.active) => Some(false),
        // The application here refuses them: it is told so before its answer.
        Phase::Steady | Phase::Requested | Phase::Promoting | Phase::Returning => {
            (at.site.as_ref() == Some(s.me)).then_some(true)
        }
        Phase::Unmanaged | Phase::Unknown(_) => None,
    }
}

/// What this site's own gateways do with writes. It is the way of the read-only flags, one step earlier: who has the role
/// and has lost its lease may still have them refused, and nobody else may do anything without one.
fn gateways(s: &Situation<'_>, policy: &Policy, record: &Record, may_act: bool, plan: &mut Plan) {
    for (name, target) in policy.traffic.iter().filter(|(_, t)| t.is_in_every_site()) {
        let Some(at) = s.seen.traffic.get(name).and_then(|t| t.at.value()) else { continue };
        let Some(found) = &at.writes else { continue };
        // A policy that does not ask for it any more takes back what it has left.
        let wanted = if target.refuses_writes() { refuses(s, policy, record, at) } else { Some(false) };
        let (on, due) = match (found, wanted) {
            // An error that nobody can make sense of is worse than the application's own answer.
            (Writes::Lost(_), _) => (false, true),
            (Writes::CannotRefuse(_), _) | (_, None) => continue,
            (Writes::Pass, Some(on)) => (on, on),
            (Writes::Refused, Some(on)) => (on, !on),
            (Writes::Mixed(_), Some(on)) => (on, true),
        };
        if !on && forgets("a gateway lets writes pass again") {
            continue;
        }
        let allowed = may_act || (on && record.active == *s.me);
        // Where it leads comes first: one change of an object at a time.
        let lane = Lane::Traffic(name.clone());
        if due && allowed && plan.steps.iter().all(|step| step.lane() != lane) {
            plan.steps.push(Step::RefuseWrites {
                traffic: name.clone(),
                on,
                epoch: record.epoch,
                serial: record.serial,
            });
        }
    }
}

/// Points the target at `site` if that is due. What carries a later state of the record than this one is left alone.
fn point(
    name: &ItemName,
    target: &Traffic,
    site: &SiteName,
    at: &TrafficAt,
    record: &Record,
    due: bool,
    plan: &mut Plan,
) {
    let newer = (at.epoch, at.serial) > (record.epoch, record.serial);
    if due && !newer && target.leads_to(site) {
        plan.steps.push(Step::PointTraffic {
            traffic: name.clone(),
            site: site.clone(),
            epoch: record.epoch,
            serial: if forgets("traffic carries the record's serial") { 0 } else { record.serial },
        });
    }
}

/// Whether every flag is known to accept writes.
pub(super) fn read_write_set(policy: &Policy, seen: &Observation) -> bool {
    policy.workloads.iter().filter(|(_, w)| w.read_only.is_some()).all(|(name, _)| {
        seen.workloads.get(name).is_some_and(|w| w.flag.value() == Some(&FlagValue::ReadWrite))
    })
}

/// Whether every flag is known to refuse writes.
pub(super) fn read_only_set(policy: &Policy, seen: &Observation) -> bool {
    policy.workloads.iter().filter(|(_, w)| w.read_only.is_some()).all(|(name, _)| {
        seen.workloads.get(name).is_some_and(|w| w.flag.value() == Some(&FlagValue::ReadOnly))
    })
}

/// The gateways of this site that are to refuse writes, each with what is known of it.
fn refusing<'a>(
    policy: &'a Policy,
    seen: &'a Observation,
) -> impl Iterator<Item = (&'a ItemName, Option<&'a Fact<TrafficAt>>)> {
    let asked = policy.traffic.iter().filter(|(_, t)| t.refuses_writes());
    asked.map(|(name, _)| (name, seen.traffic.get(name).map(|t| &t.at)))
}

/// Which gateways that send requests to this site do not refuse writes yet although they could, in words; `None`: no
/// gateway is to refuse any.
pub(crate) fn not_refusing(me: &SiteName, policy: &Policy, seen: &Observation) -> Option<Vec<String>> {
    let mut asked = refusing(policy, seen).peekable();
    asked.peek()?;
    let words = asked.filter_map(|(name, at)| match at {
        Some(Fact::Known { value, .. }) if value.site.as_ref() != Some(me) => None,
        Some(Fact::Known { value, .. }) => match &value.writes {
            // A gateway that has not taken it over lets them pass.
            Some(Writes::Refused) if value.differing.is_empty() => None,
            Some(Writes::Refused) => Some(format!("{name}: {}", value.differing.join(", "))),
            Some(Writes::CannotRefuse(_)) | None => None,
            Some(found) => Some(format!("{name}: {}", found.words())),
        },
        Some(Fact::Unknown { reason }) => Some(format!("{name}: {reason}")),
        None => Some(format!("{name} was not looked at yet")),
    });
    Some(words.collect())
}

/// Which gateways may still refuse writes, in words.
pub(crate) fn not_passing(policy: &Policy, seen: &Observation) -> Vec<String> {
    let words = refusing(policy, seen).filter_map(|(name, at)| match at {
        Some(Fact::Known { value, .. }) => match &value.writes {
            Some(Writes::Pass | Writes::CannotRefuse(_)) | None => None,
            Some(found) => Some(format!("{name}: {}", found.words())),
        },
        Some(Fact::Unknown { reason }) => Some(format!("{name}: {reason}")),
        None => Some(format!("{name} was not looked at yet")),
    });
    words.collect()
}

/// Which workloads have not seen the read-only flag, in words.
pub(super) fn read_only_words(policy: &Policy, seen: &Observation) -> String {
    let mut words = Vec::new();
    for (name, _) in policy.workloads.iter().filter(|(_, w)| w.read_only.is_some()) {
        let Some(w) = seen.workloads.get(name) else {
            words.push(format!("{name} was not looked at yet"));
            continue;
        };
        let flag = match &w.flag {
            Fact::Known { value: FlagValue::ReadOnly, .. } => None,
            Fact::Known { value, .. } => Some(format!("{name}'s flag is {value:?}")),
            Fact::Unknown { reason } => Some(format!("{name}'s flag is unknown: {reason}")),
        };
        words.push(flag.unwrap_or_else(|| match &w.effective {
            Fact::Known { value: p, .. } => {
                format!(
                    "{name}: {} of {} pods have seen it, {} did not answer",
                    p.read_only, p.pods, p.unknown
                )
            }
            Fact::Unknown { reason } => format!("{name}: {reason}"),
        }));
    }
    if words.is_empty() { "no workload has a flag".to_owned() } else { words.join("; ") }
}

/// Where the traffic targets point, in words.
pub(super) fn traffic_words(policy: &Policy, seen: &Observation) -> String {
    let words = policy.traffic.keys().map(|name| match seen.traffic.get(name).map(|t| &t.at) {
        Some(Fact::Known { value, .. }) => match &value.site {
            Some(site) if value.is_proven() => format!("{name} answers {site}"),
            Some(site) => format!("{name} answers {site} ({})", value.doubts().join(", ")),
            None => format!("{name}: {}", value.differing.join(", ")),
        },
        Some(Fact::Unknown { reason }) => format!("{name}: {reason}"),
        None => format!("{name} was not looked at yet"),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "no traffic target".to_owned() } else { words.join("; ") }
}

/// How many bytes a replica has still to receive or to replay, as far as it knows.
pub(super) fn lag_bytes(report: Option<&Report>) -> Option<u64> {
    let p = report?.positions.as_ref()?;
    let end = p.upstream.as_ref().and_then(|u| u.reported_end).max(p.receive)?;
    Some(end.ahead_of(p.replay?))
}
