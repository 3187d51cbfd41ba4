//! May the first record be created?

use std::collections::BTreeMap;

use crate::decide::situation::{PolicySeen, Situation};
use crate::guard::wire::{Cluster, ClusterState, Disk};
use crate::name::ItemName;
use crate::observation::{Fact, Marks};
use crate::plan::{Answer, Change, DatabaseOrder, DatabaseRole, Gate, Plan, all_passed};
use crate::policy::Policy;
use crate::record::{Entered, Record};

/// Proposes the first record when this is the initial site and the facts of all sites agree; otherwise says who is
/// waited for. No database gets a role before.
pub(super) fn create(s: &Situation<'_>, policy: &Policy, plan: &mut Plan) {
    wait(policy, plan);
    match &s.seen.high_water {
        Fact::Known { .. } if s.seen.known_marks() == Marks::default() => {}
        Fact::Known { .. } => {
            let value = s.seen.known_marks();
            plan.gates.push(Gate::new(
                "arbiter",
                Answer::No,
                "this arbiter has no record of the policy".to_owned(),
                format!(
                    "epoch {}, serial {} or later, which this site has seen: the arbiter was emptied or restored; raise arbiter.generation above {} in all sites",
                    value.epoch, value.serial, value.generation
                ),
            ));
        }
        Fact::Unknown { reason } => {
            plan.gates.push(Gate::new(
                "marks",
                Answer::Unknown,
                reason.clone(),
                "this site's high-water mark",
            ));
        }
    }
    if policy.initial_site != *s.me {
        let found = format!("{} is the initial site and has not created the record yet", policy.initial_site);
        plan.gates.push(Gate::new("initialSite", Answer::NotYet, found, "a record"));
    } else if policy.suspend {
        plan.gates.push(Gate::new("suspend", Answer::No, "the policy is suspended", "spec.suspend: false"));
    } else {
        agree(s, policy, plan);
    }
    if !all_passed(&plan.gates) {
        let why = plan.first_blocker().map(Gate::words).unwrap_or_default();
        plan.summary = format!("no record yet; {why}");
        return;
    }
    if !s.lease_alive() || s.claim.is_writing() {
        "no record yet; this site's lease is not renewed, or the record is being written"
            .clone_into(&mut plan.summary);
        return;
    }
    let entered = Entered { at: s.wall, by: s.me.clone() };
    let next = Record {
        generation: s.installation.generation,
        ..Record::first(s.me.clone(), s.promise(policy), entered)
    };
    let why = format!("all sites agree: {} becomes active for the first time", s.me);
    plan.summary.clone_from(&why);
    plan.transition = Some(Change { next, unchanged_lease: None, why });
}

/// Nobody has a role without a record.
pub(super) fn wait(policy: &Policy, plan: &mut Plan) {
    for name in policy.databases.keys() {
        let why = format!("there is no record of {} yet", policy.key);
        plan.databases
            .insert(name.clone(), DatabaseOrder { role: DatabaseRole::Wait { why }, checkpoint: false });
    }
}

