//! The series that can be measured, and which of them are compared.

/// Who brings the writes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Bascule, with the demo's policy that promotes at once, profile metro.
    Bascule,
    /// Patroni as Debian delivers it: ttl 30, `loop_wait` 10, `retry_timeout` 10.
    Patroni,
    /// Patroni at its documented minimum: ttl 20, `loop_wait` 1, `retry_timeout` 3.
    PatroniTuned,
    /// The same steps on two plain servers, one after the other, without asking anybody.
    ByHand,
}

/// What happens to the active site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Somebody orders the change.
    Planned,
    /// The first process of the server is killed.
    DatabaseKilled,
    /// The site loses its power.
    SiteKilled,
    /// A Move that moves nothing: from the API server to the record.
    Effect,
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
const ALL: [Series; 13] = [
    of("event-to-effect", System::Bascule, Act::Effect),
    of("planned", System::Bascule, Act::Planned),
    of("floor-planned", System::ByHand, Act::Planned),
    of("patroni-planned", System::Patroni, Act::Planned),
    of("database-killed", System::Bascule, Act::DatabaseKilled),
    of("floor-database-killed", System::ByHand, Act::DatabaseKilled),
    of("patroni-database-killed", System::Patroni, Act::DatabaseKilled),
    of("kill-metro", System::Bascule, Act::SiteKilled),
    of("floor-kill", System::ByHand, Act::SiteKilled),
    of("patroni-kill", System::Patroni, Act::SiteKilled),
    // Last, so that the settings of one peer change once in a round.
    of("patroni-tuned-planned", System::PatroniTuned, Act::Planned),
    of("patroni-tuned-database-killed", System::PatroniTuned, Act::DatabaseKilled),
    of("patroni-tuned-kill", System::PatroniTuned, Act::SiteKilled),
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

impl System {
    /// In a table.
    pub fn words(self) -> &'static str {
        match self {
            System::Bascule => "Bascule",
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
    fn every_name_is_used_once_and_every_act_has_a_floor_and_both_peers() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), ALL.len());
        for series in ALL.iter().filter(|s| s.act != Act::Effect) {
            for system in [System::Bascule, System::ByHand, System::Patroni, System::PatroniTuned] {
                assert!(series.by(system).is_some(), "{} has no {system:?}", series.name);
            }
        }
        assert!(Series::named("planed").unwrap_err().contains("patroni-planned"));
    }
}
