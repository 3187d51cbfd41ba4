//! What the Gateways of a route say of themselves: whether the data plane has what their controller made of them.

use std::collections::BTreeSet;

use futures::future::join_all;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde::Deserialize;

use super::seen::Route;
use super::served::Condition;
use super::{GROUP, RouteTraffic};
use crate::kube::client::Kube;
use crate::kube::failure::{Failure, Subject};

/// How many Gateways of one route are asked; a route has rarely more than two.
const MOST: usize = 8;

/// What is known of the Gateways of a route beside what its own status says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gateways {
    /// Which say that they are not ready to serve, in words.
    pub unready: Vec<String>,
    /// Of which nothing is known, in words.
    pub unknown: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

impl RouteTraffic {
    /// Asks every Gateway that the route is attached to, all at once and each once.
    pub(super) async fn gateways(&self, kube: &Kube, route: &Route) -> Gateways {
        let all: BTreeSet<(String, String)> =
            route.parents.iter().filter_map(|parent| parent.gateway(&route.namespace)).collect();
        let mut found = Gateways::default();
        if all.len() > MOST {
            found
                .unknown
                .push(format!("{} Gateways of the route were not asked: only {MOST} are", all.len() - MOST));
        }
        let asked = all.iter().take(MOST).map(|(namespace, name)| gateway(kube, namespace, name));
        for answer in join_all(asked).await {
            match answer {
                Says::Ready => {}
                Says::Unready(why) => found.unready.push(why),
                Says::Nothing(why) => found.unknown.push(why),
            }
        }
        found
    }
}

/// What one of them says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    Ready,
    Unready(String),
    Nothing(String),
}

async fn gateway(kube: &Kube, namespace: &str, name: &str) -> Says {
    let kind = GroupVersionKind::gvk(GROUP, "v1", "Gateway");
    let resource = ApiResource::from_gvk_with_plural(&kind, "gateways");
    let api: Api<DynamicObject> = kube.dynamic(namespace, &resource);
    let subject = Subject::new("Gateway", namespace, name);
    match kube.call(&subject, api.get(name)).await {
        Ok(object) => read(&subject.to_string(), &object),
        Err(failure @ Failure::Missing { .. }) => Says::Unready(failure.to_string()),
        Err(failure) => Says::Nothing(failure.to_string()),
    }
}

fn read(gateway: &str, object: &DynamicObject) -> Says {
    let status = object.data.get("status").cloned().unwrap_or_else(|| serde_json::json!({}));
    let status: Status = match serde_json::from_value(status) {
        Ok(status) => status,
        Err(error) => return Says::Nothing(format!("{gateway}: its status: {error}")),
    };
    let Some(programmed) = status.conditions.iter().find(|c| c.r#type == "Programmed") else {
        return Says::Nothing(format!("{gateway} says nothing of Programmed"));
    };
    let generation = object.metadata.generation.unwrap_or_default();
    let (seen, reason, message) = (programmed.observed_generation, &programmed.reason, &programmed.message);
    if seen < generation {
        return Says::Nothing(format!(
            "{gateway}: Programmed is of generation {seen}, the Gateway's is {generation}"
        ));
    }
    match programmed.status.as_str() {
        "True" => Says::Ready,
        "False" => Says::Unready(format!("{gateway}: Programmed is False: {reason}: {message}")),
        other => Says::Nothing(format!("{gateway}: Programmed is {other}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: &serde_json::Value) -> Says {
        let object = serde_json::json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": { "name": "public", "namespace": "infra", "generation": 4 }, "status": status,
        });
        read("Gateway infra/public", &serde_json::from_value(object).unwrap())
    }

    fn programmed(status: &str, generation: i64) -> Says {
        said(&serde_json::json!({ "conditions": [
            { "type": "Accepted", "status": "True", "observedGeneration": 4 },
            { "type": "Programmed", "status": status, "observedGeneration": generation,
              "reason": "NoResources", "message": "no proxy runs" },
        ] }))
    }

    #[test]
    fn a_gateway_is_ready_when_it_says_so_of_its_present_generation_and_silence_is_no_word() {
        assert_eq!(programmed("True", 4), Says::Ready);
        let unready = "Gateway infra/public: Programmed is False: NoResources: no proxy runs";
        assert_eq!(programmed("False", 4), Says::Unready(unready.to_owned()));
        for silent in [
            programmed("True", 3),
            programmed("Unknown", 4),
            said(&serde_json::json!({})),
            said(&serde_json::json!(null)),
        ] {
            assert!(matches!(silent, Says::Nothing(_)), "{silent:?}");
        }
    }
}
