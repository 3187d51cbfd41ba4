//! The record: the only thing that decides who is active.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::few::Few;
use crate::loss::LossBound;
use crate::moves::{MoveHash, Verdict};
use crate::name::{ItemName, ObjectName, SiteName};
use crate::policy::FenceClass;
use crate::position::Position;
use crate::time::Millis;

/// The layout of the record that this version writes.
pub const SCHEMA: u32 = 1;

/// The highest epoch, serial or generation that is read. Nobody counts this far one by one: whatever is higher was
/// written by mistake, and counting on from it would begin at zero again.
const HIGHEST: u64 = u64::MAX >> 1;

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let found = u64::deserialize(deserializer)?;
    if found > HIGHEST {
        return Err(D::Error::custom(format!(
            "found the count {found}, expected at most {HIGHEST}: this record was not written by Bascule; restore it"
        )));
    }
    Ok(found)
}

/// How many transitions the record remembers.
pub const HISTORY: usize = 10;

/// One policy's record, changed by compare-and-swap only, and only on a transition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The layout it was written in. A reader that meets a newer one holds, keeps fencing, and changes nothing.
    pub schema: u32,
    /// The arbiter's generation: raised by a person when records are made anew.
    #[serde(deserialize_with = "count")]
    pub generation: u64,
    /// The fencing token: +1 with each change of the active site.
    #[serde(deserialize_with = "count")]
    pub epoch: u64,
    /// +1 with every change of the record.
    #[serde(deserialize_with = "count")]
    pub serial: u64,
    /// The site that may write.
    pub active: SiteName,
    /// Where a transition stands.
    pub phase: Phase,
    /// What the active site undertakes when it loses the arbiter.
    pub promise: Promise,
    /// Whether this hold of the active site has reached `Steady`.
    pub settled: bool,
    /// The hold before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousHold>,
    /// The site that takes or is to take the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<SiteName>,
    /// The Move that is being carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<MoveInProgress>,
    /// No automatic promotion until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldUntil>,
    /// In `Handover`: where each database stopped.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub positions: Few<ItemName, Position>,
    /// In `Offered`: what the offering site knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
    /// The transition that is under way, with what is measured so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
    /// When this phase was entered and by whom; that site's clock, for people and its own deadlines.
    pub entered: Entered,
    /// The verdict of each handled Move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Verdict>,
    /// The last finished transitions, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Transition>,
    /// Replicas of each workload as observed while active: what a pilot light is scaled to.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub sizes: Few<ItemName, u32>,
    /// What this version does not know, kept as it was found.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

impl Record {
    /// The first record of a policy: `active` writes, and nothing is on the way.
    pub fn first(active: SiteName, promise: Promise, entered: Entered) -> Self {
        Self {
            schema: SCHEMA,
            generation: 0,
            epoch: 1,
            serial: 1,
            active,
            phase: Phase::Steady,
            promise,
            settled: true,
            previous: None,
            target: None,
            doing: None,
            hold: None,
            positions: Few::new(),
            offer: None,
            transition: None,
            entered,
            moves: Vec::new(),
            history: Vec::new(),
            sizes: Few::new(),
            unknown: BTreeMap::new(),
        }
    }

    /// Whether this version understands the record well enough to change it.
    pub fn is_understood(&self) -> bool {
        self.schema <= SCHEMA && !matches!(self.phase, Phase::Unknown(_))
    }

    /// Whether `site` may grant in this record's phase: it is active, and the phase lets it write.
    pub fn lets_write(&self, site: &SiteName) -> bool {
        self.active == *site && self.phase.grants()
    }

    /// The verdict on the Move with this hash, if it was handled.
    pub fn verdict(&self, hash: &MoveHash) -> Option<&Verdict> {
        self.moves.iter().find(|v| v.hash == *hash)
    }
}

