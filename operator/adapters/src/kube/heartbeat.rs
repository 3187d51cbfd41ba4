//! The heartbeat of a site's operator: a Lease in its own namespace, renewed every ten seconds.
//!
//! `spec.holderIdentity` is the process that acts, `spec.renewTime` the moment at which it vouched for every status that it
//! had written before, but for those that the annotations name. Nobody competes for it: which replica acts is decided at the
//! arbiter.

use std::collections::BTreeSet;

use bascule_core::heartbeat::{Heartbeat, Unshown, YOUNG};
use bascule_core::outcome::Outcome;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::client::Kube;
use super::failure::{Failure, Subject, outcome};

/// The Lease's name.
pub const HEARTBEAT: &str = "bascule-operator";
/// The field manager of the heartbeat.
pub const HEARTBEAT_MANAGER: &str = "bascule-heartbeat";
/// How many policies it does not vouch for.
pub const UNSHOWN_COUNT: &str = "bascule.dev/unshown-count";
/// Which, as `namespace/name` with a space between two; empty when they are too many to be named.
pub const UNSHOWN: &str = "bascule.dev/unshown";

fn subject(namespace: &str, name: &str) -> Subject {
    Subject::new("Lease", namespace, name)
}

/// Writes it, once.
pub async fn write(kube: &Kube, beat: &Heartbeat) -> Outcome {
    let api = kube.api::<Lease>(kube.own_namespace());
    let params = PatchParams::apply(HEARTBEAT_MANAGER).force();
    let body = body(kube.own_namespace(), beat);
    let patch = Patch::Apply(&body);
    let call = api.patch_metadata(HEARTBEAT, &params, &patch);
    outcome(kube.call(&subject(kube.own_namespace(), HEARTBEAT), call).await)
}

/// The Lease as it is applied in this namespace.
pub fn body(namespace: &str, beat: &Heartbeat) -> Value {
    let names = match &beat.unshown {
        Unshown::These(policies) => policies.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
        Unshown::TooMany(_) => String::new(),
    };
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": HEARTBEAT,
            "namespace": namespace,
            "annotations": { UNSHOWN_COUNT: beat.unshown.count().to_string(), UNSHOWN: names },
        },
        "spec": {
            "holderIdentity": beat.by,
            "leaseDurationSeconds": YOUNG.as_secs(),
            "renewTime": MicroTime(beat.at),
        },
    })
}

/// Reads one. What is not whole is an error.
pub async fn read(kube: &Kube, namespace: &str, name: &str) -> Result<Heartbeat, Failure> {
    let subject = subject(namespace, name);
    let lease = kube.call(&subject, kube.api::<Lease>(namespace).get(name)).await?;
    of(lease).map_err(|why| Failure::own(&subject, why))
}

fn of(lease: Lease) -> Result<Heartbeat, &'static str> {
    let spec = lease.spec.unwrap_or_default();
    let (Some(by), Some(MicroTime(at))) = (spec.holder_identity, spec.renew_time) else {
        return Err("it is no heartbeat: spec.holderIdentity or spec.renewTime is missing");
    };
    let annotations = lease.metadata.annotations.unwrap_or_default();
    let count: Option<usize> = annotations.get(UNSHOWN_COUNT).and_then(|text| text.parse().ok());
    let Some(count) = count else {
        return Err("it is no heartbeat: the annotation bascule.dev/unshown-count is missing, or no number");
    };
    let names = annotations.get(UNSHOWN).map(String::as_str).unwrap_or_default();
    let names: BTreeSet<String> = names.split_whitespace().map(ToOwned::to_owned).collect();
    let unshown = if names.len() == count { Unshown::of(names) } else { Unshown::TooMany(count) };
    Ok(Heartbeat { by, at, unshown })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(beat: &Heartbeat) -> Heartbeat {
        of(serde_json::from_value(body("bascule", beat)).unwrap()).unwrap()
    }

    fn beat(unshown: Unshown) -> Heartbeat {
        let at = "2026-11-28T03:00:00.25Z".parse().unwrap();
        Heartbeat { by: "paris-7".to_owned(), at, unshown }
    }

    #[test]
    fn a_heartbeat_is_read_as_it_was_written() {
        let names = ["shop/blog".to_owned(), "shop/shop".to_owned()];
        for unshown in [Unshown::default(), Unshown::These(names.into()), Unshown::TooMany(70)] {
            let beat = beat(unshown);
            assert_eq!(read_back(&beat), beat);
        }
    }

    #[test]
    fn what_is_not_whole_vouches_for_nothing() {
        let lease = |change: fn(&mut Value)| {
            let mut body = body("bascule", &beat(Unshown::These(["shop/blog".to_owned()].into())));
            change(&mut body);
            of(serde_json::from_value(body).unwrap())
        };
        assert!(lease(|b| b["spec"]["renewTime"] = Value::Null).is_err());
        assert!(lease(|b| b["spec"]["holderIdentity"] = Value::Null).is_err());
        assert!(lease(|b| b["metadata"]["annotations"] = Value::Null).is_err());
        let fewer = lease(|b| b["metadata"]["annotations"][UNSHOWN] = json!("")).unwrap();
        assert_eq!(fewer.unshown, Unshown::TooMany(1));
    }
}
