//! Objects that the API accepts and objects that it refuses, with the words of the refusal.
//!
//! One table for both ways in: the API server must judge by it, and so must the intake from git.

// Shared by the tests of two crates, each of which uses a part of it.
#![allow(unreachable_pub, dead_code, clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};

/// One object: a base object, changed.
pub struct Case {
    /// What the case shows.
    pub name: &'static str,
    /// The base: `policy`, `move` or `source`.
    pub base: &'static str,
    /// JSON pointers and what is put there; nothing removes.
    pub change: Vec<(&'static str, Option<Value>)>,
    /// Words of the refusal; nothing means accepted.
    pub refused: Option<&'static str>,
}

impl Case {
    /// The object of this case.
    pub fn object(&self) -> Value {
        let mut object = base(self.base);
        for (pointer, value) in &self.change {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("{}: no {pointer}", self.name));
            match (parent, value) {
                (Value::Object(map), Some(value)) => {
                    map.insert(key.to_owned(), value.clone());
                }
                (Value::Object(map), None) => {
                    assert!(map.remove(key).is_some(), "{}: no {pointer}", self.name);
                }
                (Value::Array(list), Some(value)) if key == "-" => list.push(value.clone()),
                (Value::Array(list), Some(value)) => list[key.parse::<usize>().unwrap()] = value.clone(),
                (Value::Array(list), None) => {
                    list.remove(key.parse::<usize>().unwrap());
                }
                _ => panic!("{}: cannot change {pointer}", self.name),
            }
        }
        object
    }
}

/// Weights of a route with a backend in paris and this one in lyon.
fn gateway(lyon: &str) -> Value {
    json!({
        "name": "web",
        "backends": [
            { "site": "paris", "service": "web-paris", "port": 80 },
            { "site": "lyon", "service": lyon, "port": 80 }
        ]
    })
}

/// A whole, valid object of each kind.
pub fn base(kind: &str) -> Value {
    match kind {
        "policy" => policy(),
        "move" => json!({
            "apiVersion": "bascule.dev/v1alpha1", "kind": "Move", "metadata": { "name": "m", "namespace": "default" },
            "spec": {
                "policyRef": { "name": "shop" }, "type": "Switchover", "from": "paris", "to": "lyon", "epoch": 3,
                "notBefore": "2026-11-28T12:00:00Z", "notAfter": "2026-11-28T14:00:00Z", "reason": "kernel update"
            }
        }),
        "source" => json!({
            "apiVersion": "bascule.dev/v1alpha1", "kind": "PolicySource", "metadata": { "name": "s", "namespace": "default" },
            "spec": { "url": "https://git.example.org/ops/policies.git", "ref": { "branch": "main" }, "path": "clusters/shop" }
        }),
        other => panic!("no base {other}"),
    }
}

fn policy() -> Value {
    let instance = |site: &str, address: &str| {
        json!({
            "site": site, "statefulSet": "main", "host": "main.shop.svc", "replicationHost": address,
            "secretRef": { "name": "main-bascule" }, "replicationSecretRef": { "name": "main-replication" }
        })
    };
    json!({
        "apiVersion": "bascule.dev/v1alpha1", "kind": "FailoverPolicy", "metadata": { "name": "shop", "namespace": "default" },
        "spec": {
            "sites": [{ "name": "paris" }, { "name": "lyon" }],
            "initialSite": "paris",
            "failover": {
                "serveReads": { "after": "10s", "returnAfter": "5m" },
                "promote": { "after": "30m", "maxDataLoss": { "bytes": "16Mi", "time": "30s" } },
                "databaseLost": { "offerFor": "10s", "restartGrace": "2m" },
                "cooldown": "1h"
            },
            "databases": [{
                "name": "main",
                "postgresql": { "fence": "Guard", "instances": [instance("paris", "203.0.113.10"), instance("lyon", "198.51.100.10")] }
            }],
            "workloads": [{
                "name": "web",
                "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
                "replicas": { "standby": 0, "readOnly": 2 },
                "readOnly": {
                    "configMapKey": { "name": "web-flags", "key": "READ_ONLY", "readOnlyValue": "1", "readWriteValue": "0" },
                    "verify": { "httpGet": { "path": "/mode", "port": 8080, "expectBody": "read-only" } }
                }
            }],
            "traffic": [{
                "name": "public",
                "dns": {
                    "name": "www.shop.example.", "zone": "shop.example.", "ttl": "5s",
                    "updateServers": ["192.0.2.53:53", "198.51.100.53:53"], "verifyServers": ["192.0.2.53:53"],
                    "tsigSecretRef": { "name": "dns-key" },
                    "addresses": [{ "site": "paris", "values": ["192.0.2.10"] }, { "site": "lyon", "values": ["198.51.100.10", "2001:db8::10"] }]
                }
            }]
        }
    })
}

