//! A revision of a repository on this disk: read by object id, never checked out, nothing fetched.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, Oid, Repository};

use super::child::Trouble;
use super::{File, GitError, Limits, tree};

/// A repository on this disk, with its working directory.
pub struct Local {
    repository: Repository,
    top: PathBuf,
}

/// A commit of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit(Oid);

impl Commit {
    pub(super) const fn of(id: Oid) -> Self {
        Self(id)
    }
}

impl std::fmt::Display for Commit {
    /// The first twelve digits of its id.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.0.to_string();
        f.write_str(id.get(..12).unwrap_or(&id))
    }
}

impl Local {
    /// The repository that `directory` lies in; `None`: it lies in none.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn holding(directory: &Path) -> Result<Option<Self>, GitError> {
        let unreadable = |why: String| GitError::Request { field: directory.display().to_string(), why };
        let repository = match Repository::discover(directory) {
            Ok(found) => found,
            Err(e) if e.code() == ErrorCode::NotFound => return Ok(None),
            Err(e) => return Err(unreadable(e.message().to_owned())),
        };
        let Some(top) = repository.workdir() else {
            return Err(unreadable("the repository is bare: it has no files beside its history".to_owned()));
        };
        let top = top.canonicalize().map_err(|e| unreadable(e.to_string()))?;
        Ok(Some(Self { repository, top }))
    }

    /// Its working directory.
    pub fn top(&self) -> &Path {
        &self.top
    }

    pub(super) const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The commit that a revision such as `main`, `HEAD~1`, a tag or an id means.
    ///
    /// # Errors
    /// When it means none.
    pub fn commit(&self, revision: &str) -> Result<Commit, GitError> {
        let found = self.repository.revparse_single(revision).and_then(|o| o.peel_to_commit());
        found.map(|commit| Commit(commit.id())).map_err(|e| GitError::NotFound {
            what: format!("the revision {revision:?} in {}", self.top.display()),
            hint: if self.repository.is_shallow() {
                ": the clone is shallow, so only its newest commits are there: fetch the rest with git fetch --unshallow (in a job: fetch-depth 0)".to_owned()
            } else {
                format!(" ({})", e.message())
            },
        })
    }

    /// Every YAML file at or below `path` (relative to the working directory) in a commit; none, when nothing is there.
    ///
    /// # Errors
    /// When something there is never read, or is larger than `limits`.
    pub fn files(&self, commit: Commit, path: &Path, limits: &Limits) -> Result<Vec<File>, GitError> {
        let text = path.to_string_lossy();
        let parts = tree::parts(&text)?;
        self.read(commit, &parts, limits).map_err(|trouble| match trouble {
            Trouble::Cache(why) => GitError::Request { field: self.top.display().to_string(), why },
            Trouble::Final(error) => error,
        })
    }

    fn read(&self, commit: Commit, parts: &[&str], limits: &Limits) -> Result<Vec<File>, Trouble> {
        let broken = |e: &git2::Error| Trouble::Cache(e.message().to_owned());
        let commit = self.repository.find_commit(commit.0).map_err(|e| broken(&e))?;
        let root = commit.tree_id();
        let Some((last, directory)) = parts.split_last() else {
            return tree::read(&self.repository, root, parts, limits);
        };
        let directory_id = match tree::descend(&self.repository, root, directory) {
            Ok(id) => id,
            Err(Trouble::Final(GitError::NotFound { .. })) => return Ok(Vec::new()),
            Err(other) => return Err(other),
        };
        let listed = self.repository.find_tree(directory_id).map_err(|e| broken(&e))?;
        let Some(entry) = listed.get_name_bytes(last.as_bytes()) else { return Ok(Vec::new()) };
        if entry.kind() == Some(git2::ObjectType::Tree) {
            return tree::read(&self.repository, entry.id(), parts, limits);
        }
        tree::one(&self.repository, &entry, &parts.join("/"), limits).map(|file| vec![file])
    }
}
