//! Objects that are given on the command line, read by the operator's own intake.

use anyhow::{anyhow, bail};
use bascule_core::name::Namespace;
use bascule_engine::intake::Problem;
use bascule_engine::intake::document::namespaces;
use bascule_engine::intake::read::{File, Limits, Revision, revision};

/// The one namespace that the objects of these files name; where they name none, `otherwise` or `default`.
pub fn namespace(files: &[File<'_>], otherwise: Option<&Namespace>, verb: &str) -> anyhow::Result<Namespace> {
    let limits = Limits::default();
    let mut found: Vec<String> = files.iter().flat_map(|f| namespaces(f, &limits)).collect();
    found.sort_unstable();
    found.dedup();
    let whose = |namespace: &String| {
        let of: Vec<&str> = files
            .iter()
            .filter(|f| namespaces(f, &limits).contains(namespace))
            .map(|f| f.path)
            .take(2)
            .collect();
        format!("{namespace} ({})", of.join(", "))
    };
    let usual = otherwise.map_or("default", Namespace::as_str);
    let namespace = match found.as_slice() {
        [] => usual,
        [one] => one,
        several => bail!(
            "found objects of the namespaces {}, expected one: Moves act on policies of their own namespace; {verb} one namespace at a time",
            several.iter().map(whose).collect::<Vec<_>>().join(", ")
        ),
    };
    // One that is no name is refused by intake, at its place in the file.
    Ok(Namespace::try_from(namespace).or_else(|_| Namespace::try_from(usual))?)
}

/// Whether any object in these files names a namespace.
pub fn names_one(files: &[File<'_>]) -> bool {
    files.iter().any(|f| !namespaces(f, &Limits::default()).is_empty())
}

/// The objects of all files, or everything that is wrong with them.
pub fn intake(files: &[File<'_>], namespace: &Namespace, what: &str) -> anyhow::Result<Revision> {
    revision(files, namespace, &Limits::default()).map_err(|problems| wrong(what, &problems))
}

/// What is wrong, one line for each.
pub fn wrong(what: &str, problems: &[Problem]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(|p| format!("  {p}")).collect();
    anyhow!("{what}:\n{}", lines.join("\n"))
}
