//! What people say and do: failovers, holds and aborts by a Move, and fields that somebody else owns.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bascule_crds::MoveState;
use bascule_e2e::scenario::{Scenario, Scene, scenarios};
use bascule_e2e::shop::PolicyText;
use bascule_e2e::world::{Cut, Place};

const A_WHILE: Duration = Duration::from_secs(6);
const AN_HOUR: Duration = Duration::from_hours(1);

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = scenarios![
        PolicyText::at_once;
        a_flag_that_another_manager_takes_is_named_and_not_taken_back_by_force,
        replicas_that_another_manager_takes_are_left_until_the_told_line_is_run,
        a_held_role_is_not_promoted_until_it_is_resumed,
        a_switchover_that_waits_for_its_target_is_given_up_by_an_abort,
        a_suspended_writer_is_replaced_only_on_a_persons_word_and_follows_when_it_returns,
        while_a_database_is_unlocked_no_other_site_takes_its_role,
        a_database_whose_arbiter_is_gone_writes_by_a_persons_word_until_it_is_given_back,
        a_database_leaves_care_runs_by_itself_and_comes_back_into_care_with_its_rows,
    ];
    all.extend(scenarios![
        never_by_itself;
        a_dead_site_is_replaced_only_when_a_person_says_that_it_is_stopped,
    ]);
    all
}

/// Reads are served by itself; a promotion is a person's.
fn never_by_itself() -> PolicyText {
    PolicyText { promote: "Never".to_owned(), ..PolicyText::default() }
}

async fn a_flag_that_another_manager_takes_is_named_and_not_taken_back_by_force(
    s: &mut Scene<'_>,
) -> Result<()> {
    let epoch = s.epoch().await?;
    s.take_flag(s.standby, "deployer", "0")?;
    s.contended(s.standby, "\"deployer\"").await?;
    s.commit_switchover("into-a-contended-site").await?;
    s.move_ends("into-a-contended-site", MoveState::Refused).await?;
    s.writes_go_on_for(A_WHILE).await?;
    ensure!(s.flag(s.standby).await?.as_deref() == Some("0"), "the flag was taken by force");
    s.nothing_moved(epoch).await?;
    s.let_flag_go(s.standby, "deployer")?;
    s.uncontended(s.standby).await?;
    s.flag_becomes(s.standby, "1").await?;
    s.shop.steady(s.active, Duration::from_secs(40)).await?;
    s.switch_over("into-a-free-site").await?;
    Ok(())
}

async fn replicas_that_another_manager_takes_are_left_until_the_told_line_is_run(
    s: &mut Scene<'_>,
) -> Result<()> {
    let epoch = s.epoch().await?;
    s.take_replicas(s.active, "deployer", 2)?;
    let told = s.contended(s.active, "\"deployer\"").await?;
    s.writes_go_on_for(A_WHILE).await?;
    ensure!(s.replicas(s.active).await? == Some(2), "the replicas were taken by force");
    let line = told.lines().find_map(|l| Some(&l[l.find("kubectl -n ")?..])).context("no line is told")?;
    s.run_line(s.active, line.trim_end_matches(')'))?;
    s.uncontended(s.active).await?;
    s.replicas_become(s.active, 1).await?;
    s.nothing_moved(epoch).await
}

async fn a_dead_site_is_replaced_only_when_a_person_says_that_it_is_stopped(s: &mut Scene<'_>) -> Result<()> {
    s.loss_is_allowed();
    s.kill(s.active)?;
    s.reads_only_at(s.standby).await?;
    s.says(s.standby, "promote.after is Never").await?;
    s.writes_stop_for(A_WHILE).await?;
    s.commit_failover_of_stopped("stopped", "A. Martin, in the room: the rack is off").await?;
    s.writes_move_to(s.standby).await?;
    s.move_ends("stopped", MoveState::Done).await?;
    s.boot(s.active).await?;
    s.writes_go_on_for(A_WHILE).await
}

/// A suspended policy's database has no deadline: that its site is silent says nothing of it.
async fn a_suspended_writer_is_replaced_only_on_a_persons_word_and_follows_when_it_returns(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.loss_is_allowed();
    s.commit_policy(&PolicyText { suspend: true, ..PolicyText::at_once() }).await?;
    s.reaches(s.standby, "Unmanaged").await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.kill(s.active)?;
    s.commit_policy_for(s.standby, &PolicyText::at_once()).await?;
    s.writes_stop_for(A_WHILE).await?;
    s.commit_failover("not-so-fast").await?;
    s.move_ends("not-so-fast", MoveState::Refused).await?;
    s.commit_failover_at_any_loss("it-is-off", "A. Martin, in the room: the rack is off").await?;
    s.writes_move_to(s.standby).await?;
    s.boot(s.active).await?;
    s.writes_go_on_for(A_WHILE).await
}

