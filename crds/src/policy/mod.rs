//! `FailoverPolicy`: how one application lives on two or more sites.

mod database;
mod failover;
mod notifications;
pub(crate) mod status;
mod traffic;
mod workload;

use kube::{
    CustomResource, KubeSchema,
    core::{Message, Rule},
};
use serde::{Deserialize, Serialize};

pub use self::{
    database::{Database, Fence, PostgreSql, PostgreSqlInstance},
    failover::{DatabaseLost, Failover, MaxDataLoss, Promote, ServeReads},
    notifications::{Notifications, UserNotices},
    traffic::{Addresses, Backend, Dns, HttpRoute, RefuseWrites, Traffic},
    workload::{
        Annotation, AnnotationOf, Call, CallMethod, ConfigMapKey, EnvironmentVariable, HttpCall, HttpGet,
        ReadOnly, ReplicaCounts, SecretKey, TargetKind, TargetRef, Verify, Workload,
    },
};
use crate::{
    reference::Reserved,
    text::{self, label},
};

/// How one application lives on two or more sites (one Kubernetes cluster each), and what may move
/// its roles between them.
///
/// The same object lives in the cluster of every site. It never says which site is active: that is
/// `status.activeSite`, and only a failure or a Move changes it. Editing, re-applying, reverting or
/// deleting a policy never moves a role and never opens or closes a database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "bascule.dev",
    version = "v1alpha1",
    kind = "FailoverPolicy",
    plural = "failoverpolicies",
    shortname = "fop",
    category = "bascule",
    namespaced,
    derive = "PartialEq",
    status = "status::FailoverPolicyStatus",
    doc = "How one application lives on two or more sites, and what may move its roles between them.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63")
        .message("metadata.name: expected at most 63 lower-case letters, digits and hyphens (the name becomes part of the arbiter's keys)"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.activeSite", description = "The site that may write"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether everything is as the policy wants it"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "For people only: scripts should use conditions"),
    printcolumn(name = "Lag", type_ = "string", json_path = ".status.lag", description = "The furthest that a standby is behind, or Unknown"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch", description = "Grows by one when the active site changes; a Move names it"),
    printcolumn(name = "Failover", type_ = "string", json_path = r#".status.conditions[?(@.type=="FailoverPossible")].status"#, priority = "1", description = "Whether a standby could take over now"),
    printcolumn(name = "Fence", type_ = "string", json_path = ".status.fence", priority = "1", description = "The weakest fence of the active site"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision", priority = "1", description = "The git revision that this object came from"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = rule_naming_sites(
        "self.sites.exists(s, s.name == self.initialSite)",
        "\"initialSite: found '\" + self.initialSite + \"', expected one of spec.sites: \" + ",
        "",
    ),
    validation = Rule::new("(has(self.databases) && size(self.databases) > 0) || (has(self.workloads) && size(self.workloads) > 0) || (has(self.traffic) && size(self.traffic) > 0)")
        .message("the policy would do nothing: expected at least one entry in databases, workloads or traffic"),
    validation = per_site("databases", "postgresql", "instances"),
    validation = per_site("traffic", "dns", "addresses"),
    validation = per_site("traffic", "httpRoute", "backends"),
    validation = Rule::new("!has(self.traffic) || self.traffic.all(a, !has(a.httpRoute) || self.traffic.exists_one(b, has(b.httpRoute) && b.httpRoute.name == a.httpRoute.name))")
        .message("traffic[].httpRoute.name: two entries name the same HTTPRoute; give all of its rules to one entry"),
    validation = Rule::new("!has(self.probes)").message("probes is not supported by this version of Bascule yet; remove it"),
)]
pub struct FailoverPolicySpec {
    /// The sites that the application lives on, two to five of them, in order of preference.
    ///
    /// The names are those that the operators were installed with. When the active site is lost, the
    /// one that loses least takes over; the order decides between sites that would lose the same. It
    /// never moves anything by itself.
    /// Example: `[{name: paris}, {name: lyon}]`.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 2, max = 5))]
    pub sites: Vec<Site>,

    /// The site that is active at the very first start, where the existing data lies.
    ///
    /// Read only while no record of this policy exists at the arbiter. Later changes do nothing; to
    /// move the role, create a Move.
    #[schemars(schema_with = "label::schema")]
    pub initial_site: String,

    /// Stops acting, not observing: while `true`, Bascule keeps watching and reporting but moves
    /// nothing for this policy. A promise to fence that is already recorded stays in force until the
    /// active site has withdrawn it; then its database keeps running without deadlines.
    /// Default: `false`.
    #[serde(default)]
    pub suspend: bool,

    /// When and how a standby site takes over by itself. Without it: read-only service after ten
    /// seconds of silence, and promotion only by a Move.
    #[serde(default)]
    pub failover: Failover,

    /// Databases whose write role follows the active site. At most eight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 8))]
    pub databases: Vec<Database>,

    /// Workloads that are scaled or told to be read-only as their site's role changes. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 32))]
    pub workloads: Vec<Workload>,

    /// Where users are sent. Changed only after the site that users are sent to can serve them, and
    /// never pointed at nothing. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub traffic: Vec<Traffic>,

    /// Not supported by this version; a policy that has it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub probes: Option<Vec<Reserved>>,

    /// Who is told what happens to the application. Without it nobody is: there are the status, Events
    /// and metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Notifications")]
    pub notifications: Option<Notifications>,
}

/// One site: one Kubernetes cluster with an operator of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Site {
    /// The name that the site's operator was installed with. Example: `paris`.
    #[schemars(schema_with = "text::label::schema")]
    pub name: String,
}

/// Every entry of `list` that has `member` must name every site exactly once in `member.per_site`.
fn per_site(list: &str, member: &str, per_site: &str) -> Rule {
    rule_naming_sites(
        &format!(
            "!has(self.{list}) || self.{list}.all(e, !has(e.{member}) || (size(e.{member}.{per_site}) == size(self.sites) && self.sites.all(s, e.{member}.{per_site}.exists(i, i.site == s.name))))"
        ),
        &format!(
            "'{list}[].{member}.{per_site}: expected exactly one entry for each site of spec.sites (' + "
        ),
        " + '); at least one entry differs'",
    )
}

/// A rule on the spec whose message names the sites, between `before` and `after`.
///
/// Sites are picked one by one: the API server refuses `map` and `join` in a message, for it cannot
/// bound what they cost.
fn rule_naming_sites(condition: &str, before: &str, after: &str) -> Rule {
    let site = |i: usize| format!("(size(self.sites) > {i} ? ', ' + self.sites[{i}].name : '')");
    let more = [site(2), site(3), site(4)].join(" + ");
    Rule {
        message: Some(Message::Expression(format!(
            "{before}self.sites[0].name + ', ' + self.sites[1].name + {more}{after}"
        ))),
        ..Rule::new(condition)
    }
}
