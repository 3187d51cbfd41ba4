//! What is kept beside the data over a rewind, and put back: the site's own files, and the log that a second rewind needs
//! when the first one is cut off.

use std::io;
use std::path::{Path, PathBuf};

use bascule_boundary::Effect;
use bascule_core::guard::wire::{Disk, Diverged};
use bascule_core::position::Lsn;

use super::wal::{copy_files, log_files};
use super::{CannotFollow, Rejoin};
use crate::effect;
use crate::store::{DIVERGED, sync_dir};

/// The user's files that belong to a site and not to the data: kept over a rewind.
const OWN_FILES: [&str; 4] = ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"];

impl Rejoin<'_> {
    fn own_files(&self) -> PathBuf {
        self.server.store.dir().join("own")
    }

    fn own_log(&self) -> PathBuf {
        self.own_files().join("pg_wal")
    }

    /// Keeps the site's files beside the data. They have their place only when all of them are on the disk. With them the log
    /// that `pg_rewind` reads to know what to rewind: it puts the upstream's in its place and removes the rest before it has
    /// fetched everything (`PostgreSQL` up to 16), so that a second one would find nothing to read.
    pub(super) fn keep_own_files(&self) -> Result<(), CannotFollow> {
        let own = self.own_files();
        let partial = own.with_extension("partial");
        let keep = || {
            for old in [&own, &partial] {
                match effect::remove_dir_all(Effect::RemoveOwnFiles, old) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            effect::make_dir(Effect::KeepOwnFile, &partial)?;
            for name in OWN_FILES {
                if let Some(content) = read_if_there(&self.server.data.join(name))? {
                    crate::store::write_atomically(Effect::KeepOwnFile, &partial.join(name), &content)?;
                }
            }
            self.keep_log(&partial.join("pg_wal"))?;
            effect::rename(Effect::PlaceOwnFiles, &partial, &own)?;
            sync_dir(self.server.store.dir())
        };
        keep().map_err(|e| CannotFollow::Later(format!("keeping the site's files in {}: {e}", own.display())))
    }

    /// Keeps the log from the last checkpoint before the fork on, which may be any when there was one after it.
    fn keep_log(&self, to: &Path) -> io::Result<()> {
        let diverged = self.server.store.read::<Diverged>(DIVERGED).map_err(io::Error::other)?;
        let wal = self.wal();
        // As it was found: a recovery since then has ended with a checkpoint of its own.
        let first =
            diverged.filter(|d| self.cluster.checkpoint < d.fork).map_or(Lsn(0), |_| self.cluster.checkpoint);
        let last = match crate::control::read(&self.server.data, false) {
            Disk::Cluster(now) => now.checkpoint,
            _ => Lsn(u64::MAX),
        };
        let copied = log_files(&wal, first, last).and_then(|names| {
            effect::make_dir(Effect::KeepOwnFile, to)?;
            copy_files(Effect::KeepOwnFile, &names, &wal, to)
        });
        match copied {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(
                    "no room to keep the log over the rewind: should it be cut off, this copy must be made anew"
                );
                match effect::remove_dir_all(Effect::RemoveOwnFiles, to) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                    _ => Ok(()),
                }
            }
            other => other,
        }
    }

    pub(super) fn restore_log(&self) -> Result<(), CannotFollow> {
        let kept = self.own_log();
        let restore = || {
            let names = match std::fs::read_dir(&kept) {
                Ok(entries) => entries
                    .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                    .collect::<io::Result<Vec<_>>>()?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(e) => return Err(e),
            };
            copy_files(Effect::RestoreOwnFile, &names, &kept, &self.wal())
        };
        restore().map_err(|e| CannotFollow::Later(format!("putting the log of {} back: {e}", kept.display())))
    }

    /// The log that was kept is needed no more. What cannot be removed takes room and does no other harm.
    pub(super) fn forget_log(&self) {
        match effect::remove_dir_all(Effect::RemoveOwnFiles, &self.own_log()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(log = %self.own_log().display(), error = %e, "the log of before the rewind stays");
            }
            _ => {}
        }
    }

    pub(super) fn restore_own_files(&self) -> Result<(), CannotFollow> {
        for name in OWN_FILES {
            let path = self.server.data.join(name);
            let restore = || match read_if_there(&self.own_files().join(name))? {
                Some(content) => crate::store::write_atomically(Effect::RestoreOwnFile, &path, &content),
                None => Ok(()),
            };
            restore().map_err(|e| CannotFollow::Later(format!("{}: {e}", path.display())))?;
        }
        Ok(())
    }
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
