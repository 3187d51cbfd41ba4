//! Bascule's side: the demo's application with its guarded databases, as the scenarios run it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::client::{Before, Change, Seen, back, looks, moved, reads_at, uses, writes, writes_through};
use super::proxy::{self, Listed};
use super::series::Act;
use super::sql;
use crate::shop::{INSTALL, MoveText, NAMESPACE, POLICY, PolicyText, Shop, View};
use crate::torture::records::record;
use crate::waiting::until;
use crate::world::place::POSTGRES_PORT;
use crate::world::{HTTP_PORT, OperatorOptions, Place, Profile, World};

/// How long the pair may take to be steady again.
const STEADY: Duration = Duration::from_mins(2);
/// Where the proxy takes sessions for it.
const PROXY_PORT: u16 = 5601;

/// The application, and how many Moves were merged.
pub(super) struct Bascule<'a> {
    shop: Shop<'a>,
    moves: usize,
    /// The profile that its operators run with.
    profile: Profile,
    /// The policy in force.
    policy: PolicyText,
}

impl<'a> Bascule<'a> {
    /// Installs the application and waits for the steady pair.
    pub(super) async fn install(world: &'a World) -> Result<Self> {
        let shop = Shop::of(world);
        let policy = PolicyText::at_once();
        shop.install(&policy).await?;
        shop.steady(Place::Paris, INSTALL).await?;
        Ok(Self { shop, moves: 0, profile: Profile::default(), policy })
    }