fn agree(s: &Situation<'_>, policy: &Policy, plan: &mut Plan) {
    debug_assert!(matches!(s.policy, PolicySeen::Present(_)));
    let mut primaries: BTreeMap<&ItemName, Cluster> = BTreeMap::new();
    for name in policy.databases.keys() {
        let disk = s.seen.databases.get(name).and_then(|d| d.guard.value()).map(|r| &r.disk);
        let gate = match disk {
            None => Gate::new(
                &format!("database/{name}"),
                Answer::NotYet,
                format!("no guard of {name} has connected here"),
                "its guard's report of what lies on the disk",
            ),
            Some(Disk::Cluster(c)) if c.half_rewound => Gate::new(
                &format!("database/{name}"),
                Answer::No,
                format!("a rewind of the data directory in {} was begun and not finished", s.me),
                "a data directory that can be served",
            ),
            Some(Disk::Cluster(c))
                if !c.standby_signal
                    && matches!(
                        c.state,
                        ClusterState::ShutDownInRecovery | ClusterState::InArchiveRecovery
                    ) =>
            {
                Gate::new(
                    &format!("database/{name}"),
                    Answer::No,
                    format!(
                        "the data directory in {} was last a replica's, and standby.signal is gone",
                        s.me
                    ),
                    "the primary at spec.initialSite; name the site that has it, or promote this one by hand",
                )
            }
            Some(Disk::Cluster(c)) if !c.standby_signal => {
                primaries.insert(name, c.clone());
                Gate::new(
                    &format!("database/{name}"),
                    Answer::Yes,
                    "a primary's data directory",
                    "a primary's data directory",
                )
            }
            Some(Disk::Cluster(_)) => Gate::new(
                &format!("database/{name}"),
                Answer::No,
                format!("the data directory in {} is a replica's (standby.signal)", s.me),
                "the primary at spec.initialSite; name the site that has it",
            ),
            Some(Disk::Empty) => Gate::new(
                &format!("database/{name}"),
                Answer::No,
                format!("the data directory in {} is empty", s.me),
                "an initialised database at spec.initialSite (initdb, or restore a backup)",
            ),
            Some(Disk::Unreadable { reason }) => Gate::new(
                &format!("database/{name}"),
                Answer::No,
                reason.clone(),
                "a readable data directory",
            ),
        };
        plan.gates.push(gate);
    }
    for site in policy.other_sites(s.me) {
        let (facts, age) = match s.facts(site) {
            Fact::Known { value, age } => (value, age),
            Fact::Unknown { reason } => {
                let name = format!("site/{site}");
                plan.gates.push(Gate::new(&name, Answer::NotYet, reason, "facts of every site"));
                continue;
            }
        };
        let fresh = facts.answers.get(s.me) == Some(&s.question);
        plan.gates.push(
            Gate::when(
                fresh,
                Answer::NotYet,
                &format!("site/{site}"),
                facts.answers.get(s.me).map_or_else(
                    || format!("{site} has answered no question"),
                    |n| format!("{site} answered question {n}"),
                ),
                format!("an answer to question {}", s.question),
            )
            .aged(Some(age)),
        );
        plan.gates.push(Gate::when(
            facts.spec_hash.as_ref() == Some(&policy.spec_hash),
            Answer::NotYet,
            &format!("site/{site}/spec"),
            facts
                .spec_hash
                .as_ref()
                .map_or_else(|| format!("{site} has no spec"), |h| format!("{site} has spec {h}")),
            format!("the same spec as here, {}", policy.spec_hash),
        ));
        for name in policy.databases.keys() {
            plan.gates.push(other_disk(site.as_str(), name, facts.disks.get(name), primaries.get(name)));
        }
    }
}

fn other_disk(site: &str, name: &ItemName, disk: Option<&Disk>, mine: Option<&Cluster>) -> Gate {
    let key = format!("site/{site}/database/{name}");
    let needed = "a replica of the primary here, or an empty data directory to clone into";
    match disk {
        None => {
            Gate::new(&key, Answer::NotYet, format!("no guard of {name} has connected in {site}"), needed)
        }
        Some(Disk::Empty) => Gate::new(&key, Answer::Yes, "empty: will be cloned", needed),
        Some(Disk::Unreadable { reason }) => Gate::new(&key, Answer::No, reason.clone(), needed),
        Some(Disk::Cluster(c)) if mine.is_none_or(|m| m.system_id != c.system_id) => Gate::new(
            &key,
            Answer::No,
            format!("{name} in {site} is another database (system identifier {})", c.system_id),
            needed,
        ),
        Some(Disk::Cluster(c)) if !c.standby_signal => {
            Gate::new(&key, Answer::No, format!("{name} in {site} is a primary too"), needed)
        }
        Some(Disk::Cluster(c)) if mine.is_some_and(|m| m.timeline < c.timeline) => Gate::new(
            &key,
            Answer::No,
            format!("{name} in {site} is on timeline {}, later than the primary here", c.timeline),
            needed,
        ),
        Some(Disk::Cluster(_)) => Gate::new(&key, Answer::Yes, "a replica of the same database", needed),
    }
}
