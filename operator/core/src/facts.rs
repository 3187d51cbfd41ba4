//! What a site tells the others about itself: information, never authority.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::few::Few;
use crate::guard::wire::{Behind, Disk, Diverged, Report, ServerState};
use crate::name::{ItemName, SiteName};
use crate::observation::Marks;
use crate::plan::Gate;
use crate::position::Position;

/// The layout of [`SiteFacts`] that this version writes.
pub const SCHEMA: u32 = 1;

/// One site's facts about one policy. Written only by that site, and only when something changed or was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteFacts {
    /// The layout.
    pub schema: u32,
    /// Who speaks.
    pub site: SiteName,
    /// This operator's question to the others: facts that answer it were gathered after it was asked.
    pub question: u64,
    /// Counts what this operator has said of the policy since it asked that: what arrives late is known for it.
    #[serde(default)]
    pub number: u64,
    /// The others' questions that these facts answer.
    pub answers: Few<SiteName, u64>,
    /// The highest that this site has seen of the record; `None`: it cannot read its marks now, it does not know yet what
    /// became of a write of its own, or an older version speaks.
    /// A site that comes back believes the arbiter only when nobody who lives has seen more.
    #[serde(default)]
    pub marks: Option<Marks>,
    /// The hash of the policy's spec as this site has it.
    pub spec_hash: Option<String>,
    /// The git revision it came from.
    pub revision: Option<String>,
    /// Why this site cannot be promoted now; empty: it can.
    pub blockers: Vec<Gate>,
    /// The serial of the `Requested` record for which this site, as its target, is ready.
    pub ready_for: Option<u64>,
    /// The serial of the `Handover` record whose proof can never come: this site, as its target, has lost its source's end
    /// of the log. The source takes its role back at once.
    #[serde(default)]
    pub cannot_prove: Option<u64>,
    /// What this site would bring if it took the role of a holder that is silent or offers it. Said in policies of more than
    /// two sites, where it decides who goes first; absent while nobody asks, and from older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidacy: Option<Candidacy>,
    /// What lies on its databases' disks; absent while no guard is connected.
    pub disks: Few<ItemName, Disk>,
    /// How far its replicas that stream are behind, in bytes; for people.
    pub lag_bytes: Few<ItemName, u64>,
    /// How far the other sites' replicas are behind this site's databases while it is active, as last worth saying
    /// ([`Behind::to_say`]); a replica that keeps up is absent. Where a line is slow the standby learns of its own lag
    /// too late, so what the active site said counts in the loss gate.
    #[serde(default)]
    pub behind: Few<ItemName, Few<SiteName, Behind>>,
    /// Why its other replicas do not stream; nothing is known of a database that is in neither of the two.
    #[serde(default)]
    pub not_streaming: Few<ItemName, String>,
    /// Log past the fork that its databases saved when they last came back on another history.
    #[serde(default)]
    pub diverged: Few<ItemName, Diverged>,
    /// Replicas of each workload as observed.
    pub sizes: Few<ItemName, u32>,
}

/// What a site would bring if it took the role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidacy {
    /// The epoch of the hold that it would end.
    pub epoch: u64,
    /// Whether nothing but time and other sites' turns is in its way: it can be promoted, and within the loss gate.
    pub able: bool,
    /// How far each of its replicas has its primary's history; absent where it does not know.
    pub positions: Few<ItemName, Position>,
}

/// How a replica follows its primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Following {
    /// It streams.
    Streaming {
        /// Reported by the primary, or received, and not replayed yet; `None` is unknown.
        lag: Option<u64>,
        /// How old the primary's last message was when the guard reported; `None` is unknown.
        age: Option<Duration>,
    },
    /// It does not, and why.
    Broken(String),
}

/// How the replica behind `report` follows; `None`: it is a primary, or nothing is known of its receiver or of a primary
/// behind it.
pub fn following(report: &Report) -> Option<Following> {
    match &report.state {
        ServerState::Standby { .. } => {}
        ServerState::Primary { .. } | ServerState::Promoting => return None,
        other => {
            return Some(Following::Broken(format!("its server is {}", crate::decide::state_words(other))));
        }
    }
    let positions = report.positions.as_ref()?;
    let broken = |what: String| {
        let words = match &report.log_gone {
            Some(why) => format!("{what}: {why}"),
            None => what,
        };
        Some(Following::Broken(words))
    };
    let Some(upstream) = &positions.upstream else {
        return broken("it receives nothing from its primary".to_owned());
    };
    if !upstream.streams() {
        return broken(format!("its receiver is {}", upstream.status));
    }
    if report.sends_its_own(upstream) {
        // Its source is itself a standby: what the next primary writes is not known here yet.
        return None;
    }
    let end = upstream.reported_end.max(positions.receive);
    Some(Following::Streaming {
        lag: end.zip(positions.replay).map(|(end, replay)| end.ahead_of(replay)),
        age: upstream.message_age.map(|age| age.duration() + positions.age.duration()),
    })
}

/// The order of magnitude of a lag: the same number for everything below 64 KiB, then one more with every doubling.
/// Lag changes all the time; this changes when a person would want to know.
pub const fn magnitude(lag: u64) -> u32 {
    u64::BITS - (lag >> 16).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::wire::{HighWater, Positions, UpstreamView};
    use crate::position::Lsn;
    use crate::time::Millis;

    #[test]
    fn small_lags_are_alike_and_larger_ones_differ_by_doublings() {
        assert_eq!([0, 1, 65_535].map(magnitude), [0, 0, 0]);
        assert_eq!([65_536, 131_071, 131_072, u64::MAX].map(magnitude), [1, 1, 2, 48]);
    }

    fn streams() -> Report {
        let upstream = UpstreamView {
            status: "streaming".to_owned(),
            timeline: None,
            reported_end: Some(Lsn(900)),
            message_age: Some(Millis(120)),
        };
        let positions = Positions {
            timeline: None,
            flush: None,
            receive: Some(Lsn(700)),
            replay: Some(Lsn(500)),
            upstream: Some(upstream),
            age: Millis(30),
        };
        Report {
            serial: 1,
            locked: None,
            boot: "b1".to_owned(),
            state: ServerState::Standby { open: true },
            disk: Disk::Empty,
            positions: Some(positions),
            replicas: Few::new(),
            stopped: None,
            checkpointed: None,
            opened_epoch: None,
            diverged: None,
            contact_lost: None,
            high_water: HighWater::default(),
            exited: None,
            sigterm: false,
            fallback: false,
            unlimited: false,
            log_gone: None,
            unlocked: None,
            notes: vec![],
        }
    }

    #[test]
    fn a_message_is_as_old_as_it_was_at_the_reading_and_what_the_reading_has_aged() {
        let age = Some(Duration::from_millis(150));
        assert_eq!(following(&streams()), Some(Following::Streaming { lag: Some(400), age }));
    }

    #[test]
    fn that_a_replicas_log_is_gone_is_said_unless_it_streams_all_the_same() {
        let mut report = streams();
        report.log_gone = Some("make it anew".to_owned());
        assert!(matches!(following(&report), Some(Following::Streaming { .. })));
        for (receiver, words) in [
            (None, "it receives nothing from its primary: make it anew"),
            (Some("starting"), "its receiver is starting: make it anew"),
        ] {
            let status = |status: &str| UpstreamView {
                status: status.to_owned(),
                timeline: None,
                reported_end: None,
                message_age: None,
            };
            if let Some(positions) = &mut report.positions {
                positions.upstream = receiver.map(status);
            }
            assert_eq!(following(&report), Some(Following::Broken(words.to_owned())));
        }
    }
}
