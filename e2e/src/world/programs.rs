//! Programs that a site has for itself: of an older version, or such that its clock can be held. Operator and guard there are
//! this program, and not the one that everything else is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::World;
use super::place::Place;
use crate::tools::HeldPrograms;

/// The folder as a pod sees it.
const IN_POD: &str = "/opt/programs";
const PROGRAM: &str = "bascule";

/// What a pod of a site needs for the site's own program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnProgram {
    /// The folder on the host.
    pub folder: PathBuf,
    /// The same in the pod.
    pub in_pod: &'static str,
    /// The program in the pod.
    pub program: String,
    /// With what it is started there.
    pub environment: Vec<(String, String)>,
}

impl World {
    /// A site's own program for its pods, if it has one.
    pub fn own_program(&self, site: Place) -> Option<OwnProgram> {
        self.has_own_program(site).then(|| OwnProgram {
            folder: self.programs_folder(site),
            in_pod: IN_POD,
            program: format!("{IN_POD}/{PROGRAM}"),
            environment: self.environment(Path::new(IN_POD)),
        })
    }

    /// The same outside of the pods: the program, and with what it is started.
    pub(super) fn own_program_on_the_host(&self, site: Place) -> Option<(PathBuf, Vec<(String, String)>)> {
        let folder = self.programs_folder(site);
        self.has_own_program(site).then(|| (folder.join(PROGRAM), self.environment(&folder)))
    }

    pub(super) fn programs_folder(&self, site: Place) -> PathBuf {
        self.run().place(site).join("programs")
    }

    fn has_own_program(&self, site: Place) -> bool {
        self.options().clocks || self.options().older.as_ref().is_some_and(|older| older.at == site)
    }

    fn environment(&self, folder: &Path) -> Vec<(String, String)> {
        if self.options().clocks { Self::clock_environment(folder).to_vec() } else { Vec::new() }
    }

    /// Lays the sites' own programs down, once in a world.
    pub(super) fn lay_programs_down(&self, held: Option<&HeldPrograms>) -> Result<()> {
        let older = self.options().older.as_ref();
        ensure!(
            held.is_none() || older.is_none(),
            "an older version has no clock that is held: choose scenarios without clocks"
        );
        for site in Place::SITES {
            let program = match (held, older) {
                (Some(held), _) => &held.bascule,
                (None, Some(older)) if older.at == site => &older.bascule,
                (None, _) => continue,
            };
            let folder = self.programs_folder(site);
            fs::create_dir_all(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
            lay_down(program, &folder.join(PROGRAM), 0o755)?;
            if let Some(held) = held {
                self.hold_clock(site, &held.library)?;
            }
        }
        Ok(())
    }
}

/// Copies a file to where the database's user reads it.
pub(super) fn lay_down(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

/// A site that runs another version than the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Older {
    /// Which site.
    pub at: Place,
    /// The operator's and the guard's program.
    pub bascule: PathBuf,
}

impl Older {
    /// `BASCULE_OLDER_AT=paris` with `BASCULE_OLDER_BIN=…/bascule`; none without the first. `newer`: what the other site runs.
    pub fn from_environment(newer: &Path) -> Result<Option<Self>> {
        let Some(at) = std::env::var_os("BASCULE_OLDER_AT") else { return Ok(None) };
        let at = at.to_str().context("BASCULE_OLDER_AT is not a site's name")?;
        let at: Place = at.parse().map_err(|e| anyhow::anyhow!("BASCULE_OLDER_AT: {e}"))?;
        ensure!(Place::SITES.contains(&at), "BASCULE_OLDER_AT: {at} is no site");
        let bascule = std::env::var_os("BASCULE_OLDER_BIN").map(PathBuf::from);
        let bascule =
            bascule.context("BASCULE_OLDER_AT needs BASCULE_OLDER_BIN, the program of that version")?;
        let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        ensure!(read(&bascule)? != read(newer)?, "both versions are the same program, {}", bascule.display());
        Ok(Some(Self { at, bascule }))
    }
}
