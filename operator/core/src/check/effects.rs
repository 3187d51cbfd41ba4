//! Roles, locks and effects.

use super::{Case, Found, Rule, understood};
use crate::memory::Stamp;
use crate::name::{ItemName, SiteName};
use crate::observation::Writes;
use crate::plan::{DatabaseRole, Plan, Step};
use crate::policy::{Policy, Traffic};
use crate::record::{Phase, Record};

pub(super) fn check(case: &Case<'_>, plan: &Plan, found: &mut Found) {
    let Some(record) = case.before else {
        let idle =
            plan.databases.values().all(|o| matches!(o.role, DatabaseRole::Wait { .. } | DatabaseRole::Keep));
        found.want(idle && !plan.lock, Rule::Role, || {
            "no database has a role before a record exists".to_owned()
        });
        found
            .want(plan.steps.is_empty(), Rule::Named, || "nothing is done before a record exists".to_owned());
        return;
    };
    for (name, order) in &plan.databases {
        let ok = match &order.role {
            DatabaseRole::Keep | DatabaseRole::Wait { .. } => true,
            DatabaseRole::Follow { site, .. } => !case.mine() && *site == record.active,
            DatabaseRole::Serve { .. } => case.mine() && record.phase.grants(),
            DatabaseRole::Lock => case.mine(),
        };
        found.want(ok && (understood(record) || order.role == DatabaseRole::Keep), Rule::Role, || {
            format!("{name} as {:?} while {} is active in {}", order.role, record.active, record.phase)
        });
    }
    if plan.lock {
        lock(case, record, found);
    }
    for step in &plan.steps {
        one(case, record, step, found);
    }
}

fn lock(case: &Case<'_>, record: &Record, found: &mut Found) {
    let grants =
        matches!(record.phase, Phase::Steady | Phase::Requested | Phase::Returning | Phase::Promoting);
    found.want(case.mine() && grants, Rule::Lock, || {
        format!("{} would lock in {} of {}", case.s.me, record.phase, record.active)
    });
    let under_way = matches!(record.phase, Phase::Promoting | Phase::Returning) && case.present().is_some();
    found.want(case.policy.is_some() || under_way, Rule::Intent, || {
        "a policy that is not in force closes no database".to_owned()
    });
}

fn one(case: &Case<'_>, record: &Record, step: &Step, found: &mut Found) {
    let Some(policy) = case.present() else {
        return found.want(false, Rule::Intent, || format!("without a policy: {}", step.words()));
    };
    let under_way = case.mine()
        && matches!(record.phase, Phase::Handover | Phase::Promoting | Phase::Returning | Phase::Offered);
    found.want(case.policy.is_some() || under_way, Rule::Intent, || {
        format!("the policy is not in force: {}", step.words())
    });
    found.want(understood(record) && record.phase != Phase::Unmanaged, Rule::Intent, || {
        format!("nobody acts in {}: {}", record.phase, step.words())
    });
    found.want(named(policy, step), Rule::Named, || format!("the policy does not name it: {}", step.words()));
    let reads_only = match step {
        Step::SetReadOnly { on, .. } => *on,
        Step::RefuseWrites { on, .. } => *on && case.mine(),
        Step::Scale { .. } | Step::PointTraffic { .. } | Step::VerifyWrite { .. } => false,
    };
    found.want(case.lease() || reads_only, Rule::Lease, || format!("without a lease: {}", step.words()));
    match step {
        Step::SetReadOnly { on: false, .. } => {
            found.want(case.mine() && case.grants(), Rule::Flags, || {
                format!("this site does not grant: {}", step.words())
            });
            let verified = record.phase != Phase::Promoting || all_verified(case, policy, record);
            found.want(verified, Rule::Flags, || format!("no write was verified: {}", step.words()));
        }
        Step::PointTraffic { traffic, site, epoch, serial } => {
            found.want((*epoch, *serial) == (record.epoch, record.serial), Rule::Traffic, || {
                format!("the record is at epoch {}, serial {}: {}", record.epoch, record.serial, step.words())
            });
            let target = policy.traffic.get(traffic);
            found.want(target.is_some_and(|t| t.leads_to(site)), Rule::Traffic, || {
                format!("{site} has no address: {}", step.words())
            });
            let serves = if site == case.s.me {
                serves_writes(case, policy, record) || serves_reads(case, record)
            } else {
                target.is_some_and(Traffic::is_in_every_site) && is_served_by(case, record, site)
            };
            found.want(serves, Rule::Traffic, || {
                format!("{site} is not to be reached in {}: {}", record.phase, step.words())
            });
        }
        Step::RefuseWrites { traffic, on, epoch, serial } => {
            found.want((*epoch, *serial) == (record.epoch, record.serial), Rule::Traffic, || {
                format!("the record is at epoch {}, serial {}: {}", record.epoch, record.serial, step.words())
            });
            let asked = policy.traffic.get(traffic).is_some_and(Traffic::refuses_writes);
            let right = if *on {
                asked && !accepts_writes(case, record, traffic)
            } else {
                !asked || nobody_answers(case, traffic) || reaches_a_writer(case, policy, record, traffic)
            };
            found.want(right, Rule::Flags, || {
                format!("{} is active in {}: {}", record.active, record.phase, step.words())
            });
        }
        Step::VerifyWrite { epoch, .. } => {
            found.want(case.mine() && *epoch == record.epoch, Rule::Named, || {
                format!("{} is active at epoch {}: {}", record.active, record.epoch, step.words())
            });
        }
        Step::SetReadOnly { on: true, .. } | Step::Scale { .. } => {}
    }
}

