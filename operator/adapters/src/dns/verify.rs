//! Whether a change stands everywhere.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::observe::Published;
use super::read::MarkFound;
use super::servers::Server;
use super::target::DnsTarget;
use crate::mark::Mark;
use bascule_core::observation::Fact;

/// How one server differs from what must be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is not known what the server publishes.
    Unknown(String),
    /// It does not answer as an authority for the zone.
    NotAuthoritative,
    /// The name is an alias of another one.
    Alias(String),
    /// Other addresses.
    Addresses {
        /// What it publishes.
        found: BTreeSet<IpAddr>,
        /// What it should publish.
        expected: BTreeSet<IpAddr>,
    },
    /// Another mark.
    Mark {
        /// What it publishes.
        found: MarkFound,
        /// What it should publish.
        expected: Mark,
    },
    /// Another TTL.
    Ttl {
        /// What it publishes.
        found: Option<Duration>,
        /// What it should publish.
        expected: Duration,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => write!(f, "unknown: {why}"),
            Self::NotAuthoritative => f.write_str("it is not an authority for the zone"),
            Self::Alias(to) => write!(f, "the name is an alias of {to}"),
            Self::Addresses { found, expected } => {
                write!(f, "addresses {}, expected {}", list(found), list(expected))
            }
            Self::Mark { found: MarkFound::Mark(found), expected } => {
                write!(f, "mark \"{found}\", expected \"{expected}\"")
            }
            Self::Mark { found: MarkFound::None, expected } => write!(f, "no mark, expected \"{expected}\""),
            Self::Mark { found: MarkFound::Foreign(found), expected } => {
                write!(f, "TXT {found:?}, expected \"{expected}\"")
            }
            Self::Ttl { found, expected } => match found {
                Some(found) => write!(f, "TTL {} s, expected {} s", found.as_secs(), expected.as_secs()),
                None => write!(f, "no TTL, expected {} s", expected.as_secs()),
            },
        }
    }
}

/// Addresses in words.
pub(super) fn list(addresses: &BTreeSet<IpAddr>) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether every authoritative server publishes a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Every one of these servers answered, as an authority, with exactly what was asked for.
    Everywhere(Vec<Server>),
    /// These do not, or not yet.
    NotYet(Vec<(Server, Difference)>),
    /// It is not known who would have to be asked.
    Unknown(String),
}

impl DnsTarget {
    /// Whether every authoritative server publishes `site` with `mark` and nothing else; returns within `deadline`.
    pub async fn verify(&self, site_mark: &Mark, deadline: Duration) -> Verification {
        let Some(expected) = self.addresses(&site_mark.site) else {
            return Verification::Unknown(format!(
                "the target knows no addresses of site {}",
                site_mark.site
            ));
        };
        let answers = match self.observe(deadline).await {
            Fact::Known { value, .. } => value,
            Fact::Unknown { reason } => return Verification::Unknown(reason),
        };
        let mut same = Vec::new();
        let mut differing = Vec::new();
        for answer in answers {
            let difference = match &answer.result {
                Fact::Unknown { reason } => Some(Difference::Unknown(reason.clone())),
                Fact::Known { value: state, .. } => self.difference(state, expected, site_mark),
            };
            match difference {
                None => same.push(answer.server),
                Some(difference) => differing.push((answer.server, difference)),
            }
        }
        match (differing.is_empty(), same.is_empty()) {
            (true, true) => Verification::Unknown("the zone has no authoritative server to ask".to_owned()),
            (true, false) => Verification::Everywhere(same),
            (false, _) => Verification::NotYet(differing),
        }
    }

    /// How what a server publishes differs from what it should publish.
    pub(super) fn difference(
        &self,
        state: &Published,
        expected: &BTreeSet<IpAddr>,
        expected_mark: &Mark,
    ) -> Option<Difference> {
        if !state.authoritative {
            return Some(Difference::NotAuthoritative);
        }
        if let Some(alias) = &state.alias {
            return Some(Difference::Alias(alias.clone()));
        }
        if state.addresses != *expected {
            let (found, expected) = (state.addresses.clone(), expected.clone());
            return Some(Difference::Addresses { found, expected });
        }
        if state.mark != MarkFound::Mark(expected_mark.clone()) {
            let (found, expected) = (state.mark.clone(), expected_mark.clone());
            return Some(Difference::Mark { found, expected });
        }
        if state.ttl != Some(self.ttl()) {
            return Some(Difference::Ttl { found: state.ttl, expected: self.ttl() });
        }
        None
    }
}
