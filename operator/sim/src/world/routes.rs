//! The HTTPRoutes of one site's cluster: what its gateway does with requests, and who may change it.

use std::collections::BTreeMap;

use bascule_core::name::{ItemName, PolicyKey, SiteName};
use bascule_core::observation::{TrafficAt, Writes};
use bascule_core::policy;

use super::dns::{Pointed, Updated};

/// One HTTPRoute.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// Where its weights lead, with the record's epoch and serial; `None`: as it was before Bascule, to its own site.
    pub pointed: Option<Pointed>,
    /// Whether writes are answered by the gateway, and by which epoch and serial that was said last.
    pub refuses: Option<(bool, u64, u64)>,
    /// The object's version: every change raises it.
    version: u64,
}

/// The version that a change was begun with: it takes effect only while the object still has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u64);

/// The routes of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Routes(BTreeMap<(PolicyKey, ItemName), Route>);

impl Routes {
    /// The route of a traffic target.
    pub fn get(&self, name: &(PolicyKey, ItemName)) -> Option<&Pointed> {
        self.0.get(name)?.pointed.as_ref()
    }

    /// Every route that was pointed for a policy.
    pub fn of<'a>(&'a self, policy: &'a PolicyKey) -> impl Iterator<Item = (&'a ItemName, &'a Pointed)> {
        let own = self.0.iter().filter(move |((p, _), _)| p == policy);
        own.filter_map(|((_, name), route)| Some((name, route.pointed.as_ref()?)))
    }

    /// What a change begins with.
    pub fn version(&self, name: &(PolicyKey, ItemName)) -> Version {
        Version(self.0.get(name).map_or(0, |route| route.version))
    }

    /// One change of all weights and of the mark: never back to an earlier state of the record, and only while the
    /// object is still the one that the change began with.
    pub fn change(&mut self, name: &(PolicyKey, ItemName), to: Pointed, begun: Version) -> Updated {
        let route = self.0.entry(name.clone()).or_default();
        if let Some(found) = &route.pointed {
            if (found.epoch, found.serial) > (to.epoch, to.serial) {
                return Updated::Refused(format!(
                    "the route carries a later state: epoch {}, serial {}",
                    found.epoch, found.serial
                ));
            }
            if *found == to {
                return Updated::Stands;
            }
            if (found.epoch, found.serial) == (to.epoch, to.serial) && found.site != to.site {
                return Updated::Refused(
                    "the route carries the same epoch and serial for another site".to_owned(),
                );
            }
        }
        if route.version != begun.0 {
            return Updated::Refused("the object has been modified (409)".to_owned());
        }
        route.version += 1;
        route.pointed = Some(to);
        Updated::Done
    }

    /// Whether the gateway answers writes of a traffic target itself.
    pub fn refuses(&self, name: &(PolicyKey, ItemName)) -> bool {
        self.0.get(name).and_then(|route| route.refuses).is_some_and(|(on, ..)| on)
    }

    /// The first traffic target of a policy whose writes the gateway answers itself.
    pub fn refusing<'a>(&'a self, policy: &'a PolicyKey) -> Option<&'a ItemName> {
        let refuses = |route: &Route| route.refuses.is_some_and(|(on, ..)| on);
        self.0.iter().find(|((p, _), route)| p == policy && refuses(route)).map(|((_, name), _)| name)
    }

    /// One change of what the gateway does with writes: never by an earlier state of the record, and only while the object
    /// is still the one that the change began with.
    pub fn refuse(
        &mut self,
        name: &(PolicyKey, ItemName),
        on: bool,
        (epoch, serial): (u64, u64),
        begun: Version,
    ) -> Updated {
        let route = self.0.entry(name.clone()).or_default();
        if let Some((found, e, s)) = route.refuses {
            if (e, s) > (epoch, serial) {
                return Updated::Refused(format!(
                    "what becomes of writes was said by a later state: epoch {e}, serial {s}"
                ));
            }
            if (found, e, s) == (on, epoch, serial) {
                return Updated::Stands;
            }
        }
        if route.version != begun.0 {
            return Updated::Refused("the object has been modified (409)".to_owned());
        }
        route.version += 1;
        route.refuses = Some((on, epoch, serial));
        Updated::Done
    }

    /// What a look finds, held against what the policy says now.
    pub fn view(&self, name: &(PolicyKey, ItemName), policy: &policy::HttpRoute) -> TrafficAt {
        let writes = if self.refuses(name) {
            Some(Writes::Refused)
        } else {
            policy.refuse_writes.is_some().then_some(Writes::Pass)
        };
        let Some(found) = self.get(name) else {
            let differing = vec!["the route has no mark of Bascule".to_owned()];
            return TrafficAt { differing, writes, ..TrafficAt::default() };
        };
        let known = policy.backends.contains_key(&found.site);
        let differing =
            (!known).then(|| format!("it names {}, of which the policy has no backend", found.site));
        TrafficAt {
            site: known.then(|| found.site.clone()),
            serial: found.serial,
            epoch: found.epoch,
            differing: differing.into_iter().collect(),
            silent: Vec::new(),
            writes,
        }
    }

    /// Where the gateway of `here` sends the requests of a policy: the site that its routes lead to, itself while they
    /// are as they were before Bascule.
    pub fn leads<'a>(&'a self, policy: &'a PolicyKey, here: &'a SiteName) -> &'a SiteName {
        self.of(policy).map(|(_, to)| &to.site).next().unwrap_or(here)
    }
}
