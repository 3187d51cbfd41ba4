//! What an HTTPRoute says, and how its weights are held against a policy.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bascule_core::name::SiteName;
use bascule_core::policy::{Backend, HttpRoute};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refusal::Responder;
use super::served::{ParentRef, ParentStatus};
use super::{MARK, WRITES_MARK};
use crate::mark::Mark;

/// An HTTPRoute, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub version: String,
    pub generation: i64,
    pub namespace: String,
    pub annotated: bool,
    pub mark: Marked,
    /// Who had writes refused or let them pass last, and whether they were refused.
    pub writes: (Marked, bool),
    pub rules: Vec<Rule>,
    pub parents: Vec<ParentRef>,
    pub statuses: Vec<ParentStatus>,
    pub managed: Vec<ManagedFieldsEntry>,
}

/// What stands in the place of the mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// Nothing.
    No,
    /// A mark, and the name of the policy that wrote it.
    By(Mark, String),
    /// Something else.
    Foreign(String),
}

/// One rule of a route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub backend_refs: Vec<BackendRef>,
    /// As they stand there: they are repeated word by word.
    #[serde(default)]
    pub matches: Option<Vec<Value>>,
    #[serde(default)]
    pub filters: Vec<Value>,
}

/// One backend of a rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BackendRef {
    #[serde(default)]
    group: String,
    #[serde(default = "service")]
    kind: String,
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default = "one")]
    pub weight: u32,
}

fn service() -> String {
    "Service".to_owned()
}

const fn one() -> u32 {
    1
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    parent_refs: Vec<ParentRef>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    parents: Vec<ParentStatus>,
}

impl BackendRef {
    fn is(&self, backend: &Backend, namespace: &str) -> bool {
        self.group.is_empty()
            && self.kind == "Service"
            && self.name == backend.service.as_str()
            && self.namespace.as_deref().is_none_or(|n| n == namespace)
            && self.port == Some(backend.port)
    }

    /// Whether it leads to the responder.
    pub(super) fn is_responder(&self, responder: &Responder) -> bool {
        self.group.is_empty()
            && self.kind == "Service"
            && self.name == responder.service
            && self.namespace.as_deref() == Some(responder.namespace.as_str())
            && self.port == Some(responder.port)
            && self.weight > 0
    }

    fn words(&self) -> String {
        let mut words = String::new();
        if self.kind != "Service" || !self.group.is_empty() {
            words.push_str(&self.kind);
            words.push(' ');
        }
        if let Some(namespace) = &self.namespace {
            words.push_str(namespace);
            words.push('/');
        }
        words.push_str(&self.name);
        if let Some(port) = self.port {
            // Writing to a String cannot fail.
            let _ = write!(words, ":{port}");
        }
        words
    }
}

/// A rule whose weights are the policy's, with the place of each site's backend in it.
#[derive(Clone, Debug)]
pub(super) struct Weighed {
    /// Its place in the route.
    pub rule: usize,
    /// How people call it.
    pub words: String,
    /// The place of each site's backend, and its weight.
    pub backends: BTreeMap<SiteName, (usize, u32)>,
}

/// How a route does not fit the policy: a code, the field, what was found, what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub code: &'static str,
    pub field: String,
    pub found: String,
    pub expected: String,
}

impl Route {
    pub(super) fn read(object: DynamicObject) -> Result<Self, String> {
        let part = |name: &str| object.data.get(name).cloned().unwrap_or_else(|| serde_json::json!({}));
        let spec: Spec = serde_json::from_value(part("spec")).map_err(|e| format!("its spec: {e}"))?;
        let status: Status =
            serde_json::from_value(part("status")).map_err(|e| format!("its status: {e}"))?;
        let version = object.resource_version().ok_or("it has no resourceVersion")?;
        let note = |key: &str| object.annotations().get(key).map(String::as_str);
        let mark = note(MARK).map_or(Marked::No, marked);
        let refused = note(WRITES_MARK).is_some_and(|text| text.split(' ').any(|w| w == "writes=refused"));
        let writes = (note(WRITES_MARK).map_or(Marked::No, marked), refused);
        Ok(Self {
            version,
            generation: object.metadata.generation.unwrap_or_default(),
            namespace: object.namespace().unwrap_or_default(),
            annotated: object.metadata.annotations.is_some(),
            mark,
            writes,
            rules: spec.rules,
            parents: spec.parent_refs,
            statuses: status.parents,
            managed: object.metadata.managed_fields.unwrap_or_default(),
        })
    }

