//! The disks of a place whose slowness would be taken for a fault: the arbiter asks for a disk that answers within the
//! deadline of a call, and a busy machine's does not. They lie in the machine's memory, and outlive a power loss in the
//! sandbox all the same.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;

use super::World;
use super::place::Place;
use super::run_folder::RunFolder;

/// The database's disk of a place.
const DATABASE: &str = "volume";
/// The disk of a place's member of the arbiter.
const MEMBER: &str = "arbiter";
/// Folders of a place: the arbiter's member, the zone, and the databases.
const FOLDERS: [&str; 3] = [MEMBER, "dns", DATABASE];

fn folders(run: &RunFolder) -> impl Iterator<Item = PathBuf> {
    Place::ALL.into_iter().flat_map(|place| FOLDERS.map(|name| run.place(place).join(name)))
}

/// Puts them in. Before anything is written there, and before the places see the machine's mounts.
pub(super) fn put_in(run: &RunFolder) -> Result<()> {
    for folder in folders(run) {
        std::fs::create_dir_all(&folder)?;
        mount(Some("bascule"), &folder, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))
            .with_context(|| format!("cannot mount a disk at {}", folder.display()))?;
    }
    Ok(())
}

impl World {
    /// Leaves so many bytes on the disk under a site's database, of a world whose disks lie in memory.
    pub fn fill_disk(&self, site: Place, left: u64) -> Result<()> {
        self.fill(site, DATABASE, left)
    }

    /// Gives the disk under a site's database its room back.
    pub fn empty_disk(&self, site: Place) -> Result<()> {
        self.empty(site, DATABASE)
    }

    /// Leaves so many bytes on the disk under a place's member of the arbiter.
    pub fn fill_member_disk(&self, place: Place, left: u64) -> Result<()> {
        self.fill(place, MEMBER, left)
    }

    /// Gives it its room back.
    pub fn empty_member_disk(&self, place: Place) -> Result<()> {
        self.empty(place, MEMBER)
    }

    fn fill(&self, place: Place, disk: &str, left: u64) -> Result<()> {
        ensure!(self.options().disks_in_memory, "the machine's own disk is not filled");
        let disk = self.run().place(place).join(disk);
        let used = statvfs(&disk).with_context(|| format!("cannot ask {}", disk.display()))?;
        let used = (used.blocks() - used.blocks_free()) * used.fragment_size();
        resize(&disk, &format!("size={}", used + left))
    }

    fn empty(&self, place: Place, disk: &str) -> Result<()> {
        if self.options().disks_in_memory {
            resize(&self.run().place(place).join(disk), "size=50%")
        } else {
            Ok(())
        }
    }
}

fn resize(disk: &Path, size: &str) -> Result<()> {
    mount(None::<&str>, disk, None::<&str>, MsFlags::MS_REMOUNT, Some(size))
        .with_context(|| format!("cannot resize the disk at {}", disk.display()))
}

/// Takes them out, whatever lies on them; what is not there is no error.
pub(super) fn take_out(run: &RunFolder) -> Result<()> {
    for folder in folders(run) {
        match umount2(&folder, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(e) => return Err(e).with_context(|| format!("cannot unmount {}", folder.display())),
        }
    }
    Ok(())
}
