//! What was done in a rehearsal, in words that name the real objects.

use std::net::IpAddr;
use std::time::Duration;

use bascule_core::name::{ItemName, SiteName};
use bascule_core::observation::FlagValue;
use bascule_core::plan::Step as CoreStep;
use bascule_core::policy::{
    AnnotationOf, FlagPlace, FlagStore, FlagValues, FlagVariable, Policy, ReadOnlyFlag, Traffic, Workload,
};
use bascule_core::record::{Fences, Record};
use bascule_core::time::{Millis, human};
use bascule_sim::deed::{Before, Deed, Doing, End, Published};
use bascule_sim::rehearsal::Rehearsed;

use super::told::{Kind, Object, Step};

/// Who knows which numbers of the record are real.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The serial is.
    pub serial: bool,
}

/// A deed as a step of the plan.
pub fn step(at: Duration, deed: &Deed, policy: &Policy, known: Known) -> Step {
    let base = Step {
        at_ms: Millis::from(at).0,
        site: deed.site.to_string(),
        kind: Kind::Record,
        object: format!("record {}", deed.policy),
        old: None,
        new: None,
        what: String::new(),
        fails: match &deed.end {
            End::Failed(why) => Some(why.clone()),
            End::Open | End::Done => None,
        },
    };
    match &deed.what {
        Doing::Record { before, after, why } => {
            let shown = before.as_deref().map(|b| record(b, Some(after), known));
            let why = unmeasured(why, after);
            let what = if known.serial { why } else { without_serial(&why) };
            Step { old: shown, new: Some(record(after, before.as_deref(), known)), what, ..base }
        }
        Doing::Lock => Step {
            kind: Kind::Database,
            object: "every database".to_owned(),
            what: "the guards are ordered to stop and lock".to_owned(),
            ..base
        },
        Doing::Guard { database, words, upstream } => Step {
            kind: Kind::Database,
            object: database_words(policy, database, &deed.site),
            what: match upstream {
                Some(of) => words.replacen(&format!("{of}:{PORT}"), &upstream_words(policy, database, of), 1),
                None => words.clone(),
            },
            ..base
        },
        Doing::Step { step, before, after } => effect(step, before, after, policy, known, base),
    }
}

fn effect(
    step: &CoreStep,
    before: &Before,
    after: &Before,
    policy: &Policy,
    known: Known,
    base: Step,
) -> Step {
    let what = if known.serial { step.words() } else { without_serial(&step.words()) };
    match step {
        CoreStep::SetReadOnly { workload, on } => {
            let known = policy.workloads.get(workload).and_then(|w| Some((w, w.read_only.as_ref()?)));
            let spec = known.map(|(_, flag)| flag);
            let wanted = if *on { FlagValue::ReadOnly } else { FlagValue::ReadWrite };
            let old = match before {
                Before::Flag(Some(value)) => flag_value(value, spec),
                _ => None,
            };
            let object =
                known.map_or_else(|| format!("the flag of {workload}"), |(w, f)| flag_words(policy, w, f));
            Step { kind: Kind::Flag, object, old, new: flag_value(&wanted, spec), what, ..base }
        }
        CoreStep::Scale { workload, replicas } => {
            let old = match before {
                Before::Replicas(Some(n)) => Some(n.to_string()),
                _ => None,
            };
            let object = workload_words(policy, workload);
            Step { kind: Kind::Replicas, object, old, new: Some(replicas.to_string()), what, ..base }
        }
        CoreStep::PointTraffic { traffic, .. } => {
            let value = |of: &Before| match of {
                Before::Published(Some((site, published))) => Some((site.clone(), published.clone())),
                _ => None,
            };
            let (old, new) = (value(before), value(after));
            let target = new.as_ref().map_or_else(|| traffic.to_string(), |(_, p)| p.target());
            // Each site has a route of its own.
            let object = match &new {
                Some((_, Published::Route { .. })) => format!("{target} in {}", base.site),
                _ => target,
            };
            let ttl = old.as_ref().map(|(_, p)| p.lingers()) != new.as_ref().map(|(_, p)| p.lingers());
            let words = |of: Option<(SiteName, Published)>| of.map(|(site, p)| published(&site, &p, ttl));
            // It is only marked with the new epoch.
            if old == new {
                return Step { kind: Kind::Traffic, object, what, ..base };
            }
            Step { kind: Kind::Traffic, object, old: words(old), new: words(new), what, ..base }
        }
        CoreStep::RefuseWrites { traffic, on, .. } => {
            let route = policy.traffic.get(traffic).and_then(Traffic::http_route);
            let object = route.map_or_else(
                || format!("{traffic} in {}", base.site),
                |r| format!("HTTPRoute {}/{} in {}", policy.key.namespace, r.name, base.site),
            );
            let words = |refused: bool| {
                let words = if refused { "writes are refused" } else { "writes pass" };
                words.to_owned()
            };
            let old = match before {
                Before::Refuses(refused) if refused != on => Some(words(*refused)),
                _ => None,
            };
            Step { kind: Kind::Traffic, object, old, new: Some(words(*on)), what, ..base }
        }
        CoreStep::VerifyWrite { database, .. } => {
            let object = policy_database(policy, database, &base.site);
            Step { kind: Kind::Verify, object, what, ..base }
        }
    }
}

