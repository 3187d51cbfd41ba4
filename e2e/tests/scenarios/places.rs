//! Dead places and operators.

use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_e2e::scenario::{Scenario, Scene, scenarios};
use bascule_e2e::shop::PolicyText;
use bascule_e2e::world::{Place, Scope};

const A_WHILE: Duration = Duration::from_secs(6);
const A_MINUTE: Duration = Duration::from_mins(1);

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = scenarios![
        PolicyText::at_once;
        the_third_place_dies_and_no_write_fails,
        the_standby_site_dies_and_no_write_fails,
        the_active_site_dies_and_the_other_takes_over,
        a_frozen_operator_of_the_active_site_stops_no_write,
        a_killed_operator_of_the_active_site_stops_no_write,
        an_operator_that_is_absent_for_a_minute_stops_no_write,
    ];
    all.extend(scenarios![
        reads_first;
        the_old_site_returns_during_the_hold_and_keeps_its_role,
        the_old_site_returns_after_the_promotion_and_follows,
    ]);
    all
}

/// Reads for longer than a site may take to boot, on whatever machine.
fn reads_first() -> PolicyText {
    PolicyText { promote: "10m".to_owned(), ..PolicyText::default() }
}

async fn the_third_place_dies_and_no_write_fails(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.kill(Place::Third)?;
    s.writes_go_on_for(A_WHILE).await?;
    s.boot(Place::Third).await?;
    s.nothing_moved(epoch).await
}

async fn the_standby_site_dies_and_no_write_fails(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.kill(s.standby)?;
    s.writes_go_on_for(A_WHILE).await?;
    s.boot(s.standby).await?;
    s.nothing_moved(epoch).await
}

async fn the_active_site_dies_and_the_other_takes_over(s: &mut Scene<'_>) -> Result<()> {
    s.loss_is_allowed();
    s.kill(s.active)?;
    s.writes_move_to(s.standby).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.boot(s.active).await
}

async fn a_frozen_operator_of_the_active_site_stops_no_write(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.freeze(s.active, Scope::Operator)?;
    s.writes_go_on_for(A_WHILE).await?;
    s.thaw(s.active, Scope::Operator)?;
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await
}

async fn a_killed_operator_of_the_active_site_stops_no_write(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.kill_operator(s.active)?;
    s.start_operator(s.active)?;
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await
}

async fn an_operator_that_is_absent_for_a_minute_stops_no_write(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.kill_operator(s.active)?;
    s.writes_go_on_for(A_MINUTE).await?;
    s.start_operator(s.active)?;
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await
}

async fn the_old_site_returns_during_the_hold_and_keeps_its_role(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.kill(s.active)?;
    s.reads_only_at(s.standby).await?;
    s.boot(s.active).await?;
    s.writes_return().await?;
    ensure!(s.epoch().await? == epoch, "the epoch has changed");
    Ok(())
}

async fn the_old_site_returns_after_the_promotion_and_follows(s: &mut Scene<'_>) -> Result<()> {
    s.loss_is_allowed();
    s.commit_policy(&PolicyText::default()).await?;
    s.kill(s.active)?;
    s.reads_only_at(s.standby).await?;
    s.writes_move_to(s.standby).await?;
    s.boot(s.active).await?;
    s.writes_go_on_for(A_WHILE).await
}
