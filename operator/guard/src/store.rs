//! What the guard keeps beside the data, so that nothing that matters lives only in memory.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bascule_boundary::Effect;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::effect;

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

/// A small file beside the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// What the guard's rules remember.
    Memory,
    /// The epoch of the last opening, written before it.
    Opened,
    /// What the standby knew when it lost contact.
    Contact,
    /// The last divergence that was saved.
    Diverged,
    /// A rewind is under way: what lies in the data directory must not be served.
    Rewinding,
    /// How the last stop of a primary ended.
    Stopped,
    /// What the operator said last.
    Heard,
    /// A person's word that the server runs without grants.
    Unlocked,
    /// Nothing: it shows that a file can be written.
    Writable,
}

pub(crate) use Mark::{
    Contact as CONTACT, Diverged as DIVERGED, Heard as HEARD, Memory as MEMORY, Opened as OPENED,
    Rewinding as REWINDING, Stopped as STOPPED, Unlocked as UNLOCKED,
};

impl Mark {
    const fn file(self) -> &'static str {
        match self {
            Self::Memory => "memory.json",
            Self::Opened => "opened.json",
            Self::Contact => "contact.json",
            Self::Diverged => "diverged.json",
            Self::Rewinding => "rewinding.json",
            Self::Stopped => "stopped.json",
            Self::Heard => "heard.json",
            Self::Unlocked => "unlocked.json",
            Self::Writable => "writable",
        }
    }

    const fn written(self) -> Effect {
        match self {
            Self::Memory => Effect::WriteMemory,
            Self::Opened => Effect::WriteOpened,
            Self::Contact => Effect::WriteContact,
            Self::Diverged => Effect::WriteDiverged,
            Self::Rewinding => Effect::WriteRewinding,
            Self::Stopped => Effect::WriteStopped,
            Self::Heard => Effect::WriteHeard,
            Self::Unlocked => Effect::WriteUnlocked,
            Self::Writable => Effect::TryStateDirectory,
        }
    }
}

impl Store {
    /// Opens the directory, making it when it is not there.
    pub(crate) fn open(dir: PathBuf) -> Result<Self, StoreError> {
        effect::make_dirs(Effect::MakeDirectory, &dir).map_err(|source| StoreError::Io {
            path: dir.clone(),
            verb: "make",
            source,
        })?;
        let store = Self { dir };
        // Found out now rather than at the first lock.
        store.write(Mark::Writable, &())?;
        Ok(store)
    }

    /// The directory of a guard that may be starting or at work in it: nothing is written here.
    pub(crate) const fn of_another(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where this mark is.
    pub(crate) fn path(&self, mark: Mark) -> PathBuf {
        self.dir.join(mark.file())
    }

    /// Reads a file; `None` when it was never written.
    pub(crate) fn read<T: DeserializeOwned>(&self, mark: Mark) -> Result<Option<T>, StoreError> {
        let path = self.dir.join(mark.file());
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StoreError::Content { path, source }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { path, verb: "read", source }),
        }
    }

    /// Whether a file is there. One that cannot be looked at counts as there: it is a mark that forbids something.
    pub(crate) fn has(&self, mark: Mark) -> bool {
        self.dir.join(mark.file()).try_exists().unwrap_or(true)
    }

    /// Writes a file whole or not at all, and returns only when it is on the disk.
    pub(crate) fn write<T: Serialize>(&self, mark: Mark, value: &T) -> Result<(), StoreError> {
        let path = self.dir.join(mark.file());
        let bytes =
            serde_json::to_vec(value).map_err(|source| StoreError::Content { path: path.clone(), source })?;
        write_atomically(mark.written(), &path, &bytes).map_err(|source| StoreError::Io {
            path,
            verb: "write",
            source,
        })
    }

    /// Writes a file whole or not at all, for whoever reads it before a power cut: nobody waits for the disk.
    pub(crate) fn note<T: Serialize>(&self, mark: Mark, value: &T) -> Result<(), StoreError> {
        let path = self.path(mark);
        let bytes =
            serde_json::to_vec(value).map_err(|source| StoreError::Content { path: path.clone(), source })?;
        write_for_now(mark.written(), &path, &bytes).map_err(|source| StoreError::Io {
            path,
            verb: "write",
            source,
        })
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, effect: Effect, mark: Mark) -> Result<(), StoreError> {
        let path = self.dir.join(mark.file());
        match effect::remove_file(effect, &path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::Io { path, verb: "remove", source: e })
            }
            _ => sync_dir(&self.dir).map_err(|source| StoreError::Io { path, verb: "sync", source }),
        }
    }
}

/// Writes `bytes` to a new file beside `path`, syncs it, renames it over `path` and syncs the directory.
pub(crate) fn write_atomically(effect: Effect, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(effect, path, bytes, fs::File::sync_all)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes `bytes` to a new file beside `path` and renames it over `path`: whole or not at all for whoever reads it, but
/// not after a power cut.
pub(crate) fn write_for_now(effect: Effect, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(effect, path, bytes, |_| Ok(()))
}

fn replace(
    effect: Effect,
    path: &Path,
    bytes: &[u8],
    before: impl FnOnce(&fs::File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let put = |mut file: fs::File| {
        file.write_all(bytes)?;
        before(&file)
    };
    effect::replace(effect, &PathBuf::from(name), put, path)
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
        store.remove(Effect::RemoveContact, OPENED).unwrap();
        store.remove(Effect::RemoveContact, OPENED).unwrap();
        assert!(!store.has(OPENED));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().to_owned()).unwrap();
        fs::write(dir.path().join(OPENED.file()), "{").unwrap();
        assert!(store.read::<u64>(OPENED).is_err());
    }
}
