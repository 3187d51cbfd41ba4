//! Carrying out what the rules order: one step of the server at a time, each in a task that can be ended.

use std::sync::Arc;
use std::time::Duration;

use bascule_boundary::{self as boundary, Underway};
use bascule_core::guard::action::Action;
use bascule_core::guard::alone::{Untold, Verdict};
use bascule_core::guard::wire::{Ask, Cluster, Disk, FromGuard, Role, ServerState, Upstream};
use bascule_core::time::Boottime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Heard, StepEnd, Supervisor};
use crate::arbiter::Arbiter;
use crate::children::{describe, is_postgres, others};
use crate::clock;
use crate::effect::ordered;
use crate::monitor::Seen;
use crate::rejoin::{CannotFollow, Rejoin, Standing};
use crate::server::{Server, Start, StepError};
use crate::store::MEMORY;
use crate::watch::Order;

/// How long a `CHECKPOINT` may take before its outcome counts as unknown.
const CHECKPOINT: Duration = Duration::from_mins(10);
/// How long the first checkpoint of a primary waits: it would contend for the disk with the opening and with the first
/// commits, and those who wait for it have a copy to bring back.
const AFTER_START: Duration = Duration::from_secs(1);
/// The longest wait before the first checkpoint is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two looks whether the slot of a standby that is not connected is there.
const SLOTS: Duration = Duration::from_secs(5);
/// Slots that the guard makes begin with this, and are dropped by it on a standby.
const SLOT_PREFIX: &str = "bascule_";

impl Supervisor {
    /// Work that nobody waits for, once a server is up.
    pub(super) fn after_start(&mut self, state: &ServerState) {
        let (server, hear) = (self.server.clone(), self.hear.clone());
        match state {
            ServerState::Standby { .. } => {
                tokio::spawn(async move {
                    if let Ok(session) = server.session().await {
                        // A slot left behind holds WAL back for nobody; its retention is bounded anyway.
                        let _ = session.drop_idle_slots(SLOT_PREFIX).await;
                        if let Ok(advice) = session.advice().await {
                            let _ = hear.send(Heard::Advice(advice)).await;
                        }
                    }
                });
            }
            ServerState::Primary { open: false } if self.rules.server().is_busy() => {
                // The first checkpoint on a new timeline: nobody can be rewound to this server before it.
                self.checkpoint(boundary::begin(None), None, AFTER_START);
            }
            _ => {}
        }
    }

    /// `ordered` ends with the last attempt.
    fn checkpoint(&self, ordered: Underway, serial: Option<u64>, wait: Duration) {
        let (server, hear) = (self.server.clone(), self.hear.clone());
        let (journal, marks) = (self.journal.clone(), self.marks());
        let of = server.running().map(|(child, _)| child.pid());
        tokio::spawn(async move {
            let _ordered = ordered;
            let mut wait = wait;
            loop {
                tokio::time::sleep(wait).await;
                let begun = journal.begins(marks, "CHECKPOINT");
                let done =
                    async { server.session().await?.checkpoint(CHECKPOINT).await.map_err(StepError::from) };
                let failed = match done.await {
                    Ok(()) => {
                        journal.ends(begun, "done");
                        if let Some(serial) = serial {
                            let _ = hear.send(Heard::Checkpointed(serial)).await;
                        }
                        return;
                    }
                    Err(e) => e,
                };
                journal.ends(begun, &format!("failed: {}", failed.in_full()));
                if let Some(serial) = serial {
                    // It is ordered again for as long as it is wanted.
                    let _ = hear.send(Heard::NotCheckpointed(serial)).await;
                    return;
                }
                // Nobody orders the first one again, and without it no copy can be brought back to this server.
                if of.is_none() || server.running().map(|(child, _)| child.pid()) != of {
                    return;
                }
                wait = (wait * 2).clamp(AFTER_START, LONGEST_WAIT);
            }
        });
    }

