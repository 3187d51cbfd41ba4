//! Clocks that leap, and clocks that run fast or slow, at one site.

use std::time::Duration;

use anyhow::Result;
use bascule_crds::MoveState;
use bascule_e2e::scenario::{Scenario, Scene, scenarios, with_clocks};
use bascule_e2e::shop::PolicyText;
use bascule_e2e::world::Cut;

const A_WHILE: Duration = Duration::from_secs(6);
const LONGER: Duration = Duration::from_secs(30);
const HOUR: i64 = 60;
/// What the protocol allows a clock to be wrong: one in a hundred.
const AS_WRONG_AS_IT_MAY_BE: i64 = 10_000;

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = scenarios![
        PolicyText::at_once;
        a_wall_clock_of_the_active_site_that_leaps_moves_nothing,
        a_wall_clock_of_the_standby_site_that_leaps_moves_nothing,
        a_site_whose_wall_clock_is_an_hour_ahead_is_lost_and_replaced_like_any_other,
        a_site_whose_wall_clock_is_an_hour_behind_takes_over_and_traffic_follows,
        a_site_whose_wall_clock_is_an_hour_ahead_takes_over_and_traffic_follows,
        roles_are_exchanged_by_plan_between_sites_whose_wall_clocks_are_two_hours_apart,
        a_hold_of_three_hours_holds_at_a_site_whose_wall_clock_is_an_hour_ahead,
        a_slow_active_site_that_reaches_no_arbiter_stops_before_a_fast_standby_takes_over,
        clocks_that_run_as_wrong_as_they_may_move_nothing_and_lose_nothing_by_plan,
    ];
    all.extend(scenarios![
        reads_for_long;
        a_wall_clock_that_leaps_over_the_promotion_s_time_promotes_nobody,
    ]);
    with_clocks(all)
}

/// Reads for longer than a scenario lasts, and for less than a clock leaps.
fn reads_for_long() -> PolicyText {
    PolicyText { promote: "10m".to_owned(), ..PolicyText::default() }
}

async fn a_wall_clock_of_the_active_site_that_leaps_moves_nothing(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.step_clock(s.active, HOUR).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.step_clock(s.active, -2 * HOUR).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.shop.steady(s.active, Duration::from_mins(1)).await?;
    s.nothing_moved(epoch).await
}

async fn a_wall_clock_of_the_standby_site_that_leaps_moves_nothing(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.step_clock(s.standby, HOUR).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.step_clock(s.standby, -2 * HOUR).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.shop.steady(s.active, Duration::from_mins(1)).await?;
    s.nothing_moved(epoch).await
}

async fn a_site_whose_wall_clock_is_an_hour_ahead_is_lost_and_replaced_like_any_other(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.loss_is_allowed();
    s.step_clock(s.active, HOUR).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.kill(s.active)?;
    s.writes_move_to(s.standby).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.boot(s.active).await
}

async fn a_site_whose_wall_clock_is_an_hour_behind_takes_over_and_traffic_follows(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.loss_is_allowed();
    s.step_clock(s.standby, -HOUR).await?;
    s.kill(s.active)?;
    s.writes_move_to(s.standby).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.boot(s.active).await
}

async fn a_site_whose_wall_clock_is_an_hour_ahead_takes_over_and_traffic_follows(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.loss_is_allowed();
    s.step_clock(s.standby, HOUR).await?;
    s.kill(s.active)?;
    s.writes_move_to(s.standby).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.boot(s.active).await
}

async fn roles_are_exchanged_by_plan_between_sites_whose_wall_clocks_are_two_hours_apart(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.step_clock(s.active, HOUR).await?;
    s.step_clock(s.standby, -HOUR).await?;
    s.switch_over("clocks-apart").await?;
    s.shop.steady(s.standby, LONGER).await?;
    s.switch_over("clocks-apart-and-back").await?;
    s.writes_go_on_for(A_WHILE).await
}

async fn a_hold_of_three_hours_holds_at_a_site_whose_wall_clock_is_an_hour_ahead(
    s: &mut Scene<'_>,
) -> Result<()> {
    let epoch = s.epoch().await?;
    s.step_clock(s.standby, HOUR).await?;
    s.commit_hold("three-hours", Duration::from_hours(3)).await?;
    s.move_ends("three-hours", MoveState::Done).await?;
    s.kill(s.active)?;
    s.says(s.standby, "held until").await?;
    s.writes_stop_for(A_WHILE).await?;
    s.boot(s.active).await?;
    s.writes_return().await?;
    s.commit_resume("no-longer").await?;
    s.move_ends("no-longer", MoveState::Done).await?;
    s.nothing_moved(epoch).await
}

async fn a_wall_clock_that_leaps_over_the_promotion_s_time_promotes_nobody(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.kill(s.active)?;
    s.reads_only_at(s.standby).await?;
    s.step_clock(s.standby, HOUR).await?;
    s.writes_stop_for(2 * A_WHILE).await?;
    s.step_clock(s.standby, -2 * HOUR).await?;
    s.writes_stop_for(2 * A_WHILE).await?;
    s.boot(s.active).await?;
    s.writes_return().await?;
    s.nothing_moved(epoch).await
}

async fn a_slow_active_site_that_reaches_no_arbiter_stops_before_a_fast_standby_takes_over(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.loss_is_allowed();
    s.run_clock(s.active, -AS_WRONG_AS_IT_MAY_BE)?;
    s.run_clock(s.standby, AS_WRONG_AS_IT_MAY_BE)?;
    s.writes_go_on_for(LONGER).await?;
    s.cut("the active site from the arbiter", &Cut::from_arbiter(s.active))?;
    s.writes_move_to(s.standby).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.heal()
}

async fn clocks_that_run_as_wrong_as_they_may_move_nothing_and_lose_nothing_by_plan(
    s: &mut Scene<'_>,
) -> Result<()> {
    let epoch = s.epoch().await?;
    s.run_clock(s.active, AS_WRONG_AS_IT_MAY_BE)?;
    s.run_clock(s.standby, -AS_WRONG_AS_IT_MAY_BE)?;
    s.writes_go_on_for(LONGER).await?;
    s.nothing_moved(epoch).await?;
    s.switch_over("one-fast-one-slow").await?;
    s.writes_go_on_for(A_WHILE).await
}
