use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::text::{self, bounds};

/// When and how a standby site takes over by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failover {
    /// Read-only service from a standby site while the active site is silent.
    #[serde(default)]
    pub serve_reads: ServeReads,

    /// Promotion of a standby for writing. Once promoted, the old site's unreplicated writes are
    /// saved and counted when it returns, but they are no longer part of the data.
    #[serde(default)]
    pub promote: Promote,

    /// What happens when the database server of the active site dies while its operator lives.
    #[serde(default)]
    pub database_lost: DatabaseLost,

    /// How long a planned switchover may take before its point of no return, users read-only all that
    /// time; then it is taken back and the active site goes on. From `5s` to `1h`. Default: `2m`.
    #[serde(default = "two_minutes")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::SWITCHOVER_DEADLINE.rule())]
    pub switchover_deadline: String,

    /// How long after a transition no other one begins by itself, counted from the first verified
    /// write at the new site. From `0s` to `168h`. A Move is not held up by it. Default: `1h`.
    #[serde(default = "hour")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::COOLDOWN.rule())]
    pub cooldown: String,
}

/// Read-only service from a standby while the active site is silent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServeReads {
    /// How long the active site must have been silent before a standby serves reads: read-only flags
    /// on, workloads up, traffic there. Never less than the lease time of the installation's timing
    /// profile. `Never`: a person decides, by a Move `Failover`. From `0s` to `24h`. Default: `10s`.
    #[serde(default = "ten_seconds")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::SERVE_READS_AFTER.rule())]
    pub after: String,

    /// When the active site comes back before anything was promoted: how long it must have been
    /// stable before users are sent to it again and its read-only flags go off. From `0s` to
    /// `24h`. Default: `5m`.
    #[serde(default = "five_minutes")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::RETURN_AFTER.rule())]
    pub return_after: String,
}

/// Promotion of a standby for writing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.after) || self.after == 'Never' || has(self.maxDataLoss)")
        .message("promote.maxDataLoss is missing: promotion by itself ('after' is not Never) needs both bounds, for example {bytes: 16Mi, time: 30s}")
)]
pub struct Promote {
    /// How long reads are served first; then the standby is promoted. `0s` promotes at once, without
    /// serving reads first. `Never`: only a Move `Failover` promotes. From `0s` to `168h`.
    /// Default: `Never`.
    #[serde(default = "never")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::PROMOTE_AFTER.rule())]
    pub after: String,

    /// The most that may be lost, as the standby's side knew it when contact was lost. Both bounds
    /// must hold, and what is not known counts as infinite. Also binds a Move `Failover`, unless that
    /// says `acceptDataLoss`. Needed unless `after` is `Never`; without it nothing may be
    /// lost, and a Move `Failover` needs `acceptDataLoss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MaxDataLoss")]
    pub max_data_loss: Option<MaxDataLoss>,
}

/// Both bounds must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaxDataLoss {
    /// The known gap: the write-ahead log that the active server had reported and the standby had not
    /// received. Bytes as a whole number, or with `Ki`, `Mi`, `Gi`, `Ti`. Example: `16Mi`.
    #[schemars(schema_with = "text::bytes::schema")]
    pub bytes: String,

    /// The time in which writes may have been acknowledged unseen: from the last report to the last
    /// sign of life, plus the time in which the old site is certain to have stopped. A bound below
    /// the latter (6 s with the default timing profile) can never hold, and `FailoverPossible` says
    /// so. From `0s` to `24h`. Example: `30s`.
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::DATA_LOSS_TIME.rule())]
    pub time: String,
}

/// What happens when a database server dies while its operator lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabaseLost {
    /// How long the standby has the chance to take over before the server is started again where it
    /// was. `0s`: always start it again where it was. From `0s` to `1h`. Default: `10s`.
    #[serde(default = "ten_seconds")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::OFFER_FOR.rule())]
    pub offer_for: String,

    /// A stop that Kubernetes asked for (a rollout, a drained node), or a guard that is gone with its
    /// node, counts as a loss only when it lasts longer than this. Nobody sees what is written until
    /// then: a dead node is taken over by itself only when this and the profile's `L` fit into
    /// `maxDataLoss.time`. From `0s` to `1h`. Default: `2m`.
    #[serde(default = "two_minutes")]
    #[schemars(schema_with = "text::duration_schema")]
    #[x_kube(validation = bounds::RESTART_GRACE.rule())]
    pub restart_grace: String,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            serve_reads: ServeReads::default(),
            promote: Promote::default(),
            database_lost: DatabaseLost::default(),
            switchover_deadline: two_minutes(),
            cooldown: hour(),
        }
    }
}

impl Default for ServeReads {
    fn default() -> Self {
        Self { after: ten_seconds(), return_after: five_minutes() }
    }
}

impl Default for Promote {
    fn default() -> Self {
        Self { after: never(), max_data_loss: None }
    }
}

impl Default for DatabaseLost {
    fn default() -> Self {
        Self { offer_for: ten_seconds(), restart_grace: two_minutes() }
    }
}

fn never() -> String {
    "Never".to_owned()
}

fn ten_seconds() -> String {
    "10s".to_owned()
}

fn two_minutes() -> String {
    "2m".to_owned()
}

fn five_minutes() -> String {
    "5m".to_owned()
}

fn hour() -> String {
    "1h".to_owned()
}
