//! What people are told: one sentence, one row per site, one line per gate, and conditions with stable reasons.
//!
//! A projection only: nothing here decides anything, and what is not known is shown as unknown. All times are UTC.

mod conditions;
mod gates;
mod rows;
mod sentence;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::Situation;
use crate::moves::Verdict;
use crate::mutant::forgets;
use crate::name::SiteName;
use crate::plan::{Answer, Gate, Plan};
use crate::policy::FenceClass;
use crate::record::{Phase, Record, Transition};

/// What is told about one policy, as one site sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The state, what comes next and who is waited for.
    pub sentence: String,
    /// Everything is as the policy asks for; `None` is unknown.
    pub ready: Option<bool>,
    /// Something is under way that ends by itself.
    pub reconciling: bool,
    /// Nothing more happens before a person acts.
    pub stalled: bool,
    /// The site that may write.
    pub active: Option<SiteName>,
    /// The site that users are sent to, by the record.
    pub serving: Option<SiteName>,
    /// The record's epoch.
    pub epoch: Option<u64>,
    /// The record's serial.
    pub serial: Option<u64>,
    /// The record's phase.
    pub phase: Option<String>,
    /// How far the furthest replica is behind.
    pub lag: Lag,
    /// The weakest fence that the active site promises, and what it does not cover.
    pub fence: Option<Fence>,
    /// Until when a person holds automatic promotions.
    pub held_until: Option<Timestamp>,
    /// Every question that was asked, every one that stands between this site and a promotion, every reason why it
    /// could not be promoted, and advice. No two have the same name.
    pub gates: Vec<Gate>,
    /// One row for each site of the policy.
    pub sites: Vec<SiteRow>,
    /// The transition under way, or else the last one.
    pub last: Option<TransitionRow>,
    /// The finished transitions, newest first.
    pub history: Vec<Transition>,
    /// What became of the Moves, newest first.
    pub moves: Vec<Verdict>,
    /// The judgements.
    pub conditions: Vec<Condition>,
}

/// How far a replica is behind, in bytes; a part that is missing is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Reported by its primary and not replayed yet.
    pub bytes: Option<u64>,
    /// How old this is, in milliseconds.
    pub age_ms: Option<u64>,
}

impl Lag {
    /// In words: `0 B`, `1.2 MiB, 3 s ago`, `Unknown`.
    pub fn words(&self) -> String {
        let Some(bytes) = self.bytes else { return "Unknown".to_owned() };
        match self.age_ms.map(std::time::Duration::from_millis) {
            Some(age) if age.as_secs() >= 2 => format!("{}, {} ago", size(bytes), crate::time::human(age)),
            _ => size(bytes),
        }
    }
}

/// The fence that a promise rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fence {
    /// Its class.
    pub class: FenceClass,
    /// What it does not cover.
    pub does_not_cover: String,
}

/// What is known of one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteRow {
    /// The site.
    pub name: SiteName,
    /// What its databases are.
    pub role: SiteRole,
    /// Whether its lease is being renewed; `None` is unknown.
    pub lives: Option<bool>,
    /// For how long its lease has been seen unchanged, in milliseconds.
    pub silent_ms: Option<u64>,
    /// Whether it could be promoted; `None` for the active site, and while unknown.
    pub promotable: Option<bool>,
    /// Why it could not, or why that is unknown.
    pub reason: Option<String>,
    /// The hash of the spec it acts by.
    pub spec_hash: Option<String>,
    /// The git revision it acts by.
    pub revision: Option<String>,
    /// Whether its replicas stream from the active site's databases; `None` for the active site, and while unknown.
    pub streaming: Option<bool>,
    /// Why they do not.
    pub not_streaming: Option<String>,
    /// How far it is behind.
    pub lag: Lag,
    /// Bytes of the active site's log that it is not known to have: what would be lost if the active site were lost now.
    pub missing: Option<u64>,
    /// How old its own report is, in milliseconds; absent for the site that speaks, and while it said nothing.
    pub age_ms: Option<u64>,
}

