//! What can be said of files, for a pull request's checks: no cluster is asked.

use std::path::PathBuf;

use anyhow::bail;
use bascule_core::name::Namespace;
use bascule_engine::intake::read::{File, Limits, revision};
use bascule_engine::intake::{moves, policy};
use jiff::Timestamp;

use super::Installation;
use super::codes::FILE_INVALID;
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
    let revision = match revision(&files, &namespace, &Limits::default()) {
        Ok(revision) => revision,
        Err(problems) => {
            for problem in problems {
                let place = [
                    Some(problem.file),
                    problem.line.map(|n| n.to_string()),
                    problem.column.map(|n| n.to_string()),
                ];
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
            return Ok((report, Vec::new()));
        }
    };
    if revision.policies.is_empty() && revision.moves.is_empty() {
        let found = match loaded {
            [one] => one.path.clone(),
            all => format!("{} files", all.len()),
        };
        bail!("found no FailoverPolicy and no Move in {found}, expected at least one");
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

/// So many of them.
pub fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
