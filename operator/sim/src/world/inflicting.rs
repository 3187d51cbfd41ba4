//! How faults begin in the world, and how they end.

use std::time::Duration;

use super::World;
use super::cluster::Api;
use super::happening::Happening;
use super::net::{Place, Traffic};
use super::postgres::Run;
use crate::fault::{Fault, Planned, When};

/// The deadline of a call to an API server.
const CALL: Duration = Duration::from_secs(5);

/// What travels over connections.
const CONNECTED: [Traffic; 3] = [Traffic::Arbiter, Traffic::Replication, Traffic::Git];

/// How long a kubelet that nobody tells anything may take until its pods see a ConfigMap: its `syncFrequency` and the age of
/// what it has cached, a minute each.
const KUBELET: Duration = Duration::from_mins(2);

/// How long a connection goes on carrying what is new when nothing comes back: until TCP waits for the first thing that
/// was not acknowledged. Of a message each 250 ms, two arrived at a real one, the later 0.44 s after the cut.
const UNACKNOWLEDGED: Duration = Duration::from_millis(500);

/// A site whose lines pass one way only.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OneWay {
    /// How many faults cut that way now.
    on: u32,
    /// Counts cuts.
    number: u32,
    /// Its connections carry nothing the other way either.
    dead: bool,
}

/// The fault that cuts the other way.
const fn opposite(fault: Fault) -> Fault {
    match fault {
        Fault::Mute(s) => Fault::DeafSite(s),
        Fault::DeafSite(s) => Fault::Mute(s),
        other => other,
    }
}

/// How long a stranger keeps a site's name that it got from an emptied arbiter.
const STRANGER_STAYS: Duration = Duration::from_secs(5);

/// Half a period of a flapping line.
const FLAP: Duration = Duration::from_millis(900);

impl World {
    /// Plans a fault.
    pub fn plan(&mut self, when: When, fault: Fault, lasts: Option<Duration>) {
        let at = self.faults.len();
        if let When::At(moment) = when {
            self.push(moment, Happening::Fault(at));
        }
        self.faults.push(Planned { when, fault, lasts, begun: false, over: false });
    }

    pub(crate) fn fault_begins(&mut self, at: usize) {
        let planned = self.faults[at].clone();
        if planned.begun {
            return;
        }
        self.faults[at].begun = true;
        self.transcript.fault(self.now, &planned.fault.words(self));
        self.disturb(planned.fault);
        self.judge.disturbed.begins(self.now, planned.fault, planned.lasts.is_some());
        self.switch(planned.fault, true);
        if let Some(lasts) = planned.lasts {
            self.later(lasts, Happening::Over(at));
        }
    }

    pub(crate) fn fault_ends(&mut self, at: usize) {
        let fault = self.faults[at].fault;
        self.faults[at].over = true;
        self.transcript.fault(self.now, &format!("over: {}", fault.words(self)));
        self.disturb(fault);
        self.judge.disturbed.ends(self.now, fault);
        self.switch(fault, false);
    }

    /// Something begins or ends at a site: what it was told or has asked meanwhile may be lost, and only a call's deadline
    /// ends the waiting for it.
    fn disturb(&mut self, fault: Fault) {
        self.disturbed = self.now;
        let until = self.now + CALL + Duration::from_secs(2);
        let sites = 0..self.sites.len();
        for site in sites.filter(|site| fault.site().is_none_or(|at| at == *site)) {
            self.judge.flag_is_out_of_reach(site, until);
        }
    }

    fn operators_of(&self, site: usize) -> Vec<usize> {
        (0..self.operators.len()).filter(|o| self.operators[*o].site == site).collect()
    }

    fn databases_of(&self, site: usize) -> Vec<usize> {
        (0..self.databases.len()).filter(|d| self.databases[*d].site == site).collect()
    }

    fn member_at(&self, place: Place) -> Option<usize> {
        self.arbiter.members.iter().position(|m| m.place == place)
    }

    fn cut(&mut self, from: Place, to: Place, what: &[Traffic], on: bool) {
        self.net.cut(from, to, what, on);
        self.look_at_leader();
    }

    fn cut_both(&mut self, a: Place, b: Place, what: &[Traffic], on: bool) {
        self.cut(a, b, what, on);
        self.cut(b, a, what, on);
    }

    /// What leaves a mute site, or would reach a deaf one.
    fn cut_one_way(&mut self, fault: Fault, what: &[Traffic], on: bool) {
        for place in (0..self.net.places()).map(Place) {
            match fault {
                Fault::Mute(s) => self.cut(Place(s), place, what, on),
                Fault::DeafSite(s) => self.cut(place, Place(s), what, on),
                _ => {}
            }
        }
    }

