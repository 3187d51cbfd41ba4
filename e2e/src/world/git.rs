//! The git repository of the outside world: commits are made by a working copy on the host and served over https.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::pki::Pki;
use super::place::{GIT_PORT, HOST_ADDRESS};
use super::run_folder::RunFolder;
use crate::command::{SHORT, finish};
use crate::process::Recorded;
use crate::waiting::until_blocking;

/// User name that the server asks for.
pub const GIT_USER: &str = "bascule";
/// Its password.
pub const GIT_PASSWORD: &str = "correct horse";
/// The one repository.
pub const REPOSITORY: &str = "fleet.git";
/// The branch that is followed.
pub const BRANCH: &str = "main";

/// The repository and its server.
#[derive(Clone, Copy, Debug)]
pub struct Git<'a> {
    pub(super) run: &'a RunFolder,
}

impl Git<'_> {
    fn folder(&self) -> PathBuf {
        self.run.root().join("git")
    }

    fn work(&self) -> PathBuf {
        self.folder().join("work")
    }

    /// The bare repository on disk.
    pub fn repository(&self) -> PathBuf {
        self.folder().join(REPOSITORY)
    }

    /// Where sites fetch from.
    pub fn url(&self) -> String {
        format!("https://{HOST_ADDRESS}:{GIT_PORT}/{REPOSITORY}")
    }

    /// The repository as a file URL, for readers on the host or in a site (they share the disk).
    pub fn file_url(&self) -> String {
        format!("file://{}", self.repository().display())
    }

    /// Certificate of the authority that vouches for the server.
    pub fn ca(&self) -> PathBuf {
        Pki::open(self.run.pki()).ca()
    }

    /// Makes the empty repository with a first commit.
    pub(super) fn create(&self, pki: &Pki) -> Result<()> {
        fs::create_dir_all(self.folder())?;
        pki.issue("git", &[HOST_ADDRESS.to_string(), "git.bascule.test".to_owned()])?;
        let repository = self.repository();
        git_at(&self.folder(), &["init", "-q", "--bare", "-b", BRANCH, &repository.to_string_lossy()])?;
        git_at(&repository, &["config", "http.receivepack", "true"])?;
        git_at(&repository, &["config", "uploadpack.allowAnySHA1InWant", "true"])?;
        fs::create_dir_all(self.work())?;
        self.git(&["init", "-q", "-b", BRANCH])?;
        self.git(&["remote", "add", "origin", &repository.to_string_lossy()])?;
        self.commit("an empty fleet", &[("README.md", "Policies and moves of the demo's fleet.\n")])?;
        Ok(())
    }

    /// Starts the server; returns when it listens.
    pub fn start(&self) -> Result<()> {
        let identity = Pki::open(self.run.pki()).identity("git");
        let log = fs::File::options().create(true).append(true).open(self.folder().join("server.log"))?;
        let child = Command::new(crate::tools::sandbox_binary()?)
            .arg("git-server")
            .args(["--listen", &format!("{HOST_ADDRESS}:{GIT_PORT}")])
            .arg("--root")
            .arg(self.folder())
            .arg("--cert")
            .arg(identity.cert)
            .arg("--key")
            .arg(identity.key)
            .args(["--user", GIT_USER, "--password", GIT_PASSWORD])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let recorded = Recorded::of(i32::try_from(child.id())?)?;
        self.run.update(|state| state.git = Some(recorded))?;
        until_blocking("the git server", Duration::from_secs(20), || {
            std::net::TcpStream::connect((HOST_ADDRESS, GIT_PORT)).context("it does not listen")
        })?;
        Ok(())
    }

    /// Ends the server, as if its machine was gone.
    pub fn stop(&self) -> Result<()> {
        if let Some(recorded) = self.run.load()?.and_then(|state| state.git) {
            recorded.kill(SHORT)?;
        }
        self.run.update(|state| state.git = None)
    }

    /// Stops the server in mid-air: connections are taken by the kernel, and nobody answers.
    pub fn freeze(&self) -> Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let git = self.run.load()?.and_then(|state| state.git).context("the git server does not run")?;
        anyhow::ensure!(git.signal(signal)?, "the git server is gone");
        Ok(())
    }

    /// Writes files, commits and pushes; answers the commit.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> Result<String> {
        for (path, text) in files {
            let file = self.work().join(path);
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(file, text)?;
        }
        self.publish(message)
    }

    /// Removes files, commits and pushes; answers the commit.
    pub fn remove(&self, message: &str, paths: &[&str]) -> Result<String> {
        for path in paths {
            fs::remove_file(self.work().join(path)).with_context(|| format!("cannot remove {path}"))?;
        }
        self.publish(message)
    }

    /// Reverts a commit by a new one and pushes it; answers the new commit.
    pub fn revert(&self, commit: &str) -> Result<String> {
        self.git(&["revert", "--no-edit", commit])?;
        self.push()
    }

    fn publish(&self, message: &str) -> Result<String> {
        self.git(&["add", "-A"])?;
        self.git(&["commit", "-q", "-m", message])?;
        self.push()
    }

    fn push(&self) -> Result<String> {
        self.git(&["push", "-q", "origin", BRANCH])?;
        Ok(self.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// `git` in the working copy.
    pub fn git(&self, args: &[&str]) -> Result<String> {
        git_at(&self.work(), args)
    }
}

fn git_at(folder: &std::path::Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .args(args)
        // A person's own settings (signing, hooks, templates) have no place here.
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "Ada")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "ada@shop.example")));
    finish(command, None, SHORT)
}