fn policy_database(policy: &Policy, database: &ItemName, site: &str) -> String {
    SiteName::try_from(site)
        .map_or_else(|_| format!("database {database}"), |site| database_words(policy, database, &site))
}

/// The port that every database has in the simulated world, where a site's name is its address.
const PORT: u16 = 5432;

/// `paris (203.0.113.10:5432)`.
fn upstream_words(policy: &Policy, database: &ItemName, site: &SiteName) -> String {
    let instance = policy.databases.get(database).and_then(|d| d.instances.get(site));
    instance.map_or_else(
        || site.to_string(),
        |i| format!("{site} ({}:{})", i.replication_host, i.replication_port),
    )
}

/// `database main (StatefulSet shop/main)`.
pub fn database_words(policy: &Policy, database: &ItemName, site: &SiteName) -> String {
    let instance = policy.databases.get(database).and_then(|d| d.instances.get(site));
    let set = instance.map(|i| format!(" (StatefulSet {}/{})", policy.key.namespace, i.stateful_set));
    format!("database {database}{}", set.unwrap_or_default())
}

fn workload_words(policy: &Policy, workload: &ItemName) -> String {
    match policy.workloads.get(workload) {
        Some(w) => format!("{:?} {}/{}, spec.replicas", w.kind, policy.key.namespace, w.name),
        None => format!("workload {workload}, spec.replicas"),
    }
}

fn flag_words(policy: &Policy, workload: &Workload, flag: &ReadOnlyFlag) -> String {
    let namespace = &policy.key.namespace;
    match &flag.place {
        FlagPlace::Key(key) => format!("{:?} {namespace}/{}, key {}", key.store, key.name, key.key),
        FlagPlace::Variable(variable) => {
            format!("{:?} {namespace}/{}, {}", workload.kind, workload.name, variable_words(variable))
        }
        FlagPlace::Calls(_) => format!("every pod of {:?} {namespace}/{}", workload.kind, workload.name),
        FlagPlace::Annotation(annotation) => {
            let of = match annotation.of {
                AnnotationOf::Workload => "",
                AnnotationOf::PodTemplate => " of its template",
            };
            format!("{:?} {namespace}/{}, annotation {}{of}", workload.kind, workload.name, annotation.key)
        }
    }
}

/// `variable READ_ONLY of container web`.
fn variable_words(variable: &FlagVariable) -> String {
    let of = variable.container.as_ref().map(|c| format!(" of container {c}")).unwrap_or_default();
    format!("variable {}{of}", variable.name)
}

