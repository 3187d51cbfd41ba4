//! Envoy Gateway and Envoy as processes: what its Deployment and its Secrets would give to pods is read from the API server.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::CERTIFICATES;
use crate::command::finish;
use crate::scale::loopback::Tied;
use crate::tools::Gateway;
use crate::waiting::until;

/// Where the gateway listens: the port of its listener and ten thousand, for a proxy is nobody who may have a lower one.
pub(super) const LISTENER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10080);

const NAMESPACE: &str = "envoy-gateway-system";

/// How long the controller may take to make what it makes of a Gateway.
const MADE: Duration = Duration::from_secs(90);

const CONFIG: &str = "\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
provider: {type: Kubernetes, kubernetes: {leaderElection: {disable: true}}}
logging: {level: {default: info}}
";

/// The controller. It ends with this.
pub(super) struct Controller {
    _process: Tied,
}

impl Controller {
    /// Makes its certificates, and starts it. Its namespace is there.
    pub(super) async fn start(
        gateway: &Gateway,
        client: &Client,
        kubeconfig: &Path,
        folder: &Path,
    ) -> Result<Self> {
        let with = |args: &[&str]| {
            // What is tied to this process has its environment by another program.
            let mut command = Command::new("env");
            command
                .arg(format!("KUBECONFIG={}", kubeconfig.display()))
                .arg(format!("ENVOY_GATEWAY_NAMESPACE={NAMESPACE}"))
                .arg(&gateway.controller)
                .args(args);
            command
        };
        finish(with(&["certgen", "--disable-topology-injector"]), None, MADE)?;
        certificates(client, "envoy-gateway", Path::new(CERTIFICATES)).await?;
        let config = folder.join("envoy-gateway.yaml");
        fs::write(&config, CONFIG)?;
        let config = config.to_str().context("the folder's name is no text")?.to_owned();
        let process =
            Tied::start(&with(&["server", "--config-path", &config]), &folder.join("envoy-gateway.log"))?;
        Ok(Self { _process: process })
    }
}

/// A certificate with its key and who has signed it, as files.
async fn certificates(client: &Client, secret: &str, folder: &Path) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let found =
        until("the certificates of Envoy Gateway", MADE, || async { Ok(secrets.get(secret).await?) }).await?;
    fs::create_dir_all(folder)?;
    for (name, bytes) in found.data.unwrap_or_default() {
        fs::write(folder.join(name), bytes.0)?;
    }
    Ok(())
}

/// The proxy. It ends with this.
pub(super) struct Proxy {
    _process: Tied,
}

impl Proxy {
    /// Starts what the controller's Deployment for the gateway would start.
    pub(super) async fn start(gateway: &Gateway, client: &Client, folder: &Path) -> Result<Self> {
        let (own, told) = (folder.join("proxy-certs"), folder.join("proxy-sds"));
        certificates(client, "envoy", &own).await?;
        fs::create_dir_all(&told)?;
        for (name, text) in secrets_of_the_proxy(client).await? {
            fs::write(told.join(name), text.replace(CERTIFICATES, &own.display().to_string()))?;
        }
        let bootstrap = folder.join("envoy.yaml");
        fs::write(&bootstrap, bootstrap_of(&deployment(client).await?, &told)?)?;
        let mut envoy = Command::new(&gateway.proxy);
        envoy
            .arg("-c")
            .arg(&bootstrap)
            .args(["--service-cluster", "shop/public", "--service-node", "envoy-1"])
            .args(["--log-level", "warn", "--concurrency", "1", "--disable-hot-restart"]);
        Ok(Self { _process: Tied::start(&envoy, &folder.join("envoy.log"))? })
    }
}

/// The ConfigMap that tells the proxy where its certificates are.
async fn secrets_of_the_proxy(client: &Client) -> Result<BTreeMap<String, String>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    until("the proxy's ConfigMap", MADE, || async {
        for map in maps.list(&ListParams::default()).await? {
            if let Some(data) = map.data.filter(|data| data.contains_key("xds-trusted-ca.json")) {
                return Ok(data);
            }
        }
        bail!("no ConfigMap has xds-trusted-ca.json")
    })
    .await
}

/// The Deployment that the controller has made for the gateway.
async fn deployment(client: &Client) -> Result<Deployment> {
    let all: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    until("the proxy's Deployment", MADE, || async {
        let found = all.list(&ListParams::default()).await?.items.into_iter();
        found.last().context("there is none")
    })
    .await
}

/// What the proxy is started with, changed to where it runs here.
fn bootstrap_of(deployment: &Deployment, told: &Path) -> Result<String> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = pod.into_iter().flat_map(|pod| &pod.containers).find(|c| c.name == "envoy");
    let args = container.and_then(|c| c.args.clone()).with_context(|| {
        format!("Deployment {} has no container envoy with arguments", deployment.name_any())
    })?;
    let flag = "--config-yaml";
    let at = args.iter().position(|arg| arg.starts_with(flag)).context("the proxy has no --config-yaml")?;
    let text = match args.get(at).and_then(|arg| arg.strip_prefix(flag)).map(str::trim_start) {
        Some(text) if !text.is_empty() => text.trim_start_matches('=').to_owned(),
        _ => args.get(at + 1).cloned().context("nothing follows --config-yaml")?,
    };
    let changed = text
        .replace("$(ENVOY_SERVICE_ZONE)", "here")
        .replace(&format!("envoy-gateway.{NAMESPACE}.svc.cluster.local."), "127.0.0.1")
        .replace("type: STRICT_DNS", "type: STATIC")
        .replace("/sds/", &format!("{}/", told.display()))
        // The controller has these ports itself.
        .replace("1900", "1990");
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_configuration_is_brought_to_where_it_runs() {
        let yaml = "admin: {port_value: 19000}\naddress: envoy-gateway.envoy-gateway-system.svc.cluster.local.\n\
                    type: STRICT_DNS\npath: /sds/xds-certificate.json\nzone: $(ENVOY_SERVICE_ZONE)\n";
        for args in [vec![format!("--config-yaml {yaml}")], vec!["--config-yaml".to_owned(), yaml.to_owned()]]
        {
            let deployment: Deployment = serde_json::from_value(serde_json::json!({
                "metadata": { "name": "envoy" },
                "spec": { "selector": {}, "template": { "spec": { "containers": [{ "name": "envoy", "args": args }] } } },
            }))
            .unwrap();
            let found = bootstrap_of(&deployment, Path::new("/run/told")).unwrap();
            assert_eq!(
                found,
                "admin: {port_value: 19900}\naddress: 127.0.0.1\ntype: STATIC\npath: /run/told/xds-certificate.json\nzone: here\n"
            );
        }
    }
}