    /// How a change of it begins that annotates it and that holds for this version only.
    pub(super) fn pinned(&self) -> Vec<Value> {
        let mut all =
            vec![json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": self.version })];
        if !self.annotated {
            all.push(json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
        }
        all
    }

    /// The rules whose weights are the policy's, or everything in which the route does not fit it.
    pub(super) fn weighed(&self, policy: &HttpRoute) -> Result<Vec<Weighed>, Vec<Misfit>> {
        let mut misfits = Vec::new();
        let mut weighed = Vec::new();
        for name in &policy.rules {
            if !self.rules.iter().any(|rule| rule.name.as_ref() == Some(name)) {
                misfits.push(Misfit {
                    code: "RouteRuleMissing",
                    field: "spec.rules".to_owned(),
                    found: format!("no rule is named {name}"),
                    expected: "every rule that the policy names".to_owned(),
                });
            }
        }
        for (place, rule) in self.rules.iter().enumerate() {
            let known = |r: &BackendRef| policy.backends.values().any(|b| r.is(b, &self.namespace));
            let chosen = if rule.is_own() {
                false
            } else if policy.rules.is_empty() {
                rule.backend_refs.iter().any(known)
            } else {
                rule.name.as_ref().is_some_and(|name| policy.rules.contains(name))
            };
            if chosen {
                weighed.push(self.weigh(place, rule, policy, &mut misfits));
            }
        }
        if weighed.is_empty() && misfits.is_empty() {
            let all: Vec<String> = policy.backends.values().map(Backend::to_string).collect();
            misfits.push(Misfit {
                code: "RouteBackendMissing",
                field: "spec.rules".to_owned(),
                found: format!("no rule has one of the backends {}", all.join(", ")),
                expected: "at least one rule with the backend of every site".to_owned(),
            });
        }
        if misfits.is_empty() { Ok(weighed) } else { Err(misfits) }
    }

    /// The number that people know a rule by: those that Bascule has put there are not counted.
    pub(super) fn number(&self, place: usize) -> usize {
        1 + self.rules.iter().take(place).filter(|rule| !rule.is_own()).count()
    }

    fn weigh(&self, place: usize, rule: &Rule, policy: &HttpRoute, misfits: &mut Vec<Misfit>) -> Weighed {
        let words = rule.name.clone().unwrap_or_else(|| format!("number {}", self.number(place)));
        let field = format!("spec.rules[{place}].backendRefs");
        let mut backends = BTreeMap::new();
        for (site, backend) in &policy.backends {
            let found: Vec<usize> = (0..rule.backend_refs.len())
                .filter(|i| rule.backend_refs.get(*i).is_some_and(|r| r.is(backend, &self.namespace)))
                .collect();
            match (found.as_slice(), found.first().and_then(|i| rule.backend_refs.get(*i))) {
                ([at], Some(found)) => {
                    backends.insert(site.clone(), (*at, found.weight));
                }
                (found, _) => misfits.push(Misfit {
                    code: "RouteBackendMissing",
                    field: field.clone(),
                    found: format!(
                        "the rule {words} has the backend {backend} of {site} {} times",
                        found.len()
                    ),
                    expected: format!("Service {backend} once, with weight 0 at first"),
                }),
            }
        }
        let strangers = rule
            .backend_refs
            .iter()
            .filter(|r| r.weight > 0 && !policy.backends.values().any(|b| r.is(b, &self.namespace)));
        for stranger in strangers {
            misfits.push(Misfit {
                code: "RouteForeignBackend",
                field: field.clone(),
                found: format!(
                    "the rule {words} gives weight {} to {}, which the policy does not name",
                    stranger.weight,
                    stranger.words()
                ),
                expected: "no other backend with a weight: it would keep its share of the requests"
                    .to_owned(),
            });
        }
        Weighed { rule: place, words, backends }
    }
}

impl Weighed {
    /// The site that has all the weight, if one has.
    pub(super) fn leads_to(&self) -> Option<&SiteName> {
        let mut heavy = self.backends.iter().filter(|(_, (_, weight))| *weight > 0);
        match (heavy.next(), heavy.next()) {
            (Some((site, _)), None) => Some(site),
            _ => None,
        }
    }

    /// Its weights in words: `pages: paris 100, lyon 0`.
    pub(super) fn weights(&self) -> String {
        let each: Vec<String> =
            self.backends.iter().map(|(site, (_, weight))| format!("{site} {weight}")).collect();
        format!("{}: {}", self.words, each.join(", "))
    }
}

/// The text of a mark.
pub(super) fn mark_text(mark: &Mark, policy: &str) -> String {
    format!("{mark} policy={policy}")
}

/// The text of a mark that says what becomes of writes.
pub(super) fn writes_text(mark: &Mark, policy: &str, refused: bool) -> String {
    format!("{} writes={}", mark_text(mark, policy), if refused { "refused" } else { "passed" })
}

fn marked(text: &str) -> Marked {
    let policy = text.split(' ').find_map(|word| word.strip_prefix("policy="));
    match (text.parse::<Mark>(), policy) {
        (Ok(mark), Some(policy)) => Marked::By(mark, policy.to_owned()),
        _ => Marked::Foreign(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str) -> SiteName {
        SiteName::try_from(name).unwrap()
    }

    fn policy() -> HttpRoute {
        let backend = |name: &str| {
            let service = format!("web-{name}");
            (site(name), Backend { service: service.as_str().try_into().unwrap(), port: 80 })
        };
        HttpRoute {
            name: "web".try_into().unwrap(),
            rules: std::collections::BTreeSet::new(),
            backends: [backend("paris"), backend("lyon")].into(),
            refuse_writes: None,
        }
    }

    fn route(rules: &serde_json::Value) -> Route {
        let object = serde_json::json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": { "name": "web", "namespace": "shop", "resourceVersion": "7" },
            "spec": { "rules": rules }
        });
        Route::read(serde_json::from_value(object).unwrap()).unwrap()
    }

    fn misfits(rules: &serde_json::Value, policy: &HttpRoute) -> Vec<String> {
        let found = route(rules).weighed(policy).unwrap_err();
        found.iter().map(|m| format!("{} {}: {}", m.code, m.field, m.found)).collect()
    }

    #[test]
    fn a_rule_leads_where_all_of_its_weight_is() {
        let rules = serde_json::json!([
            { "backendRefs": [{ "name": "web-paris", "port": 80 }, { "name": "web-lyon", "port": 80, "weight": 0 }] },
            { "name": "api", "backendRefs": [{ "name": "web-lyon", "port": 80, "weight": 3 }, { "name": "web-paris", "port": 80 }] },
            { "backendRefs": [{ "name": "pictures", "port": 80 }] },
        ]);
        let found = route(&rules).weighed(&policy()).unwrap();
        let words: Vec<_> = found.iter().map(|w| (w.weights(), w.leads_to().cloned())).collect();
        assert_eq!(
            words,
            [
                ("number 1: lyon 0, paris 1".to_owned(), Some(site("paris"))),
                ("api: lyon 3, paris 1".to_owned(), None),
            ]
        );
    }

    #[test]
    fn a_route_that_does_not_fit_is_told_rule_by_rule() {
        let rules = serde_json::json!([
            { "name": "pages", "backendRefs": [{ "name": "web-paris", "port": 80 }, { "name": "web-lyon", "port": 8080 }] },
            { "backendRefs": [
                { "name": "web-paris", "port": 80 }, { "name": "web-lyon", "port": 80 },
                { "name": "canary", "port": 80, "weight": 5 }, { "name": "old", "port": 80, "weight": 0 } ] },
        ]);
        assert_eq!(
            misfits(&rules, &policy()),
            [
                "RouteBackendMissing spec.rules[0].backendRefs: the rule pages has the backend web-lyon:80 of lyon 0 times",
                "RouteForeignBackend spec.rules[0].backendRefs: the rule pages gives weight 1 to web-lyon:8080, which the policy does not name",
                "RouteForeignBackend spec.rules[1].backendRefs: the rule number 2 gives weight 5 to canary:80, which the policy does not name",
            ]
        );
        let mut some = policy();
        some.rules = ["forms".to_owned()].into();
        assert_eq!(misfits(&rules, &some), ["RouteRuleMissing spec.rules: no rule is named forms"]);
        let other = serde_json::json!([{ "backendRefs": [{ "name": "web", "port": 80 }] }]);
        assert_eq!(
            misfits(&other, &policy()),
            ["RouteBackendMissing spec.rules: no rule has one of the backends web-lyon:80, web-paris:80"]
        );
    }

    #[test]
    fn a_service_of_another_namespace_or_kind_is_another_backend() {
        for other in [
            serde_json::json!({ "name": "web-lyon", "port": 80, "namespace": "other" }),
            serde_json::json!({ "name": "web-lyon", "port": 80, "group": "multicluster.x-k8s.io", "kind": "ServiceImport" }),
        ] {
            let rules = serde_json::json!([{ "backendRefs": [{ "name": "web-paris", "port": 80 }, other] }]);
            assert!(route(&rules).weighed(&policy()).is_err());
        }
    }

    #[test]
    fn a_mark_names_its_policy() {
        let mark = Mark { epoch: 5, serial: 12, site: site("lyon") };
        assert_eq!(marked(&mark_text(&mark, "shop")), Marked::By(mark, "shop".to_owned()));
        for foreign in
            ["lyon", "v=1 epoch=5 serial=12 site=lyon", "v=2 epoch=5 serial=12 site=lyon policy=shop"]
        {
            assert_eq!(marked(foreign), Marked::Foreign(foreign.to_owned()));
        }
    }
}