    /// A connection whose answers are lost carries nothing new any more.
    pub(crate) fn line_dies(&mut self, fault: Fault, number: u32) {
        let Some(cuts) = self.one_way.get_mut(&fault) else { return };
        if cuts.number == number && cuts.on > 0 && !cuts.dead {
            cuts.dead = true;
            self.cut_one_way(opposite(fault), &CONNECTED, true);
        }
    }

    fn isolate(&mut self, site: usize, on: bool) {
        for place in 0..self.net.places() {
            self.cut_both(Place(site), Place(place), &Traffic::ALL, on);
        }
    }

    /// Begins a fault, or takes it back.
    #[allow(clippy::cognitive_complexity, reason = "one line or two for each fault, in one table")]
    pub(crate) fn switch(&mut self, fault: Fault, on: bool) {
        let api = |on: bool, how: Api| if on { how } else { Api::Well };
        match fault {
            Fault::Effect(_) => {}
            Fault::StaleObjects(s) => {
                let old = Box::new(self.git.before());
                self.sites[s].cluster.stale = on.then_some(old);
                if on {
                    self.restart_operators(s);
                }
            }
            Fault::SilentWatch(s) => {
                if on {
                    self.sites[s].cluster.watch_silent_until = self.now + Duration::from_secs(6);
                }
            }
            Fault::Relist(s) => {
                if on {
                    self.tell_objects(s);
                    for op in self.operators_of(s) {
                        self.watch_breaks(op);
                    }
                }
            }
            Fault::SecondOperator(s) => {
                if on {
                    let op = self.add_operator(s);
                    self.operator_starts(op);
                } else {
                    let mut installed = self.operators_of(s);
                    installed.retain(|op| !self.operators[*op].removed);
                    if let Some(op) = installed.pop().filter(|_| !installed.is_empty()) {
                        self.operator_dies(op);
                        self.operators[op].removed = true;
                    }
                }
            }
            Fault::ReplicaFollows(s) => self.another_replica_acts(s),
            Fault::OperatorFrozen(s) => {
                for op in self.operators_of(s) {
                    self.freeze_operator(op, on);
                }
            }
            Fault::OperatorKilled(s) => {
                if on {
                    self.restart_operators(s);
                }
            }
            Fault::OperatorUpgraded(s) => {
                if on {
                    for op in self.operators_of(s) {
                        self.operator_dies(op);
                        self.later(Duration::from_millis(50), Happening::OperatorStarts(op));
                    }
                }
            }
            Fault::GuardFrozen(s) => {
                for db in self.databases_of(s) {
                    self.freeze_guard(db, on);
                }
            }
            Fault::ServerFrozen(s) => {
                for db in self.databases_of(s) {
                    self.freeze_server(db, on);
                }
            }
            Fault::PodFrozen(s) => {
                for db in self.databases_of(s) {
                    self.freeze_server(db, on);
                    self.freeze_guard(db, on);
                }
            }
            Fault::SiteFrozen(s) => {
                if let Some(member) = self.member_at(Place(s)) {
                    self.freeze_member(member, on);
                }
                for db in self.databases_of(s) {
                    self.freeze_server(db, on);
                    self.freeze_guard(db, on);
                }
                for op in self.operators_of(s) {
                    self.freeze_operator(op, on);
                }
            }
            Fault::ServerKilled(s) | Fault::AllKilled(s) => {
                if on {
                    for db in self.databases_of(s) {
                        self.kill_server(db);
                    }
                }
            }
            Fault::GuardKilled(s) => {
                if on {
                    for db in self.databases_of(s) {
                        self.guard_dies(db, true);
                    }
                }
            }
            Fault::NodeLost(s) => {
                let now = self.now;
                for db in self.databases_of(s) {
                    if on {
                        self.guard_dies(db, false);
                    } else {
                        self.databases[db].machine.reboot(now);
                        self.databases[db].machine_life += 1;
                        let life = self.databases[db].guard.life;
                        let wait =
                            self.chance_between(Duration::from_millis(900), Duration::from_millis(2500));
                        self.later(wait, Happening::GuardStarts(db, life));
                    }
                }
            }
            Fault::ClockSet(s, seconds) => {
                let by = i64::from(seconds) * 1_000_000;
                self.sites[s].machine.step_wall(if on { by } else { -by });
            }
            Fault::ClockRate(s, rate) => {
                let now = self.now;
                self.sites[s].machine.set_rate(now, if on { rate } else { 0 });
                for op in self.operators_of(s) {
                    self.nudge_operator(op);
                }
                for db in self.databases_of(s) {
                    self.databases[db].machine.set_rate(now, if on { rate } else { 0 });
                    self.nudge_guard(db);
                }
            }
            Fault::ApiGone(s) => self.sites[s].cluster.api = api(on, Api::Gone),
            Fault::ApiSilent(s) => self.sites[s].cluster.api = api(on, Api::Silent),
            Fault::ApiBusy(s) => self.sites[s].cluster.api = api(on, Api::Busy),
            Fault::ApiSlow(s) => self.sites[s].cluster.api = api(on, Api::Slow(Duration::from_millis(500))),
            Fault::ApiDeaf(s) => self.sites[s].cluster.api = api(on, Api::Deaf),
            Fault::ApiForbidden(s) => self.sites[s].cluster.api = api(on, Api::Forbidden),
            Fault::SecretGone(s) => self.sites[s].cluster.missing_secret = on,
            Fault::SiteLost(s) => self.power(s, !on),
            Fault::ThirdLost => {
                if let Some(member) = self.member_at(self.third()) {
                    self.arbiter.members[member].up = !on;
                    self.look_at_leader();
                }
                for server in &mut self.dns.servers {
                    if server.place == Place(self.sites.len()) {
                        server.up = !on;
                    }
                }
            }
            Fault::WitnessLost => {
                if let Some(member) = self.member_at(self.third()) {
                    self.arbiter.members[member].up = !on;
                    self.look_at_leader();
                }
            }
            Fault::SitesCut => self.cut_both(Place(0), Place(1), &Traffic::ALL, on),
            Fault::ArbiterCut(s) => {
                for member in self.arbiter.members.clone() {
                    self.cut_both(Place(s), member.place, &[Traffic::Arbiter], on);
                }
                // Its own member, too.
                if let Some(member) = self.member_at(Place(s)) {
                    self.freeze_member(member, on);
                }
            }
            Fault::Isolated(s) => self.isolate(s, on),
            Fault::Mute(_) | Fault::DeafSite(_) => {
                self.cut_one_way(fault, &Traffic::ALL, on);
                if on {
                    let cuts = self.one_way.entry(fault).or_default();
                    cuts.on += 1;
                    if cuts.on == 1 {
                        cuts.number += 1;
                        let number = cuts.number;
                        self.later(UNACKNOWLEDGED, Happening::LineDies(fault, number));
                    }
                } else if let Some(cuts) = self.one_way.get_mut(&fault) {
                    cuts.on = cuts.on.saturating_sub(1);
                    if cuts.on == 0 && std::mem::take(&mut cuts.dead) {
                        self.cut_one_way(opposite(fault), &CONNECTED, false);
                    }
                }
            }
            Fault::Flapping(s) => {
                if on {
                    self.flaps.entry(s).or_default().0 = self.now + Duration::from_secs(8);
                    self.later(FLAP, Happening::Flap(s, false));
                }
                self.flap_to(s, on);
            }
            Fault::Grey(s) => {
                let usual = self.latency;
                let (latency, jitter, loss) =
                    if on { (usual * 10, usual * 60, 300) } else { (usual, usual / 4, 0) };
                for place in (0..self.net.places()).filter(|p| *p != s) {
                    self.net.degrade(Place(s), Place(place), latency, jitter, loss);
                    self.net.degrade(Place(place), Place(s), latency, jitter, loss);
                }
            }
            Fault::LeaderFrozen => {
                if on {
                    if let Some(leader) = self.arbiter.leader {
                        self.frozen_leader = Some(leader);
                        self.freeze_member(leader, true);
                    }
                } else if let Some(leader) = self.frozen_leader.take() {
                    self.freeze_member(leader, false);
                }
            }
            Fault::ArbiterRestored => {
                if on && let Some(backup) = self.arbiter.backup.clone() {
                    self.arbiter.store = *backup;
                    self.arbiter_lost_its_memory();
                }
            }
            Fault::ArbiterEmptied => {
                if on {
                    self.arbiter.store = super::arbiter::Store::default();
                    self.arbiter_lost_its_memory();
                }
            }
            Fault::LeasesDeleted => {
                if on {
                    self.arbiter.store.leases.clear();
                }
            }
            Fault::NameTaken(s) => {
                if on {
                    let name = self.sites[s].name.clone();
                    let request = super::arbiter::Request::Renew {
                        site: name,
                        cluster: super::arbiter::STRANGER,
                        claimed: false,
                    };
                    let known = self.arbiter.store.owners.contains_key(&self.sites[s].name);
                    let (answer, _) = self.arbiter.store.decide(&request);
                    self.judge.second_install(self.now, known, &answer);
                    if matches!(answer, super::arbiter::Answer::Applied) {
                        self.later(STRANGER_STAYS, Happening::StrangerLeaves(s));
                    }
                }
            }
            Fault::GitRewritten => {
                if on {
                    let before = self.git.before();
                    self.commit(|head| {
                        let version = head.version;
                        *head = before;
                        head.version = version;
                    });
                }
            }
            Fault::GitInvalid => {
                self.git.invalid = on.then(|| "shop.yaml: not YAML".to_owned());
                if on {
                    self.commit(|_| {});
                }
            }
            Fault::GitDown => self.git.down = on,
            Fault::GitHidden(s) => {
                self.git.hidden_from.retain(|x| *x != s);
                if on {
                    self.git.hidden_from.push(s);
                }
            }
            Fault::PolicyDeleted(s) => {
                if on {
                    self.apply(s, |objects, _| objects.policies.clear());
                } else {
                    self.apply(s, |objects, head| objects.policies.clone_from(&head.policies));
                }
            }
            Fault::PolicyInvalid(s) => {
                if on {
                    self.apply(s, |objects, _| {
                        for policy in objects.policies.values_mut() {
                            *policy = Err("spec.sites: empty".to_owned());
                        }
                    });
                } else {
                    self.apply(s, |objects, head| objects.policies.clone_from(&head.policies));
                }
            }
            Fault::PolicyEdited(s) => {
                if on {
                    self.apply(s, |objects, _| {
                        for policy in objects.policies.values_mut().flatten() {
                            policy.spec_hash.push_str("-edited");
                            policy.generation += 1;
                        }
                    });
                } else {
                    self.apply(s, |objects, head| objects.policies.clone_from(&head.policies));
                }
            }
            Fault::PromotionSlow(s) => {
                self.step_fault(s, |f| f.promote = on.then_some(Duration::from_millis(1500)));
            }
            Fault::PromotionLate(s) => {
                self.step_fault(s, |f| f.promote = on.then_some(Duration::from_secs(30)));
            }
            Fault::PromotionFails(s) => self.step_fault(s, |f| f.promote_fails = on),
            Fault::RewindFails(s) => self.step_fault(s, |f| f.rewind_fails = on),
            Fault::ReplayLags(s) => {
                for db in self.databases_of(s) {
                    self.databases[db].server.replay_lag =
                        if on { Duration::from_secs(3) } else { Duration::ZERO };
                }
            }
            Fault::PromotedByHand(s) => {
                if on {
                    for db in self.databases_of(s) {
                        self.promoted_by_hand(db);
                    }
                }
            }
            Fault::Unlocked(s) => {
                for db in self.databases_of(s) {
                    self.unlocks(db, on);
                }
            }
            Fault::DnsRefuses => {
                if let Some(primary) = self.dns.servers.first_mut() {
                    primary.refuses = on;
                }
            }
            Fault::DnsStuck => {
                if let Some(secondary) = self.dns.servers.get_mut(1) {
                    secondary.stuck = on;
                }
            }
            Fault::FlagOwned(s) => self.each_app(s, |app| app.flag_owner = on.then_some("argocd")),
            Fault::PodsDeaf(s) => {
                self.each_app(s, |app| {
                    app.flag_delay = if on { None } else { Some(Duration::from_millis(30)) }
                });
                // Nobody tells them what they have missed: a kubelet looks by itself about once in a minute.
                if !on {
                    self.later(KUBELET, Happening::PodsLook(s));
                }
            }
            Fault::PodsNeverStart(s) => {
                self.each_app(s, |app| {
                    app.start_delay = if on { None } else { Some(Duration::from_millis(800)) }
                });
                if !on {
                    self.each_app(s, |app| app.ready = app.wanted);
                }
            }
            Fault::DiskFull(s) => self.step_fault(s, |f| f.disk_full = on),
            Fault::MarksFrozen(s) => self.sites[s].cluster.marks_frozen = on,
            Fault::StopSlow(s) => self.step_fault(s, |f| f.stop = on.then_some(Duration::from_mins(1))),
            Fault::ReloadFails(s) => self.step_fault(s, |f| f.reload_fails = on),
            Fault::OldWord(s) => {
                if on {
                    for db in self.databases_of(s) {
                        self.repeat_old_word(db);
                    }
                }
            }
            Fault::PodCut(s) => {
                for db in self.databases_of(s) {
                    self.databases[db].out_of_reach = on;
                }
                self.switch(Fault::GuardLinkCut(s), on);
            }
            Fault::GuardLinkCut(s) => {
                for db in self.databases_of(s) {
                    if on {
                        self.databases[db].link_cut = true;
                    } else {
                        self.pass_again(db);
                    }
                }
            }
        }
    }