    /// The application.
    pub(super) fn shop(&self) -> Shop<'a> {
        self.shop
    }

    /// What a proxy has to know of it.
    pub(super) fn listed() -> Result<Listed> {
        let mut servers = Vec::new();
        for site in Place::SITES {
            let database = format!("{}:{POSTGRES_PORT}", Shop::replication_address(site)).parse()?;
            servers.push((site, database, (site.address(), HTTP_PORT).into()));
        }
        let path = format!("/primary/{NAMESPACE}/{POLICY}");
        Ok(Listed { name: "bascule", port: PROXY_PORT, path, servers })
    }

    /// Who is active, once the pair is steady.
    pub(super) async fn steady(&self) -> Result<(Place, Place)> {
        // An operator that has just started knows of no record yet.
        let known = |view: &View| view.active().map(drop).context("there is no record");
        let view = self.shop.view_when(Place::Paris, "a record at paris", STEADY, known).await?;
        let active = view.active().context("there is no record")?;
        self.shop.steady(active, STEADY).await?;
        Ok((active, active.other_site().context("a site")?))
    }

    /// How a site's operator is started.
    pub(super) fn options(&self) -> OperatorOptions {
        OperatorOptions { profile: self.profile, ..OperatorOptions::default() }
    }

    /// Has both operators run with a profile; returns when the record promises its times and the pair is steady.
    pub(super) async fn configure(&mut self, profile: Profile) -> Result<()> {
        if self.profile == profile {
            return Ok(());
        }
        let (active, _) = self.steady().await?;
        self.profile = profile;
        for site in Place::SITES {
            self.shop.world().stop_operator(site)?;
            self.shop.world().start_operator(site, &self.options())?;
        }
        until(&format!("profile {} to be promised", profile.0), STEADY, || async {
            let promised = tokio::task::block_in_place(|| record(self.shop.world()))?.promise.profile;
            ensure!(promised == profile.0, "{promised} is promised");
            Ok(())
        })
        .await?;
        self.shop.steady(active, STEADY).await?;
        Ok(())
    }

    /// Puts a policy in force in both sites. Answers the moment at which it had been pushed, for whoever measures.
    async fn put(&mut self, policy: PolicyText) -> Result<Before> {
        let before = Before::now();
        let commit = self.shop.commit_policy("measured", &policy)?;
        let before = before.event_is_now();
        let taken = |site| self.shop.took(site, &commit, STEADY);
        tokio::try_join!(taken(Place::Paris), taken(Place::Lyon))?;
        self.policy = policy;
        Ok(before)
    }

    /// Milliseconds from a push to the last site that has taken it. It changes how long a dead database is offered.
    pub(super) async fn pushed(&mut self) -> Result<f64> {
        self.steady().await?;
        let offer_for = if self.policy.offer_for == "5s" { "6s" } else { "5s" };
        let before = self.put(PolicyText { offer_for: offer_for.to_owned(), ..self.policy.clone() }).await?;
        Ok(before.elapsed_ms())
    }

    /// Lets it happen once, until the client is back.
    pub(super) async fn measure(&mut self, act: Act) -> Result<(Place, Seen)> {
        let reads_first = act == Act::ReadsServed;
        let policy = if reads_first { PolicyText::default() } else { PolicyText::at_once() };
        let policy = PolicyText { offer_for: self.policy.offer_for.clone(), ..policy };
        if self.policy != policy {
            self.put(policy).await?;
        }
        let (from, to) = self.steady().await?;
        let client = match act {
            Act::PlannedDns => uses(self.shop.web(), from).await?,
            Act::ReadsServed => looks(self.shop.web(), from).await?,
            Act::PlannedProxy => {
                until("the proxy to find the active site", STEADY, || proxy::works(PROXY_PORT)).await?;
                writes_through(proxy::database(PROXY_PORT)?).await?
            }
            _ => writes(self.shop.databases()?, from).await?,
        };
        let before = Before::now();
        let seen = match act {
            Act::Planned | Act::PlannedDns | Act::PlannedProxy => {
                self.moves += 1;
                let epoch = self.shop.view(from).await?.epoch();
                let name = format!("bench-{}", self.moves);
                self.shop.commit_move(&MoveText::switchover(&name, from, to, epoch, "measured"))?;
                // Merged: what was before is the person's work.
                let before = before.event_is_now();
                match act {
                    Act::PlannedProxy => back(client, before, Some(to)).await?,
                    _ => moved(client, before, from, to).await?,
                }
            }
            Act::DatabaseKilled => {
                self.shop.kill_server(from).await?;
                back(client, before.event_is_now(), None).await?
            }
            Act::SiteKilled | Act::Returned => {
                let before = before.event_is_now();
                self.shop.world().kill(from)?;
                moved(client, before, from, to).await?
            }
            Act::ReadsServed => {
                let before = before.event_is_now();
                self.shop.world().kill(from)?;
                let seen = reads_at(client, before, to).await?;
                // Its power comes back after the promotion, so that every sample begins alike.
                self.shop
                    .view_when(to, &format!("{to} to be promoted"), STEADY, |view| {
                        ensure!(view.active() == Some(to) && view.phase() == "Steady", "{}", view.message());
                        Ok(())
                    })
                    .await?;
                seen
            }
            Act::Effect | Act::Pushed => bail!("{act:?} has no client"),
        };
        Ok((from, seen))
    }

    /// Waits until a standby streams from this site's server.
    pub(super) async fn followed(&self, active: Place) -> Result<()> {
        until("the standby to stream", STEADY, || async {
            sql::ensure_streams(&sql::session(&self.shop.superuser(active)?).await?).await
        })
        .await
    }

    /// Waits for the steady pair, and tells what the change was like.
    pub(super) async fn settle(&self, from: Place, seen: Seen) -> Result<Change> {
        self.shop.steady(seen.at, STEADY).await?;
        let rows = self.shop.rows(seen.at).await?;
        let last = self.shop.view(seen.at).await?.status.last_transition;
        let phases = last.map(|last| last.phases).unwrap_or_default();
        let phases = phases.into_iter().map(|phase| (phase.name, phase.ms as f64)).collect();
        let (lost, two_writers) = (seen.lost(&rows), seen.two_writers(from));
        Ok(Change { seen, phases, lost, two_writers })
    }
}
