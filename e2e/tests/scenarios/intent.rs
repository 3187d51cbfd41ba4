//! Moves, git, Secrets, other policies.

use std::time::Duration;

use anyhow::Result;
use bascule_crds::MoveState;
use bascule_e2e::scenario::{Scenario, Scene, scenarios};
use bascule_e2e::shop::PolicyText;
use k8s_openapi::api::core::v1::Secret;

const A_WHILE: Duration = Duration::from_secs(5);

pub(crate) fn all() -> Vec<Scenario> {
    scenarios![
        PolicyText::at_once;
        a_switchover_loses_nothing,
        the_target_of_a_switchover_dies_as_it_takes_the_role_and_its_source_writes_again,
        the_same_move_applied_again_or_reverted_does_nothing,
        of_two_moves_at_once_one_acts_and_the_other_is_stale,
        a_git_server_that_is_gone_changes_nothing,
        a_broken_policy_file_changes_nothing_and_is_named,
        a_missing_secret_blocks_its_site_and_is_named,
        a_wrong_secret_blocks_its_site_and_is_named,
        a_broken_policy_leaves_another_ones_writer_alone,
    ]
}

async fn a_switchover_loses_nothing(s: &mut Scene<'_>) -> Result<()> {
    s.switch_over("there").await?;
    s.shop.steady(s.standby, Duration::from_secs(40)).await?;
    s.flag_becomes(s.active, "1").await?;
    s.flag_becomes(s.standby, "0").await?;
    s.switch_over("and-back").await?;
    Ok(())
}

/// The source has stopped cleanly and knows so: it runs as a standby though nobody answers, and is promoted. Whether the
/// target was promoted before it died is left to chance; when it was, it is rewound, and nobody has to act.
async fn the_target_of_a_switchover_dies_as_it_takes_the_role_and_its_source_writes_again(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.loss_is_allowed();
    let epoch = s.epoch().await?;
    s.commit_switchover("into-a-dying-site").await?;
    s.records(s.standby, "Promoting", epoch + 1).await?;
    s.may_write(s.standby);
    s.kill(s.standby)?;
    s.writes_move_to(s.active).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.boot(s.standby).await
}

async fn the_same_move_applied_again_or_reverted_does_nothing(s: &mut Scene<'_>) -> Result<()> {
    let (text, commit) = s.commit_switchover("once").await?;
    s.writes_move_to(text.to).await?;
    s.move_ends("once", MoveState::Done).await?;
    let epoch = s.epoch().await?;
    let revert = s.world().git().revert(&commit)?;
    s.both_took(&revert).await?;
    let again = s.world().git().revert(&revert)?;
    s.both_took(&again).await?;
    s.move_ends("once", MoveState::Done).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await
}

async fn of_two_moves_at_once_one_acts_and_the_other_is_stale(s: &mut Scene<'_>) -> Result<()> {
    let target = s.commit_switchovers_at_once(["first-of-two", "second-of-two"]).await?;
    s.writes_move_to(target).await?;
    s.move_ends("first-of-two", MoveState::Done).await?;
    s.move_ends("second-of-two", MoveState::Stale).await?;
    s.writes_go_on_for(A_WHILE).await
}

async fn a_git_server_that_is_gone_changes_nothing(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.note("git is frozen, then gone");
    s.world().git().freeze()?;
    s.writes_go_on_for(A_WHILE).await?;
    s.world().git().stop()?;
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await
}

async fn a_broken_policy_file_changes_nothing_and_is_named(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    let broken = s.policy.yaml(s.world()).replace("initialSite: paris", "initialSite: atlantis");
    let commit = s.commit_file("shop/shop.yaml", &broken)?;
    s.source_refuses(&commit, "atlantis").await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await?;
    let mended = s.world().git().revert(&commit)?;
    s.both_took(&mended).await
}

async fn a_missing_secret_blocks_its_site_and_is_named(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    let secret = s.take_secret(s.standby, "main-bascule").await?;
    s.says(s.standby, "main-bascule").await?;
    s.commit_switchover("without-a-secret").await?;
    s.move_ends("without-a-secret", MoveState::Refused).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await?;
    s.give_secret(s.standby, &secret).await
}

async fn a_wrong_secret_blocks_its_site_and_is_named(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    let right = s.take_secret(s.standby, "main-bascule").await?;
    let wrong = [("username", "bascule"), ("password", "not-the-password")];
    let wrong = wrong.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    s.give_secret(s.standby, &Secret { data: None, string_data: Some(wrong), ..right.clone() }).await?;
    s.says(s.standby, "main-bascule").await?;
    s.commit_switchover("with-a-wrong-secret").await?;
    s.move_ends("with-a-wrong-secret", MoveState::Refused).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await?;
    s.take_secret(s.standby, "main-bascule").await?;
    s.give_secret(s.standby, &right).await
}

async fn a_broken_policy_leaves_another_ones_writer_alone(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    let other = s.policy.yaml(s.world()).replace("name: shop\n  namespace", "name: broken\n  namespace");
    let other = other.replace("name: main-bascule", "name: not-there").replace("www.shop", "other.shop");
    let commit = s.commit_file("shop/broken.yaml", &other)?;
    s.both_took(&commit).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await?;
    let gone = s.world().git().revert(&commit)?;
    s.both_took(&gone).await
}
