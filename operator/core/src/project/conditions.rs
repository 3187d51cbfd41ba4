//! Judgements with stable reasons.

use std::borrow::Cow;

use super::{Condition, SiteRole, SiteRow, State, size};
use crate::blocker::is_contended;
use crate::decide::{PolicySeen, Situation, loss_now, not_passing, not_refusing, withdrawal_wait};
use crate::loss::LossBound;
use crate::mutant::forgets;
use crate::observation::{Fact, FlagValue};
use crate::plan::{Answer, Gate, Plan, merged};
use crate::policy::{After, Policy, Traffic};
use crate::record::{Fences, Phase, Record};
use crate::time::human;

/// All judgements. `Reconciling`, `Stalled`, `Contended` and `Advice` are there only while they are true, `Unlocked` once a
/// database ever was.
pub(super) fn conditions(
    s: &Situation<'_>,
    plan: &Plan,
    record: Option<&Record>,
    state: &State,
    sites: &[SiteRow],
) -> Vec<Condition> {
    let words = plan.first_blocker().map_or_else(|| plan.summary.clone(), Gate::words);
    let mut all = vec![one("Ready", state.ready, state.reason, plan.summary.clone())];
    if state.reconciling && !forgets("a status says what is waited for") {
        all.push(one("Reconciling", Some(true), state.reason, words.clone()));
    }
    if state.stalled {
        // What waits ends by itself; what needs a person is what was refused.
        let refused = plan.gates.iter().find(|g| g.answer == Answer::No).map(Gate::words);
        all.push(one("Stalled", Some(true), state.reason, refused.unwrap_or(words)));
    }
    all.push(arbiter(s, plan));
    all.push(reachable(s, sites));
    let Some(record) = record else { return all };
    let policy = match &s.policy {
        PolicySeen::Present(policy) => Some(*policy),
        PolicySeen::NotListed | PolicySeen::Absent => None,
    };
    all.push(replication(s, record, policy, sites));
    all.extend(unlocked(s));
    let Some(policy) = policy else { return all };
    all.extend(flags(s, policy, record));
    all.extend(traffic(s, policy, record));
    all.extend(contended(s));
    all.extend(advice(s, policy, record));
    all.push(switchover(policy, record, sites));
    all.push(failover(s, policy, record, sites));
    all
}

fn one(
    kind: &'static str,
    status: Option<bool>,
    reason: &'static str,
    message: impl Into<Cow<'static, str>>,
) -> Condition {
    Condition { kind: kind.into(), status, reason: reason.into(), message: message.into() }
}

fn arbiter(s: &Situation<'_>, plan: &Plan) -> Condition {
    let kind = "ArbiterAgrees";
    if let Some(gate) = plan.gates.iter().find(|g| g.name == "arbiter" && g.answer == Answer::No) {
        return one(kind, Some(false), "WentBack", gate.words());
    }
    if let Some(gate) = plan.gates.iter().find(|g| g.name.starts_with("anew/") && !g.passed()) {
        return one(kind, Some(false), "RecordLost", gate.words());
    }
    if !s.lease_alive() && !forgets("an operator that is cut off says so") {
        return one(kind, Some(false), "LeaseNotRenewed", "this site's lease was not renewed in time");
    }
    match &s.seen.high_water {
        Fact::Known { .. } => {
            one(kind, Some(true), "Agrees", "the arbiter answers with what was seen or more")
        }
        Fact::Unknown { reason } => one(kind, None, "MarksUnknown", reason.clone()),
    }
}

