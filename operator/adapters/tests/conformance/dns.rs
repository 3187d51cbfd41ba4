//! Authoritative name servers (Knot): one atomic update with its prerequisite, secondaries that follow or do not, and
//! what a look at all of them finds.

#[path = "../../src/dns/knot.rs"]
mod knot;
#[allow(dead_code, reason = "the adapter's own tests use the rest")]
#[path = "../../src/dns/relay.rs"]
mod relay;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bascule_adapters::dns::{DnsTarget, DnsTargetSpec, DnsTraffic, Mark, SiteAddresses, TsigKey};
use bascule_core::name::{ItemName, SiteName};
use bascule_core::observation::{Fact, TrafficView};
use bascule_core::outcome::Outcome;
use bascule_core::plan::Step as Perform;
use bascule_engine::brain::{Event, Found, Look};
use bascule_sim::fault::{Fault, Planned, When};
use bascule_sim::side_by_side::{Step, Subject, compare};
use bascule_sim::world::Fate;
use tokio::sync::Notify;

use self::Site::{Lyon, Paris};
use self::knot::{Knot, OTHER_SECRET, Role, SECRET, free_port, key};
use self::relay::{Pass, Relay};
use crate::world::{Driven, policy};

const WAIT: Duration = Duration::from_secs(5);
/// How long a change takes to a secondary at most.
const FOLLOWS: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Site {
    Paris,
    Lyon,
}

impl Site {
    fn name(self) -> SiteName {
        SiteName::try_from(if self == Paris { "paris" } else { "lyon" }).unwrap()
    }
}

/// Which state: who points it where, and the record's epoch and serial.
#[derive(Clone, Copy, Debug)]
struct Point(Site, u64, u64);

#[derive(Debug)]
enum Do {
    /// Points the name at the site that does it.
    Point(Point),
    /// Looks at every server.
    Look,
    /// Looks until no server that answers differs from the newest.
    Agree,
    /// Looks until only this one does.
    AgreeBut(usize),
    // What goes wrong.
    /// The first has read what is published when the second's update comes before its own.
    Race(Point, Point),
    /// It is done, and its answer is lost.
    LoseAnswer(Point),
    /// Server 0 takes the updates; 1 and 2 copy the zone from it.
    Kill(usize),
    Start(usize),
    /// A secondary transfers nothing any more.
    Stick(usize),
    /// It does again, and looks at once.
    Unstick(usize),
    /// The key is another one.
    WrongKey(bool),
}

impl Step for Do {
    fn fails(&self) -> bool {
        matches!(
            self,
            Self::Race(..) | Self::LoseAnswer(_) | Self::Kill(_) | Self::Stick(_) | Self::WrongKey(true)
        )
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done",
        Outcome::Refused { .. } => "refused",
        Outcome::Unknown { .. } => "unknown",
    }
    .to_owned()
}

/// A look in lines. `server` tells the number of a server from the words about it.
fn view(view: &TrafficView, server: impl Fn(&str) -> usize) -> Vec<String> {
    let servers = |words: &[String]| {
        let numbers: BTreeSet<String> = words.iter().map(|w| server(w).to_string()).collect();
        numbers.into_iter().collect::<Vec<_>>().join(" and ")
    };
    let mut lines = Vec::new();
    match &view.at {
        Fact::Unknown { .. } => lines.push("where it points: unknown".to_owned()),
        Fact::Known { value: at, .. } => {
            let site = at.site.as_ref().map_or("nowhere in particular", |s| s.as_str());
            lines.push(format!("it points to {site}, epoch {}, serial {}", at.epoch, at.serial));
            if !at.differing.is_empty() {
                lines.push(format!("different: server {}", servers(&at.differing)));
            }
            if !at.silent.is_empty() {
                lines.push(format!("silent: server {}", servers(&at.silent)));
            }
        }
    }
    match &view.blockers {
        Fact::Unknown { .. } => lines.push("what is in the way: unknown".to_owned()),
        Fact::Known { value, .. } => {
            let gates: BTreeSet<String> = value
                .iter()
                .filter(|g| !g.passed())
                .map(|g| format!("in the way: {} ({:?})", g.name, g.answer))
                .collect();
            lines.extend(gates);
        }
    }
    lines
}

/// Whether the servers that differ are those that must by now.
fn settled(lines: &[String], but: Option<usize>) -> bool {
    let differing = lines.iter().find(|l| l.starts_with("different"));
    differing.map(String::as_str) == but.map(|server| format!("different: server {server}")).as_deref()
}

fn public() -> ItemName {
    ItemName::try_from("public").unwrap()
}

// ---- the model

struct Model(Driven);

impl Model {
    fn new() -> Self {
        Self(Driven::new(policy()))
    }

    fn step(Point(site, epoch, serial): Point) -> Perform {
        Perform::PointTraffic { traffic: public(), site: site.name(), epoch, serial }
    }

    fn point(&mut self, point: Point) -> Outcome {
        self.0.perform(point.0 as usize, Self::step(point))
    }

