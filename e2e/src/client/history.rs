//! What a client did and what it was told.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on CLOCK_MONOTONIC, in nanoseconds; comparable between all processes of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Now.
    pub fn now() -> Self {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Self(t.tv_sec.cast_unsigned() * 1_000_000_000 + t.tv_nsec.cast_unsigned())
    }

    /// Time from an earlier moment to this one; zero when it is not earlier.
    pub fn since(self, earlier: Stamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One row.
    Write,
    /// One look at the newest row.
    Read,
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The row is committed.
    Acked {
        /// By this site.
        site: String,
        /// Under this number.
        id: i64,
        /// In this transaction.
        xid: String,
    },
    /// The read was answered.
    Answered {
        /// By this site.
        site: String,
        /// Number of the newest row there.
        last: i64,
    },
    /// Certainly nothing happened.
    Refused(String),
    /// Nobody told; it may have happened.
    Unknown(String),
}

/// One try, from its start to its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Write or read.
    pub kind: Kind,
    /// Which of the client's workers of this kind, each a user with addresses of its own; from zero.
    pub worker: usize,
    /// What the row would carry; never used twice. Empty for a read.
    pub token: String,
    /// Before anything was sent.
    pub start: Stamp,
    /// When the outcome was known.
    pub end: Stamp,
    /// What came of it.
    pub outcome: Outcome,
    /// Whom it was sent to; `None` when no address was known.
    pub address: Option<IpAddr>,
}

impl Attempt {
    /// The site that took it, when one did.
    pub fn site(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Acked { site, .. } | Outcome::Answered { site, .. } => Some(site),
            Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }

    /// True for an acknowledged write or an answered read.
    pub fn worked(&self) -> bool {
        self.site().is_some()
    }
}

/// Everything a client did, in the order of the outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The attempts.
    pub attempts: Vec<Attempt>,
}

impl History {
    /// Acknowledged writes.
    pub fn acked(&self) -> impl Iterator<Item = &Attempt> {
        self.of(Kind::Write).filter(|a| a.worked())
    }

    /// All attempts of a kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(move |a| a.kind == kind)
    }

    /// Writes that did not work, whose start lies in a window: `(refused, unknown)`.
    pub fn failed(&self, from: Stamp, to: Stamp) -> (usize, usize) {
        let failed = self.of(Kind::Write).filter(|a| a.start >= from && a.start <= to && !a.worked());
        failed.fold((0, 0), |(refused, unknown), a| match a.outcome {
            Outcome::Refused(_) => (refused + 1, unknown),
            _ => (refused, unknown + 1),
        })
    }
}
