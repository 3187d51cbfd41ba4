//! What a person says.

use std::path::PathBuf;
use std::time::Duration;

use bascule_crds::MoveType;
use bascule_crds::text::{DurationBounds, Wait};
use clap::Args;
use jiff::Timestamp;

use crate::flags::Access;

/// How long a hold may be.
const HOLD: DurationBounds = DurationBounds::between("1m", "720h");
/// How long a Move may be followed.
const FOLLOW: DurationBounds = DurationBounds::between("0s", "24h");

/// What every one of these commands takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The policy, as NAME or NAMESPACE/NAME.
    #[arg(value_name = "POLICY")]
    pub policy: String,

    /// Why, for the journal and for colleagues, such as "kernel update in paris, ticket 4711".
    #[arg(long, value_name = "TEXT")]
    pub reason: String,

    /// The namespace; left out: wherever the policy is.
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// Which cluster is asked, and gets the Move.
    #[command(flatten)]
    pub access: Access,

    /// Do not ask: for scripts. Data at risk is not accepted by it.
    #[arg(short, long)]
    pub yes: bool,

    /// Show it and try it out at the API server, and make nothing.
    #[arg(long, conflicts_with_all = ["git", "yes"])]
    pub dry_run: bool,

    /// Make nothing in the cluster: commit the Move on a new branch of the local clone that PATH lies in, as a file in PATH.
    #[arg(long, value_name = "PATH")]
    pub git: Option<PathBuf>,

    /// The Move's name; left out: made of the time, the policy and the command.
    #[arg(long)]
    pub name: Option<String>,

    /// How long the Move is followed to its end, such as 2m; 0s: not at all.
    #[arg(long, value_name = "DURATION", value_parser = follow_for)]
    pub wait: Option<Duration>,
}

/// `bascule switchover`.
#[derive(Debug, Args)]
pub struct SwitchoverArgs {
    /// The site that shall be active; left out: the other one, where there are two.
    #[arg(long, value_name = "SITE")]
    pub to: Option<String>,

    /// Not before this time, such as 2026-11-28T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub not_before: Option<Timestamp>,

    /// Not after this time: it is given up when it has not begun by then.
    #[arg(long, value_name = "TIME")]
    pub not_after: Option<Timestamp>,

    /// What every one of these commands takes.
    #[command(flatten)]
    pub common: Common,
}

/// `bascule failover`.
#[derive(Debug, Args)]
pub struct FailoverArgs {
    /// The site that shall be active; left out: the other one, where there are two.
    #[arg(long, value_name = "SITE")]
    pub to: Option<String>,

    /// A person's word that the source is off and stays off, and who saw it. If it is wrong, two sites write.
    #[arg(long, value_name = "WHO SAW IT")]
    pub source_stopped: Option<String>,

    /// Accept what is shown to be at risk: the policy's name, for scripts. A person is asked for it.
    #[arg(long, value_name = "NAME")]
    pub accept_data_loss: Option<String>,

    /// What every one of these commands takes.
    #[command(flatten)]
    pub common: Common,
}

/// `bascule hold`.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// For how long, such as 30m or 12h.
    #[arg(long = "for", value_name = "DURATION", default_value = "4h", value_parser = hold_for, conflicts_with = "until")]
    pub how_long: Duration,

    /// Until when, such as 2026-11-28T18:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub until: Option<Timestamp>,

    /// What every one of these commands takes.
    #[command(flatten)]
    pub common: Common,
}

/// `bascule resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// What every one of these commands takes.
    #[command(flatten)]
    pub common: Common,
}

/// `bascule abort`.
#[derive(Debug, Args)]
pub struct AbortArgs {
    /// What every one of these commands takes.
    #[command(flatten)]
    pub common: Common,
}

/// The order itself.
#[derive(Clone, Debug)]
pub enum Order {
    /// Move the role between two living sites.
    Switchover {
        /// To which; `None`: the only other one.
        to: Option<String>,
        /// Not before.
        not_before: Option<Timestamp>,
        /// Not after.
        not_after: Option<Timestamp>,
    },
    /// Promote although the source is gone.
    Failover {
        /// To which; `None`: the only other one.
        to: Option<String>,
        /// Who saw that the source is stopped.
        source_stopped: Option<String>,
        /// The policy's name, as typed in a script.
        accepted: Option<String>,
    },
    /// Let nothing begin by itself.
    Hold {
        /// For how long from now.
        how_long: Duration,
        /// Until when, instead.
        until: Option<Timestamp>,
    },
    /// End a hold.
    Resume,
    /// Give up a switchover.
    Abort,
}

impl Order {
    /// The kind of Move.
    pub const fn kind(&self) -> MoveType {
        match self {
            Self::Switchover { .. } => MoveType::Switchover,
            Self::Failover { .. } => MoveType::Failover,
            Self::Hold { .. } => MoveType::Hold,
            Self::Resume => MoveType::Resume,
            Self::Abort => MoveType::Abort,
        }
    }

    /// The command's name.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Switchover { .. } => "switchover",
            Self::Failover { .. } => "failover",
            Self::Hold { .. } => "hold",
            Self::Resume => "resume",
            Self::Abort => "abort",
        }
    }

    /// How long it is followed when nobody says: a role takes its time to move, a word in the record does not.
    pub const fn usual_wait(&self) -> Duration {
        match self {
            Self::Switchover { .. } | Self::Failover { .. } => Duration::from_mins(2),
            Self::Hold { .. } | Self::Resume | Self::Abort => Duration::from_secs(20),
        }
    }
}

impl From<SwitchoverArgs> for (Order, Common) {
    fn from(args: SwitchoverArgs) -> Self {
        let SwitchoverArgs { to, not_before, not_after, common } = args;
        (Order::Switchover { to, not_before, not_after }, common)
    }
}

impl From<FailoverArgs> for (Order, Common) {
    fn from(args: FailoverArgs) -> Self {
        let FailoverArgs { to, source_stopped, accept_data_loss, common } = args;
        (Order::Failover { to, source_stopped, accepted: accept_data_loss }, common)
    }
}

impl From<HoldArgs> for (Order, Common) {
    fn from(args: HoldArgs) -> Self {
        (Order::Hold { how_long: args.how_long, until: args.until }, args.common)
    }
}

impl From<ResumeArgs> for (Order, Common) {
    fn from(args: ResumeArgs) -> Self {
        (Order::Resume, args.common)
    }
}

impl From<AbortArgs> for (Order, Common) {
    fn from(args: AbortArgs) -> Self {
        (Order::Abort, args.common)
    }
}

fn hold_for(text: &str) -> Result<Duration, String> {
    bounded(HOLD, text)
}

fn follow_for(text: &str) -> Result<Duration, String> {
    bounded(FOLLOW, text)
}

fn bounded(bounds: DurationBounds, text: &str) -> Result<Duration, String> {
    match bounds.parse(text) {
        Ok(Wait::For(duration)) => Ok(duration),
        Ok(Wait::Never) => Err("found 'Never', expected a duration".to_owned()),
        Err(refusal) => Err(refusal.to_string()),
    }
}
