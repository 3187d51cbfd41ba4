//! Which cluster this is, and whether its API server works.

use std::time::{Duration, Instant};

use http::Request;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;

use super::client::Kube;
use super::failure::{Failure, Subject};

/// The cluster's identity: the UID of its `kube-system` namespace, which lives as long as the cluster.
pub async fn uid(kube: &Kube) -> Result<String, Failure> {
    let subject = Subject::cluster("Namespace", "kube-system");
    let api = Api::<Namespace>::all(kube.client());
    let found = kube.call(&subject, api.get_metadata("kube-system")).await?;
    found.metadata.uid.ok_or_else(|| Failure::own(&subject, "it has no UID"))
}

/// A healthy API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthy {
    /// The version it reports, for example `v1.36.3`.
    pub version: String,
    /// How long the two questions took.
    pub took: Duration,
}

/// Asks the API server whether it is ready to serve, its store included.
pub async fn health(kube: &Kube) -> Result<Healthy, Failure> {
    let subject = Subject::cluster("API server", "/readyz");
    let client = kube.client();
    let started = Instant::now();
    let request =
        Request::get("/readyz").body(Vec::new()).map_err(|e| Failure::own(&subject, e.to_string()))?;
    kube.call(&subject, client.request_text(request)).await?;
    let version = kube.call(&subject, client.apiserver_version()).await?;
    Ok(Healthy { version: version.git_version, took: started.elapsed() })
}