/// The whole table.
#[rustfmt::skip] // one case, one line
pub fn cases() -> Vec<Case> {
    let good = |name, base, change| Case { name, base, change, refused: None };
    let bad = |name, base, change, refused| Case { name, base, change, refused: Some(refused) };
    let set = |pointer: &'static str, value: Value| vec![(pointer, Some(value))];
    let remove = |pointer: &'static str| vec![(pointer, None)];
    let called = |calls: Value| vec![("/spec/workloads/0/readOnly/configMapKey", None), ("/spec/workloads/0/readOnly/httpCall", Some(calls))];
    let mut cases = vec![
        good("the whole policy", "policy", vec![]),
        good("no failover section", "policy", remove("/spec/failover")),
        good("an empty failover section", "policy", set("/spec/failover", json!({}))),
        good("a suspended policy", "policy", set("/spec/suspend", json!(true))),
        good("traffic alone", "policy", vec![("/spec/databases", None), ("/spec/workloads", None)]),
        good("promotion at once", "policy", set("/spec/failover/promote/after", json!("0s"))),
        good("promotion never, without bounds", "policy", set("/spec/failover/promote", json!({ "after": "Never" }))),
        good("reads never", "policy", set("/spec/failover/serveReads/after", json!("Never"))),
        good("an hour and a half", "policy", set("/spec/failover/promote/after", json!("1h30m"))),
        good("a proof at the pod's own port", "policy", remove("/spec/workloads/0/readOnly/verify/httpGet/port")),
        good("a flag in a Secret", "policy", set("/spec/workloads/0/readOnly", json!({ "secretKey": { "name": "f", "key": "k", "readOnlyValue": "on", "readWriteValue": "" } }))),
        good("an IPv6 name server", "policy", set("/spec/traffic/0/dns/updateServers", json!(["[2001:db8::53]:53"]))),
        good("the zone's own name", "policy", set("/spec/traffic/0/dns/name", json!("shop.example."))),
        bad("a name server's name", "policy", set("/spec/traffic/0/dns/updateServers", json!(["ns1.example.:53"])), "found 'ns1.example.:53', expected an address and a port such as 192.0.2.53:53"),
        bad("a name server without a port", "policy", set("/spec/traffic/0/dns/updateServers", json!(["192.0.2.53"])), "expected an address and a port"),
        bad("a name server's port that cannot be", "policy", set("/spec/traffic/0/dns/updateServers", json!(["192.0.2.53:65536"])), "expected an address and a port"),
        bad("one site", "policy", set("/spec/sites", json!([{ "name": "paris" }])), "spec.sites"),
        bad("six sites", "policy", set("/spec/sites", json!([{ "name": "a" }, { "name": "b" }, { "name": "c" }, { "name": "d" }, { "name": "e" }, { "name": "f" }])), "spec.sites"),
        bad("the same site twice", "policy", set("/spec/sites/1/name", json!("paris")), "spec.sites[1]: Duplicate value"),
        bad("a site that is not a name", "policy", set("/spec/sites/1/name", json!("Lyon")), "found 'Lyon', expected a name of at most 63 lower-case letters"),
        bad("an initial site that is none", "policy", set("/spec/initialSite", json!("rome")), "initialSite: found 'rome', expected one of spec.sites: paris, lyon"),
        bad("no initial site", "policy", remove("/spec/initialSite"), "spec.initialSite"),
        bad("nothing to do", "policy", vec![("/spec/databases", None), ("/spec/workloads", None), ("/spec/traffic", None)], "the policy would do nothing: expected at least one entry in databases, workloads or traffic"),
        bad("a site without its server", "policy", remove("/spec/databases/0/postgresql/instances/1"), "databases[].postgresql.instances: expected exactly one entry for each site of spec.sites (paris, lyon)"),
        bad("a server of an unknown site", "policy", set("/spec/databases/0/postgresql/instances/1/site", json!("rome")), "databases[].postgresql.instances: expected exactly one entry for each site"),
        bad("two servers of one site", "policy", set("/spec/databases/0/postgresql/instances/1/site", json!("paris")), "spec.databases[0].postgresql.instances[1]: Duplicate value"),
        bad("a site without addresses", "policy", remove("/spec/traffic/0/dns/addresses/1"), "traffic[].dns.addresses: expected exactly one entry for each site of spec.sites (paris, lyon)"),
        bad("an empty list of addresses", "policy", set("/spec/traffic/0/dns/addresses/1/values", json!([])), "spec.traffic[0].dns.addresses[1].values"),
        bad("an address that is none", "policy", set("/spec/traffic/0/dns/addresses/1/values", json!(["198.51.100.256"])), "found '198.51.100.256', expected an IP address"),
        bad("the same address twice", "policy", set("/spec/traffic/0/dns/addresses/1/values", json!(["192.0.2.1", "192.0.2.1"])), "spec.traffic[0].dns.addresses[1].values[1]: Duplicate value"),
        bad("a name outside its zone", "policy", set("/spec/traffic/0/dns/name", json!("www.other.example.")), "traffic[].dns.name: found 'www.other.example.', expected a name in the zone 'shop.example.'"),
        bad("a name that only ends like its zone", "policy", set("/spec/traffic/0/dns/name", json!("myshop.example.")), "expected a name in the zone"),
        bad("a name without the dot at its end", "policy", set("/spec/traffic/0/dns/name", json!("www.shop.example")), "found 'www.shop.example', expected a full DNS name in lower case with a dot at the end"),
        bad("a workload with nothing to do", "policy", vec![("/spec/workloads/0/replicas", None), ("/spec/workloads/0/readOnly", None)], "workloads[]: nothing to do for this workload: expected replicas, readOnly or both"),
        bad("two workloads of one name", "policy", set("/spec/workloads/-", json!({ "name": "web", "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "other" }, "replicas": { "standby": 0 } })), "spec.workloads[1]: Duplicate value"),
        bad("no replicas at all", "policy", set("/spec/workloads/0/replicas", json!({})), "workloads[].replicas: expected at least one of active, readOnly, standby"),
        bad("fewer than no replicas", "policy", set("/spec/workloads/0/replicas/standby", json!(-1)), "spec.workloads[0].replicas.standby"),
        bad("a workload of another API", "policy", set("/spec/workloads/0/targetRef/apiVersion", json!("batch/v1")), "workloads[].targetRef.apiVersion: found 'batch/v1', expected apps/v1"),
        bad("a workload of another kind", "policy", set("/spec/workloads/0/targetRef/kind", json!("DaemonSet")), "spec.workloads[0].targetRef.kind: Unsupported value: \"DaemonSet\""),
        bad("no flag", "policy", remove("/spec/workloads/0/readOnly/configMapKey"), "workloads[].readOnly: expected exactly one of configMapKey, secretKey, environment, annotation, httpCall"),
        bad("two flags", "policy", set("/spec/workloads/0/readOnly/secretKey", json!({ "name": "f", "key": "k", "readOnlyValue": "1", "readWriteValue": "0" })), "workloads[].readOnly: expected exactly one of configMapKey, secretKey, environment, annotation, httpCall"),
        bad("a flag that says nothing", "policy", set("/spec/workloads/0/readOnly/configMapKey/readWriteValue", json!("1")), "workloads[].readOnly.configMapKey: readOnlyValue and readWriteValue are the same"),
        bad("a key that cannot be one", "policy", set("/spec/workloads/0/readOnly/configMapKey/key", json!("READ ONLY")), "found 'READ ONLY', expected a key of at most 253 letters"),
        bad("a probe without a slash", "policy", set("/spec/workloads/0/readOnly/verify/httpGet/path", json!("mode")), "found 'mode', expected a path that begins with a slash"),
        bad("a proof without a question", "policy", set("/spec/workloads/0/readOnly/verify", json!({})), "workloads[].readOnly.verify: expected httpGet"),
        good("a flag in the environment", "policy", set("/spec/workloads/0/readOnly", json!({ "environment": { "name": "READ_ONLY", "readOnlyValue": "1", "readWriteValue": "" } }))),
        good("a flag in the environment of one container", "policy", set("/spec/workloads/0/readOnly", json!({ "environment": { "container": "web", "name": "shop.read-only", "readOnlyValue": "1", "readWriteValue": "0" } }))),
        good("a flag in an annotation", "policy", set("/spec/workloads/0/readOnly", json!({ "annotation": { "of": "Workload", "key": "shop.example/read-only", "readOnlyValue": "1", "readWriteValue": "0" } }))),
        good("a flag in an annotation of the template", "policy", set("/spec/workloads/0/readOnly", json!({ "annotation": { "of": "PodTemplate", "key": "readOnly", "readOnlyValue": "1", "readWriteValue": "" } }))),
        bad("an annotation that says nothing", "policy", set("/spec/workloads/0/readOnly", json!({ "annotation": { "of": "Workload", "key": "a", "readOnlyValue": "1", "readWriteValue": "1" } })), "workloads[].readOnly.annotation: readOnlyValue and readWriteValue are the same"),
        bad("an annotation that cannot be one", "policy", set("/spec/workloads/0/readOnly", json!({ "annotation": { "of": "Workload", "key": "Shop/read-only", "readOnlyValue": "1", "readWriteValue": "0" } })), "found 'Shop/read-only', expected the key of an annotation"),
        bad("an annotation of a pod", "policy", set("/spec/workloads/0/readOnly", json!({ "annotation": { "of": "Pod", "key": "a", "readOnlyValue": "1", "readWriteValue": "0" } })), "spec.workloads[0].readOnly.annotation.of: Unsupported value: \"Pod\""),
        good("a flag by calls", "policy", called(json!({ "readOnly": { "method": "PUT", "path": "/read-only" }, "readWrite": { "method": "DELETE", "path": "/read-only" } }))),
        good("a flag by calls with all that they can have", "policy", called(json!({ "port": 8081, "readOnly": { "method": "POST", "path": "/mode", "body": "{\"readOnly\": true}", "contentType": "application/json; charset=utf-8", "expectStatus": 204 }, "readWrite": { "method": "PATCH", "path": "/mode", "body": "{}" } }))),
        bad("calls without a proof", "policy", set("/spec/workloads/0/readOnly", json!({ "httpCall": { "readOnly": { "method": "PUT", "path": "/read-only" }, "readWrite": { "method": "DELETE", "path": "/read-only" } } })), "workloads[].readOnly.httpCall: expected verify beside it"),
        bad("calls that say nothing", "policy", called(json!({ "readOnly": { "method": "PUT", "path": "/mode" }, "readWrite": { "method": "PUT", "path": "/mode" } })), "workloads[].readOnly.httpCall: readOnly and readWrite are the same"),
        bad("a call that only asks", "policy", called(json!({ "readOnly": { "method": "GET", "path": "/read-only" }, "readWrite": { "method": "DELETE", "path": "/read-only" } })), "spec.workloads[0].readOnly.httpCall.readOnly.method: Unsupported value: \"GET\""),
        bad("a call without a slash", "policy", called(json!({ "readOnly": { "method": "PUT", "path": "read-only" }, "readWrite": { "method": "DELETE", "path": "/read-only" } })), "found 'read-only', expected a path that begins with a slash"),
        bad("a body of no kind", "policy", called(json!({ "readOnly": { "method": "PUT", "path": "/mode", "body": "on", "contentType": "text" }, "readWrite": { "method": "DELETE", "path": "/mode" } })), "found 'text', expected a media type such as application/json"),
        bad("a status that cannot be expected", "policy", called(json!({ "readOnly": { "method": "PUT", "path": "/mode", "expectStatus": 100 }, "readWrite": { "method": "DELETE", "path": "/mode" } })), "spec.workloads[0].readOnly.httpCall.readOnly.expectStatus"),
        bad("calls to another namespace", "policy", called(json!({ "host": "other", "readOnly": { "method": "PUT", "path": "/mode" }, "readWrite": { "method": "DELETE", "path": "/mode" } })), "host"),
        bad("a variable that says nothing", "policy", set("/spec/workloads/0/readOnly", json!({ "environment": { "name": "READ_ONLY", "readOnlyValue": "1", "readWriteValue": "1" } })), "workloads[].readOnly.environment: readOnlyValue and readWriteValue are the same"),
        bad("a variable that cannot be one", "policy", set("/spec/workloads/0/readOnly", json!({ "environment": { "name": "2_READ", "readOnlyValue": "1", "readWriteValue": "0" } })), "found '2_READ', expected the name of a variable: at most 253 letters"),
        bad("a container that cannot be one", "policy", set("/spec/workloads/0/readOnly", json!({ "environment": { "container": "Web", "name": "READ_ONLY", "readOnlyValue": "1", "readWriteValue": "0" } })), "found 'Web', expected a name of at most 63"),
        bad("a key and a variable", "policy", set("/spec/workloads/0/readOnly/environment", json!({ "name": "READ_ONLY", "readOnlyValue": "1", "readWriteValue": "0" })), "workloads[].readOnly: expected exactly one of configMapKey, secretKey, environment, annotation, httpCall"),
        bad("promotion without bounds", "policy", remove("/spec/failover/promote/maxDataLoss"), "promote.maxDataLoss is missing: promotion by itself ('after' is not Never) needs both bounds"),
        bad("one bound only", "policy", remove("/spec/failover/promote/maxDataLoss/time"), "spec.failover.promote.maxDataLoss.time"),
        bad("a size in other units", "policy", set("/spec/failover/promote/maxDataLoss/bytes", json!("16MB")), "found '16MB', expected a size such as 0, 500Ki, 16Mi or 2Gi"),
        bad("a size as a number", "policy", set("/spec/failover/promote/maxDataLoss/bytes", json!(16)), "spec.failover.promote.maxDataLoss.bytes"),
        bad("a number without its unit", "policy", set("/spec/failover/cooldown", json!("90")), "found '90', expected a duration from 0s to 168h such as 10s, 5m or 1h30m"),
        bad("a duration too long", "policy", set("/spec/failover/cooldown", json!("169h")), "found '169h', expected a duration from 0s to 168h"),
        bad("never where it is not allowed", "policy", set("/spec/failover/cooldown", json!("Never")), "found 'Never', expected a duration from 0s to 168h"),
        bad("a TTL of half a second more", "policy", set("/spec/traffic/0/dns/ttl", json!("1s500ms")), "expected whole seconds: DNS knows no less"),
        bad("a proof by nothing", "policy", set("/spec/workloads/0/readOnly/verify/httpGet/expectBody", json!(" ")), "expectBody: found nothing"),
        bad("a switchover without time", "policy", set("/spec/failover/switchoverDeadline", json!("1s")), "found '1s', expected a duration from 5s to 1h"),
        bad("a TTL of nothing", "policy", set("/spec/traffic/0/dns/ttl", json!("0s")), "found '0s', expected a duration from 1s to 1h"),
        bad("a server host with a port", "policy", set("/spec/databases/0/postgresql/instances/0/host", json!("main:5432")), "found 'main:5432', expected a host name or an IP address without a port"),
        bad("a port that cannot be", "policy", set("/spec/databases/0/postgresql/instances/0/port", json!(65536)), "spec.databases[0].postgresql.instances[0].port"),
        bad("no kind of database", "policy", remove("/spec/databases/0/postgresql"), "databases[]: expected exactly one member beside name: postgresql"),
        bad("no kind of traffic", "policy", remove("/spec/traffic/0/dns"), "traffic[]: expected exactly one member beside name: dns or httpRoute"),
        good("weights of a gateway", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": gateway("web-lyon") }))),
        good("weights of some rules", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": { "name": "web", "rules": ["pages", "forms"], "backends": gateway("web-lyon")["backends"].clone() } }))),
        good("a gateway that refuses writes", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": { "name": "web", "backends": gateway("web-lyon")["backends"].clone(), "refuseWrites": {} } }))),
        good("a gateway that refuses writes of some rules", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": { "name": "web", "backends": gateway("web-lyon")["backends"].clone(), "refuseWrites": { "retryAfter": "2m", "exceptRules": ["search"] } } }))),
        bad("a wait that HTTP cannot say", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": { "name": "web", "backends": gateway("web-lyon")["backends"].clone(), "refuseWrites": { "retryAfter": "1500ms" } } })), "expected whole seconds: HTTP knows no less"),
        bad("a wait of a day", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": { "name": "web", "backends": gateway("web-lyon")["backends"].clone(), "refuseWrites": { "retryAfter": "24h" } } })), "found '24h', expected a duration from 1s to 1h"),
        bad("a responder of the policy's choice", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": { "name": "web", "backends": gateway("web-lyon")["backends"].clone(), "refuseWrites": { "service": "other" } } })), "service"),
        bad("both kinds of traffic", "policy", set("/spec/traffic/0/httpRoute", gateway("web-lyon")), "traffic[]: expected exactly one member beside name: dns or httpRoute"),
        bad("a site without a backend", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": { "name": "web", "backends": [{ "site": "paris", "service": "web-paris", "port": 80 }] } })), "traffic[].httpRoute.backends: expected exactly one entry for each site of spec.sites (paris, lyon)"),
        bad("one backend for two sites", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": gateway("web-paris") })), "traffic[].httpRoute.backends: two sites have the same service and port"),
        bad("a route of another namespace", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": { "name": "web", "namespace": "other", "backends": gateway("web-lyon")["backends"].clone() } })), "namespace"),
        bad("a role's Secret of another namespace", "policy", set("/spec/databases/0/postgresql/instances/0/secretRef/namespace", json!("other")), "namespace"),
        bad("replication's Secret of another namespace", "policy", set("/spec/databases/0/postgresql/instances/0/replicationSecretRef/namespace", json!("other")), "namespace"),
        bad("a StatefulSet of another namespace", "policy", set("/spec/databases/0/postgresql/instances/0/namespace", json!("other")), "namespace"),
        bad("a workload of another namespace", "policy", set("/spec/workloads/0/targetRef/namespace", json!("other")), "namespace"),
        bad("a flag of another namespace", "policy", set("/spec/workloads/0/readOnly/configMapKey/namespace", json!("other")), "namespace"),
        bad("a secret flag of another namespace", "policy", vec![("/spec/workloads/0/readOnly/configMapKey", None), ("/spec/workloads/0/readOnly/secretKey", Some(json!({ "name": "web-flags", "namespace": "other", "key": "READ_ONLY", "readOnlyValue": "1", "readWriteValue": "0" })))], "namespace"),
        bad("a key of name servers of another namespace", "policy", set("/spec/traffic/0/dns/tsigSecretRef/namespace", json!("other")), "namespace"),
        bad("a policy of another namespace", "move", set("/spec/policyRef/namespace", json!("other")), "namespace"),
        bad("credentials of another namespace", "source", set("/spec/secretRef", json!({ "name": "git", "namespace": "other" })), "namespace"),
        bad("a workload's name that leads elsewhere", "policy", set("/spec/workloads/0/targetRef/name", json!("../other/web")), "spec.workloads[0].targetRef.name"),
        bad("one route for two entries", "policy", set("/spec/traffic", json!([{ "name": "a", "httpRoute": gateway("web-lyon") }, { "name": "b", "httpRoute": gateway("web-lyon") }])), "traffic[].httpRoute.name: two entries name the same HTTPRoute"),
        bad("no rule of a route", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": { "name": "web", "rules": [], "backends": gateway("web-lyon")["backends"].clone() } })), "rules"),
        bad("a backend without a port", "policy", set("/spec/traffic/-", json!({ "name": "gateway", "httpRoute": { "name": "web", "backends": [{ "site": "paris", "service": "web-paris", "port": 0 }, { "site": "lyon", "service": "web-lyon", "port": 80 }] } })), "port"),
        bad("probes", "policy", set("/spec/probes", json!([{ "name": "a" }])), "probes is not supported by this version of Bascule yet; remove it"),
        good("people told", "policy", set("/spec/notifications", json!({ "channels": ["ops-mail"], "users": [{ "language": "fr", "channels": ["customers-fr"], "subject": "Boutique", "readOnly": "Lecture seule.", "back": "Tout est revenu." }] }))),
        good("administrators alone", "policy", set("/spec/notifications", json!({ "channels": ["ops-mail", "ops-chat"] }))),
        bad("nobody told", "policy", set("/spec/notifications", json!({})), "notifications: nobody would be told: expected at least one entry in channels or users"),
        bad("notifications as they were reserved", "policy", set("/spec/notifications", json!([{ "name": "a" }])), "spec.notifications"),
        bad("an address instead of a channel", "policy", set("/spec/notifications", json!({ "channels": ["ops@example.org"] })), "found 'ops@example.org', expected a name of at most 63 lower-case letters"),
        bad("a channel twice", "policy", set("/spec/notifications", json!({ "channels": ["ops", "ops"] })), "spec.notifications.channels[1]: Duplicate value"),
        bad("an address of a channel", "policy", set("/spec/notifications", json!({ "channels": ["ops"], "url": "https://example.org" })), "url"),
        bad("users without words", "policy", set("/spec/notifications", json!({ "users": [{ "language": "fr", "channels": ["a"], "subject": "s" }] })), "notifications.users[]: nothing would be told: expected at least one of readOnly, moved, back, planned"),
        bad("users of no channel", "policy", set("/spec/notifications", json!({ "users": [{ "language": "fr", "channels": [], "subject": "s", "back": "b" }] })), "spec.notifications.users[0].channels"),
        bad("a language that is none", "policy", set("/spec/notifications", json!({ "users": [{ "language": "French", "channels": ["a"], "subject": "s", "back": "b" }] })), "found 'French', expected a language such as fr, en or pt-br"),
        bad("blank words", "policy", set("/spec/notifications", json!({ "users": [{ "language": "fr", "channels": ["a"], "subject": "s", "back": " " }] })), "expected a text of at most 4000 characters that is not blank"),
        bad("a subject of two lines", "policy", set("/spec/notifications", json!({ "users": [{ "language": "fr", "channels": ["a"], "subject": "s\nBcc: all@example.org", "back": "b" }] })), "expected one line of at most 200 characters that is not blank"),
        bad("a long name", "policy", set("/metadata/name", json!("a".repeat(64))), "metadata.name: expected at most 63 lower-case letters, digits and hyphens"),
        bad("a name with dots", "policy", set("/metadata/name", json!("shop.example")), "metadata.name: expected at most 63 lower-case letters, digits and hyphens"),
    ];
    for fence in ["Gate", "External", "Advisory"] {
        let words: &'static str = match fence {
            "Gate" => "databases[].postgresql.fence: Gate is not supported by this version of Bascule yet for postgresql; use Guard",
            "External" => "databases[].postgresql.fence: External is not supported",
            _ => "databases[].postgresql.fence: Advisory is not supported",
        };
        cases.push(bad("another fence", "policy", set("/spec/databases/0/postgresql/fence", json!(fence)), words));
    }
    for (kind, words) in [
        ("cloudNativePG", "databases[].cloudNativePG is not supported by this version of Bascule yet; use postgresql"),
        ("patroni", "databases[].patroni is not supported by this version"),
        ("mariadb", "databases[].mariadb is not supported by this version"),
        ("redis", "databases[].redis is not supported by this version"),
        ("volumeReplication", "databases[].volumeReplication is not supported by this version"),
    ] {
        let mut database = json!({ "name": "main" });
        database[kind] = json!({ "cluster": "main", "anything": [1, { "goes": "here" }] });
        cases.push(bad("another kind of database", "policy", set("/spec/databases/0", database), words));
    }
    cases.extend([
        good("a switchover", "move", vec![]),
        good("a switchover of several policies", "move", vec![("/spec/policyRef", None), ("/spec/epoch", None), ("/spec/policySelector", Some(json!({ "matchLabels": { "tier": "customer" } })))]),
        good("a failover", "move", set("/spec/type", json!("Failover"))),
        good("a failover on a person's word", "move", vec![("/spec/type", Some(json!("Failover"))), ("/spec/serial", Some(json!(17))), ("/spec/sourceStopped", Some(json!("A. Martin saw the rack powered off"))), ("/spec/acceptDataLoss", Some(json!(true)))]),
        good("a hold", "move", vec![("/spec/type", Some(json!("Hold"))), ("/spec/from", None), ("/spec/to", None)]),
        good("a resume", "move", vec![("/spec/type", Some(json!("Resume"))), ("/spec/from", None), ("/spec/to", None), ("/spec/notAfter", None)]),
        bad("no policy", "move", remove("/spec/policyRef"), "expected exactly one of policyRef, policySelector"),
        bad("a policy and a selector", "move", set("/spec/policySelector", json!({ "matchLabels": { "a": "b" } })), "expected exactly one of policyRef, policySelector"),
        bad("a selector of everything", "move", vec![("/spec/policyRef", None), ("/spec/policySelector", Some(json!({ "matchLabels": {} })))], "policySelector.matchLabels: expected at least one label"),
        bad("no reason", "move", remove("/spec/reason"), "spec.reason"),
        bad("a blank reason", "move", set("/spec/reason", json!(" \t\n")), "reason: found nothing, expected why this is done"),
        bad("no epoch", "move", remove("/spec/epoch"), "epoch is missing: write the epoch that status.epoch of the policy shows"),
        bad("a selector without epoch and end", "move", vec![("/spec/policyRef", None), ("/spec/epoch", None), ("/spec/notAfter", None), ("/spec/policySelector", Some(json!({ "matchLabels": { "a": "b" } })))], "notAfter is missing: a Move with a policySelector and without an epoch"),
        bad("a hold without end", "move", vec![("/spec/type", Some(json!("Hold"))), ("/spec/from", None), ("/spec/to", None), ("/spec/notAfter", None)], "notAfter is missing: a Hold needs a time at which it ends"),
        bad("a hold with a target", "move", set("/spec/type", json!("Hold")), "from and to belong to Switchover and Failover only"),
        bad("a switchover from nowhere", "move", remove("/spec/from"), "a Switchover or Failover needs from"),
        bad("a switchover to nowhere", "move", remove("/spec/to"), "a Switchover or Failover needs from"),
        bad("a switchover to where it is", "move", set("/spec/to", json!("paris")), "from and to are both 'paris'; expected two different sites"),
        bad("an end before the beginning", "move", set("/spec/notAfter", json!("2026-11-28T12:00:00Z")), "notAfter is not later than notBefore"),
        bad("a time without a zone", "move", set("/spec/notAfter", json!("2026-11-28T14:00:00")), "spec.notAfter"),
        good("a time in another zone", "move", set("/spec/notAfter", json!("2026-11-28T16:00:00.5+02:00"))),
        bad("a time that is none", "move", set("/spec/notAfter", json!("tomorrow")), "spec.notAfter"),
        bad("a statement without a serial", "move", vec![("/spec/type", Some(json!("Failover"))), ("/spec/sourceStopped", Some(json!("I saw it")))], "serial is missing: with sourceStopped"),
        bad("a blank statement", "move", vec![("/spec/type", Some(json!("Failover"))), ("/spec/serial", Some(json!(17))), ("/spec/sourceStopped", Some(json!(" ")))], "sourceStopped: found nothing, expected who saw that the source is stopped"),
        bad("a switchover that accepts loss", "move", set("/spec/acceptDataLoss", json!(true)), "serial, sourceStopped and acceptDataLoss belong to Failover only"),
        bad("a serial for several policies", "move", vec![("/spec/type", Some(json!("Failover"))), ("/spec/serial", Some(json!(17))), ("/spec/policyRef", None), ("/spec/policySelector", Some(json!({ "matchLabels": { "a": "b" } })))], "serial belongs to one policy: use policyRef"),
        bad("another type", "move", set("/spec/type", json!("Teleport")), "spec.type: Unsupported value: \"Teleport\""),
        good("a source", "source", vec![]),
        good("a source with defaults", "source", vec![("/spec/ref", None), ("/spec/path", None)]),
        good("a source in a folder of this machine", "source", set("/spec/url", json!("file:///srv/git/policies.git"))),
        good("a source over ssh", "source", set("/spec/url", json!("ssh://git@git.example.org:2222/ops/policies.git"))),
        good("a source at a port", "source", set("/spec/url", json!("https://git.example.org:8443/ops/policies.git"))),
        good("a source at a tag", "source", set("/spec/ref", json!({ "tag": "v1.2" }))),
        good("a source at a commit", "source", set("/spec/ref", json!({ "commit": "0123456789012345678901234567890123456789" }))),
        bad("a source over http", "source", set("/spec/url", json!("http://git.example.org/x")), "expected an address that begins with https://, ssh:// or file:///"),
        bad("a password in the address", "source", set("/spec/url", json!("https://u:p@git.example.org/x")), "expected an address that begins with"),
        bad("no host", "source", set("/spec/url", json!("https:///x")), "expected an address that begins with"),
        bad("two things to follow", "source", set("/spec/ref", json!({ "branch": "main", "tag": "v1" })), "ref: expected exactly one of branch, tag, semver, commit"),
        bad("nothing to follow", "source", set("/spec/ref", json!({})), "ref: expected exactly one of branch, tag, semver, commit"),
        bad("half a commit", "source", set("/spec/ref", json!({ "commit": "01234567890123456789012345678901234567890123" })), "expected the full hash of a commit"),
        bad("a branch that git would not have", "source", set("/spec/ref", json!({ "branch": "a..b" })), "found 'a..b', expected the short name of a branch or tag"),
        bad("a folder outside", "source", set("/spec/path", json!("a/../../etc")), "found 'a/../../etc', expected a folder inside the repository"),
        bad("a folder from the root", "source", set("/spec/path", json!("/etc")), "expected a folder inside the repository"),
        bad("an interval too short", "source", set("/spec/interval", json!("100ms")), "found '100ms', expected a duration from 1s to 24h"),
        bad("signatures", "source", set("/spec/verify", json!({ "mode": "HEAD" })), "verify is not supported by this version of Bascule yet"),
    ]);
    cases
}
