//! What a scenario does. Every act is noted.

use anyhow::Result;
use bascule_crds::MoveState;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use super::Scene;
use crate::shop::{DATABASE_POD, MoveText, NAMESPACE, PolicyText};
use crate::world::place::POSTGRES_PORT;
use crate::world::{Cut, OperatorOptions, Place, Scope};

impl Scene<'_> {
    /// Power loss.
    pub fn kill(&self, place: Place) -> Result<()> {
        self.note(&format!("power loss at {place}"));
        self.world().kill(place)
    }

    /// Power again, and the operator with it.
    pub async fn boot(&self, place: Place) -> Result<()> {
        self.note(&format!("power again at {place}"));
        self.world().boot(place).await?;
        if place.is_site() {
            self.world().start_operator(place, &OperatorOptions::default())?;
        }
        Ok(())
    }

    /// Packets vanish.
    pub fn cut(&self, what: &str, cut: &Cut) -> Result<()> {
        self.note(&format!("cut: {what}"));
        self.world().cut(cut)
    }

    /// Every cut and limit is taken back.
    pub fn heal(&self) -> Result<()> {
        self.note("healed");
        self.world().heal()
    }

    /// A part of a place stands still.
    pub fn freeze(&self, place: Place, scope: Scope) -> Result<()> {
        self.note(&format!("frozen: {scope:?} of {place}"));
        self.world().freeze(place, scope)
    }

    /// And goes on.
    pub fn thaw(&self, place: Place, scope: Scope) -> Result<()> {
        self.note(&format!("thawed: {scope:?} of {place}"));
        self.world().thaw(place, scope)
    }

    /// The site's operator dies.
    pub fn kill_operator(&self, site: Place) -> Result<()> {
        self.note(&format!("the operator of {site} is killed"));
        self.world().kill_operator(site)
    }

    /// The site's operator starts.
    pub fn start_operator(&self, site: Place) -> Result<()> {
        self.note(&format!("the operator of {site} starts"));
        self.world().start_operator(site, &OperatorOptions::default())
    }

    /// The server's first process is killed under its guard.
    pub async fn kill_server(&self, site: Place) -> Result<()> {
        self.note(&format!("the server of {site} is killed"));
        self.shop.kill_server(site).await
    }

    /// The database's pod is deleted, as a rollout or a drained node would.
    pub fn delete_pod(&self, site: Place) -> Result<()> {
        self.note(&format!("the database's pod of {site} is deleted"));
        self.world().kubectl(site, &["delete", "pod", "-n", NAMESPACE, DATABASE_POD, "--wait=false"])?;
        Ok(())
    }

    /// Replication towards a site gets so many bytes per second.
    pub fn thin_line(&self, to: Place, bytes: u64) -> Result<()> {
        let from = to.other_site().unwrap_or(to);
        self.note(&format!("replication to {to} gets {bytes} bytes a second"));
        self.world().limit(from, to, POSTGRES_PORT, bytes)
    }

    /// Commits another policy.
    pub async fn commit_policy(&self, text: &PolicyText) -> Result<()> {
        let commit = self.shop.commit_policy("another policy", text)?;
        self.note(&format!("policy committed: {commit:.8}"));
        self.both_took(&commit).await
    }

    /// Commits a Move from the active site to the other one; answers it with the commit.
    pub async fn commit_switchover(&self, name: &str) -> Result<(MoveText, String)> {
        let from = self.holder();
        let to = from.other_site().unwrap_or(from);
        let epoch = self.shop.view(from).await?.epoch();
        let text = MoveText::switchover(name, from, to, epoch, "a scenario asks for it");
        let commit = self.shop.commit_move(&text)?;
        self.note(&format!("Move {name} from {from} to {to} in epoch {epoch}: {commit:.8}"));
        Ok((text, commit))
    }

    /// Carries a planned switchover out, from the commit to writes at the other site.
    pub async fn switch_over(&mut self, name: &str) -> Result<MoveText> {
        let (text, _) = self.commit_switchover(name).await?;
        self.writes_move_to(text.to).await?;
        self.shop.move_ended(text.to, name, MoveState::Done, super::sees::SOON).await?;
        Ok(text)
    }
}

impl Scene<'_> {
    /// Commits one file; answers the commit.
    pub fn commit_file(&self, path: &str, text: &str) -> Result<String> {
        let commit = self.world().git().commit("a scenario's file", &[(path, text)])?;
        self.note(&format!("{path} committed: {commit:.8}"));
        Ok(commit)
    }

    /// Deletes a Secret of the application; answers it, to be given back.
    pub async fn take_secret(&self, site: Place, name: &str) -> Result<Secret> {
        let api: Api<Secret> = Api::namespaced(self.world().kube(site).await?, NAMESPACE);
        let secret = api.get(name).await?;
        api.delete(name, &DeleteParams::default()).await?;
        self.note(&format!("Secret {name} of {site} is deleted"));
        Ok(secret)
    }

    /// Gives a Secret back.
    pub async fn give_secret(&self, site: Place, secret: &Secret) -> Result<()> {
        let api: Api<Secret> = Api::namespaced(self.world().kube(site).await?, NAMESPACE);
        let metadata = ObjectMeta { name: secret.metadata.name.clone(), ..ObjectMeta::default() };
        api.create(&PostParams::default(), &Secret { metadata, ..secret.clone() }).await?;
        self.note(&format!("Secret {:?} of {site} is back", secret.metadata.name));
        Ok(())
    }
}
