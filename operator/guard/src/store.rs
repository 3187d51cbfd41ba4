//! What the guard keeps beside the data, so that nothing that matters lives only in memory.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file beside the data could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("{path}: cannot {verb} it")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The content is not what the guard writes.
    #[error(
        "{path}: not what the guard wrote there; move it away only if you know that no newer state is lost"
    )]
    Content {
        /// Which file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
}

/// The directory of small files.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

/// What the guard's rules remember.
pub(crate) const MEMORY: &str = "memory.json";
/// The epoch of the last opening, written before it.
pub(crate) const OPENED: &str = "opened.json";
/// What the standby knew when it lost contact.
pub(crate) const CONTACT: &str = "contact.json";
/// The last divergence that was saved.
pub(crate) const DIVERGED: &str = "diverged.json";
/// A rewind is under way: what lies in the data directory must not be served.
pub(crate) const REWINDING: &str = "rewinding.json";
/// How the last stop of a primary ended.
pub(crate) const STOPPED: &str = "stopped.json";

impl Store {
    /// Opens the directory, making it when it is not there.
    pub(crate) fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|source| StoreError::Io { path: dir.clone(), verb: "make", source })?;
        let store = Self { dir };
        // Found out now rather than at the first lock.
        store.write("writable", &())?;
        Ok(store)
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads a file; `None` when it was never written.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StoreError::Content { path, source }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { path, verb: "read", source }),
        }
    }

    /// Whether a file is there. One that cannot be looked at counts as there: it is a mark that forbids something.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.dir.join(name).try_exists().unwrap_or(true)
    }

    /// Writes a file whole or not at all, and returns only when it is on the disk.
    pub(crate) fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let path = self.dir.join(name);
        let bytes =
            serde_json::to_vec(value).map_err(|source| StoreError::Content { path: path.clone(), source })?;
        write_atomically(&path, &bytes).map_err(|source| StoreError::Io { path, verb: "write", source })
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::Io { path, verb: "remove", source: e })
            }
            _ => sync_dir(&self.dir).map_err(|source| StoreError::Io { path, verb: "sync", source }),
        }
    }
}

/// Writes `bytes` to a new file beside `path`, syncs it, renames it over `path` and syncs the directory.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, fs::File::sync_all)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes `bytes` to a new file beside `path` and renames it over `path`: whole or not at all for whoever reads it, but
/// not after a power cut.
pub(crate) fn write_for_now(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, |_| Ok(()))
}

fn replace(path: &Path, bytes: &[u8], before: impl FnOnce(&fs::File) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    before(&file)?;
    fs::rename(&new, path)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_what_was_not_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("state")).unwrap();
        assert_eq!(store.read::<u64>(OPENED).unwrap(), None);
        store.write(OPENED, &7u64).unwrap();
        assert_eq!(store.read::<u64>(OPENED).unwrap(), Some(7));
        store.remove(OPENED).unwrap();
        store.remove(OPENED).unwrap();
        assert!(!store.has(OPENED));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned()).unwrap();
        fs::write(dir.path().join(OPENED), "{").unwrap();
        assert!(store.read::<u64>(OPENED).is_err());
    }
}