/// Where a transition stands. In all phases before `Promoting`, `active` is the old site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Phase {
    /// Nobody acts; the promise is "never fences".
    Unmanaged,
    /// One site writes, the others follow.
    Steady,
    /// A switchover was asked for and is being prepared.
    Requested,
    /// The old site has stopped, its position is recorded.
    Handover,
    /// The new site has the role and is opening.
    Promoting,
    /// The active site is lost; the target serves reads.
    ReadOnly,
    /// The active site came back during `ReadOnly`.
    Returning,
    /// The active site's database is dead and locked; another site may take it.
    Offered,
    /// The active site waits out a grant that it can no longer take back.
    Withdrawn,
    /// A phase of a newer version.
    Unknown(String),
}

impl Phase {
    /// Whether the active site may grant in this phase.
    pub const fn grants(&self) -> bool {
        matches!(self, Self::Steady | Self::Requested | Self::Returning | Self::Promoting | Self::Unmanaged)
    }

    /// The name as stored and shown.
    pub fn name(&self) -> &str {
        match self {
            Self::Unmanaged => "Unmanaged",
            Self::Steady => "Steady",
            Self::Requested => "Requested",
            Self::Handover => "Handover",
            Self::Promoting => "Promoting",
            Self::ReadOnly => "ReadOnly",
            Self::Returning => "Returning",
            Self::Offered => "Offered",
            Self::Withdrawn => "Withdrawn",
            Self::Unknown(name) => name,
        }
    }
}

impl From<String> for Phase {
    fn from(value: String) -> Self {
        match value.as_str() {
            "Unmanaged" => Self::Unmanaged,
            "Steady" => Self::Steady,
            "Requested" => Self::Requested,
            "Handover" => Self::Handover,
            "Promoting" => Self::Promoting,
            "ReadOnly" => Self::ReadOnly,
            "Returning" => Self::Returning,
            "Offered" => Self::Offered,
            "Withdrawn" => Self::Withdrawn,
            _ => Self::Unknown(value),
        }
    }
}

impl From<Phase> for String {
    fn from(value: Phase) -> Self {
        value.name().to_owned()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the active site undertakes in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promise {
    /// Whether and how fast it stops after losing the arbiter.
    pub fences: Fences,
    /// `L`: how long its lease must be seen unchanged before another site may take.
    pub lease: Millis,
    /// How its databases are stopped: the weakest class among them.
    pub fence_class: FenceClass,
    /// The timing profile, for people.
    pub profile: String,
}

/// Whether the active site stops by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fences {
    /// It has stopped within `holder + fence` after its last renewal.
    Within {
        /// `R`.
        holder: Millis,
        /// `F`.
        fence: Millis,
    },
    /// It goes on without the arbiter; only a person can say that it has stopped.
    Never,
}

/// The hold before the present one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviousHold {
    /// Who held.
    pub site: SiteName,
    /// Whether that hold had reached `Steady`.
    pub settled: bool,
}

/// A Move that is being carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveInProgress {
    /// Which Move.
    pub hash: MoveHash,
    /// Its object's name.
    pub name: ObjectName,
    /// Its reason.
    pub reason: String,
    /// Its own deadline.
    pub not_after: Option<Timestamp>,
}

/// No automatic promotion until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldUntil {
    /// Until when.
    pub until: Timestamp,
    /// Whose words.
    pub reason: String,
    /// The Move that said it.
    pub hash: MoveHash,
}

/// What a site that offers its role knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Its guard proves that nothing was opened in this hold: the site before may take without a loss gate.
    pub never_opened: bool,
    /// The last end of write-ahead log that each database was known to have.
    pub ends: Few<ItemName, Position>,
    /// Why it offers.
    pub reason: String,
}

/// When and by whom a phase was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entered {
    /// By that site's wall clock.
    pub at: Timestamp,
    /// The site.
    pub by: SiteName,
}

/// Why a role moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The first record.
    Initial,
    /// A Move `Switchover`.
    Planned,
    /// The active site was lost.
    SiteLost,
    /// The active site's database was dead and offered.
    DatabaseDead,
    /// A Move `Failover`.
    Forced,
    /// A promotion failed and the role went back.
    PromotionFailed,
}

