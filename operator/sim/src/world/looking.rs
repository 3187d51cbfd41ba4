//! What operators see when they look: workloads, traffic, databases, the way to a primary.

use std::time::Duration;

use bascule_core::blocker;
use bascule_core::guard::wire::Upstream;
use bascule_core::name::{ItemName, PolicyKey};
use bascule_core::observation::{Fact, TrafficView};
use bascule_core::plan::{self, Gate};
use bascule_core::policy::{self, Policy};
use bascule_engine::brain::{Event, Found, Look};
use bascule_engine::ports::NoUpstream;

use super::World;
use super::cluster::App;
use super::net::Traffic;
use super::postgres::Run;

/// How long a look with its questions takes.
const LOOK: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(15));
/// How long a zone that would take an update is believed to do so.
const BELIEVED: Duration = Duration::from_secs(30);

impl World {
    pub(super) fn looks(&mut self, op: usize, policy: &Policy, what: Look) {
        let site = self.operators[op].site;
        self.sites[site].cluster.meets(policy);
        let cluster = &self.sites[site].cluster;
        let found = match &what {
            Look::Workload(name) => {
                let app = cluster.apps.get(&(policy.key.clone(), name.clone()));
                let view = match (cluster.read_fails(), app) {
                    (Some(why), _) => App::unseen(why),
                    (None, Some(app)) => {
                        let mut view = app.view(name);
                        add(&mut view.blockers, cluster.obstacles(policy, name));
                        view
                    }
                    (None, None) => App::unseen("the workload does not exist"),
                };
                Found::Workload(Box::new(view))
            }
            Look::Traffic(name) => {
                let target = (policy.key.clone(), name.clone());
                let obstacles = cluster.obstacles(policy, name);
                Found::Traffic(Box::new(match policy.traffic.get(name) {
                    Some(policy::Traffic::HttpRoute(route)) => match cluster.read_fails() {
                        Some(why) => TrafficView { at: Fact::unknown(why), blockers: Fact::unknown(why) },
                        None => TrafficView {
                            at: Fact::now(cluster.routes.view(&target, route)),
                            blockers: Fact::now(obstacles),
                        },
                    },
                    Some(policy::Traffic::Dns(dns)) => {
                        let at = self.dns.view(&target, dns, |s| self.name_server_answers(site, s));
                        let mut blockers = self.zone_blockers(op, &target);
                        add(&mut blockers, obstacles);
                        TrafficView { at, blockers }
                    }
                    None => TrafficView::default(),
                }))
            }
            Look::Database(name) => Found::Database(match cluster.read_fails() {
                Some(why) => Fact::unknown(why),
                // Every process of it stands still: the operator's own role hears nothing either.
                None if self.stands_still(policy, name, site) => Fact::now(vec![Gate::new(
                    &format!("{}/{}", blocker::database(name), blocker::CONNECT_TIMEOUT),
                    plan::Answer::Unknown,
                    "the server did not answer in time",
                    "an answer",
                )]),
                // Nothing listens where its container was.
                None if self.is_gone(policy, name, site) => Fact::now(vec![Gate::new(
                    &format!("{}/{}", blocker::database(name), blocker::CONNECT_UNREACHABLE),
                    plan::Answer::Unknown,
                    "the server cannot be reached",
                    "an answer",
                )]),
                None if cluster.missing_secret => Fact::now(vec![Gate::new(
                    "database/secret",
                    plan::Answer::No,
                    "the Secret does not exist",
                    "it exists",
                )]),
                None if self.is_closed(policy, name, site)
                    && !self.operators[op].asked.contains(&(policy.key.clone(), name.clone())) =>
                {
                    Fact::unknown("a closed server lets nobody in but its guard")
                }
                None => Fact::now(cluster.obstacles(policy, name)),
            }),
            Look::Upstream(_, of) => Found::Upstream(match cluster.read_fails() {
                Some(why) => Err(NoUpstream::Unknown { reason: why.to_owned() }),
                None if cluster.missing_secret => {
                    Err(NoUpstream::Missing { reason: "the Secret does not exist".to_owned() })
                }
                None => Ok(upstream(of.as_str(), self.sites[site].name.as_str())),
            }),
        };
        if let (Look::Database(name), Found::Database(Fact::Known { .. })) = (&what, &found)
            && self.takes_in(policy, name, site)
        {
            self.operators[op].asked.insert((policy.key.clone(), name.clone()));
        }
        self.reply(op, LOOK, Event::Seen { policy: policy.key.clone(), what, found });
    }

    /// What stands in the way of an update. That nothing does is believed for a while.
    fn zone_blockers(&mut self, op: usize, name: &(PolicyKey, ItemName)) -> Fact<Vec<Gate>> {
        let found = self.operators[op].zones.get(name).map(|good| self.now.since(*good));
        if let Some(age) = found.filter(|age| *age < BELIEVED) {
            return Fact::Known { value: Vec::new(), age };
        }
        let site = self.operators[op].site;
        let gates = self.dns.blockers(name, |s| self.name_server_answers(site, s));
        if gates.is_empty() {
            self.operators[op].zones.insert(name.clone(), self.now);
        }
        Fact::now(gates)
    }

    /// Whether a name server answers a site.
    pub(super) fn name_server_answers(&self, site: usize, server: &super::dns::Server) -> bool {
        server.up && self.net.joined(self.sites[site].place, server.place, Traffic::Clients)
    }

    fn stands_still(&self, policy: &Policy, name: &ItemName, site: usize) -> bool {
        let here =
            |d: &super::database::Database| d.policy == policy.key && d.name == *name && d.site == site;
        self.databases.iter().any(|d| here(d) && d.server.frozen)
    }

    /// Whether its server runs and its guard keeps everybody else out.
    fn is_closed(&self, policy: &Policy, name: &ItemName, site: usize) -> bool {
        let here =
            |d: &super::database::Database| d.policy == policy.key && d.name == *name && d.site == site;
        let closed =
            |run| matches!(run, Run::Standby { open: false } | Run::Primary { open: false } | Run::Promoting);
        self.databases.iter().any(|d| here(d) && closed(d.server.run))
    }

    /// Whether its server runs and lets clients in.
    fn takes_in(&self, policy: &Policy, name: &ItemName, site: usize) -> bool {
        let here =
            |d: &super::database::Database| d.policy == policy.key && d.name == *name && d.site == site;
        self.databases.iter().any(|d| here(d) && d.server.run.takes_readers())
    }

    fn is_gone(&self, policy: &Policy, name: &ItemName, site: usize) -> bool {
        let here =
            |d: &super::database::Database| d.policy == policy.key && d.name == *name && d.site == site;
        self.databases.iter().any(|d| here(d) && (d.out_of_reach || !d.guard.up))
    }
}

fn add(blockers: &mut Fact<Vec<Gate>>, more: Vec<Gate>) {
    if let Fact::Known { value, .. } = blockers {
        value.extend(more);
    }
}

/// How a replica reaches the database of a site.
fn upstream(of: &str, me: &str) -> Upstream {
    Upstream {
        host: of.to_owned(),
        port: 5432,
        user: "replication".to_owned(),
        password: "secret".to_owned(),
        slot: format!("bascule_{}", me.replace('-', "_")),
        application_name: me.to_owned(),
        sslmode: "prefer".to_owned(),
    }
}