fn reachable(s: &Situation<'_>, sites: &[SiteRow]) -> Condition {
    let kind = "SitesReachable";
    let others = || sites.iter().filter(|r| r.name != *s.me);
    if let Some(row) = others().find(|r| r.lives == Some(false)) {
        let silent = std::time::Duration::from_millis(row.silent_ms.unwrap_or_default());
        return one(
            kind,
            Some(false),
            "SiteSilent",
            format!("{} has been silent for {}", row.name, human(silent)),
        );
    }
    if let Some(row) = others().find(|r| r.lives.is_none()) {
        let message = format!("the lease of {} was not looked at for long enough", row.name);
        return one(kind, None, "SiteUnknown", message);
    }
    if let Some(row) = others().find(|r| r.age_ms.is_none()) {
        return one(
            kind,
            None,
            "FactsUnknown",
            format!("{} has said nothing about this policy yet", row.name),
        );
    }
    if others().next().is_none() {
        return one(kind, None, "SitesUnknown", "which other sites there are is not known");
    }
    one(kind, Some(true), "AllLive", "every site renews its lease")
}

fn replication(s: &Situation<'_>, record: &Record, policy: Option<&Policy>, sites: &[SiteRow]) -> Condition {
    let kind = "ReplicationHealthy";
    if policy.is_some_and(|p| p.databases.is_empty()) {
        return one(kind, Some(true), "NoDatabase", "the policy has no database");
    }
    let followers = || sites.iter().filter(|r| r.name != record.active);
    if let Some(row) = followers().find(|r| r.streaming == Some(false)) {
        return one(kind, Some(false), "NotStreaming", not_streaming(row));
    }
    // What a replica has said last may be older than the stop of the server that it follows.
    let mine = sites.iter().find(|r| r.name == record.active && r.name == *s.me);
    match mine.map(|r| &r.role) {
        Some(SiteRole::Primary) | None => {}
        Some(SiteRole::Unknown) => {
            let message =
                format!("whether the database of {}, which is active, runs is not known", record.active);
            return one(kind, None, "PrimaryUnknown", message);
        }
        Some(_) => {
            let message =
                format!("the database of {}, which is active, does not run as a primary", record.active);
            return one(kind, Some(false), "NoPrimary", message);
        }
    }
    if followers().next().is_none() {
        return one(kind, None, "SitesUnknown", "which other sites there are is not known");
    }
    match followers().find(|r| {
        (r.streaming.is_none() || r.lag.bytes.is_none()) && !forgets("an unknown lag is not healthy")
    }) {
        Some(row) => one(kind, None, "LagUnknown", format!("how far {} is behind is not known", row.name)),
        None => one(kind, Some(true), "Streaming", "every replica reports how far it is"),
    }
}

fn not_streaming(row: &SiteRow) -> String {
    format!("{} does not stream: {}", row.name, row.not_streaming.as_deref().unwrap_or("why is not known"))
}

/// What a person has unlocked here, and what was unlocked before: that is never forgotten.
fn unlocked(s: &Situation<'_>) -> Option<Condition> {
    let kind = "Unlocked";
    let said = |in_force: bool| {
        let words = s.seen.databases.iter().filter_map(|(name, d)| {
            let word = d.guard.value()?.unlocked.as_ref().filter(|u| u.in_force() == in_force)?;
            Some(format!("{name} {}", word.words()))
        });
        words.collect::<Vec<_>>().join("; ")
    };
    let (now, before) = (said(true), said(false));
    if !now.is_empty() {
        let message = format!("{now}; no guard stops it, and only a person can say that it is off");
        return Some(one(kind, Some(true), "ByAPerson", message));
    }
    (!before.is_empty()).then(|| one(kind, Some(false), "GivenBack", before))
}

