//! The file that a measurement ends in.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One measured thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Unit of every number.
    pub unit: String,
    /// How often it was measured.
    pub n: usize,
    /// Median.
    pub p50: f64,
    /// 99th percentile (of few measurements: the largest).
    pub p99: f64,
    /// Largest.
    pub max: f64,
    /// Every measurement, in order.
    pub raw: Vec<f64>,
    /// How long each phase took in each measurement, as Bascule's own status says it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases: BTreeMap<String, Vec<f64>>,
    /// Under which settings.
    pub settings: Value,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report {
    /// In the order of measuring.
    pub figures: Vec<Figure>,
}

impl Figure {
    /// Sums measurements in milliseconds up.
    pub fn of(name: &str, raw: Vec<f64>, settings: Value) -> Self {
        let (p50, p99, max) = percentiles(&raw);
        let phases = BTreeMap::new();
        Self {
            name: name.to_owned(),
            unit: "ms".to_owned(),
            n: raw.len(),
            p50,
            p99,
            max,
            raw,
            phases,
            settings,
        }
    }

    /// The same with the phases of every measurement.
    pub fn with_phases(self, phases: BTreeMap<String, Vec<f64>>) -> Self {
        Self { phases, ..self }
    }

    /// One line, and one for each phase.
    pub fn words(&self) -> String {
        let Self { name, unit, n, p50, p99, max, .. } = self;
        let mut lines = vec![format!(
            "{name:<18} n {n:<4} p50 {p50:>9.1} {unit}  p99 {p99:>9.1} {unit}  max {max:>9.1} {unit}"
        )];
        for (phase, raw) in &self.phases {
            let (p50, p99, max) = percentiles(raw);
            let n = raw.len();
            lines.push(format!(
                "  {phase:<16} n {n:<4} p50 {p50:>9.1} {unit}  p99 {p99:>9.1} {unit}  max {max:>9.1} {unit}"
            ));
        }
        lines.join("\n")
    }
}

/// Median, 99th percentile, largest: each of them one of `raw`.
fn percentiles(raw: &[f64]) -> (f64, f64, f64) {
    let mut sorted = raw.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    (at(0.5), at(0.99), at(1.0))
}

impl Report {
    /// Writes the file.
    pub fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements_and_the_largest_of_few_is_the_99th() {
        let raw: Vec<f64> = (1..=30).rev().map(f64::from).collect();
        let figure = Figure::of("x", raw, Value::Null);
        assert_eq!((figure.n, figure.p50, figure.p99, figure.max), (30, 15.0, 30.0, 30.0));
        let many = Figure::of("x", (1..=200).map(f64::from).collect(), Value::Null);
        assert_eq!((many.p50, many.p99), (100.0, 198.0));
    }
}
