//! The folder of one run: everything the world writes lies in it, with a record of what has to be ended and removed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::arbiter::ArbiterTiming;
use super::place::Place;
use crate::process::Recorded;
use crate::tools::StaticBinaries;

/// Where a run keeps its files.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

/// What is recorded about a run, so that any later process can take it down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunState {
    /// The process whose world this is; it is taken down with that process. `None`: it stays until `down`.
    pub owner: Option<Recorded>,
    /// Process 1 of each place that has power.
    pub places: BTreeMap<Place, Recorded>,
    /// The git server.
    pub git: Option<Recorded>,
    /// Folders of the host that were made as mount points.
    pub made: Vec<PathBuf>,
    /// The static binaries it was made with.
    pub binaries: Option<StaticBinaries>,
    /// Timing of the arbiter's elections.
    pub arbiter: ArbiterTiming,
    /// Whether the third place has a cluster, too.
    #[serde(default)]
    pub three_sites: bool,
}

impl RunFolder {
    /// A run at this path, which need not exist yet.
    pub fn at(root: PathBuf) -> Result<Self> {
        for hidden in ["/run", "/var/run", "/var/log", "/proc", "/sys"] {
            ensure!(
                !root.starts_with(hidden),
                "{} cannot hold the sandbox: inside a place, {hidden} is the place's own",
                root.display()
            );
        }
        Ok(Self { root })
    }

    /// `run` in the cache folder, or `BASCULE_RUN`.
    pub fn default_path() -> Result<PathBuf> {
        if let Some(path) = std::env::var_os("BASCULE_RUN") {
            return Ok(path.into());
        }
        Ok(crate::tools::cache_folder()?.join("run"))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of one place.
    pub fn place(&self, place: Place) -> PathBuf {
        self.root.join(place.name())
    }

    /// Log of one part of a place.
    pub fn log(&self, place: Place, part: &str) -> PathBuf {
        self.place(place).join("log").join(format!("{part}.log"))
    }

    /// Folder of the certificates.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// A kubeconfig of a site, by user: `admin` or one of the parts.
    pub fn kubeconfig(&self, site: Place, user: &str) -> PathBuf {
        self.place(site).join(format!("{user}.conf"))
    }

    fn state_file(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// What is recorded; `None` when nothing is.
    pub fn load(&self) -> Result<Option<RunState>> {
        let file = self.state_file();
        match fs::read(&file) {
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", file.display()))?,
            )),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Records, so that a reader sees the old or the new state, never half of one.
    pub fn save(&self, state: &RunState) -> Result<()> {
        fs::create_dir_all(&self.root)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        file.persist(self.state_file())?;
        Ok(())
    }

    /// Changes the record.
    pub fn update(&self, change: impl FnOnce(&mut RunState)) -> Result<()> {
        let mut state = self.load()?.context("there is no sandbox in this folder")?;
        change(&mut state);
        self.save(&state)
    }
}

/// The one sandbox of this machine: bridge and addresses exist once. Held while a world is made, changed or owned.
#[derive(Debug)]
pub struct MachineLock {
    file: File,
}

impl MachineLock {
    fn open() -> Result<File> {
        let folder = crate::tools::cache_folder()?;
        fs::create_dir_all(&folder)?;
        let path = folder.join("sandbox.lock");
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))
    }

    /// Waits until no other world is held; says so when it has to wait.
    pub fn take(say: impl Fn(&str)) -> Result<Self> {
        let file = Self::open()?;
        if file.try_lock().is_err() {
            say("another process has a sandbox of its own on this machine; waiting for its end");
            file.lock().context("cannot lock the sandbox")?;
        }
        Ok(Self { file })
    }

    /// A second handle of the same lock, for a child: the lock holds until both are closed.
    pub fn share(&self) -> Result<File> {
        Ok(self.file.try_clone()?)
    }
}
