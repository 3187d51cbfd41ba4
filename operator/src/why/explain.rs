//! What a policy's status means at this moment: what blocks, how old each finding is by now, what would change it.
//!
//! A pure function of the status, its writer's heartbeat and the time. It asks nobody, so the command line uses it for a
//! live cluster and for a status that a simulation made.

use std::time::Duration;

use bascule_core::gate_codes::{self, Kind};
use bascule_core::heartbeat::{Denied, EVERY, Heartbeat, YOUNG};
use bascule_core::time::{Millis, human, read_human};
use bascule_crds::conditions::{ACCEPTED, Condition, FAILOVER_POSSIBLE, READY, STALLED};
use bascule_crds::{FailoverPolicyStatus, GateStatus, GateVerdict};
use jiff::Timestamp;
use serde::Serialize;

use super::judgement;

/// The number of the shape of [`Explanation`] as JSON. It grows when a field goes or changes its meaning; new fields
/// may come without that.
pub const VERSION: u32 = 1;

/// How often an operator without a heartbeat, of an earlier version, writes a status anew.
const WRITES_EVERY: Duration = Duration::from_secs(30);

/// How old its status may be before it is not believed.
const STALE_AFTER: Duration = WRITES_EVERY.saturating_mul(2);

/// How far a status may lie in the future before the clocks are said to differ.
const CLOCKS_AGREE: Duration = Duration::from_secs(5);

/// A policy as an API server has it, or a simulation.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Its status; the error says why it cannot be read.
    pub status: Result<Option<FailoverPolicyStatus>, String>,
    /// The heartbeat that the status names.
    pub beat: Beat,
}

impl Seen {
    /// The last moment at which the operator that wrote the status has said something, by its own clock.
    pub fn last_word(&self) -> Option<Timestamp> {
        let status = self.status.as_ref().ok()?.as_ref()?;
        let writer = status.heartbeat.as_ref().map(|named| named.writer.as_str());
        let beat = match &self.beat {
            Beat::Heard(beat) if Some(beat.by.as_str()) == writer => Some(beat.at),
            _ => None,
        };
        status.written_at.as_ref().map(|at| at.0).max(beat)
    }
}

/// What is known of the heartbeat that a status names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Beat {
    /// It was not asked for. An old status is not believed then.
    #[default]
    NotAsked,
    /// It was read.
    Heard(Heartbeat),
    /// It could not be read.
    Unheard {
        /// Why.
        why: String,
        /// What is needed to read it.
        needed: String,
    },
}

/// A policy's status, explained. Its JSON is part of the command line's interface: see `docs/why.md`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// [`VERSION`].
    pub version: u32,
    /// The policy's namespace.
    pub namespace: String,
    /// The policy's name.
    pub name: String,
    /// Whether something blocks: then `first_blocker` says what.
    pub blocks: bool,
    /// What has to be dealt with first.
    pub first_blocker: Option<Finding>,
    /// The state in a sentence, in the operator's words.
    pub message: Option<String>,
    /// The site whose operator wrote the status.
    pub site: Option<String>,
    /// When it did.
    pub written_at: Option<Timestamp>,
    /// How long ago that was, in milliseconds.
    pub age_ms: Option<u64>,
    /// When the operator last vouched for it: by its heartbeat, or, when it is young, by writing it. The ages of the gates
    /// count from then.
    pub vouched_at: Option<Timestamp>,
    /// How long ago that was, in milliseconds.
    pub vouched_age_ms: Option<u64>,
    /// Whether nobody vouches for it any more: it is not believed.
    pub stale: bool,
    /// Who may write.
    pub active: Option<Active>,
    /// The record's phase.
    pub phase: Option<String>,
    /// Every question that was asked, in order.
    pub gates: Vec<Finding>,
    /// The judgements that are not as they should be.
    pub conditions: Vec<Judgement>,
    /// What else must be known to read this rightly.
    pub notes: Vec<String>,
}

/// Who may write, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Active {
    /// The site.
    pub site: String,
    /// The epoch; a Move names it.
    pub epoch: Option<u64>,
    /// The record's serial; a Move with `sourceStopped` names it.
    pub serial: Option<u64>,
    /// Since when; absent while the transition is under way, and when the status does not tell.
    pub since: Option<Timestamp>,
    /// How it became active, as in `status.history[].cause`.
    pub cause: Option<String>,
    /// The Move that asked for it.
    #[serde(rename = "move")]
    pub by_move: Option<String>,
}