fn flag_value(value: &FlagValue, spec: Option<&ReadOnlyFlag>) -> Option<String> {
    let of = |pick: fn(&FlagValues) -> &String, otherwise: &str| {
        let values = spec.and_then(|f| f.place.values());
        values.map_or_else(|| otherwise.to_owned(), |v| format!("\"{}\"", pick(v)))
    };
    match value {
        FlagValue::ReadOnly => Some(of(|v| &v.read_only, "read-only")),
        FlagValue::ReadWrite => Some(of(|v| &v.read_write, "read-write")),
        // It may be a secret.
        FlagValue::Other(_)
            if spec.and_then(|f| f.place.key()).is_some_and(|k| k.store == FlagStore::Secret) =>
        {
            Some("another value".to_owned())
        }
        FlagValue::Other(text) => Some(format!("\"{text}\"")),
        FlagValue::Missing | FlagValue::NoPods => None,
    }
}

fn published(site: &SiteName, published: &Published, ttl: bool) -> String {
    match published {
        Published::Name { addresses, ttl: keeps, .. } => {
            let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            let ttl = if ttl { format!(", TTL {}", human(*keeps)) } else { String::new() };
            format!("{} ({site}{ttl})", addresses.join(" "))
        }
        Published::Route { backend, .. } => format!("all requests to {backend} ({site})"),
    }
}

/// What a record says that is not the same in the other one; its phase always.
fn record(record: &Record, other: Option<&Record>, known: Known) -> String {
    let differs = |test: fn(&Record, &Record) -> bool| other.is_none_or(|o| test(record, o));
    let mut words = vec![record.phase.to_string()];
    if differs(|a, b| a.active != b.active) {
        words.push(format!("{} active", record.active));
    }
    if differs(|a, b| a.epoch != b.epoch) {
        words.push(format!("epoch {}", record.epoch));
    }
    if known.serial {
        words.push(format!("serial {}", record.serial));
    }
    if other.is_some_and(|o| o.target != record.target)
        && let Some(target) = &record.target
    {
        words.push(format!("target {target}"));
    }
    if other.is_some_and(|o| o.promise != record.promise) {
        words.push(match record.promise.fences {
            Fences::Never => "promises nothing".to_owned(),
            Fences::Within { holder, fence } => {
                format!("fences itself within {}", human(holder.duration() + fence.duration()))
            }
        });
    }
    words
        .extend(other.into_iter().filter(|o| o.serial < record.serial).flat_map(|o| new_verdicts(record, o)));
    if other.is_some_and(|o| o.hold != record.hold) {
        words.push(
            record.hold.as_ref().map_or_else(|| "not held".to_owned(), |h| format!("held until {}", h.until)),
        );
    }
    words.join(", ")
}

/// The journal's words without what was measured: in the simulated world it is that world's.
pub fn unmeasured(words: &str, record: &Record) -> String {
    let transition = record.transition.as_ref().or_else(|| record.history.first());
    let Some(t) = transition else { return words.to_owned() };
    let mut text = words.to_owned();
    if let Some(bound) = &t.loss_bound {
        text = text.replace(&format!("; {}", bound.said()), "");
    }
    for pause in t.phases.iter().filter(|p| p.name == "writePause") {
        text = text.replace(&format!(", database pause {}", human(pause.took.duration())), "");
    }
    text
}

/// The journal's words without a number that nobody knows yet.
pub fn without_serial(words: &str) -> String {
    let Some(at) = words.find(", serial ") else { return words.to_owned() };
    let rest = words.get(at + ", serial ".len()..).unwrap_or_default();
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{}{rest}", words.get(..at).unwrap_or_default())
}

/// The verdicts that a record has and the one before has not.
fn new_verdicts<'a>(record: &'a Record, before: &'a Record) -> impl Iterator<Item = String> + 'a {
    let new = record.moves.iter().filter(|v| before.verdict(&v.hash).is_none());
    new.map(|v| format!("Move {}: {:?}", v.name, v.end))
}

