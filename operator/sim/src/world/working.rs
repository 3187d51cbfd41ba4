//! What operators have done outside of themselves: how it gets there, and what becomes of it.

use std::time::Duration;

use bascule_core::name::{ItemName, SiteName};
use bascule_core::outcome::Outcome;
use bascule_core::plan::Step;
use bascule_core::policy::{self, Policy};
use bascule_engine::brain::Event;

use super::World;
use super::cluster::{Api, App};
use super::dns::{Basis, Pointed, Updated};
use super::happening::{Happening, Work};
use super::operator::{API, Input};
use super::routes::Version;
use super::trial::Fate;
use crate::deed::{Before, Doing, End, Published};
use crate::judge::Sometimes;

impl World {
    pub(super) fn steps(&mut self, op: usize, policy: &Policy, step: &Step) {
        let site = self.operators[op].site;
        self.begins(op, &policy.key, |world| {
            let app =
                |name: &ItemName| world.sites[site].cluster.apps.get(&(policy.key.clone(), name.clone()));
            let before = match step {
                Step::SetReadOnly { workload, .. } => Before::Flag(app(workload).map(App::flag_value)),
                Step::Scale { workload, .. } => Before::Replicas(app(workload).map(|a| a.wanted)),
                Step::PointTraffic { traffic, .. } => {
                    let name = (policy.key.clone(), traffic.clone());
                    let here = &world.sites[site].cluster;
                    let now = if has_route(policy, traffic) {
                        here.routes.get(&name)
                    } else {
                        world.dns.servers.first().and_then(|s| s.names.get(&name))
                    };
                    Before::Published(now.map(|p| (p.site.clone(), p.published.clone())))
                }
                Step::RefuseWrites { traffic, .. } => {
                    let name = (policy.key.clone(), traffic.clone());
                    Before::Refuses(world.sites[site].cluster.routes.refuses(&name))
                }
                Step::VerifyWrite { .. } => Before::Nothing,
            };
            let after = match step {
                Step::PointTraffic { traffic, site, .. } => {
                    Before::Published(published(policy, traffic, site).map(|p| (site.clone(), p)))
                }
                Step::SetReadOnly { .. }
                | Step::Scale { .. }
                | Step::RefuseWrites { .. }
                | Step::VerifyWrite { .. } => Before::Nothing,
            };
            Doing::Step { step: step.clone(), before, after }
        });
    }

    pub(super) fn work_of(&self, site: usize, policy: std::sync::Arc<Policy>, step: Step) -> Work {
        let (Step::PointTraffic { traffic, .. } | Step::RefuseWrites { traffic, .. }) = &step else {
            return Work::Perform(policy, step);
        };
        if has_route(&policy, traffic) {
            let cluster = &self.sites[site].cluster;
            let name = (policy.key.clone(), traffic.clone());
            let version = cluster.read_fails().is_none().then(|| cluster.routes.version(&name));
            return Work::Route(policy, step, version);
        }
        let basis =
            self.dns.basis(&(policy.key.clone(), traffic.clone()), |s| self.name_server_answers(site, s));
        Work::Update(policy, step, basis)
    }

    pub(super) fn send_work(&mut self, op: usize, work: Work, fate: Fate) {
        let site = self.operators[op].site;
        // Traffic and a session of the database do not go through the API server.
        let outside = matches!(work, Work::Perform(_, Step::PointTraffic { .. } | Step::VerifyWrite { .. }));
        let slower = if outside { Duration::ZERO } else { self.sites[site].cluster.delay() };
        let it = &mut self.operators[op];
        let wait = it.chance.between(API.0, API.1) / 2 + slower + fate.lateness();
        let life = it.life;
        if fate != Fate::Go && matches!(work, Work::Perform(_, Step::SetReadOnly { .. })) {
            self.judge.flag_is_out_of_reach(site, self.now + Duration::from_secs(5));
        }
        let again = fate == Fate::Twice;
        let work = Box::new(work);
        if again {
            self.later(wait + Duration::from_millis(3), Happening::Work(op, life, work.clone()));
        }
        if fate == Fate::Refused {
            let outcome = Outcome::refused("refused on purpose");
            let event = done(&work, outcome);
            self.later(wait, Happening::Hear(op, life, Input::Event(Box::new(event))));
            return;
        }
        if fate.loses_answer() {
            // Applied, and the caller hears only that time is over.
            let event = done(&work, Outcome::unknown("no answer within 5 s"));
            self.later(wait, Happening::Work(op, u32::MAX, work));
            self.later(Duration::from_secs(5), Happening::Hear(op, life, Input::Event(Box::new(event))));
        } else {
            self.later(wait, Happening::Work(op, life, work));
        }
        self.then_dies(op, fate);
    }

