//! The Move as a file on a branch of a local clone, for a pull request.

use std::path::Path;

use anyhow::{Context as _, bail};
use bascule_adapters::git::{Local, Proposal};
use bascule_crds::Move;

use super::asked::Common;
use super::make::yaml;

/// Commits it; what was done and what comes next.
pub fn onto_a_branch(directory: &Path, mv: &Move, common: &Common) -> anyhow::Result<String> {
    let option = || format!("--git {}", directory.display());
    let full = directory
        .canonicalize()
        .with_context(|| format!("{}: found no such directory, expected one in a local clone", option()))?;
    if !full.is_dir() {
        bail!(
            "{}: found a file, expected the directory in a local clone that the Move is put into",
            option()
        );
    }
    let Some(repository) = Local::holding(&full).with_context(option)? else {
        bail!("{}: found no git repository there, expected a directory in a local clone", option());
    };
    let name = mv.metadata.name.as_deref().unwrap_or_default();
    let inside = full.strip_prefix(repository.top()).with_context(option)?;
    let path = inside.join(format!("{name}.yaml"));
    let branch = format!("bascule/{name}");
    let base = repository.head().with_context(option)?;
    let target = mv.spec.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
    let message = format!("{:?} of {}{target}\n\n{}\n", mv.spec.move_type, common.policy, common.reason);
    let content = yaml(mv)?;
    let proposal = Proposal { branch: &branch, path: &path, content: content.as_bytes(), message: &message };
    let commit = repository.propose(&proposal).with_context(option)?;
    let top = repository.top().display();
    Ok(format!(
        "\nCommitted: {} on branch {branch} ({commit}, from {base}) of {top}. Nothing was made in the cluster, and what is checked out there is as before.\n\nNext: git -C {top} push -u origin {branch}\n      then open a pull request; `bascule plan` tells there what it would cause. Until it is merged nothing happens.\n",
        path.display()
    ))
}