    /// A server's processes are killed; the last of them go on for a moment.
    pub(crate) fn kill_server(&mut self, db: usize) {
        if self.databases[db].server.run.takes_writers() {
            self.judge.ends.ended(self.now, db);
        }
        if self.databases[db].server.run != Run::Down {
            self.databases[db].server.run = Run::Orphans;
            let life = self.databases[db].server.life;
            self.later(Duration::from_millis(15), Happening::Ends(db, life, false));
        }
    }

    fn step_fault(&mut self, site: usize, set: impl Fn(&mut super::database::StepFaults)) {
        for db in self.databases_of(site) {
            set(&mut self.databases[db].server.faults);
        }
    }

    pub(crate) fn each_app(&mut self, site: usize, set: impl Fn(&mut super::cluster::App)) {
        for app in self.sites[site].cluster.apps.values_mut() {
            set(app);
        }
    }

    pub(crate) fn flap(&mut self, site: usize, cut: bool) {
        let goes_on = self.flaps.get(&site).is_some_and(|(ends, _)| self.now < *ends);
        self.flap_to(site, cut && goes_on);
        if goes_on {
            self.later(FLAP, Happening::Flap(site, !cut));
        } else {
            self.flaps.remove(&site);
            self.judge.disturbed.once(self.now);
        }
    }