    fn look(&mut self) -> Vec<String> {
        // Nothing is remembered of an earlier look.
        self.0.world.operators[0].zones.clear();
        let Found::Traffic(found) = self.0.look(0, Look::Traffic(public())) else { panic!("another look") };
        // "server 2: …", "server 2 answers …"
        view(&found, |words| words.split([' ', ':']).nth(1).unwrap().parse().unwrap())
    }
}

impl Model {
    fn agree(&mut self, but: Option<usize>) -> Vec<String> {
        let end = self.0.world.now + FOLLOWS;
        loop {
            let lines = self.look();
            if settled(&lines, but) || self.0.world.now > end {
                return lines;
            }
        }
    }
}

impl Subject<Do> for Model {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        match step {
            Do::Point(point) => vec![outcome(&self.point(*point))],
            Do::Look => self.look(),
            Do::Agree => self.agree(None),
            Do::AgreeBut(server) => self.agree(Some(*server)),
            Do::Race(late, early) => {
                // What slows an operator's site down holds its update back.
                let slow = Fault::ApiSlow(late.0 as usize);
                self.0.world.fault(slow, true);
                let held = Self::step(*late);
                let command = bascule_engine::brain::Command::Perform {
                    policy: self.0.policy.clone(),
                    lane: held.lane(),
                    step: held,
                };
                self.0.world.command(late.0 as usize, command);
                let first = self.point(*early);
                self.0.world.fault(slow, false);
                let second = self.0.hear(late.0 as usize, |event| match event {
                    Event::Done { outcome, .. } => Some(outcome),
                    _ => None,
                });
                vec![outcome(&first), outcome(&second)]
            }
            Do::LoseAnswer(point) => {
                let world = &mut self.0.world;
                world.count_boundaries(false);
                world.faults.push(Planned {
                    when: When::Boundary(world.counted()),
                    fault: Fault::Effect(Fate::LoseAnswer),
                    lasts: None,
                    begun: false,
                    over: false,
                });
                let lost = self.point(*point);
                self.0.world.stop_counting();
                vec![outcome(&lost)]
            }
            Do::Kill(server) => {
                self.0.world.dns.servers[*server].up = false;
                vec![]
            }
            Do::Start(server) => {
                self.0.world.dns.servers[*server].up = true;
                vec![]
            }
            Do::Stick(server) => {
                self.0.world.dns.servers[*server].stuck = true;
                vec![]
            }
            Do::Unstick(server) => {
                self.0.world.dns.servers[*server].stuck = false;
                vec![]
            }
            Do::WrongKey(on) => {
                self.0.world.fault(Fault::DnsRefuses, *on);
                vec![]
            }
        }
    }
}

// ---- the real thing

struct Real {
    servers: Vec<Knot>,
    wrong_key: bool,
}

impl Real {
    fn start() -> Self {
        let address = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
        let (first, second, third) = (address(), address(), address());
        let servers = vec![
            Knot::start(first, &Role::Primary { notify: &[second, third] }, ""),
            Knot::start(second, &Role::Secondary { of: first, forwards: false }, ""),
            Knot::start(third, &Role::Secondary { of: first, forwards: false }, ""),
        ];
        Self { servers, wrong_key: false }
    }

    /// The engine's way to the servers, with nothing remembered; updates go to `update`.
    fn traffic(&self, update: SocketAddr) -> DnsTraffic {
        let mut dns = policy().traffic[&public()].dns().unwrap().clone();
        dns.update_servers = vec![update];
        dns.verify_servers = self.servers.iter().map(|s| s.address).collect();
        DnsTraffic::new(&dns, key(if self.wrong_key { OTHER_SECRET } else { SECRET })).unwrap()
    }

    async fn point_at(&self, update: SocketAddr, Point(site, epoch, serial): Point) -> Outcome {
        self.traffic(update).point(&site.name(), epoch, serial, WAIT).await
    }

    async fn look(&self) -> Vec<String> {
        let found = self.traffic(self.servers[0].address).look("traffic/public", WAIT).await;
        view(&found, |words| {
            let at = |s: &Knot| words.contains(&s.address.to_string());
            self.servers.iter().position(at).unwrap_or_else(|| panic!("no server in {words}"))
        })
    }
}

impl Real {
    async fn agree(&self, but: Option<usize>) -> Vec<String> {
        let end = Instant::now() + FOLLOWS;
        loop {
            let lines = self.look().await;
            if settled(&lines, but) || Instant::now() > end {
                return lines;
            }
        }
    }
}