/// What a site's databases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SiteRole {
    /// Primaries.
    Primary,
    /// Replicas.
    Standby,
    /// Stopped or locked.
    Stopped,
    /// Without a role, or on the way to one.
    Waiting,
    /// Not known.
    Unknown,
}

impl SiteRole {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "Primary",
            Self::Standby => "Standby",
            Self::Stopped => "Stopped",
            Self::Waiting => "Waiting",
            Self::Unknown => "Unknown",
        }
    }
}

/// A transition, under way or finished, with its measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransitionRow {
    /// The transition as recorded: cause, sites, times per phase, bound and measured loss.
    pub transition: Transition,
    /// The Move that is being carried out by it.
    pub by_move: Option<String>,
    /// For how long nobody could write at the database, where it was measured, in milliseconds.
    pub write_pause_ms: Option<u64>,
    /// For how long users were read-only, where it was measured, in milliseconds.
    pub read_only_ms: Option<u64>,
    /// All of it in one line.
    pub words: String,
}

/// One judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is judged, in CamelCase.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The judgement: `Some(true)` is `True`, `None` is `Unknown`.
    pub status: Option<bool>,
    /// One stable CamelCase word.
    pub reason: Cow<'static, str>,
    /// What it means and what to do.
    pub message: Cow<'static, str>,
}

impl Condition {
    /// The status as Kubernetes writes it.
    pub const fn status_name(&self) -> &'static str {
        match self.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// Tells what situation `s` and the `plan` made from it mean to people.
pub fn project(s: &Situation<'_>, plan: &Plan) -> Report {
    judge(s, plan).report(s, plan)
}

/// The part of a report by which it is known whether there is anything new to tell.
pub struct Judged {
    state: State,
    sites: Vec<SiteRow>,
    conditions: Vec<Condition>,
}

/// Judges what situation `s` and the `plan` made from it mean, without the words about the whole.
pub fn judge(s: &Situation<'_>, plan: &Plan) -> Judged {
    let record = s.claim.view().map(|v| &v.record);
    let state = State::of(s, plan, record);
    let sites = rows::sites(s, plan, record);
    let conditions = conditions::conditions(s, plan, record, &state, &sites);
    Judged { state, sites, conditions }
}

impl Judged {
    /// One row for each site of the policy.
    pub fn sites(&self) -> &[SiteRow] {
        &self.sites
    }