    fn flap_to(&mut self, site: usize, cut: bool) {
        let Some((_, is)) = self.flaps.get_mut(&site) else { return };
        if std::mem::replace(is, cut) != cut {
            self.isolate(site, cut);
        }
    }

    fn restart_operators(&mut self, site: usize) {
        for op in self.operators_of(site) {
            self.operator_dies(op);
            self.restart_operator(op);
        }
    }

    fn freeze_operator(&mut self, op: usize, on: bool) {
        if !self.operators[op].up {
            return;
        }
        if on {
            self.operators[op].frozen = true;
        } else if self.operators[op].frozen {
            self.operator_wakes(op);
        }
    }

    fn freeze_guard(&mut self, db: usize, on: bool) {
        if !self.databases[db].guard.up {
            return;
        }
        if on {
            self.databases[db].guard.frozen = true;
            self.judge.excuse(db);
        } else if self.databases[db].guard.frozen {
            self.guard_wakes(db);
        }
    }

    fn freeze_server(&mut self, db: usize, on: bool) {
        let running = self.databases[db].server.run != Run::Down;
        self.databases[db].server.frozen = on && running;
    }

    pub(crate) fn freeze_member(&mut self, member: usize, on: bool) {
        if on {
            self.arbiter.members[member].frozen = true;
            self.look_at_leader();
        } else {
            self.member_wakes(member);
        }
    }

