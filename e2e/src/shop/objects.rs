//! The rest of a site's objects: certificates, keys, the web application and where the policies come from.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{FOLDER, NAMESPACE, Shop, WEB, database};
use crate::image;
use crate::world::Place;
use crate::world::dns::KEY_NAME;
use crate::world::git::{BRANCH, GIT_PASSWORD, GIT_USER};
use crate::world::place::WEB_PORT;

/// Port on which the web application listens in its pod.
pub(super) const WEB_TARGET_PORT: u16 = 8080;

pub(super) fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

/// Everything of the application in a site, its namespace apart. `cluster`: the UID of the site's cluster.
pub(super) fn application(shop: &Shop<'_>, site: Place, cluster: &str) -> Result<Vec<Value>> {
    let mut objects = database::secrets();
    objects.extend(certificates(shop, site)?);
    objects.extend(database::objects(shop, site, cluster));
    objects.extend(web(site));
    Ok(objects)
}

fn secret(name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": name, "namespace": NAMESPACE }, "stringData": data,
    })
}

fn certificates(shop: &Shop<'_>, site: Place) -> Result<Vec<Value>> {
    let world = shop.world();
    let (pki, arbiter) = (world.pki(), world.arbiter());
    let ca = read(&pki.ca())?;
    // The name that lets a guard speak for any policy of this namespace.
    let guard = pki.issue(&format!("shop-guard-{site}"), &[format!("*.{NAMESPACE}.guards.bascule")])?;
    let own = arbiter.identity(&format!("guard-{site}"));
    Ok(vec![
        secret(
            "main-guard",
            &json!({ "ca.crt": ca, "tls.crt": read(&guard.cert)?, "tls.key": read(&guard.key)? }),
        ),
        secret(
            "main-arbiter",
            &json!({ "ca.crt": ca, "tls.crt": read(&own.cert)?, "tls.key": read(&own.key)? }),
        ),
        secret(
            "dns-key",
            &json!({ "name": KEY_NAME, "algorithm": "hmac-sha256", "secret": world.dns().secret()?.trim() }),
        ),
        secret("git-credentials", &json!({ "username": GIT_USER, "password": GIT_PASSWORD, "ca.crt": ca })),
    ])
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The web application. It leaves out what belongs to Bascule: its number of replicas and the flag's value.
fn web(site: Place) -> Vec<Value> {
    let env = |name: &str, value: &str| json!({ "name": name, "value": value });
    vec![
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "web-flags", "namespace": NAMESPACE },
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": WEB, "namespace": NAMESPACE },
            "spec": {
                "selector": { "matchLabels": { "app": WEB } },
                "template": {
                    "metadata": { "labels": { "app": WEB } },
                    "spec": {
                        "enableServiceLinks": false, "terminationGracePeriodSeconds": 1,
                        "containers": [{
                            "name": WEB, "image": image::WEB, "imagePullPolicy": "Never",
                            "env": [
                                env("SITE", site.name()),
                                env("DATABASE_URL", &database::application_url()),
                                env("READ_ONLY_FILE", "/flags/READ_ONLY"),
                            ],
                            "ports": [{ "containerPort": WEB_TARGET_PORT }],
                            "readinessProbe": {
                                "httpGet": { "path": "/healthz", "port": WEB_TARGET_PORT }, "periodSeconds": 1,
                            },
                            "volumeMounts": [{ "name": "flags", "mountPath": "/flags" }],
                        }],
                        "volumes": [{ "name": "flags", "configMap": { "name": "web-flags" } }],
                    },
                },
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": WEB, "namespace": NAMESPACE },
            "spec": {
                // Local: without masquerading two connections never compete for one tuple of conntrack, which drops
                // the later one's first packet.
                "type": "NodePort", "externalTrafficPolicy": "Local", "selector": { "app": WEB },
                "ports": [{ "port": 80, "targetPort": WEB_TARGET_PORT, "nodePort": WEB_PORT }],
            },
        }),
    ]
}

/// Where a site reads its policies from.
pub(super) fn source(shop: &Shop<'_>) -> Value {
    json!({
        "apiVersion": "bascule.dev/v1alpha1", "kind": "PolicySource",
        "metadata": { "name": "fleet", "namespace": NAMESPACE },
        "spec": {
            "url": shop.world().git().url(), "ref": { "branch": BRANCH }, "path": FOLDER,
            "interval": "1s", "timeout": "5s", "secretRef": { "name": "git-credentials" },
        },
    })
}
