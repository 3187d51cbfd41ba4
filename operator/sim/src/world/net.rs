//! The lines between the places: cut in one direction or both, slow, lossy.

use std::time::Duration;

use crate::random::Chance;
use crate::time::micros;

/// A place on the net: a site, the third place, or the outside with git and the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub usize);

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// To and between the arbiter's members.
    Arbiter,
    /// Between databases.
    Replication,
    /// Of clients, and to DNS servers.
    Clients,
    /// To the git server.
    Git,
}

impl Traffic {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Arbiter, Self::Replication, Self::Clients, Self::Git];

    const fn at(self) -> usize {
        self as usize
    }
}

/// One direction of a line.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// How many cuts keep each kind of traffic from passing.
    cut: [u8; Traffic::ALL.len()],
    latency: Duration,
    jitter: Duration,
    /// How many messages in a thousand are lost.
    loss: u32,
}

/// All lines.
#[derive(Clone, Debug)]
pub struct Net {
    lines: Vec<Vec<Line>>,
    chance: Chance,
}

impl Net {
    /// A net of so many places, each pair with this latency one way.
    pub fn new(places: usize, latency: Duration, seed: u64) -> Self {
        let line = Line { cut: [0; 4], latency, jitter: latency / 4, loss: 0 };
        let mut lines = vec![vec![line; places]; places];
        for (i, from) in lines.iter_mut().enumerate() {
            from[i] = Line {
                cut: [0; 4],
                latency: Duration::from_micros(150),
                jitter: Duration::from_micros(50),
                loss: 0,
            };
        }
        Self { lines, chance: Chance::of(seed, "net") }
    }

    /// Whether a message would pass now.
    pub fn passes(&self, from: Place, to: Place, what: Traffic) -> bool {
        self.lines[from.0][to.0].cut[what.at()] == 0
    }

    /// Whether messages pass both ways.
    pub fn joined(&self, a: Place, b: Place, what: Traffic) -> bool {
        self.passes(a, b, what) && self.passes(b, a, what)
    }

    /// How long a message travels; `None`: it is lost.
    pub fn travel(&mut self, from: Place, to: Place, what: Traffic) -> Option<Duration> {
        let line = self.lines[from.0][to.0];
        if line.cut[what.at()] > 0 || self.chance.permille(line.loss) {
            return None;
        }
        Some(line.latency + Duration::from_micros(self.chance.below(micros(line.jitter) + 1)))
    }

    /// Cuts or heals one direction for these kinds; what several have cut passes when the last of them has healed it.
    pub fn cut(&mut self, from: Place, to: Place, what: &[Traffic], cut: bool) {
        if from == to {
            return;
        }
        for kind in what {
            let cuts = &mut self.lines[from.0][to.0].cut[kind.at()];
            *cuts = if cut { cuts.saturating_add(1) } else { cuts.saturating_sub(1) };
        }
    }

    /// Makes one direction slow or lossy.
    pub fn degrade(&mut self, from: Place, to: Place, latency: Duration, jitter: Duration, loss: u32) {
        let line = &mut self.lines[from.0][to.0];
        *line = Line { cut: line.cut, latency, jitter, loss };
    }

    /// The latency of one direction.
    pub fn latency(&self, from: Place, to: Place) -> Duration {
        self.lines[from.0][to.0].latency
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.lines.len()
    }
}
