use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{
    reference::Reference,
    text::{self, bounds},
};

/// One way by which users reach the application. Exactly one member besides `name`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.dns), has(self.httpRoute)].filter(m, m).size() == 1")
        .message("traffic[]: expected exactly one member beside name: dns or httpRoute"),
)]
pub struct Traffic {
    /// Name of this entry in status, metrics and the journal. Unique in the list. Example: `public`.
    #[schemars(schema_with = "text::label::schema")]
    pub name: String,

    /// Address records of one DNS name, changed by dynamic update (RFC 2136).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Dns")]
    pub dns: Option<Dns>,

    /// Weights of a Gateway API HTTPRoute in each site's own cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HttpRoute")]
    pub http_route: Option<HttpRoute>,
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

/// Weights of an HTTPRoute (`gateway.networking.k8s.io/v1`) that every site has in its own cluster,
/// under the same name and in the policy's namespace.
///
/// In each rule the backend of the site that serves gets weight 100 and those of the other sites 0.
/// Every site's operator writes the route of its own cluster and no other, so requests that reach a
/// gateway of a site that stands by are passed on to the site that serves. How the backend of another
/// site is reached from here is yours to arrange: a Service with EndpointSlices of your own, a
/// multi-cluster Service, a tunnel.
///
/// The weights carry the epoch and the serial of the record in the annotation
/// `bascule.dev/points-at` of the route: an operator that is behind cannot move them back. Nothing
/// else of the route is changed, unless `refuseWrites` asks for it. During a hold
/// (`failover.serveReads`) all requests, reads and writes alike, go to the site that serves reads;
/// without `refuseWrites` it is the work of `workloads[].readOnly` that its application refuses writes.
///
/// A GitOps tool that applies the route must leave its weights alone; the guide has the lines for
/// Flux and Argo CD. Weights that somebody else sets back are written again, and reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRoute {
    /// Name of the HTTPRoute, the same in every site's cluster. Example: `web`.
    #[schemars(schema_with = "text::object_name::schema")]
    pub name: String,

    /// Names of the rules whose weights are Bascule's (`spec.rules[].name` of the route). Every one of
    /// them must have the backend of every site, and no other backend with a weight.
    /// Default: every rule that has at least one of the backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules")]
    pub rules: Option<Vec<String>>,

    /// The backend that leads to each site: exactly one entry for every site of `spec.sites`. The names
    /// are the same in the route of every cluster: in paris `web-paris` is the application itself, in
    /// lyon it is the way to paris.
    /// Example: `[{site: paris, service: web-paris, port: 80}, {site: lyon, service: web-lyon, port: 80}]`.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["site".into()]))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.service == a.service && b.port == a.port))")
        .message("traffic[].httpRoute.backends: two sites have the same service and port; moving between them would change nothing for users"))]
    #[schemars(length(min = 1, max = 5))]
    pub backends: Vec<Backend>,

    /// Gateways answer writes themselves while nobody accepts any: during a hold, and during a switchover
    /// from the moment the target is ready. Left out: all requests reach the application.
    ///
    /// Each request of the methods POST, PUT, PATCH and DELETE gets 503 with `Retry-After` from Bascule's
    /// responder, with the text that `notifications.users[].readOnly` has in the client's language; reads
    /// are served. The operator puts rules of its own, called `bascule-refuses-writes`, behind the
    /// route's and takes them away afterwards; they repeat what the rules with the backends match, with
    /// each of those methods, and carry the epoch and the serial of the record in the annotation
    /// `bascule.dev/writes`.
    ///
    /// It needs the chart's `responder.enabled` in every site, and this namespace in its
    /// `responder.namespaces`. It is a better answer than most applications give, and no fence: where it
    /// cannot be done nothing waits for it, and `bascule check` says why. Example: `{retryAfter: 30s}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RefuseWrites")]
    pub refuse_writes: Option<RefuseWrites>,
}

/// How gateways answer writes while nobody accepts any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RefuseWrites {
    /// When clients are asked to try again (`Retry-After`). Whole seconds from `1s` to `1h`.
    /// Default: `30s`.
    #[serde(default = "thirty_seconds")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::RETRY_AFTER.rule())]
    #[x_kube(validation = Rule::new("!self.endsWith('ms')").message("traffic[].httpRoute.refuseWrites.retryAfter: expected whole seconds: HTTP knows no less"))]
    pub retry_after: String,

    /// Names of rules of the route whose requests reach the application all the same: those that read
    /// by POST, such as a search or GraphQL queries. Default: none. Example: `[search]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules")]
    pub except_rules: Option<Vec<String>>,
}

/// The backend of an HTTPRoute that leads to one site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// The site, as in `spec.sites`.
    #[schemars(schema_with = "text::label::schema")]
    pub site: String,

    /// Name of the Service in the policy's namespace, as the route's `backendRefs` have it.
    /// Example: `web-paris`.
    #[schemars(schema_with = "text::object_name::schema")]
    pub service: String,

    /// Port of the Service, as the route's `backendRefs` have it. Example: `80`.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

fn rules(generator: &mut SchemaGenerator) -> Schema {
    text::set_schema(&text::object_name::schema(generator), 16)
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
