//! Could this site be promoted? Every reason why not, all year.

use crate::decide::situation::Situation;
use crate::guard::wire::{Disk, ServerState};
use crate::name::ItemName;
use crate::observation::{DatabaseView, Fact};
use crate::plan::{Answer, Gate};
use crate::policy::Policy;
use crate::record::Record;

/// Every reason why this site could not be promoted now; empty: it could.
pub(super) fn blockers(s: &Situation<'_>, policy: &Policy, record: &Record) -> Vec<Gate> {
    let mut found = Vec::new();
    for (name, database) in &policy.databases {
        if !database.instances.contains_key(s.me) {
            found.push(Gate::new(
                &format!("database/{name}"),
                Answer::No,
                format!("spec.databases[{name}] has no instance for site {}", s.me),
                "an instance in every site",
            ));
            continue;
        }
        match s.seen.databases.get(name) {
            None => found.push(unknown(name, "no guard has connected since this operator started")),
            Some(view) => database_blockers(name, view, record.active == *s.me, &mut found),
        }
    }
    for (name, w) in policy.workloads.keys().map(|n| (n, s.seen.workloads.get(n))) {
        let gates = w.map_or(Fact::unknown("not looked at yet"), |w| w.blockers.clone());
        take_in(&format!("workload/{name}"), gates, &mut found);
    }
    for (name, t) in policy.traffic.keys().map(|n| (n, s.seen.traffic.get(n))) {
        let gates = t.map_or(Fact::unknown("not looked at yet"), |t| t.blockers.clone());
        take_in(&format!("traffic/{name}"), gates, &mut found);
    }
    if let Fact::Unknown { reason } = &s.seen.high_water {
        found.push(Gate::new(
            "marks",
            Answer::Unknown,
            reason.clone(),
            "a writable high-water mark in this site",
        ));
    }
    found
}

fn take_in(name: &str, gates: Fact<Vec<Gate>>, found: &mut Vec<Gate>) {
    match gates {
        Fact::Known { value, .. } => found.extend(value.into_iter().filter(|g| !g.passed())),
        Fact::Unknown { reason } => found.push(Gate::new(name, Answer::Unknown, reason, "a look at it")),
    }
}

fn unknown(name: &ItemName, why: impl Into<String>) -> Gate {
    Gate::new(&format!("database/{name}"), Answer::Unknown, why, "a report of its guard")
}

fn database_blockers(name: &ItemName, view: &DatabaseView, active: bool, found: &mut Vec<Gate>) {
    let gate =
        |answer, what: String, needed: &str| Gate::new(&format!("database/{name}"), answer, what, needed);
    match &view.guard {
        Fact::Unknown { reason } => found.push(unknown(name, reason.clone())),
        Fact::Known { value: report, age } => {
            match &report.state {
                ServerState::Standby { .. } => {}
                ServerState::Failed { reason, .. } => {
                    found.push(gate(Answer::No, reason.clone(), "a running replica").aged(Some(*age)));
                }
                _ if active => {}
                other => found.push(
                    gate(
                        Answer::NotYet,
                        format!("its server is {}", state_words(other)),
                        "a running replica",
                    )
                    .aged(Some(*age)),
                ),
            }
            if let Disk::Unreadable { reason } = &report.disk {
                found.push(gate(Answer::No, reason.clone(), "a cluster of a tested version"));
            }
        }
    }
    take_in(&format!("database/{name}/preflight"), view.preflight.clone(), found);
}

/// The state of a server in words.
pub(super) fn state_words(state: &ServerState) -> String {
    match state {
        ServerState::Down => "down".to_owned(),
        ServerState::Starting { .. } => "starting".to_owned(),
        ServerState::Standby { open } => {
            format!("a replica, {}", if *open { "open for reads" } else { "closed" })
        }
        ServerState::Promoting => "being promoted".to_owned(),
        ServerState::Primary { open } => format!("a primary, {}", if *open { "open" } else { "closed" }),
        ServerState::Stopping => "stopping".to_owned(),
        ServerState::Cloning => "being cloned".to_owned(),
        ServerState::Rewinding => "being rewound".to_owned(),
        ServerState::Failed { reason, .. } => format!("failed: {reason}"),
    }
}
