//! What a site's cluster has in the namespace, as far as a policy could name it. Nothing is changed, and no Secret is read.

use std::collections::{BTreeMap, BTreeSet};

use bascule_adapters::kube::foreign;
use bascule_core::name::{Namespace, SiteName};
use bascule_core::policy::WorkloadKind;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as Object, PodSpec, Secret, Service};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::options::Named;
use crate::check::live::Asked;
use crate::why::trouble::Trouble;

/// The port of PostgreSQL.
pub const POSTGRES: i32 = 5432;
/// How many ConfigMaps are looked through for flags.
const MAPS: u32 = 200;
/// Pairs of values that flags have, the one and its opposite.
const OPPOSITES: [(&str, &str); 6] =
    [("0", "1"), ("false", "true"), ("False", "True"), ("no", "yes"), ("off", "on"), ("disabled", "enabled")];
/// How images of PostgreSQL are called.
const IMAGES: [&str; 4] = ["postgres", "postgis", "timescale", "spilo"];

/// A site's cluster as it was seen.
pub struct Look {
    /// The site.
    pub site: SiteName,
    /// The connection.
    pub asked: Asked,
    sets: Vec<StatefulSet>,
    deployments: Vec<Deployment>,
    services: Vec<Service>,
    autoscaled: Vec<(String, String)>,
    /// Which cluster it is; `None`: it does not say.
    pub uid: Option<String>,
    /// Keys of ConfigMaps that look like flags, as `CONFIGMAP/KEY`.
    pub flags: Vec<String>,
    /// What could not be looked at, and is not needed.
    pub unseen: Vec<String>,
}

/// A workload as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its kind and name.
    pub named: Named,
    /// How many pods it shall have.
    pub replicas: u32,
    /// The HorizontalPodAutoscaler that sets them.
    pub autoscaler: Option<String>,
}

impl Workload {
    /// As it is typed.
    pub fn shown(&self) -> String {
        typed(&self.named)
    }
}

/// A workload as it is typed.
pub fn typed(named: &Named) -> String {
    let kind = match named.kind {
        WorkloadKind::Deployment => "deployment",
        WorkloadKind::StatefulSet => "statefulset",
    };
    format!("{kind}/{}", named.name)
}

/// Looks into the namespace; nothing but a cluster that cannot be asked is an error.
pub async fn at(site: SiteName, asked: Asked, namespace: &Namespace) -> Result<Look, Trouble> {
    let client = asked.cluster.kube().client();
    let place = format!("in namespace {namespace}");
    let all = ListParams::default();
    let sets = Api::<StatefulSet>::namespaced(client.clone(), namespace.as_str());
    let sets = asked.ask("list", format!("statefulsets.apps {place}"), sets.list(&all)).await?.items;
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace.as_str());
    let deployments =
        asked.ask("list", format!("deployments.apps {place}"), deployments.list(&all)).await?.items;
    let mut unseen = Vec::new();
    let services = Api::<Service>::namespaced(client.clone(), namespace.as_str());
    let services = match asked.ask("list", format!("services {place}"), services.list(&all)).await {
        Ok(found) => found.items,
        Err(why) => {
            unseen.push(why.to_string());
            Vec::new()
        }
    };
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace.as_str());
    let some = ListParams::default().limit(MAPS);
    let flags = match asked.ask("list", format!("configmaps {place}"), maps.list(&some)).await {
        Ok(found) => found.items.into_iter().flat_map(flags).collect(),
        // They are only offered.
        Err(_) => Vec::new(),
    };
    let uid = match bascule_adapters::kube::cluster::uid(asked.cluster.kube()).await {
        Ok(uid) => Some(uid),
        Err(why) => {
            unseen.push(why.to_string());
            None
        }
    };
    let scalers = Api::<HorizontalPodAutoscaler>::namespaced(client, namespace.as_str());
    let what = format!("horizontalpodautoscalers.autoscaling {place}");
    let autoscaled = match asked.ask("list", what, scalers.list(&all)).await {
        Ok(found) => found.items.into_iter().filter_map(scaled).collect(),
        Err(why) => {
            unseen.push(why.to_string());
            Vec::new()
        }
    };
    Ok(Look { site, asked, sets, deployments, services, autoscaled, uid, flags, unseen })
}

fn belongs_to_another(set: &StatefulSet) -> bool {
    let template = set.spec.as_ref().map(|s| &s.template);
    let pod = template.and_then(|t| Some((t.metadata.as_ref()?, t.spec.as_ref()?)));
    foreign::of_set(&set.metadata, pod).is_some()
}

