//! What a person at the site that is left asks, whatever is cut: an answer within five seconds.

use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_e2e::scenario::{Answer, Scenario, Scene, scenarios};
use bascule_e2e::shop::PolicyText;
use bascule_e2e::world::Cut;

/// How long a person waits for an answer, at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than the site's own lease: what it knew of the others is old by then.
const A_WHILE: Duration = Duration::from_secs(4);

pub(crate) fn all() -> Vec<Scenario> {
    scenarios![
        PolicyText::at_once;
        what_a_person_asks_is_answered_within_five_seconds_whatever_is_cut,
    ]
}

async fn what_a_person_asks_is_answered_within_five_seconds_whatever_is_cut(s: &mut Scene<'_>) -> Result<()> {
    let (here, epoch) = (s.standby, s.epoch().await?);
    let journal = s.world().journal(here).display().to_string();
    for cuts in 1..8_u8 {
        let (other, git, arbiter) = (cuts & 1 != 0, cuts & 2 != 0, cuts & 4 != 0);
        if other {
            s.cut("the sites from each other", &Cut::between(s.active, here))?;
        }
        if git {
            s.note("git stands still");
            s.world().git().freeze()?;
        }
        if arbiter {
            s.cut("this site from the arbiter", &Cut::from_arbiter(here))?;
        }
        s.writes_go_on_for(A_WHILE).await?;
        let failover = ["failover", "shop", "--reason", "who knows", "--dry-run"];
        for words in [
            &["status", "shop"][..],
            &["why", "shop"],
            &["hold", "shop", "--reason", "who knows", "--dry-run"],
            &failover,
        ] {
            let said = answered(s.asks(here, words)?)?;
            ensure!(said.contains(&format!("Told by  {here}, ")) && said.contains(" ago"), "no age: {said}");
            ensure!(!arbiter || said.contains("ArbiterUnreachable: "), "no authority is named: {said}");
        }
        let said = answered(s.asks(here, &failover)?)?;
        ensure!(
            arbiter == said.contains(&format!("whether {} lives", s.active)),
            "what is not known: {said}"
        );
        let kept = answered(s.asks(here, &["journal", &journal])?)?;
        ensure!(kept.lines().any(|line| line.contains("shop/shop")), "an empty journal: {kept}");
        if git {
            s.world().git().thaw()?;
        }
        s.heal()?;
    }
    s.nothing_moved(epoch).await
}

/// What was said, if it was said in time.
fn answered(answer: Answer) -> Result<String> {
    ensure!(answer.took < PATIENCE, "{}: an answer only after {:?}", answer.typed, answer.took);
    Ok(answer.said)
}
