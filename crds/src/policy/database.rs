use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    reference::{Reference, Reserved},
    text,
};

/// One database. Exactly one member besides `name` says which kind it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.postgresql), has(self.cloudNativePG), has(self.patroni), has(self.mariadb), has(self.redis), has(self.volumeReplication)].filter(m, m).size() == 1")
        .message("databases[]: expected exactly one member beside name: postgresql"),
    validation = Rule::new("!has(self.cloudNativePG)").message("databases[].cloudNativePG is not supported by this version of Bascule yet; use postgresql"),
    validation = Rule::new("!has(self.patroni)").message("databases[].patroni is not supported by this version of Bascule yet; use postgresql"),
    validation = Rule::new("!has(self.mariadb)").message("databases[].mariadb is not supported by this version of Bascule yet; use postgresql"),
    validation = Rule::new("!has(self.redis)").message("databases[].redis is not supported by this version of Bascule yet; use postgresql"),
    validation = Rule::new("!has(self.volumeReplication)").message("databases[].volumeReplication is not supported by this version of Bascule yet; use postgresql"),
)]
pub struct Database {
    /// Name of this entry in status, metrics and the journal. Unique in the list. Example: `main`.
    #[schemars(schema_with = "text::label::schema")]
    pub name: String,

    /// A PostgreSQL server per site with streaming replication between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PostgreSql")]
    pub postgresql: Option<PostgreSql>,

    /// Not supported by this version; a policy that has it is refused.
    #[serde(default, rename = "cloudNativePG", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reserved")]
    pub cloud_native_pg: Option<Reserved>,

    /// Not supported by this version; a policy that has it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reserved")]
    pub patroni: Option<Reserved>,

    /// Not supported by this version; a policy that has it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reserved")]
    pub mariadb: Option<Reserved>,

    /// Not supported by this version; a policy that has it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reserved")]
    pub redis: Option<Reserved>,

    /// Not supported by this version; a policy that has it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reserved")]
    pub volume_replication: Option<Reserved>,
}

/// A PostgreSQL server per site with streaming replication between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule {
        message: Some(Message::Expression("'databases[].postgresql.fence: ' + self.fence + ' is not supported by this version of Bascule yet for postgresql; use Guard'".to_owned())),
        ..Rule::new("self.fence == 'Guard'")
    }
)]
pub struct PostgreSql {
    /// What makes sure that a server that may no longer write has stopped. `Guard`: the supervisor
    /// `bascule guard postgres`, the first process of the server's container, stops it when its
    /// permission runs out. Status says what a fence does not cover. The other classes are not
    /// supported by this version; a policy that asks for one of them is refused.
    pub fence: Fence,

    /// The server of each site: exactly one entry for every site of `spec.sites`.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["site".into()]))]
    #[schemars(length(min = 1, max = 5))]
    pub instances: Vec<PostgreSqlInstance>,
}

/// What makes sure that a server that may no longer write has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Fence {
    /// Clients reach the server only through a forwarder that checks the permission before each byte.
    Gate,
    /// A supervisor beside the server stops it when its permission runs out.
    Guard,
    /// Another operator's fence.
    External,
    /// Read-only by SQL: cooperating clients only, never enough to promote by itself.
    Advisory,
}

/// The PostgreSQL server of one site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgreSqlInstance {
    /// The site, as in `spec.sites`.
    #[schemars(schema_with = "text::label::schema")]
    pub site: String,

    /// Name of the StatefulSet that runs the server there, with one replica, in the policy's
    /// namespace. Its container starts with `bascule guard postgres`.
    #[schemars(schema_with = "text::object_name::schema")]
    pub stateful_set: String,

    /// Where the site's own operator reaches the server, from inside the cluster.
    /// Example: `main.shop.svc`.
    #[schemars(schema_with = "text::host::schema")]
    pub host: String,

    /// TCP port of the server at `host`. Default: `5432`.
    #[serde(default = "postgresql_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// The database inside the server that the operator connects to; it holds nothing of Bascule's.
    /// Default: `postgres`.
    #[serde(default = "postgres")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,

    /// Where the other sites' servers reach this one to replicate from it. An address rather than a
    /// name, where possible: a name may need a DNS that is down with a site. Example: `203.0.113.10`.
    #[schemars(schema_with = "text::host::schema")]
    pub replication_host: String,

    /// TCP port of the server at `replicationHost`. Default: `5432`.
    #[serde(default = "postgresql_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub replication_port: u16,

    /// Secret with `username` and `password` of the least-privilege role that the operator asks this
    /// server with.
    pub secret_ref: Reference,

    /// Secret with `username` and `password` of the role that this site's server replicates with from
    /// whichever server is active.
    pub replication_secret_ref: Reference,
}

fn postgresql_port() -> u16 {
    5432
}

fn postgres() -> String {
    "postgres".to_owned()
}
