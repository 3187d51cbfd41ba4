//! A world from nothing.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use bascule_core::decide::Installation;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::policy::Policy;
use bascule_core::record::Record;
use bascule_core::timing::Profile;
use bascule_engine::brain::{Brain, Identity};
use jiff::Timestamp;

use super::arbiter::{Arbiter, Ranking};
use super::client::Client;
use super::cluster::{App, Cluster};
use super::database::{Beside, Database, Guard, Server, Speeds, Stream};
use super::dns::{Dns, Resolver};
use super::git::Git;
use super::happening::Happening;
use super::net::{Net, Place};
use super::operator::{Operator, Reflector};
use super::postgres::{DataDir, Run, disk};
use super::trial::Trial;
use super::{Site, World};
use crate::judge::Judge;
use crate::random::Chance;
use crate::time::{Machine, Moment};
use crate::transcript::Transcript;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of all chance.
    pub seed: u64,
    /// The timing profile.
    pub profile: Profile,
    /// The policies; all of them name the same sites.
    pub policies: Vec<Policy>,
    /// How often each client writes; `None`: there are none.
    pub writes_every: Option<Duration>,
    /// Whether a story is told.
    pub tell: bool,
    /// The latency of a line between two places.
    pub latency: Duration,
    /// Sites beside those that the policies name.
    pub more_sites: Vec<SiteName>,
    /// Records that are there from the beginning, by policy: the data lies where they say, not where the policies begin.
    pub records: Vec<(PolicyKey, Record)>,
    /// The time of day at the beginning; `None`: any.
    pub wall: Option<Timestamp>,
}

impl Plan {
    /// A world around these policies.
    pub fn of(policies: Vec<Policy>, seed: u64) -> Self {
        Self {
            seed,
            profile: Profile::Metro,
            policies,
            writes_every: Some(Duration::from_millis(50)),
            tell: false,
            latency: Duration::from_millis(1),
            more_sites: Vec::new(),
            records: Vec::new(),
            wall: None,
        }
    }

    /// Where a policy's data lies at the beginning.
    fn begins_at<'a>(&'a self, policy: &'a Policy) -> &'a SiteName {
        let record = self.records.iter().find(|(key, _)| *key == policy.key);
        record.map_or(&policy.initial_site, |(_, record)| &record.active)
    }
}

