//! What the machine must have: Debian packages, Kubernetes' own servers and etcd as Go modules, our own static
//! binaries. What is missing is installed or built, once per version, into a cache outside of the checkout.

mod gateway;
mod held_programs;
mod packages;
mod servers;
mod static_binaries;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

pub use gateway::Gateway;
pub use held_programs::HeldPrograms;
#[cfg(test)]
pub(crate) use held_programs::library as clock_library;
pub use static_binaries::StaticBinaries;

use crate::progress::Progress;

/// Paths of everything that the world starts and that does not come from a Debian package.
#[derive(Clone, Debug)]
pub struct Tools {
    servers: PathBuf,
    coredns: PathBuf,
    assets: Option<PathBuf>,
}

impl Tools {
    /// Installs and builds what is missing; instant when nothing is.
    pub fn ensure(progress: &Progress) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the sandbox needs root: it makes network namespaces, mounts and cgroups"
        );
        packages::ensure(progress)?;
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from).filter(|p| p.is_dir());
        let servers = servers::ensure_servers(progress, assets.as_deref())?;
        let coredns = servers::ensure_coredns(progress)?;
        Ok(Self { servers, coredns, assets })
    }

    /// A Kubernetes or etcd program by its name. `KUBEBUILDER_ASSETS` comes first.
    pub fn server(&self, name: &str) -> PathBuf {
        self.assets
            .as_ref()
            .map(|a| a.join(name))
            .filter(|p| p.exists())
            .unwrap_or_else(|| self.servers.join(name))
    }

    /// Patroni, the peer of the measurements, from Debian: only `make bench` asks for it.
    pub fn ensure_peer(progress: &Progress) -> Result<()> {
        packages::ensure_peer(progress)
    }

    /// The real helm, built when there is none yet: only the chart's tests ask for it.
    pub fn helm(progress: &Progress) -> Result<PathBuf> {
        servers::ensure_helm(progress)
    }

    /// The slim CoreDNS.
    pub fn coredns(&self) -> PathBuf {
        self.coredns.clone()
    }
}

/// Where everything that can be made again is kept: `BASCULE_CACHE`, or `bascule-sandbox` in the user's cache
/// folder.
pub fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("BASCULE_CACHE") {
        return Ok(folder.into());
    }
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set: set BASCULE_CACHE")?)
            .join(".cache"),
    };
    Ok(base.join("bascule-sandbox"))
}

/// Our own binary, for process 1 of a place and the other hidden helpers: this program itself, or the one that
/// cargo has built beside this test.
pub fn sandbox_binary() -> Result<PathBuf> {
    const NAME: &str = "bascule-sandbox";
    if let Some(path) = std::env::var_os("BASCULE_SANDBOX_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    if own.file_name().is_some_and(|n| n == NAME) {
        return Ok(own);
    }
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(NAME)).find(|p| p.exists());
    match found {
        Some(path) => Ok(path),
        None => bail!(
            "no {NAME} beside {}: build it with `cargo build -p bascule-e2e` or set BASCULE_SANDBOX_BIN",
            own.display()
        ),
    }
}

/// The workspace this was built from.
pub(crate) fn workspace() -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("e2e has no parent folder")?;
    ensure!(path.join("Cargo.toml").exists(), "the sources are not at {} any more", path.display());
    Ok(path.to_owned())
}
