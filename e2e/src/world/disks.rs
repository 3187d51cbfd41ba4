//! The disks of a place whose slowness would be taken for a fault: the arbiter asks for a disk that answers within the
//! deadline of a call, and a busy machine's does not. They lie in the machine's memory, and outlive a power loss in the
//! sandbox all the same.

use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::place::Place;
use super::run_folder::RunFolder;

/// Folders of a place: the arbiter's member, the zone, and the databases.
const FOLDERS: [&str; 3] = ["arbiter", "dns", "volume"];

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
