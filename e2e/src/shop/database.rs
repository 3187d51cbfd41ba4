//! The database of a site: a StatefulSet whose container runs the guard, and the guard the server.

use serde_json::{Value, json};

use super::{
    APP, APP_PASSWORD, DATABASE, DATABASE_CONTAINER, DBA, DBA_PASSWORD, NAMESPACE, OPERATOR_PASSWORD, POLICY,
    REPLICATION_PASSWORD, Shop,
};
use crate::image;
use crate::world::Place;
use crate::world::place::POSTGRES_PORT;

/// Where the volume is mounted, and the data below it.
pub(super) const MOUNT: &str = "/var/lib/postgresql/data";
const DATA: &str = "/var/lib/postgresql/data/pgdata";
/// Where the guard looks for the boundary at which it has to die, on its volume.
pub(super) const BOUNDARIES: &str = "boundaries";
/// The owner of the data, in the image.
pub(super) const UID: u32 = 999;

/// The operator's role, as its own documentation says to make it.
const ROLE_SQL: &str = include_str!("../../../operator/adapters/src/postgres/sql/bascule-role.sql");

/// What preflight advises, for a server whose dead link must be seen within two seconds.
pub(crate) const SETTINGS: [&str; 13] = [
    "listen_addresses=*",
    "wal_level=replica",
    "wal_log_hints=on",
    "max_wal_senders=5",
    "max_replication_slots=5",
    "max_slot_wal_keep_size=256MB",
    "wal_sender_timeout=2s",
    "wal_receiver_timeout=2s",
    "wal_receiver_status_interval=1s",
    "wal_retrieve_retry_interval=100ms",
    "shared_buffers=64MB",
    "max_connections=60",
    "log_min_messages=info",
];

/// Makes the database from nothing: roles, the application's database and its table. Only ever run where it begins, and only
/// once: whoever empties its place later wants a copy of the other site's.
fn init_script() -> String {
    format!(
        r#"set -eu
cd {MOUNT}
test ! -s {DATA}/PG_VERSION || touch born
test ! -e born || exit 0
rm -rf new
initdb -D new --no-sync -U postgres -E UTF8 --locale=C.UTF-8 --auth-local=peer --auth-host=scram-sha-256
echo 'host all all all scram-sha-256' >> new/pg_hba.conf
pg_ctl -D new -w -o '-c listen_addresses= -c unix_socket_directories=/tmp -c fsync=off' -l /tmp/init.log start
psql="psql -h /tmp -U postgres -X -q -v ON_ERROR_STOP=1"
$psql -d postgres -v password={OPERATOR_PASSWORD} -f - < /init/bascule-role.sql
$psql -d postgres -f - < /init/application.sql
$psql -d {APP} -f - < /init/table.sql
pg_ctl -D new -w stop
sync
mv new {DATA}
touch born
"#
    )
}

/// Roles of the application, of its administrator, and of replication. `pg_rewind` reads the source's files with the latter.
pub(crate) fn application_sql() -> String {
    format!(
        "CREATE ROLE {APP} LOGIN PASSWORD '{APP_PASSWORD}';
CREATE ROLE {DBA} SUPERUSER LOGIN PASSWORD '{DBA_PASSWORD}';
CREATE ROLE replication LOGIN REPLICATION PASSWORD '{REPLICATION_PASSWORD}';
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO replication;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO replication;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO replication;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO replication;
CREATE DATABASE {APP} OWNER {APP};
"
    )
}

/// The application's table.
pub(crate) fn table_sql() -> String {
    format!(
        "CREATE TABLE rows (id bigserial PRIMARY KEY, token text UNIQUE NOT NULL, site text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp());
ALTER TABLE rows OWNER TO {APP};
"
    )
}

/// What the application and the operator are told about the database.
pub(super) fn secrets() -> Vec<Value> {
    let secret = |name: &str, user: &str, password: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "stringData": { "username": user, "password": password },
        })
    };
    vec![
        secret("main-bascule", "bascule", OPERATOR_PASSWORD),
        secret("main-replication", "replication", REPLICATION_PASSWORD),
    ]
}

/// How the web application reaches its own site's database.
pub(super) fn application_url() -> String {
    format!("host={DATABASE}.{NAMESPACE}.svc user={APP} password={APP_PASSWORD} dbname={APP}")
}

/// The database's objects in a site. Paris begins with data; every other site's place is empty and will be cloned
/// into.
pub(super) fn objects(shop: &Shop<'_>, site: Place, cluster: &str) -> Vec<Value> {
    let begins = site == Place::Paris;
    vec![
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "main-init", "namespace": NAMESPACE },
            "data": {
                "init.sh": init_script(), "bascule-role.sql": ROLE_SQL,
                "application.sql": application_sql(), "table.sql": table_sql(),
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": DATABASE, "namespace": NAMESPACE },
            "spec": { "selector": { "app": DATABASE }, "ports": [{ "name": "postgres", "port": POSTGRES_PORT }] },
        }),
        // The other site's way in. A closed server is not ready, and replicates all the same.
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "main-replication", "namespace": NAMESPACE },
            "spec": {
                "clusterIP": Shop::replication_address(site), "publishNotReadyAddresses": true,
                "selector": { "app": DATABASE }, "ports": [{ "name": "postgres", "port": POSTGRES_PORT }],
            },
        }),
        stateful_set(shop, site, cluster, begins),
    ]
}

