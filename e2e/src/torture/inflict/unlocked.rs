//! A person who takes the active database out of Bascule's care, and gives it back.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::client::Stamp;
use crate::shop::{DATABASE_CONTAINER, DATABASE_POD, NAMESPACE};
use crate::torture::ground::{Ground, WAKES};
use crate::torture::records::record;
use crate::waiting::until;
use crate::world::Place;

/// How long the operator may take to hear of it and to take the promise back in the record.
const TAKEN_BACK: Duration = Duration::from_secs(10);
/// How long giving it back may take once every part runs: the pod may be a new one.
const GIVEN_BACK: Duration = Duration::from_mins(1);

const GUARD: [&str; 2] = ["/opt/bascule/bascule", "guard"];
/// The operator has spoken to this guard a moment ago; a person who is wrong about that says so.
const UNLOCK: [&str; 6] = [
    "unlock",
    "--reason",
    "somebody thinks that Bascule is gone",
    "--although",
    "operator",
    "--i-know-no-other-site-writes",
];

/// What the word of a person has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Whose database it is.
    pub site: Place,
    /// Since when it has no deadline, while the record does not say so: until then another site may take the role.
    pub unsaid: Option<Stamp>,
}

pub(super) async fn active_unlocked(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    let (at, _) = on.read_status().await?;
    // A word that is written and not noted is noted later.
    on.told().unlocked.push(Word { site: at, unsaid: Some(Stamp::now()) });
    if let Err(why) = guard(on, at, &UNLOCK).await {
        let why = format!("{why:#}");
        // A role that is being given away is not taken out of it.
        ensure!(why.contains("refused: "), "{why}");
        on.told().unlocked.retain(|word| word.site != at);
        on.scene.note(&format!("the guard of {at} refuses it: {why}"));
        return Ok(());
    }
    let taken_back = until(&format!("the record to promise nothing of {at}"), TAKEN_BACK, || async {
        let record = record(on.world())?;
        ensure!(record.active == at.name(), "{} is active in it", record.active);
        ensure!(record.promise.is_nothing(), "it promises {:?}", record.promise);
        Ok(())
    })
    .await;
    match taken_back {
        Ok(()) => on.said(at),
        // Nobody may count on it: it is given back at once.
        Err(why) => on.scene.note(&format!("{at} is not known to be unlocked: {why:#}")),
    }
    if on.told().unlocked.iter().any(|word| word.site == at && word.unsaid.is_none()) {
        sleep(lasts).await;
    }
    // Where it cannot be reached now, it is given back when everything runs again.
    match guard(on, at, &["lock"]).await {
        Ok(_) => on.scene.note(&format!("the database of {at} is given back")),
        Err(why) => on.scene.note(&format!("the database of {at} is not given back yet: {why:#}")),
    }
    Ok(())
}

/// Once every other fault is over: what a person has unlocked is given back.
pub(in crate::torture) async fn given_back(on: &Ground<'_, '_>) -> Result<()> {
    let words = std::mem::take(&mut on.told().unlocked);
    for word in words {
        let at = word.site;
        until(&format!("the database of {at} to be given back"), GIVEN_BACK, || async {
            match guard(on, at, &["lock"]).await {
                Err(why) if !format!("{why:#}").contains("nothing to give back") => Err(why),
                _ => Ok(()),
            }
        })
        .await?;
        if let Some(from) = word.unsaid {
            on.admit(at, from, WAKES);
        }
    }
    Ok(())
}

/// Says something to the guard of a site's database, in its own container.
async fn guard(on: &Ground<'_, '_>, at: Place, words: &[&str]) -> Result<String> {
    let pod = on.world().pod(at, NAMESPACE, DATABASE_POD).await?;
    on.world().exec(&pod, DATABASE_CONTAINER, &[&GUARD[..], words].concat())
}