    /// The judgements.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// The whole report, from the same situation and plan.
    pub fn report(self, s: &Situation<'_>, plan: &Plan) -> Report {
        let Self { state, sites, conditions } = self;
        let record = s.claim.view().map(|v| &v.record);
        whole(s, plan, record, &state, sites, conditions)
    }
}

fn whole(
    s: &Situation<'_>,
    plan: &Plan,
    record: Option<&Record>,
    state: &State,
    sites: Vec<SiteRow>,
    conditions: Vec<Condition>,
) -> Report {
    Report {
        sentence: sentence::sentence(s, plan, record, &sites),
        ready: state.ready,
        reconciling: state.reconciling,
        stalled: state.stalled,
        active: record.map(|r| r.active.clone()),
        serving: record.and_then(serving),
        epoch: record.map(|r| r.epoch),
        serial: record.map(|r| r.serial),
        phase: record.map(|r| r.phase.name().to_owned()),
        lag: rows::furthest(&sites, record),
        fence: record.map(|r| Fence {
            class: r.promise.fence_class,
            does_not_cover: r.promise.fence_class.does_not_cover().to_owned(),
        }),
        held_until: record.and_then(|r| r.hold.as_ref()).map(|h| h.until).filter(|t| *t > s.wall),
        conditions,
        gates: if forgets("a status names its gates") { Vec::new() } else { gates::gates(s, plan, record) },
        sites,
        last: record.and_then(rows::last),
        history: record.map(|r| r.history.clone()).unwrap_or_default(),
        moves: record.map(|r| r.moves.clone()).unwrap_or_default(),
    }
}

/// The three summary judgements, with the reason for `Ready`.
struct State {
    ready: Option<bool>,
    reconciling: bool,
    stalled: bool,
    reason: &'static str,
}

impl State {
    fn of(s: &Situation<'_>, plan: &Plan, record: Option<&Record>) -> Self {
        let refused = plan.gates.iter().any(|g| g.answer == Answer::No);
        let judged = |ready, reconciling, stalled, reason| Self { ready, reconciling, stalled, reason };
        let Some(record) = record else {
            return judged(Some(false), !refused, refused, "NoRecord");
        };
        let held_back = |name: &str| plan.gates.iter().any(|g| g.name == name && g.answer == Answer::No);
        if held_back("arbiter") {
            return judged(Some(false), false, true, "ArbiterWentBack");
        }
        if plan.gates.iter().any(|g| g.name.starts_with("anew/")) {
            return judged(Some(false), !refused, refused, "RecordLost");
        }
        if held_back("schema") {
            return judged(Some(false), false, true, "NewerRecord");
        }
        if held_back("site") {
            return judged(Some(false), false, true, "SiteNotNamed");
        }
        match record.phase {
            Phase::Steady => {
                let lives = if record.active == *s.me { Some(s.grants()) } else { s.lives(&record.active) };
                let down = |g: &Gate| matches!(g.name.as_str(), "database" | "open") && !g.passed();
                let dead = plan.gates.iter().any(down);
                let about = |g: &Gate| g.name.starts_with("database/") && g.answer == Answer::Unknown;
                let unheard = record.active == *s.me && plan.gates.iter().any(about);
                match lives {
                    Some(true) if forgets("a database that takes no writes is not ready") => {
                        judged(Some(true), false, false, "Steady")
                    }
                    Some(true) if dead => judged(Some(false), true, false, "DatabaseDown"),
                    Some(true) if unheard => judged(None, true, false, "DatabaseUnknown"),
                    Some(true) => judged(Some(true), plan.transition.is_some(), false, "Steady"),
                    Some(false) => judged(Some(false), !refused, refused, "ActiveSiteSilent"),
                    None => judged(None, true, false, "ActiveSiteUnknown"),
                }
            }
            Phase::Unmanaged => judged(Some(false), false, true, "Unmanaged"),
            Phase::ReadOnly => {
                let stalled = refused && record.target.as_ref() == Some(s.me);
                judged(Some(false), !stalled, stalled, "ReadOnly")
            }
            Phase::Requested => judged(Some(false), true, false, "Requested"),
            Phase::Handover => judged(Some(false), true, false, "Handover"),
            Phase::Promoting => judged(Some(false), true, false, "Promoting"),
            Phase::Returning => judged(Some(false), true, false, "Returning"),
            Phase::Offered => judged(Some(false), true, false, "Offered"),
            Phase::Withdrawn => judged(Some(false), true, false, "Withdrawn"),
            Phase::Unknown(_) => judged(Some(false), false, true, "NewerRecord"),
        }
    }
}

/// Where users are sent, by the record. In `Promoting` it is the new site as soon as a write is verified there.
fn serving(record: &Record) -> Option<SiteName> {
    match record.phase {
        Phase::ReadOnly | Phase::Returning => record.target.clone(),
        _ => Some(record.active.clone()),
    }
}

/// A transition in one line: sites, cause, times and loss.
pub fn transition_words(transition: &Transition) -> String {
    rows::words(transition)
}

/// A number of bytes in words.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

/// A moment as people read it: the time of day, with the date when it is not the day of `now`.
fn clock(at: Timestamp, now: Timestamp, seconds: bool) -> String {
    let day = |t: Timestamp| t.strftime("%Y-%m-%d").to_string();
    let time = at.strftime(if seconds { "%H:%M:%S" } else { "%H:%M" }).to_string();
    if day(at) == day(now) { time } else { format!("{} {time}", day(at)) }
}
