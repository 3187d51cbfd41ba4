//! The demo's story, told to a test: needs root.

use anyhow::{Context, Result, ensure};
use bascule_e2e::kept::keep_logs;
use bascule_e2e::story::{Claims, Teller, tell};
use bascule_e2e::world::{Options, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_role_moves_by_a_commit_and_by_the_death_of_a_site_and_every_claim_of_it_holds() -> Result<()> {
    let world = World::up(Options::default()).await?;
    let told = tell(&world, &Teller::new()).await;
    if !told.as_ref().is_ok_and(Claims::all_hold) {
        let kept = keep_logs(&world, "story");
        println!("logs are kept in {}", kept.map_or_else(|e| format!("{e:#}"), |f| f.display().to_string()));
    }
    world.down()?;
    let claims = told.context("the story was not told to its end")?;
    ensure!(claims.all_hold(), "not every claim holds:\n{claims}");
    println!("{claims}");
    Ok(())
}
