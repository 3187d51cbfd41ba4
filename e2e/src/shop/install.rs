//! Puts the application into both sites and waits until it works.

use std::os::unix::fs::chown;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::Value;

use super::{NAMESPACE, PolicyText, Shop, database, objects, policy};
use crate::waiting::until;
use crate::world::{OperatorOptions, Operators, Place, SYSTEM, World};

/// How long everything may take from the first object to a steady pair.
pub const INSTALL: Duration = Duration::from_mins(2);
/// How long an API server may take to serve a new kind.
const ESTABLISHED: Duration = Duration::from_secs(20);
/// The Secrets that the policy and its source name.
pub const SECRETS: [&str; 4] = ["main-bascule", "main-replication", "dns-key", "git-credentials"];
/// In whose name objects are applied.
const MANAGER: &str = "shop-team";

/// The definitions of Bascule's kinds, as they are checked in.
const DEFINITIONS: [&str; 3] = [
    include_str!("../../../crds/generated/failoverpolicies.bascule.dev.yaml"),
    include_str!("../../../crds/generated/moves.bascule.dev.yaml"),
    include_str!("../../../crds/generated/policysources.bascule.dev.yaml"),
];

impl Shop<'_> {
    /// Everything: Bascule's kinds, the policy in git, an operator in each site, the application. Returns when the
    /// objects are there; [`Shop::steady`] waits until they work.
    pub async fn install(&self, text: &PolicyText) -> Result<()> {
        for site in self.world().sites().iter().copied() {
            let volume = self.volume(site);
            std::fs::create_dir_all(&volume)?;
            chown(&volume, Some(database::UID), Some(database::UID))
                .with_context(|| format!("cannot give {} to the database", volume.display()))?;
        }
        self.commit_policy("the shop's policy", text)?;
        let third = async {
            if self.world().is_site(Place::Third) {
                self.install_at(Place::Third).await?;
            }
            Ok(())
        };
        tokio::try_join!(self.install_at(Place::Paris), self.install_at(Place::Lyon), third)?;
        Ok(())
    }

    async fn install_at(&self, site: Place) -> Result<()> {
        let client = self.world().kube(site).await?;
        apply(&client, &objects::namespace(NAMESPACE)).await?;
        match self.world().operators() {
            Operators::Pods => {
                let world = self.world();
                tokio::task::block_in_place(|| world.install_release(site, &[NAMESPACE], &SECRETS))?;
            }
            Operators::Processes => {
                for text in DEFINITIONS {
                    // Generated as JSON-compatible YAML; the API server takes it as it is.
                    let object: Value = serde_yaml::from_str(text).context("a checked-in definition")?;
                    apply(&client, &object).await?;
                }
                apply(&client, &objects::namespace(SYSTEM)).await?;
                if self.world().replicas().len() > 1 {
                    for object in World::operators_service(site) {
                        apply(&client, &object).await?;
                    }
                }
            }
        }
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        until("Bascule's kinds", ESTABLISHED, || async {
            for name in ["failoverpolicies", "moves", "policysources"] {
                let found = definitions.get(&format!("{name}.bascule.dev")).await?;
                let conditions = found.status.and_then(|s| s.conditions).unwrap_or_default();
                ensure!(
                    conditions.iter().any(|c| c.type_ == "Established" && c.status == "True"),
                    "{name} is not established"
                );
            }
            Ok(())
        })
        .await?;
        self.world().start_operator(site, &OperatorOptions::default())?;
        self.install_application(site).await
    }

    /// The application's objects at a site, its namespace and the source of its policy with them: all that is there
    /// beside Bascule itself.
    pub async fn install_application(&self, site: Place) -> Result<()> {
        let client = self.world().kube(site).await?;
        apply(&client, &objects::namespace(NAMESPACE)).await?;
        let uid = Api::<Namespace>::all(client.clone()).get("kube-system").await?.metadata.uid;
        let uid = uid.context("kube-system has no UID")?;
        for object in objects::application(self, site, &uid)? {
            apply(&client, &object).await?;
        }
        apply(&client, &objects::source(self)).await
    }

    /// Commits the policy; answers the commit.
    pub fn commit_policy(&self, message: &str, text: &PolicyText) -> Result<String> {
        self.world().git().commit(message, &[(&policy::path(), &text.yaml(self.world()))])
    }

    /// Removes the policy's file; answers the commit.
    pub fn remove_policy(&self) -> Result<String> {
        self.world().git().remove("no policy any more", &[&policy::path()])
    }

    /// A Move never changes: one whose name was used before would be refused, and whoever waits for it waits in vain.
    fn is_new(&self, text: &super::MoveText) -> Result<()> {
        let path = text.path();
        let found = self.world().git().git(&["ls-files", "--", &path])?;
        anyhow::ensure!(found.trim().is_empty(), "{path} was committed before: give this Move another name");
        Ok(())
    }

    /// Commits a Move; answers the commit.
    pub fn commit_move(&self, text: &super::MoveText) -> Result<String> {
        self.is_new(text)?;
        let to = if text.from == text.to { String::new() } else { format!(" to {}", text.to) };
        let message = format!("{}{to}: {}", text.kind, text.reason);
        self.world().git().commit(&message, &[(&text.path(), &text.yaml())])
    }

    /// Commits several Moves in one commit; answers it.
    pub fn commit_moves(&self, message: &str, texts: &[super::MoveText]) -> Result<String> {
        texts.iter().try_for_each(|text| self.is_new(text))?;
        let files: Vec<(String, String)> = texts.iter().map(|t| (t.path(), t.yaml())).collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, yaml)| (path.as_str(), yaml.as_str())).collect();
        self.world().git().commit(message, &files)
    }

    /// Applies objects of the application's to a site by hand.
    pub async fn apply(&self, site: Place, object: &Value) -> Result<()> {
        apply(&self.world().kube(site).await?, object).await
    }
}

/// Server-side apply of one object, its kind as it says.
async fn apply(client: &kube::Client, object: &Value) -> Result<()> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (group, version) = match text("apiVersion").split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", text("apiVersion")),
    };
    let kind = text("kind");
    let plural = match kind {
        "" => bail!("an object without a kind"),
        "FailoverPolicy" => "failoverpolicies".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural);
    let name = object["metadata"]["name"].as_str().context("an object without a name")?;
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(name, &parameters, &Patch::Apply(object))
        .await
        .with_context(|| format!("cannot apply {kind} {name}"))?;
    Ok(())
}