/// Whether this site's flags have the effect that they should have.
fn flags(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<Condition> {
    let kind = "ReadOnlyEffective";
    let mut flagged =
        policy.workloads.iter().filter_map(|(n, w)| Some((n, w.read_only.as_ref()?))).peekable();
    let gateways = policy.traffic.values().any(Traffic::refuses_writes);
    if flagged.peek().is_none() && !gateways {
        return None;
    }
    let writes = record.active == *s.me && record.phase == Phase::Steady;
    for (name, flag) in flagged {
        let view = s.seen.workloads.get(name);
        let value = match view.map(|w| &w.flag) {
            Some(Fact::Known { value, .. }) => value,
            Some(Fact::Unknown { reason }) => {
                return Some(one(kind, None, "FlagUnknown", format!("{name}: {reason}")));
            }
            None => return Some(one(kind, None, "FlagUnknown", format!("{name} was not looked at yet"))),
        };
        let wanted = if writes { FlagValue::ReadWrite } else { FlagValue::ReadOnly };
        if *value != wanted {
            return Some(one(
                kind,
                Some(false),
                "FlagDiffers",
                format!("the flag of {name} is {value:?}, not {wanted:?}"),
            ));
        }
        if writes {
            continue;
        }
        if flag.verify.is_none() {
            let message =
                format!("{name} has no verify probe: nobody knows whether its pods have seen the flag");
            return Some(one(kind, None, "NotVerified", message));
        }
        match view.map(|w| &w.effective) {
            Some(Fact::Known { value: p, .. }) if p.unknown == 0 && p.read_only == p.pods => {}
            Some(Fact::Known { value: p, .. }) => {
                let message = format!(
                    "{name}: {} of {} pods are read-only, {} did not answer",
                    p.read_only, p.pods, p.unknown
                );
                let (status, reason) =
                    if p.say_otherwise(true) { (Some(false), "PodsDiffer") } else { (None, "PodsUnknown") };
                return Some(one(kind, status, reason, message));
            }
            Some(Fact::Unknown { reason }) => {
                return Some(one(kind, None, "PodsUnknown", format!("{name}: {reason}")));
            }
            None => return Some(one(kind, None, "PodsUnknown", format!("{name} was not looked at yet"))),
        }
    }
    // A gateway that leads elsewhere refuses for the site that it leads to.
    let (missing, reason) = if writes {
        (not_passing(policy, s.seen), "GatewayRefuses")
    } else {
        (not_refusing(s.me, policy, s.seen).unwrap_or_default(), "GatewayPasses")
    };
    if !missing.is_empty() {
        return Some(one(kind, Some(false), reason, missing.join("; ")));
    }
    let (reason, message) = if writes {
        ("ReadWrite", "every flag accepts writes")
    } else {
        ("ReadOnly", "every pod that runs here refuses writes")
    };
    Some(one(kind, Some(true), reason, message))
}

fn traffic(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<Condition> {
    let kind = "TrafficConverged";
    if policy.traffic.is_empty() {
        return None;
    }
    let wanted = super::serving(record)?;
    for name in policy.traffic.keys() {
        match s.seen.traffic.get(name).map(|t| &t.at) {
            Some(Fact::Known { value, .. }) if value.leads(&wanted) => {
                if !value.silent.is_empty() {
                    let message =
                        format!("{name} answers {wanted} where it answers; {}", value.silent.join(", "));
                    return Some(one(kind, None, "ServerSilent", message));
                }
            }
            Some(Fact::Known { value, age }) => {
                let differs = value.differing.join(", ");
                let (reason, message) = match &value.site {
                    Some(site) if *site == wanted => {
                        ("NotServed", format!("{name} is set to {wanted}, and is not served so: {differs}"))
                    }
                    Some(site) => ("Elsewhere", format!("{name} answers {site}, not {wanted}")),
                    None => ("Elsewhere", format!("{name} differs: {differs}, not {wanted}")),
                };
                let message = format!("{message} ({} ago)", human(*age));
                return Some(one(kind, Some(false), reason, message));
            }
            Some(Fact::Unknown { reason }) => {
                return Some(one(kind, None, "NotKnown", format!("{name}: {reason}")));
            }
            None => return Some(one(kind, None, "NotKnown", format!("{name} was not looked at yet"))),
        }
    }
    Some(one(kind, Some(true), "Converged", format!("every target answers {wanted}")))
}

/// What a person should know although it stands in nobody's way.
fn advice(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<Condition> {
    let mut words: Vec<String> = merged(super::gates::advice(s).cloned()).iter().map(Gate::words).collect();
    words.extend(late_withdrawal(s, policy, record));
    words.extend(s.installation.single_point().map(ToOwned::to_owned));
    (!words.is_empty()).then(|| one("Advice", Some(true), "Findings", words.join("; ")))
}

/// Whether a database whose node dies is given up too late for anybody to take it.
fn late_withdrawal(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<String> {
    let (grace, most) = (policy.failover.restart_grace, policy.failover.max_data_loss.seconds);
    let wait = withdrawal_wait(s, record);
    let automatic = policy.failover.promote_after != After::Never && record.promise.fences != Fences::Never;
    (automatic && !policy.databases.is_empty() && grace + wait > most).then(|| {
        let way_out = match most.checked_sub(wait).filter(|rest| !rest.is_zero()) {
            Some(rest) => format!("with a restartGrace of at most {} it could be taken", human(rest)),
            None => format!("no restartGrace helps while maxDataLoss.time is not above {}", human(wait)),
        };
        format!(
            "spec.failover.databaseLost.restartGrace is {} and maxDataLoss.time {}: a database whose node dies while its site lives is offered only {} later, when nobody may take it any more; {way_out}",
            human(grace),
            human(most),
            human(grace + wait),
        )
    })
}

fn contended(s: &Situation<'_>) -> Option<Condition> {
    let gates = s.seen.workloads.values().filter_map(|w| w.blockers.value()).flatten();
    let words: Vec<String> = gates.filter(|g| is_contended(g) && !g.passed()).map(Gate::words).collect();
    (!words.is_empty()).then(|| one("Contended", Some(true), "OwnedByAnother", words.join("; ")))
}

/// Why a site could not take over: the judgement, its stable reason, and the words.
type Denied = (Option<bool>, &'static str, String);

fn failover(s: &Situation<'_>, policy: &Policy, record: &Record, sites: &[SiteRow]) -> Condition {
    let kind = "FailoverPossible";
    let mut denied: Vec<Denied> = Vec::new();
    for row in sites.iter().filter(|r| r.name != record.active) {
        match can_take(row).and_then(|()| within_loss(s, policy, record, row)) {
            Ok(()) => return one(kind, Some(true), "SiteCanTake", how(policy, record, row)),
            Err(why) => denied.push(why),
        }
    }
    let words: Vec<String> = denied.iter().map(|(.., why)| why.clone()).collect();
    let unknown = denied.iter().any(|(status, ..)| status.is_none());
    let reason = match denied.first() {
        Some((_, reason, _)) if denied.iter().all(|(_, r, _)| r == reason) => reason,
        _ if unknown => "NotKnown",
        _ => "NoSiteCanTake",
    };
    one(kind, if unknown { None } else { Some(false) }, reason, words.join("; "))
}

/// Who has to do what for the role to move.
fn how(policy: &Policy, record: &Record, row: &SiteRow) -> String {
    match (policy.failover.promote_after, record.promise.fences) {
        (After::Elapsed(_), Fences::Within { .. }) => format!("{} can take over", row.name),
        (After::Never, Fences::Within { .. }) => {
            format!("{} can take over by a Move of type Failover", row.name)
        }
        (_, Fences::Never) => {
            format!("{} can take over by a Move of type Failover with sourceStopped", row.name)
        }
    }
}

/// Whether the site lives and nothing blocks it.
fn can_take(row: &SiteRow) -> Result<(), Denied> {
    let name = &row.name;
    match (row.lives, row.promotable, &row.reason) {
        (Some(false), ..) => Err((Some(false), "NoSiteCanTake", format!("{name} is silent"))),
        (None, ..) => Err((None, "NotKnown", format!("whether {name} lives is not known"))),
        (_, Some(true), _) => Ok(()),
        (_, promotable, why) => {
            let why = why.as_deref().unwrap_or("why is not known");
            let reason = if promotable.is_none() { "NotKnown" } else { "NoSiteCanTake" };
            Err((promotable, reason, format!("{name}: {why}")))
        }
    }
}

/// Whether the loss gate would agree to a promotion of the site if the active one were lost now.
fn within_loss(s: &Situation<'_>, policy: &Policy, record: &Record, row: &SiteRow) -> Result<(), Denied> {
    if policy.databases.is_empty() {
        return Ok(());
    }
    let max = &policy.failover.max_data_loss;
    let automatic = policy.failover.promote_after != After::Never;
    if let Fences::Within { holder, fence } = record.promise.fences {
        let stops = holder.duration() + fence.duration();
        if !policy.failover.can_be_certain(stops) {
            return Err((
                Some(false),
                "DataLossTimeTooShort",
                format!(
                    "spec.failover.promote.maxDataLoss.time is {} and can never hold: a lost site is certain to have stopped only {} after its last sign of life; more than that is needed, by as much as a replica's last contact may be older than that sign (seconds, when little is written)",
                    human(max.seconds),
                    human(stops)
                ),
            ));
        }
    }
    let name = &row.name;
    let lives = if record.active == *s.me { Some(s.lease_alive()) } else { s.lives(&record.active) };
    if lives == Some(false) {
        // What another site would lose is known there only.
        if *name != *s.me || !automatic {
            return Ok(());
        }
        let bound = loss_now(s, policy, record);
        return match bound.within(max) {
            true => Ok(()),
            false if bound == LossBound::UNKNOWN => {
                Err((None, "LossUnknown", format!("{name}: what is at risk is not known")))
            }
            false => Err((Some(false), "LossTooLarge", format!("{name}: {}", bound.words_beside(max)))),
        };
    }
    match (row.streaming, row.missing) {
        (Some(false), _) => Err((Some(false), "NotStreaming", not_streaming(row))),
        (Some(true), Some(missing)) if automatic && missing > max.bytes => Err((
            Some(false),
            "LagTooLarge",
            format!("{name} lacks {}; maxDataLoss.bytes allows {}", size(missing), size(max.bytes)),
        )),
        (Some(true), Some(_)) => Ok(()),
        _ => Err((None, "LagUnknown", format!("how far {name} is behind is not known"))),
    }
}

fn switchover(policy: &Policy, record: &Record, sites: &[SiteRow]) -> Condition {
    let kind = "SwitchoverPossible";
    let followers = || sites.iter().filter(|r| r.name != record.active);
    let ready = |row: &SiteRow| {
        can_take(row)?;
        match row.streaming {
            _ if policy.databases.is_empty() => Ok(()),
            Some(true) => Ok(()),
            Some(false) => Err((Some(false), "NotStreaming", not_streaming(row))),
            None => Err((None, "LagUnknown", format!("how far {} is behind is not known", row.name))),
        }
    };
    let denied: Vec<Denied> = followers().filter_map(|row| ready(row).err()).collect();
    if denied.len() == followers().count() {
        let words: Vec<String> = denied.iter().map(|(.., why)| why.clone()).collect();
        let unknown = denied.iter().any(|(status, ..)| status.is_none());
        let reason = denied.first().map_or("NoSiteCanTake", |(_, reason, _)| reason);
        return one(kind, if unknown { None } else { Some(false) }, reason, words.join("; "));
    }
    if record.phase != Phase::Steady {
        return one(kind, Some(false), "NotSteady", format!("the record is in {}", record.phase));
    }
    if let Some(row) = sites.iter().find(|r| r.name == record.active && r.lives != Some(true)) {
        return one(kind, row.lives, "SourceNotKnownToLive", format!("{} is not known to live", row.name));
    }
    let mut hashes = sites.iter().map(|r| (&r.name, r.spec_hash.as_ref()));
    let first = hashes.next();
    match first.and_then(|(_, hash)| hashes.find(|(_, h)| *h != hash)) {
        Some((name, Some(_))) => one(
            kind,
            Some(false),
            "SpecsDiffer",
            format!("{name} has another spec: sites that differ do not switch over"),
        ),
        Some((name, None)) => {
            one(kind, None, "SpecUnknown", format!("the spec that {name} has is not known"))
        }
        None => one(kind, Some(true), "Ready", "a switchover would pass its preflight"),
    }
}
