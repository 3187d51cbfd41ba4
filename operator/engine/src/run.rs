//! Gives the brain a runtime: carries its commands to the ports and brings their answers back as events.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use bascule_boundary::{self as boundary, Effect};
use bascule_core::ballot::silence::Observer;
use bascule_core::name::PolicyKey;
use bascule_core::outcome::Outcome;
use bascule_core::time::Boottime;

use crate::brain::{Brain, Command, Event, Found, Identity, Look};
use crate::effect::effect;
use crate::ports::{Arbiter, ArbiterChange, Cas, Clock, GuardEvent, Guards, Intent, Journal, Site};
use crate::turns::Turns;

/// How many changes of the arbiter may wait; the watch stops reading when they do.
const CHANGES: usize = 1024;

/// The outside.
pub struct Ports {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The store that decides.
    pub arbiter: Arc<dyn Arbiter>,
    /// The guards.
    pub guards: Arc<dyn Guards>,
    /// This site's cluster.
    pub site: Arc<dyn Site>,
    /// The journal.
    pub journal: Arc<dyn Journal>,
}

/// What comes in from the outside without having been asked for.
pub struct Incoming {
    /// From the guards.
    pub guards: mpsc::Receiver<GuardEvent>,
    /// From the people.
    pub intent: mpsc::Receiver<Intent>,
    /// From proxies.
    pub proxies: mpsc::Receiver<Asked>,
}

/// A proxy asks whether it may send writes of a policy's clients to this site.
#[derive(Debug)]
pub struct Asked {
    /// Which policy's.
    pub policy: PolicyKey,
    /// Where the answer goes: [`Brain::takes_writes`] of that moment.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// Why the engine ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// This site's name belongs to another cluster.
    #[error("{0}")]
    NameTaken(String),
    /// Another replica of this site's operator acts. Nothing that was under way is waited for.
    #[error("another replica of this site's operator acts: {0}")]
    NotActing(String),
    /// A task of the engine died; the process must be started anew.
    #[error("a task of the engine died: {0}")]
    Died(String),
    /// What feeds the engine has ended: the process is shutting down.
    #[error("the inputs of the engine have ended")]
    InputsEnded,
}

/// What the engine tells its own process about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// The engine runs: this replica acts. A spare's does not.
    pub acting: bool,
    /// Policies, records and marks have been read once.
    pub ready: bool,
    /// This site's lease has time left.
    pub lease_alive: bool,
    /// Events handled so far.
    pub events: u64,
    /// When the last one was handled.
    pub at: Boottime,
}

