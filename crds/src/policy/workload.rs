use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{reference::Reserved, text};

/// A workload that is scaled or told to be read-only as its site's role changes.
///
/// Bascule writes only what is named here, with server-side apply and without force. When another
/// controller owns a field that has to be written, status says `Contended`, by whom, and which lines
/// release it; that site is then not promotable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.replicas) || has(self.readOnly)")
        .message("workloads[]: nothing to do for this workload: expected replicas, readOnly or both")
)]
pub struct Workload {
    /// Name of this entry in status, metrics and the journal. Unique in the list. Example: `web`.
    #[schemars(schema_with = "text::label::schema")]
    pub name: String,

    /// The workload, in the policy's namespace, under the same name at every site.
    pub target_ref: TargetRef,

    /// How many replicas the workload has while its site is active, serves reads, or stands by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ReplicaCounts")]
    pub replicas: Option<ReplicaCounts>,

    /// How the workload is told that it may not write now. A courtesy to users, who then get a
    /// correct error; what keeps the data safe is the database's fence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ReadOnly")]
    pub read_only: Option<ReadOnly>,
}

/// A workload in the policy's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule {
        message: Some(Message::Expression("\"workloads[].targetRef.apiVersion: found '\" + self.apiVersion + \"', expected apps/v1\"".to_owned())),
        ..Rule::new("self.apiVersion == 'apps/v1'")
    }
)]
pub struct TargetRef {
    /// `apps/v1`.
    #[schemars(length(max = 64))]
    pub api_version: String,
    /// `Deployment` or `StatefulSet`.
    pub kind: TargetKind,
    /// Name of the workload.
    #[schemars(schema_with = "text::object_name::schema")]
    pub name: String,
}

/// The kinds of workloads that can be scaled and asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
}

/// Numbers of replicas by the role of the site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.active) || has(self.readOnly) || has(self.standby)")
        .message("workloads[].replicas: expected at least one of active, readOnly, standby")
)]
pub struct ReplicaCounts {
    /// Replicas while the site is active. Default: the number that was last observed while a site was
    /// active, recorded in advance, so that an HPA or a person may own it in normal times.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub active: Option<u32>,

    /// Replicas while the site serves reads only. Default: as `active`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub read_only: Option<u32>,

    /// Replicas while the site stands by. `0` is a pilot light: nothing runs, nothing costs. More than
    /// `active` is work that gives way: it runs on the standby and is shed there when the site becomes
    /// active. Default: left as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub standby: Option<u32>,
}

/// How a workload is told that it may not write. Exactly one member besides `verify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.configMapKey), has(self.secretKey), has(self.environment)].filter(m, m).size() == 1")
        .message("workloads[].readOnly: expected exactly one of configMapKey, secretKey"),
    validation = Rule::new("!has(self.environment)")
        .message("workloads[].readOnly.environment is not supported by this version of Bascule yet; use configMapKey or secretKey"),
)]
pub struct ReadOnly {
    /// A key of a ConfigMap that the pods mount or read. Bascule creates the ConfigMap when it is not
    /// there, and touches an annotation of the pods that mount it so that they see a change within a
    /// second instead of a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ConfigMapKey")]
    pub config_map_key: Option<ConfigMapKey>,

    /// A key of a Secret that the pods mount or read. Bascule creates the Secret when it is not there, as with
    /// `configMapKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SecretKey")]
    pub secret_key: Option<SecretKey>,

    /// Not supported by this version; a policy that has it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reserved")]
    pub environment: Option<Reserved>,

    /// How the effect is proved, asked in every running pod. Without it, status says
    /// `ReadOnlyEffective=Unknown`, and a planned switchover does not wait for the effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Verify")]
    pub verify: Option<Verify>,
}

/// A key of a ConfigMap and its two values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.readOnlyValue != self.readWriteValue")
        .message("workloads[].readOnly.configMapKey: readOnlyValue and readWriteValue are the same; the flag would say nothing")
)]
pub struct ConfigMapKey {
    /// Name of the ConfigMap, in the policy's namespace.
    #[schemars(schema_with = "text::object_name::schema")]
    pub name: String,
    /// The key. Example: `READ_ONLY`.
    #[schemars(schema_with = "text::data_key::schema")]
    pub key: String,
    /// Its value while writing is not allowed. Example: `"1"`.
    #[schemars(length(max = 256))]
    pub read_only_value: String,
    /// Its value while writing is allowed. Example: `"0"`.
    #[schemars(length(max = 256))]
    pub read_write_value: String,
}

/// A key of a Secret and its two values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.readOnlyValue != self.readWriteValue")
        .message("workloads[].readOnly.secretKey: readOnlyValue and readWriteValue are the same; the flag would say nothing")
)]
pub struct SecretKey {
    /// Name of the Secret, in the policy's namespace.
    #[schemars(schema_with = "text::object_name::schema")]
    pub name: String,
    /// The key. Example: `READ_ONLY`.
    #[schemars(schema_with = "text::data_key::schema")]
    pub key: String,
    /// Its value while writing is not allowed, as text. Example: `"1"`.
    #[schemars(length(max = 256))]
    pub read_only_value: String,
    /// Its value while writing is allowed, as text. Example: `"0"`.
    #[schemars(length(max = 256))]
    pub read_write_value: String,
}

/// How the effect of a read-only flag is proved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.httpGet)").message("workloads[].readOnly.verify: expected httpGet")
)]
pub struct Verify {
    /// Asks every running pod by HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HttpGet")]
    pub http_get: Option<HttpGet>,
}

/// A question by HTTP to every running pod of the workload, at its own address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGet {
    /// TCP port of the pod. Default: the first port that its containers declare.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Path, from the slash on. Example: `/mode`.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = text::url_path::rule())]
    pub path: String,
    /// The pod is read-only when it answers 200 with exactly this body, space around it aside. Any
    /// other body with 200 means that it writes; anything else is unknown. Example: `read-only`.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("self.matches('[^\\\\s]')").message("expectBody: found nothing, expected the body that means read-only"))]
    pub expect_body: String,
}
