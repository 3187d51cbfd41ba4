//! Our own programs as they run in containers: linked statically, so that an image needs nothing else.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::progress::{Note, Progress};

const PROFILE: &str = "demo";

/// The programs that go into images and into sites.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StaticBinaries {
    /// Operator, guard and command line.
    pub bascule: PathBuf,
    /// The demo's web application.
    pub web: PathBuf,
}

impl StaticBinaries {
    /// Builds what is out of date. `BASCULE_BIN` and `BASCULE_WEB_BIN` name ready ones instead.
    pub fn ensure(progress: &Progress) -> Result<Self> {
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let (bascule, web) = (named("BASCULE_BIN"), named("BASCULE_WEB_BIN"));
        let mut packages = Vec::new();
        if bascule.is_none() {
            packages.extend(["-p", "bascule", "--bin", "bascule"]);
        }
        if web.is_none() {
            packages.extend(["-p", "bascule-e2e", "--bin", "demo-web"]);
        }
        let built = if packages.is_empty() {
            PathBuf::new()
        } else {
            progress.step("building static binaries", |note| cargo(&packages, None, note))?
        };
        let binaries = Self {
            bascule: bascule.unwrap_or_else(|| built.join("bascule")),
            web: web.unwrap_or_else(|| built.join("demo-web")),
        };
        for file in [&binaries.bascule, &binaries.web] {
            ensure_linked(file, Linked::Statically)?;
        }
        Ok(binaries)
    }
}

/// Builds and answers the folder with the programs. `wrapper`: what is started in place of the compiler.
pub(super) fn cargo(packages: &[&str], wrapper: Option<&Path>, note: &Note) -> Result<PathBuf> {
    let workspace = super::workspace()?;
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .current_dir(&workspace)
        .args(["build", "--locked", "--profile", PROFILE, "--target", &target()])
        .args(packages)
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TERM_COLOR", "never")
        .envs(wrapper.map(|wrapper| ("RUSTC_WRAPPER", wrapper)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let err = child.stderr.take().context("no standard error")?;
    let mut said = Vec::new();
    for line in BufReader::new(err).lines() {
        let line = line?;
        note.say(line.trim());
        said.push(line);
    }
    let status = child.wait()?;
    if !status.success() {
        let from = said.len().saturating_sub(40);
        bail!("cargo build {} ended with {status}:\n{}", packages.join(" "), said[from..].join("\n"));
    }
    Ok(folder.join(target()).join(PROFILE))
}

/// Named although it is this machine's own: flags for the linker hold for the programs then and not for what runs while
/// they are built.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    /// It needs nothing: one that asked for a dynamic linker would not start in an empty image.
    Statically,
    /// A library can be loaded before it.
    Dynamically,
}

/// Refuses a program that is linked otherwise.
pub(super) fn ensure_linked(file: &Path, linked: Linked) -> Result<()> {
    ensure!(file.exists(), "{} is not there", file.display());
    let output = Command::new("ldd").arg(file).output().context("cannot start ldd")?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let needs_nothing = said.contains("statically linked") || said.contains("not a dynamic executable");
    match linked {
        Linked::Statically => ensure!(
            needs_nothing,
            "{} is not linked statically: build it with RUSTFLAGS='-C target-feature=+crt-static' and --target {}",
            file.display(),
            target()
        ),
        Linked::Dynamically => ensure!(
            !needs_nothing && output.status.success(),
            "{} is linked statically, so nothing can be loaded before it: build it with `make binaries`",
            file.display()
        ),
    }
    Ok(())
}