/// An answer to a gate's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Answer {
    /// It is as it must be.
    Yes,
    /// It is not, and waiting alone will not change it.
    No,
    /// Not yet: time or an event will tell.
    NotYet,
    /// It is not known, which counts as no.
    Unknown,
}

impl Answer {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "Yes",
            Self::No => "No",
            Self::NotYet => "NotYet",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<GateVerdict> for Answer {
    fn from(verdict: GateVerdict) -> Self {
        match verdict {
            GateVerdict::Pass => Self::Yes,
            GateVerdict::Block => Self::No,
            GateVerdict::NotYet => Self::NotYet,
            GateVerdict::Unknown => Self::Unknown,
        }
    }
}

/// A question with its answer, its evidence, and the way to another answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The question's stable name: a gate's; `status/…` or `condition/…` for what is no gate.
    pub code: String,
    /// The answer.
    pub answer: Answer,
    /// Whether it blocks. While all is well, what only asks whether the time has come does not.
    pub blocks: bool,
    /// What was found.
    pub found: String,
    /// What is needed.
    pub needed: String,
    /// How old the finding is by now, in milliseconds; absent when the status does not tell.
    pub age_ms: Option<u64>,
    /// What would change the answer; absent when it is yes.
    pub change: Option<String>,
}

/// A condition that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// What is judged.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One stable word.
    pub reason: String,
    /// For how long the judgement has stood, in milliseconds.
    pub age_ms: Option<u64>,
    /// What it means.
    pub message: String,
}

/// Explains what is seen of a policy, at `now`.
pub fn explain(seen: &Seen, now: Timestamp) -> Explanation {
    match &seen.status {
        Ok(Some(status)) if is_written(status) => told(seen, status, now),
        Ok(_) => silent(seen, now),
        Err(why) => unreadable(seen, why),
    }
}

/// Whether an operator has said anything.
fn is_written(status: &FailoverPolicyStatus) -> bool {
    status.written_at.is_some()
        || status.message.is_some()
        || status.phase.is_some()
        || !status.conditions.is_empty()
}

fn told(seen: &Seen, status: &FailoverPolicyStatus, now: Timestamp) -> Explanation {
    let written_at = status.written_at.as_ref().map(|t| t.0);
    let age = written_at.map(|at| since(at, now));
    let vouched = written_at.map(|at| vouched(seen, status, at, now));
    let vouched_at = match &vouched {
        Some(Ok(at)) => Some(*at),
        Some(Err(_)) | None => written_at,
    };
    let vouched_age = vouched_at.map(|at| since(at, now));
    let too_old = vouched.and_then(Result::err);
    let at_rest = condition(status, READY).is_some_and(|c| c.status == "True")
        && status.phase.as_deref() == Some("Steady");
    let gates: Vec<Finding> = status.gates.iter().map(|g| gate(g, vouched_age, at_rest)).collect();
    let stale = too_old.is_some();
    let first_blocker = too_old
        .or_else(|| before_the_gates(status, now))
        .or_else(|| age.is_none().then(undated))
        .or_else(|| gates.iter().find(|g| g.blocks).cloned())
        .or_else(|| after_the_gates(status, now));
    Explanation {
        blocks: first_blocker.is_some(),
        first_blocker,
        message: status.message.clone(),
        site: status.site.clone(),
        written_at,
        age_ms: age.map(millis),
        vouched_at,
        vouched_age_ms: vouched_age.map(millis),
        stale,
        active: active(status),
        phase: status.phase.clone(),
        gates,
        conditions: status
            .conditions
            .iter()
            .filter(|c| !judgement::is_good(c))
            .map(|c| shown(c, now))
            .collect(),
        notes: notes(seen, status, now),
        ..nothing(seen)
    }
}

fn nothing(seen: &Seen) -> Explanation {
    Explanation {
        version: VERSION,
        namespace: seen.namespace.clone(),
        name: seen.name.clone(),
        blocks: true,
        first_blocker: None,
        message: None,
        site: None,
        written_at: None,
        age_ms: None,
        vouched_at: None,
        vouched_age_ms: None,
        stale: false,
        active: None,
        phase: None,
        gates: Vec::new(),
        conditions: Vec::new(),
        notes: Vec::new(),
    }
}

fn silent(seen: &Seen, now: Timestamp) -> Explanation {
    let found = seen.created.map_or_else(
        || "no operator has ever written its status".to_owned(),
        |at| format!("no operator has written its status in the {} since it was made", words(since(at, now))),
    );
    let needed = "a status, which an operator that sees the policy writes within seconds";
    Explanation {
        first_blocker: Some(own("status/missing", Answer::Unknown, found, needed)),
        ..nothing(seen)
    }
}