    /// Work arrives where it is done.
    pub(crate) fn work(&mut self, op: usize, life: u32, work: &Work) {
        let site = self.operators[op].site;
        let outcome = if self.sites[site].up { self.does(site, work) } else { Outcome::unknown("gone") };
        if let Work::Perform(policy, step) | Work::Update(policy, step, _) | Work::Route(policy, step, _) =
            work
        {
            let name = self.sites[site].name.clone();
            self.transcript.step_ended(&name, &policy.key, step, ended(&outcome));
        }
        if life == u32::MAX {
            return;
        }
        let outside = matches!(work, Work::Perform(_, Step::PointTraffic { .. } | Step::VerifyWrite { .. }));
        let deaf = self.sites[site].cluster.api == Api::Deaf && !outside;
        let outcome = if deaf { Outcome::unknown("no answer within 5 s") } else { outcome };
        let event = done(work, outcome);
        let wait = self.operators[op].chance.between(API.0, API.1) / 2;
        self.later(wait, Happening::Hear(op, life, Input::Event(Box::new(event))));
    }

    fn does(&mut self, site: usize, work: &Work) -> Outcome {
        let elsewhere = matches!(work, Work::Update(..) | Work::Perform(_, Step::VerifyWrite { .. }));
        if !elsewhere {
            match self.sites[site].cluster.api {
                Api::Gone => return Outcome::refused("the API server refuses connections"),
                Api::Silent => return Outcome::unknown("no answer within 5 s"),
                Api::Busy => return Outcome::unknown("the API server is busy (429)"),
                Api::Forbidden => return Outcome::refused("forbidden (403)"),
                Api::Well | Api::Slow(_) | Api::Deaf => {}
            }
        }
        match work {
            Work::Mark(policy, kept) => {
                let cluster = &mut self.sites[site].cluster;
                if cluster.marks_frozen {
                    return Outcome::refused("the ConfigMap cannot be written");
                }
                let before = cluster.marks.remove(policy).unwrap_or_default();
                cluster.marks.insert(policy.clone(), before.higher(*kept.clone()));
                Outcome::Done
            }
            Work::Perform(policy, step) => self.performs(site, policy, step),
            Work::Update(policy, step, basis) => self.updates(site, policy, step, basis.as_ref()),
            Work::Route(policy, step, version) => self.routes(site, policy, step, *version),
        }
    }

    fn routes(&mut self, site: usize, policy: &Policy, step: &Step, version: Option<Version>) -> Outcome {
        self.judge.touches(self.now, &self.sites[site].name, policy, step);
        let Some(version) = version else { return Outcome::refused("the route could not be read") };
        if let Step::RefuseWrites { traffic, on, epoch, serial } = step {
            let name = (policy.key.clone(), traffic.clone());
            let routes = &mut self.sites[site].cluster.routes;
            return match routes.refuse(&name, *on, (*epoch, *serial), version) {
                Updated::Stands | Updated::Done => Outcome::Done,
                Updated::Refused(why) => {
                    self.judge.meets(Sometimes::OldEffectRefused);
                    Outcome::refused(why)
                }
            };
        }
        let Step::PointTraffic { traffic, site: to, epoch, serial } = step else {
            return Outcome::refused("not a step of the traffic");
        };
        let name = (policy.key.clone(), traffic.clone());
        let Some(published) = published(policy, traffic, to) else {
            return Outcome::refused(format!("the policy has no backend of {traffic} in {to}"));
        };
        let to = Pointed { site: to.clone(), epoch: *epoch, serial: *serial, published };
        match self.sites[site].cluster.routes.change(&name, to.clone(), version) {
            Updated::Stands => Outcome::Done,
            Updated::Done => {
                self.judge_pointed(&name, Some(site), &to);
                self.judge.pointed(self.now, &name, Some(site), &to);
                Outcome::Done
            }
            Updated::Refused(why) => {
                self.judge.meets(Sometimes::OldEffectRefused);
                Outcome::refused(why)
            }
        }
    }

    fn updates(&mut self, site: usize, policy: &Policy, step: &Step, basis: Option<&Basis>) -> Outcome {
        self.judge.touches(self.now, &self.sites[site].name, policy, step);
        let Step::PointTraffic { traffic, site: to, epoch, serial } = step else {
            return Outcome::refused("not a step of the traffic");
        };
        let Some(basis) = basis else { return Outcome::refused("no update server answers") };
        if !self.dns.servers.first().is_some_and(|primary| self.name_server_answers(site, primary)) {
            return Outcome::unknown("sent, but the update server did not answer");
        }
        let name = (policy.key.clone(), traffic.clone());
        let Some(published) = published(policy, traffic, to) else {
            return Outcome::refused(format!("the policy has no addresses of {traffic} in {to}"));
        };
        let to = Pointed { site: to.clone(), epoch: *epoch, serial: *serial, published };
        match self.dns.update(&name, to.clone(), basis) {
            Updated::Stands => Outcome::Done,
            Updated::Done => {
                self.judge_pointed(&name, None, &to);
                self.judge.pointed(self.now, &name, None, &to);
                let transfer = self.dns.transfer;
                for server in 1..self.dns.servers.len() {
                    self.later(transfer, Happening::Transfer(server, name.clone(), to.clone()));
                }
                Outcome::Done
            }
            Updated::Refused(why) => {
                if self.dns.servers.first().is_some_and(|s| !s.refuses) {
                    self.judge.meets(Sometimes::OldEffectRefused);
                }
                Outcome::refused(why)
            }
        }
    }

