//! Clients' writes on their way.

use std::time::Duration;

use super::World;
use super::client::{Outcome, Write};
use super::happening::Happening;
use super::net::Traffic;
use super::postgres::{Token, What};

impl World {
    pub(crate) fn client_writes(&mut self, client: usize) {
        let every = self.clients[client].every;
        let wait = self.clients[client].chance.between(every * 3 / 4, every * 5 / 4);
        self.later(wait, Happening::Write(client));
        if !self.clients[client].on {
            return;
        }
        let Some(gateway) = self.resolve(client) else { return };
        let Some(site) = self.passed_on(client, gateway) else { return };
        let refused = self.is_refused_at(client, gateway);
        let it = &self.clients[client];
        let (place, app, patience) = (it.place, it.app, it.patience);
        let Ok(token) = Token::try_from(self.writes.len()) else { return };
        self.writes.push(Write {
            token,
            app,
            sent: self.now,
            ended: self.now,
            site,
            committed: None,
            outcome: Outcome::Open,
        });
        self.writers.push(client);
        self.later(patience, Happening::WriteOverdue(token));
        if refused {
            if let Some(travel) = self.net.travel(place, self.sites[gateway].place, Traffic::Clients) {
                self.later(travel * 2, Happening::WriteEnds(token, false));
            }
            return;
        }
        let to = self.sites[site].place;
        if let Some(travel) = self.net.travel(place, to, Traffic::Clients) {
            self.later(travel, Happening::WriteAt(token));
        }
    }

    /// The site that the client's resolver names. A client inside a site knows only its own.
    fn resolve(&mut self, client: usize) -> Option<usize> {
        let it = &self.clients[client];
        if let Some(own) = self.sites.iter().position(|s| s.place == it.place) {
            return Some(own);
        }
        if let Some(kept) = it.resolver.kept(self.now, self.dns.ttl) {
            let kept = kept.clone();
            return self.site_of(&kept);
        }
        let reached = |s: &&super::dns::Server| s.up && self.net.joined(it.place, s.place, Traffic::Clients);
        let answers: Vec<&super::dns::Server> = self.dns.servers.iter().filter(reached).collect();
        let names = answers.iter().filter_map(|s| s.names.iter().find(|((p, _), _)| *p == it.policy));
        let found: Vec<bascule_core::name::SiteName> = names.map(|(_, to)| to.site.clone()).collect();
        if found.is_empty() {
            return self.gateway(client);
        }
        let site = self.clients[client].chance.pick(&found).cloned()?;
        let now = self.now;
        self.clients[client].resolver.learn(now, site.clone());
        self.site_of(&site)
    }

    /// The site that the gateway of `site` sends the client's requests to; `None`: it cannot reach it. Who is inside a
    /// site asks no gateway.
    fn passed_on(&self, client: usize, site: usize) -> Option<usize> {
        let it = &self.clients[client];
        let (gateway, inside) = (&self.sites[site], self.sites.iter().any(|s| s.place == it.place));
        let to = self.site_of(gateway.cluster.routes.leads(&it.policy, &gateway.name))?;
        if inside || to == site {
            return Some(site);
        }
        let joined = self.net.joined(gateway.place, self.sites[to].place, Traffic::Clients);
        (gateway.up && joined).then_some(to)
    }

    /// Whether the gateway of `site` answers the client's writes itself. Who is inside a site asks no gateway.
    fn is_refused_at(&self, client: usize, site: usize) -> bool {
        let it = &self.clients[client];
        let (gateway, inside) = (&self.sites[site], self.sites.iter().any(|s| s.place == it.place));
        !inside && gateway.up && gateway.cluster.routes.refusing(&it.policy).is_some()
    }

    /// A gateway that answers, for a client that knows of every site's: its policy has no name.
    fn gateway(&mut self, client: usize) -> Option<usize> {
        let it = &self.clients[client];
        let routed = |s: &&super::Site| s.cluster.routes.of(&it.policy).next().is_some();
        let answers =
            |s: &super::Site| s.up && routed(&s) && self.net.joined(it.place, s.place, Traffic::Clients);
        let found: Vec<usize> = (0..self.sites.len()).filter(|s| answers(&self.sites[*s])).collect();
        self.clients[client].chance.pick(&found).copied()
    }

