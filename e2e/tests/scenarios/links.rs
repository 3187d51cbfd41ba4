//! Cut links.

use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_e2e::client::{Kind, Stamp};
use bascule_e2e::scenario::{Scenario, Scene, scenarios};
use bascule_e2e::shop::PolicyText;
use bascule_e2e::world::{Cut, Scope};

/// `R + F + G` of the metro profile: no write that was sent later than this after the cut is acknowledged.
const STOPPED: Duration = Duration::from_millis(1250 + 300 + 200);
const A_WHILE: Duration = Duration::from_secs(6);

pub(crate) fn all() -> Vec<Scenario> {
    scenarios![
        PolicyText::at_once;
        a_cut_link_between_the_sites_moves_nothing,
        an_active_site_cut_from_the_arbiter_stops_in_time_and_the_other_takes_over,
        an_active_site_cut_from_everything_stops_and_the_other_takes_over,
        a_frozen_active_site_wakes_up_and_takes_not_one_write,
    ]
}

async fn a_cut_link_between_the_sites_moves_nothing(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.cut("between the sites", &Cut::between(s.active, s.standby))?;
    s.writes_go_on_for(A_WHILE).await?;
    s.heal()?;
    s.nothing_moved(epoch).await
}

async fn an_active_site_cut_from_the_arbiter_stops_in_time_and_the_other_takes_over(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.loss_is_allowed();
    s.cut("the active site from the arbiter", &Cut::from_arbiter(s.active))?;
    // The cut is whole by now; and a write whose answer was read late was taken between being sent and being read.
    let cut = Stamp::now();
    s.writes_move_to(s.standby).await?;
    let history = s.client.history();
    let last = history.last_begun_at(Kind::Write, s.active.name());
    let went_on = last.map_or(Duration::ZERO, |a| a.start.since(cut));
    s.note(&format!("the old site took writes that were sent up to {went_on:?} after the cut"));
    ensure!(went_on <= STOPPED, "the old site took a write that was sent {went_on:?} after the cut");
    Ok(())
}

async fn an_active_site_cut_from_everything_stops_and_the_other_takes_over(s: &mut Scene<'_>) -> Result<()> {
    s.loss_is_allowed();
    s.cut("the active site from everything", &Cut::isolate(s.active))?;
    s.writes_move_to(s.standby).await?;
    Ok(())
}

async fn a_frozen_active_site_wakes_up_and_takes_not_one_write(s: &mut Scene<'_>) -> Result<()> {
    s.loss_is_allowed();
    s.freeze(s.active, Scope::Whole)?;
    s.writes_move_to(s.standby).await?;
    s.thaw(s.active, Scope::Whole)?;
    s.writes_go_on_for(A_WHILE).await
}
