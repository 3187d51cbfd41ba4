//! A file on a new branch of a repository on this disk. The working directory, the index and every branch that is there
//! stay as they are.

use std::path::Path;

use git2::build::TreeUpdateBuilder;
use git2::{ErrorCode, FileMode, ObjectType};

use super::GitError;
use super::local::{Commit, Local};

/// What is put on a branch.
#[derive(Clone, Debug)]
pub struct Proposal<'a> {
    /// The branch, which must not exist.
    pub branch: &'a str,
    /// The file, relative to the top; there must be none yet.
    pub path: &'a Path,
    /// What is in it.
    pub content: &'a [u8],
    /// Why, for the commit.
    pub message: &'a str,
}

impl Local {
    /// The branch that is checked out, or the commit where none is.
    ///
    /// # Errors
    /// When there is no commit yet.
    pub fn head(&self) -> Result<String, GitError> {
        let head = self.repository().head().map_err(|e| self.unusable("HEAD", &e))?;
        // A name that is no text is shown by its commit.
        let id = head.target().map(|id| id.to_string()).unwrap_or_default();
        Ok(if head.is_branch() { head.shorthand().unwrap_or(&id).to_owned() } else { id })
    }

    /// Commits a file on a new branch that begins at what is checked out.
    ///
    /// # Errors
    /// When the branch or the file exists, when nobody's name is configured, or when the repository cannot be written.
    pub fn propose(&self, proposal: &Proposal<'_>) -> Result<Commit, GitError> {
        let Proposal { branch, path, content, message } = proposal;
        let repository = self.repository();
        let of_branch = |e: git2::Error| self.unusable(&format!("branch {branch}"), &e);
        let reference = format!("refs/heads/{branch}");
        match repository.find_reference(&reference) {
            Err(e) if e.code() == ErrorCode::NotFound => {}
            Err(e) => return Err(of_branch(e)),
            Ok(_) => {
                return Err(self.refused(
                    &format!("branch {branch}"),
                    "it exists already, expected a new one; choose another name",
                ));
            }
        }
        let head =
            repository.head().and_then(|h| h.peel_to_commit()).map_err(|e| self.unusable("HEAD", &e))?;
        let root = head.tree().map_err(|e| self.unusable("HEAD", &e))?;
        if root.get_path(path).is_ok() {
            let field = path.display().to_string();
            return Err(
                self.refused(&field, "there is such a file already, expected none; choose another name")
            );
        }
        let author = repository.signature().map_err(|_| {
            self.refused(
                "user.name and user.email",
                "found none, expected whose commit it is; set them with git config user.name and git config user.email",
            )
        })?;
        let of_path = |e: git2::Error| self.unusable(&path.display().to_string(), &e);
        let blob = repository.blob(content).map_err(of_path)?;
        let mut update = TreeUpdateBuilder::new();
        update.upsert(*path, blob, FileMode::Blob);
        let tree = update.create_updated(repository, &root).map_err(of_path)?;
        let tree = repository.find_object(tree, Some(ObjectType::Tree)).and_then(|o| o.peel_to_tree());
        let tree = tree.map_err(of_path)?;
        let made = repository.commit(Some(&reference), &author, &author, message, &tree, &[&head]);
        made.map(Commit::of).map_err(of_branch)
    }

    fn refused(&self, field: &str, why: &str) -> GitError {
        GitError::Request { field: format!("{}: {field}", self.top().display()), why: why.to_owned() }
    }

    fn unusable(&self, field: &str, error: &git2::Error) -> GitError {
        self.refused(field, error.message())
    }
}
