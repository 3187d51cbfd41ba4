//! The world that many scenarios share, and what one scenario has of it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::{Client, History, Kind, Stamp};
use crate::progress::{Progress, seconds};
use crate::shop::{INSTALL, PolicyText, Shop};
use crate::world::{Options, Place, World};

/// How long a pair may take to be steady again after a scenario's faults.
const AFTERWARDS: Duration = Duration::from_secs(90);

/// A world with the application in it.
#[derive(Debug)]
pub struct Stage {
    world: World,
    /// The policy as it is committed now.
    policy: Mutex<PolicyText>,
}

impl Stage {
    /// Brings a world up, installs the application and waits until paris writes and lyon follows.
    pub async fn up() -> Result<Self> {
        Box::pin(Self::up_with(Options::default())).await
    }

    /// The same with a world that is made in this way, its disks in memory.
    pub async fn up_with(options: Options) -> Result<Self> {
        let world =
            World::up(Options { progress: Progress::shown(), disks_in_memory: true, ..options }).await?;
        let policy = PolicyText::default();
        let shop = Shop::of(&world);
        shop.install(&policy).await?;
        shop.steady(Place::Paris, INSTALL).await?;
        Ok(Self { world, policy: Mutex::new(policy) })
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Takes it down.
    pub fn down(self) -> Result<()> {
        self.world.down()
    }

    /// Whether it has three sites.
    pub fn has_three_sites(&self) -> bool {
        self.world.is_site(Place::Third)
    }

    /// A steady pair, whoever is active, with this policy in force.
    pub async fn scene(&self, policy: &PolicyText) -> Result<Scene<'_>> {
        let shop = Shop::of(&self.world);
        let changed = {
            let mut held = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
            let changed = *held != *policy;
            held.clone_from(policy);
            changed
        };
        if changed {
            let commit = shop.commit_policy("what the next scenario needs", policy)?;
            for site in self.world.sites().iter().copied() {
                shop.took(site, &commit, AFTERWARDS).await?;
            }
        }
        let active = self.active().await?;
        shop.steady(active, AFTERWARDS).await?;
        let client = Client::start(&shop.published());
        client.all_work_at(Kind::Write, active.name(), Stamp::now(), AFTERWARDS).await?;
        Ok(Scene {
            shop,
            policy: policy.clone(),
            active,
            standby: self.world.sites().iter().copied().find(|s| *s != active).context("a site")?,
            client,
            begin: Instant::now(),
            transcript: Mutex::default(),
            writers: vec![active.name().to_owned()],
            loss_allowed: false,
            aloud: false,
        })
    }

    async fn active(&self) -> Result<Place> {
        let view = Shop::of(&self.world).view(Place::Paris).await?;
        view.active().context("there is no record")
    }
}

/// What one scenario has: the application, a client at work, and who is who when it begins.
pub struct Scene<'a> {
    /// The application.
    pub shop: Shop<'a>,
    /// The policy in force when it began.
    pub policy: PolicyText,
    /// The site that was active when it began.
    pub active: Place,
    /// The other one; of three sites the first in the policy.
    pub standby: Place,
    /// The client, at work since the beginning.
    pub client: Client,
    begin: Instant,
    transcript: Mutex<Vec<String>>,
    /// The sites that may have acknowledged writes, in order.
    pub(super) writers: Vec<String>,
    pub(super) loss_allowed: bool,
    aloud: bool,
}

impl<'a> Scene<'a> {
    /// The world.
    pub fn world(&self) -> &'a World {
        self.shop.world()
    }

    /// Notes what was done or seen, for the transcript.
    pub fn note(&self, what: &str) {
        let line = format!("{:>8}  {what}", seconds(self.begin.elapsed()));
        if self.aloud {
            println!("{line}");
        }
        self.transcript.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Notes are shown from now on, too, as they are made.
    pub fn aloud(&mut self) {
        self.aloud = true;
    }

    /// What was done and seen so far.
    pub fn transcript(&self) -> String {
        self.transcript.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The active site by now: the last that was seen to take writes.
    pub fn holder(&self) -> Place {
        let last = self.writers.last().and_then(|w| w.parse().ok());
        last.unwrap_or(self.active)
    }

    /// Takes every fault back, waits for the steady pair and judges the whole record.
    pub async fn finish(&mut self) -> Result<History> {
        self.world().restore().await?;
        let holder = self.holder();
        let missing = |why: &str| self.note(&format!("not steady yet: {why}"));
        self.shop.steady_telling(holder, AFTERWARDS, missing).await?;
        self.note(&format!("steady again, {holder} active"));
        self.client.works_at(Kind::Write, holder.name(), Stamp::now(), AFTERWARDS).await?;
        let history = self.client.history();
        let rows = self.shop.rows(holder).await?;
        let order: Vec<&str> = self.writers.iter().map(String::as_str).collect();
        history.one_writer_at_a_time(&order)?;
        let twice = history.written_twice(&rows);
        ensure!(twice.is_empty(), "{} rows were written twice: {twice:?}", twice.len());
        let refused = history.refused_but_written(&rows);
        ensure!(refused.is_empty(), "{} refused writes were written: {:?}", refused.len(), refused.first());
        let lost = history.lost(&rows);
        self.note(&format!("{} rows acknowledged, {} lost", history.acked().count(), lost.len()));
        ensure!(
            lost.is_empty() || self.loss_allowed,
            "{} acknowledged rows are lost, the first: {:?}",
            lost.len(),
            lost.first()
        );
        if !lost.is_empty() {
            self.lost_rows_are_saved(&lost)?;
        }
        Ok(history)
    }
}
