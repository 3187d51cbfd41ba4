//! What a policy's status says at a glance. A pure function of the status and the time; the judgement is that of
//! `bascule why`, so the two never differ.

use std::time::Duration;

use bascule_crds::{FailoverPolicyStatus, SiteStatus};
use jiff::Timestamp;
use serde::Serialize;

use super::next::{self, Next};
use crate::why::explain::{Active, Explanation, Finding, Seen, explain, words};
use crate::why::text::clock;

/// The number of the shape of [`Glance`] as JSON. It grows when a field goes or changes its meaning; new fields may come
/// without that.
pub const VERSION: u32 = 1;

/// Where a policy stands. Its JSON is part of the command line's interface: see `docs/cli.md`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Glance {
    /// [`VERSION`].
    pub version: u32,
    /// The policy's namespace.
    pub namespace: String,
    /// The policy's name.
    pub name: String,
    /// Everything in a sentence or two.
    pub verdict: String,
    /// Whether something is not as it should be: then `first_blocker` says what.
    pub attention: bool,
    /// What has to be dealt with first.
    pub first_blocker: Option<Finding>,
    /// The site whose operator says so.
    pub site: Option<String>,
    /// When it did.
    pub written_at: Option<Timestamp>,
    /// How long ago that was, in milliseconds.
    pub age_ms: Option<u64>,
    /// When the operator last vouched for it: by writing it, or by its heartbeat.
    pub vouched_at: Option<Timestamp>,
    /// How long ago that was, in milliseconds.
    pub vouched_age_ms: Option<u64>,
    /// Whether nobody vouches for it any more: it is not believed.
    pub stale: bool,
    /// Who may write.
    pub active: Option<Active>,
    /// The record's phase.
    pub phase: Option<String>,
    /// Until when a Move `Hold` keeps everything as it is.
    pub held_until: Option<Timestamp>,
    /// Every site.
    pub sites: Vec<SiteGlance>,
    /// What else must be known to read this rightly.
    pub notes: Vec<String>,
    /// What can be done.
    pub next: Vec<Next>,
    /// The same in full.
    #[serde(skip)]
    pub explained: Explanation,
}

/// A site at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteGlance {
    /// The site.
    pub name: String,
    /// Whether it may write.
    pub active: bool,
    /// What its databases are: `Primary`, `Standby`, `Stopped`, `Waiting` or `Unknown`.
    pub role: String,
    /// How far it is behind, in bytes of write-ahead log; `null`: not known, and for the active site.
    pub behind_bytes: Option<u64>,
    /// Whether it could take over; `null`: not known, and for the active site.
    pub promotable: Option<bool>,
    /// Why it could not, or why that is not known.
    pub reason: Option<String>,
    /// How old its own report is by now, in milliseconds; `null`: it said nothing that is still known.
    pub heard_ms: Option<u64>,
    /// Whether it acts by the same spec as the site that says so; `null`: not known.
    pub same_spec: Option<bool>,
    /// The git revision that it acts by.
    pub revision: Option<String>,
}

/// What is seen of a policy, at `now`.
pub fn of(seen: &Seen, now: Timestamp) -> Glance {
    let e = explain(seen, now);
    let nothing = FailoverPolicyStatus::default();
    let status = seen.status.as_ref().ok().and_then(Option::as_ref).unwrap_or(&nothing);
    let held_until = status.held_until.as_ref().map(|t| t.0).filter(|until| *until > now);
    let sites: Vec<SiteGlance> = status.sites.iter().map(|s| site(s, status, &e)).collect();
    Glance {
        version: VERSION,
        verdict: verdict(&e),
        next: next::of(&e, held_until, &sites),
        namespace: e.namespace.clone(),
        name: e.name.clone(),
        attention: e.blocks,
        first_blocker: e.first_blocker.clone(),
        site: e.site.clone(),
        written_at: e.written_at,
        age_ms: e.age_ms,
        vouched_at: e.vouched_at,
        vouched_age_ms: e.vouched_age_ms,
        stale: e.stale,
        active: e.active.clone(),
        phase: e.phase.clone(),
        held_until,
        sites,
        notes: e.notes.clone(),
        explained: e,
    }
}

/// The operator's own sentence; when that cannot be believed, so much first.
fn verdict(e: &Explanation) -> String {
    let found = || e.first_blocker.as_ref().map(|f| f.found.clone()).unwrap_or_default();
    match (&e.message, e.age_ms, e.written_at) {
        (Some(message), Some(age), Some(at)) if e.stale => {
            let site = e.site.as_deref().unwrap_or("the operator");
            let ago = words(Duration::from_millis(age));
            format!("Not known since {}: {site} last spoke {ago} ago. It said: {message}", clock(at))
        }
        (Some(message), ..) => message.clone(),
        (None, ..) => format!("Nothing is known here: {}.", found().trim_end_matches('.')),
    }
}

fn site(row: &SiteStatus, status: &FailoverPolicyStatus, e: &Explanation) -> SiteGlance {
    let active = status.active_site.as_ref() == Some(&row.name);
    let speaks = status.site.as_ref() == Some(&row.name);
    // What another site said is as old as it was when it was written down, and what has passed since.
    let reported = row.lag.and_then(|lag| lag.report_age_ms);
    let heard_ms =
        if speaks { e.vouched_age_ms } else { reported.zip(e.age_ms).map(|(then, age)| then + age) };
    let same = |own: &String| row.spec_hash.as_ref().map(|theirs| theirs == own);
    SiteGlance {
        name: row.name.clone(),
        active,
        role: row.role.clone().unwrap_or_else(|| "Unknown".to_owned()),
        behind_bytes: row.lag.and_then(|lag| lag.bytes).filter(|_| !active),
        promotable: row.promotable,
        reason: row.reason.clone(),
        heard_ms,
        same_spec: status.spec_hash.as_ref().and_then(same),
        revision: row.revision.clone(),
    }
}