/// The keys of a ConfigMap whose values are those of a flag.
fn flags(map: ConfigMap) -> Vec<String> {
    let name = map.name_any();
    let keys = map.data.into_iter().flatten().filter(|(_, value)| opposite(value).is_some());
    keys.map(|(key, _)| format!("{name}/{key}")).collect()
}

/// The opposite of a flag's value, where that is known.
pub fn opposite(value: &str) -> Option<&'static str> {
    OPPOSITES.iter().find_map(|(one, other)| match value {
        v if v == *one => Some(*other),
        v if v == *other => Some(*one),
        _ => None,
    })
}

/// What an autoscaler scales, as it is typed, and its own name.
fn scaled(scaler: HorizontalPodAutoscaler) -> Option<(String, String)> {
    let name = scaler.name_any();
    let target = scaler.spec?.scale_target_ref;
    Some((format!("{}/{}", target.kind.to_ascii_lowercase(), target.name), name))
}

/// The namespaces of a cluster that applications may be in.
pub async fn namespaces(asked: &Asked) -> Result<Vec<String>, Trouble> {
    let api = Api::<Object>::all(asked.cluster.kube().client());
    let all = ListParams::default();
    let found = asked.ask("list", "namespaces".to_owned(), api.list(&all)).await?;
    let names = found.items.iter().map(kube::ResourceExt::name_any);
    Ok(names.filter(|n| !n.starts_with("kube-") && n != "default").collect())
}

impl Look {
    /// Names of StatefulSets that look like PostgreSQL and that no other database operator rules.
    pub fn databases(&self) -> Vec<&str> {
        let sets = self.sets.iter().filter(|s| !belongs_to_another(s)).filter(|s| {
            s.spec.as_ref().and_then(|s| s.template.spec.as_ref()).is_some_and(looks_like_postgresql)
        });
        sets.filter_map(|s| s.metadata.name.as_deref()).collect()
    }

    /// Whether there is a StatefulSet of this name.
    pub fn has_set(&self, name: &str) -> bool {
        self.set(name).is_some()
    }

    /// Names of all StatefulSets.
    pub fn sets(&self) -> Vec<&str> {
        self.sets.iter().filter_map(|s| s.metadata.name.as_deref()).collect()
    }

    fn set(&self, name: &str) -> Option<&StatefulSet> {
        self.sets.iter().find(|s| s.metadata.name.as_deref() == Some(name))
    }

    /// Every workload but the database.
    pub fn workloads(&self, database: Option<&str>) -> Vec<Workload> {
        let databases = self.databases();
        let deployments = self
            .deployments
            .iter()
            .map(|d| (WorkloadKind::Deployment, d.name_any(), d.spec.as_ref().and_then(|s| s.replicas)));
        let sets = self.sets.iter().filter(|s| {
            let name = s.metadata.name.as_deref().unwrap_or_default();
            !databases.contains(&name) && database != Some(name)
        });
        let sets =
            sets.map(|s| (WorkloadKind::StatefulSet, s.name_any(), s.spec.as_ref().and_then(|s| s.replicas)));
        deployments.chain(sets).map(|(kind, name, n)| self.workload(kind, name, n)).collect()
    }

    fn workload(&self, kind: WorkloadKind, name: String, replicas: Option<i32>) -> Workload {
        let named = Named { kind, name };
        let target = typed(&named);
        let autoscaler = self.autoscaled.iter().find(|(t, _)| *t == target).map(|(_, name)| name.clone());
        // Kubernetes' own default is one.
        Workload { named, replicas: replicas.and_then(|n| u32::try_from(n).ok()).unwrap_or(1), autoscaler }
    }

    /// A workload by its kind and name, a StatefulSet that looks like a database, too.
    pub fn workload_of(&self, named: &Named) -> Option<Workload> {
        let replicas = match named.kind {
            WorkloadKind::Deployment => {
                let found = self.deployments.iter().find(|d| d.name_any() == named.name)?;
                found.spec.as_ref().and_then(|s| s.replicas)
            }
            WorkloadKind::StatefulSet => self.set(&named.name)?.spec.as_ref().and_then(|s| s.replicas),
        };
        Some(self.workload(named.kind, named.name.clone(), replicas))
    }