    /// Power at a site: gone, or back.
    fn power(&mut self, site: usize, on: bool) {
        if self.sites[site].up == on {
            return;
        }
        self.sites[site].up = on;
        let place = self.sites[site].place;
        if let Some(member) = self.member_at(place) {
            self.arbiter.members[member].up = on;
        }
        for server in &mut self.dns.servers {
            if server.place == place {
                server.up = on;
            }
        }
        self.look_at_leader();
        let now = self.now;
        if on {
            self.sites[site].lives += 1;
            self.sites[site].machine.reboot(now);
            for op in self.operators_of(site) {
                let wait = self.chance_between(Duration::from_millis(900), Duration::from_millis(2500));
                self.later(wait, Happening::OperatorStarts(op));
            }
            for db in self.databases_of(site) {
                self.databases[db].machine.reboot(now);
                self.databases[db].machine_life += 1;
                self.forgets_its_lag(db);
                let life = self.databases[db].guard.life;
                let wait = self.chance_between(Duration::from_millis(900), Duration::from_millis(2500));
                self.later(wait, Happening::GuardStarts(db, life));
            }
        } else {
            for op in self.operators_of(site) {
                self.operator_dies(op);
            }
            for db in self.databases_of(site) {
                self.guard_dies(db, false);
            }
        }
    }
}
