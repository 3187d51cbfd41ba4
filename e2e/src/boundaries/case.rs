//! One flow with one death in it.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bascule_boundary::{Boundary, Doer};

use super::flow::{Ends, Flow};
use super::post::Post;
use crate::progress::seconds;
use crate::scenario::Stage;
use crate::torture::ground::Ground;
use crate::torture::play::{May, settle_and_judge};
use crate::torture::{Played, Record, record};
use crate::world::{OPERATOR, OperatorOptions, Place, World};

/// How long a death may be waited for: as long as a flow may take.
const DEATH: Duration = Duration::from_mins(5);
/// How many times the processor time of anything else the places get: a part that waits for it looks like one that is lost.
const PREFERRED: u32 = 50;
/// How long a steady pair is listened to, to know what passes without a flow.
const AT_REST: Duration = Duration::from_secs(4);

/// Which of the two sites, by what it is when the flow begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The active one.
    Active,
    /// The other one.
    Standby,
}

/// One process of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// Of which site.
    pub part: Part,
    /// Which program.
    pub doer: Doer,
}

impl Who {
    /// All four.
    pub const ALL: [Self; 4] = [
        Self { part: Part::Active, doer: Doer::Operator },
        Self { part: Part::Standby, doer: Doer::Operator },
        Self { part: Part::Active, doer: Doer::Guard },
        Self { part: Part::Standby, doer: Doer::Guard },
    ];

    fn site(self, ground: &Ground<'_, '_>) -> Place {
        match self.part {
            Part::Active => ground.roles.active,
            Part::Standby => ground.roles.standby,
        }
    }
}

/// A death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// In which flow.
    pub flow: Flow,
    /// Whose.
    pub who: Who,
    /// What is passed before, in this order.
    pub after: Option<Boundary>,
    /// Where.
    pub at: Boundary,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The process died there, and all was well in the end.
    Well {
        /// Where it has ended.
        ends: Ends,
        /// How long it took from the end of the flow to the steady pair.
        settled: Duration,
    },
    /// The flow did not pass there this time, and all was well.
    NotPassed,
}

impl Came {
    pub(super) fn words(self) -> String {
        let Self::Well { ends, settled } = self else { return "not passed this time".to_owned() };
        let ends = match ends {
            Ends::Moved => "at the other site",
            Ends::RolledBack => "rolled back",
            Ends::Stayed | Ends::Either => "where it was",
        };
        format!("ok, {ends}, settled within {}", seconds(settled))
    }
}

/// Plays a flow without a death; answers every death that it has room for.
pub(super) async fn learn(stage: &Stage, flow: Flow, name: &str, played: &mut Played) -> Result<Vec<Case>> {
    let at_rest = at_rest(stage, flow).await?;
    let heard = with_ground(stage, flow, name, played, async |ground, before, played| {
        let post = |who: Who| Post::of(ground.world(), who.site(ground), who.doer);
        for who in Who::ALL {
            post(who)?.listen()?;
        }
        let ended = whole(ground, flow, &before, played).await?;
        ensure!(ended != Ends::RolledBack, "it was rolled back, and nobody has died");
        Who::ALL.into_iter().map(|who| Ok((who, post(who)?.heard()?))).collect::<Result<Vec<_>>>()
    })
    .await?;
    let mut cases = Vec::new();
    for (who, passed) in heard {
        let rest = |b: &Boundary| at_rest.iter().any(|(w, boundaries)| *w == who && boundaries.contains(b));
        // What passes at rest, too, is passed after the flow has reached this process.
        let reached = passed.iter().find(|b| !rest(b)).copied();
        let mut seen = Vec::new();
        for at in passed {
            if seen.contains(&at) {
                continue;
            }
            seen.push(at);
            let after = if rest(&at) { reached } else { None };
            cases.push(Case { flow, who, after, at });
        }
    }
    Ok(cases)
}

/// What each process passes while nothing moves.
async fn at_rest(stage: &Stage, flow: Flow) -> Result<Vec<(Who, Vec<Boundary>)>> {
    let scene = stage.scene(&flow.policy()).await?;
    let ground = Ground::new(&scene, "at-rest");
    let post = |who: Who| Post::of(ground.world(), who.site(&ground), who.doer);
    for who in Who::ALL {
        post(who)?.listen()?;
    }
    // What is awaited is what happens in a while.
    tokio::time::sleep(AT_REST).await;
    Who::ALL.into_iter().map(|who| Ok((who, post(who)?.heard()?))).collect()
}