    pub(crate) fn write_arrives(&mut self, token: Token) {
        let Some(write) = self.writes.get(token as usize).copied() else { return };
        if !self.sites[write.site].up || write.outcome != Outcome::Open {
            return;
        }
        let policy = self.policies[write.app].key.clone();
        let apps = self.sites[write.site].cluster.apps.iter().filter(|((p, _), _)| *p == policy);
        let (mut serves, mut read_only) = (false, false);
        for (_, app) in apps {
            serves |= app.ready > 0;
            read_only |= app.flagged && app.seen;
        }
        let Some(db) = self.database_at(&policy, write.site) else { return };
        let server = &self.databases[db].server;
        if server.frozen {
            // It lies in the socket until the server goes on.
            self.later(Duration::from_millis(20), Happening::WriteAt(token));
            return;
        }
        let stubborn = self.clients[self.writers[token as usize]].place == self.sites[write.site].place;
        let refused = !stubborn && (!serves || read_only);
        if refused || !server.run.takes_writers() {
            self.end_write(token, false);
            return;
        }
        let (life, flush) = (server.life, server.speeds.flush);
        let takes = self.databases[db].takes(flush);
        self.later(takes, Happening::Flushed(token, db, life));
    }

    pub(crate) fn write_flushed(&mut self, token: Token, db: usize, life: u64) {
        let server = &self.databases[db].server;
        if server.life != life || !server.run.commits() {
            // Its session was ended in the middle.
            self.end_write(token, false);
            return;
        }
        if server.frozen {
            self.later(Duration::from_millis(20), Happening::Flushed(token, db, life));
            return;
        }
        if server.faults.disk_full {
            self.end_write(token, false);
            return;
        }
        let id = self.next_record();
        let epoch = self.databases[db].server.opened_in;
        if let Some(dir) = &mut self.databases[db].server.dir {
            dir.wal.append(What::Commit(token), id);
            dir.replayed = dir.wal.records.len();
        }
        if let Some(write) = self.writes.get_mut(token as usize) {
            write.committed = Some(self.now);
        }
        self.judge.commits(self.now, token, db, self.databases[db].site, epoch);
        self.pump(db);
        self.end_write(token, true);
    }

    fn end_write(&mut self, token: Token, ok: bool) {
        let Some(write) = self.writes.get(token as usize) else { return };
        let (from, to) = (self.sites[write.site].place, self.clients[self.writers[token as usize]].place);
        if let Some(travel) = self.net.travel(from, to, Traffic::Clients) {
            self.later(travel, Happening::WriteEnds(token, ok));
        }
    }

    pub(crate) fn write_ends(&mut self, token: Token, ok: bool) {
        let now = self.now;
        let Some(write) = self.writes.get_mut(token as usize).filter(|w| w.outcome == Outcome::Open) else {
            return;
        };
        write.ended = now;
        // A session that was ended after its commit says no as loudly as one before it.
        write.outcome = match (ok, write.committed) {
            (true, _) => Outcome::Acked,
            (false, Some(_)) => Outcome::Unknown,
            (false, None) => Outcome::Refused,
        };
        let (app, site) = (write.app, write.site);
        if ok {
            self.acks(app, site);
            self.judge.acked(now, token);
        }
    }

    pub(crate) fn write_overdue(&mut self, token: Token) {
        let now = self.now;
        if let Some(write) = self.writes.get_mut(token as usize).filter(|w| w.outcome == Outcome::Open) {
            write.ended = now;
            write.outcome = Outcome::Unknown;
        }
    }

    /// A secondary has a change of the zone.
    pub(crate) fn transfer(
        &mut self,
        server: usize,
        name: &(bascule_core::name::PolicyKey, bascule_core::name::ItemName),
        to: super::dns::Pointed,
    ) {
        let Some(primary) = self.dns.servers.first() else { return };
        let from = primary.place;
        let there = self.dns.servers[server].place;
        let (up, stuck) =
            (self.dns.servers[server].up && self.dns.servers[0].up, self.dns.servers[server].stuck);
        if stuck || !up || !self.net.joined(from, there, Traffic::Clients) {
            // Its refresh finds it later.
            self.later(Duration::from_secs(5), Happening::Transfer(server, name.clone(), to));
            return;
        }
        let newest = self.dns.servers[0].names.get(name).cloned();
        if let Some(newest) = newest {
            self.dns.servers[server].names.insert(name.clone(), newest);
        }
    }
}
