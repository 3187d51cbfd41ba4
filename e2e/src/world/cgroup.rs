//! Cgroups of places: one folder per place, with a folder per part, so that a whole place, its control plane, its
//! pods or one part can be stopped in mid-air and go on later.
//!
//! Version 1 (one hierarchy per controller) is what this was measured on; version 2 has one hierarchy and a freezer
//! of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::waiting::until_blocking;

/// How long the kernel may take to stop or to let go of a cgroup's processes.
const SETTLE: Duration = Duration::from_secs(10);

/// The cgroup hierarchies of this machine.
#[derive(Clone, Debug)]
pub struct Cgroups {
    roots: Vec<PathBuf>,
    unified: bool,
}

impl Cgroups {
    /// Finds out what this machine has mounted.
    pub fn detect() -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        if root.join("cgroup.controllers").exists() {
            return Ok(Self { roots: vec![root.to_owned()], unified: true });
        }
        let mut roots: Vec<_> = fs::read_dir(root)
            .context("cannot read /sys/fs/cgroup: are cgroups mounted?")?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join("cgroup.procs").exists())
            .collect();
        roots.sort();
        ensure!(
            roots.iter().any(|r| r.ends_with("freezer")),
            "no freezer under /sys/fs/cgroup: the sandbox cannot stop parts in mid-air on this machine"
        );
        Ok(Self { roots, unified: false })
    }

    /// True for version 2.
    pub fn unified(&self) -> bool {
        self.unified
    }

    /// Makes a place's folder in every hierarchy, ready to hold folders with processes.
    pub fn create(&self, name: &str) -> Result<()> {
        for root in &self.roots {
            let folder = root.join(name);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            if self.unified {
                for parent in [root, &folder] {
                    let file = parent.join("cgroup.subtree_control");
                    fs::write(&file, "+cpu +cpuset +memory +pids +io")
                        .with_context(|| format!("cannot enable controllers in {}", file.display()))?;
                }
            } else if root.ends_with("cpuset") {
                // A new cpuset of version 1 is empty and takes no process; children copy these.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(folder.join(file), fs::read_to_string(root.join(file))?)?;
                }
                fs::write(folder.join("cgroup.clone_children"), "1")?;
            }
        }
        Ok(())
    }

    /// Gives what runs below a cgroup this many times the processor time of anything else, where they compete for it.
    pub fn prefer(&self, path: &str, times: u32) -> Result<()> {
        // What is usual: 1024 in version 1, 100 in version 2.
        let (root, file, usual) = if self.unified {
            (self.roots.first(), "cpu.weight", 100)
        } else {
            // `cpu`, or `cpu,cpuacct`.
            let cpu = self.roots.iter().find(|root| root.join("cpu.shares").exists());
            (cpu, "cpu.shares", 1024)
        };
        let root = root.context("no cpu controller is mounted under /sys/fs/cgroup")?;
        let file = root.join(path).join(file);
        fs::write(&file, (usual * times).to_string())
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Moves this process into a cgroup (made when missing) of every hierarchy.
    pub fn join_self(&self, path: &str) -> Result<()> {
        for root in &self.roots {
            let folder = root.join(path);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("cgroup.procs"), "0")
                .with_context(|| format!("cannot enter {}", folder.display()))?;
        }
        Ok(())
    }

    /// Stops every process below a cgroup; returns when all of them stand still.
    pub fn freeze(&self, path: &str) -> Result<()> {
        self.set_frozen(&self.freezer(path), true)
    }

    /// Lets them go on; returns when the kernel says so.
    pub fn thaw(&self, path: &str) -> Result<()> {
        self.set_frozen(&self.freezer(path), false)
    }

    /// True when the cgroup itself was frozen. A cgroup that does not exist is not.
    pub fn frozen(&self, path: &str) -> bool {
        self.is_frozen(&self.freezer(path)).unwrap_or(false)
    }

    /// Numbers (as the host counts) of all processes at and below a cgroup.
    pub fn processes(&self, path: &str) -> Result<Vec<i32>> {
        let mut found = Vec::new();
        for folder in below(&self.freezer(path)) {
            let text = match fs::read_to_string(folder.join("cgroup.procs")) {
                Ok(text) => text,
                // Containers come and go while the tree is read.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound || e.raw_os_error() == Some(19) => {
                    continue;
                }
                Err(e) => return Err(e).with_context(|| format!("cannot read {}", folder.display())),
            };
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        Ok(found)
    }

    /// The cgroup below `path` whose own name is `name` or ends so, as a path of the hierarchy.
    pub fn find(&self, path: &str, name: &str) -> Option<String> {
        let root = self.freezer("");
        let found = below(&self.freezer(path))
            .into_iter()
            .find(|folder| folder.file_name().is_some_and(|n| n.to_string_lossy().ends_with(name)))?;
        Some(found.strip_prefix(root).ok()?.to_string_lossy().into_owned())
    }

    /// Lets everything at and below a cgroup go on, also what was frozen deeper down.
    pub fn thaw_all(&self, path: &str) -> Result<()> {
        for folder in below(&self.freezer(path)) {
            if self.is_frozen(&folder).unwrap_or(false) {
                // It may vanish in between; what is gone needs no thawing.
                if let Err(e) = self.set_frozen(&folder, false)
                    && folder.exists()
                {
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Removes a place's folders, as soon as the last process has left them.
    pub fn remove(&self, name: &str) -> Result<()> {
        until_blocking("the place's cgroups to be empty", SETTLE, || {
            for root in &self.roots {
                for folder in below(&root.join(name)).into_iter().rev() {
                    if let Err(e) = fs::remove_dir(&folder)
                        && folder.exists()
                    {
                        return Err(e).with_context(|| format!("cannot remove {}", folder.display()));
                    }
                }
            }
            Ok(())
        })
    }

    fn freezer(&self, path: &str) -> PathBuf {
        let root = self.roots.iter().find(|r| self.unified || r.ends_with("freezer"));
        root.map(|r| r.join(path)).unwrap_or_default()
    }

    fn set_frozen(&self, folder: &Path, frozen: bool) -> Result<()> {
        let (file, text) = match (self.unified, frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        let wanted = if frozen { "frozen" } else { "running" };
        until_blocking(&format!("{} to be {wanted}", folder.display()), SETTLE, || {
            // Written again each time: version 1 may stay `FREEZING` while a process forks.
            fs::write(folder.join(file), text).with_context(|| format!("cannot write {file}"))?;
            ensure!(self.is_frozen(folder)? == frozen, "not yet {wanted}");
            Ok(())
        })
    }

    fn is_frozen(&self, folder: &Path) -> Result<bool> {
        Ok(if self.unified {
            fs::read_to_string(folder.join("cgroup.events"))?.contains("frozen 1")
        } else if folder.join("freezer.self_freezing").exists() {
            fs::read_to_string(folder.join("freezer.self_freezing"))?.trim() == "1"
                && fs::read_to_string(folder.join("freezer.state"))?.trim() == "FROZEN"
        } else {
            false
        })
    }
}

/// A folder and all folders below it, parents first. What vanishes meanwhile is left out.
fn below(folder: &Path) -> Vec<PathBuf> {
    if !folder.is_dir() {
        return Vec::new();
    }
    let mut found = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(current) = found.get(next).cloned() {
        next += 1;
        let Ok(entries) = fs::read_dir(&current) else { continue };
        found.extend(
            entries
                .filter_map(Result::ok)
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.path()),
        );
    }
    found
}
