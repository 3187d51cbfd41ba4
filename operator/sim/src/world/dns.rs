//! Authoritative servers of one zone, and what resolvers remember.

use std::time::Duration;

use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::{Fact, TrafficAt};
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy;
use std::collections::BTreeMap;

use super::net::Place;
use crate::deed::Published;
use crate::time::Moment;

/// What a traffic target points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointed {
    /// The site whose addresses it has.
    pub site: SiteName,
    /// The record's epoch in its mark.
    pub epoch: u64,
    /// The record's serial in its mark.
    pub serial: u64,
    /// What it says besides.
    pub published: Published,
}

impl Pointed {
    /// Whether this is published under the name that the policy says now.
    fn is_of(&self, dns: &policy::Dns) -> bool {
        matches!(&self.published, Published::Name { name, .. } if *name == dns.name)
    }

    /// How it differs from what the policy says now, in words.
    fn differs(&self, dns: &policy::Dns) -> Option<String> {
        let Published::Name { addresses, ttl, .. } = &self.published else {
            return Some("it is no name".to_owned());
        };
        match dns.addresses.get(&self.site) {
            None => Some(format!("it names {}, of which the policy has no addresses", self.site)),
            Some(wanted) if wanted != addresses => {
                Some(format!("addresses {addresses:?}, expected {wanted:?}"))
            }
            Some(_) if *ttl != dns.ttl => {
                Some(format!("TTL {} s, expected {} s", ttl.as_secs(), dns.ttl.as_secs()))
            }
            Some(_) => None,
        }
    }
}

/// One authoritative server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub place: Place,
    /// It answers.
    pub up: bool,
    /// It refuses updates.
    pub refuses: bool,
    /// A secondary that never transfers.
    pub stuck: bool,
    /// What it publishes for each name.
    pub names: BTreeMap<(PolicyKey, ItemName), Pointed>,
}

/// The mark that an update was begun with: it takes effect only while that still stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis(Option<Pointed>);

/// How an update ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated {
    /// It is published by the primary.
    Done,
    /// It was published already: nothing was sent.
    Stands,
    /// It was certainly not made.
    Refused(String),
}

/// All servers: the first is the primary.
#[derive(Clone, Debug)]
pub struct Dns {
    /// The servers.
    pub servers: Vec<Server>,
    /// How long a change takes to the secondaries.
    pub transfer: Duration,
    /// How long resolvers remember.
    pub ttl: Duration,
}

impl Dns {
    /// A primary in the first place, secondaries in the others.
    pub fn new(places: &[Place]) -> Self {
        let server = |place: &Place| Server {
            place: *place,
            up: true,
            refuses: false,
            stuck: false,
            names: BTreeMap::new(),
        };
        Self {
            servers: places.iter().map(server).collect(),
            transfer: Duration::from_millis(25),
            ttl: Duration::from_secs(1),
        }
    }

    /// What an update begins with: the mark at the primary. `None`: the primary does not answer.
    pub fn basis(&self, name: &(PolicyKey, ItemName), reach: impl Fn(&Server) -> bool) -> Option<Basis> {
        self.servers.first().filter(|primary| reach(primary)).map(|p| Basis(p.names.get(name).cloned()))
    }

    /// One atomic change at the primary: never back to an earlier state of the record, and only while the mark is still
    /// the one that the update began with.
    pub fn update(&mut self, name: &(PolicyKey, ItemName), to: Pointed, basis: &Basis) -> Updated {
        let Some(primary) = self.servers.first_mut() else {
            return Updated::Refused("no update server".to_owned());
        };
        if primary.refuses {
            return Updated::Refused("the server refused it (BADSIG)".to_owned());
        }
        match &basis.0 {
            Some(found) if (found.epoch, found.serial) > (to.epoch, to.serial) => {
                return Updated::Refused(format!(
                    "a later state is published: epoch {}, serial {}",
                    found.epoch, found.serial
                ));
            }
            Some(found) if *found == to => return Updated::Stands,
            Some(found) if (found.epoch, found.serial) == (to.epoch, to.serial) && found.site != to.site => {
                return Updated::Refused(
                    "the same epoch and serial are published for another site".to_owned(),
                );
            }
            _ => {}
        }
        if primary.names.get(name) != basis.0.as_ref() {
            return Updated::Refused("somebody else changed the records at the same moment".to_owned());
        }
        primary.names.insert(name.clone(), to);
        Updated::Done
    }

    /// What stands in the way of an update.
    pub fn blockers(&self, name: &(PolicyKey, ItemName), reach: impl Fn(&Server) -> bool) -> Vec<Gate> {
        let gate = |code: &str, answer, found: &str| {
            Gate::new(&format!("traffic/{}/{code}", name.1), answer, found, "a primary that takes updates")
        };
        match self.servers.first() {
            Some(primary) if !reach(primary) => {
                vec![gate("DnsServerUnreachable", Answer::Unknown, "no answer")]
            }
            Some(primary) if primary.refuses => vec![gate("DnsKeyRefused", Answer::No, "BADSIG")],
            _ => Vec::new(),
        }
    }

    /// What asking every server finds, held against the newest mark among the answers and against what the policy says
    /// now; `reach` says which of them answer.
    pub fn view(
        &self,
        name: &(PolicyKey, ItemName),
        dns: &policy::Dns,
        reach: impl Fn(&Server) -> bool,
    ) -> Fact<TrafficAt> {
        let (mut silent, mut found) = (Vec::new(), Vec::new());
        for (i, server) in self.servers.iter().enumerate() {
            if reach(server) {
                found.push((i, server.names.get(name).filter(|p| p.is_of(dns))));
            } else {
                silent.push(format!("server {i}: no answer"));
            }
        }
        if found.is_empty() {
            return Fact::unknown("no server of the zone answers");
        }
        let newest = found.iter().filter_map(|(_, p)| *p).max_by_key(|p| (p.epoch, p.serial));
        let says = |p: Option<&Pointed>| {
            p.map_or_else(
                || "addresses none, and no mark of Bascule".to_owned(),
                |p| format!("it answers {}", p.site),
            )
        };
        let mut differing: Vec<String> = found
            .iter()
            .filter(|(_, p)| newest.is_none() || *p != newest)
            .map(|(i, p)| format!("server {i}: {}", says(*p)))
            .collect();
        let wrong = |(i, p): &(usize, Option<&Pointed>)| Some(format!("server {i}: {}", (*p)?.differs(dns)?));
        differing.extend(found.iter().filter_map(wrong));
        let at = TrafficAt {
            site: newest.filter(|_| differing.is_empty()).map(|p| p.site.clone()),
            serial: newest.map_or(0, |p| p.serial),
            epoch: newest.map_or(0, |p| p.epoch),
            differing,
            silent,
            writes: None,
        };
        Fact::now(at)
    }
}

/// What one resolver remembers.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    kept: Option<(Moment, SiteName)>,
}

impl Resolver {
    /// What it answers without asking.
    pub fn kept(&self, now: Moment, ttl: Duration) -> Option<&SiteName> {
        self.kept.as_ref().filter(|(at, _)| now.since(*at) < ttl).map(|(_, site)| site)
    }

    /// It has asked.
    pub fn learn(&mut self, now: Moment, site: SiteName) {
        self.kept = Some((now, site));
    }
}