    pub(super) fn carry_out(&mut self, action: Action) {
        if let Some(what) = action.words() {
            self.tells_step(what);
        }
        // Ends with what carries it out, before the rules hear of it.
        let underway = boundary::begin(ordered(&action));
        match action {
            Action::Watch(deadline) => self.server.watch.arm(deadline, self.rules.timing().f.duration()),
            Action::Kill => self.kill(underway),
            Action::Stop { by } => self.stop(underway, by),
            Action::RemoveTrigger => {
                if let Err(e) = self.server.remove_trigger() {
                    self.trouble(&e);
                }
            }
            Action::StartPrimary => {
                self.state.was_primary = true;
                self.step(underway, |server, _| async move {
                    let done = server.start(&Start::Primary).await;
                    done.map(|()| ServerState::Primary { open: false })
                });
            }
            Action::StartOrphan => self.step(underway, |server, _| async move {
                let done = server.start(&Start::Orphan).await;
                done.map(|()| ServerState::Standby { open: false })
            }),
            Action::Join { upstream } => self.join(underway, upstream),
            Action::Clone { upstream } => {
                self.step(underway, |server, _| async move { crate::clone::clone(&server, &upstream).await });
            }
            Action::Promote { close } => {
                self.state.was_primary = true;
                if self.contact.end(clock::now()) {
                    self.write_contact();
                }
                self.step(underway, move |server, _| async move {
                    server.promote(close).await.map(|()| ServerState::Primary { open: false })
                });
            }
            Action::Open { epoch, slots } => self.open(underway, epoch, slots),
            Action::OpenStandby => self.step(underway, |server, _| async move {
                server.open_standby().await.map(|()| ServerState::Standby { open: true })
            }),
            Action::Close => match self.rules.server() {
                ServerState::Standby { .. } => self.step(underway, |server, _| async move {
                    server.close_standby().await.map(|()| ServerState::Standby { open: false })
                }),
                _ => self.step(underway, |server, _| async move {
                    server.close().await.map(|()| ServerState::Primary { open: false })
                }),
            },
            Action::Checkpoint { serial } => self.checkpoint(underway, Some(serial), Duration::ZERO),
            Action::Ask { nonce, fresh } => {
                let ask = Ask { nonce, fresh, report: self.report() };
                // A full queue means that the operator takes nothing: then this question was never asked.
                let _ = self.say.try_send(FromGuard::Ask(Box::new(ask)));
            }
            Action::ReadRecord { number } => self.arbiter(
                underway,
                |arbiter, tq| async move { Heard::Record { number, view: arbiter.read(tq).await } },
                Heard::Record { number, view: None },
            ),
            Action::RenewLease { number } => self.arbiter(
                underway,
                |arbiter, tq| async move { Heard::Lease { number, done: arbiter.renew(number, tq).await } },
                Heard::Lease { number, done: false },
            ),
            Action::Remember(memory) => {
                if let Err(e) = self.server.store.write(MEMORY, &memory) {
                    self.trouble(&e);
                }
            }
            Action::Exit => self.state.exit = true,
        }
    }

    fn arbiter<F>(&self, underway: Underway, ask: impl FnOnce(Arc<Arbiter>, Duration) -> F, without: Heard)
    where
        F: Future<Output = Heard> + Send + 'static,
    {
        let hear = self.hear.clone();
        match &self.arbiter {
            Some(arbiter) => {
                let asked = ask(arbiter.clone(), self.rules.timing().tq.duration());
                tokio::spawn(async move {
                    let heard = asked.await;
                    drop(underway);
                    let _ = hear.send(heard).await;
                });
            }
            None => {
                tokio::spawn(async move { drop(hear.send(without).await) });
            }
        }
    }

    /// Begins a step of the server. What the one before may still do counts for nothing.
    fn step<F>(&mut self, underway: Underway, work: impl FnOnce(Arc<Server>, Stages) -> F)
    where
        F: Future<Output = Result<ServerState, StepError>> + Send + 'static,
    {
        let before = self.abort_step();
        let stages = Stages { number: self.state.step_number, hear: self.hear.clone() };
        let work = work(self.server.clone(), stages.clone());
        self.state.step = Some(tokio::spawn(async move {
            ended(before).await;
            let what = match work.await {
                Ok(state) => StepEnd::Is(state),
                Err(StepError::NoLeave(_)) => StepEnd::NoLeave,
                Err(e) => StepEnd::Failed(e.in_full()),
            };
            drop(underway);
            stages.send(what).await;
        }));
    }

    /// Ends the step that is under way. It may still be at work until the handle says that it has ended.
    pub(super) fn abort_step(&mut self) -> Option<JoinHandle<()>> {
        self.state.step_number += 1;
        self.state.step_began = Some(clock::now());
        let step = self.state.step.take();
        if let Some(step) = &step {
            step.abort();
        }
        step
    }

    fn open(&mut self, underway: Underway, epoch: u64, slots: Vec<String>) {
        let hear = self.hear.clone();
        self.step(underway, move |server, _| async move {
            server.open(epoch).await?;
            let background = server.clone();
            tokio::spawn(async move {
                let Ok(session) = background.session().await else { return };
                if let Err(e) = session.make_slots(&slots).await {
                    tracing::warn!(error = %StepError::from(e).in_full(), "making the standbys' slots");
                }
                if let Ok(advice) = session.advice().await {
                    let _ = hear.send(Heard::Advice(advice)).await;
                }
            });
            Ok(ServerState::Primary { open: true })
        });
    }

