//! The connection to the site's own API server.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::NamespaceResourceScope;
use kube::{Client, Config, Resource};
use tower::util::MapResponseLayer;

use super::failure::{Failure, Subject};
use super::heard::Heard;
use super::kubeconfig;

/// How long one call may take when the caller names nothing else.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection that should carry something may stay silent. It is the backstop under each call's own
/// deadline, so that a connection to a frozen server is given up and not used again.
const SILENCE: Duration = Duration::from_secs(15);
/// How long the API server keeps one watch request open, in seconds. Short on purpose: the end and the start of
/// a request are signs of life that a quiet watch would not give.
pub(super) const WATCH_SECONDS: u32 = 20;
/// A watch whose connection has been silent for longer than the request may last is dead.
const WATCH_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// Where the credentials for the own cluster come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// The service account of the pod that the operator runs in.
    InCluster,
    /// A kubeconfig file.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context in it; its current context when `None`.
        context: Option<String>,
    },
}

/// Why no connection could be prepared. Nothing was sent yet.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {path}: it cannot be used; check the file and its current context: {reason}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it, without anything that it says.
        reason: String,
    },
    /// There is no service account to use.
    #[error(
        "no service account of a pod is mounted here; outside a cluster, name a kubeconfig (--kubeconfig FILE)"
    )]
    InCluster(#[source] kube::config::InClusterError),
    /// The client could not be built from the configuration.
    #[error("the Kubernetes client for {server} cannot be built; check its certificates and keys")]
    Client {
        /// The API server's address.
        server: String,
        /// What is wrong.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A handle on the site's own API server. Cheap to clone; all clones share the connections.
///
/// Guarantees: nothing sent through it is sent twice by itself; every call ends within [`Kube::deadline`].
#[derive(Clone)]
pub struct Kube {
    config: Arc<Config>,
    client: Client,
    namespace: Arc<str>,
    deadline: Duration,
}

impl std::fmt::Debug for Kube {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration holds credentials.
        f.debug_struct("Kube")
            .field("server", &self.config.cluster_url)
            .field("namespace", &self.namespace)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Kube {
    /// Prepares the connection. `namespace` is the operator's own; the credentials' default when `None`.
    ///
    /// Nothing is sent: an API server that is down now may be up at the first call.
    pub async fn connect(credentials: &Credentials, namespace: Option<&str>) -> Result<Self, ConnectError> {
        let config = match credentials {
            Credentials::InCluster => Config::incluster().map_err(ConnectError::InCluster)?,
            Credentials::Kubeconfig { path, context } => {
                let wrong = |error: KubeconfigError| ConnectError::Kubeconfig {
                    path: path.display().to_string(),
                    reason: kubeconfig::reason(&error),
                };
                let file = Kubeconfig::read_from(path).map_err(wrong)?;
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                Config::from_custom_kubeconfig(file, &options).await.map_err(wrong)?
            }
        };
        Self::from_config(config, namespace)
    }

    /// The handle for a configuration that was read elsewhere. Retries are turned off and timeouts set, whatever
    /// it says.
    pub fn from_config(mut config: Config, namespace: Option<&str>) -> Result<Self, ConnectError> {
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT);
        config.write_timeout = Some(SILENCE);
        config.read_timeout = Some(SILENCE);
        // Without it the time that a pooled connection sat idle would count as silence of the next answer.
        config.reset_reader_on_write = true;
        let client = Client::try_from(config.clone()).map_err(|source| ConnectError::Client {
            server: config.cluster_url.to_string(),
            source: Box::new(source),
        })?;
        let namespace = namespace.unwrap_or(&config.default_namespace).into();
        Ok(Self { config: Arc::new(config), client, namespace, deadline: DEFAULT_DEADLINE })
    }

    /// The same server over connections of its own, made by the first calls: for whoever found the present ones silent.
    pub(crate) fn anew(&self) -> Result<Self, ConnectError> {
        let namespace = self.namespace.to_string();
        let fresh = Self::from_config((*self.config).clone(), Some(&namespace))?;
        Ok(fresh.within(self.deadline))
    }

    /// The API server's address.
    pub(crate) fn server(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// The same handle with another deadline per call.
    pub fn within(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// How long one call may take.
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The operator's own namespace.
    pub fn own_namespace(&self) -> &str {
        &self.namespace
    }

    /// The underlying client: retries off, connections given up after some silence. A caller that uses it puts a
    /// deadline round each call of its own.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A client of its own for one watch. Everything the server says through it is noted in `heard`.
    pub(super) fn watch_client(&self, heard: Arc<Heard>) -> Result<Client, ConnectError> {
        let mut config = (*self.config).clone();
        config.read_timeout = Some(WATCH_SILENCE);
        let builder = ClientBuilder::try_from(config).map_err(|source| ConnectError::Client {
            server: self.config.cluster_url.to_string(),
            source: Box::new(source),
        })?;
        Ok(builder.with_layer(&MapResponseLayer::new(move |response| heard.listen(response))).build())
    }

    pub(super) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn dynamic(&self, namespace: &str, kind: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, kind)
    }

    /// Makes one call within the deadline.
    pub(super) async fn call<T>(
        &self,
        subject: &Subject,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::of(subject, &error)),
            Err(_) => Err(Failure::silence(subject, self.deadline)),
        }
    }
}
