//! Bascule's side: the demo's application with its guarded databases, as the scenarios run it.

use std::time::Duration;

use anyhow::{Context, Result};

use super::client::{Before, Change, Seen, back, moved, writes};
use super::series::Act;
use crate::shop::{INSTALL, MoveText, PolicyText, Shop};
use crate::world::{Place, World};

/// How long the pair may take to be steady again.
const STEADY: Duration = Duration::from_mins(2);

/// The application, and how many Moves were merged.
pub(super) struct Bascule<'a> {
    shop: Shop<'a>,
    moves: usize,
}

impl<'a> Bascule<'a> {
    /// Installs the application and waits for the steady pair.
    pub(super) async fn install(world: &'a World) -> Result<Self> {
        let shop = Shop::of(world);
        shop.install(&PolicyText::at_once()).await?;
        shop.steady(Place::Paris, INSTALL).await?;
        Ok(Self { shop, moves: 0 })
    }

    /// The application.
    pub(super) fn shop(&self) -> Shop<'a> {
        self.shop
    }

    /// Who is active, once the pair is steady.
    pub(super) async fn steady(&self) -> Result<(Place, Place)> {
        let active = self.shop.view(Place::Paris).await?.active().context("there is no record")?;
        self.shop.steady(active, STEADY).await?;
        Ok((active, active.other_site().context("a site")?))
    }

    /// Lets it happen once, until the client writes again.
    pub(super) async fn measure(&mut self, act: Act) -> Result<(Place, Seen)> {
        let (from, to) = self.steady().await?;
        let client = writes(self.shop.databases()?, from).await?;
        let before = Before::now();
        let seen = match act {
            Act::Planned | Act::Effect => {
                self.moves += 1;
                let epoch = self.shop.view(from).await?.epoch();
                let name = format!("bench-{}", self.moves);
                self.shop.commit_move(&MoveText::switchover(&name, from, to, epoch, "measured"))?;
                // Merged: what was before is the person's work.
                moved(client, before.event_is_now(), from, to).await?
            }
            Act::DatabaseKilled => {
                self.shop.kill_server(from).await?;
                back(client, before.event_is_now()).await?
            }
            Act::SiteKilled => {
                let before = before.event_is_now();
                self.shop.world().kill(from)?;
                moved(client, before, from, to).await?
            }
        };
        Ok((from, seen))
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
