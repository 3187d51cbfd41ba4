//! The ways in which a role moves or a copy is made, each from a steady pair to a steady pair.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bascule_crds::MoveState;
use rustix::process::Signal;

use crate::client::{Kind, Stamp};
use crate::shop::{DATABASE_POD, MoveText, NAMESPACE, PolicyText};
use crate::torture::ground::Ground;
use crate::waiting::until;
use crate::world::{Cut, OperatorOptions, Place};

/// How long a part of a flow may take, with a process that dies in the middle of it.
const SOON: Duration = Duration::from_mins(1);
/// How long writes are not replicated before their site dies.
const AHEAD: Duration = Duration::from_secs(1);
/// How long the operators are away: longer than a grant, so that the guards go on by themselves.
const AWAY: Duration = Duration::from_secs(5);

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// A planned switchover.
    Switchover,
    /// The active site dies, the other one serves reads, then takes over; the dead one returns and follows.
    SiteLost,
    /// The same while the standby is behind: the dead site has to save what it had more and to rewind.
    LostAhead,
    /// The active site dies and returns while the other one still serves reads only: it keeps its role.
    ReturnInTime,
    /// The active server dies and is offered; the other site takes it.
    Offered,
    /// The machine under the active site's pods dies; the role is withdrawn, the other site takes it.
    Withdrawn,
    /// The operators are away for some time, one after the other.
    OperatorsAway,
    /// The standby's disk is empty and it is made anew.
    CopyMadeAnew,
}

/// Where a flow has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// The other site is active.
    Moved,
    /// The same site is active.
    Stayed,
    /// The same site is active, for what was asked is taken back.
    RolledBack,
    /// Either: a process that dies may be what the offer waited for in vain.
    Either,
}

impl Flow {
    /// All of them, in the order in which they are played.
    pub const ALL: [Self; 8] = [
        Self::Switchover,
        Self::SiteLost,
        Self::LostAhead,
        Self::ReturnInTime,
        Self::Offered,
        Self::Withdrawn,
        Self::OperatorsAway,
        Self::CopyMadeAnew,
    ];

    /// The policy that it needs.
    pub(super) fn policy(self) -> PolicyText {
        match self {
            Self::Switchover
            | Self::SiteLost
            | Self::LostAhead
            | Self::OperatorsAway
            | Self::CopyMadeAnew => PolicyText::default(),
            Self::ReturnInTime => PolicyText { promote: "10m".to_owned(), ..PolicyText::default() },
            Self::Offered => PolicyText::at_once(),
            Self::Withdrawn => PolicyText { restart_grace: "5s".to_owned(), ..PolicyText::at_once() },
        }
    }

    /// Whether the role may move in it.
    pub(super) fn may_move(self) -> bool {
        match self {
            Self::Switchover | Self::SiteLost | Self::LostAhead | Self::Withdrawn | Self::Offered => true,
            Self::ReturnInTime | Self::OperatorsAway | Self::CopyMadeAnew => false,
        }
    }

    /// Plays it until everything that was taken away is there again; answers where it has to end.
    pub(super) async fn play(self, on: &Ground<'_, '_>) -> Result<Ends> {
        let (active, standby) = (on.roles.active, on.roles.standby);
        match self {
            Self::Switchover => switchover(on).await,
            Self::SiteLost => {
                on.scene.kill(active)?;
                writes_move(on, standby).await?;
                on.scene.boot(active).await?;
                Ok(Ends::Moved)
            }
            Self::LostAhead => {
                on.scene.cut("replication", &Cut::replication())?;
                // What is awaited are writes that nobody else gets.
                tokio::time::sleep(AHEAD).await;
                on.scene.kill(active)?;
                on.scene.heal()?;
                writes_move(on, standby).await?;
                on.scene.boot(active).await?;
                Ok(Ends::Moved)
            }
            Self::ReturnInTime => {
                on.scene.kill(active)?;
                on.scene.reads_only_at(standby).await?;
                on.scene.boot(active).await?;
                Ok(Ends::Stayed)
            }
            Self::Offered => {
                let server = on.server(active)?.recorded;
                on.scene.note(&format!("the server of {active} is killed"));
                ensure!(server.signal(Signal::KILL)?, "the server of {active} ended by itself meanwhile");
                let from = Stamp::now();
                on.scene
                    .client
                    .wait_for("write after it", SOON, |a| {
                        a.kind == Kind::Write && a.start > from && a.worked()
                    })
                    .await?;
                Ok(Ends::Either)
            }
            Self::Withdrawn => {
                on.scene.kill_node(active)?;
                writes_move(on, standby).await?;
                on.scene.boot_node(active).await?;
                Ok(Ends::Moved)
            }
            Self::OperatorsAway => {
                for site in [active, standby] {
                    on.scene.kill_operator(site)?;
                    // What is awaited is that nothing happens.
                    tokio::time::sleep(AWAY).await;
                    on.scene.note(&format!("the operator of {site} starts"));
                    // Whoever brings the dead back may have been quicker.
                    if !on.world().runs(site, crate::world::OPERATOR)? {
                        on.world().start_operator(site, &OperatorOptions::default())?;
                    }
                }
                Ok(Ends::Stayed)
            }
            Self::CopyMadeAnew => {
                copy_made_anew(on, standby).await?;
                Ok(Ends::Stayed)
            }
        }
    }
}

