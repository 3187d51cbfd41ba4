//! What a scenario sees, most of it from the client's own record.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bascule_crds::{GateVerdict, MoveState, PolicySource};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::Scene;
use crate::client::{Attempt, Kind, Outcome, Stamp};
use crate::shop::{NAMESPACE, View, WEB, saved_commits};
use crate::torture::records::record;
use crate::waiting::until;
use crate::world::{Place, Replica};

/// How long something that must happen may take.
pub(super) const SOON: Duration = Duration::from_secs(40);
/// How long until a site says what it finds in a database's settings: it looks every thirty seconds while nothing
/// moves.
const SAID: Duration = Duration::from_secs(30 + 40);
/// A write that takes longer was not "the database keeps writing".
const HICCUP: Duration = Duration::from_millis(1500);

impl Scene<'_> {
    /// Writes go on at the present holder for so long, without a failed one and without a pause.
    pub async fn writes_go_on_for(&self, time: Duration) -> Result<()> {
        let (site, from) = (self.holder(), Stamp::now());
        tokio::time::sleep(time).await;
        self.client.works_at(Kind::Write, site.name(), Stamp::now(), SOON).await?;
        let (history, to) = (self.client.history(), Stamp::now());
        let (refused, unknown) = history.failed(from, to);
        let gap = history.longest_gap(Kind::Write, from, to).length();
        self.note(&format!("writes went on at {site} for {time:?}, longest gap {gap:?}"));
        ensure!(refused + unknown == 0, "{refused} writes were refused, {unknown} are unknown: {}", {
            let failed = history.of(Kind::Write).find(|a| a.start >= from && !a.worked());
            failed.map(|a| format!("{:?}", a.outcome)).unwrap_or_default()
        });
        ensure!(gap < HICCUP, "no write worked for {gap:?}");
        Ok(())
    }

    /// Writes stop, and stay away for so long.
    pub async fn writes_stop_for(&self, time: Duration) -> Result<Stamp> {
        let site = self.holder();
        let last = crate::waiting::until("writes to stop", SOON, || async {
            let history = self.client.history();
            let last = history.last_at(Kind::Write, site.name(), Stamp::now()).map(|a| a.end);
            let last = last.unwrap_or(Stamp(0));
            ensure!(
                Stamp::now().since(last) >= time,
                "the last write worked {:?} ago",
                Stamp::now().since(last)
            );
            Ok(last)
        })
        .await?;
        self.note(&format!("writes stopped at {site}"));
        Ok(last)
    }

    /// A write that began after a moment fails: sessions may outlive a server's first process for a few milliseconds.
    pub async fn a_write_fails(&self, after: Stamp) -> Result<()> {
        let failed = |a: &Attempt| a.kind == Kind::Write && a.start >= after && !a.worked();
        let failed = self.client.wait_for("write that fails", SOON, failed).await?;
        self.note(&format!("a write fails {:?} after", failed.end.since(after)));
        Ok(())
    }

    /// Operator and database of a site show the time that they are meant to show, where they run.
    pub async fn clock_shows(&self, site: Place) -> Result<()> {
        let meant = self.world().clock(site)?.offset()?;
        until(&format!("the clocks of {site} to be {meant:.1} s ahead"), SOON, || async {
            self.world().operator_has_the_clock(site)?;
            let shown = self.shop.database_is_ahead(site).await?;
            ensure!((shown as f64 - meant).abs() < 3.0, "the database is {shown} s ahead");
            Ok(())
        })
        .await?;
        self.note(&format!("operator and database of {site} are {meant:.1} s ahead"));
        Ok(())
    }

    /// Writes come back at the present holder, every user's; answers how long there was none.
    pub async fn writes_return(&self) -> Result<Duration> {
        let (site, from) = (self.holder(), Stamp::now());
        let before = self.client.history().last_at(Kind::Write, site.name(), from).map(|a| a.end);
        let write = self.client.all_work_at(Kind::Write, site.name(), from, SOON).await?;
        let gap = write.end.since(before.unwrap_or(from));
        self.note(&format!("writes are back at {site} after {gap:?}"));
        Ok(gap)
    }

    /// The role moves: writes are acknowledged by this site, every user's. From now on it is the holder; answers its
    /// first write.
    pub async fn writes_move_to(&mut self, site: Place) -> Result<Attempt> {
        let from = Stamp::now();
        let write = self.client.all_work_at(Kind::Write, site.name(), from, SOON).await?;
        self.note(&format!("{site} takes writes, {:?} after it was awaited", write.end.since(from)));
        self.writers.push(site.name().to_owned());
        Ok(write)
    }

    /// A site may acknowledge writes from now on, or none: it is not waited for.
    pub fn may_write(&mut self, site: Place) {
        self.writers.push(site.name().to_owned());
    }

    /// Since a moment there was a time without a write, at least so long.
    pub fn writes_paused(&self, since: Stamp, at_least: Duration) -> Result<()> {
        let gap = self.client.history().longest_gap(Kind::Write, since, Stamp::now()).length();
        ensure!(gap >= at_least, "the longest time without a write was {gap:?}");
        self.note(&format!("there was no write for {gap:?}"));
        Ok(())
    }

    /// A site answers reads, and writes get the correct refusal.
    pub async fn reads_only_at(&self, site: Place) -> Result<()> {
        let from = Stamp::now();
        self.client.works_at(Kind::Read, site.name(), from, SOON).await?;
        let words = format!("{site}: read-only");
        self.client
            .wait_for(&format!("write that {site} refuses as read-only"), SOON, |a| {
                a.kind == Kind::Write && matches!(&a.outcome, Outcome::Refused(why) if why.contains(&words))
            })
            .await?;
        self.note(&format!("{site} answers reads and refuses writes"));
        Ok(())
    }

    /// A site's status comes to say this.
    pub async fn says(&self, site: Place, words: &str) -> Result<View> {
        let said = |v: &View| {
            let all = format!("{} {}", v.message(), v.blocking().join("; "));
            ensure!(all.contains(words), "{site} says: {all}");
            Ok(())
        };
        let view = self.shop.view_when(site, &format!("{site} to say {words:?}"), SAID, said).await?;
        self.note(&format!("{site} says {words:?}: {}", view.message()));
        Ok(view)
    }

    /// A site comes to say that its copy can never be rewound; answers the commands that it tells.
    pub async fn replica_cannot_be_rewound(&self, site: Place) -> Result<String> {
        let told = |view: &View| {
            let why = view.condition_message("FailoverPossible");
            let (reason, line) =
                why.split_once("; to go on, in its pod: ").with_context(|| why.to_owned())?;
            ensure!(reason.contains("pg_rewind"), "it is for something else: {reason}");
            Ok(line.split(" (needed").next().unwrap_or(line).to_owned())
        };
        let what = format!("{site} to say that pg_rewind refuses");
        let view = self.shop.view_when(site, &what, SAID, |view| told(view).map(drop)).await?;
        self.note(&format!("{site} says: {}", view.condition_message("FailoverPossible")));
        told(&view)
    }

    /// A site's loss gate comes to block a promotion by at least so many bytes that it knows of: by their time alone it
    /// may block for a moment before it has heard of any.
    pub async fn knows_of_a_loss(&self, site: Place, least: u64) -> Result<()> {
        let blocks = |v: &View| {
            let found = v.status.gates.iter().find(|g| g.name == "loss").context("it is not asked")?;
            let known = bytes_told(&found.message).unwrap_or_default();
            let blocks = found.verdict == GateVerdict::Block && known >= least as f64;
            ensure!(blocks, "it says: {}", found.message);
            Ok(found.message.clone())
        };
        let what = format!("{site} to be blocked by at least {least} bytes");
        let view = self.shop.view_when(site, &what, SOON, |v| blocks(v).map(drop)).await?;
        self.note(&format!("{site} is blocked: {}", blocks(&view)?));
        Ok(())
    }

    /// A site's status comes to show this phase.
    pub async fn reaches(&self, site: Place, phase: &str) -> Result<View> {
        let shows = |v: &View| {
            ensure!(v.phase() == phase, "{site} is in {}: {}", v.phase(), v.message());
            Ok(())
        };
        let view = self.shop.view_when(site, &format!("{site} to be in {phase}"), SOON, shows).await?;
        self.note(&format!("{site} is in {phase}: {}", view.message()));
        Ok(view)
    }

    /// The record is made anew, this site still has the role, and the pair is steady.
    pub async fn is_made_anew(&self, generation: u64, active: Place) -> Result<()> {
        let found = until("the record to be made anew", SOON, || async {
            let found = tokio::task::block_in_place(|| record(self.world()))?;
            ensure!(found.generation == generation, "it is of generation {}", found.generation);
            Ok(found)
        })
        .await?;
        ensure!(found.active == active.name(), "{} is active in it, expected {active}", found.active);
        ensure!(found.epoch > 1 << 16, "its epoch is {}", found.epoch);
        self.note(&format!("the record is made anew: epoch {}, {} is active", found.epoch, found.active));
        Ok(())
    }

    /// A site's operator records this phase in this epoch. For a phase that passes by itself: status may be written
    /// too seldom to show it.
    pub async fn records(&self, site: Place, phase: &str, epoch: u64) -> Result<()> {
        let (in_epoch, recorded) = (format!(" epoch={epoch} "), format!("outcome: recorded {phase}"));
        let line = until(&format!("{site} to record {phase} in epoch {epoch}"), SOON, || async {
            let lines = self.shop.journal(site);
            let found = lines.into_iter().find(|l| l.contains(&in_epoch) && l.ends_with(&recorded));
            found.context("its journal has no such line")
        })
        .await?;
        self.note(&format!("{site} has recorded {phase}: {line}"));
        Ok(())
    }

    /// One replica of a site's operator acts, and the other one stands by; answers which one acts.
    pub async fn acts(&self, site: Place) -> Result<Replica> {
        let acts = until(&format!("one replica of {site} to act"), SOON, || async {
            tokio::task::block_in_place(|| self.world().acting(site))
        })
        .await?;
        self.note(&format!("replica {} of {site} acts", acts.part()));
        Ok(acts)
    }

    /// A replica comes to act and to hold its site's lease; answers how long after a moment.
    pub async fn begins_to_act(&self, site: Place, replica: Replica, since: Stamp) -> Result<Duration> {
        until(&format!("replica {} of {site} to act", replica.part()), SOON, || async {
            let acts = tokio::task::block_in_place(|| self.world().replica_acts(site, replica));
            ensure!(acts, "it does not say so");
            Ok(())
        })
        .await?;
        let took = Stamp::now().since(since);
        self.note(&format!("replica {} of {site} acts and holds the lease {took:?} after", replica.part()));
        Ok(took)
    }

    /// A Move comes to this end, and the policy's status there says so, too: what is read from it afterwards, such as
    /// the serial, is not older.
    pub async fn move_ends(&self, name: &str, end: MoveState) -> Result<String> {
        let witness = self.witness()?;
        let message = self.shop.move_ended(witness, name, end, SOON).await?;
        let what = format!("the policy's status at {witness} to name Move {name}");
        let named = |v: &View| {
            ensure!(v.status.moves.iter().any(|m| m.name == name), "it does not");
            Ok(())
        };
        self.shop.view_when(witness, &what, SOON, named).await?;
        self.note(&format!("Move {name} is {end:?}: {message}"));
        Ok(message)
    }

    /// A site whose status can be read: the holder, or another one while that is without power.
    pub(super) fn witness(&self) -> Result<Place> {
        let (holder, powered) = (self.holder(), self.world().powered()?);
        let mut others = self.world().sites().iter().copied().filter(|s| *s != holder && powered.contains(s));
        Ok(others.next().filter(|_| !powered.contains(&holder)).unwrap_or(holder))
    }

    /// A site's status comes to say that a person has unlocked a database there, or that it was given back.
    pub async fn is_unlocked(&self, site: Place, so: bool) -> Result<()> {
        let wanted = if so { "True" } else { "False" };
        let says = |v: &View| {
            let (found, why) = (v.condition("Unlocked"), v.condition_message("Unlocked"));
            ensure!(found == wanted, "Unlocked is {found:?}: {why}");
            Ok(())
        };
        let view =
            self.shop.view_when(site, &format!("Unlocked of {site} to be {wanted}"), SOON, says).await?;
        self.note(&format!("Unlocked of {site} is {wanted}: {}", view.condition_message("Unlocked")));
        Ok(())
    }

    /// The record promises nothing of the active site: nobody takes its role by silence.
    pub async fn nothing_is_promised(&self) -> Result<()> {
        until("the record to promise nothing", SOON, || async {
            let found = tokio::task::block_in_place(|| record(self.world()))?;
            ensure!(found.promise.is_nothing(), "it promises {:?}", found.promise);
            Ok(())
        })
        .await?;
        self.note("the record promises nothing");
        Ok(())
    }

    /// A site's status comes to say `Contended`, with these words; answers what it says.
    pub async fn contended(&self, site: Place, words: &str) -> Result<String> {
        let says = |v: &View| {
            let told = v.condition_message("Contended");
            ensure!(v.condition("Contended") == "True" && told.contains(words), "Contended: {told}");
            Ok(())
        };
        let view = self.shop.view_when(site, &format!("{site} to name {words:?}"), SOON, says).await?;
        let told = view.condition_message("Contended").to_owned();
        self.note(&format!("{site} is Contended: {told}"));
        Ok(told)
    }

    /// A site's status comes to have nothing `Contended`.
    pub async fn uncontended(&self, site: Place) -> Result<()> {
        let says = |v: &View| {
            ensure!(v.condition("Contended").is_empty(), "Contended: {}", v.condition_message("Contended"));
            Ok(())
        };
        self.shop.view_when(site, &format!("{site} not to be Contended"), SOON, says).await?;
        self.note(&format!("{site} is not Contended any more"));
        Ok(())
    }

    /// The web application's read-only flag comes to have this value.
    pub async fn flag_becomes(&self, site: Place, value: &str) -> Result<()> {
        until(&format!("the flag of {site} to be {value:?}"), SOON, || async {
            let flag = self.flag(site).await?;
            ensure!(flag.as_deref() == Some(value), "it is {flag:?}");
            Ok(())
        })
        .await?;
        self.note(&format!("the flag of {site} is {value:?}"));
        Ok(())
    }

    /// The web application's read-only flag now.
    pub async fn flag(&self, site: Place) -> Result<Option<String>> {
        let api: Api<ConfigMap> = Api::namespaced(self.world().kube(site).await?, NAMESPACE);
        Ok(api.get("web-flags").await?.data.and_then(|data| data.get("READ_ONLY").cloned()))
    }

    /// The web application's replicas come to be so many.
    pub async fn replicas_become(&self, site: Place, replicas: i32) -> Result<()> {
        until(&format!("{replicas} replicas at {site}"), SOON, || async {
            let found = self.replicas(site).await?;
            ensure!(found == Some(replicas), "they are {found:?}");
            Ok(())
        })
        .await?;
        self.note(&format!("{WEB} of {site} has {replicas} replicas"));
        Ok(())
    }

    /// How many replicas the web application shall have, as its object says now.
    pub async fn replicas(&self, site: Place) -> Result<Option<i32>> {
        let api: Api<Deployment> = Api::namespaced(self.world().kube(site).await?, NAMESPACE);
        Ok(api.get(WEB).await?.spec.and_then(|spec| spec.replicas))
    }

    /// Every site has taken a commit.
    pub async fn both_took(&self, commit: &str) -> Result<()> {
        for site in self.world().sites().iter().copied() {
            self.shop.took(site, commit, SOON).await?;
        }
        self.note(&format!("all sites took {commit:.8}"));
        Ok(())
    }

    /// Nothing has moved since the beginning: same site, same epoch as this.
    pub async fn nothing_moved(&self, epoch: u64) -> Result<()> {
        let view = self.shop.view(self.holder()).await?;
        ensure!(
            view.active() == Some(self.holder()) && view.epoch() == epoch,
            "active {:?}, epoch {}; expected {} and {epoch}",
            view.active(),
            view.epoch(),
            self.holder()
        );
        self.note(&format!("nothing moved: {} in epoch {epoch}", self.holder()));
        Ok(())
    }

    /// The record's serial now: it counts every change.
    pub async fn serial(&self) -> Result<Option<u64>> {
        Ok(self.shop.view(self.holder()).await?.status.serial)
    }

    /// Waits until the active site has claimed its role anew, in a record behind this serial.
    pub async fn claims_its_role_anew(&self, before: Option<u64>) -> Result<()> {
        let claimed = |view: &View| {
            let serial = view.status.serial;
            ensure!(serial > before, "it says serial {serial:?}, before it was {before:?}");
            Ok(())
        };
        let what = format!("{} to claim its role anew", self.holder());
        self.shop.view_when(self.holder(), &what, SOON, claimed).await.map(drop)
    }

    /// The epoch now, as the active site says it: an operator that has just begun to act may not know it yet.
    pub async fn epoch(&self) -> Result<u64> {
        let what = format!("{} to say its epoch", self.holder());
        let known = |view: &View| view.status.epoch.map(drop).context("it says none");
        Ok(self.shop.view_when(self.holder(), &what, SOON, known).await?.epoch())
    }

    /// What was not replicated when a site died may be lost; each lost row must then be in the saved log.
    pub fn loss_is_allowed(&mut self) {
        self.loss_allowed = true;
    }

    /// Each lost row is in the log that the guard of its site has saved.
    pub fn lost_rows_are_saved(&self, lost: &[&Attempt]) -> Result<()> {
        let from = lost.first().and_then(|a| a.site()).and_then(|s| s.parse::<Place>().ok());
        let site = from.context("a lost row that no site acknowledged")?;
        let saved = self.shop.saved(site)?.with_context(|| format!("{site} has saved nothing"))?;
        let commits = saved_commits(&self.shop.saved_folder(site, &saved)?, &saved)?;
        for row in lost {
            let Outcome::Acked { xid, .. } = &row.outcome else { continue };
            ensure!(commits.contains(xid), "lost row {} (transaction {xid}) is not saved", row.token);
        }
        ensure!(
            saved.transactions >= lost.len() as u64,
            "{} rows are lost, {} transactions were counted",
            lost.len(),
            saved.transactions
        );
        self.note(&format!("each of {} lost rows is in the saved log of {site}", lost.len()));
        Ok(())
    }
}