fn unreadable(seen: &Seen, why: &str) -> Explanation {
    let needed = "a status in the shape that this program knows";
    let finding = own("status/unreadable", Answer::Unknown, why.to_owned(), needed);
    Explanation { first_blocker: Some(finding), ..nothing(seen) }
}

/// When the operator last vouched for its status that it wrote at `written`; or why it is not believed. What is young itself
/// is believed, with or without a heartbeat, and its ages are exact. What is not known denies.
fn vouched(
    seen: &Seen,
    status: &FailoverPolicyStatus,
    written: Timestamp,
    now: Timestamp,
) -> Result<Timestamp, Finding> {
    let age = since(written, now);
    let whose = status.site.as_ref().map(|s| format!(" of {s}")).unwrap_or_default();
    let denied = |code: &str, found: String, needed: &str| {
        let found = format!("the operator{whose} wrote {found}");
        Err(Finding { age_ms: Some(millis(age)), ..own(code, Answer::Unknown, found, needed) })
    };
    let ago = format!("{} ago", words(age));
    let below = "everything below is what it knew then";
    let Some(named) = &status.heartbeat else {
        if age <= STALE_AFTER {
            return Ok(written);
        }
        let needed = format!(
            "a status of at most {}: an operator that lives writes every {}",
            human(STALE_AFTER),
            human(WRITES_EVERY)
        );
        return denied("status/stale", format!("its last status {ago}; {below}"), &needed);
    };
    if age <= YOUNG {
        return Ok(written);
    }
    let beat = match &seen.beat {
        Beat::Heard(beat) => beat,
        Beat::Unheard { why, needed } => {
            let found = format!("this {ago}, and whether it lives is not known: {why}; {below}");
            return denied("status/unheard", found, needed);
        }
        Beat::NotAsked => {
            let found = format!("this {ago}, and whether it lives was not asked; {below}");
            return denied("status/unheard", found, "the heartbeat that the status names");
        }
    };
    let policy = format!("{}/{}", seen.namespace, seen.name);
    let lives = format!(
        "a heartbeat of at most {} that vouches for this status: an operator that lives has one every {}",
        human(YOUNG),
        human(EVERY)
    );
    let again = "the newest status: its operator tries again and again";
    match beat.vouches(&policy, &named.writer, written, now) {
        Ok(()) => Ok(beat.at),
        Err(Denied::Silent(silent)) => {
            let silent = words(silent.min(age));
            let found = format!("this {ago}, and was last alive {silent} ago (its heartbeat); {below}");
            denied("status/stale", found, &lives)
        }
        Err(Denied::Another) => {
            let found =
                format!("this {ago}; another process has its place and has not written it anew; {below}");
            denied("status/stale", found, &lives)
        }
        Err(Denied::Before) => {
            denied("status/stale", format!("this {ago}, and had no heartbeat since; {below}"), &lives)
        }
        Err(Denied::Named) => {
            let found = format!("this {ago}. It lives, and what it knows since could not be written");
            denied("status/unshown", found, again)
        }
        Err(Denied::TooMany(n)) => {
            let found = format!(
                "this {ago}. It lives, and could not write the newest status of {n} policies, of which this may be one"
            );
            denied("status/unshown", found, again)
        }
    }
}

/// What cannot be dated may be as old as anything, and what is not known is never a yes.
fn undated() -> Finding {
    let found =
        "the status does not say when it was written: it may be of any age, and so may all that is below";
    own("status/undated", Answer::Unknown, found.to_owned(), "a status with its date")
}

/// A finding about what is no gate.
fn own(code: &str, answer: Answer, found: String, needed: &str) -> Finding {
    let change = judgement::change(code).map(ToOwned::to_owned);
    Finding {
        code: code.to_owned(),
        answer,
        blocks: true,
        found,
        needed: needed.to_owned(),
        age_ms: None,
        change,
    }
}

fn gate(gate: &GateStatus, vouched: Option<Duration>, at_rest: bool) -> Finding {
    let answer = Answer::from(gate.verdict);
    let code = gate_codes::of(&gate.name);
    let waits = at_rest && answer != Answer::Unknown && code.is_some_and(|code| code.kind == Kind::Moment);
    let needed = gate.threshold.clone().unwrap_or_else(|| gate.message.clone());
    let change = code.map_or_else(|| format!("What is needed: {needed}"), |code| code.change.to_owned());
    // A finding without an age of its own was made for the status.
    let then = match &gate.age {
        Some(age) => read_human(age),
        None => (answer != Answer::Unknown).then_some(Duration::ZERO),
    };
    Finding {
        code: gate.name.clone(),
        answer,
        blocks: answer != Answer::Yes && !waits,
        found: gate.value.clone().unwrap_or_else(|| gate.message.clone()),
        age_ms: then.zip(vouched).map(|(then, vouched)| millis(then + vouched)),
        change: (answer != Answer::Yes).then_some(change),
        needed,
    }
}

