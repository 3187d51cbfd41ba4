//! What a scenario does. Every act is noted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bascule_crds::MoveState;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use tokio_postgres::NoTls;

use super::Scene;
use crate::client::Stamp;
use crate::shop::{DATABASE, DATABASE_CONTAINER, DATABASE_POD, MoveText, NAMESPACE, PolicyText, WEB};
use crate::waiting::until;
use crate::world::place::POSTGRES_PORT;
use crate::world::{Cut, OperatorOptions, Place, Replica, Scope};

/// How long a server may take to answer a person.
const ANSWER: Duration = Duration::from_secs(5);

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
        if self.world().is_site(place) {
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

    /// The machine under the site's pods works again.
    pub async fn boot_node(&self, site: Place) -> Result<()> {
        self.note(&format!("the machine under the pods of {site} starts"));
        self.world().boot_node(site).await
    }

    /// The machine under the site's pods dies; its cluster and its operator live on others.
    pub fn kill_node(&self, site: Place) -> Result<()> {
        self.note(&format!("the machine under the pods of {site} dies"));
        self.world().kill_node(site)
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

    /// One replica of the site's operator dies.
    pub fn kill_replica(&self, site: Place, replica: Replica) -> Result<Stamp> {
        self.note(&format!("replica {} of {site} is killed", replica.part()));
        let before = Stamp::now();
        self.world().kill_replica(site, replica)?;
        Ok(before)
    }

    /// One replica of the site's operator starts.
    pub fn start_replica(&self, site: Place, replica: Replica) -> Result<()> {
        self.note(&format!("replica {} of {site} starts", replica.part()));
        self.world().start_replica(site, replica, &OperatorOptions::default())
    }

    /// The wall clock of operator, guard and database of a site leaps by so many minutes; returns when operator and database
    /// show it.
    pub async fn step_clock(&self, site: Place, minutes: i64) -> Result<()> {
        self.note(&format!("the wall clock of {site} leaps by {minutes} minutes"));
        self.world().clock(site)?.step(minutes * 60)?;
        self.clock_shows(site).await
    }

    /// Every clock of a site gains so many seconds in a million, or loses them.
    pub fn run_clock(&self, site: Place, per_million: i64) -> Result<()> {
        self.note(&format!("the clocks of {site} gain {per_million} seconds in a million"));
        self.world().clock(site)?.gain(per_million)
    }

    /// The arbiter loses everything that Bascule keeps in it.
    pub fn empty_arbiter(&self) -> Result<()> {
        self.note("the arbiter is emptied");
        self.world().empty_arbiter()
    }

    /// The arbiter's data is copied.
    pub async fn back_up_arbiter(&self) -> Result<()> {
        self.note("the arbiter is backed up");
        self.world().back_up_arbiter().await
    }

    /// The arbiter is put back as it was when it was backed up.
    pub async fn put_back_arbiter(&self) -> Result<()> {
        self.note("the arbiter is put back as it was when it was backed up");
        self.world().put_back_arbiter().await
    }

    /// A person raises the arbiter's generation in the values of all sites: their operators start anew. Each time it is
    /// above every one before.
    pub fn raise_generation(&self) -> Result<u64> {
        let generation = u64::try_from(jiff::Timestamp::now().as_second())?;
        self.note(&format!("the arbiter's generation is raised to {generation} in all sites"));
        for site in self.world().sites().iter().copied() {
            self.world().stop_operator(site)?;
            let args = vec![format!("--arbiter-generation={generation}")];
            self.world().start_operator(site, &OperatorOptions { args, ..OperatorOptions::default() })?;
        }
        Ok(generation)
    }

    /// The server's first process is killed under its guard.
    pub async fn kill_server(&self, site: Place) -> Result<()> {
        self.note(&format!("the server of {site} is killed"));
        self.shop.kill_server(site).await
    }

    /// Somebody promotes the server of a site by hand.
    pub async fn promote_by_hand(&self, site: Place) -> Result<()> {
        self.note(&format!("somebody promotes the server of {site} by hand"));
        self.as_superuser(site, "select pg_promote(false)").await
    }

    async fn as_superuser(&self, site: Place, sql: &str) -> Result<()> {
        let database = self.shop.superuser(site)?;
        let work = async {
            let (client, connection) = database.config.connect(NoTls).await?;
            let driver = tokio::spawn(connection);
            client.batch_execute(sql).await?;
            driver.abort();
            Ok::<(), tokio_postgres::Error>(())
        };
        tokio::time::timeout(ANSWER, work).await.context("no answer in time")??;
        Ok(())
    }

    /// The database's pod is deleted, as a rollout or a drained node would; returns when another has its place, with
    /// the moment before.
    pub async fn replace_pod(&self, site: Place) -> Result<Stamp> {
        self.note(&format!("the database's pod of {site} is deleted"));
        let before = Stamp::now();
        let old = self.world().pod(site, NAMESPACE, DATABASE_POD).await?;
        self.world().kubectl(site, &["delete", "pod", "-n", NAMESPACE, DATABASE_POD, "--wait=false"])?;
        until(&format!("another pod {DATABASE_POD} of {site}"), super::sees::SOON, || async {
            let pod = self.world().pod(site, NAMESPACE, DATABASE_POD).await?;
            ensure!(pod.uid != old.uid, "the old one is still there");
            Ok(())
        })
        .await?;
        self.note("another pod has its place");
        Ok(before)
    }

    /// No log of the server at one site reaches another one any more; everything else passes.
    pub fn cut_replication(&self, from: Place, to: Place) -> Result<()> {
        self.cut(&format!("replication from {from} to {to}"), &Cut::between(from, to).ports([POSTGRES_PORT]))
    }

    /// The server at a site goes on receiving the log and replays no more of it, until it is started again.
    pub async fn pause_replay(&self, site: Place) -> Result<()> {
        self.note(&format!("somebody pauses the replay at {site}"));
        self.as_superuser(site, "select pg_wal_replay_pause()").await
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

    /// Commits another policy while one site has no power.
    pub async fn commit_policy_for(&self, site: Place, text: &PolicyText) -> Result<()> {
        let commit = self.shop.commit_policy("another policy", text)?;
        self.note(&format!("policy committed: {commit:.8}"));
        self.shop.took(site, &commit, super::sees::SOON).await
    }

    /// Commits a Move from the active site to the other one; answers it with the commit.
    pub async fn commit_switchover(&self, name: &str) -> Result<(MoveText, String)> {
        let from = self.holder();
        self.commit_switchover_to(from.other_site().unwrap_or(from), name).await
    }

    /// The same to any site.
    async fn commit_switchover_to(&self, to: Place, name: &str) -> Result<(MoveText, String)> {
        let from = self.holder();
        let epoch = self.epoch().await?;
        let text = MoveText::switchover(name, from, to, epoch, "a scenario asks for it");
        let commit = self.shop.commit_move(&text)?;
        self.note(&format!("Move {name} from {from} to {to} in epoch {epoch}: {commit:.8}"));
        Ok((text, commit))
    }

    /// Commits two Moves from the active site to the other one in one commit, so that both name the same epoch
    /// however fast the first is carried out; answers the target.
    pub async fn commit_switchovers_at_once(&self, names: [&str; 2]) -> Result<Place> {
        let from = self.holder();
        let to = from.other_site().unwrap_or(from);
        let epoch = self.epoch().await?;
        let texts = names.map(|name| MoveText::switchover(name, from, to, epoch, "a scenario asks for it"));
        let commit = self.shop.commit_moves("two Moves at once", &texts)?;
        self.note(&format!(
            "Moves {} from {from} to {to} in epoch {epoch}: {commit:.8}",
            names.join(" and ")
        ));
        Ok(to)
    }

    /// Commits a `Failover` from the active site to the other one.
    pub async fn commit_failover(&self, name: &str) -> Result<()> {
        let (text, _) = self.failover(name).await?;
        self.commit_forced(&text)
    }

    /// Commits a `Failover` by which a person says that the active site is stopped.
    pub async fn commit_failover_of_stopped(&self, name: &str, who: &str) -> Result<()> {
        let (text, serial) = self.failover(name).await?;
        self.commit_forced(&text.source_stopped(serial, who))
    }

    /// The same, whatever is lost.
    pub async fn commit_failover_at_any_loss(&self, name: &str, who: &str) -> Result<()> {
        let (text, serial) = self.failover(name).await?;
        self.commit_forced(&text.source_stopped(serial, who).accept_data_loss())
    }

    /// A `Failover` as the other site sees the record, and the record's serial there.
    async fn failover(&self, name: &str) -> Result<(MoveText, u64)> {
        let from = self.holder();
        let to = from.other_site().unwrap_or(from);
        let seen = self.shop.view(to).await?;
        let serial = seen.status.serial.context("there is no record")?;
        Ok((MoveText::failover(name, from, to, seen.epoch()), serial))
    }

    fn commit_forced(&self, text: &MoveText) -> Result<()> {
        let commit = self.shop.commit_move(text)?;
        self.note(&format!("Move {} (Failover, {}): {commit:.8}", text.name, text.more.join(", ")));
        Ok(())
    }

    /// Commits a `Hold` that ends by itself after this time.
    pub async fn commit_hold(&self, name: &str, time: Duration) -> Result<()> {
        let until = jiff::Timestamp::now().checked_add(time)?;
        self.commit_order("Hold", name, Some(until)).await
    }

    /// Commits a `Resume`.
    pub async fn commit_resume(&self, name: &str) -> Result<()> {
        self.commit_order("Resume", name, None).await
    }

    /// Commits an `Abort`.
    pub async fn commit_abort(&self, name: &str) -> Result<()> {
        self.commit_order("Abort", name, None).await
    }

    async fn commit_order(
        &self,
        kind: &'static str,
        name: &str,
        until: Option<jiff::Timestamp>,
    ) -> Result<()> {
        let epoch = self.shop.view(self.witness()?).await?.epoch();
        let text = MoveText::order(kind, name, self.holder(), epoch, "a scenario asks for it", until);
        let commit = self.shop.commit_move(&text)?;
        self.note(&format!("Move {name} ({kind}) in epoch {epoch}: {commit:.8}"));
        Ok(())
    }

    /// Carries a planned switchover out, from the commit to writes at the other site.
    pub async fn switch_over(&mut self, name: &str) -> Result<MoveText> {
        let from = self.holder();
        self.switch_over_to(from.other_site().unwrap_or(from), name).await
    }

    /// The same to any site.
    pub async fn switch_over_to(&mut self, to: Place, name: &str) -> Result<MoveText> {
        let (text, _) = self.commit_switchover_to(to, name).await?;
        self.writes_move_to(text.to).await?;
        self.shop.move_ended(text.to, name, MoveState::Done, super::sees::SOON).await?;
        Ok(text)
    }
}

/// A database that leaves Bascule's care, by a person's word or for good.
impl Scene<'_> {
    /// A person takes a site's database out of Bascule's care, as the runbook says, and is refused until he has said what
    /// nobody else knows.
    pub async fn unlock(&self, site: Place, reason: &str) -> Result<()> {
        // An operator has spoken to it within the last two minutes of any scenario.
        let known = ["unlock", "--reason", reason, "--although", "operator"];
        let refused = self.guard(site, &known).await;
        let why = refused.err().map(|e| format!("{e:#}")).unwrap_or_default();
        ensure!(why.contains("--i-know-no-other-site-writes"), "it was not refused: {why}");
        let said = self.guard(site, &[&known[..], &["--i-know-no-other-site-writes"]].concat()).await?;
        ensure!(said.contains("Unlocked. The guard has noted it"), "it says: {said}");
        self.note(&format!("a person unlocks the database of {site}: {reason}"));
        Ok(())
    }

    /// He gives it back.
    pub async fn give_back(&self, site: Place) -> Result<()> {
        let said = self.guard(site, &["lock"]).await?;
        ensure!(said.contains("Given back. The guard has noted it"), "it says: {said}");
        self.note(&format!("the database of {site} is given back"));
        Ok(())
    }

    /// What the guard's program says in the database's own container.
    async fn guard(&self, site: Place, words: &[&str]) -> Result<String> {
        let pod = self.world().pod(site, NAMESPACE, DATABASE_POD).await?;
        let head = ["/opt/bascule/bascule", "guard"];
        self.world().exec(&pod, DATABASE_CONTAINER, &[&head[..], words].concat())
    }

    /// The guard is taken out of a site's StatefulSet; returns when its server runs by its own command.
    pub async fn take_guard_out(&self, site: Place) -> Result<()> {
        let old = self.world().pod(site, NAMESPACE, DATABASE_POD).await?;
        self.shop.without_guard(site).await?;
        self.note(&format!("the guard of {site} is taken out"));
        self.other_pod_is_ready(site, &old.uid).await?;
        let pod = self.world().pod(site, NAMESPACE, DATABASE_POD).await?;
        let all = self.world().processes(&pod)?;
        // A server names its sessions by their role, and the operator's is called like its program.
        ensure!(all.iter().all(|p| !p.command.contains("/opt/bascule/")), "a guard runs there: {all:?}");
        ensure!(all.iter().any(|p| p.command.starts_with("postgres -c")), "no server runs there: {all:?}");
        Ok(())
    }

    /// The guard is put before the server's own command again; returns when another pod has its place.
    pub async fn put_guard_in(&self, site: Place) -> Result<()> {
        let old = self.world().pod(site, NAMESPACE, DATABASE_POD).await?;
        self.shop.install_application(site).await?;
        self.note(&format!("the guard of {site} is put in"));
        self.another_pod(site, &old.uid).await
    }

    /// The database's StatefulSet of a site gets so many pods; returns when there are none, or one.
    pub async fn scale_database(&self, site: Place, replicas: u8) -> Result<()> {
        let number = format!("--replicas={replicas}");
        self.world().kubectl(site, &["scale", "statefulset", DATABASE, "-n", NAMESPACE, &number])?;
        until(&format!("{replicas} database pods at {site}"), super::sees::SOON, || async {
            let there = self.world().pods(site, NAMESPACE, &format!("app={DATABASE}")).await?.len();
            ensure!(there == usize::from(replicas), "there are {there}");
            Ok(())
        })
        .await?;
        self.note(&format!("the database of {site} has {replicas} pods"));
        Ok(())
    }

    /// The data of a site's database, which has no pod, is moved away: whoever runs there next makes a copy.
    pub fn empty_database(&self, site: Place) -> Result<()> {
        let (data, kept) =
            (self.shop.volume(site).join("pgdata"), self.shop.volume(site).join("pgdata.kept"));
        if kept.exists() {
            std::fs::remove_dir_all(&kept)?;
        }
        std::fs::rename(&data, &kept).with_context(|| format!("cannot move {}", data.display()))?;
        self.note(&format!("the data of {site} is moved away"));
        Ok(())
    }

    /// The server at a site writes a checkpoint, and then into the next segment of its log; answers the name of the one
    /// that it has left.
    pub async fn next_segment(&self, site: Place) -> Result<String> {
        let database = self.shop.superuser(site)?;
        let work = async {
            let (client, connection) = database.config.connect(NoTls).await?;
            let driver = tokio::spawn(connection);
            client.batch_execute("checkpoint").await?;
            let left = client.query_one("select pg_walfile_name(pg_switch_wal())", &[]).await?.get(0);
            driver.abort();
            Ok::<String, tokio_postgres::Error>(left)
        };
        let left = tokio::time::timeout(ANSWER, work).await.context("no answer in time")??;
        self.note(&format!("the server of {site} has left segment {left} of its log"));
        Ok(left)
    }

    /// What the server at a site, whose log reaches nobody, writes from now on is a history of its own: it has a checkpoint
    /// there to recover from.
    pub async fn writes_on_another_history(&self, site: Place) -> Result<()> {
        self.shop.writes_more(site, 100_000).await?;
        self.as_superuser(site, "checkpoint").await?;
        self.shop.writes_more(site, 100_000).await?;
        self.note(&format!("{site} has written what no other site has"));
        Ok(())
    }

    /// Somebody removes a segment of the log of a site that has no power.
    pub fn loses_segment(&self, site: Place, segment: &str) -> Result<()> {
        let path = self.shop.volume(site).join("pgdata/pg_wal").join(segment);
        match std::fs::remove_file(&path) {
            Ok(()) => self.note(&format!("somebody removes segment {segment} of the log of {site}")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                self.note(&format!("segment {segment} of the log of {site} is gone"));
            }
            Err(e) => return Err(e).with_context(|| format!("cannot remove {}", path.display())),
        }
        Ok(())
    }

    /// Runs a line of shell in the container of a site's database.
    pub async fn run_in_database(&self, site: Place, line: &str) -> Result<()> {
        self.note(&format!("somebody runs in the database's container of {site}: {line}"));
        let pod = self.world().pod(site, NAMESPACE, DATABASE_POD).await?;
        self.world().exec(&pod, DATABASE_CONTAINER, &["sh", "-c", line]).map(drop)
    }

    /// What a server kept for replicas that nobody reads any more is dropped.
    pub async fn drop_slots(&self, site: Place) -> Result<()> {
        self.note(&format!("the slots of {site} are dropped"));
        let sql = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active";
        self.as_superuser(site, sql).await
    }

    /// Another pod than this has the database's place at a site.
    async fn another_pod(&self, site: Place, old: &str) -> Result<()> {
        until(&format!("another pod {DATABASE_POD} of {site}"), super::sees::SOON, || async {
            let pod = self.world().pod(site, NAMESPACE, DATABASE_POD).await?;
            ensure!(pod.uid != old, "the old one is still there");
            Ok(())
        })
        .await
    }

    /// It has, and is ready.
    async fn other_pod_is_ready(&self, site: Place, old: &str) -> Result<()> {
        self.another_pod(site, old).await?;
        self.world().pod_ready(site, NAMESPACE, DATABASE_POD, super::sees::SOON).await.map(drop)
    }
}

impl Scene<'_> {
    /// Another field manager takes the web application's read-only flag by force and gives it this value.
    pub fn take_flag(&self, site: Place, manager: &str, value: &str) -> Result<()> {
        self.note(&format!("{manager} takes the flag of {site} and writes {value:?}"));
        self.apply_flags(site, manager, &format!("data: {{ READ_ONLY: \"{value}\" }}\n"))
    }

    /// It applies the same object without the flag, and so lets it go.
    pub fn let_flag_go(&self, site: Place, manager: &str) -> Result<()> {
        self.note(&format!("{manager} lets the flag of {site} go"));
        self.apply_flags(site, manager, "")
    }

    fn apply_flags(&self, site: Place, manager: &str, data: &str) -> Result<()> {
        let head = "apiVersion: v1\nkind: ConfigMap\n";
        let yaml = format!("{head}metadata: {{ name: web-flags, namespace: {NAMESPACE} }}\n{data}");
        self.world().apply_as(site, manager, &yaml).map(drop)
    }

    /// Another field manager takes the number of the web application's replicas by force.
    pub fn take_replicas(&self, site: Place, manager: &str, replicas: u32) -> Result<()> {
        self.note(&format!("{manager} takes the replicas of {WEB} of {site} and writes {replicas}"));
        let head = "apiVersion: apps/v1\nkind: Deployment\n";
        let yaml = format!(
            "{head}metadata: {{ name: {WEB}, namespace: {NAMESPACE} }}\nspec: {{ replicas: {replicas} }}\n"
        );
        self.world().apply_as(site, manager, &yaml).map(drop)
    }

    /// Runs the line of shell that status told.
    pub fn run_line(&self, site: Place, line: &str) -> Result<()> {
        self.note(&format!("somebody runs at {site}: {line}"));
        self.world().shell(site, line).map(drop)
    }

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
