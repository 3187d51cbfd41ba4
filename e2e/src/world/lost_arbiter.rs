//! An arbiter that loses what it knew: emptied, or put back from a backup.

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
        self.with_members_stopped(|data, backup| {
            let _ = std::fs::remove_dir_all(backup);
            run("cp", ["-a", data, backup]).map(drop)
        })
        .await
    }

    /// Puts the members' data back as it was copied.
    pub async fn put_back_arbiter(&self) -> Result<()> {
        self.with_members_stopped(|data, backup| {
            std::fs::remove_dir_all(data)?;
            run("cp", ["-a", backup, data]).map(drop)
        })
        .await
    }

    async fn with_members_stopped(&self, work: impl Fn(&str, &str) -> Result<()>) -> Result<()> {
        for place in Place::ALL {
            self.kill_part(place, "arbiter")?;
        }
        for place in Place::ALL {
            let folder = self.run().place(place);
            let text = |name: &str| folder.join(name).display().to_string();
            work(&text("arbiter"), &text(BACKUP))?;
        }
        for place in Place::ALL {
            self.restart_arbiter_member(place)?;
        }
        self.arbiter().ready(&Place::ALL).await
    }
}
