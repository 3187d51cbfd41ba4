//! Could this site be promoted? Every reason why not, all year.

use crate::decide::situation::Situation;
use crate::decide::unlocked;
use crate::guard::wire::{Disk, ServerState};
use crate::name::ItemName;
use crate::observation::{DatabaseView, Fact};
use crate::plan::{Answer, Gate, merged};
use crate::policy::Policy;
use crate::record::Record;

/// Every reason why this site could not be promoted now; empty: it could.
pub(super) fn blockers(s: &Situation<'_>, policy: &Policy, record: &Record) -> Vec<Gate> {
    let mut found = Vec::new();
    for (name, database) in &policy.databases {
        if !database.instances.contains_key(s.me) {
            found.push(Gate::new(
                &format!("database/{name}/instance"),
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
        take_in(&format!("workload/{name}"), w.map(|w| &w.blockers), &mut found);
    }
    for (name, t) in policy.traffic.keys().map(|n| (n, s.seen.traffic.get(n))) {
        take_in(&format!("traffic/{name}"), t.map(|t| &t.blockers), &mut found);
    }
    if let Fact::Unknown { reason } = &s.seen.high_water {
        found.push(Gate::new(
            "marks",
            Answer::Unknown,
            reason.clone(),
            "a writable high-water mark in this site",
        ));
    }
    merged(found)
}

fn take_in(name: &str, gates: Option<&Fact<Vec<Gate>>>, found: &mut Vec<Gate>) {
    let unknown = |reason: &str| Gate::new(name, Answer::Unknown, reason, "a look at it");
    match gates {
        Some(Fact::Known { value, age }) => {
            found.extend(value.iter().filter(|g| !g.passed()).cloned().map(|g| match g.age_ms {
                None => g.aged(Some(*age)),
                Some(_) => g,
            }));
        }
        Some(Fact::Unknown { reason }) => found.push(unknown(reason)),
        None => found.push(unknown("not looked at yet")),
    }
}

fn unknown(name: &ItemName, why: impl Into<String>) -> Gate {
    Gate::new(&format!("database/{name}/guard"), Answer::Unknown, why, "a report of its guard")
}

fn database_blockers(name: &ItemName, view: &DatabaseView, active: bool, found: &mut Vec<Gate>) {
    let server = |answer, what: String, age| {
        Gate::new(&format!("database/{name}/server"), answer, what, "a running replica").aged(Some(age))
    };
    match &view.guard {
        Fact::Unknown { reason } => found.push(unknown(name, reason.clone())),
        Fact::Known { value: report, age } => {
            found.extend(unlocked::gate(name, report, *age));
            match &report.state {
                ServerState::Standby { .. } => {}
                ServerState::Failed { reason, commands } => {
                    found.push(server(Answer::No, failed_words(reason, commands), *age));
                }
                _ if active => {}
                other => {
                    let what = format!("its server is {}", state_words(other));
                    found.push(server(Answer::NotYet, what, *age));
                }
            }
            if let Disk::Unreadable { reason } = &report.disk {
                let disk = format!("database/{name}/disk");
                let needed = "a cluster of a tested version";
                found.push(Gate::new(&disk, Answer::No, reason.clone(), needed).aged(Some(*age)));
            }
        }
    }
    take_in(&format!("database/{name}/preflight"), Some(&view.preflight), found);
}

/// The state of a server in words.
pub fn state_words(state: &ServerState) -> String {
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
        ServerState::Failed { reason, commands } => format!("failed: {}", failed_words(reason, commands)),
    }
}

/// Why a server failed, and how a person goes on where nothing else does.
fn failed_words(reason: &str, commands: &[String]) -> String {
    if commands.is_empty() {
        return reason.to_owned();
    }
    format!("{reason}; to go on, in its pod: {}", commands.join("; "))
}
