//! Whether the responder can be reached from a route: its Service, and the grant of the namespace that it lives in.

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde::Deserialize;

use super::GROUP;
use super::refusal::Responder;
use crate::kube::client::Kube;
use crate::kube::failure::{Failure, Subject};

/// The label of a responder's Service, by which it is found from outside of the operator.
const LABEL: &str = "bascule.dev/responder=true";

/// The served version that every release of the Gateway API's definitions has had since 2022.
const GRANTS: &str = "v1beta1";

/// How many grants of a namespace are read.
const MOST: u32 = 200;

/// What stands between a route and the responder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing.
    Open,
    /// The Service, in words.
    NoService(String),
    /// The grant, in words.
    NoGrant(String),
    /// It could not be looked at.
    Unknown(String),
}

#[derive(Default, Deserialize)]
struct Grant {
    #[serde(default)]
    from: Vec<Whose>,
    #[serde(default)]
    to: Vec<Which>,
}

#[derive(Deserialize)]
struct Whose {
    #[serde(default)]
    group: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
struct Which {
    #[serde(default)]
    group: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: Option<String>,
}

impl Grant {
    /// Whether HTTPRoutes of `namespace` may refer to the Service.
    fn lets(&self, namespace: &str, service: &str) -> bool {
        let from = |f: &Whose| f.group == GROUP && f.kind == "HTTPRoute" && f.namespace == namespace;
        let named = |t: &Which| t.name.as_deref().is_none_or(|name| name.is_empty() || name == service);
        let to = |t: &Which| t.group.is_empty() && t.kind == "Service" && named(t);
        self.from.iter().any(from) && self.to.iter().any(to)
    }
}

impl Responder {
    /// The only responder of the cluster, found by its Service's label; several, or none: `None`.
    ///
    /// # Errors
    /// When the Services of the cluster could not be listed.
    pub async fn find(kube: &Kube) -> Result<Option<Self>, Failure> {
        let api: Api<Service> = Api::all(kube.client());
        let subject = Subject::cluster("Services", "of the cluster");
        let params = ListParams::default().labels(LABEL).limit(2);
        let found = kube.call(&subject, api.list(&params)).await?;
        let mut all = found.items.into_iter().filter_map(|service| {
            let port = service.spec?.ports?.into_iter().next()?.port;
            Some(Self {
                namespace: service.metadata.namespace?,
                service: service.metadata.name?,
                port: u16::try_from(port).ok()?,
            })
        });
        Ok(match (all.next(), all.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        })
    }

    /// What stands between a route of `namespace` and this responder. Both questions are asked at once.
    pub(super) async fn way_from(&self, kube: &Kube, namespace: &str) -> Way {
        let granted = async {
            if self.namespace == namespace { Way::Open } else { self.granted_to(kube, namespace).await }
        };
        let (service, granted) = tokio::join!(self.is_there(kube), granted);
        match service {
            Way::Open => granted,
            other => other,
        }
    }

    async fn is_there(&self, kube: &Kube) -> Way {
        let subject = Subject::new("Service", &self.namespace, &self.service);
        let api: Api<Service> = kube.api(&self.namespace);
        match kube.call(&subject, api.get(&self.service)).await {
            Ok(service) => {
                let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
                if ports.iter().any(|port| port.port == i32::from(self.port)) {
                    Way::Open
                } else {
                    Way::NoService(format!("{subject} has no port {}", self.port))
                }
            }
            Err(failure @ Failure::Missing { .. }) => Way::NoService(failure.to_string()),
            Err(failure) => Way::Unknown(failure.to_string()),
        }
    }

    async fn granted_to(&self, kube: &Kube, namespace: &str) -> Way {
        let kind = GroupVersionKind::gvk(GROUP, GRANTS, "ReferenceGrant");
        let resource = ApiResource::from_gvk_with_plural(&kind, "referencegrants");
        let api: Api<DynamicObject> = kube.dynamic(&self.namespace, &resource);
        let subject = Subject::all("ReferenceGrant", &self.namespace);
        let found = match kube.call(&subject, api.list(&ListParams::default().limit(MOST))).await {
            Ok(found) => found,
            Err(failure) => return Way::Unknown(failure.to_string()),
        };
        let lets = |object: &DynamicObject| {
            let spec = object.data.get("spec").cloned().unwrap_or_default();
            // What cannot be read grants nothing.
            serde_json::from_value::<Grant>(spec).is_ok_and(|grant| grant.lets(namespace, &self.service))
        };
        if found.items.iter().any(lets) {
            Way::Open
        } else {
            Way::NoGrant(format!(
                "no ReferenceGrant of namespace {} lets HTTPRoutes of namespace {namespace} refer to Service {}",
                self.namespace, self.service
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant(namespace: &str, kind: &str, to: &serde_json::Value) -> Grant {
        let from = json!([{ "group": GROUP, "kind": kind, "namespace": namespace }]);
        serde_json::from_value(json!({ "from": from, "to": [to] })).unwrap()
    }

    #[test]
    fn a_grant_names_the_kind_and_the_namespace_and_all_services_or_this_one() {
        for to in [
            json!({ "group": "", "kind": "Service" }),
            json!({ "group": "", "kind": "Service", "name": "responder" }),
        ] {
            assert!(grant("shop", "HTTPRoute", &to).lets("shop", "responder"), "{to}");
            assert!(!grant("other", "HTTPRoute", &to).lets("shop", "responder"), "{to}");
            assert!(!grant("shop", "GRPCRoute", &to).lets("shop", "responder"), "{to}");
        }
        for to in [
            json!({ "group": "", "kind": "Service", "name": "metrics" }),
            json!({ "group": "", "kind": "Secret" }),
            json!({ "group": "multicluster.x-k8s.io", "kind": "ServiceImport" }),
        ] {
            assert!(!grant("shop", "HTTPRoute", &to).lets("shop", "responder"), "{to}");
        }
        assert!(!Grant::default().lets("shop", "responder"));
    }
}