/// What a record says of who writes.
fn whole(record: &Record, known: Known) -> String {
    let serial = if known.serial { format!(", serial {}", record.serial) } else { String::new() };
    let held = record.hold.as_ref().map(|h| format!(", held until {}", h.until)).unwrap_or_default();
    format!("{}, {} active, epoch {}{serial}{held}", record.phase, record.active, record.epoch)
}

/// What is touched by all steps, with its values in order.
pub fn objects(steps: &[Step], done: &Rehearsed, policy: &Policy, known: Known) -> Vec<Object> {
    let roles = &done.databases;
    let mut found: Vec<(Kind, Object)> = Vec::new();
    let mut take =
        |kind: Kind, site: Option<String>, object: String, old: Option<String>, new: Option<String>| {
            if let Some((_, known)) = found.iter_mut().find(|(_, o)| o.site == site && o.what == object) {
                if known.values.last() != Some(&new) {
                    known.values.push(new.clone());
                }
                known.new = new;
                return;
            }
            let values = vec![old.clone(), new.clone()];
            found.push((kind, Object { site, what: object, old, new, values }));
        };
    if steps.iter().any(|s| s.kind == Kind::Record && s.fails.is_none()) {
        let text = |r: &Option<Record>| r.as_ref().map(|r| whole(r, known));
        let object = format!("record {}", policy.key);
        let judged = done.after.iter().zip(&done.before).flat_map(|(a, b)| new_verdicts(a, b));
        let after = text(&done.after).map(|t| judged.fold(t, |t, verdict| format!("{t}, {verdict}")));
        take(Kind::Record, None, object, text(&done.before), after);
    }
    for step in steps.iter().filter(|s| s.fails.is_none() && s.kind != Kind::Record) {
        let site = match step.kind {
            Kind::Record | Kind::Traffic => None,
            Kind::Database | Kind::Flag | Kind::Replicas | Kind::Verify => Some(step.site.clone()),
        };
        if step.old.is_some() || step.new.is_some() {
            take(step.kind, site, step.object.clone(), step.old.clone(), step.new.clone());
        }
    }
    for role in roles {
        let object = database_words(policy, &role.database, &role.site);
        take(
            Kind::Database,
            Some(role.site.to_string()),
            object,
            role.before.clone(),
            Some(role.after.clone()),
        );
    }
    found.sort_by_key(|(kind, _)| *kind);
    found.into_iter().map(|(_, object)| object).collect()
}

/// Everything that a policy names, in words: what it names no more is let go.
pub fn named(policy: &Policy) -> Vec<String> {
    let mut all = Vec::new();
    for (name, database) in &policy.databases {
        all.extend(
            database.instances.keys().map(|site| format!("{} at {site}", database_words(policy, name, site))),
        );
    }
    all.extend(in_every_site(policy));
    for target in policy.traffic.values() {
        match target {
            Traffic::Dns(dns) => all.push(format!("DNS {}", dns.name)),
            Traffic::HttpRoute(route) => all.extend(
                policy
                    .sites
                    .iter()
                    .map(|site| format!("HTTPRoute {}/{} in {site}", policy.key.namespace, route.name)),
            ),
        }
    }
    all
}

/// What a policy names once and every one of its sites has.
pub fn in_every_site(policy: &Policy) -> Vec<String> {
    let mut all = Vec::new();
    for (name, workload) in &policy.workloads {
        all.push(workload_words(policy, name));
        all.extend(workload.read_only.as_ref().map(|flag| flag_words(policy, workload, flag)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_that_nobody_knows_is_not_told() {
        for (from, to) in [
            ("point public at lyon (epoch 2, serial 17)", "point public at lyon (epoch 2)"),
            ("paris re-claims its role", "paris re-claims its role"),
            ("a, serial 3, and more", "a, and more"),
        ] {
            assert_eq!(without_serial(from), to);
        }
    }
}