impl Scene<'_> {
    /// Every site refuses a commit, and their status names this.
    pub async fn source_refuses(&self, commit: &str, words: &str) -> Result<()> {
        for site in self.world().sites().iter().copied() {
            let api: Api<PolicySource> = Api::namespaced(self.world().kube(site).await?, NAMESPACE);
            let what = format!("{site} to refuse commit {commit}");
            let named = until(&what, SOON, || async {
                let status = api.get("fleet").await?.status.unwrap_or_default();
                let all = serde_json::to_string(&status)?;
                ensure!(!status.errors.is_empty() && all.contains(words), "its status is {all}");
                Ok(status.errors.into_iter().next().map(|e| format!("{e:?}")).unwrap_or_default())
            })
            .await?;
            self.note(&format!("{site} refuses {commit:.8}: {named}"));
        }
        Ok(())
    }
}

/// The bytes that a loss gate tells: `loss: 2 MiB and what was written in 71.8 s (needed: …`.
fn bytes_told(message: &str) -> Option<f64> {
    let (before, _) = message.split_once(" and what was written in ")?;
    let mut words = before.rsplit(' ');
    let unit = words.next()?;
    let number: f64 = words.next()?.parse().ok()?;
    let power = ["B", "KiB", "MiB", "GiB", "TiB"].iter().position(|u| *u == unit)?;
    Some(number * 1024_f64.powi(i32::try_from(power).ok()?))
}

#[cfg(test)]
mod tests {
    use super::bytes_told;

    #[test]
    fn the_bytes_of_a_loss_gate_are_read_with_their_unit() {
        let told = |words: &str| {
            bytes_told(&format!("loss: {words} (needed: at most 64 KiB and what was written in 2 s)"))
        };
        assert_eq!(told("1.5 MiB and what was written in 71.8 s"), Some(1.5 * 1024.0 * 1024.0));
        assert_eq!(told("12 B and what was written in 2 s"), Some(12.0));
        assert_eq!(told("an unknown number of bytes and what was written in an unknown time"), None);
    }
}
