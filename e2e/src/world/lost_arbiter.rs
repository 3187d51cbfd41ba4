//! An arbiter that loses what it knew: emptied, or put back from a backup.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::arbiter::PREFIX;
use super::{Place, World};
use crate::command::run;

/// Folder of the copies in a place's folder.
const BACKUP: &str = "arbiter-backup";

impl World {
    /// Deletes everything that Bascule keeps in the arbiter: records, leases, facts, and whose name is whose.
    pub fn empty_arbiter(&self) -> Result<()> {
        let deleted = self.arbiter().ctl("root", &["del", "--prefix", PREFIX])?;
        let count: u64 = deleted.trim().parse().with_context(|| format!("etcdctl said {deleted:?}"))?;
        anyhow::ensure!(count > 0, "there was nothing to delete under {PREFIX}");
        Ok(())
    }

    /// Copies the members' data, for [`World::put_back_arbiter`]. They stand still meanwhile.
    pub async fn back_up_arbiter(&self) -> Result<()> {
        self.with_members_stopped(copy).await
    }

    /// Puts the members' data back as it was copied.
    pub async fn put_back_arbiter(&self) -> Result<()> {
        self.with_members_stopped(|data, backup| copy(backup, data)).await
    }

    async fn with_members_stopped(&self, work: impl Fn(&Path, &Path) -> Result<()>) -> Result<()> {
        for place in Place::ALL {
            self.kill_part(place, "arbiter")?;
        }
        for place in Place::ALL {
            let folder = self.run().place(place);
            work(&folder.join("arbiter"), &folder.join(BACKUP))?;
        }
        for place in Place::ALL {
            self.restart_arbiter_member(place)?;
        }
        self.arbiter().ready(&Place::ALL).await
    }
}

/// Makes the content of a folder the same as that of another. The folder itself may be where a disk is mounted.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        fs::remove_dir_all(entry?.path())?;
    }
    run("cp", ["-a", &format!("{}/.", from.display()), &to.display().to_string()]).map(drop)
}
