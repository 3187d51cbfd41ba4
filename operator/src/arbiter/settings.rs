//! What a member runs with: the same settings for one in a cluster, which gets them as arguments from the chart's values,
//! and for one on a machine, which reads them from a file.

use serde_json::{Map, Value, json};

use super::description::{Described, Description};

/// How large a member's store may become: records and facts of thousands of policies are a tenth of it.
pub const QUOTA: u64 = 256 << 20;
/// For how long what was overwritten is kept. A watch that was away for longer reads everything anew.
pub const KEEPS: &str = "10m";
/// Where a member on a machine says how it is, to that machine alone.
pub const METRICS: &str = "http://127.0.0.1:2381";

/// etcd's configuration file for a member.
pub fn of(about: &Description, member: &Described, certificates: &str, data: &str) -> Value {
    let timing = about.timing();
    let anywhere = if member.host.contains(':') { "[::]" } else { "0.0.0.0" };
    let file = |name: &str| format!("{certificates}/{name}");
    let mut settings = Map::new();
    let mut set = |name: &str, value: Value| {
        settings.insert(name.to_owned(), value);
    };
    set("name", json!(member.name));
    set("data-dir", json!(data));
    set("listen-client-urls", json!(format!("https://{anywhere}:{}", member.client_port())));
    set("advertise-client-urls", json!(member.client_url));
    set("listen-peer-urls", json!(format!("https://{anywhere}:{}", member.peer_port())));
    set("initial-advertise-peer-urls", json!(member.peer_url));
    set("listen-metrics-urls", json!(METRICS));
    set("initial-cluster", json!(about.initial_cluster()));
    set("initial-cluster-token", json!(about.token));
    set("initial-cluster-state", json!("new"));
    set("heartbeat-interval", json!(timing.heartbeat.as_millis() as u64));
    set("election-timeout", json!(timing.election.as_millis() as u64));
    set("quota-backend-bytes", json!(QUOTA));
    set("auto-compaction-mode", json!("periodic"));
    set("auto-compaction-retention", json!(KEEPS));
    // It would need a client's certificate of its own, and nobody uses it.
    set("enable-grpc-gateway", json!(false));
    set(
        "client-transport-security",
        json!({
            "client-cert-auth": true,
            "trusted-ca-file": file("client-ca.crt"),
            "cert-file": file("server.crt"),
            "key-file": file("server.key"),
        }),
    );
    set(
        "peer-transport-security",
        json!({
            "client-cert-auth": true,
            "trusted-ca-file": file("peer-ca.crt"),
            "cert-file": file("peer.crt"),
            "key-file": file("peer.key"),
            // A member that connects comes from its node's or its gateway's address, which is none of its names. Who it is
            // says the authority, which signs for members alone.
            "skip-client-san-verification": true,
        }),
    );
    Value::Object(settings)
}
