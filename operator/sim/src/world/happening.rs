//! What can happen, and who takes it.

use std::sync::Arc;

use bascule_core::guard::wire::{Instruction, Report};
use bascule_core::name::{ItemName, PolicyKey};
use bascule_core::observation::Kept;
use bascule_core::plan::Step;
use bascule_core::policy::Policy;

use super::World;
use super::arbiter::{Answer, Asked};
use super::cluster::Objects;
use super::database::{GuardInput, Step as ServerStep};
use super::dns::{Basis, Pointed};
use super::operator::Input;
use super::postgres::{Rec, Token};
use super::routes::Version;
use crate::fault::Fault;
use crate::time::Moment;

/// Something that is going to happen.
#[derive(Clone, Debug)]
pub enum Happening {
    /// An operator's own timer.
    Tick(usize, u32),
    /// Something reaches an operator.
    Hear(usize, u32, Input),
    /// A question reaches a member of the arbiter.
    AtMember(Asked),
    /// A person has understood that a stranger has this site's name, and does what the operator says: the key is deleted.
    StrangerLeaves(usize),
    /// A member's question is decided, in this term.
    Decide(Asked, u64),
    /// A call's time is over.
    Overdue(super::arbiter::Caller, u64),
    /// An election may end.
    Election(u64),
    /// A guard's own timer.
    GuardTick(usize, u32),
    /// Something reaches a guard.
    GuardHear(usize, u32, GuardInput),
    /// A guard's question arrives over a connection.
    Question {
        /// The database.
        database: usize,
        /// The connection.
        session: u64,
        /// To be echoed.
        nonce: u64,
        /// Whether it needs a read.
        fresh: bool,
        /// What it sees.
        report: Box<Report>,
    },
    /// An operator's word arrives over a connection.
    Word {
        /// The database.
        database: usize,
        /// The connection.
        session: u64,
        /// To which question.
        nonce: Option<u64>,
        /// What.
        instruction: Box<Instruction>,
    },
    /// A guard tries to connect.
    Connect(usize, u32),
    /// A connection has been silent for too long.
    Silent(usize, u64),
    /// A stage of a step of a server ends.
    Stage(usize, u64, ServerStep),
    /// A stop or a kill of this life of a server ends.
    Ends(usize, u64, bool),
    /// A checkpoint ends.
    Checkpoint(usize, u64, Option<u64>),
    /// The guard's watch looks at its deadline.
    Watch(usize, u32),
    /// The monitor looks.
    Monitor(usize, u32),
    /// A standby tries to stream.
    Stream(usize, u64),
    /// Records arrive at a standby.
    Wal(usize, u64, Vec<Rec>, u64),
    /// A standby hears that its primary has ended.
    FeedEnded(usize, u64),
    /// What was received is replayed.
    Replay(usize, u64, usize),
    /// A receiver has heard nothing for too long.
    Receiver(usize, u64),
    /// A cluster's object is written.
    Work(usize, u32, Box<Work>),
    /// Pods see a flag.
    PodsSee(usize, PolicyKey, ItemName, bool),
    /// The kubelets of a site look at every flag by themselves.
    PodsLook(usize),
    /// Pods run.
    PodsRun(usize, PolicyKey, ItemName, u32),
    /// A zone's secondary has the primary's state.
    Transfer(usize, (PolicyKey, ItemName), Pointed),
    /// A client begins a write.
    Write(usize),
    /// A client's write reaches a site.
    WriteAt(Token),
    /// A write is committed and flushed in this life of a server.
    Flushed(Token, usize, u64),
    /// A client hears of its write.
    WriteEnds(Token, bool),
    /// A client has waited long enough.
    WriteOverdue(Token),
    /// A site looks into the repository.
    Pull(usize),
    /// A watch of a cluster's objects tells an operator.
    Objects(usize, u32, Box<Objects>),
    /// A line comes or goes.
    Flap(usize, bool),
    /// The connections over a line that passes one way carry nothing more.
    LineDies(Fault, u32),
    /// An operator lists the objects.
    ListObjects(usize, u32),
    /// A planned fault begins.
    Fault(usize),
    /// A planned fault ends.
    Over(usize),
    /// A place's process starts again.
    GuardStarts(usize, u32),
    /// An operator starts again.
    OperatorStarts(usize),
    /// A replica that stands by looks who acts.
    StandsBy(usize, u32),
    /// What was held back on purpose goes on.
    Steered(Box<Happening>),
}

