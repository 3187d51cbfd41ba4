//! The policies: each with a database, a workload and a name in DNS.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bascule_crds::{FailoverPolicy, definitions};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::json;

use crate::waiting::until;

/// The namespace of all policies.
const NAMESPACE: &str = "fleet";
/// The namespace of the operator's own objects.
const OWN: &str = "bascule-system";
/// How many requests are under way at once.
const AT_ONCE: usize = 48;
/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(2);
/// Every so manieth policy begins at the second site.
const SHARE: usize = 10;

/// The cooldown that policies are made with, in seconds.
pub const FIRST: u64 = 600;

/// The cooldown that policies of a fleet of `n` are changed to, in seconds: another one for each fleet. The smaller fleets'
/// policies are part of the larger ones, and what is given the value that it has is not changed, and not shown.
pub const fn another(n: usize) -> u64 {
    FIRST + n as u64
}

/// Whether the policy with this number begins at the second site.
pub fn begins_second(n: usize) -> bool {
    n % SHARE == SHARE - 1
}

/// How many of the first `n` policies begin at the second site.
pub fn second_share(n: usize) -> usize {
    (0..n).filter(|n| begins_second(*n)).count()
}

fn policy(n: usize, cooldown: u64) -> Result<FailoverPolicy> {
    let [first, second] = super::SITES;
    let initial = if begins_second(n) { second } else { first };
    let instance = |site: &str| {
        json!({
            "site": site, "statefulSet": "main", "host": format!("main-{n}.fleet.svc"), "replicationHost": format!("main-{n}.{site}.example"),
            "secretRef": { "name": "main-bascule" }, "replicationSecretRef": { "name": "main-replication" },
        })
    };
    let policy = json!({
        "apiVersion": bascule_crds::API_VERSION, "kind": "FailoverPolicy",
        "metadata": { "name": name(n), "namespace": NAMESPACE },
        "spec": {
            "sites": [{ "name": first }, { "name": second }], "initialSite": initial,
            "failover": {
                "serveReads": { "after": "2s", "returnAfter": "2s" },
                "promote": { "after": "0s", "maxDataLoss": { "bytes": "16Mi", "time": "60s" } },
                "cooldown": format!("{cooldown}s"),
            },
            "databases": [{ "name": "main", "postgresql": { "fence": "Guard", "instances": [instance(first), instance(second)] } }],
            "workloads": [{
                "name": "web", "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": format!("web-{n}") },
                "replicas": { "active": 1, "readOnly": 1, "standby": 1 },
                "readOnly": {
                    "configMapKey": { "name": format!("web-{n}"), "key": "READ_ONLY", "readOnlyValue": "1", "readWriteValue": "0" },
                    "verify": { "httpGet": { "port": 8080, "path": "/mode", "expectBody": "read-only" } },
                },
            }],
            "traffic": [{
                "name": "public",
                "dns": {
                    "name": format!("web-{n}.shop.example."), "zone": "shop.example.", "ttl": "5s",
                    "updateServers": ["192.0.2.53:53"], "verifyServers": ["192.0.2.53:53"],
                    "tsigSecretRef": { "name": "dns-key" },
                    "addresses": [{ "site": first, "values": ["192.0.2.1"] }, { "site": second, "values": ["192.0.2.2"] }],
                },
            }],
        },
    });
    serde_json::from_value(policy).context("the fleet's policy is not one")
}

fn name(n: usize) -> String {
    format!("p{n:05}")
}

/// Brings a cluster to where a fleet can be made.
pub async fn prepare(client: &Client) -> Result<()> {
    let made = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in definitions()? {
        let object = serde_json::from_value(definition.json)?;
        made.create(&PostParams::default(), &object).await.context("a definition")?;
    }
    for name in [NAMESPACE, OWN] {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &object).await.context("a namespace")?;
    }
    let policies = Api::<FailoverPolicy>::namespaced(client.clone(), NAMESPACE);
    until("the definitions to be served", Duration::from_secs(30), || async {
        Ok(policies.list_metadata(&kube::api::ListParams::default().limit(1)).await.map(drop)?)
    })
    .await
}

