//! Repositories made with git itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A work tree and the bare repository it pushes to.
pub(crate) struct Repository {
    dir: TempDir,
}

impl Repository {
    /// With one commit on `main` that holds `files`.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let this = Self { dir: TempDir::new().unwrap() };
        std::fs::create_dir_all(this.work()).unwrap();
        git(this.dir.path(), &["init", "-q", "--bare", "-b", "main", "origin.git"]);
        git(&this.work(), &["init", "-q", "-b", "main"]);
        git(&this.work(), &["remote", "add", "origin", "../origin.git"]);
        this.commit(files);
        this
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The directory that holds `origin.git`.
    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}/origin.git", self.dir.path().display())
    }

    /// Writes the files, commits and pushes; the commit's id.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.work().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "change the shop\n\nmore"]);
        self.git(&["push", "-q", "-f", "origin", "main"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Makes `main` of the origin what a stream of `git fast-import` says: objects that no work tree could hold.
    pub(crate) fn import(&self, stream: &[u8]) {
        let mut child = Command::new("git")
            .current_dir(self.root().join("origin.git"))
            // Large files as they come: to press and compare them well would take longer than the tests.
            .args(["-c", "pack.compression=1", "-c", "core.bigFileThreshold=1m"])
            .args(["fast-import", "--quiet", "--force"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(stream).unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(&self.work(), args)
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", dir)
        .args([
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.org",
            "-c",
            "advice.addEmbeddedRepo=false",
        ])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
