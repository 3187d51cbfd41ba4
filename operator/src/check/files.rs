//! What can be said of files, for a pull request's checks: no cluster is asked.

use std::path::{Component, Path, PathBuf};

use anyhow::bail;
use bascule_core::name::Namespace;
use bascule_crds::PolicySource;
use bascule_engine::intake::read::{File, Limits, Sourced, revision, sources};
use bascule_engine::intake::{Problem, moves, policy};
use jiff::Timestamp;

use super::Installation;
use super::codes::{FILE_INVALID, SOURCE_IN_ITS_FOLDER};
use super::policies::{self, Labelled};
use super::report::Report;
use crate::given;
use crate::plan::files::{self, Loaded};

/// Checks files and directories with some, read as the operator reads git.
pub fn check(
    paths: &[PathBuf],
    otherwise: Option<&Namespace>,
    installation: &Installation,
    now: Timestamp,
) -> anyhow::Result<Report> {
    Ok(read(paths, otherwise, installation, now)?.0)
}

/// The same, with the policies that are in them; none where a file is refused.
pub fn read(
    paths: &[PathBuf],
    otherwise: Option<&Namespace>,
    installation: &Installation,
    now: Timestamp,
) -> anyhow::Result<(Report, Vec<Labelled>)> {
    let loaded = files::read(paths, "FILE: a policy or a Move")?;
    of(&loaded, otherwise, installation, now)
}

/// The same of files that were read already, or are not written yet.
pub fn of(
    loaded: &[Loaded],
    otherwise: Option<&Namespace>,
    installation: &Installation,
    now: Timestamp,
) -> anyhow::Result<(Report, Vec<Labelled>)> {
    let files: Vec<File<'_>> = loaded.iter().map(Loaded::as_file).collect();
    let namespace = given::namespace(&files, otherwise, "check")?;
    let mut report = Report::new(match loaded.len() {
        1 => "1 file".to_owned(),
        n => format!("{n} files"),
    });
    installation.check(&mut report);
    // What says where git is does not come from there.
    let (from_git, found) = sources(&files, &namespace, &Limits::default());
    let (revision, found) = match (revision(&from_git, &namespace, &Limits::default()), found) {
        (Ok(revision), Ok(found)) => (revision, found),
        (revision, found) => {
            refused(revision.err().into_iter().chain(found.err()).flatten(), &mut report);
            return Ok((report, Vec::new()));
        }
    };
    let alone = revision.policies.is_empty() && revision.moves.is_empty();
    of_sources(&found, &namespace, alone, &mut report);
    if alone {
        if !found.is_empty() {
            return Ok((report, Vec::new()));
        }
        let found = match loaded {
            [one] => one.path.clone(),
            all => format!("{} files", all.len()),
        };
        bail!("found no FailoverPolicy, no Move and no PolicySource in {found}, expected at least one");
    }
    let mut all = Vec::new();
    for sourced in revision.policies.values() {
        // Intake has converted it already: it is valid.
        if let Ok(policy) = policy::convert(&sourced.object, None) {
            all.push(Labelled { policy, labels: sourced.object.metadata.labels.clone().unwrap_or_default() });
        }
    }
    let commands: Vec<_> = revision
        .moves
        .iter()
        .filter_map(|(name, sourced)| {
            let object = format!("Move {namespace}/{name} ({}:{})", sourced.file, sourced.line);
            Some((object, moves::convert(&sourced.object).ok()?))
        })
        .collect();
    policies::check(&all, &installation.profile.timing(), &mut report);
    policies::moves(&commands, &all, !all.is_empty(), now, &mut report);
    report.looked(format!(
        "{} and {} of namespace {namespace}: shape, names, times, what they name together",
        counted(all.len(), "policy", "policies"),
        counted(commands.len(), "Move", "Moves")
    ));
    Ok((report, all))
}

/// What the operator would not take.
fn refused(problems: impl Iterator<Item = Problem>, report: &mut Report) {
    for problem in problems {
        let place =
            [Some(problem.file), problem.line.map(|n| n.to_string()), problem.column.map(|n| n.to_string())];
        let place: Vec<String> = place.into_iter().flatten().collect();
        let expected = "objects that the operator takes";
        report.find(
            FILE_INVALID,
            &place.join(":"),
            problem.field.as_deref().unwrap_or_default(),
            problem.reason,
            expected,
        );
    }
}

/// What can be said of sources: they are valid already. `alone`: no policies and Moves were given with them, so a whole
/// repository may well be another one.
fn of_sources(found: &[Sourced<PolicySource>], namespace: &Namespace, alone: bool, report: &mut Report) {
    for Sourced { object, file, line } in found {
        let whole = names(Path::new(&object.spec.path)).is_empty();
        if lies_in(Path::new(file), &object.spec.path) && !(alone && whole) {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            report.find(
                SOURCE_IN_ITS_FOLDER,
                &format!("PolicySource {namespace}/{name} ({file}:{line})"),
                "spec.path",
                format!("'{}', and the file lies in it", object.spec.path),
                "a folder with policies and Moves and nothing else",
            );
        }
    }
    if !found.is_empty() {
        report.looked(format!("{} of namespace {namespace}", counted(found.len(), "source", "sources")));
    }
}

/// Whether a file seems to lie below `folder`, a path from the root of its repository, which is not known here: where the
/// folder's names are among those above the file, in their order. The whole repository has every file.
fn lies_in(file: &Path, folder: &str) -> bool {
    let (above, wanted) = (names(file.parent().unwrap_or(Path::new(""))), names(Path::new(folder)));
    wanted.is_empty() || above.windows(wanted.len()).any(|part| part == wanted)
}

/// The names of a path.
fn names(path: &Path) -> Vec<String> {
    let normal = path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    normal.collect()
}

/// So many of them.
pub fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_lies_in_the_folder_that_it_reads_where_the_folder_is_above_its_file() {
        for (file, folder, lies) in [
            ("examples/source.yaml", "shop", false),
            ("source.yaml", "shop", false),
            ("shop/source.yaml", "shop", true),
            ("/srv/ops/teams/shop/more/source.yaml", "teams/shop", true),
            ("shop/teams/source.yaml", "teams/shop", false),
            ("shop.yaml", "shop.yaml", false),
            ("anywhere/source.yaml", ".", true),
            ("./shop/source.yaml", "./shop", true),
        ] {
            assert_eq!(lies_in(Path::new(file), folder), lies, "{file} in {folder}");
        }
    }
}
