//! The folder in which a process notes the boundaries that it passes, and finds the one at which it has to die.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use bascule_boundary::{ARMED, Boundary, Doer, FIRED, TRACE};

use crate::shop::Shop;
use crate::waiting::until;
use crate::world::{Place, World};

/// One process's folder.
#[derive(Debug)]
pub(super) struct Post {
    folder: PathBuf,
}

impl Post {
    /// That of a site's operator or guard, made if it is not there.
    pub(super) fn of(world: &World, site: Place, doer: Doer) -> Result<Self> {
        let folder = match doer {
            Doer::Operator => world.operator_boundaries(site),
            Doer::Guard => Shop::of(world).guard_boundaries(site),
        };
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let post = Self { folder };
        if doer == Doer::Guard {
            let owner = Shop::database_user();
            chown(&post.folder, Some(owner), Some(owner))?;
        }
        Ok(post)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// From now on boundaries are noted.
    pub(super) fn listen(&self) -> Result<()> {
        fs::write(self.file(TRACE), "")?;
        // Whoever passes a boundary writes, as whatever user.
        fs::set_permissions(self.file(TRACE), fs::Permissions::from_mode(0o666))?;
        Ok(())
    }

    /// What was passed since, in order. Nothing is noted any more.
    pub(super) fn heard(&self) -> Result<Vec<Boundary>> {
        let path = self.file(TRACE);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::remove_file(&path)?;
        text.lines().map(|line| line.parse().map_err(anyhow::Error::msg)).collect()
    }

    /// The process dies once it has passed all of these, one after the other, at the last one.
    pub(super) fn arm(&self, boundaries: &[Boundary]) -> Result<()> {
        self.disarm()?;
        let lines: Vec<String> = boundaries.iter().map(|b| format!("{b} 1\n")).collect();
        // Whole or not at all for the process that reads it all the time.
        let new = self.file("arming");
        fs::write(&new, lines.concat())?;
        fs::rename(new, self.file(ARMED))?;
        Ok(())
    }

    /// Nobody dies any more.
    pub(super) fn disarm(&self) -> Result<()> {
        for name in [ARMED, FIRED] {
            remove(&self.file(name))?;
        }
        Ok(())
    }

    /// Whether the process has died at its boundary.
    pub(super) fn has_fired(&self) -> bool {
        self.file(FIRED).exists()
    }

    /// Returns when it has.
    pub(super) async fn fired(&self, deadline: Duration) -> Result<()> {
        until("a process to die at its boundary", deadline, || async {
            self.has_fired().then_some(()).context("it has not passed it")
        })
        .await
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