impl World {
    /// Every process starts at the beginning; the databases lie where each policy begins.
    pub fn new(plan: &Plan) -> Self {
        let mut names: Vec<SiteName> = plan.policies.first().map(|p| p.sites.clone()).unwrap_or_default();
        let more: Vec<SiteName> = plan.more_sites.iter().filter(|s| !names.contains(s)).cloned().collect();
        names.extend(more);
        let seed = plan.seed;
        let places: Vec<Place> = (0..names.len()).map(Place).collect();
        let third = Place(names.len());
        let mut clocks = Chance::of(seed, "clocks");
        let sites: Vec<Site> = names
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let mut cluster = Cluster::new(1000 + i as u64);
                for policy in &plan.policies {
                    let active = plan.begins_at(policy) == name;
                    for (app, workload) in &policy.workloads {
                        let standby = workload.replicas.standby.unwrap_or(2);
                        let pods = if active { workload.replicas.active.unwrap_or(2) } else { standby };
                        let app_here = App { flagged: workload.read_only.is_some(), ..App::new(pods) };
                        cluster.apps.insert((policy.key.clone(), app.clone()), app_here);
                    }
                }
                let mut machine = clock(&mut clocks);
                if let Some(wall) = plan.wall {
                    let by = wall.duration_since(machine.wall(Moment(0)));
                    machine.step_wall(i64::try_from(by.as_micros()).unwrap_or_default());
                }
                let place = places[i];
                Site { name: name.clone(), place, machine, cluster, up: true, lives: 0, elected: false }
            })
            .collect();
        // Three members: in two of the sites and in the third place.
        let members: Vec<Place> = places.iter().copied().take(2).chain([third]).collect();
        let timing = plan.profile.timing();
        let mut world = Self {
            now: Moment(0),
            queue: BinaryHeap::new(),
            numbers: 0,
            seed,
            profile: plan.profile,
            generation: 0,
            timing,
            operators: Vec::new(),
            databases: Vec::new(),
            arbiter: Arbiter::new(&members, plan.profile.longest_election()),
            net: Net::new(names.len() + 2, plan.latency, seed),
            dns: Dns::new(&[&[third], places.as_slice()].concat()),
            git: Git::default(),
            clients: Vec::new(),
            writes: Vec::new(),
            writers: Vec::new(),
            policies: plan.policies.clone(),
            faults: Vec::new(),
            trial: Trial::default(),
            steering: super::steering::Steering::default(),
            judge: Judge::new(&plan.policies),
            transcript: Transcript::new(plan.tell),
            chance: Chance::of(seed, "world"),
            records: 0,
            happened: 0,
            held: BTreeMap::new(),
            asked_of: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            flaps: BTreeMap::new(),
            one_way: BTreeMap::new(),
            disturbed: Moment(0),
            frozen_leader: None,
            latency: plan.latency,
            publications: None,
            sites,
        };
        for site in 0..names.len() {
            let op = world.add_operator(site);
            world.push(Moment(0), Happening::OperatorStarts(op));
        }
        for (app, policy) in plan.policies.iter().enumerate() {
            world.add_databases(policy, plan.begins_at(policy));
            world.add_clients(policy, app, plan.writes_every);
        }
        for (key, record) in &plan.records {
            world.arbiter.store.revision += 1;
            let revision = world.arbiter.store.revision;
            world.arbiter.store.records.insert(key.clone(), (record.clone(), revision));
        }
        for policy in &plan.policies {
            world.commit_policy(policy);
        }
        world
    }

    /// One more operator in a site; it does not run yet.
    pub fn add_operator(&mut self, site: usize) -> usize {
        let number = self.operators.len();
        let own = site.min(self.arbiter.members.len() - 1);
        let others = (0..self.arbiter.members.len()).filter(|m| *m != own);
        let order: Vec<usize> = [own].into_iter().chain(others).collect();
        let now = self.sites[site].machine.boottime(self.now);
        let brain = Brain::new(self.identity(site, number as u64), now);
        self.operators.push(Operator {
            site,
            life: 0,
            up: false,
            removed: false,
            frozen: false,
            stands_by: false,
            eager: false,
            fence: 0,
            inbox: VecDeque::new(),
            brain,
            calls: BTreeMap::new(),
            ranking: Ranking::new(order),
            tick_at: None,
            claimed: false,
            reflector: Reflector::default(),
            shown: BTreeMap::new(),
            intents: VecDeque::new(),
            chance: Chance::of(self.seed, &format!("operator {number}")),
            starts: 0,
            started: Moment(0),
            zones: BTreeMap::new(),
            asked: BTreeSet::new(),
            by_hand: None,
        });
        number
    }

    fn identity(&self, site: usize, question: u64) -> Identity {
        let installation = Installation {
            profile: self.profile,
            timing: self.timing,
            generation: self.generation,
            places: bascule_core::decide::Places::Several,
        };
        Identity { site: self.sites[site].name.clone(), question, installation }
    }

    pub(crate) fn operator_starts(&mut self, op: usize) {
        let site = self.operators[op].site;
        let it = &self.operators[op];
        if it.up || it.removed || !self.sites[site].up {
            return;
        }
        let number = self.next_number();
        let elected = self.sites[site].elected;
        let it = &mut self.operators[op];
        it.up = true;
        it.frozen = false;
        it.fence = number;
        if elected {
            it.stands_by = true;
            it.calls.clear();
            it.shown.clear();
            it.tick_at = None;
            let life = it.life;
            self.stands_by(op, life);
        } else {
            self.begins_to_act(op);
        }
    }

    /// An operator's process acts from now on: its engine begins, and knows nothing.
    pub(super) fn begins_to_act(&mut self, op: usize) {
        let site = self.operators[op].site;
        let now = self.sites[site].machine.boottime(self.now);
        let brain = Brain::new(self.identity(site, (op as u64) << 32 | self.operators[op].fence), now);
        let at = self.now;
        let it = &mut self.operators[op];
        it.stands_by = false;
        it.starts += 1;
        it.started = at;
        it.claimed = false;
        it.brain = brain;
        it.reflector = Reflector::default();
        it.calls.clear();
        it.zones.clear();
        it.asked.clear();
        it.tick_at = None;
        let life = it.life;
        self.meets_unresolved(op);
        self.think(op, bascule_engine::brain::Event::Tick);
        self.list_objects(op, life);
    }

    /// A server with its guard for every instance of the policy that has none; the data lies in `first`.
    pub(crate) fn add_databases(&mut self, policy: &Policy, first: &SiteName) {
        for (name, database) in &policy.databases {
            for site in 0..self.sites.len() {
                let number = self.databases.len();
                let site_name = self.sites[site].name.clone();
                let is = |d: &Database| d.policy == policy.key && d.name == *name && d.site == site;
                if !database.instances.contains_key(&site_name) || self.databases.iter().any(is) {
                    continue;
                }
                let first = *first == site_name;
                let id = self.next_record();
                let dir = first.then(|| DataDir::initdb(7 + number as u64, id));
                let beside = Beside::default();
                let machine = clock(&mut Chance::of(self.seed, &format!("clock {number}")));
                let now = machine.boottime(self.now);
                let guard = Guard::new(&beside, disk(dir.as_ref()), "machine-0".to_owned(), now, 0);
                self.databases.push(Database {
                    policy: policy.key.clone(),
                    name: name.clone(),
                    site,
                    site_name,
                    machine,
                    machine_life: 0,
                    guard,
                    server: Server {
                        dir,
                        run: Run::Down,
                        life: 0,
                        frozen: false,
                        stream: Stream::default(),
                        follows: None,
                        replay_lag: Duration::ZERO,
                        opened_in: 0,
                        speeds: Speeds::default(),
                        faults: super::database::StepFaults::default(),
                    },
                    beside,
                    link_cut: false,
                    out_of_reach: false,
                    last_word: None,
                    old_word: None,
                    chance: Chance::of(self.seed, &format!("database {number}")),
                });
                self.later(Duration::from_millis(20), Happening::Connect(number, 0));
            }
        }
    }

    fn add_clients(&mut self, policy: &Policy, app: usize, every: Option<Duration>) {
        let Some(every) = every else { return };
        let outside = self.outside();
        let places: Vec<Place> = [outside].into_iter().chain(self.sites.iter().map(|s| s.place)).collect();
        for place in places {
            let number = self.clients.len();
            // Those inside a site never ask where the application is: they find out whether it was fenced.
            let every = if place == outside { every } else { every * 2 };
            self.clients.push(Client {
                policy: policy.key.clone(),
                app,
                place,
                every,
                patience: Duration::from_secs(2),
                resolver: Resolver::default(),
                chance: Chance::of(self.seed, &format!("client {number}")),
                on: true,
            });
            self.push(Moment::from_millis(500), Happening::Write(number));
        }
    }
}

/// A clock that runs apart from the others a little, as clocks do.
fn clock(chance: &mut Chance) -> Machine {
    let rate = i32::try_from(chance.below(200)).unwrap_or(0) - 100;
    Machine::new(chance.between(Duration::from_secs(1000), Duration::from_hours(25)), rate)
}