/// Runs the engine until it ends. The pulse is updated after every event. `observer` is what this process has read of the
/// leases so far.
pub async fn run(
    id: Identity,
    observer: Observer,
    ports: Ports,
    mut incoming: Incoming,
    pulse: tokio::sync::watch::Sender<Pulse>,
) -> Ended {
    let mut brain = Brain::observing(id.clone(), observer, ports.clock.now());
    let kinds = Arc::new(Kinds::new(id.installation.timing.tq(), ports.arbiter.together()));
    let runner = Runner { id, ports, kinds };
    // Renewals and reads of the leases, apart: their answers wait for no others.
    let mut beats: JoinSet<Event> = JoinSet::new();
    let mut tasks: JoinSet<Event> = JoinSet::new();
    let (changes_in, mut changes) = mpsc::channel::<ArbiterChange>(CHANGES);
    let mut watch: JoinSet<()> = JoinSet::new();
    let mut event = Some(Event::Tick);
    let mut handled: u64 = 0;
    loop {
        if let Some(event) = event.take() {
            let now = runner.ports.clock.now();
            let commands = brain.handle(event, now, runner.ports.clock.wall());
            handled += 1;
            for command in commands {
                match command {
                    Command::Stop { reason } => {
                        return boundary::during(Effect::Stop, || Ended::NameTaken(reason));
                    }
                    Command::StandDown { who } => return Ended::NotActing(who),
                    Command::ListAndWatch => {
                        watch.abort_all();
                        runner.list_and_watch(&mut tasks, &mut watch, &changes_in);
                    }
                    command @ (Command::Renew | Command::ReadLeases) => {
                        runner.carry_out(command, &mut beats);
                    }
                    command => runner.carry_out(command, &mut tasks),
                }
            }
            let beat = Pulse {
                acting: true,
                ready: brain.is_ready(),
                lease_alive: brain.lease_remaining(now).is_some(),
                events: handled,
                at: now,
            };
            pulse.send_replace(beat);
        }
        // Guards and answers to this site's calls take turns when both wait: a guard that is not answered in time asks the
        // arbiter itself, and thousands of answers may come at once.
        if handled.is_multiple_of(2)
            && let Ok(guard) = incoming.guards.try_recv()
        {
            event = Some(Event::Guard(guard));
            continue;
        }
        let wait = runner.ports.clock.now().until(brain.next_tick()).unwrap_or_default();
        // Answers to guards and results of renewals come before everything else: deadlines hang on them.
        event = tokio::select! {
            biased;
            Some(joined) = beats.join_next(), if !beats.is_empty() => match heard(joined) {
                Ok(event) => event,
                Err(died) => return died,
            },
            Some(joined) = tasks.join_next(), if !tasks.is_empty() => match heard(joined) {
                Ok(event) => event,
                Err(died) => return died,
            },
            guard = incoming.guards.recv() => match guard {
                Some(event) => Some(Event::Guard(event)),
                None => return Ended::InputsEnded,
            },
            change = changes.recv() => change.map(Event::Changed),
            intent = incoming.intent.recv() => match intent {
                Some(intent) => Some(Event::Intent(intent)),
                None => return Ended::InputsEnded,
            },
            Some(ended) = watch.join_next(), if !watch.is_empty() => match ended {
                Ok(()) => None,
                Err(e) if e.is_cancelled() => None,
                Err(e) => return Ended::Died(e.to_string()),
            },
            () = tokio::time::sleep(wait) => Some(Event::Tick),
            changed = runner.ports.site.traffic_changed() => Some(Event::TrafficChanged(changed)),
            Some(asked) = incoming.proxies.recv() => {
                let now = runner.ports.clock.now();
                // Who has gone meanwhile needs no answer.
                let _ = asked.answer.send(brain.takes_writes(&asked.policy, now));
                // However many ask, what is due comes first.
                (now >= brain.next_tick()).then_some(Event::Tick)
            }
        };
    }
}

/// What a call has brought; nothing when it was broken off.
fn heard(joined: Result<Event, JoinError>) -> Result<Option<Event>, Ended> {
    match joined {
        Ok(event) => Ok(Some(event)),
        Err(e) if e.is_cancelled() => Ok(None),
        Err(e) => Err(Ended::Died(e.to_string())),
    }
}

struct Runner {
    id: Identity,
    ports: Ports,
    kinds: Arc<Kinds>,
}

/// Whose turn it is to ask the arbiter, each kind of call for itself: what writes waits for no read. Renewals of the lease
/// and the reads of all leases never wait.
struct Kinds {
    reads: Turns,
    writes: Turns,
    facts: Turns,
}

impl Kinds {
    fn new(call: Duration, together: usize) -> Self {
        let turns = || Turns::new(call, together);
        Self { reads: turns(), writes: turns(), facts: turns() }
    }
}

impl Runner {
    fn now(&self) -> (Arc<dyn Clock>, Boottime) {
        let clock = Arc::clone(&self.ports.clock);
        let now = clock.now();
        (clock, now)
    }

    fn list_and_watch(
        &self,
        tasks: &mut JoinSet<Event>,
        watch: &mut JoinSet<()>,
        into: &mpsc::Sender<ArbiterChange>,
    ) {
        let arbiter = Arc::clone(&self.ports.arbiter);
        let deadline = self.id.installation.timing.tq() * 4;
        let (start, started) = oneshot::channel::<i64>();
        tasks.spawn(async move {
            let listed = arbiter.list(deadline).await;
            if let Ok(listed) = &listed {
                // The watcher is gone only when a newer listing has replaced it.
                let _ = start.send(listed.revision);
            }
            Event::Listed(listed)
        });
        let arbiter = Arc::clone(&self.ports.arbiter);
        let into = into.clone();
        watch.spawn(async move {
            if let Ok(revision) = started.await {
                arbiter.watch(revision, into).await;
            }
        });
    }