fn serves_writes(case: &Case<'_>, policy: &Policy, record: &Record) -> bool {
    case.mine()
        && case.grants()
        && match record.phase {
            Phase::Steady | Phase::Returning => true,
            Phase::Promoting => all_verified(case, policy, record),
            _ => false,
        }
}

/// Where the requests of a target are sent, as far as it is known.
fn leads_to<'a>(case: &'a Case<'_>, traffic: &ItemName) -> Option<&'a SiteName> {
    case.s.seen.traffic.get(traffic)?.at.value()?.site.as_ref()
}

/// Whether writes that the target does not let pass have nobody to answer them.
fn nobody_answers(case: &Case<'_>, traffic: &ItemName) -> bool {
    let at = case.s.seen.traffic.get(traffic).and_then(|t| t.at.value());
    matches!(at.and_then(|at| at.writes.as_ref()), Some(Writes::Lost(_)))
}

/// Whether writes that the target lets pass would be accepted, as far as this site can know.
fn accepts_writes(case: &Case<'_>, record: &Record, traffic: &ItemName) -> bool {
    if case.mine() {
        return record.phase == Phase::Steady && case.grants();
    }
    record.phase == Phase::Steady && leads_to(case, traffic) == Some(&record.active)
}

/// Whether writes that the target lets pass reach a site that writes, or will in a moment.
fn reaches_a_writer(case: &Case<'_>, policy: &Policy, record: &Record, traffic: &ItemName) -> bool {
    if case.mine() {
        return serves_writes(case, policy, record) && record.phase != Phase::Returning;
    }
    is_served_by(case, record, &record.active) && leads_to(case, traffic) == Some(&record.active)
}

fn serves_reads(case: &Case<'_>, record: &Record) -> bool {
    record.phase == Phase::ReadOnly
        && record.target.as_ref() == Some(case.s.me)
        && case.s.claim.current().is_some()
        && !case.s.claim.must_read(case.s.holder)
}

/// Whether the record says that `site`, another one than this, serves users: this site may pass its own on to it.
fn is_served_by(case: &Case<'_>, record: &Record, site: &SiteName) -> bool {
    !case.mine()
        && !case.s.claim.must_read(case.s.holder)
        && match record.phase {
            Phase::Steady => *site == record.active,
            Phase::ReadOnly => record.target.as_ref() == Some(site),
            _ => false,
        }
}

/// Whether a write was verified in every database in this hold: seen now, or noted since the record is as it is.
pub(super) fn all_verified(case: &Case<'_>, policy: &Policy, record: &Record) -> bool {
    case.s.memory.at(Stamp::WriteVerified).is_some()
        || policy.databases.keys().all(|name| {
            case.s.seen.databases.get(name).is_some_and(|d| d.write_verified == Some(record.epoch))
        })
}

fn named(policy: &Policy, step: &Step) -> bool {
    match step {
        Step::SetReadOnly { workload, .. } => {
            policy.workloads.get(workload).is_some_and(|w| w.read_only.is_some())
        }
        Step::Scale { workload, .. } => policy.workloads.contains_key(workload),
        Step::PointTraffic { traffic, .. } => policy.traffic.contains_key(traffic),
        Step::RefuseWrites { traffic, .. } => {
            policy.traffic.get(traffic).is_some_and(Traffic::is_in_every_site)
        }
        Step::VerifyWrite { database, .. } => policy.databases.contains_key(database),
    }
}
