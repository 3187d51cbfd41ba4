//! One measurement, and the file that all of them are kept in: one JSON object a line, only ever appended to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One measurement. All times in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sample {
    /// Its series.
    pub series: String,
    /// When it was over.
    pub at: String,
    /// Which commit was measured; with a `+` when files differed from it.
    pub commit: String,
    /// Which machine it was measured on.
    pub machine: String,
    /// From the event to the first write at the site that is active afterwards; for `event-to-effect` to the changed
    /// record.
    pub ms: f64,
    /// What the client saw of it: from the last write before to the first write after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<f64>,
    /// How long each phase took, as the system itself tells.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases: BTreeMap<String, f64>,
    /// Acknowledged writes that the site that is active afterwards does not have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: usize,
    /// Whether both sites acknowledged writes at the same time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub two_writers: bool,
    /// Percent of the machine's processor time that was used between event and first write, by everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
    /// Percent of it that the machine's own host took away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steal: Option<f64>,
    /// Load of the machine over the minute before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// Why there was no write until the deadline; `ms` is the deadline then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Rounds to a tenth of a millisecond: nothing here is more exact.
pub(super) fn rounded(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

/// Every sample of a file, in order; none when there is no such file.
pub fn read(file: &Path) -> Result<Vec<Sample>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}: line {} is no sample: take it out", file.display(), number + 1))
        })
        .collect()
}

/// Appends a sample, on the disk when this returns.
pub fn append(file: &Path, sample: &Sample) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut line = serde_json::to_vec(sample)?;
    line.push(b'\n');
    let mut open = File::options().create(true).append(true).open(file);
    let open = open.as_mut().map_err(|e| anyhow::anyhow!("cannot open {}: {e}", file.display()))?;
    open.write_all(&line)?;
    open.sync_data()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_read_again_and_a_broken_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/samples.jsonl");
        assert_eq!(read(&file).unwrap(), Vec::new());
        let sample = Sample {
            series: "planned".to_owned(),
            at: "2026-01-01T00:00:00Z".to_owned(),
            commit: "0000000".to_owned(),
            machine: "one".to_owned(),
            ms: 12.5,
            pause: Some(7.5),
            phases: BTreeMap::from([("stop".to_owned(), 3.0)]),
            lost: 2,
            two_writers: false,
            busy: None,
            steal: None,
            load: None,
            failed: None,
        };
        append(&file, &sample).unwrap();
        append(&file, &sample).unwrap();
        assert_eq!(read(&file).unwrap(), vec![sample.clone(), sample]);
        fs::write(&file, "{}\n").unwrap();
        assert!(format!("{:#}", read(&file).unwrap_err()).contains("line 1"));
    }
}
