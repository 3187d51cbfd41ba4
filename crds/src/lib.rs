//! The Kubernetes API of Bascule, group `bascule.dev`, version `v1alpha1`.
//!
//! - [`FailoverPolicy`]: how one application lives on two or more sites, and what may move it.
//! - [`Move`]: a person's command; acts at most once.
//! - [`PolicySource`]: a git repository that policies and moves are read from.
//!
//! [`witness`] has the kinds that the arbiter keeps at a witness, a group of their own.
//!
//! Types only: no client, no I/O, no clock. The doc comments of the fields are what
//! `kubectl explain` prints, so they are written for the people who write policies.
//!
//! Text that has to be parsed (durations, sizes, names, addresses) is kept as text here, so that an
//! object that an older or newer version wrote can still be read, shown and answered with a named
//! error. [`text`] holds the grammar of each of them once: it yields both the rule that the API
//! server checks and the parser that the operator uses.

// The derive of a schema with rules copies each struct, `pub` and all, into the body of a function.
#![allow(unreachable_pub)]
// Printer columns are attributes that share keys by design.
#![allow(clippy::duplicated_attributes)]

pub mod conditions;
mod definition;
mod moves;
mod page;
mod policy;
mod reference;
mod source;
pub mod text;
pub mod witness;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub use definition::{Definition, FORBIDDEN_WORDS, definitions, witness_definitions};
pub use moves::{Move, MoveSpec, MoveState, MoveStatus, MoveType, PolicySelector, SiteVerdict};
pub use policy::status::{
    DataLoss, FailoverPolicyStatus, GateStatus, GateVerdict, HeartbeatReference, Lag, LastTransition,
    MoveVerdict, PhaseTime, SiteStatus, TransitionRecord,
};
pub use policy::{
    Addresses, Annotation, AnnotationOf, Backend, Call, CallMethod, ConfigMapKey, Database, DatabaseLost,
    Dns, EnvironmentVariable, Failover, FailoverPolicy, FailoverPolicySpec, Fence, HttpCall, HttpGet,
    HttpRoute, MaxDataLoss, Notifications, PostgreSql, PostgreSqlInstance, Promote, ReadOnly, RefuseWrites,
    ReplicaCounts, SecretKey, ServeReads, Site, TargetKind, TargetRef, Traffic, UserNotices, Verify,
    Workload,
};
pub use reference::{Reference, Reserved};
pub use source::{GitRef, PolicySource, PolicySourceSpec, PolicySourceStatus, SourceError};

/// The API group of every kind in this crate.
pub const GROUP: &str = "bascule.dev";
/// The only version of the API so far.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of every object of this crate.
pub const API_VERSION: &str = "bascule.dev/v1alpha1";