/// A judgement because of which the gates mean nothing: an invalid policy, or an arbiter that is not heard.
fn before_the_gates(status: &FailoverPolicyStatus, now: Timestamp) -> Option<Finding> {
    let invalid = condition(status, ACCEPTED).filter(|c| c.status == "False");
    let deaf = || condition(status, READY).filter(|c| c.reason == judgement::ARBITER_UNREACHABLE);
    let unreadable = || condition(status, READY).filter(|c| c.reason == judgement::UNREADABLE);
    invalid.or_else(deaf).or_else(unreadable).map(|c| of_condition(c, now))
}

/// A judgement that no gate explains.
fn after_the_gates(status: &FailoverPolicyStatus, now: Timestamp) -> Option<Finding> {
    let bad = |kind: &str| condition(status, kind).filter(|c| !judgement::is_good(c));
    let found = bad(STALLED).or_else(|| bad(READY)).or_else(|| bad(FAILOVER_POSSIBLE));
    found.map(|c| of_condition(c, now))
}

fn of_condition(c: &Condition, now: Timestamp) -> Finding {
    let code = format!("condition/{}", c.type_);
    let answer = if c.status == "Unknown" { Answer::Unknown } else { Answer::No };
    let found = format!("{}: {}", c.reason, c.message);
    let finding = own(&code, answer, found, &judgement::needed(c));
    Finding {
        age_ms: Some(millis(since(c.last_transition_time.0, now))),
        change: judgement::change_of(c).map(ToOwned::to_owned).or(finding.change),
        ..finding
    }
}

fn condition<'a>(status: &'a FailoverPolicyStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|c| c.type_ == kind)
}

fn shown(c: &Condition, now: Timestamp) -> Judgement {
    Judgement {
        kind: c.type_.clone(),
        status: c.status.clone(),
        reason: c.reason.clone(),
        age_ms: Some(millis(since(c.last_transition_time.0, now))),
        message: c.message.clone(),
    }
}

fn active(status: &FailoverPolicyStatus) -> Option<Active> {
    let site = status.active_site.clone()?;
    let begins = |epoch: Option<u64>, to: &str| epoch == status.epoch && to == site;
    let running = status.last_transition.as_ref().filter(|t| begins(t.epoch, &t.to));
    let finished = status.history.iter().find(|t| begins(Some(t.epoch), &t.to));
    let (since, cause, by_move) = match (running, finished) {
        (Some(t), _) => (t.finished_at.as_ref(), Some(&t.cause), t.move_name.as_ref()),
        (None, Some(t)) => (t.finished_at.as_ref(), Some(&t.cause), t.move_name.as_ref()),
        (None, None) => (None, None, None),
    };
    Some(Active {
        site,
        epoch: status.epoch,
        serial: status.serial,
        since: since.map(|t| t.0),
        cause: cause.cloned(),
        by_move: by_move.cloned(),
    })
}

fn notes(seen: &Seen, status: &FailoverPolicyStatus, now: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    let ahead = seen.last_word().map(|at| since(now, at)).filter(|ahead| *ahead > CLOCKS_AGREE);
    if let Some(ahead) = ahead {
        notes.push(format!(
            "the operator's clock is {} ahead of the one here: no age below can be trusted",
            words(ahead)
        ));
    }
    if let (Some(newest), Some(judged)) = (seen.generation, status.observed_generation)
        && newest != judged
    {
        notes.push(format!(
            "the spec has changed since: this is about generation {judged}, the newest is {newest}"
        ));
    }
    if let Some(until) = &status.held_until {
        notes.push(format!("held by a Move until {}: nothing moves by itself", until.0));
    }
    notes
}

/// How long ago `at` was; zero when it lies in the future.
pub fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}

fn millis(d: Duration) -> u64 {
    Millis::from(d).0
}

/// A duration without the part that is only noise to a person: `1.2 s`, `42 s`, `9 m`, `2 h 5 m`, `8 days`.
pub fn words(d: Duration) -> String {
    const DAY: u64 = 24 * 3600;
    match d.as_secs() {
        0..10 => human(d),
        secs if secs < 2 * DAY => human(Duration::from_secs(secs)),
        secs => format!("{} days", secs / DAY),
    }
}