    /// Services that lead to a StatefulSet's pods.
    fn services_of(&self, set: &str) -> Vec<&Service> {
        let Some(labels) =
            self.set(set).and_then(|s| s.spec.as_ref()?.template.metadata.as_ref()?.labels.as_ref())
        else {
            return Vec::new();
        };
        let leads = |service: &&Service| {
            let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref());
            selector.is_some_and(|s| !s.is_empty() && s.iter().all(|(k, v)| labels.get(k) == Some(v)))
        };
        self.services.iter().filter(leads).collect()
    }

    /// The name and port of the Service by which a database's server is reached inside the cluster; one of its own name
    /// comes first, then one with PostgreSQL's port.
    pub fn inside(&self, set: &str) -> Option<(String, u16)> {
        let mut found = self.services_of(set);
        found.sort_by_key(|s| {
            let port = port(s).map(i32::from);
            (s.metadata.name.as_deref() != Some(set), port != Some(POSTGRES), s.name_any())
        });
        let first = found.first()?;
        Some((first.name_any(), port(first)?))
    }

    /// Where Services that lead to the database's pods are reached from outside.
    pub fn outside(&self, set: Option<&str>) -> Vec<String> {
        let Some(set) = set else { return Vec::new() };
        let mut all = BTreeSet::new();
        for service in self.services_of(set) {
            let spec = service.spec.as_ref();
            all.extend(spec.and_then(|s| s.external_ips.clone()).unwrap_or_default());
            let balancer = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
            for way in balancer.and_then(|b| b.ingress.as_ref()).into_iter().flatten() {
                all.extend(way.ip.clone().or_else(|| way.hostname.clone()));
            }
        }
        all.into_iter().collect()
    }

    /// The value of a ConfigMap's key; `None`: there is none, or it cannot be read.
    pub async fn value(&mut self, namespace: &Namespace, map: &str, key: &str) -> Option<String> {
        let api = Api::<ConfigMap>::namespaced(self.asked.cluster.kube().client(), namespace.as_str());
        let what = format!("configmaps {map} in namespace {namespace}");
        match self.asked.ask("get", what, api.get_opt(map)).await {
            Ok(found) => found?.data?.remove(key),
            Err(why) => {
                self.unseen.push(why.to_string());
                None
            }
        }
    }

    /// Which of these Secrets are there; `None`: it is not known. Their values are not asked for.
    pub async fn secrets(
        &self,
        namespace: &Namespace,
        names: &BTreeSet<String>,
    ) -> BTreeMap<String, Option<bool>> {
        let api = Api::<Secret>::namespaced(self.asked.cluster.kube().client(), namespace.as_str());
        let mut all = BTreeMap::new();
        for name in names {
            let what = format!("secrets {name} in namespace {namespace}");
            let found = self.asked.ask("get", what, api.get_metadata_opt(name)).await;
            all.insert(name.clone(), found.ok().map(|found| found.is_some()));
        }
        all
    }
}

/// The port that a Service has for PostgreSQL, or its first one.
fn port(service: &Service) -> Option<u16> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let own = ports.iter().find(|p| p.port == POSTGRES).or_else(|| ports.first())?;
    u16::try_from(own.port).ok()
}

fn looks_like_postgresql(pod: &PodSpec) -> bool {
    pod.containers.iter().any(|c| {
        // The last part of the image's path, without its tag.
        let image = c.image.as_deref().unwrap_or_default();
        let image = image.rsplit('/').next().unwrap_or_default();
        let image = image.split([':', '@']).next().unwrap_or_default();
        let exporter = image.contains("exporter");
        let words: Vec<&str> =
            c.command.iter().flatten().chain(c.args.iter().flatten()).map(String::as_str).collect();
        let guarded = words.windows(2).any(|w| w == ["guard", "postgres"]);
        let ports = c.ports.iter().flatten().any(|p| p.container_port == POSTGRES);
        guarded || ports || (IMAGES.iter().any(|name| image.contains(name)) && !exporter)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_looks_like_postgresql_by_its_image_its_port_or_its_guard() {
        let looks = |container: serde_json::Value| {
            let pod = serde_json::from_value(json!({ "containers": [container] })).unwrap();
            looks_like_postgresql(&pod)
        };
        assert!(looks(json!({ "name": "a", "image": "docker.io/library/postgres:17" })));
        assert!(looks(json!({ "name": "a", "image": "registry:5000/team/postgis@sha256:abc" })));
        assert!(looks(json!({ "name": "a", "image": "own/db", "ports": [{ "containerPort": 5432 }] })));
        assert!(looks(
            json!({ "name": "a", "image": "own/db", "command": ["bascule", "guard", "postgres"] })
        ));
        assert!(!looks(json!({ "name": "a", "image": "postgres.example.org/web:1" })));
        assert!(!looks(json!({ "name": "a", "image": "quay.io/postgres-exporter:1" })));
        assert!(!looks(json!({ "name": "a", "image": "redis:8" })));
    }
}
