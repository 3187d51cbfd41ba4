use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text;

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
    validation = Rule::new("[has(self.configMapKey), has(self.secretKey), has(self.environment), has(self.annotation), has(self.httpCall)].filter(m, m).size() == 1")
        .message("workloads[].readOnly: expected exactly one of configMapKey, secretKey, environment, annotation, httpCall"),
    validation = Rule::new("!has(self.httpCall) || has(self.verify)")
        .message("workloads[].readOnly.httpCall: expected verify beside it: what a pod makes of a call is known only by asking it"),
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

    /// An environment variable of a container in the workload's own template. Each change makes the workload's
    /// controller replace every pod: that takes as long as any rollout, and a planned switchover waits for it within
    /// `failover.switchoverDeadline`. For applications that read a file, `configMapKey` takes a second and restarts
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EnvironmentVariable")]
    pub environment: Option<EnvironmentVariable>,

    /// An annotation of the workload, or of its pods' template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Annotation")]
    pub annotation: Option<Annotation>,

    /// A request by HTTP to every running pod. The flag is then in the pods alone, and `verify` is needed: a pod that says
    /// otherwise, as one that was started meanwhile may, is told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HttpCall")]
    pub http_call: Option<HttpCall>,

    /// How the effect is proved, asked in every running pod. Without it a flag by `environment`, or by an
    /// `annotation` of the template, is proved by what each pod was started with; for the others, status says
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

/// An environment variable of a container and its two values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.readOnlyValue != self.readWriteValue")
        .message("workloads[].readOnly.environment: readOnlyValue and readWriteValue are the same; the flag would say nothing")
)]
pub struct EnvironmentVariable {
    /// The container of the workload's template. Default: the only one that it has. A workload whose template has no
    /// such container is not changed, and its site is not promotable. Example: `web`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text::label::schema")]
    pub container: Option<String>,
    /// The variable. Bascule adds it when it is not there. Example: `READ_ONLY`.
    #[schemars(schema_with = "text::variable::schema")]
    pub name: String,
    /// Its value while writing is not allowed. Example: `"1"`.
    #[schemars(length(max = 256))]
    pub read_only_value: String,
    /// Its value while writing is allowed. Example: `"0"`.
    #[schemars(length(max = 256))]
    pub read_write_value: String,
}

/// An annotation and its two values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.readOnlyValue != self.readWriteValue")
        .message("workloads[].readOnly.annotation: readOnlyValue and readWriteValue are the same; the flag would say nothing")
)]
pub struct Annotation {
    /// `Workload`: of the Deployment or StatefulSet itself, for a controller or a tool that watches it; no pod sees it,
    /// and none is replaced. `PodTemplate`: of the template, for what reads the annotations of a pod (the downward
    /// API, whatever is injected into pods); every pod is replaced at each change, as with `environment`.
    pub of: AnnotationOf,
    /// The annotation. Bascule adds it when it is not there. Example: `shop.example/read-only`.
    #[schemars(schema_with = "text::annotation_key::schema")]
    pub key: String,
    /// Its value while writing is not allowed. Example: `"true"`.
    #[schemars(length(max = 256))]
    pub read_only_value: String,
    /// Its value while writing is allowed. Example: `"false"`.
    #[schemars(length(max = 256))]
    pub read_write_value: String,
}

/// Whose annotation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AnnotationOf {
    /// The workload's own object.
    Workload,
    /// The template of its pods.
    PodTemplate,
}

/// Two requests to every running pod of the workload, at its own address: one that it may not write, one that it may.
/// Each is repeated until every pod has taken it, so the same twice must do no harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.readOnly.method != self.readWrite.method || self.readOnly.path != self.readWrite.path || (has(self.readOnly.body) ? self.readOnly.body : '') != (has(self.readWrite.body) ? self.readWrite.body : '')")
        .message("workloads[].readOnly.httpCall: readOnly and readWrite are the same; the call would say nothing")
)]
pub struct HttpCall {
    /// TCP port of the pod. Default: the first port that its containers declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The request that forbids writing.
    pub read_only: Call,
    /// The request that allows writing.
    pub read_write: Call,
}

/// One request to a pod. It has no credentials: whoever reads the policy reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Call {
    /// Method of the request.
    pub method: CallMethod,
    /// Path, from the slash on. Example: `/admin/read-only`.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = text::url_path::rule())]
    pub path: String,
    /// Body of the request. Default: none. Example: `{"readOnly": true}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub body: Option<String>,
    /// What the body is. Default: `application/json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "text::media_type::schema")]
    pub content_type: Option<String>,
    /// The status that means that the pod has taken it. Default: any from 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 200, max = 599))]
    pub expect_status: Option<u16>,
}

/// Methods of requests that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CallMethod {
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
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