/// One transition, under way or finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// Why.
    pub cause: Cause,
    /// The site that had the role.
    pub from: SiteName,
    /// The site that gets it.
    pub to: SiteName,
    /// The epoch it leads to, once it is known.
    pub epoch: u64,
    /// When it began, by the clock of the site that began it.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How long each phase took, each measured by one machine's clock.
    pub phases: Vec<PhaseTime>,
    /// The bound on lost writes that the loss gate judged by; `None` when nothing can be lost.
    pub loss_bound: Option<LossBound>,
    /// What was lost, counted from the saved write-ahead log of the old site once it returned.
    pub measured_loss: Option<MeasuredLoss>,
}

/// How long one part of a transition took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseTime {
    /// Which part, e.g. `stop`, `prove`, `promote`.
    pub name: String,
    /// Where it was measured.
    pub site: SiteName,
    /// How long.
    pub took: Millis,
}

/// What the old site's saved log holds that the new history does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredLoss {
    /// Bytes past the fork.
    pub bytes: u64,
    /// Committed transactions past the fork: every acknowledged lost one is among them.
    pub transactions: u64,
    /// Where the log was saved, on the old site's volume.
    pub saved: String,
}

/// A quiet record with paris active, for tests.
#[cfg(test)]
pub(crate) fn sample() -> Record {
    let paris: SiteName = "paris".try_into().unwrap();
    let promise = Promise {
        fences: Fences::Within { holder: Millis(1250), fence: Millis(300) },
        lease: Millis(2000),
        fence_class: FenceClass::Guard,
        profile: "metro".to_owned(),
    };
    Record::first(paris.clone(), promise, Entered { at: Timestamp::UNIX_EPOCH, by: paris })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_being_written_and_read() {
        let r = sample();
        let text = serde_json::to_string(&r).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), r);
    }

    #[test]
    fn a_record_whose_counts_could_begin_at_zero_again_is_no_record() {
        for count in ["generation", "epoch", "serial"] {
            let mut json = serde_json::to_value(sample()).unwrap();
            json[count] = HIGHEST.into();
            assert!(serde_json::from_value::<Record>(json.clone()).is_ok());
            json[count] = (HIGHEST + 1).into();
            let why = serde_json::from_value::<Record>(json).unwrap_err().to_string();
            assert!(why.contains("expected at most 9223372036854775807"), "{why}");
        }
    }

    #[test]
    fn what_a_reader_does_not_know_is_kept() {
        let mut json = serde_json::to_value(sample()).unwrap();
        json["phase"] = "Levitating".into();
        json["antigravity"] = serde_json::json!({"on": true});
        let r: Record = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(r.phase, Phase::Unknown("Levitating".to_owned()));
        assert!(!r.is_understood());
        assert_eq!(serde_json::to_value(&r).unwrap(), json);
    }

    #[test]
    fn nobody_may_write_in_a_phase_that_does_not_grant() {
        let mut r = sample();
        let paris = r.active.clone();
        for (phase, may) in [
            (Phase::Unmanaged, true),
            (Phase::Steady, true),
            (Phase::Requested, true),
            (Phase::Returning, true),
            (Phase::Promoting, true),
            (Phase::Handover, false),
            (Phase::ReadOnly, false),
            (Phase::Offered, false),
            (Phase::Withdrawn, false),
            (Phase::Unknown("X".to_owned()), false),
        ] {
            r.phase = phase;
            assert_eq!(r.lets_write(&paris), may, "{}", r.phase);
            assert!(!r.lets_write(&"lyon".try_into().unwrap()), "{}", r.phase);
        }
    }

    #[test]
    fn every_phase_is_read_back_by_its_name() {
        for phase in [
            Phase::Unmanaged,
            Phase::Steady,
            Phase::Requested,
            Phase::Handover,
            Phase::Promoting,
            Phase::ReadOnly,
            Phase::Returning,
            Phase::Offered,
            Phase::Withdrawn,
        ] {
            assert_eq!(Phase::from(format!("{phase:?}")), phase);
            assert_eq!(String::from(phase.clone()), format!("{phase:?}"));
        }
    }
}