/// Forgets what operators of an earlier arbiter have seen.
pub async fn forget(client: &Client) -> Result<()> {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), OWN);
    match maps.delete("bascule-marks", &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if status.code == 404 => Ok(()),
        Err(e) => Err(e).context("the marks cannot be deleted"),
    }
}

/// Makes the policies `numbers` in all clusters.
pub async fn create(clients: &[Client], numbers: std::ops::Range<usize>) -> Result<()> {
    each(clients, numbers, "policies are made", |policies, n| async move {
        policies.create(&PostParams::default(), &policy(n, FIRST)?).await?;
        Ok(())
    })
    .await
}

/// Gives the policies `numbers` another cooldown in all clusters.
pub async fn change(clients: &[Client], numbers: std::ops::Range<usize>, cooldown: u64) -> Result<()> {
    let patch = json!({ "spec": { "failover": { "cooldown": format!("{cooldown}s") } } });
    each(clients, numbers, "policies are changed", |policies, n| {
        let patch = Patch::Merge(patch.clone());
        async move {
            policies.patch_metadata(&name(n), &PatchParams::default(), &patch).await?;
            Ok(())
        }
    })
    .await
}

async fn each<F>(
    clients: &[Client],
    numbers: std::ops::Range<usize>,
    what: &str,
    act: impl Fn(Api<FailoverPolicy>, usize) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let (total, done) = (numbers.len() * clients.len(), AtomicUsize::new(0));
    let (begun, mut told) = (Instant::now(), Instant::now());
    let apis: Vec<_> =
        clients.iter().map(|c| Api::<FailoverPolicy>::namespaced(c.clone(), NAMESPACE)).collect();
    let act = &act;
    let jobs = numbers.flat_map(|n| apis.iter().map(move |api| act(api.clone(), n)));
    let mut running = stream::iter(jobs).buffer_unordered(AT_ONCE);
    while let Some(()) = running.try_next().await.with_context(|| what.to_owned())? {
        let n = done.fetch_add(1, Ordering::Relaxed) + 1;
        if told.elapsed() >= TELL {
            told = Instant::now();
            eprintln!("    {what}: {n} of {total} after {:.0} s", begun.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

/// How many requests about this fleet's kinds an API server has answered since it was started, heartbeats left out.
pub async fn requests(client: &Client) -> Result<u64> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text = client.request_text(request).await.context("the API server's metrics")?;
    Ok(count(&text))
}

/// What operators ask an API server for, but for the Lease of their heartbeat: the API server renews one of its own.
const ASKED_FOR: [&str; 5] = ["failoverpolicies", "moves", "policysources", "configmaps", "events"];

fn count(text: &str) -> u64 {
    let counters = text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{"));
    let ours = counters
        .filter(|line| ASKED_FOR.iter().any(|kind| line.contains(&format!("resource=\"{kind}\""))))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    ours.sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenth_policy_begins_at_the_second_site() {
        assert_eq!((second_share(10), second_share(1000)), (1, 100));
        assert_eq!(policy(9, 1).unwrap().spec.initial_site, super::super::SITES[1]);
    }

    #[test]
    fn no_two_fleets_are_changed_to_the_same() {
        let changed: Vec<u64> = [10, 100, 1000, 10_000].map(another).into();
        assert!(changed.is_sorted_by(|a, b| a < b) && changed.iter().all(|to| *to > FIRST), "{changed:?}");
        assert_eq!(policy(3, another(100)).unwrap().spec.failover.cooldown, "700s");
    }

    #[test]
    fn requests_are_counted_by_what_they_ask_for() {
        let text = "apiserver_request_total{resource=\"failoverpolicies\",verb=\"PATCH\"} 41\n\
                    apiserver_request_total{resource=\"configmaps\",verb=\"GET\"} 1e+00\n\
                    apiserver_request_total{resource=\"leases\",verb=\"GET\"} 7\n\
                    apiserver_request_duration{resource=\"configmaps\"} 9\n";
        assert_eq!(count(text), 42);
    }
}
