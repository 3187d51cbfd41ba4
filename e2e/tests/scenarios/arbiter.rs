//! An arbiter that loses what it knew.

use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_e2e::init::Ended;
use bascule_e2e::scenario::{Scenario, Scene, scenarios};
use bascule_e2e::shop::PolicyText;

pub(crate) fn all() -> Vec<Scenario> {
    scenarios![
        PolicyText::at_once;
        an_emptied_arbiter_is_refused_until_its_generation_is_raised_and_everybody_keeps_his_role,
        an_arbiter_from_before_a_switchover_is_refused_until_its_generation_is_raised_and_nothing_is_lost,
        a_site_name_that_is_installed_twice_is_refused_and_disturbs_nobody,
    ]
}

async fn an_emptied_arbiter_is_refused_until_its_generation_is_raised_and_everybody_keeps_his_role(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.empty_arbiter()?;
    s.says(s.active, "raise arbiter.generation").await?;
    s.says(s.standby, "raise arbiter.generation").await?;
    let generation = s.raise_generation()?;
    s.is_made_anew(generation, s.active).await?;
    s.writes_return().await.map(drop)
}

async fn an_arbiter_from_before_a_switchover_is_refused_until_its_generation_is_raised_and_nothing_is_lost(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.back_up_arbiter().await?;
    s.shop.steady(s.active, Duration::from_mins(1)).await?;
    let there = s.switch_over("before-the-arbiter-is-put-back").await?;
    s.put_back_arbiter().await?;
    s.says(s.active, "raise arbiter.generation").await?;
    s.says(s.standby, "raise arbiter.generation").await?;
    let generation = s.raise_generation()?;
    s.is_made_anew(generation, there.to).await?;
    s.writes_return().await.map(drop)
}

async fn a_site_name_that_is_installed_twice_is_refused_and_disturbs_nobody(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    let (ended, said) = s.world().installed_twice(s.active, s.standby)?;
    let refusal = format!("the site name {} belongs to another cluster", s.active);
    ensure!(ended != Ended::Exited(0) && said.contains(&refusal), "{ended:?}: {said}");
    s.note(&said);
    s.writes_go_on_for(Duration::from_secs(3)).await?;
    s.nothing_moved(epoch).await
}
