use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    conditions::{self, Condition},
    reference::{Reference, Reserved},
    text::{self, bounds},
};

/// A git repository that policies and Moves are read from.
///
/// A revision is taken whole or not at all: one bad file refuses all of it, and the last good one
/// stays in force. Git never says which site is active, and a failover never waits for git.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "bascule.dev",
    version = "v1alpha1",
    kind = "PolicySource",
    plural = "policysources",
    category = "bascule",
    namespaced,
    derive = "PartialEq",
    status = "PolicySourceStatus",
    doc = "A git repository that policies and Moves are read from.",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".status.lastAcceptedRevision",
        description = "The revision in force"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!has(self.verify)").message("verify is not supported by this version of Bascule yet; remove it, and protect the branch at the git server")
)]
pub struct PolicySourceSpec {
    /// Where the repository is: `https://…`, `ssh://…` or `file:///…`. No user name or password in it;
    /// those belong into `secretRef`. Example: `https://git.example.org/ops/policies.git`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = text::url::rule())]
    pub url: String,

    /// What to follow. Default: the branch `main`.
    #[serde(default = "main_branch", rename = "ref")]
    pub git_ref: GitRef,

    /// The folder that is read, with everything below it; files whose names end in `.yaml` or `.yml`,
    /// those whose names begin with a dot left out.
    /// Default: `.`, the whole repository.
    #[serde(default = "whole")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = text::folder::rule())]
    pub path: String,

    /// How often the repository is asked. From `1s` to `24h`. Default: `1m`.
    #[serde(default = "minute")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::INTERVAL.rule())]
    pub interval: String,

    /// After how long one attempt is given up. From `1s` to `10m`. Default: `1m`.
    #[serde(default = "minute")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::TIMEOUT.rule())]
    pub timeout: String,

    /// Secret with credentials: `username` and `password` (a token is a password) and `ca.crt` for
    /// https; `identity` and `known_hosts` for ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reference")]
    pub secret_ref: Option<Reference>,

    /// Stops reading; what was accepted stays in force. Default: `false`.
    #[serde(default)]
    pub suspend: bool,

    /// Not supported by this version; a source that has it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reserved")]
    pub verify: Option<Reserved>,
}

/// What to follow in a repository. Exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.branch), has(self.tag), has(self.semver), has(self.commit)].filter(m, m).size() == 1")
        .message("ref: expected exactly one of branch, tag, semver, commit")
)]
pub struct GitRef {
    /// The newest commit of this branch. Example: `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = text::ref_name::rule())]
    pub branch: Option<String>,
    /// This tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = text::ref_name::rule())]
    pub tag: Option<String>,
    /// The highest tag in this range. Example: `>=1.2, <2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub semver: Option<String>,
    /// This commit, as its full hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 40, max = 64))]
    #[x_kube(validation = text::commit::rule())]
    pub commit: Option<String>,
}

/// What was read, what is in force, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicySourceStatus {
    /// The generation of the spec that this status judges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The revision in force, its full hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_accepted_revision: Option<String>,
    /// The revision that was fetched last, accepted or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fetched_revision: Option<String>,
    /// When a fetch last worked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fetched_at: Option<Time>,
    /// Judgements by type: `Ready`, `Fetched`, `Reconciling`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,
    /// Why the last fetched revision was refused, the first 50 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub errors: Vec<SourceError>,
}

/// One thing that is wrong in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceError {
    /// Path of the file in the repository.
    pub file: String,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The field, such as `spec.sites[1].name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What was found, what was expected, and what to do.
    pub reason: String,
}

fn main_branch() -> GitRef {
    GitRef { branch: Some("main".to_owned()), ..GitRef::default() }
}

fn whole() -> String {
    ".".to_owned()
}

fn minute() -> String {
    "1m".to_owned()
}
