//! The operator of a site as a pod: the chart of `charts/bascule`, installed by the real helm into a namespace that
//! enforces the restricted Pod Security Standard.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::World;
use super::operator::GUARD_PORT;
use super::pki::Identity;
use super::place::Place;
use super::replicas::Replica;
use crate::command::finish;
use crate::image;
use crate::tools::{Tools, workspace};

/// Name of the release, of its Deployment and of its Service.
pub const RELEASE: &str = "bascule";
/// Namespace that the operators keep their own objects in.
pub const SYSTEM: &str = "bascule-system";
/// Selects the operator's pod.
pub const OPERATOR_PODS: &str = "app.kubernetes.io/name=bascule";

/// How long helm may take, the operator's readiness included.
const HELM: Duration = Duration::from_mins(2);
/// The same, as it is told to helm.
const HELM_TIMEOUT: &str = "90s";

/// The chart's values for a site, the rights as narrow as the chart lets them be.
fn values(world: &World, site: Place, applications: &[&str], secrets: &[&str]) -> Result<Value> {
    let (name, tag) = image::BASCULE.rsplit_once(':').context("an image without a tag")?;
    Ok(json!({
        "site": { "name": site.name() },
        "profile": "metro",
        "arbiter": {
            "endpoints": world.nearest_endpoints(site),
            "secretName": "bascule-arbiter",
            "election": format!("{}ms", world.options().arbiter.election.as_millis()),
        },
        "guards": { "secretName": "bascule-guards", "port": GUARD_PORT },
        "image": { "repository": name, "tag": tag, "pullPolicy": "Never" },
        "rbac": { "namespaces": applications, "secretNames": secrets },
        "log": { "format": "text" },
        "replicas": world.options().replicas,
    }))
}

impl World {
    /// The name of a site's operator among the pods of its cluster.
    pub(super) fn operator_service() -> String {
        format!("{RELEASE}.{SYSTEM}.svc")
    }

    /// Makes what the chart expects to be there, then installs it; returns when the operator is ready.
    /// `applications` are the only namespaces that it may look into, `secrets` the only Secrets that it may read there.
    pub fn install_release(&self, site: Place, applications: &[&str], secrets: &[&str]) -> Result<()> {
        // No provisioner gives a volume to the operator's user here.
        let user = u32::try_from(bascule_image::product::USER).context("a user's number")?;
        for replica in Replica::ALL {
            let volume = self.replica_folder(site, replica);
            fs::create_dir_all(&volume)?;
            chown(&volume, Some(user), Some(user))
                .with_context(|| format!("cannot give {} to the operator", volume.display()))?;
        }
        for object in self.release_needs(site)? {
            self.apply(site, &object.to_string())?;
        }
        let values = values(self, site, applications, secrets)?;
        let file = self.run().place(site).join("values.yaml");
        fs::write(&file, values.to_string())?;
        self.helm(site, &["install", RELEASE, &chart()?, "--values", &file.display().to_string()], true)
            .map(drop)
    }

    /// Upgrades a site's release, with these values changed (`--set`); returns when the new operator is ready.
    pub fn upgrade_release(&self, site: Place, set: &str) -> Result<()> {
        self.helm(site, &["upgrade", RELEASE, &chart()?, "--reuse-values", "--set", set], true).map(drop)
    }

    /// Takes a site's release back to its first revision; returns when that one's operator is ready.
    pub fn roll_release_back(&self, site: Place) -> Result<()> {
        self.helm(site, &["rollback", RELEASE, "1"], true).map(drop)
    }

    /// Uninstalls a site's release; returns when its objects are gone.
    pub fn uninstall_release(&self, site: Place) -> Result<()> {
        self.helm(site, &["uninstall", RELEASE], true).map(drop)
    }

    fn helm(&self, site: Place, args: &[&str], wait: bool) -> Result<String> {
        let mut command = Command::new(Tools::helm(self.progress())?);
        command.arg("--kubeconfig").arg(self.kubeconfig(site)).args(["--namespace", SYSTEM]).args(args);
        if wait {
            command.args(["--wait", "--timeout", HELM_TIMEOUT]);
        }
        // Its caches belong to this run.
        let home = self.run().place(site).join("helm");
        fs::create_dir_all(&home)?;
        command.env("HOME", &home).env_remove("KUBECONFIG");
        finish(command, None, HELM).with_context(|| format!("helm {} at {site}", args.join(" ")))
    }

    /// The namespace, the two Secrets, and the volumes of the journals: of one replica, and of each of two. One replica that
    /// becomes two goes on in its folder.
    fn release_needs(&self, site: Place) -> Result<Vec<Value>> {
        let of = |volume: &str, claim: String, replica: Replica| {
            json!({
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": { "name": volume },
                "spec": {
                    "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": { "namespace": SYSTEM, "name": claim },
                    "hostPath": { "path": self.replica_folder(site, replica), "type": "Directory" },
                },
            })
        };
        let guards = self.pki().issue(&format!("guards-of-{site}-by-name"), &[Self::operator_service()])?;
        let arbiter = self.arbiter().identity(&format!("operator-{site}"));
        Ok(vec![
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": SYSTEM, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
            }),
            self.tls_secret("bascule-arbiter", &arbiter)?,
            self.tls_secret("bascule-guards", &guards)?,
            of("bascule-journal", format!("{RELEASE}-journal"), Replica::First),
            of("bascule-journal-0", format!("journal-{RELEASE}-0"), Replica::First),
            of("bascule-journal-1", format!("journal-{RELEASE}-1"), Replica::Second),
        ])
    }

    fn tls_secret(&self, name: &str, identity: &Identity) -> Result<Value> {
        let read = |path: &std::path::Path| {
            let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok::<_, anyhow::Error>(STANDARD.encode(bytes))
        };
        Ok(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "namespace": SYSTEM },
            "data": {
                "ca.crt": read(&self.pki().ca())?,
                "tls.crt": read(&identity.cert)?,
                "tls.key": read(&identity.key)?,
            },
        }))
    }
}

fn chart() -> Result<String> {
    Ok(workspace()?.join("charts/bascule").display().to_string())
}