impl Subject<Do> for Real {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        let primary = self.servers[0].address;
        match step {
            Do::Point(point) => vec![outcome(&self.point_at(primary, *point).await)],
            Do::Look => self.look().await,
            Do::Agree => self.agree(None).await,
            Do::AgreeBut(server) => self.agree(Some(*server)).await,
            Do::Race(late, early) => {
                let (held, release) = (Notify::new(), Notify::new());
                let relay = Relay::start(primary).await;
                let loser = self.point_at(relay.address, *late);
                let serve = relay.serve(|_| async {
                    held.notify_one();
                    release.notified().await;
                    Pass::Forward
                });
                let winner = async {
                    held.notified().await;
                    let done = self.point_at(primary, *early).await;
                    release.notify_one();
                    done
                };
                let (second, (), first) = tokio::join!(loser, serve, winner);
                vec![outcome(&first), outcome(&second)]
            }
            Do::LoseAnswer(point) => {
                let relay = Relay::start(primary).await;
                let lost = self.point_at(relay.address, *point);
                let (lost, ()) = tokio::join!(lost, relay.serve(|_| async { Pass::LoseReply }));
                vec![outcome(&lost)]
            }
            Do::Kill(server) => {
                self.servers[*server].kill();
                vec![]
            }
            Do::Start(server) => {
                self.servers[*server].start_again();
                vec![]
            }
            Do::Stick(server) => {
                self.servers[*server].control(&["-b", "zone-freeze", "shop.example."]);
                vec![]
            }
            Do::Unstick(server) => {
                self.servers[*server].control(&["-b", "zone-thaw", "shop.example."]);
                self.servers[*server].control(&["-b", "zone-refresh", "shop.example."]);
                vec![]
            }
            Do::WrongKey(on) => {
                self.wrong_key = *on;
                vec![]
            }
        }
    }
}

async fn play(script: &[Do]) {
    compare(script, Model::new(), Real::start()).await;
}

// ---- the scripts

#[tokio::test]
async fn an_older_state_never_comes_after_a_newer_one_and_the_same_one_is_nobody_elses() {
    play(&[
        Do::Look,
        Do::Point(Point(Paris, 1, 3)),
        Do::Agree,
        Do::Point(Point(Lyon, 2, 7)),
        Do::Point(Point(Paris, 1, 9)),
        Do::Point(Point(Paris, 2, 6)),
        Do::Point(Point(Paris, 2, 7)),
        Do::Point(Point(Lyon, 2, 7)),
        Do::Agree,
        Do::LoseAnswer(Point(Lyon, 2, 8)),
        Do::Point(Point(Lyon, 2, 8)),
        Do::Agree,
    ])
    .await;
}

#[tokio::test]
async fn an_update_that_another_one_came_before_is_refused_whichever_is_the_newer() {
    play(&[
        Do::Point(Point(Paris, 1, 1)),
        Do::Race(Point(Paris, 1, 2), Point(Lyon, 2, 3)),
        Do::Agree,
        Do::Race(Point(Lyon, 2, 6), Point(Lyon, 2, 5)),
        Do::Agree,
        Do::Point(Point(Lyon, 2, 6)),
        Do::Agree,
    ])
    .await;
}

#[tokio::test]
async fn a_secondary_that_does_not_transfer_differs_until_it_does() {
    play(&[
        Do::Point(Point(Paris, 1, 1)),
        Do::Agree,
        Do::Stick(1),
        Do::Point(Point(Lyon, 2, 2)),
        Do::AgreeBut(1),
        Do::Unstick(1),
        Do::Agree,
    ])
    .await;
}

#[tokio::test]
async fn while_the_primary_is_down_nothing_is_changed_and_the_secondaries_still_answer() {
    play(&[
        Do::Point(Point(Paris, 1, 1)),
        Do::Agree,
        Do::Kill(0),
        Do::Point(Point(Lyon, 2, 2)),
        Do::Look,
        Do::Start(0),
        Do::Look,
        Do::Point(Point(Lyon, 2, 2)),
        Do::Agree,
    ])
    .await;
}

#[tokio::test]
async fn with_the_primary_down_the_newest_that_a_secondary_has_is_what_the_others_differ_from() {
    play(&[
        Do::Point(Point(Paris, 1, 1)),
        Do::Agree,
        Do::Stick(1),
        Do::Point(Point(Lyon, 2, 2)),
        Do::AgreeBut(1),
        Do::Kill(0),
        Do::Look,
        Do::Kill(2),
        Do::Look,
        Do::Kill(1),
        Do::Look,
    ])
    .await;
}

#[tokio::test]
async fn a_key_that_the_primary_does_not_know_changes_nothing_and_is_said_before_it_is_needed() {
    play(&[
        Do::Point(Point(Paris, 1, 1)),
        Do::Agree,
        Do::WrongKey(true),
        Do::Look,
        Do::Point(Point(Lyon, 2, 2)),
        Do::WrongKey(false),
        Do::Look,
        Do::Point(Point(Lyon, 2, 2)),
        Do::Agree,
    ])
    .await;
}

#[tokio::test]
async fn a_dead_secondary_is_silent_and_keeps_nobody_from_pointing_elsewhere() {
    play(&[
        Do::Point(Point(Paris, 1, 1)),
        Do::Agree,
        Do::Kill(2),
        Do::Look,
        Do::Point(Point(Lyon, 2, 2)),
        Do::Agree,
    ])
    .await;
}
