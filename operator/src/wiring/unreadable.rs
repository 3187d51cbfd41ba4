//! Objects that this version cannot read: made for another version of the API. Their status says so.

use std::fmt::Debug;

use bascule_adapters::kube::client::Kube;
use bascule_adapters::kube::status::{StatusDesk, StatusKey};
use bascule_adapters::kube::watch::Unreadable;
use bascule_crds::conditions::{READY, STALLED};
use jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::conditions::Set;

/// Says in an object's status that it cannot be read, and why.
pub async fn say<K>(kube: &Kube, desk: &StatusDesk, bad: &Unreadable)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let kind = K::kind(&()).into_owned();
    tracing::warn!(kind, key = %bad.key, reason = bad.reason, "an object cannot be read");
    let api = Api::<K>::namespaced(kube.client(), &bad.key.namespace);
    let found = tokio::time::timeout(kube.deadline(), api.get_metadata_opt(&bad.key.name)).await;
    let Ok(Ok(Some(object))) = found else {
        tracing::warn!(kind, key = %bad.key, "its status cannot say so: the API server did not give its metadata");
        return;
    };
    let key = StatusKey { uid: object.metadata.uid.clone().unwrap_or_default(), ..key::<K>(bad) };
    let message = format!(
        "it cannot be read by this version of Bascule, and nothing is done about it: {}; correct it, or bring the operator and the definitions to the same version",
        bad.reason
    );
    let generation = object.metadata.generation;
    let mut set = Set::new(&[], generation, Timestamp::now());
    set.put(READY, Some(false), "Unreadable", &message);
    set.put(STALLED, Some(true), "Unreadable", &message);
    let status = serde_json::json!({ "observedGeneration": generation, "conditions": set.done() });
    if let Err(full) = desk.put(&key, status) {
        tracing::warn!(%full, "the status of an object that cannot be read was not taken");
    }
}

fn key<K: Resource<DynamicType = ()>>(bad: &Unreadable) -> StatusKey {
    StatusKey::named::<K>(&bad.key.namespace, &bad.key.name, "")
}
