//! The pod that a database's server runs in.

use k8s_openapi::api::core::v1::{Container, Node, Pod, Probe};
use kube::ResourceExt;
use kube::api::Api;

use super::client::Kube;
use super::failure::{Failure, Subject};
use super::foreign;

/// Whether the pod's node works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// The node's kubelet reports, and reports ready.
    Ready,
    /// The node is not ready, or its kubelet stopped reporting.
    NotReady {
        /// The condition's status: `False`, or `Unknown` when the kubelet is silent.
        status: String,
        /// The condition's own words.
        message: String,
    },
    /// The node object is gone.
    Gone,
    /// The pod has no node yet.
    Unassigned,
    /// The API server could not be asked, or the node has no such condition.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// What the API server says of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// The pod's identity: another pod of the same name has another one.
    pub uid: String,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// Whether the pod counts as ready.
    pub ready: bool,
    /// The node's name.
    pub node: Option<String>,
    /// Whether the node works.
    pub node_state: NodeState,
    /// Whether somebody asked for its end (rollout, drain, delete).
    pub terminating: bool,
    /// The pod's address.
    pub ip: Option<String>,
    /// How often its containers were restarted, all together.
    pub restarts: i32,
    /// Its processes are shared between containers: the guard is not process 1 and cannot end them all.
    pub shares_processes: bool,
    /// It sees the node's own processes: the guard is not process 1 and would reach for all of them.
    pub host_processes: bool,
    /// Containers whose liveness probe asks the database itself (`pg_isready`, or a connection to its port). Such a
    /// probe kills a server that rightly waits, and its back-off outlasts a failover.
    pub liveness_on_server: Vec<String>,
    /// Another database operator whose pod this is, and by what that was seen.
    pub another_operator: Option<String>,
}

/// Reads a pod and its node. `None`: there is no such pod, and the API server says so.
///
/// `server_port` is the database's port, for the finding on liveness probes.
pub async fn observe(
    kube: &Kube,
    namespace: &str,
    name: &str,
    server_port: u16,
) -> Result<Option<PodFacts>, Failure> {
    let subject = Subject::new("Pod", namespace, name);
    let pod = match kube.call(&subject, kube.api::<Pod>(namespace).get(name)).await {
        Ok(pod) => pod,
        Err(Failure::Missing { .. }) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let (spec, status) = (pod.spec.clone().unwrap_or_default(), pod.status.clone().unwrap_or_default());
    let node_state = match &spec.node_name {
        None => NodeState::Unassigned,
        Some(node) => node_state(kube, node).await,
    };
    Ok(Some(PodFacts {
        uid: pod.uid().unwrap_or_default(),
        another_operator: foreign::of_pod(&pod.metadata, &spec),
        phase: status.phase.unwrap_or_else(|| "Unknown".to_owned()),
        ready: status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True"),
        node_state,
        terminating: pod.metadata.deletion_timestamp.is_some(),
        ip: status.pod_ip,
        restarts: status.container_statuses.iter().flatten().map(|c| c.restart_count).sum(),
        shares_processes: spec.share_process_namespace == Some(true),
        host_processes: spec.host_pid == Some(true),
        liveness_on_server: spec
            .containers
            .iter()
            .filter(|c| c.liveness_probe.as_ref().is_some_and(|p| asks_server(p, c, server_port)))
            .map(|c| c.name.clone())
            .collect(),
        node: spec.node_name,
    }))
}

async fn node_state(kube: &Kube, name: &str) -> NodeState {
    let api = Api::<Node>::all(kube.client());
    let node = match kube.call(&Subject::cluster("Node", name), api.get(name)).await {
        Ok(node) => node,
        Err(Failure::Missing { .. }) => return NodeState::Gone,
        Err(failure) => return NodeState::Unknown { reason: failure.to_string() },
    };
    let conditions = node.status.and_then(|s| s.conditions).unwrap_or_default();
    match conditions.into_iter().find(|c| c.type_ == "Ready") {
        Some(ready) if ready.status == "True" => NodeState::Ready,
        Some(ready) => {
            NodeState::NotReady { status: ready.status, message: ready.message.unwrap_or_default() }
        }
        None => NodeState::Unknown { reason: format!("Node {name} has no Ready condition") },
    }
}

/// Whether a probe asks the database itself.
pub fn asks_server(probe: &Probe, container: &Container, port: u16) -> bool {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    let by_command = probe.exec.as_ref().and_then(|exec| exec.command.as_ref()).is_some_and(|command| {
        command.iter().any(|word| word.contains("pg_isready") || word.contains("psql"))
    });
    let by_port = probe.tcp_socket.as_ref().is_some_and(|socket| match &socket.port {
        IntOrString::Int(number) => *number == i32::from(port),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .any(|p| p.name.as_ref() == Some(name) && p.container_port == i32::from(port)),
    });
    by_command || by_port
}
