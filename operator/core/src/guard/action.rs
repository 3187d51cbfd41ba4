//! What a guard's rules hear and what they order.

use serde::{Deserialize, Serialize};

use super::fallback::RecordView;
use super::grant::Deadline;
use super::unlocked::Unlocked;
use super::wire::{Disk, HighWater, Instruction, Role, ServerState, Upstream};
use crate::time::Boottime;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passed, or something worth telling the operator changed.
    Tick {
        /// Whether the operator should hear at once.
        tell: bool,
    },
    /// The connection to an operator stands.
    Connected,
    /// It is gone.
    Disconnected,
    /// An answer came.
    Answered {
        /// The question's nonce.
        nonce: u64,
        /// What to do.
        instruction: Instruction,
    },
    /// The operator spoke without being asked.
    Told {
        /// What to do.
        instruction: Instruction,
    },
    /// The server changed.
    Server {
        /// What it is now.
        state: ServerState,
        /// Why it ended, when nobody here ended it.
        died: Option<String>,
    },
    /// What lies on the disk was read again.
    Disk(Disk),
    /// The last action failed and left the server as it was; it will be tried again after a pause.
    Failed,
    /// The checkpoint for this serial was not made, or nobody knows.
    CheckpointFailed {
        /// Which [`Action::Checkpoint`].
        serial: u64,
    },
    /// The standby's history has left its upstream's: it will never stream again as it is.
    Strayed,
    /// The fallback's read ended; `None`: failed or too late.
    RecordRead {
        /// Of which [`Action::ReadRecord`].
        number: u64,
        /// What it says.
        view: Option<RecordView>,
    },
    /// The fallback's renewal ended.
    LeaseRenewed {
        /// Of which [`Action::RenewLease`].
        number: u64,
        /// It is known to be applied.
        done: bool,
    },
    /// What a person has said beside the data, whether it is in force or was given back; `None`: never anything.
    Unlocked(Option<Unlocked>),
    /// The pod is asked to end.
    Sigterm,
}

/// What the supervisor has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Arm the watch that does not depend on this state machine: past it, every process of a writer is killed.
    Watch(Deadline),
    /// Stop without asking: immediate stop, then every process, within `F`.
    Kill,
    /// Stop fast, so that the shutdown checkpoint is written and sent; at `by` as [`Action::Kill`].
    Stop {
        /// The end of patience.
        by: Boottime,
    },
    /// Remove the promotion trigger, before anything else is said about a server that was told to promote.
    RemoveTrigger,
    /// Start as a primary, closed.
    StartPrimary,
    /// Start as a standby without an upstream, closed: it will be promoted.
    StartOrphan,
    /// Follow: rewind first when its history has left the upstream's, then start as a standby, closed.
    Join {
        /// Whom.
        upstream: Upstream,
    },
    /// Fill the empty data directory from the upstream.
    Clone {
        /// From whom.
        upstream: Upstream,
    },
    /// Promote by trigger file; close before, when clients may be connected.
    Promote {
        /// Whether it is open for reads.
        close: bool,
    },
    /// Write the marker for this epoch, then let clients in, then make the slots.
    Open {
        /// The hold's epoch.
        epoch: u64,
        /// The slots of the standbys.
        slots: Vec<String>,
    },
    /// Let clients read from the standby.
    OpenStandby,
    /// Keep clients out and end their sessions.
    Close,
    /// Run a `CHECKPOINT` for the instruction of this serial.
    Checkpoint {
        /// The serial to report.
        serial: u64,
    },
    /// Ask the operator.
    Ask {
        /// To be echoed.
        nonce: u64,
        /// Whether the record must be read for it.
        fresh: bool,
    },
    /// Read the record from the arbiter.
    ReadRecord {
        /// For the answer.
        number: u64,
    },
    /// Renew the site's lease.
    RenewLease {
        /// For the answer.
        number: u64,
    },
    /// Write this beside the data.
    Remember(Memory),
    /// End the process: nothing runs any more.
    Exit,
}

impl Action {
    /// The step of the server in words, for the journal. `None`: it is none, or one that must wait for nothing, not
    /// even for a line about it.
    pub fn words(&self) -> Option<String> {
        Some(match self {
            Self::StartPrimary => "start as a primary, closed".to_owned(),
            Self::StartOrphan => "start as a standby without an upstream, closed".to_owned(),
            Self::Join { upstream } => format!("follow {}:{}", upstream.host, upstream.port),
            Self::Clone { upstream } => format!("clone from {}:{}", upstream.host, upstream.port),
            Self::Promote { close: false } => "promote".to_owned(),
            Self::Promote { close: true } => "close and promote".to_owned(),
            Self::Open { epoch, .. } => format!("open for clients in epoch {epoch}"),
            Self::OpenStandby => "open for clients who read".to_owned(),
            Self::Close => "close: keep clients out and end their sessions".to_owned(),
            Self::Watch(_)
            | Self::Kill
            | Self::Stop { .. }
            | Self::RemoveTrigger
            | Self::Checkpoint { .. }
            | Self::Ask { .. }
            | Self::ReadRecord { .. }
            | Self::RenewLease { .. }
            | Self::Remember(_)
            | Self::Exit => return None,
        })
    }
}

/// What outlives the guard's process, beside the data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The highest values seen.
    pub high_water: HighWater,
    /// Locked at this serial.
    pub locked: Option<u64>,
    /// The role of an unmanaged database, kept without asking.
    pub unmanaged: Option<Role>,
    /// What a person has said and the guard has taken: the file that says so is read first at every start.
    #[serde(default)]
    pub unlocked: Option<Unlocked>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_server_has_words_and_one_that_waits_for_nothing_has_none() {
        let words = |action: Action| action.words().unwrap();
        assert_eq!(words(Action::StartPrimary), "start as a primary, closed");
        assert_eq!(words(Action::Promote { close: false }), "promote");
        assert_eq!(words(Action::Promote { close: true }), "close and promote");
        assert_eq!(words(Action::Close), "close: keep clients out and end their sessions");
        assert_eq!(
            [Action::Kill, Action::RemoveTrigger, Action::Exit].map(|a| a.words()),
            [None, None, None]
        );
    }
}