/// Plays a case. `name` is new in this world.
pub(super) async fn play(stage: &Stage, case: &Case, name: &str, played: &mut Played) -> Result<Came> {
    with_ground(stage, case.flow, name, played, async |ground, before, played| {
        let site = case.who.site(ground);
        let post = Post::of(ground.world(), site, case.who.doer)?;
        let boundaries: Vec<Boundary> = case.after.into_iter().chain([case.at]).collect();
        post.arm(&boundaries)?;
        let died = bring_back(ground, &post, case, site);
        let result = tokio::select! {
            result = whole(ground, case.flow, &before, played) => result,
            e = died => Err(e),
        };
        let fired = post.has_fired();
        post.disarm()?;
        let settled = played.settled;
        result.map(|ends| if fired { Came::Well { ends, settled } } else { Came::NotPassed })
    })
    .await
}

async fn with_ground<T>(
    stage: &Stage,
    flow: Flow,
    name: &str,
    played: &mut Played,
    work: impl AsyncFnOnce(&Ground<'_, '_>, Record, &mut Played) -> Result<T>,
) -> Result<T> {
    let world = stage.world();
    for place in world.powered()? {
        world.prefer(place, PREFERRED)?;
    }
    let mut scene = stage.scene(&flow.policy()).await.context("before the flow")?;
    scene.aloud();
    let ground = Ground::new(&scene, name);
    let before = record(ground.world()).context("before the flow")?;
    let result = work(&ground, before, played).await;
    if played.history.attempts.is_empty() {
        played.history = scene.client.history();
    }
    played.transcript = scene.transcript();
    result
}

/// The flow, the steady pair after it, and the verdict; answers where it has ended.
async fn whole(ground: &Ground<'_, '_>, flow: Flow, before: &Record, played: &mut Played) -> Result<Ends> {
    let ends = flow.play(ground).await?;
    let may = May { move_the_role: flow.may_move(), pause: true };
    let holder = settle_and_judge(ground, before, may, played).await?;
    let (must, ends) = match ends {
        Ends::Moved => (ground.roles.standby, ends),
        Ends::Stayed | Ends::RolledBack => (ground.roles.active, ends),
        Ends::Either if holder == ground.roles.active => (holder, Ends::Stayed),
        Ends::Either => (holder, Ends::Moved),
    };
    ensure!(holder == must, "{holder} is active in the end, and {must} was to be");
    ground.scene.note(&format!("settled within {}", seconds(played.settled)));
    nothing_is_left_over(ground)?;
    Ok(ends)
}

/// Nothing that only a step in the middle of its work needs is still there.
fn nothing_is_left_over(ground: &Ground<'_, '_>) -> Result<()> {
    for site in Place::SITES {
        let volume = ground.shop().volume(site);
        for left in
            ["bascule/rewinding.json", "bascule/own.partial", "pgdata/promote", "pgdata.bascule-clone"]
        {
            ensure!(!volume.join(left).exists(), "{site} has {left} left over");
        }
        let diverged = std::fs::read_dir(volume.join("bascule/diverged"));
        for entry in diverged.into_iter().flatten() {
            let name = entry?.file_name();
            ensure!(
                !name.to_string_lossy().ends_with(".partial"),
                "{site} has a half-made copy {} left over",
                name.display()
            );
        }
    }
    Ok(())
}

/// Starts a process again that has died at its boundary, as the kubelet would: a guard's container is the kubelet's own
/// to start. Never returns but with an error.
async fn bring_back(ground: &Ground<'_, '_>, post: &Post, case: &Case, site: Place) -> anyhow::Error {
    let brought = async {
        post.fired(DEATH).await?;
        ground.scene.note(&format!("{} of {site} has died {}", case.who, case.at));
        if case.who.doer == Doer::Operator {
            start_again(ground.world(), site)?;
            ground.scene.note(&format!("the operator of {site} starts again"));
        }
        anyhow::Ok(())
    };
    match brought.await {
        Err(e) if post.has_fired() => return e.context("bringing the dead back"),
        // It never came there: the flow says what that means.
        Ok(()) | Err(_) => {}
    }
    std::future::pending().await
}

fn start_again(world: &World, site: Place) -> Result<()> {
    tokio::task::block_in_place(|| {
        let ended = world.operator_ended(site)?;
        if !matches!(ended, crate::init::Ended::Killed(9)) {
            bail!("the operator of {site} ended by {ended:?} and not by a kill");
        }
        if world.runs(site, OPERATOR)? {
            return Ok(());
        }
        world.start_operator(site, &OperatorOptions::default())
    })
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Active => "active",
            Part::Standby => "standby",
        };
        let doer = match self.doer {
            Doer::Operator => "operator",
            Doer::Guard => "guard",
        };
        write!(f, "{part}-{doer}")
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.flow, self.who, self.at)?;
        match &self.after {
            Some(after) => write!(f, " (once it has passed {after})"),
            None => Ok(()),
        }
    }
}