/// A switchover is carried out, or it is rolled back and its Move says so: the operator of the site that gives the role
/// away re-claims it when it was away.
async fn switchover(on: &Ground<'_, '_>) -> Result<Ends> {
    let (from, to) = (on.roles.active, on.roles.standby);
    let (_, epoch) = on.read_status().await?;
    let text = MoveText::switchover(&format!("{}-move", on.name), from, to, epoch, "every boundary is tried");
    on.merge(std::slice::from_ref(&text))?;
    on.scene.note(&format!("Move {} from {from} to {to} is merged", text.name));
    let mut states = Vec::new();
    for site in Place::SITES {
        let state = until(&format!("Move {} to end at {site}", text.name), SOON, || async {
            let (state, message) =
                on.shop().move_state(site, &text.name).await?.context("it has no state")?;
            let over = matches!(state, MoveState::Done | MoveState::RolledBack);
            ensure!(over, "it is {state:?}: {message}");
            Ok((state, message))
        })
        .await?;
        states.push(state);
    }
    let (state, message) = states.swap_remove(0);
    on.scene.note(&format!("the Move is {state:?}: {message}"));
    ensure!(states.iter().all(|(other, _)| *other == state), "the sites do not agree: {states:?}, {state:?}");
    let ends = if state == MoveState::RolledBack { Ends::RolledBack } else { Ends::Moved };
    if ends == Ends::Moved {
        writes_move(on, to).await?;
    }
    // It has ended, and nobody needs its file any more.
    on.commit(|shop| shop.world().git().remove("what is done", &[&text.path()]))?;
    for site in Place::SITES {
        until(&format!("Move {} to be gone at {site}", text.name), SOON, || async {
            let left = on.shop().move_state(site, &text.name).await?;
            ensure!(left.is_none(), "it is {left:?}");
            Ok(())
        })
        .await?;
    }
    on.told().moves.clear();
    Ok(ends)
}

async fn writes_move(on: &Ground<'_, '_>, to: Place) -> Result<()> {
    let from = Stamp::now();
    let write = on.scene.client.all_work_at(Kind::Write, to.name(), from, SOON).await?;
    on.scene.note(&format!("{to} takes writes, {:?} after it was awaited", write.end.since(from)));
    Ok(())
}

/// The data of the standby is moved away, as a person would, and its pod made anew.
async fn copy_made_anew(on: &Ground<'_, '_>, at: Place) -> Result<()> {
    let (world, volume) = (on.world(), on.shop().volume(at));
    let (data, kept) = (volume.join("pgdata"), volume.join("pgdata.kept"));
    if kept.exists() {
        std::fs::remove_dir_all(&kept)?;
    }
    let server = on.server(at)?.recorded;
    let old = world.pod(at, NAMESPACE, DATABASE_POD).await?;
    std::fs::rename(&data, &kept).with_context(|| format!("cannot move {}", data.display()))?;
    on.scene.note(&format!("the data of {at} is moved away and its pod deleted"));
    server.signal(Signal::KILL)?;
    world.kubectl(at, &["delete", "pod", "-n", NAMESPACE, DATABASE_POD, "--wait=false"])?;
    until(&format!("another pod {DATABASE_POD} of {at}"), SOON, || async {
        let pod = world.pod(at, NAMESPACE, DATABASE_POD).await?;
        ensure!(pod.uid != old.uid, "the old one is still there");
        Ok(())
    })
    .await?;
    until(&format!("{at} to have data again"), SOON, || async {
        ensure!(data.join("PG_VERSION").exists(), "there is none");
        Ok(())
    })
    .await?;
    on.scene.note("it has data again");
    Ok(())
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Switchover => "switchover",
            Self::SiteLost => "site-lost",
            Self::LostAhead => "lost-ahead",
            Self::ReturnInTime => "return-in-time",
            Self::Offered => "offered",
            Self::Withdrawn => "withdrawn",
            Self::OperatorsAway => "operators-away",
            Self::CopyMadeAnew => "copy-made-anew",
        })
    }
}

impl FromStr for Flow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = || Self::ALL.map(|f| f.to_string()).join(", ");
        let found = Self::ALL.into_iter().find(|flow| flow.to_string() == text);
        found.ok_or_else(|| format!("no flow is called {text:?}; there are {}", all()))
    }
}