    fn performs(&mut self, site: usize, policy: &Policy, step: &Step) -> Outcome {
        self.judge.touches(self.now, &self.sites[site].name, policy, step);
        self.sites[site].cluster.meets(policy);
        match step {
            Step::SetReadOnly { workload, on } => {
                let name = (policy.key.clone(), workload.clone());
                let Some(app) = self.sites[site].cluster.apps.get_mut(&name) else {
                    return Outcome::refused(format!("{workload} does not exist"));
                };
                // A value that is there already is nobody's to contend.
                if let Some(owner) = app.flag_owner.filter(|_| app.flag != *on) {
                    return Outcome::refused(format!("conflict: {owner} owns the flag"));
                }
                app.flag = *on;
                app.instead = None;
                if *on {
                    self.judge.set.note(&policy.key, workload, site, self.now);
                } else {
                    self.judge_flags(&policy.key, site, "takes its read-only flag off");
                }
                let Some(app) = self.sites[site].cluster.apps.get(&name) else { return Outcome::Done };
                let delay = app.flag_delay;
                if let Some(delay) = delay {
                    self.later(delay, Happening::PodsSee(site, name.0, name.1, *on));
                }
                Outcome::Done
            }
            Step::Scale { workload, replicas } => {
                let name = (policy.key.clone(), workload.clone());
                let Some(app) = self.sites[site].cluster.apps.get_mut(&name) else {
                    return Outcome::refused(format!("{workload} does not exist"));
                };
                if let Some(owner) = app.wanted_owner.filter(|_| app.wanted != *replicas) {
                    return Outcome::refused(format!("conflict: {owner} owns the replicas"));
                }
                app.wanted = *replicas;
                app.ready = app.ready.min(*replicas);
                let delay = app.start_delay.filter(|_| app.ready < *replicas);
                if let Some(delay) = delay {
                    self.later(delay, Happening::PodsRun(site, name.0, name.1, *replicas));
                }
                Outcome::Done
            }
            Step::PointTraffic { .. } | Step::RefuseWrites { .. } => {
                Outcome::refused("an update carries the mark that was read for it")
            }
            Step::VerifyWrite { .. } => {
                let Some(db) = self.database_at(&policy.key, site) else {
                    return Outcome::refused("no database");
                };
                let server = &self.databases[db].server;
                if server.frozen {
                    return Outcome::unknown("no answer within 5 s");
                }
                if server.run.takes_writers() {
                    Outcome::Done
                } else {
                    Outcome::refused("the database takes no writes")
                }
            }
        }
    }
}

fn done(work: &Work, outcome: Outcome) -> Event {
    match work {
        Work::Perform(policy, step) | Work::Update(policy, step, _) | Work::Route(policy, step, _) => {
            Event::Done { policy: policy.key.clone(), step: step.clone(), outcome }
        }
        Work::Mark(policy, kept) => Event::MarkRaised { policy: policy.clone(), kept: kept.clone(), outcome },
    }
}

fn ended(outcome: &Outcome) -> End {
    match outcome {
        Outcome::Done => End::Done,
        Outcome::Refused { reason } | Outcome::Unknown { reason } => End::Failed(reason.clone()),
    }
}

/// Whether a traffic target is a route of the site's own cluster.
fn has_route(policy: &Policy, traffic: &ItemName) -> bool {
    policy.traffic.get(traffic).is_some_and(policy::Traffic::is_in_every_site)
}

/// What a target says when it points at a site.
fn published(policy: &Policy, traffic: &ItemName, site: &SiteName) -> Option<Published> {
    match policy.traffic.get(traffic)? {
        policy::Traffic::Dns(dns) => {
            let addresses = dns.addresses.get(site)?.clone();
            Some(Published::Name { name: dns.name.clone(), addresses, ttl: dns.ttl })
        }
        policy::Traffic::HttpRoute(route) => {
            let backend = route.backends.get(site)?.clone();
            Some(Published::Route { name: format!("{}/{}", policy.key.namespace, route.name), backend })
        }
    }
}
