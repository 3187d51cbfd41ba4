//! The policies of a live cluster, each question asked once and within a deadline.

use std::path::Path;

use bascule_adapters::kube::Kube;
use bascule_core::name::{Namespace, ObjectName};
use bascule_crds::{FailoverPolicy, Move};
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};

use super::beats::Beats;
use super::explain::{Beat, Seen};
use super::place::{self, Place};
use super::trouble::{Asked, EVERYWHERE, Trouble};

/// The resource, as RBAC names it.
const RESOURCE: &str = "failoverpolicies.bascule.dev";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Every policy.
    All {
        /// In which namespace; `None`: all.
        namespace: Option<String>,
    },
    /// One policy.
    One {
        /// In which namespace; `None`: wherever it is.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
}

impl Wanted {
    /// In which namespace; `None`: all.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::All { namespace } | Self::One { namespace, .. } => namespace.as_deref(),
        }
    }

    /// Reads `POLICY` and `-n`.
    pub fn of(policy: Option<&str>, namespace: Option<&str>) -> Result<Self, Trouble> {
        if let Some(namespace) = namespace {
            Namespace::try_from(namespace)?;
        }
        let option = namespace.map(ToOwned::to_owned);
        let Some(policy) = policy else { return Ok(Self::All { namespace: option }) };
        let (said, name) = match policy.split_once('/') {
            Some((said, name)) => (Some(Namespace::try_from(said)?.to_string()), name),
            None => (None, policy),
        };
        let name = ObjectName::try_from(name)?.to_string();
        match (said, option) {
            (Some(said), Some(option)) if said != option => Err(Trouble::TwoNamespaces { said, option }),
            (said, option) => Ok(Self::One { namespace: said.or(option), name }),
        }
    }
}

/// The cluster that is asked.
#[derive(Debug)]
pub struct Cluster {
    kube: Kube,
    place: Place,
}

impl Cluster {
    /// The cluster of a kubeconfig's context.
    pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, Trouble> {
        let (kube, place) = place::connect(kubeconfig, context).await?;
        Ok(Self { kube, place })
    }

