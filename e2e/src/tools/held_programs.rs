//! What a site runs whose clock is held: `bascule`, linked dynamically, and the library that is loaded before it and before
//! the database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use super::static_binaries::{self, Linked};
use crate::command::finish;
use crate::progress::Progress;

/// `bascule`, linked dynamically: a package and its program.
const PROGRAM: &str = "bascule-dynamic";
const SOURCE: &str = include_str!("../../clock/clock.c");
/// How long the library may take to build.
const BUILD: Duration = Duration::from_mins(1);

/// Where they lie.
#[derive(Clone, Debug)]
pub struct HeldPrograms {
    /// Operator, guard and command line.
    pub bascule: PathBuf,
    /// What `LD_PRELOAD` names.
    pub library: PathBuf,
}

impl HeldPrograms {
    /// Builds what is out of date. `BASCULE_DYNAMIC_BIN` names a ready program instead.
    pub fn ensure(progress: &Progress) -> Result<Self> {
        let bascule = match std::env::var_os("BASCULE_DYNAMIC_BIN") {
            Some(path) => PathBuf::from(path),
            None => progress.step("building the dynamic program", |note| {
                let wrapper = super::workspace()?.join("e2e/clock/rustc");
                // Of the packages that are built together: of other ones the parts would have other features.
                let packages = ["bascule", "bascule-e2e", "bascule-sim", PROGRAM].map(|name| ["-p", name]);
                let program = [packages.as_flattened(), &["--bin", PROGRAM]].concat();
                let folder = static_binaries::cargo(&program, Some(&wrapper), note)?;
                Ok::<_, anyhow::Error>(folder.join(PROGRAM))
            })?,
        };
        static_binaries::ensure_linked(&bascule, Linked::Dynamically)?;
        Ok(Self { bascule, library: library(progress)? })
    }
}

/// The library, built once for each of its sources.
pub(crate) fn library(progress: &Progress) -> Result<PathBuf> {
    let key: String = Sha256::digest(SOURCE).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let folder = super::cache_folder()?.join(format!("clock-{key}"));
    let file = folder.join("clock.so");
    if !file.exists() {
        progress.step("building the library that holds clocks", |_| build(&folder, &file))?;
    }
    Ok(file)
}

fn build(folder: &Path, file: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let source = folder.join("clock.c");
    fs::write(&source, SOURCE)?;
    // Renamed when complete: a build that was broken off leaves nothing that looks like a library.
    let partial =
        tempfile::Builder::new().prefix(".clock").suffix(".so").tempfile_in(folder)?.into_temp_path();
    let mut command = Command::new("gcc");
    command.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]);
    command.arg(&partial).arg(&source);
    finish(command, None, BUILD)?;
    ensure!(partial.metadata()?.len() > 0, "gcc has written nothing");
    partial.persist(file)?;
    Ok(())
}