    fn join(&mut self, underway: Underway, upstream: Upstream) {
        let Disk::Cluster(cluster) = self.read_disk() else {
            return self.step(underway, |_, _| async { Err(StepError::NotRunning) });
        };
        self.step(underway, move |server, stages| async move {
            match rejoin(&server, &upstream, &cluster, &stages).await {
                Ok(Joined::LookAgain) => return Ok(ServerState::Down),
                Ok(Joined::Follows) => {}
                Ok(Joined::Unasked(why)) => {
                    tracing::info!(%why, "starting the standby without its upstream's word");
                }
                Err(
                    CannotFollow::Silent(reason)
                    | CannotFollow::Undecided(reason)
                    | CannotFollow::Later(reason),
                ) => {
                    return Ok(ServerState::Failed { reason, commands: Vec::new() });
                }
                Err(CannotFollow::Never { reason, commands }) => {
                    return Ok(ServerState::Failed { reason, commands });
                }
            }
            server.start(&Start::Standby(upstream)).await?;
            Ok(ServerState::Standby { open: false })
        });
    }

    /// Looks whether the upstream's history has left the standby's when it has not streamed for some time.
    pub(super) fn look_for_stray(&mut self, now: Boottime) {
        let upstream = self.rules.following().filter(|_| self.server.running().is_some()).cloned();
        let streams = self.state.seen.as_ref().is_some_and(Seen::streams);
        let due = self.state.stray.is_due(upstream.is_some(), streams, now);
        let another = self.state.log_gone.as_ref().is_some_and(|(of, _)| Some(of) != upstream.as_ref());
        if self.state.stray.is_settled() || another {
            self.state.log_gone = None;
        }
        if !due {
            return;
        }
        let (Some(upstream), Disk::Cluster(cluster)) = (upstream, self.read_disk()) else {
            return self.state.stray.looked();
        };
        let (server, hear) = (self.server.clone(), self.hear.clone());
        let has = self.state.seen.as_ref().map(|seen| &seen.reading.positions);
        let has = has.and_then(|positions| positions.receive.max(positions.replay));
        tokio::spawn(async move {
            let rejoin = Rejoin { server: &server, upstream: &upstream, cluster: &cluster };
            let found = rejoin.standing().await;
            let strayed = matches!(found, Ok(Standing::Diverged { .. }));
            tracing::info!(?found, "the standby does not stream");
            let log_gone = match (&found, has) {
                (Ok(Standing::Follows), Some(has)) => rejoin.log_gone(has).await,
                _ => None,
            };
            let _ = hear.send(Heard::Stray { upstream, strayed, log_gone }).await;
        });
    }

    /// Makes the slot of a standby again that somebody has dropped: a replica without it is refused for ever. It is looked
    /// for while that standby is not connected.
    pub(super) fn keep_slots(&mut self, now: Boottime) {
        let wanted = match (self.rules.role(), self.rules.server()) {
            (Some(Role::Serve { open: true, slots }), ServerState::Primary { open: true }) => {
                slots.as_slice()
            }
            _ => &[],
        };
        let connected = self.state.seen.as_ref().map(|seen| &seen.replicas);
        let away = |slot: &&String| !connected.is_some_and(|replicas| replicas.contains_key(*slot));
        let wanted: Vec<String> = wanted.iter().filter(away).cloned().collect();
        if wanted.is_empty() {
            self.state.slots_due = None;
            return;
        }
        if now < *self.state.slots_due.get_or_insert(now + SLOTS) {
            return;
        }
        self.state.slots_due = Some(now + SLOTS);
        let server = self.server.clone();
        tokio::spawn(async move {
            let Ok(session) = server.session().await else { return };
            let made = match session.missing_slots(&wanted).await {
                Ok(missing) if missing.is_empty() => return,
                Ok(missing) => {
                    tracing::warn!(?missing, "slots of standbys are gone: they are made again");
                    session.make_slots(&missing).await
                }
                Err(e) => Err(e),
            };
            if let Err(e) = made {
                tracing::warn!(error = %StepError::from(e).in_full(), "making the standbys' slots again");
            }
        });
    }

    fn stop(&mut self, underway: Underway, by: Boottime) {
        let step = self.abort_step();
        let (server, hear) = (self.server.clone(), self.hear.clone());
        tokio::spawn(async move {
            ended(step).await;
            let patience = clock::now().until(by).unwrap_or_default();
            if server.running().is_none() {
                drop(underway);
                let _ = hear.send(Heard::NeverRan).await;
            } else {
                if server.stop_fast(patience).await.is_none() {
                    kill(server).await;
                }
                drop(underway);
            }
        });
        self.tells_stop();
    }

    pub(super) fn kill(&mut self, underway: Underway) {
        if self.server.running().is_none() && self.state.step.is_none() {
            return;
        }
        // Ordered here and now: what follows in the same breath may take the deadline away.
        let order = self.server.watch.order();
        let step = self.abort_step();
        let server = self.server.clone();
        tokio::spawn(async move {
            killed(server.clone(), order).await;
            drop(underway);
            // A start that was in the middle of its fork when the kill came is not forgotten.
            if step.is_some() {
                ended(step).await;
                if server.running().is_some_and(|(child, _)| child.status().is_none()) {
                    kill(server).await;
                }
            }
        });
        self.tells_kill();
    }
}

