//! Dead servers, deleted pods, lagging standbys.

use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_e2e::client::Stamp;
use bascule_e2e::scenario::{Scenario, Scene, scenarios};
use bascule_e2e::shop::PolicyText;

const A_WHILE: Duration = Duration::from_secs(6);

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = scenarios![
        PolicyText::at_once;
        a_killed_server_is_offered_and_the_standby_takes_it,
        a_pod_deleted_by_a_rollout_is_no_failover,
        two_primaries_that_the_operators_find_at_their_start_are_one_again_and_the_writer_stays,
        a_copy_that_can_never_be_rewound_says_so_and_is_made_anew_by_the_told_commands,
    ];
    all.extend(scenarios![
        cooled_down;
        a_server_that_dies_within_the_cooldown_is_started_where_it_is,
    ]);
    all.extend(scenarios![
        hardly_any_loss;
        a_standby_that_lags_too_far_behind_holds_and_says_why,
    ]);
    all.extend(scenarios![
        short_restarts;
        a_database_whose_node_dies_is_withdrawn_and_the_standby_takes_it,
    ]);
    all.extend(scenarios![
        restarts_of_what_may_not_be_lost;
        a_dead_node_is_waited_for_when_more_than_is_allowed_may_be_lost,
    ]);
    all
}

/// Nothing moves by itself for two minutes after a transition.
fn cooled_down() -> PolicyText {
    PolicyText { cooldown: "2m".to_owned(), ..PolicyText::at_once() }
}

/// A bound that a lagging standby cannot keep.
fn hardly_any_loss() -> PolicyText {
    PolicyText { max_bytes: "64Ki".to_owned(), max_time: "2s".to_owned(), ..PolicyText::at_once() }
}

/// A guard that is gone for longer than this does not come back by itself.
fn short_restarts() -> PolicyText {
    PolicyText { restart_grace: "5s".to_owned(), ..PolicyText::at_once() }
}

/// What nobody sees until the grace is over is more than may be lost.
fn restarts_of_what_may_not_be_lost() -> PolicyText {
    PolicyText { restart_grace: "10s".to_owned(), max_time: "4s".to_owned(), ..PolicyText::at_once() }
}

async fn a_killed_server_is_offered_and_the_standby_takes_it(s: &mut Scene<'_>) -> Result<()> {
    s.loss_is_allowed();
    s.kill_server(s.active).await?;
    s.writes_move_to(s.standby).await?;
    Ok(())
}

async fn a_server_that_dies_within_the_cooldown_is_started_where_it_is(s: &mut Scene<'_>) -> Result<()> {
    s.switch_over("before-it-dies").await?;
    s.shop.steady(s.standby, Duration::from_secs(40)).await?;
    let (epoch, killed) = (s.epoch().await?, Stamp::now());
    s.kill_server(s.standby).await?;
    s.a_write_fails(killed).await?;
    s.writes_return().await?;
    s.writes_paused(killed, Duration::from_millis(100))?;
    s.nothing_moved(epoch).await
}

async fn a_pod_deleted_by_a_rollout_is_no_failover(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    let deleted = s.replace_pod(s.active).await?;
    s.writes_return().await?;
    s.writes_paused(deleted, Duration::from_millis(300))?;
    s.nothing_moved(epoch).await
}

async fn a_standby_that_lags_too_far_behind_holds_and_says_why(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.thin_line(s.standby, 8_000)?;
    s.shop.writes_more(s.active, 200_000).await?;
    s.shop.falls_behind(s.active, 100_000, Duration::from_secs(40)).await?;
    s.knows_of_a_loss(s.standby, 100_000).await?;
    s.kill(s.active)?;
    s.reads_only_at(s.standby).await?;
    s.says(s.standby, "loss").await?;
    s.writes_stop_for(A_WHILE).await?;
    s.boot(s.active).await?;
    s.writes_return().await?;
    s.nothing_moved(epoch).await
}

async fn a_database_whose_node_dies_is_withdrawn_and_the_standby_takes_it(s: &mut Scene<'_>) -> Result<()> {
    s.loss_is_allowed();
    let epoch = s.epoch().await?;
    s.kill_node(s.active)?;
    s.records(s.active, "Withdrawn", epoch).await?;
    s.writes_move_to(s.standby).await?;
    s.writes_go_on_for(A_WHILE).await
}

async fn a_dead_node_is_waited_for_when_more_than_is_allowed_may_be_lost(s: &mut Scene<'_>) -> Result<()> {
    let (epoch, serial) = (s.epoch().await?, s.serial().await?);
    s.kill_node(s.active)?;
    s.says(s.active, "has received nothing of main").await?;
    s.writes_stop_for(3 * A_WHILE).await?;
    ensure!(s.serial().await? == serial, "the role was given up in vain");
    s.boot_node(s.active).await?;
    s.writes_return().await?;
    s.nothing_moved(epoch).await
}

async fn two_primaries_that_the_operators_find_at_their_start_are_one_again_and_the_writer_stays(
    s: &mut Scene<'_>,
) -> Result<()> {
    let epoch = s.epoch().await?;
    for site in [s.standby, s.active] {
        s.kill_operator(site)?;
    }
    s.promote_by_hand(s.standby).await?;
    s.writes_go_on_for(A_WHILE).await?;
    for site in [s.standby, s.active] {
        s.start_operator(site)?;
    }
    s.shop.steady(s.active, Duration::from_mins(1)).await?;
    s.nothing_moved(epoch).await
}

async fn a_copy_that_can_never_be_rewound_says_so_and_is_made_anew_by_the_told_commands(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.loss_is_allowed();
    let old = s.active;
    // The last checkpoint that both copies have lies in a segment before the one in which they part; the one from which the
    // old copy recovers lies behind it.
    let segment = s.next_segment(old).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.cut_replication(old, s.standby)?;
    s.writes_on_another_history(old).await?;
    s.kill(old)?;
    s.heal()?;
    s.writes_move_to(s.standby).await?;
    s.loses_segment(old, &segment)?;
    s.boot(old).await?;
    let told = s.replica_cannot_be_rewound(old).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.run_in_database(old, &told).await?;
    s.shop.steady(s.standby, Duration::from_mins(1)).await?;
    s.writes_go_on_for(A_WHILE).await
}