/// The database as it runs without Bascule: no guard before the server's own command, and its own rules for clients.
pub(super) fn plain(shop: &Shop<'_>, site: Place) -> Value {
    let mut command = vec!["postgres".to_owned()];
    for setting in SETTINGS.into_iter().chain(["unix_socket_directories=/tmp"]) {
        command.extend(["-c".to_owned(), setting.to_owned()]);
    }
    let mut set = stateful_set(shop, site, "", false);
    let spec = &mut set["spec"]["template"]["spec"];
    spec["initContainers"] = json!([]);
    // It waits for its clients when it is asked to end.
    spec["terminationGracePeriodSeconds"] = json!(5);
    spec["volumes"] = json!([
        { "name": "tmp", "emptyDir": {} },
        { "name": "data", "hostPath": { "path": shop.volume(site), "type": "Directory" } },
    ]);
    let container = &mut spec["containers"][0];
    container["command"] = json!(command);
    container["env"] = json!([{ "name": "PGDATA", "value": DATA }]);
    container["volumeMounts"] =
        json!([{ "name": "data", "mountPath": MOUNT }, { "name": "tmp", "mountPath": "/tmp" }]);
    set
}

fn stateful_set(shop: &Shop<'_>, site: Place, cluster: &str, begins: bool) -> Value {
    let world = shop.world();
    let mut init = vec![json!({
        "name": "bascule", "image": image::BASCULE, "imagePullPolicy": "Never",
        "args": ["guard", "install", "/opt/bascule"],
        "volumeMounts": [{ "name": "bascule", "mountPath": "/opt/bascule" }],
    })];
    if begins {
        init.push(json!({
            "name": "init", "image": image::POSTGRES, "imagePullPolicy": "Never",
            "command": ["bash", "/init/init.sh"],
            "volumeMounts": [
                { "name": "data", "mountPath": MOUNT }, { "name": "init", "mountPath": "/init" },
                { "name": "tmp", "mountPath": "/tmp" },
            ],
        }));
    }
    let own = world.own_program(site);
    let program = own.as_ref().map_or("/opt/bascule/bascule", |own| &own.program);
    let mut command = vec![program.to_owned()];
    command.extend(["guard", "postgres", "--", "postgres"].map(str::to_owned));
    for setting in SETTINGS {
        command.extend(["-c".to_owned(), setting.to_owned()]);
    }
    let env = |name: &str, value: &str| json!({ "name": name, "value": value });
    let mut settings = vec![
        env("BASCULE_NAMESPACE", NAMESPACE),
        env("BASCULE_POLICY", POLICY),
        env("BASCULE_DATABASE", DATABASE),
        env("BASCULE_SITE", site.name()),
        json!({ "name": "BASCULE_INSTANCE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }),
        env("BASCULE_OPERATOR", &world.guard_address(site)),
        env("BASCULE_CERTIFICATES", "/etc/bascule/guard"),
        env("BASCULE_ARBITER", &world.arbiter().endpoints().join(",")),
        env("BASCULE_ARBITER_CERTIFICATES", "/etc/bascule/arbiter"),
        env("BASCULE_CLUSTER_UID", cluster),
        env("PGDATA", DATA),
    ];
    if world.options().boundaries {
        settings.push(env(bascule_boundary::FOLDER, &format!("{MOUNT}/{BOUNDARIES}")));
    }
    let mut mounts = vec![
        json!({ "name": "data", "mountPath": MOUNT }),
        json!({ "name": "bascule", "mountPath": "/opt/bascule", "readOnly": true }),
        json!({ "name": "guard", "mountPath": "/etc/bascule/guard", "readOnly": true }),
        json!({ "name": "arbiter", "mountPath": "/etc/bascule/arbiter", "readOnly": true }),
        json!({ "name": "tmp", "mountPath": "/tmp" }),
    ];
    let mut volumes = vec![
        json!({ "name": "bascule", "emptyDir": {} }),
        json!({ "name": "tmp", "emptyDir": {} }),
        json!({ "name": "init", "configMap": { "name": "main-init" } }),
        json!({ "name": "guard", "secret": { "secretName": "main-guard" } }),
        json!({ "name": "arbiter", "secret": { "secretName": "main-arbiter" } }),
        json!({ "name": "data", "hostPath": { "path": shop.volume(site), "type": "Directory" } }),
    ];
    if let Some(own) = &own {
        settings.extend(own.environment.iter().map(|(name, value)| env(name, value)));
        mounts.push(json!({ "name": "own", "mountPath": own.in_pod, "readOnly": true }));
        volumes.push(json!({ "name": "own", "hostPath": { "path": own.folder, "type": "Directory" } }));
    }
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": { "name": DATABASE, "namespace": NAMESPACE },
        "spec": {
            "replicas": 1, "serviceName": DATABASE,
            "selector": { "matchLabels": { "app": DATABASE } },
            "template": {
                "metadata": { "labels": { "app": DATABASE } },
                "spec": {
                    "enableServiceLinks": false, "terminationGracePeriodSeconds": 30,
                    "securityContext": { "runAsUser": UID, "runAsGroup": UID },
                    "initContainers": init,
                    "containers": [{
                        "name": DATABASE_CONTAINER, "image": image::POSTGRES, "imagePullPolicy": "Never",
                        "command": command,
                        "env": settings,
                        // Ready is the server's; there is no liveness probe on it, for its back-off would outlast a
                        // failover.
                        "readinessProbe": {
                            "tcpSocket": { "port": POSTGRES_PORT }, "periodSeconds": 1, "failureThreshold": 1,
                        },
                        "ports": [{ "containerPort": POSTGRES_PORT }],
                        "volumeMounts": mounts,
                    }],
                    "volumes": volumes,
                },
            },
        },
    })
}