/// Nobody stops what a person has unlocked, so nobody may take its role by silence.
async fn while_a_database_is_unlocked_no_other_site_takes_its_role(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.unlock(s.active, "somebody thinks that Bascule is gone").await?;
    s.is_unlocked(s.active, true).await?;
    s.nothing_is_promised().await?;
    s.cut("the active site from the arbiter", &Cut::from_arbiter(s.active))?;
    s.cut("the sites from each other", &Cut::between(s.active, s.standby))?;
    s.reads_only_at(s.standby).await?;
    s.writes_stop_for(A_WHILE).await?;
    s.heal()?;
    s.writes_return().await?;
    s.give_back(s.active).await?;
    s.is_unlocked(s.active, false).await?;
    s.writes_return().await?;
    s.nothing_moved(epoch).await
}

/// Case A of the runbook, word for word: the other site and the arbiter are gone, and come back in its order.
async fn a_database_whose_arbiter_is_gone_writes_by_a_persons_word_until_it_is_given_back(
    s: &mut Scene<'_>,
) -> Result<()> {
    let epoch = s.epoch().await?;
    s.kill(s.standby)?;
    s.kill_operator(s.active)?;
    s.kill(Place::Third)?;
    s.writes_stop_for(A_WHILE).await?;
    s.unlock(s.active, "the arbiter is gone for good, Ada decides").await?;
    s.writes_return().await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.boot(Place::Third).await?;
    s.start_operator(s.active)?;
    s.is_unlocked(s.active, true).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.give_back(s.active).await?;
    s.writes_return().await?;
    s.is_unlocked(s.active, false).await?;
    s.boot(s.standby).await?;
    s.nothing_moved(epoch).await
}

/// The steps of the page on a database that is there already: out of care first, then into it.
async fn a_database_leaves_care_runs_by_itself_and_comes_back_into_care_with_its_rows(
    s: &mut Scene<'_>,
) -> Result<()> {
    s.commit_policy(&PolicyText { suspend: true, ..PolicyText::at_once() }).await?;
    s.reaches(s.active, "Unmanaged").await?;
    s.reaches(s.standby, "Unmanaged").await?;
    s.scale_database(s.standby, 0).await?;
    s.take_guard_out(s.active).await?;
    s.writes_return().await?;
    s.drop_slots(s.active).await?;
    s.writes_go_on_for(A_WHILE).await?;

    s.empty_database(s.standby)?;
    s.scale_database(s.standby, 1).await?;
    s.put_guard_in(s.active).await?;
    s.commit_policy(&PolicyText::at_once()).await?;
    s.writes_return().await?;
    s.shop.steady(s.active, Duration::from_mins(2)).await?;
    s.switch_over("after-it-came-back-into-care").await?;
    s.writes_go_on_for(A_WHILE).await
}

async fn a_held_role_is_not_promoted_until_it_is_resumed(s: &mut Scene<'_>) -> Result<()> {
    s.loss_is_allowed();
    s.commit_hold("stay", AN_HOUR).await?;
    s.move_ends("stay", MoveState::Done).await?;
    s.kill(s.active)?;
    s.reads_only_at(s.standby).await?;
    s.says(s.standby, "held until").await?;
    s.writes_stop_for(A_WHILE).await?;
    s.commit_resume("go-on").await?;
    s.writes_move_to(s.standby).await?;
    s.move_ends("go-on", MoveState::Done).await?;
    Ok(())
}

async fn a_switchover_that_waits_for_its_target_is_given_up_by_an_abort(s: &mut Scene<'_>) -> Result<()> {
    let epoch = s.epoch().await?;
    s.cut("replication between the sites", &Cut::replication())?;
    s.says(s.standby, "does not stream").await?;
    s.commit_switchover("into-a-cut").await?;
    s.reaches(s.active, "Requested").await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.commit_abort("not-today").await?;
    s.move_ends("not-today", MoveState::Done).await?;
    s.move_ends("into-a-cut", MoveState::RolledBack).await?;
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await?;
    s.heal()
}
