//! What Prometheus is told.

use std::sync::atomic::AtomicU64;

use bascule_engine::ports::{JournalEntry, JournalKind};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Labels of a policy's series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PolicyLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub policy: String,
}

/// Labels of the journal's counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// Labels of a gate that is not passed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GateLabels {
    /// The policy's namespace.
    pub namespace: String,
    /// The policy's name.
    pub policy: String,
    /// The gate's stable name.
    pub gate: String,
}

/// The operator's metrics.
pub struct Metrics {
    registry: Registry,
    /// Whether this site's lease has time left.
    pub lease_alive: Gauge,
    /// Events that the engine has handled.
    pub events: Gauge<u64, AtomicU64>,
    journal: Family<KindLabels, Counter>,
    /// The record's epoch.
    pub epoch: Family<PolicyLabels, Gauge>,
    /// The record's serial.
    pub serial: Family<PolicyLabels, Gauge>,
    /// Whether this site is the active one.
    pub active: Family<PolicyLabels, Gauge>,
    /// Gates that are not passed, by name: why nothing moves.
    pub blocked: Family<GateLabels, Gauge>,
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("bascule");
        let metrics = Self {
            lease_alive: Gauge::default(),
            events: Gauge::default(),
            journal: Family::default(),
            epoch: Family::default(),
            serial: Family::default(),
            active: Family::default(),
            blocked: Family::default(),
            registry: Registry::default(),
        };
        registry.register(
            "site_lease_alive",
            "Whether this site's lease has time left",
            metrics.lease_alive.clone(),
        );
        registry.register(
            "engine_events",
            "Events that the engine has handled since its start",
            metrics.events.clone(),
        );
        registry.register("journal_entries", "Entries of the journal by kind", metrics.journal.clone());
        registry.register("policy_epoch", "The record's epoch", metrics.epoch.clone());
        registry.register("policy_serial", "The record's serial", metrics.serial.clone());
        registry.register("policy_active", "1 where this site is the active one", metrics.active.clone());
        registry.register(
            "policy_gate_blocked",
            "1 for each gate that is not passed",
            metrics.blocked.clone(),
        );
        Self { registry, ..metrics }
    }

    /// Counts an entry of the journal.
    pub fn count(&self, entry: &JournalEntry) {
        let kind = match entry.kind {
            JournalKind::Intent => "intent",
            JournalKind::Outcome => "outcome",
            JournalKind::Observed => "observed",
        };
        self.journal.get_or_create(&KindLabels { kind }).inc();
    }

    /// The OpenMetrics text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
