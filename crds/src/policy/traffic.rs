use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{
    reference::{Reference, Reserved},
    text::{self, bounds},
};

/// One way by which users reach the application. Exactly one member besides `name`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.dns), has(self.httpRoute)].filter(m, m).size() == 1")
        .message("traffic[]: expected exactly one member beside name: dns"),
    validation = Rule::new("!has(self.httpRoute)").message("traffic[].httpRoute is not supported by this version of Bascule yet; use dns"),
)]
pub struct Traffic {
    /// Name of this entry in status, metrics and the journal. Unique in the list. Example: `public`.
    #[schemars(schema_with = "text::label::schema")]
    pub name: String,

    /// Address records of one DNS name, changed by dynamic update (RFC 2136).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Dns")]
    pub dns: Option<Dns>,

    /// Not supported by this version; a policy that has it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Reserved")]
    pub http_route: Option<Reserved>,
}

/// Address records of one DNS name, changed in one atomic update that carries the record's serial,
/// so that an operator that is behind cannot point the name back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule {
        message: Some(Message::Expression("\"traffic[].dns.name: found '\" + self.name + \"', expected a name in the zone '\" + self.zone + \"'\"".to_owned())),
        ..Rule::new("self.name == self.zone || self.name.endsWith('.' + self.zone)")
    }
)]
pub struct Dns {
    /// The name that users ask for, with the dot at the end. Example: `www.shop.example.`.
    #[schemars(schema_with = "text::fqdn::schema")]
    pub name: String,

    /// The zone that the name lives in, with the dot at the end. Example: `shop.example.`.
    #[schemars(schema_with = "text::fqdn::schema")]
    pub zone: String,

    /// How long resolvers may keep an answer: it delays users by as much after a move. Whole seconds
    /// from `1s` to `1h`. Default: `30s`.
    #[serde(default = "thirty_seconds")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::TTL.rule())]
    #[x_kube(validation = Rule::new("!self.endsWith('ms')").message("traffic[].dns.ttl: expected whole seconds: DNS knows no less"))]
    pub ttl: String,

    /// Servers that take updates, tried in this order until one of them is primary for the zone. At
    /// least one must survive the loss of either site. Example: `["192.0.2.53:53"]`.
    #[schemars(schema_with = "update_servers")]
    pub update_servers: Vec<String>,

    /// Servers that are asked afterwards whether they answer with the new addresses. Default: the
    /// servers that the zone's NS records name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "verify_servers")]
    pub verify_servers: Option<Vec<String>>,

    /// Secret with `name`, `algorithm` and `secret` (base64) of the TSIG key that signs updates.
    pub tsig_secret_ref: Reference,

    /// The addresses of each site: exactly one entry for every site of `spec.sites`.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["site".into()]))]
    #[schemars(length(min = 1, max = 5))]
    pub addresses: Vec<Addresses>,
}

/// The public addresses of one site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Addresses {
    /// The site, as in `spec.sites`.
    #[schemars(schema_with = "text::label::schema")]
    pub site: String,

    /// IPv4 and IPv6 addresses where the site serves users. Example: `["192.0.2.10"]`.
    #[schemars(schema_with = "addresses")]
    pub values: Vec<String>,
}

fn update_servers(generator: &mut SchemaGenerator) -> Schema {
    text::set_schema(&text::socket::schema(generator), 8)
}

fn verify_servers(generator: &mut SchemaGenerator) -> Schema {
    text::set_schema(&text::socket::schema(generator), 16)
}

fn addresses(generator: &mut SchemaGenerator) -> Schema {
    text::set_schema(&text::ip::schema(generator), 8)
}

fn thirty_seconds() -> String {
    "30s".to_owned()
}
