//! What would happen if: a person's policy, faults in a person's words, and what became of the policy's promises.
//!
//! | file | question |
//! |---|---|
//! | `kind` | which faults are there, in whose words, and what are they to the world? |
//! | `word` | what does `site=paris@10s+30s` say? |
//! | `file` | what does a scenario file say? |
//! | `asking` | what is asked meanwhile, and who looks on? |
//! | `play` | what happens, and when is it over? |
//! | `story` | who saw what, in lines, without noise? |
//! | `account` | what was lost, for how long was nothing written, how long did each phase take? |
//! | `promise` | did the policy keep its word? |
//! | `missing` | what does the policy say that is not simulated? |
//! | `text` | how is it read? |

mod account;
mod asking;
pub mod file;
pub mod kind;
mod missing;
mod play;
mod promise;
mod story;
mod text;
pub mod word;

use std::time::Duration;

use bascule_core::moves::Move;
use bascule_core::name::SiteName;
use bascule_core::timing::Profile;
use jiff::Timestamp;

pub use self::account::{Account, LossBound, Outage, PhaseTook, TrafficEnd, Verdict, WhyNot};
pub use self::asking::{Asked, Onlooker, Question};
pub use self::play::{NotSteady, Played, latency, play};
pub use self::promise::{Judgement, Promised};
pub use self::story::Line;
pub use self::text::head;

use self::kind::Kind;

/// What is to happen to a policy.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The timing profile of the installation.
    pub profile: Profile,
    /// The seed of all chance.
    pub seed: u64,
    /// How long it is watched from the moment the world is steady; `None`: until nothing more happens.
    pub lasts: Option<Duration>,
    /// How often a client writes.
    pub writes_every: Duration,
    /// What happens, in any order.
    pub events: Vec<Event>,
    /// What is asked meanwhile, in any order. It changes nothing of what happens.
    pub why: Vec<Question>,
}

/// How often a client writes when nobody says.
pub const WRITES_EVERY: Duration = Duration::from_millis(50);

/// When something happens that has no time of its own.
pub const USUAL_TIME: Duration = Duration::from_secs(10);

impl Scenario {
    /// Nothing happens.
    pub const fn quiet(profile: Profile, seed: u64) -> Self {
        Self { profile, seed, lasts: None, writes_every: WRITES_EVERY, events: Vec::new(), why: Vec::new() }
    }

    /// The time of day at the moment the world is steady: early enough for every Move that is given to act at the time
    /// it is merged, if the Moves leave such a moment.
    pub fn time_of_day(&self) -> Option<Timestamp> {
        let moves = || {
            self.events.iter().filter_map(|e| match &e.what {
                What::Move(mv) => Some((e.at, mv)),
                What::Fault { .. } | What::Switch(_) | What::Revert(_) => None,
            })
        };
        let at = |t: Timestamp, d: Duration| t.checked_sub(d).ok();
        let first = moves().filter_map(|(d, m)| at(m.not_before?, d)).min();
        first.or_else(|| moves().filter_map(|(d, m)| at(m.not_after?, d + Duration::from_hours(1))).min())
    }
}

/// A time as a story tells it: never rounded to minutes, for a story is compared with its own moments.
pub fn length(d: Duration) -> String {
    let (h, m, s) = (d.as_secs() / 3600, d.as_secs() % 3600 / 60, d.as_secs() % 60);
    match (h, m, s) {
        _ if d < Duration::from_mins(2) => bascule_core::time::human(d),
        (0, m, 0) => format!("{m} m"),
        (0, m, s) => format!("{m} m {s} s"),
        (h, 0, 0) => format!("{h} h"),
        (h, m, 0) => format!("{h} h {m} m"),
        (h, m, s) => format!("{h} h {m} m {s} s"),
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, from the moment the world is steady.
    pub at: Duration,
    /// For how long; `None`: for good, or it is over at once.
    pub lasts: Option<Duration>,
    /// What.
    pub what: What,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// Something goes wrong.
    Fault {
        /// What.
        kind: &'static Kind,
        /// Where, if it has a place: the site's number in the policy.
        site: Option<(usize, SiteName)>,
    },
    /// Somebody merges a planned switchover to this site, from wherever the role is then.
    Switch(SiteName),
    /// Somebody merges this Move.
    Move(Box<Move>),
    /// Somebody reverts the merge of this Move: it is in the repository no more.
    Revert(Box<Move>),
}

impl Event {
    /// In words.
    pub fn words(&self) -> String {
        match &self.what {
            What::Fault { kind, site } => {
                let begins = kind.begins(site.as_ref().map(|(_, name)| name.as_str()));
                let lasts = match (kind.ends, self.lasts) {
                    (false, _) => String::new(),
                    (true, None) => ", for good".to_owned(),
                    (true, Some(d)) => format!(", for {}", length(d)),
                };
                format!("{begins}{lasts}")
            }
            What::Switch(to) => format!("a Move Switchover to {to} is merged"),
            What::Move(mv) => format!("the Move {} ({}) is merged", mv.name, mv.order.kind()),
            What::Revert(mv) => format!("the merge of the Move {} is reverted", mv.name),
        }
    }
}
