//! What explains a failure, kept when the world goes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shop::{DATABASE_CONTAINER, DATABASE_POD, NAMESPACE};
use crate::world::{Place, World};

/// Copies every log, the journals, the objects of the application and what the pods said into
/// `target/e2e/<name>` of the checkout (replacing what an earlier failure left there); answers that folder.
pub fn keep_logs(world: &World, name: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate::tools::workspace().map(|w| w.join("target")), |t| Ok(t.into()))?;
    let folder = target.join("e2e").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for place in Place::ALL {
        let from = world.run().place(place);
        for part in ["log", "operator/journal"] {
            copy(&from.join(part), &folder.join(place.name()).join(part))?;
        }
    }
    for site in world.sites().iter().copied() {
        let said = |file: &str, args: &[&str]| {
            // A site without power has no API server; its logs on disk are there all the same.
            let text = world.kubectl(site, args).unwrap_or_else(|e| format!("{e:#}\n"));
            fs::write(folder.join(site.name()).join(file), text)
        };
        let kinds = "fop,moves,policysources,pods,deployments,statefulsets,configmaps,endpointslices,events";
        said("objects.yaml", &["get", "-n", NAMESPACE, kinds, "-o", "yaml", "--request-timeout=5s"])?;
        let pod = ["-n", NAMESPACE, DATABASE_POD, "-c", DATABASE_CONTAINER, "--request-timeout=5s"];
        said("database.log", &[&["logs"], &pod[..]].concat())?;
        said("database-before.log", &[&["logs", "--previous"], &pod[..]].concat())?;
    }
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    fs::create_dir_all(to)?;
    for entry in entries {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}
