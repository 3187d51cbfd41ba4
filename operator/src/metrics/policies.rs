//! The series of policies, in as little room as what they say takes.
//!
//! Thousands of policies have dozens of series each, and nearly all of them say what the others' say: which gates and
//! conditions there are, and how they stand, is kept once for all policies of which it is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_core::name::{PolicyKey, SiteName};
use bascule_engine::ports::Shown;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;

/// The series of every policy.
#[derive(Debug, Default)]
pub(super) struct Policies(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    of: BTreeMap<PolicyKey, Box<Series>>,
    gates: Alike<Gates>,
    conditions: Alike<Conditions>,
}

/// The gates by name, and whether each blocks.
type Gates = Vec<(String, bool)>;

/// The conditions, each with its status and its reason.
type Conditions = Vec<(String, &'static str, String)>;

/// What one policy says.
#[derive(Debug)]
struct Series {
    record: Option<Record>,
    gates: Arc<Gates>,
    conditions: Arc<Conditions>,
    /// How far the replicas of a site are behind, in bytes.
    lag: Box<[(SiteName, u64)]>,
    last: Option<Box<Last>>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    epoch: u64,
    serial: u64,
    active: bool,
}

/// The last transition.
#[derive(Debug)]
struct Last {
    write_pause: Option<Duration>,
    phases: Box<[(String, Duration)]>,
    /// Transactions and bytes.
    lost: Option<(u64, u64)>,
}

/// What several say alike, each once.
#[derive(Debug)]
struct Alike<T>(BTreeSet<Arc<T>>);

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord> Alike<T> {
    fn share(&mut self, what: T) -> Arc<T> {
        if let Some(known) = self.0.get(&what) {
            return Arc::clone(known);
        }
        let what = Arc::new(what);
        self.0.insert(Arc::clone(&what));
        what
    }

    /// Nobody says it any more, unless another one does.
    fn drop(&mut self, what: &Arc<T>) {
        // Here and with whoever gives it back.
        if Arc::strong_count(what) <= 2 {
            self.0.remove(what);
        }
    }
}

impl Policies {
    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic while it was held leaves whole entries behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is shown of a policy, as `site` sees it.
    pub(super) fn show(&self, site: &SiteName, shown: &Shown) {
        let report = &shown.report;
        let mut gates: BTreeMap<&str, bool> = BTreeMap::new();
        for gate in &report.gates {
            // A Move's name lives for one Move; as a label it would stay for ever in whoever collects.
            let name = if gate.name.starts_with("move/") { "move" } else { &gate.name };
            *gates.entry(name).or_default() |= !gate.passed();
        }
        let conditions = report.conditions.iter().map(|c| {
            let status = match c.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            (c.kind.to_string(), status, c.reason.to_string())
        });
        let last = report.last.as_ref().map(|row| {
            let phases = row.transition.phases.iter().map(|p| (p.name.clone(), p.took.duration()));
            let lost = row.transition.measured_loss.as_ref();
            Box::new(Last {
                write_pause: row.write_pause_ms.map(Duration::from_millis),
                phases: phases.collect(),
                lost: lost.map(|loss| (loss.transactions, loss.bytes)),
            })
        });
        let mut known = self.known();
        let series = Series {
            record: shown.record.as_ref().map(|r| Record {
                epoch: r.epoch,
                serial: r.serial,
                active: r.active == *site,
            }),
            gates: known
                .gates
                .share(gates.into_iter().map(|(name, blocks)| (name.to_owned(), blocks)).collect()),
            conditions: known.conditions.share(conditions.collect()),
            lag: report.sites.iter().filter_map(|row| Some((row.name.clone(), row.lag.bytes?))).collect(),
            last,
        };
        let before = known.of.insert(shown.key.clone(), Box::new(series));
        known.end(before);
    }

    /// A policy is gone.
    pub(super) fn forget(&self, key: &PolicyKey) {
        let mut known = self.known();
        let before = known.of.remove(key);
        known.end(before);
    }
}

impl Known {
    fn end(&mut self, series: Option<Box<Series>>) {
        if let Some(series) = series {
            self.gates.drop(&series.gates);
            self.conditions.drop(&series.conditions);
        }
    }

    /// Each policy's namespace and name, with what it says.
    fn all(&self) -> impl Iterator<Item = ([(&'static str, &str); 2], &Series)> {
        self.of.iter().map(|(key, series)| {
            ([("namespace", key.namespace.as_str()), ("policy", key.name.as_str())], &**series)
        })
    }

    /// The series of one number that not every policy has.
    fn one(
        &self,
        of: impl Fn(&Series) -> Option<f64>,
    ) -> impl Iterator<Item = ([(&'static str, &str); 2], f64)> {
        self.all().filter_map(move |(labels, series)| Some((labels, of(series)?)))
    }
}

/// One family: nothing of it is told while no policy has it.
fn tell<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (L, f64)>,
) -> fmt::Result {
    let mut series = series.peekable();
    if series.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

/// The series, as they are told to whoever collects them.
#[derive(Debug)]
pub(super) struct Told(pub(super) Arc<Policies>);

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let known = self.0.known();
        let e = &mut encoder;
        let record = |of: fn(Record) -> f64| known.one(move |s| s.record.map(of));
        tell(e, "policy_epoch", "The record's epoch.", record(|r| r.epoch as f64))?;
        tell(e, "policy_serial", "The record's serial.", record(|r| r.serial as f64))?;
        let active = record(|r| f64::from(r.active));
        tell(e, "policy_active", "1 where this site is the active one.", active)?;
        let blocked = known.all().flat_map(|([namespace, policy], s)| {
            let gates = s.gates.iter();
            gates.map(move |(name, blocks)| ([namespace, policy, ("gate", name)], f64::from(*blocks)))
        });
        let help = "1 for each gate that is not passed; all Moves together are one.";
        tell(e, "policy_gate_blocked", help, blocked)?;
        let conditions = known.all().flat_map(|([namespace, policy], s)| {
            s.conditions.iter().map(move |(kind, status, reason)| {
                ([namespace, policy, ("condition", kind), ("status", status), ("reason", reason)], 1.0)
            })
        });
        let help = "1 for the status (True, False or Unknown) and the reason that a condition has.";
        tell(e, "policy_condition", help, conditions)?;
        let lag = known.all().flat_map(|([namespace, policy], s)| {
            s.lag
                .iter()
                .map(move |(site, bytes)| ([namespace, policy, ("site", site.as_str())], *bytes as f64))
        });
        let help = "How far a site's replicas are behind; absent while unknown.";
        tell(e, "policy_replication_lag_bytes", help, lag)?;
        let write_pause = known.one(|s| Some(s.last.as_ref()?.write_pause?.as_secs_f64()));
        let help = "For how long nobody could write in the last transition, where it was measured.";
        tell(e, "policy_last_transition_write_pause_seconds", help, write_pause)?;
        let phases = known.all().flat_map(|([namespace, policy], s)| {
            let phases = s.last.iter().flat_map(|last| &last.phases);
            phases.map(move |(name, took)| ([namespace, policy, ("phase", name)], took.as_secs_f64()))
        });
        let help = "How long each part of the last transition took.";
        tell(e, "policy_last_transition_phase_seconds", help, phases)?;
        let lost = |of: fn((u64, u64)) -> u64| known.one(move |s| Some(of(s.last.as_ref()?.lost?) as f64));
        let help = "Transactions that the last transition lost, counted at the old site's return.";
        tell(e, "policy_last_transition_lost_transactions", help, lost(|(transactions, _)| transactions))?;
        let help = "Bytes of log that the last transition lost, counted at the old site's return.";
        tell(e, "policy_last_transition_lost_bytes", help, lost(|(_, bytes)| bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::samples::{gate, shown};

    #[test]
    fn policies_that_say_the_same_share_it_and_what_nobody_says_any_more_is_gone() {
        let (site, policies) = ("paris".try_into().unwrap(), Policies::default());
        let (mut shop, mut blog) = (shown(), shown());
        blog.key = PolicyKey::new("shop", "blog").unwrap();
        policies.show(&site, &shop);
        policies.show(&site, &blog);
        let count = |policies: &Policies| {
            let known = policies.known();
            (known.of.len(), known.gates.0.len(), known.conditions.0.len())
        };
        assert_eq!(count(&policies), (2, 1, 1));
        shop.report.gates = vec![gate("silence", false)];
        policies.show(&site, &shop);
        policies.show(&site, &shop);
        assert_eq!(count(&policies), (2, 2, 1));
        blog.report.gates.clone_from(&shop.report.gates);
        policies.show(&site, &blog);
        assert_eq!(count(&policies), (2, 1, 1));
        policies.forget(&shop.key);
        assert_eq!(count(&policies), (1, 1, 1));
        policies.forget(&blog.key);
        assert_eq!(count(&policies), (0, 0, 0));
    }
}
