//! What is asked while a scenario is played, and who looks on.

use std::time::Duration;

use bascule_core::heartbeat::Heartbeat;
use bascule_core::name::{PolicyKey, SiteName};
use bascule_core::time::human;
use jiff::Timestamp;

use crate::world::World;
use crate::world::cluster::Api;
use crate::world::operator::Publication;

/// Somebody asks at a moment why a role does not move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// When, from the moment the world is steady.
    pub at: Duration,
    /// At which site; `None`: at each of them.
    pub site: Option<SiteName>,
}

impl Question {
    /// In words.
    pub fn words(&self) -> String {
        let place = self.site.as_ref().map_or_else(|| "each site".to_owned(), ToString::to_string);
        format!("at {}: `bascule why` is asked at {place}", human(self.at))
    }
}

/// A question at one site, with what its cluster has of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When, from the moment the world is steady.
    pub at: Duration,
    /// At which site.
    pub site: SiteName,
    /// The time of day, by a clock that is right.
    pub wall: Timestamp,
    /// The generation of the policy's spec in that cluster, if its object can be read there; or why there is no answer.
    pub object: Result<Option<i64>, String>,
    /// The heartbeat of that site's operator, as its cluster has it.
    pub heartbeat: Option<Heartbeat>,
}

/// Looks on while a scenario is played. A function that takes a duration is one that hears only how far the world is.
pub trait Onlooker {
    /// The world is so far, from the moment it is steady.
    fn is_at(&mut self, at: Duration);
    /// A site's operator has shown the state of a policy, or the object is gone with its status.
    fn sees(&mut self, _publication: &Publication) {}
    /// A question of the scenario is asked. Everything shown until then has been seen.
    fn is_asked(&mut self, _asked: Asked) {}
}

impl<F: FnMut(Duration)> Onlooker for F {
    fn is_at(&mut self, at: Duration) {
        self(at);
    }
}

/// How long whoever asks waits for an API server.
const PATIENCE: Duration = Duration::from_secs(5);

/// The generation of a policy's object as a person reads it in a site's cluster; or why there is no answer.
pub(super) fn object(world: &World, site: usize, key: &PolicyKey) -> Result<Option<i64>, String> {
    let it = &world.sites[site];
    let why = match it.cluster.api {
        _ if !it.up => "the site has no power",
        Api::Gone => "its API server refuses connections",
        Api::Silent => "its API server does not answer within 5 s",
        Api::Busy => "its API server is busy (429); ask again in a moment",
        Api::Slow(by) if by >= PATIENCE => "its API server does not answer within 5 s",
        // A person has rights of their own.
        Api::Well | Api::Slow(_) | Api::Deaf | Api::Forbidden => "",
    };
    if !why.is_empty() {
        return Err(format!("{why}; what another site knows is asked there"));
    }
    match it.cluster.objects.policies.get(key) {
        Some(Ok(policy)) => Ok(Some(policy.generation)),
        Some(Err(_)) => Ok(None),
        None => Err(format!("there is no FailoverPolicy {key} in its cluster")),
    }
}