    /// Where policies were looked for, in words.
    pub fn scope(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) => format!("namespace {namespace} of {}", self.place),
            None => format!("any namespace of {}", self.place),
        }
    }

    /// That there is none, in a line.
    pub fn nothing(&self, wanted: &Wanted) -> String {
        format!("There is no FailoverPolicy in {}.\n", self.scope(wanted.namespace()))
    }

    /// What is asked for: one policy, or all.
    pub async fn wanted(&self, wanted: &Wanted) -> Result<Vec<Seen>, Trouble> {
        match wanted {
            Wanted::One { namespace, name } => Ok(vec![self.one(namespace.as_deref(), name).await?]),
            Wanted::All { namespace } => self.all(namespace.as_deref()).await,
        }
    }

    /// Every policy of a namespace, or of all.
    pub async fn all(&self, namespace: Option<&str>) -> Result<Vec<Seen>, Trouble> {
        let mut found = self.list(namespace).await?;
        if let (Some(namespace), []) = (namespace, found.as_slice()) {
            self.exists(namespace).await?;
        }
        Beats::default().add_all(&self.kube, &mut found).await;
        Ok(found)
    }

    /// One policy; without a namespace wherever it is, as long as the name alone tells which.
    pub async fn one(&self, namespace: Option<&str>, name: &str) -> Result<Seen, Trouble> {
        let mut found = self.found(namespace, name).await?;
        Beats::default().add(&self.kube, &mut found).await;
        Ok(found)
    }

    async fn found(&self, namespace: Option<&str>, name: &str) -> Result<Seen, Trouble> {
        if let Some(namespace) = namespace {
            return match self.get(namespace, name).await? {
                Some(seen) => Ok(seen),
                None => Err(self.missing(Some(namespace), name).await),
            };
        }
        let all = match self.list(None).await {
            Ok(all) => all,
            // Whoever may read one namespace only asks there, as kubectl does.
            Err(forbidden @ Trouble::Forbidden { .. }) => {
                let own = self.kube.own_namespace();
                return self.get(own, name).await.ok().flatten().ok_or(forbidden);
            }
            Err(trouble) => return Err(trouble),
        };
        let others: Vec<String> = all.iter().map(full_name).collect();
        let mut found: Vec<Seen> = all.into_iter().filter(|seen| seen.name == name).collect();
        let place = self.place.clone();
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (Some(last), _) => {
                found.push(last);
                let found = found.iter().map(full_name).collect();
                Err(Trouble::Several { place, name: name.to_owned(), found })
            }
            (None, _) => Err(Trouble::NoSuchPolicy { place, wanted: name.to_owned(), others }),
        }
    }

    /// What there is instead of a policy, as far as one may know.
    async fn missing(&self, namespace: Option<&str>, name: &str) -> Trouble {
        let wanted = namespace.map_or_else(|| name.to_owned(), |n| format!("{n}/{name}"));
        let mut others = match self.list(None).await {
            Ok(all) => all,
            Err(_) => self.list(namespace).await.unwrap_or_default(),
        };
        // What may have been meant comes first: the same name elsewhere, then the same namespace.
        others.sort_by_key(|o| (o.name != name, Some(o.namespace.as_str()) != namespace, full_name(o)));
        let others = others.iter().map(full_name).collect();
        Trouble::NoSuchPolicy { place: self.place.clone(), wanted, others }
    }

    fn asked(&self, verb: &'static str, what: String) -> Asked {
        Asked { place: self.place.clone(), verb, what }
    }

    async fn list(&self, namespace: Option<&str>) -> Result<Vec<Seen>, Trouble> {
        let found = self.objects(&resource(), RESOURCE, namespace).await?;
        Ok(found.into_iter().map(seen).collect())
    }

    /// The policies of a namespace as they are, with the Moves.
    pub async fn intent(&self, namespace: &str) -> Result<(Vec<DynamicObject>, Vec<DynamicObject>), Trouble> {
        let policies = self.objects(&resource(), RESOURCE, Some(namespace)).await?;
        let kind = ApiResource::erase::<Move>(&());
        Ok((policies, self.objects(&kind, "moves.bascule.dev", Some(namespace)).await?))
    }

    /// The connection.
    pub const fn kube(&self) -> &Kube {
        &self.kube
    }

    /// Who is asked.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    async fn objects(
        &self,
        kind: &ApiResource,
        resource: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<DynamicObject>, Trouble> {
        let (api, place): (Api<DynamicObject>, _) = match namespace {
            Some(namespace) => {
                let api = Api::namespaced_with(self.kube.client(), namespace, kind);
                (api, format!("in namespace {namespace}"))
            }
            None => (Api::all_with(self.kube.client(), kind), EVERYWHERE.to_owned()),
        };
        let asked = self.asked("list", format!("{resource} {place}"));
        let everything = ListParams::default();
        let call = api.list(&everything);
        match tokio::time::timeout(self.kube.deadline(), call).await {
            Ok(Ok(list)) => Ok(list.items),
            Ok(Err(error)) => Err(asked.failed(&error)),
            Err(_) => Err(asked.silence(self.kube.deadline())),
        }
    }

    async fn get(&self, namespace: &str, name: &str) -> Result<Option<Seen>, Trouble> {
        let api = Api::<DynamicObject>::namespaced_with(self.kube.client(), namespace, &resource());
        let asked = self.asked("get", format!("{RESOURCE} {name} in namespace {namespace}"));
        match tokio::time::timeout(self.kube.deadline(), api.get(name)).await {
            Ok(Ok(object)) => Ok(Some(seen(object))),
            Ok(Err(kube::Error::Api(status))) if is_about(&status, name) => Ok(None),
            Ok(Err(error)) => Err(asked.failed(&error)),
            Err(_) => Err(asked.silence(self.kube.deadline())),
        }
    }

    /// Fails when the namespace is known not to exist. One that may not be looked at may exist.
    async fn exists(&self, namespace: &str) -> Result<(), Trouble> {
        let api = Api::<core::Namespace>::all(self.kube.client());
        match tokio::time::timeout(self.kube.deadline(), api.get_metadata(namespace)).await {
            Ok(Err(kube::Error::Api(status))) if is_about(&status, namespace) => {
                Err(Trouble::NoSuchNamespace { place: self.place.clone(), namespace: namespace.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

/// Whether the API server says that the object of this name is missing, and not its whole kind.
fn is_about(status: &kube::core::Status, name: &str) -> bool {
    status.code == 404 && status.details.as_ref().is_some_and(|details| details.name == name)
}

fn resource() -> ApiResource {
    ApiResource::erase::<FailoverPolicy>(&())
}

fn full_name(seen: &Seen) -> String {
    format!("{}/{}", seen.namespace, seen.name)
}

/// Only the status is read: a spec that this version does not know must not hide what is known. Of the operator's heartbeat
/// nothing is known yet: [`Beats`] asks for it.
pub fn seen(object: DynamicObject) -> Seen {
    let status = object.data.get("status").filter(|status| !status.is_null());
    Seen {
        namespace: object.metadata.namespace.unwrap_or_default(),
        name: object.metadata.name.unwrap_or_default(),
        generation: object.metadata.generation,
        created: object.metadata.creation_timestamp.map(|t| t.0),
        status: status.map(|s| serde_json::from_value(s.clone())).transpose().map_err(|e| e.to_string()),
        beat: Beat::NotAsked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_named_with_or_without_its_namespace() {
        let one = |namespace: Option<&str>| Wanted::One {
            namespace: namespace.map(ToOwned::to_owned),
            name: "shop".to_owned(),
        };
        assert_eq!(Wanted::of(Some("shop"), None).unwrap(), one(None));
        assert_eq!(Wanted::of(Some("shop"), Some("eu")).unwrap(), one(Some("eu")));
        assert_eq!(Wanted::of(Some("eu/shop"), None).unwrap(), one(Some("eu")));
        assert_eq!(Wanted::of(Some("eu/shop"), Some("eu")).unwrap(), one(Some("eu")));
        assert_eq!(Wanted::of(None, None).unwrap(), Wanted::All { namespace: None });
    }

    #[test]
    fn what_is_no_name_is_said_before_anybody_is_asked() {
        for (policy, namespace, says) in [
            (Some("a/b/c"), None, "object name \"b/c\" is not a name"),
            (Some("Shop"), None, "object name \"Shop\" is not a name"),
            (Some("/shop"), None, "namespace \"\" is not a name"),
            (Some("shop"), Some("a/b"), "namespace \"a/b\" is not a name"),
            (Some("us/shop"), Some("eu"), "in namespace us and, with -n, in eu"),
            (Some(""), None, "object name \"\" is not a name"),
        ] {
            let said = format!("{:#}", anyhow::Error::new(Wanted::of(policy, namespace).unwrap_err()));
            assert_eq!(said.matches(says).count(), 1, "{said}");
        }
    }
}
