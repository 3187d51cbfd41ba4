//! What must come about once faults have stopped.

use std::time::Duration;

use bascule_core::guard::wire::ServerState;
use bascule_core::name::PolicyKey;
use bascule_core::record::Phase;

use crate::time::Moment;
use crate::world::World;
use crate::world::database::Database;
use crate::world::postgres::Run;

/// Why a world is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled(pub String);

/// Whether a guard has given up, and said what a person has to do.
fn needs_a_person(database: &Database) -> bool {
    matches!(database.guard.rules.server(), ServerState::Failed { commands, .. } if !commands.is_empty())
}

impl World {
    /// Whether a policy's world is as its record and its policy want it; why not, otherwise.
    pub fn settled(&self, policy: &PolicyKey) -> Result<(), Unsettled> {
        let no = |why: String| Err(Unsettled(why));
        let Some(record) = self.record(policy) else { return no("there is no record".to_owned()) };
        if record.phase != Phase::Steady {
            return no(format!("the record is in {}", record.phase));
        }
        let Some(active) = self.site_of(&record.active) else { return no("nobody is active".to_owned()) };
        for it in self.databases.iter().filter(|d| d.policy == *policy) {
            let name = &it.site_name;
            if needs_a_person(it) && it.site != active {
                // It stands, and says the exact commands.
                continue;
            }
            if it.site == active {
                if it.server.run != (Run::Primary { open: true }) {
                    return no(format!("the database of {name}, which is active, is {:?}", it.server.run));
                }
            } else if !it.server.stream.on || !matches!(it.server.run, Run::Standby { .. }) {
                return no(format!("the database of {name} does not follow: {:?}", it.server.run));
            }
        }
        for (site, it) in self.sites.iter().enumerate() {
            for ((p, app), found) in it.cluster.apps.iter().filter(|((p, _), _)| p == policy) {
                let wanted = self.policies.iter().find(|x| x.key == *p).and_then(|x| x.workloads.get(app));
                if found.flagged
                    && (found.flag != (site != active) || found.ready > 0 && found.seen != found.flag)
                {
                    return no(format!("the read-only flag of {app} in {} is {}", it.name, found.flag));
                }
                let least =
                    wanted.and_then(|w| if site == active { w.replicas.active } else { w.replicas.standby });
                if least.is_some_and(|n| n != found.wanted) || found.ready != found.wanted {
                    return no(format!("{app} in {} has {} pods of {}", it.name, found.ready, found.wanted));
                }
            }
        }
        for server in &self.dns.servers {
            let names = server.names.iter().filter(|((p, _), _)| p == policy);
            for ((_, traffic), to) in names {
                if to.site != record.active {
                    return no(format!("{traffic} points at {}", to.site));
                }
            }
        }
        for site in &self.sites {
            if let Some((traffic, to)) =
                site.cluster.routes.of(policy).find(|(_, to)| to.site != record.active)
            {
                return no(format!("{traffic} in {} points at {}", site.name, to.site));
            }
        }
        for site in &self.sites {
            if let Some(traffic) = site.cluster.routes.refusing(policy) {
                return no(format!("the gateway of {} refuses writes of {traffic}", site.name));
            }
        }
        let app = self.policies.iter().position(|p| p.key == *policy);
        let last = app.and_then(|app| self.acked_at(app, active));
        let recent = last.is_some_and(|t| self.now.since(t) < Duration::from_secs(2));
        if !self.clients.is_empty() && !recent {
            return no(format!(
                "no client's write was acknowledged by {} in the last two seconds",
                record.active
            ));
        }
        Ok(())
    }

    /// Whether a database of a policy waits for a person.
    pub(crate) fn needs_a_person(&self, policy: &PolicyKey) -> bool {
        self.databases.iter().any(|d| d.policy == *policy && needs_a_person(d))
    }

    /// Every policy.
    pub fn all_settled(&self) -> Result<(), Unsettled> {
        self.policies.iter().try_for_each(|p| self.settled(&p.key))
    }

    /// Lets the world run for a time, and looks at what operators show meanwhile.
    pub fn run_watched(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let next = (self.now + Duration::from_millis(250)).min(end);
            self.run_until(next);
            self.look_at_statuses();
        }
    }

    /// Lets the world run until everything has settled and has stayed so for a while; answers when it had, or why it
    /// has not.
    ///
    /// # Errors
    /// Why it has not.
    pub fn settle(&mut self, limit: Duration) -> Result<Moment, Unsettled> {
        self.settle_unless(limit, |_| false)
    }

    /// The same, given up as soon as it is known that only a person can help, and has been so for a while.
    ///
    /// # Errors
    /// Why it has not settled.
    pub fn settle_unless(
        &mut self,
        limit: Duration,
        hopeless: impl Fn(&Self) -> bool,
    ) -> Result<Moment, Unsettled> {
        let patience = self.now + Duration::from_secs(12);
        let end = self.now + limit;
        let look = Duration::from_millis(250);
        let stays = Duration::from_secs(1);
        let mut since: Option<Moment> = None;
        loop {
            let state = self.all_settled();
            match (&state, since) {
                (Ok(()), None) => since = Some(self.now),
                (Ok(()), Some(t)) if self.now.since(t) >= stays => return Ok(t),
                (Ok(()), Some(_)) => {}
                (Err(_), _) => since = None,
            }
            if self.now >= end || (self.now >= patience && state.is_err() && hopeless(self)) {
                return state.and(Err(Unsettled("it settled only at the end".to_owned())));
            }
            let next = (self.now + look).min(end);
            self.run_until(next);
            self.look_at_statuses();
        }
    }
}