/// Work on a cluster or on the traffic, for an operator.
#[derive(Clone, Debug)]
pub enum Work {
    /// A step.
    Perform(Arc<Policy>, Step),
    /// An update of the zone, with the mark that was read for it; `None`: no update server answered.
    Update(Arc<Policy>, Step, Option<Basis>),
    /// A change of an HTTPRoute, with the version that was read for it; `None`: it could not be read.
    Route(Arc<Policy>, Step, Option<Version>),
    /// A mark is raised.
    Mark(PolicyKey, Box<Kept>),
}

/// A message that waits for a connection to pass something again.
#[derive(Clone, Debug)]
pub struct HeldWord(pub Happening);

/// Something in the queue.
#[derive(Clone, Debug)]
pub struct Queued {
    pub(super) at: Moment,
    pub(super) number: u64,
    pub(super) what: Box<Happening>,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    /// The earliest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl World {
    pub(crate) fn happen(&mut self, what: Happening) {
        match what {
            Happening::Tick(op, life) => self.operator_ticks(op, life),
            Happening::Hear(op, life, input) => self.operator_hears(op, life, input),
            Happening::AtMember(asked) => self.at_member(asked),
            Happening::Decide(asked, term) => self.decide(&asked, term),
            Happening::Overdue(by, call) => {
                self.answer_caller(by, call, usize::MAX, Answer::Failed(String::new()));
            }
            Happening::Election(term) => self.elect(term),
            Happening::GuardTick(db, life) => self.guard_ticks(db, life),
            Happening::GuardHear(db, life, input) => self.guard_gets(db, life, input),
            Happening::Question { database, session, nonce, fresh, report } => {
                self.question(database, session, nonce, fresh, report);
            }
            Happening::Word { database, session, nonce, instruction } => {
                self.word(database, session, nonce, instruction);
            }
            Happening::Connect(db, life) => self.connect(db, life),
            Happening::Silent(db, session) => self.silent(db, session),
            Happening::Stage(db, number, step) => self.stage(db, number, step),
            Happening::Ends(db, life, clean) => self.server_ends(db, life, clean),
            Happening::Checkpoint(db, life, serial) => self.checkpoint_ends(db, life, serial),
            Happening::Watch(db, life) => self.watch_looks(db, life),
            Happening::Monitor(db, life) => self.monitor_looks(db, life),
            Happening::Stream(db, number) => self.stream_begins(db, number),
            Happening::Wal(db, number, records, reported) => self.wal_arrives(db, number, records, reported),
            Happening::FeedEnded(db, number) => self.feed_ended(db, number),
            Happening::Replay(db, life, upto) => self.replayed(db, life, upto),
            Happening::Receiver(db, number) => self.receiver_looks(db, number),
            Happening::Work(op, life, work) => self.work(op, life, &work),
            Happening::PodsSee(site, policy, app, flag) => {
                if let Some(app) = self.sites[site].cluster.apps.get_mut(&(policy, app)) {
                    app.seen = flag;
                }
            }
            Happening::PodsLook(site) => self.each_app(site, |app| {
                if app.flag_delay.is_some() {
                    app.seen = app.flag;
                }
            }),
            Happening::PodsRun(site, policy, app, pods) => {
                if let Some(app) = self.sites[site].cluster.apps.get_mut(&(policy, app))
                    && app.wanted == pods
                {
                    if app.ready == 0 {
                        // A pod that starts mounts the flag as it is.
                        app.seen = app.flag;
                    }
                    app.ready = pods;
                }
            }
            Happening::Transfer(server, name, to) => self.transfer(server, &name, to),
            Happening::Write(client) => self.client_writes(client),
            Happening::WriteAt(token) => self.write_arrives(token),
            Happening::Flushed(token, db, life) => self.write_flushed(token, db, life),
            Happening::WriteEnds(token, ok) => self.write_ends(token, ok),
            Happening::WriteOverdue(token) => self.write_overdue(token),
            Happening::Pull(site) => self.pull(site),
            Happening::Objects(op, life, objects) => self.objects_told(op, life, &objects),
            Happening::Flap(site, cut) => self.flap(site, cut),
            Happening::LineDies(fault, number) => self.line_dies(fault, number),
            Happening::ListObjects(op, life) => self.list_objects(op, life),
            Happening::Fault(at) => self.fault_begins(at),
            Happening::Over(at) => self.fault_ends(at),
            Happening::GuardStarts(db, life) => self.guard_starts(db, life),
            Happening::StrangerLeaves(site) => {
                let name = &self.sites[site].name;
                let owners = &mut self.arbiter.store.owners;
                if owners.get(name) == Some(&super::arbiter::STRANGER) {
                    owners.remove(name);
                }
            }
            Happening::OperatorStarts(op) => self.operator_starts(op),
            Happening::StandsBy(op, life) => self.stands_by(op, life),
            Happening::Steered(what) => self.steered(*what),
        }
    }
}
