//! What the gateways of a route say of it.

use serde::Deserialize;

use super::GROUP;

/// A gateway that a route is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ParentRef {
    #[serde(default = "group")]
    group: String,
    #[serde(default = "gateway")]
    kind: String,
    #[serde(default)]
    namespace: Option<String>,
    name: String,
    #[serde(default)]
    section_name: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

fn group() -> String {
    GROUP.to_owned()
}

fn gateway() -> String {
    "Gateway".to_owned()
}

impl ParentRef {
    fn is(&self, other: &Self, namespace: &str) -> bool {
        let of = |p: &Self| p.namespace.clone().unwrap_or_else(|| namespace.to_owned());
        let rest =
            |p: &Self| (p.group.clone(), p.kind.clone(), p.name.clone(), p.section_name.clone(), p.port);
        of(self) == of(other) && rest(self) == rest(other)
    }

    /// Its namespace and name, when it is a Gateway and attached to by a route of `namespace`.
    pub(super) fn gateway(&self, namespace: &str) -> Option<(String, String)> {
        let of = self.namespace.clone().unwrap_or_else(|| namespace.to_owned());
        (self.group == GROUP && self.kind == "Gateway").then(|| (of, self.name.clone()))
    }

    fn words(&self) -> String {
        let section = self.section_name.as_ref().map(|s| format!(" ({s})")).unwrap_or_default();
        format!("{} {}{section}", self.kind, self.name)
    }
}

/// What one controller says of one of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ParentStatus {
    parent_ref: ParentRef,
    #[serde(default)]
    controller_name: String,
    #[serde(default)]
    conditions: Vec<Condition>,
}

/// One condition of a route or of a Gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    pub r#type: String,
    pub status: String,
    #[serde(default)]
    pub observed_generation: i64,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

/// How a route is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Served {
    /// Which gateways refuse it or some of its backends, in words.
    pub refused: Vec<String>,
    /// Which gateways have not looked at its present state yet, in words.
    pub behind: Vec<String>,
    /// Which gateways say nothing of it, in words.
    pub silent: Vec<String>,
}

/// What the gateways of a route in `namespace` say of its `generation`.
pub(super) fn served(
    parents: &[ParentRef],
    statuses: &[ParentStatus],
    namespace: &str,
    generation: i64,
) -> Served {
    let mut found = Served::default();
    if parents.is_empty() {
        found.refused.push("the route has no parentRefs: no gateway serves it".to_owned());
    }
    for parent in parents {
        let mut answers = statuses.iter().filter(|s| parent.is(&s.parent_ref, namespace)).peekable();
        if answers.peek().is_none() {
            found.silent.push(format!("{} has not reported on the route", parent.words()));
        }
        for answer in answers {
            one(&parent.words(), answer, generation, &mut found);
        }
    }
    found
}

fn one(parent: &str, answer: &ParentStatus, generation: i64, found: &mut Served) {
    for kind in ["Accepted", "ResolvedRefs", "PartiallyInvalid"] {
        let good = if kind == "PartiallyInvalid" { "False" } else { "True" };
        let condition = answer.conditions.iter().find(|c| c.r#type == kind);
        let Some(condition) = condition else {
            // A route that is wholly valid has no word about its parts.
            if kind != "PartiallyInvalid" {
                found.silent.push(format!("{parent}: {} says nothing of {kind}", answer.controller_name));
            }
            continue;
        };
        let seen = condition.observed_generation;
        if seen < generation {
            if kind != "PartiallyInvalid" {
                found
                    .behind
                    .push(format!("{parent}: {kind} is of generation {seen}, the route's is {generation}"));
            }
        } else if condition.status == "Unknown" {
            found.silent.push(format!("{parent}: {kind} is Unknown: {}", condition.message));
        } else if condition.status != good {
            let (reason, message) = (&condition.reason, &condition.message);
            found.refused.push(format!("{parent}: {kind} is {}: {reason}: {message}", condition.status));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parents() -> Vec<ParentRef> {
        serde_json::from_value(json!([{ "name": "public", "sectionName": "web" }])).unwrap()
    }

    fn said(parent: &Value, conditions: &Value) -> Served {
        let statuses =
            json!([{ "parentRef": parent, "controllerName": "example.org/c", "conditions": conditions }]);
        served(&parents(), &serde_json::from_value::<Vec<_>>(statuses).unwrap(), "shop", 4)
    }

    fn condition(kind: &str, status: &str, generation: i64) -> Value {
        json!({ "type": kind, "status": status, "observedGeneration": generation, "reason": "BackendNotFound", "message": "no web-lyon" })
    }

    #[test]
    fn a_route_is_served_when_every_gateway_says_so_of_its_present_generation() {
        let parent = json!({
            "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "shop", "name": "public", "sectionName": "web"
        });
        let good = json!([condition("Accepted", "True", 4), condition("ResolvedRefs", "True", 4)]);
        assert_eq!(said(&parent, &good), Served::default());
        let old = json!([condition("Accepted", "True", 3), condition("ResolvedRefs", "False", 3)]);
        assert_eq!(
            said(&parent, &old).behind,
            [
                "Gateway public (web): Accepted is of generation 3, the route's is 4",
                "Gateway public (web): ResolvedRefs is of generation 3, the route's is 4",
            ]
        );
        let bad = json!([
            condition("Accepted", "True", 4),
            condition("ResolvedRefs", "False", 4),
            condition("PartiallyInvalid", "True", 4)
        ]);
        assert_eq!(
            said(&parent, &bad).refused,
            [
                "Gateway public (web): ResolvedRefs is False: BackendNotFound: no web-lyon",
                "Gateway public (web): PartiallyInvalid is True: BackendNotFound: no web-lyon",
            ]
        );
        let half = json!([condition("Accepted", "Unknown", 4)]);
        assert_eq!(
            said(&parent, &half).silent,
            [
                "Gateway public (web): Accepted is Unknown: no web-lyon",
                "Gateway public (web): example.org/c says nothing of ResolvedRefs",
            ]
        );
    }

    #[test]
    fn a_word_about_another_gateway_is_none_about_this_one() {
        let good = json!([condition("Accepted", "True", 4), condition("ResolvedRefs", "True", 4)]);
        for other in [
            json!({ "name": "public" }),
            json!({ "name": "public", "sectionName": "web", "namespace": "infra" }),
        ] {
            assert_eq!(said(&other, &good).silent, ["Gateway public (web) has not reported on the route"]);
        }
        let none = served(&[], &[], "shop", 4);
        assert_eq!(none.refused, ["the route has no parentRefs: no gateway serves it"]);
    }
}
