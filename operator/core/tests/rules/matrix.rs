//! Every phase, seen from every side, in the situations that matter: what each site does, as one table.
//!
//! The table is a golden file: a change of any rule shows up as a changed line, to be read and agreed with.

use std::fmt::Write as _;

use bascule_core::memory::Stamp;
use bascule_core::plan::{DatabaseRole, Plan};
use bascule_core::record::Phase;

use crate::world::given::{Given, Lease};
use crate::world::policy::{database, policy_in};
use crate::world::record::in_phase;
use crate::world::reports::{orphan, primary};
use crate::world::{item, site};

/// Paris, lyon and milan; in the phase, paris is active and lyon the target, except that lyon is active in `Promoting`.
fn side(me: &str, phase: &Phase) -> Given {
    let names = ["paris", "lyon", "milan"];
    let given = Given::at(me).policy(|p| {
        *p = policy_in(&names);
        p.databases.insert(item("main"), database(&names));
    });
    let mut record = in_phase(phase.clone());
    if record.target.is_none() && *phase != Phase::Promoting {
        record.target = Some(site("lyon"));
    }
    let mine = record.active == given.me;
    let given = given.record(record);
    if mine { given.report(primary(10)) } else { given.report(orphan(10)).contact(0, 60_200) }
}

fn line(plan: &Plan) -> String {
    let role = match plan.databases.get(&item("main")).map(|o| &o.role) {
        None => "-".to_owned(),
        Some(DatabaseRole::Wait { .. }) => "wait".to_owned(),
        Some(DatabaseRole::Follow { site, open }) => {
            format!("follow {site}{}", if *open { "" } else { ", closed" })
        }
        Some(DatabaseRole::Serve { .. }) => "serve".to_owned(),
        Some(DatabaseRole::Lock) => "lock".to_owned(),
        Some(DatabaseRole::Keep) => "keep".to_owned(),
    };
    let change = plan
        .transition
        .as_ref()
        .map_or_else(|| "-".to_owned(), |c| format!("{} with {} active", c.next.phase, c.next.active));
    let mut steps: Vec<String> = plan.steps.iter().map(bascule_core::plan::Step::words).collect();
    if plan.lock {
        steps.insert(0, "LOCK".to_owned());
    }
    let waits = plan.first_blocker().map_or("-", |g| g.name.as_str());
    let steps = if steps.is_empty() { "-".to_owned() } else { steps.join(", ") };
    format!("{role:<21} {change:<28} {waits:<18} {steps}")
}

#[test]
fn what_each_site_does_in_every_phase() {
    let phases = [
        Phase::Steady,
        Phase::Requested,
        Phase::Handover,
        Phase::Promoting,
        Phase::ReadOnly,
        Phase::Returning,
        Phase::Offered,
        Phase::Withdrawn,
        Phase::Unmanaged,
        Phase::Unknown("Levitating".to_owned()),
    ];
    let mut table = String::new();
    let head =
        format!("{:<21} {:<28} {:<18} {}", "database", "writes the record", "first question", "effects");
    for phase in phases {
        let active = if phase == Phase::Promoting { "lyon" } else { "paris" };
        let _ = writeln!(table, "\n{phase}, {active} active\n  {:<7} {:<15} {head}", "site", "situation");
        for me in ["paris", "lyon", "milan"] {
            let quiet = side(me, &phase);
            let mut cases = vec![
                ("all live", quiet.clone()),
                ("after 1 h", quiet.clone().for_ms(3_600_000)),
                ("suspended", quiet.clone().suspended()),
                ("deleted", quiet.clone().deleted()),
                ("lease lapsed", quiet.clone().lease(Lease::Lapsed)),
            ];
            if me == active {
                cases.push(("lease regained", quiet.clone().lease(Lease::Regained)));
                let gone = quiet.for_ms(3_600_000).node_dead().stamped(Stamp::GuardGone, 3_600_000);
                cases.push(("guard gone", gone));
            } else {
                cases.push(("active silent", quiet.silent(active, 60_000)));
            }
            for (name, given) in cases {
                let _ = writeln!(table, "  {me:<7} {name:<15} {}", line(&given.plan()).trim_end());
            }
        }
    }
    insta::assert_snapshot!(table);
}
