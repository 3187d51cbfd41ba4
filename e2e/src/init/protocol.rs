//! What is said between the world and process 1 of a place: one JSON line each way per connection.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a place is made; read once by process 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlaceConfig {
    /// Host name inside the place.
    pub hostname: String,
    /// Network namespace, by its name under `/run/netns`.
    pub netns: String,
    /// The place's folder in each cgroup hierarchy.
    pub cgroup: String,
    /// Bind mounts that only the place sees, in order.
    pub mounts: Vec<Mount>,
    /// Kernel settings of the network namespace; one that does not exist on this kernel is left out.
    pub sysctls: BTreeMap<String, String>,
    /// Socket on which process 1 listens.
    pub socket: PathBuf,
    /// Log of process 1 itself.
    pub log: PathBuf,
}

/// A file or folder of the run shown at another path inside the place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// What is shown.
    pub source: PathBuf,
    /// Where it is shown.
    pub target: PathBuf,
}

/// What process 1 is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Start a part; refused while a part of that name runs.
    Start(StartPart),
    /// Send a signal to a part.
    Signal {
        /// The part.
        name: String,
        /// Signal number.
        signal: i32,
    },
    /// Answer when the part has ended (at once if it has).
    AwaitEnd {
        /// The part.
        name: String,
    },
    /// Every part that was ever started.
    List,
}

/// One long-running program of a place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartPart {
    /// Name, unique in the place.
    pub name: String,
    /// Cgroup below the place's own, for example `cp/etcd`.
    pub cgroup: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment on top of the inherited one.
    pub env: BTreeMap<String, String>,
    /// File that gets standard output and error, appended.
    pub log: PathBuf,
}

/// What process 1 answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// Done.
    Done,
    /// The part has ended.
    Ended(Ended),
    /// All parts.
    Parts(Vec<PartState>),
    /// Not done, and why.
    Refused(String),
}

/// How a part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// One part as process 1 sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartState {
    /// Name given at its start.
    pub name: String,
    /// Process number inside the place.
    pub pid: i32,
    /// `None` while it runs.
    pub ended: Option<Ended>,
}
