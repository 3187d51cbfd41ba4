//! Two replicas of the operator in each site: one acts, the other one stands by.

use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_crds::MoveState;
use bascule_e2e::client::{Kind, Stamp};
use bascule_e2e::scenario::{Scenario, Scene, scenarios, with_spares};
use bascule_e2e::shop::{PolicyText, journal_in};
use bascule_e2e::world::Scope;

const A_WHILE: Duration = Duration::from_secs(6);

/// The silence of the profile `metro` after which a spare follows a replica whose process is there: `R + p`.
const SILENCE: Duration = Duration::from_millis(1_500);

/// How long something that must happen may take.
const SOON: Duration = Duration::from_secs(40);

pub(crate) fn all() -> Vec<Scenario> {
    with_spares(scenarios![
        PolicyText::at_once;
        the_acting_operator_of_the_active_site_is_killed_and_its_spare_acts_at_once_and_no_write_fails,
        the_acting_operator_of_the_target_is_killed_in_a_switchover_and_its_spare_finishes_it,
        a_frozen_acting_operator_is_followed_and_does_nothing_when_it_thaws,
    ])
}

async fn the_acting_operator_of_the_active_site_is_killed_and_its_spare_acts_at_once_and_no_write_fails(
    s: &mut Scene<'_>,
) -> Result<()> {
    let epoch = s.epoch().await?;
    let acts = s.acts(s.active).await?;
    let killed = s.kill_replica(s.active, acts)?;
    let took = s.begins_to_act(s.active, acts.other(), killed).await?;
    ensure!(took < SILENCE, "{took:?}: the spare has waited for the lease to run out");
    s.writes_go_on_for(A_WHILE).await?;
    s.nothing_moved(epoch).await?;
    // It does what there is to do.
    s.start_replica(s.active, acts)?;
    s.acts(s.active).await?;
    s.switch_over("by-the-spare").await.map(drop)
}

async fn the_acting_operator_of_the_target_is_killed_in_a_switchover_and_its_spare_finishes_it(
    s: &mut Scene<'_>,
) -> Result<()> {
    let (epoch, target) = (s.epoch().await?, s.standby);
    let acts = s.acts(target).await?;
    s.commit_switchover("under-a-spare").await?;
    s.records(target, "Promoting", epoch + 1).await?;
    let killed = s.kill_replica(target, acts)?;
    s.begins_to_act(target, acts.other(), killed).await?;
    s.writes_move_to(target).await?;
    s.move_ends("under-a-spare", MoveState::Done).await?;
    ensure!(s.epoch().await? == epoch + 1, "the role has moved more than once");
    s.writes_go_on_for(A_WHILE).await
}

async fn a_frozen_acting_operator_is_followed_and_does_nothing_when_it_thaws(
    s: &mut Scene<'_>,
) -> Result<()> {
    let site = s.active;
    let (acts, before) = (s.acts(site).await?, s.serial().await?);
    let frozen = Stamp::now();
    s.freeze(site, Scope::OneReplica(acts))?;
    s.begins_to_act(site, acts.other(), frozen).await?;
    // A switchover that begins before is given up: its source takes its role back first.
    s.claims_its_role_anew(before).await?;
    // Something that the frozen one does not know of, and would undo.
    s.switch_over("without-the-frozen-one").await?;
    s.writes_go_on_for(A_WHILE).await?;
    let epoch = s.epoch().await?;
    let its_own = || journal_in(&s.world().replica_journal(site, acts));
    let said = its_own().len();
    s.thaw(site, Scope::OneReplica(acts))?;
    let ended = s.world().replica_ended(site, acts)?;
    s.note(&format!("the thawed one has ended: {ended:?}"));
    s.writes_go_on_for(A_WHILE).await?;
    let lines = its_own();
    let begun = lines.iter().skip(said).find(|line| line.contains(" intent: "));
    ensure!(begun.is_none(), "the thawed one has begun something: {begun:?}");
    s.nothing_moved(epoch).await?;
    s.start_replica(site, acts)?;
    s.acts(site).await?;
    s.client.works_at(Kind::Write, s.holder().name(), Stamp::now(), SOON).await.map(drop)
}