    fn carry_out(&self, command: Command, tasks: &mut JoinSet<Event>) {
        let tq = self.id.installation.timing.tq();
        let arbiter = Arc::clone(&self.ports.arbiter);
        let site = Arc::clone(&self.ports.site);
        // Ends with the task that carries it out, before the brain hears of it.
        let underway = boundary::begin(effect(&command));
        match command {
            Command::Renew => {
                let (_, sent) = self.now();
                tasks.spawn(async move {
                    let result = arbiter.renew(tq).await;
                    drop(underway);
                    Event::Renewed { sent, result }
                });
            }
            Command::ReadLeases => {
                let (clock, sent) = self.now();
                tasks.spawn(async move {
                    let result = arbiter.leases(tq).await;
                    Event::Leases { sent, received: clock.now(), result }
                });
            }
            Command::ReadRecord(policy) => {
                let (clock, kinds) = (Arc::clone(&self.ports.clock), Arc::clone(&self.kinds));
                tasks.spawn(async move {
                    let call = async { (clock.now(), arbiter.record(&policy, tq).await) };
                    let (sent, read) = kinds.reads.take(call, |(_, read)| read.is_ok()).await;
                    let result =
                        read.map(|found| found.map(|(record, revision)| (Box::new(record), revision)));
                    Event::Record { policy, sent, received: clock.now(), result }
                });
            }
            Command::Write { policy, expected, next, unchanged_lease } => {
                let lease = self.id.installation.timing.r();
                let kinds = Arc::clone(&self.kinds);
                tasks.spawn(async move {
                    let call = arbiter.write(&policy, expected, &next, unchanged_lease.as_ref(), tq);
                    let in_time = |cas: &Cas| !matches!(cas, Cas::Unknown { .. });
                    let result = kinds.writes.take_soon(lease, call, in_time).await;
                    let result = result.unwrap_or_else(|reason| Cas::Unknown { reason });
                    drop(underway);
                    Event::Written { policy, next, result }
                });
            }
            Command::WriteFacts { policy, facts } => {
                let lease = self.id.installation.timing.r();
                let kinds = Arc::clone(&self.kinds);
                tasks.spawn(async move {
                    let call = arbiter.put_facts(&policy, &facts, tq);
                    let in_time = |outcome: &Outcome| !matches!(outcome, Outcome::Unknown { .. });
                    let outcome = kinds.facts.take_soon(lease, call, in_time).await;
                    let outcome = outcome.unwrap_or_else(Outcome::refused);
                    drop(underway);
                    Event::FactsWritten { policy, facts, outcome }
                });
            }
            Command::Answer { session, nonce, instruction } => {
                self.ports.guards.answer(session, nonce, *instruction);
            }
            Command::Tell { session, instruction } => self.ports.guards.tell(session, *instruction),
            Command::Refuse { session, reason } => self.ports.guards.refuse(session, reason),
            Command::ReadMarks => {
                tasks.spawn(async move { Event::Marks(site.marks().await) });
            }
            Command::RaiseMark { policy, kept } => {
                tasks.spawn(async move {
                    let outcome = site.raise_mark(&policy, &kept).await;
                    drop(underway);
                    Event::MarkRaised { policy, kept, outcome }
                });
            }
            Command::Look { policy, what, active } => {
                tasks.spawn(async move {
                    let found = look(site.as_ref(), &policy, &what, active).await;
                    Event::Seen { policy: policy.key.clone(), what, found }
                });
            }
            Command::Perform { policy, step, lane: _ } => {
                tasks.spawn(async move {
                    let outcome = site.perform(&policy, &step).await;
                    drop(underway);
                    Event::Done { policy: policy.key.clone(), step, outcome }
                });
            }
            Command::Publish(shown) => {
                tasks.spawn(async move {
                    let policy = shown.key.clone();
                    let outcome = site.publish(*shown).await;
                    drop(underway);
                    Event::Published { policy, outcome }
                });
            }
            Command::Beat(heartbeat) => {
                tasks.spawn(async move {
                    let outcome = site.beat(*heartbeat).await;
                    drop(underway);
                    Event::Beaten { outcome }
                });
            }
            Command::Journal(entry) => self.ports.journal.write(entry),
            Command::ListAndWatch | Command::Stop { .. } | Command::StandDown { .. } => {}
        }
    }
}

async fn look(site: &dyn Site, policy: &bascule_core::policy::Policy, what: &Look, active: bool) -> Found {
    match what {
        Look::Workload(name) => Found::Workload(Box::new(site.workload(policy, name).await)),
        Look::Traffic(name) => Found::Traffic(Box::new(site.traffic(policy, name).await)),
        Look::Database(name) => Found::Database(site.database(policy, name, active).await),
        Look::Upstream(name, of) => Found::Upstream(site.upstream(policy, name, of).await),
    }
}
