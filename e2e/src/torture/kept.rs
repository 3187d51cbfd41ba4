//! Schedules that are kept for ever: those that have failed once, and some that chance draws too seldom; and what explains a
//! failure.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::play::Played;
use super::schedule::Schedule;
use crate::kept::keep_logs;
use crate::world::World;

/// Where they are kept, in the checkout.
pub fn kept_folder() -> Result<PathBuf> {
    Ok(crate::tools::workspace()?.join("e2e/torture/kept"))
}

/// Every kept schedule with its name, in the order of the names.
pub fn kept(folder: &Path) -> Result<Vec<(String, Schedule)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    paths.sort();
    let named = |path: &PathBuf| {
        let schedule = fs::read_to_string(path)?.parse().with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, schedule))
    };
    let found: Vec<(String, Schedule)> = paths.iter().map(named).collect::<Result<_>>()?;
    ensure!(!found.is_empty(), "{} holds no schedule", folder.display());
    Ok(found)
}

/// Keeps everything that explains a failure in one folder; answers it.
pub fn keep(world: &World, name: &str, what: &str, played: &Played) -> Result<PathBuf> {
    let folder = keep_logs(world, name)?;
    let error = played.error.as_ref().map(|e| format!("{e:#}")).unwrap_or_default();
    fs::write(folder.join("schedule.txt"), what)?;
    fs::write(folder.join("transcript.txt"), format!("{}\n\n{error}\n", played.transcript))?;
    fs::write(folder.join("clients.json"), serde_json::to_vec(&played.history)?)?;
    fs::write(folder.join("records.json"), serde_json::to_vec_pretty(&played.records)?)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kept_schedule_can_be_read() {
        kept(&kept_folder().unwrap()).unwrap();
    }
}
