//! Three sites: which standby takes over, and whom the third one follows. The third place has the zone's primary server, so
//! it is never the one that dies.

use std::time::Duration;

use anyhow::Result;
use bascule_e2e::scenario::{Scenario, Scene, scenarios};
use bascule_e2e::shop::PolicyText;
use bascule_e2e::world::Place::{Lyon, Paris, Third};
use bascule_e2e::world::Scope;

const A_WHILE: Duration = Duration::from_secs(6);

pub(crate) fn all() -> Vec<Scenario> {
    let all = scenarios![
        PolicyText::at_once;
        the_preferred_standby_of_three_lags_and_the_one_that_has_more_takes_over,
        the_preferred_standby_of_three_stands_still_and_the_other_takes_over,
        a_switchover_to_the_third_site_and_back_loses_nothing,
        a_switchover_to_the_third_site_does_not_wait_for_a_standby_that_lags,
        a_standby_whose_replay_is_paused_follows_the_third_site,
    ];
    all.into_iter().map(Scenario::with_three_sites).collect()
}

/// Whoever was active when the scenario before ended.
async fn from_paris(s: &mut Scene<'_>, name: &str) -> Result<()> {
    if s.holder() != Paris {
        s.switch_over_to(Paris, name).await?;
    }
    Ok(())
}

async fn the_preferred_standby_of_three_lags_and_the_one_that_has_more_takes_over(
    s: &mut Scene<'_>,
) -> Result<()> {
    from_paris(s, "first-to-paris-1").await?;
    s.loss_is_allowed();
    s.cut_replication(Paris, Lyon)?;
    s.writes_go_on_for(A_WHILE).await?;
    s.kill(Paris)?;
    s.writes_move_to(Third).await?;
    s.heal()?;
    s.writes_go_on_for(A_WHILE).await?;
    s.boot(Paris).await
}

async fn the_preferred_standby_of_three_stands_still_and_the_other_takes_over(
    s: &mut Scene<'_>,
) -> Result<()> {
    from_paris(s, "first-to-paris-2").await?;
    s.loss_is_allowed();
    s.freeze(Lyon, Scope::Pods)?;
    s.writes_go_on_for(A_WHILE).await?;
    s.kill(Paris)?;
    s.writes_move_to(Third).await?;
    s.thaw(Lyon, Scope::Pods)?;
    s.writes_go_on_for(A_WHILE).await?;
    s.boot(Paris).await
}

async fn a_switchover_to_the_third_site_and_back_loses_nothing(s: &mut Scene<'_>) -> Result<()> {
    from_paris(s, "first-to-paris-3").await?;
    s.switch_over_to(Third, "to-the-third").await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.switch_over_to(Paris, "back-from-the-third").await?;
    s.writes_go_on_for(A_WHILE).await
}

async fn a_switchover_to_the_third_site_does_not_wait_for_a_standby_that_lags(
    s: &mut Scene<'_>,
) -> Result<()> {
    from_paris(s, "first-to-paris-4").await?;
    s.cut_replication(Paris, Lyon)?;
    s.writes_go_on_for(A_WHILE).await?;
    s.switch_over_to(Third, "past-the-one-that-lags").await?;
    s.heal()?;
    s.writes_go_on_for(A_WHILE).await
}

async fn a_standby_whose_replay_is_paused_follows_the_third_site(s: &mut Scene<'_>) -> Result<()> {
    from_paris(s, "first-to-paris-5").await?;
    s.pause_replay(Lyon).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.switch_over_to(Third, "past-the-one-that-is-paused").await?;
    s.writes_go_on_for(A_WHILE).await
}
