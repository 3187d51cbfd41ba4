//! Judgements with stable reasons.

use super::{Condition, SiteRow, State};
use crate::decide::{PolicySeen, Situation};
use crate::observation::{Fact, FlagValue};
use crate::plan::{Answer, Gate, Plan};
use crate::policy::Policy;
use crate::record::{Phase, Record};
use crate::time::human;

/// All judgements. `Reconciling`, `Stalled` and `Contended` are there only while they are true.
pub(super) fn conditions(
    s: &Situation<'_>,
    plan: &Plan,
    record: Option<&Record>,
    state: &State,
    sites: &[SiteRow],
) -> Vec<Condition> {
    let words = plan.first_blocker().map_or_else(|| plan.summary.clone(), Gate::words);
    let mut all = vec![one("Ready", state.ready, state.reason, plan.summary.clone())];
    if state.reconciling {
        all.push(one("Reconciling", Some(true), state.reason, words.clone()));
    }
    if state.stalled {
        all.push(one("Stalled", Some(true), state.reason, words));
    }
    all.push(arbiter(s, plan));
    all.push(reachable(s, sites));
    let Some(record) = record else { return all };
    all.push(replication(record, sites));
    let PolicySeen::Present(policy) = &s.policy else { return all };
    all.extend(flags(s, policy, record));
    all.extend(traffic(s, policy, record));
    all.extend(contended(s));
    let failover = failover(record, sites);
    all.push(switchover(&failover, record, sites));
    all.push(failover);
    all
}

fn one(kind: &str, status: Option<bool>, reason: &str, message: impl Into<String>) -> Condition {
    Condition { kind: kind.to_owned(), status, reason: reason.to_owned(), message: message.into() }
}

fn arbiter(s: &Situation<'_>, plan: &Plan) -> Condition {
    let kind = "ArbiterAgrees";
    if let Some(gate) = plan.gates.iter().find(|g| g.name == "arbiter" && g.answer == Answer::No) {
        return one(kind, Some(false), "WentBack", gate.words());
    }
    if !s.lease_alive() {
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
    one(kind, Some(true), "AllLive", "every site renews its lease")
}

fn replication(record: &Record, sites: &[SiteRow]) -> Condition {
    let kind = "ReplicationHealthy";
    let behind = sites.iter().filter(|r| r.name != record.active).find(|r| r.lag.bytes.is_none());
    match behind {
        Some(row) => one(kind, None, "LagUnknown", format!("how far {} is behind is not known", row.name)),
        None => one(kind, Some(true), "Streaming", "every replica reports how far it is"),
    }
}

/// Whether this site's flags have the effect that they should have.
fn flags(s: &Situation<'_>, policy: &Policy, record: &Record) -> Option<Condition> {
    let kind = "ReadOnlyEffective";
    let mut flagged =
        policy.workloads.iter().filter_map(|(n, w)| Some((n, w.read_only.as_ref()?))).peekable();
    flagged.peek()?;
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
                return Some(one(kind, Some(false), "PodsDiffer", message));
            }
            Some(Fact::Unknown { reason }) => {
                return Some(one(kind, None, "PodsUnknown", format!("{name}: {reason}")));
            }
            None => return Some(one(kind, None, "PodsUnknown", format!("{name} was not looked at yet"))),
        }
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
            Some(Fact::Known { value, .. }) if value.site.as_ref() == Some(&wanted) => {
                if !value.silent.is_empty() {
                    let message =
                        format!("{name} answers {wanted} where it answers; {}", value.silent.join(", "));
                    return Some(one(kind, None, "ServerSilent", message));
                }
            }
            Some(Fact::Known { value, age }) => {
                let found = value.site.as_ref().map_or_else(
                    || format!("differs: {}", value.differing.join(", ")),
                    |site| format!("answers {site}"),
                );
                let message = format!("{name} {found}, not {wanted} ({} ago)", human(*age));
                return Some(one(kind, Some(false), "Elsewhere", message));
            }
            Some(Fact::Unknown { reason }) => {
                return Some(one(kind, None, "NotKnown", format!("{name}: {reason}")));
            }
            None => return Some(one(kind, None, "NotKnown", format!("{name} was not looked at yet"))),
        }
    }
    Some(one(kind, Some(true), "Converged", format!("every authoritative server answers {wanted}")))
}

fn contended(s: &Situation<'_>) -> Option<Condition> {
    let gates = s.seen.workloads.values().filter_map(|w| w.blockers.value()).flatten();
    let words: Vec<String> =
        gates.filter(|g| g.name.starts_with("contended/") && !g.passed()).map(Gate::words).collect();
    (!words.is_empty()).then(|| one("Contended", Some(true), "OwnedByAnother", words.join("; ")))
}

fn failover(record: &Record, sites: &[SiteRow]) -> Condition {
    let kind = "FailoverPossible";
    let others: Vec<&SiteRow> = sites.iter().filter(|r| r.name != record.active).collect();
    if let Some(row) = others.iter().find(|r| r.promotable == Some(true) && r.lives == Some(true)) {
        return one(kind, Some(true), "SiteCanTake", format!("{} can take over", row.name));
    }
    let why: Vec<String> = others
        .iter()
        .map(|r| match (r.lives, &r.reason) {
            (Some(false), _) => format!("{} is silent", r.name),
            (_, Some(why)) => format!("{}: {why}", r.name),
            (_, None) => format!("whether {} lives is not known", r.name),
        })
        .collect();
    let unknown = others.iter().any(|r| r.promotable.is_none() || r.lives.is_none());
    let status = if unknown { None } else { Some(false) };
    one(kind, status, if unknown { "NotKnown" } else { "NoSiteCanTake" }, why.join("; "))
}

fn switchover(failover: &Condition, record: &Record, sites: &[SiteRow]) -> Condition {
    let kind = "SwitchoverPossible";
    if failover.status != Some(true) {
        return one(kind, failover.status, &failover.reason, failover.message.clone());
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
