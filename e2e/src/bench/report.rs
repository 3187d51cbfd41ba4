//! The file that a measurement ends in.

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
        let mut sorted = raw.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
        Self { name: name.to_owned(), unit: "ms".to_owned(), n: raw.len(), p50, p99, max, raw, settings }
    }

    /// One line.
    pub fn words(&self) -> String {
        let Self { name, unit, n, p50, p99, max, .. } = self;
        format!("{name:<18} n {n:<4} p50 {p50:>9.1} {unit}  p99 {p99:>9.1} {unit}  max {max:>9.1} {unit}")
    }
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
