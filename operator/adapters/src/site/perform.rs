//! Does one step on traffic or a database, once.

use bascule_core::name::SiteName;
use bascule_core::outcome::Outcome;
use bascule_core::plan::Step;
use bascule_core::policy::Policy;

use super::{DNS, LOOK, database, traffic};
use crate::dns::{Applied, Mark};
use crate::kube::client::Kube;
use crate::postgres::{Postgres, WriteCheck};

pub(super) async fn perform(kube: &Kube, me: &SiteName, policy: &Policy, step: &Step) -> Outcome {
    let kube = kube.within(LOOK);
    match step {
        Step::SetReadOnly { .. } | Step::Scale { .. } => {
            Outcome::refused("not a step on traffic or a database")
        }
        Step::PointTraffic { traffic, site, epoch, serial } => {
            let Some(t) = policy.traffic.get(traffic) else { return gone("traffic", traffic.as_str()) };
            let target = match traffic::target(&kube, policy, t).await {
                Ok(target) => target,
                Err(reason) => return Outcome::Refused { reason },
            };
            match target.apply(&Mark { epoch: *epoch, serial: *serial, site: site.clone() }, DNS).await {
                Applied::Done { .. } => Outcome::Done,
                Applied::AlreadyNewer { server, found } => {
                    Outcome::refused(format!("{server} publishes a later state already: {found}"))
                }
                Applied::Refused(refusal) => Outcome::refused(refusal.to_string()),
                Applied::Unknown { server, why } => Outcome::unknown(format!("{server}: {why}")),
            }
        }
        Step::VerifyWrite { database, .. } => {
            let instance = policy.databases.get(database).and_then(|d| d.instances.get(me));
            let Some(instance) = instance else { return gone("databases", database.as_str()) };
            let target = match database::target(&kube, policy, instance).await {
                Ok(target) => target,
                Err(reason) => return Outcome::Refused { reason },
            };
            match Postgres::new(target).verify_write(LOOK).await {
                WriteCheck::Committed { .. } => Outcome::Done,
                WriteCheck::Refused { why } => Outcome::refused(why),
                WriteCheck::Unknown { why } => Outcome::unknown(why),
            }
        }
    }
}

fn gone(field: &str, name: &str) -> Outcome {
    Outcome::refused(format!("spec.{field} has no entry {name} any more"))
}
