//! The simulator's guards and servers, with an operator in each site that says what the script wants.

use std::collections::BTreeMap;
use std::time::Duration;

use bascule_core::guard::wire::{Report, Upstream};
use bascule_engine::brain::{Command, Event};
use bascule_engine::ports::{GuardEvent, GuardSession};
use bascule_sim::fault::Fault;
use bascule_sim::sample;
use bascule_sim::side_by_side::Subject;
use bascule_sim::world::{Plan, World};

use crate::script::{At, Desk, Do, Sees, shows, told};

/// Longer than anything takes that must happen.
const LONG: Duration = Duration::from_mins(1);
/// How long nothing may change.
const STILL: Duration = Duration::from_secs(3);

pub(crate) struct Model {
    world: World,
    desks: BTreeMap<At, Desk>,
    sessions: BTreeMap<At, GuardSession>,
    reports: BTreeMap<At, Report>,
}

impl Model {
    /// No guard runs yet.
    pub(crate) fn new() -> Self {
        let mut world = World::new(&Plan { writes_every: None, ..Plan::of(vec![sample::policy()], 1) });
        for op in 0..world.operators.len() {
            world.drive_operator(op);
        }
        for db in &mut world.databases {
            // The arbiter of the fallback is another script's.
            db.guard.has_arbiter = false;
            db.guard.up = false;
            db.guard.life += 1;
        }
        let desks = [At::A, At::B].map(|at| (at, Desk::new())).into();
        Self { world, desks, sessions: BTreeMap::new(), reports: BTreeMap::new() }
    }

    fn upstream(at: At, exists: bool) -> Upstream {
        let host = match (at, exists) {
            (_, false) => "nobody",
            (At::A, true) => "lyon",
            (At::B, true) => "paris",
        };
        Upstream {
            host: host.into(),
            port: 5432,
            user: "replication".into(),
            password: String::new(),
            slot: "bascule_other".into(),
            application_name: "replica".into(),
            sslmode: "prefer".into(),
        }
    }

    /// One thing happens, and the operators answer what they were asked.
    fn step(&mut self, end: bascule_sim::time::Moment) -> bool {
        let goes_on = self.world.step(end);
        for at in [At::A, At::B] {
            let op = at as usize;
            for event in self.world.heard(op) {
                match event {
                    Event::Guard(GuardEvent::Connected { session, .. }) => {
                        self.sessions.insert(at, session);
                    }
                    Event::Guard(GuardEvent::Gone { session, .. })
                        if self.sessions.get(&at) == Some(&session) =>
                    {
                        self.sessions.remove(&at);
                    }
                    Event::Guard(GuardEvent::Asked { session, nonce, fresh, report, .. }) => {
                        self.reports.insert(at, *report);
                        let desk = &self.desks[&at];
                        if !desk.deaf {
                            let instruction = Box::new(desk.instruction(fresh));
                            self.world.command(op, Command::Answer { session, nonce, instruction });
                        }
                    }
                    _ => {}
                }
            }
        }
        goes_on
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.world.now + time;
        while self.step(end) {}
    }

    /// Tells a guard unasked what is wanted now.
    fn tell(&mut self, at: At) {
        let desk = &self.desks[&at];
        if let Some(session) = self.sessions.get(&at).copied().filter(|_| !desk.deaf) {
            let instruction = Box::new(desk.instruction(false));
            self.world.command(at as usize, Command::Tell { session, instruction });
        }
    }

    fn desk(&mut self, at: At) -> &mut Desk {
        self.desks.get_mut(&at).unwrap()
    }

    fn until(&mut self, at: At, sees: Sees) -> Vec<String> {
        let end = self.world.now + LONG;
        let before = self.reports.get(&at).map(|r| r.boot.clone()).unwrap_or_default();
        loop {
            if let Some(report) = self.reports.get(&at)
                && shows(report, sees, self.reports.get(&at.other()), &before)
            {
                return told(report);
            }
            if !self.step(end) {
                let last = self.reports.get(&at).map(told).unwrap_or_default();
                return [vec!["never; the last report:".to_owned()], last].concat();
            }
        }
    }
}

impl Subject<Do> for Model {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        match *step {
            Do::Start(at) => self.world.start_guard(at as usize),
            Do::Order(at, wants, serial, epoch) => {
                self.desk(at).order(wants, serial, epoch, |exists| Self::upstream(at, exists));
                self.tell(at);
            }
            Do::Until(at, sees) => return self.until(at, sees),
            Do::Insert(at, rows) => {
                let done = self.world.insert(at as usize, rows);
                return vec![if done { "committed" } else { "refused" }.to_owned()];
            }
            Do::Rows(at, rows) => {
                let end = self.world.now + LONG;
                while self.world.rows(at as usize) != Some(rows as usize) && self.step(end) {}
                let found = self.world.rows(at as usize);
                return vec![found.map_or("refused".to_owned(), |n| format!("{n} rows"))];
            }
            Do::Still(at) => {
                self.run_for(STILL);
                return self.reports.get(&at).map(told).unwrap_or_default();
            }
            Do::Answer(at) => {
                self.desk(at).deaf = false;
                self.tell(at);
            }
            Do::Deaf(at) => self.desk(at).deaf = true,
            Do::KillServer(at) => self.world.fault(Fault::ServerKilled(at as usize), true),
            Do::KillGuard(at) => self.world.kill_guard(at as usize),
            Do::FreezeGuard(at) => {
                self.world.fault(Fault::GuardFrozen(at as usize), true);
                self.run_for(STILL);
                self.world.fault(Fault::GuardFrozen(at as usize), false);
            }
            Do::FreezeServer(at) => self.world.fault(Fault::ServerFrozen(at as usize), true),
            Do::PromoteByHand(at) => self.world.fault(Fault::PromotedByHand(at as usize), true),
            Do::MakeStandby(at) => self.world.put_standby_signal(at as usize),
        }
        vec![]
    }
}