/// Where a step says how far it is.
#[derive(Clone, Debug)]
struct Stages {
    number: u64,
    hear: mpsc::Sender<Heard>,
}

impl Stages {
    async fn send(&self, what: StepEnd) {
        // The loop ends only with the process.
        let _ = self.hear.send(Heard::Step { number: self.number, what }).await;
    }
}

/// How a copy stands once it may be started as a standby, or looked at anew.
enum Joined {
    /// Its history is the upstream's.
    Follows,
    /// It was changed, and is to be looked at anew.
    LookAgain,
    /// The upstream did not say, and it may start all the same.
    Unasked(String),
}

/// Brings a copy back to the upstream's history.
async fn rejoin(
    server: &Server,
    upstream: &Upstream,
    cluster: &Cluster,
    stages: &Stages,
) -> Result<Joined, CannotFollow> {
    let rejoin = Rejoin { server, upstream, cluster };
    if cluster.half_rewound {
        stages.send(StepEnd::Is(ServerState::Rewinding)).await;
    } else {
        let (fork, by_number) = match rejoin.standing().await {
            Ok(Standing::Diverged { fork, by_number }) => {
                server.alone().told();
                (fork, by_number)
            }
            Ok(Standing::Follows) => {
                server.alone().told();
                server.set_strayed(false);
                return Ok(Joined::Follows);
            }
            Err(why) => return without_upstream(&rejoin, why, stages).await,
        };
        server.set_strayed(true);
        stages.send(StepEnd::Is(ServerState::Rewinding)).await;
        stages.send(StepEnd::Begins("save the log that the new history does not have")).await;
        stages.send(StepEnd::Saved(rejoin.save(fork).await?)).await;
        if !by_number {
            return Err(rejoin.twins(fork));
        }
    }
    stages.send(StepEnd::Begins("rewind")).await;
    rejoin.rewind().await?;
    server.set_strayed(false);
    Ok(Joined::LookAgain)
}

/// The upstream did not say where the histories part.
async fn without_upstream(
    rejoin: &Rejoin<'_>,
    why: CannotFollow,
    stages: &Stages,
) -> Result<Joined, CannotFollow> {
    let (answer, reason) = match &why {
        CannotFollow::Silent(reason) => (Untold::Silent, reason.clone()),
        CannotFollow::Undecided(reason) => (Untold::Undecided, reason.clone()),
        CannotFollow::Later(reason) => (Untold::NotReady, reason.clone()),
        CannotFollow::Never { .. } => return Err(why),
    };
    let server = rejoin.server;
    // What was found before its upstream fell silent still holds.
    let verdict = server.alone().untold(answer, rejoin.cluster, server.strayed(), clock::now());
    match verdict {
        Verdict::Start => Ok(Joined::Unasked(reason)),
        Verdict::Recover => {
            stages.send(StepEnd::Begins("end cleanly without the upstream's word")).await;
            tracing::warn!(why = %reason, "this copy was killed as a primary: it keeps all that it has");
            rejoin.end_cleanly().await?;
            Ok(Joined::LookAgain)
        }
        Verdict::Wait => Err(why),
    }
}

/// Waits until an aborted step has really ended.
async fn ended(step: Option<JoinHandle<()>>) {
    if let Some(step) = step {
        // Cancelled or done: either way it does nothing any more.
        let _ = step.await;
    }
}

async fn kill(server: Arc<Server>) {
    let order = server.watch.order();
    killed(server, order).await;
}

async fn killed(server: Arc<Server>, order: Order) {
    // Waits for processes to go: not on the runtime's own threads.
    let _ = tokio::task::spawn_blocking(move || server.watch.wait(order)).await;
}

/// Says that a postmaster has ended once everything of it is gone.
pub(crate) async fn postmaster_ends(server: Arc<Server>, hear: mpsc::Sender<Heard>) {
    let mut starts = server.starts();
    loop {
        let Ok(running) = starts.wait_for(Option::is_some).await.map(|r| r.clone()) else { return };
        let Some((mut child, _)) = running else { continue };
        let status = child.ended().await;
        // A postmaster that was killed leaves backends that go on committing.
        if others().map_or(true, |others| others.into_iter().any(is_postgres)) {
            kill(server.clone()).await;
        }
        if hear.send(Heard::Gone { why: describe(status) }).await.is_err() {
            return;
        }
        // The loop takes note, and only then can there be another one.
        if starts.wait_for(Option::is_none).await.is_err() {
            return;
        }
    }
}
