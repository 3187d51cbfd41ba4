//! Whole places, and the servers of a place that are no database.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::torture::ground::Ground;
use crate::world::dns::PRIMARY;
use crate::world::{OperatorOptions, Place, Scope};

async fn frozen(on: &Ground<'_, '_>, at: Place, scope: Scope, lasts: Duration) -> Result<()> {
    on.world().freeze(at, scope)?;
    sleep(lasts).await;
    on.world().thaw(at, scope)
}

pub(super) async fn pods_frozen(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let _admitted = on.guard_stands_still(at);
    frozen(on, at, Scope::Pods, lasts).await
}

pub(super) async fn place_frozen(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let _admitted = on.guard_stands_still(at);
    frozen(on, at, Scope::Whole, lasts).await
}

pub(super) async fn power_loss(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    on.world().kill(at)?;
    sleep(lasts).await;
    on.scene.boot(at).await
}

pub(super) async fn node_killed(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    on.world().kill_node(at)?;
    sleep(lasts).await;
    on.world().boot_node(at).await
}

pub(super) async fn operator_killed(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    on.world().kill_operator(at)?;
    sleep(lasts).await;
    on.world().start_operator(at, &OperatorOptions::default())
}

pub(super) async fn operator_frozen(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    frozen(on, at, Scope::Operator, lasts).await
}

pub(super) async fn dns_killed(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    on.world().kill_part(at, "knot")?;
    sleep(lasts).await;
    on.world().restart_dns_server(at)
}

pub(super) async fn dns_frozen(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    frozen(on, at, Scope::Dns, lasts).await
}

pub(super) async fn api_killed(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    on.world().kill_part(at, "apiserver")?;
    sleep(lasts).await;
    on.world().restart_api_server(at).await
}

pub(super) async fn api_frozen(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    frozen(on, at, Scope::ControlPlane, lasts).await
}

pub(super) async fn api_refuses(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let refused = on.world().refuse_operator(at).await;
    sleep(lasts).await;
    on.world().accept_operator(at).await?;
    refused
}

pub(super) async fn updates_refused(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    let refused = on.world().dns().refuse_updates();
    sleep(lasts).await;
    on.world().dns().as_written(PRIMARY)?;
    refused
}

pub(super) async fn no_transfer(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let refused = on.world().dns().refuse_transfers(at);
    sleep(lasts).await;
    on.world().dns().as_written(PRIMARY)?;
    refused
}

pub(super) async fn git_gone(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    on.world().git().stop()?;
    sleep(lasts).await;
    on.world().git().start()
}

pub(super) async fn git_frozen(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    on.world().git().freeze()?;
    sleep(lasts).await;
    on.world().git().thaw()
}
