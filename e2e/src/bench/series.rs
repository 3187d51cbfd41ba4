//! The series that can be measured, and which of them are compared.

use crate::world::Profile;

/// Who brings the writes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Bascule, with the demo's policy that promotes at once, profile metro.
    Bascule,
    /// The same with profile region.
    BasculeRegion,
    /// The same with profile wan.
    BasculeWan,
    /// Patroni as Debian delivers it: ttl 30, `loop_wait` 10, `retry_timeout` 10.
    Patroni,
    /// Patroni at its documented minimum: ttl 20, `loop_wait` 1, `retry_timeout` 3.
    PatroniTuned,
    /// The same steps on two plain servers, one after the other, without asking anybody.
    ByHand,
}

/// What happens, and what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Somebody orders the change; the client knows both databases.
    Planned,
    /// The same; the client knows a proxy that asks each site whether it takes writes.
    PlannedProxy,
    /// The same; the client writes through the web application, which it finds by its published name.
    PlannedDns,
    /// The first process of the server is killed.
    DatabaseKilled,
    /// The site loses its power.
    SiteKilled,
    /// The site loses its power under a policy that serves reads first; until a user reads at the other site.
    ReadsServed,
    /// The site that lost its power has it again; until its server streams from the other one.
    Returned,
    /// A Move that moves nothing: from the API server to the record.
    Effect,
    /// A change of the policy is pushed; until both sites have taken it.
    Pushed,
}

/// One series of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// Its name, on the command line and in the file.
    pub name: &'static str,
    /// Who.
    pub system: System,
    /// What.
    pub act: Act,
}

const fn of(name: &'static str, system: System, act: Act) -> Series {
    Series { name, system, act }
}

/// All of them, in the order in which they take turns: what is compared is neighbours.
const ALL: [Series; 24] = [
    of("event-to-effect", System::Bascule, Act::Effect),
    of("push-to-accepted", System::Bascule, Act::Pushed),
    of("planned", System::Bascule, Act::Planned),
    of("floor-planned", System::ByHand, Act::Planned),
    of("patroni-planned", System::Patroni, Act::Planned),
    of("planned-proxy", System::Bascule, Act::PlannedProxy),
    of("patroni-planned-proxy", System::Patroni, Act::PlannedProxy),
    of("planned-dns", System::Bascule, Act::PlannedDns),
    of("database-killed", System::Bascule, Act::DatabaseKilled),
    of("floor-database-killed", System::ByHand, Act::DatabaseKilled),
    of("patroni-database-killed", System::Patroni, Act::DatabaseKilled),
    of("kill-metro", System::Bascule, Act::SiteKilled),
    of("returned-follows", System::Bascule, Act::Returned),
    of("floor-kill", System::ByHand, Act::SiteKilled),
    of("patroni-kill", System::Patroni, Act::SiteKilled),
    of("patroni-returned-follows", System::Patroni, Act::Returned),
    of("read-only-served", System::Bascule, Act::ReadsServed),
    // Last, so that settings change once in a round.
    of("patroni-tuned-planned", System::PatroniTuned, Act::Planned),
    of("patroni-tuned-planned-proxy", System::PatroniTuned, Act::PlannedProxy),
    of("patroni-tuned-database-killed", System::PatroniTuned, Act::DatabaseKilled),
    of("patroni-tuned-kill", System::PatroniTuned, Act::SiteKilled),
    of("patroni-tuned-returned-follows", System::PatroniTuned, Act::Returned),
    of("kill-region", System::BasculeRegion, Act::SiteKilled),
    of("kill-wan", System::BasculeWan, Act::SiteKilled),
];

impl Series {
    /// Every series.
    pub fn all() -> &'static [Series] {
        &ALL
    }

    /// A series by its name; the error lists all names.
    pub fn named(name: &str) -> Result<Self, String> {
        ALL.into_iter().find(|s| s.name == name).ok_or_else(|| {
            let names = ALL.map(|s| s.name).join(", ");
            format!("there is no series `{name}`; there are {names}")
        })
    }

    /// The same act by another system.
    pub fn by(self, system: System) -> Option<Self> {
        ALL.into_iter().find(|s| s.act == self.act && s.system == system)
    }
}

impl Act {
    /// Whether a site loses its power.
    pub fn kills_a_site(self) -> bool {
        matches!(self, Act::SiteKilled | Act::ReadsServed | Act::Returned)
    }

    /// Whether the client goes through a proxy.
    pub fn by_proxy(self) -> bool {
        self == Act::PlannedProxy
    }
}

impl System {
    /// The timing profile of Bascule's operators.
    pub fn profile(self) -> Profile {
        match self {
            System::BasculeRegion => Profile("region"),
            System::BasculeWan => Profile("wan"),
            System::Bascule | System::Patroni | System::PatroniTuned | System::ByHand => Profile::default(),
        }
    }

    /// In a table.
    pub fn words(self) -> &'static str {
        match self {
            System::Bascule => "Bascule",
            System::BasculeRegion => "Bascule, region",
            System::BasculeWan => "Bascule, wan",
            System::Patroni => "Patroni, defaults",
            System::PatroniTuned => "Patroni, 20/1/3",
            System::ByHand => "by hand (floor)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_used_once_and_what_a_peer_can_do_has_both_peers() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), ALL.len());
        for act in [Act::Planned, Act::DatabaseKilled, Act::SiteKilled] {
            for system in [System::Bascule, System::ByHand, System::Patroni, System::PatroniTuned] {
                assert!(ALL.iter().any(|s| s.act == act && s.system == system), "{act:?} by {system:?}");
            }
        }
        for act in [Act::PlannedProxy, Act::Returned] {
            for system in [System::Bascule, System::Patroni, System::PatroniTuned] {
                assert!(ALL.iter().any(|s| s.act == act && s.system == system), "{act:?} by {system:?}");
            }
        }
        assert!(Series::named("planed").unwrap_err().contains("patroni-planned"));
    }
}
