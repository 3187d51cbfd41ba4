//! What FILE is held against: a cluster, files, or a git revision.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use bascule_adapters::git::{Limits, Local};
use bascule_core::name::Namespace;
use bascule_engine::intake::read::File;

use super::files::{self, Loaded};
use super::state::{Before, Removes, State};
use crate::given;

/// The word for the cluster.
const LIVE: &str = "live";
/// What makes a revision of what could be a path.
const GIT: &str = "git:";

/// What was said after `--against`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// Nothing.
    Nothing,
    /// The cluster.
    Live,
    /// Files, or directories with some.
    Files(PathBuf),
    /// A revision of the repository that holds FILE.
    Revision(String),
}

impl Against {
    /// Reads the option: `live` and `git:REV` are what they say, a path that exists is one, anything else is a revision.
    pub fn of(text: Option<&str>) -> anyhow::Result<Self> {
        Ok(match text {
            None => Self::Nothing,
            Some(LIVE) => Self::Live,
            Some(text) if text.starts_with(GIT) => {
                let revision = text.trim_start_matches(GIT);
                if revision.is_empty() {
                    bail!("--against {text}: found no revision, expected one such as git:main or git:HEAD~1");
                }
                Self::Revision(revision.to_owned())
            }
            Some("") => bail!("--against: found nothing, expected {EXPECTED}"),
            Some(text) if Path::new(text).exists() => Self::Files(text.into()),
            Some(text) if text.starts_with(['.', '/']) => {
                bail!("--against {text}: found no file or directory of that name, expected {EXPECTED}")
            }
            Some(text) => Self::Revision(text.to_owned()),
        })
    }
}

const EXPECTED: &str = "live, a file or directory, or a git revision such as main, HEAD~1 or git:main";

/// Files, or what the error says about them.
pub fn of_files(path: &Path, after: &State, namespace: &Namespace) -> anyhow::Result<Before> {
    let loaded = files::read(&[path.to_owned()], "--against: the state before")?;
    let words = path.display().to_string();
    let state = state(&loaded, namespace, &format!("the state before ({words}) cannot be used"))?;
    // A file with Moves alone adds to what is there.
    let removes = if after.has_only_moves() { Removes::Nothing } else { Removes::All };
    Ok(Before { state, removes, words, ..Before::default() })
}

fn state(loaded: &[Loaded], namespace: &Namespace, what: &str) -> anyhow::Result<State> {
    let files: Vec<File<'_>> = loaded.iter().map(|f| File { path: &f.path, bytes: &f.bytes }).collect();
    // Objects of another namespace are another one's business only when they say so.
    let own = given::namespace(&files, Some(namespace), "plan").context(what.to_owned())?;
    if own != *namespace {
        bail!(
            "{what}: found objects of the namespace {own}, expected {namespace}, as in FILE: a Move acts on policies of its own namespace"
        );
    }
    State::of(given::intake(&files, namespace, what)?)
}

/// The same paths in a revision.
pub fn of_revision(
    revision: &str,
    paths: &[PathBuf],
    after: &State,
    namespace: &Namespace,
) -> anyhow::Result<Before> {
    let option = || format!("--against {revision}");
    let mut loaded: Vec<Loaded> = Vec::new();
    let mut words = String::new();
    let mut directories: Vec<Vec<Loaded>> = Vec::new();
    for path in paths {
        let path = absolute(path)?;
        let directory = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(&path) };
        let Some(repository) = Local::holding(directory).with_context(option)? else {
            bail!(
                "--against {revision}: found no file or directory of that name, and {} lies in no git repository; expected {EXPECTED}",
                path.display()
            );
        };
        let commit = repository.commit(revision).with_context(|| {
            format!("--against {revision}: found no file or directory and no revision of that name; expected {EXPECTED}")
        })?;
        words = if commit.to_string().starts_with(revision) {
            format!("the revision {commit}")
        } else {
            format!("the revision {revision} ({commit})")
        };
        let limits = Limits::default();
        let below = |path: &Path| -> anyhow::Result<Vec<Loaded>> {
            let inside = path.strip_prefix(repository.top()).with_context(|| {
                format!("{} lies outside of {}", path.display(), repository.top().display())
            })?;
            let found = repository.files(commit, inside, &limits).with_context(option)?;
            let named = |f: bascule_adapters::git::File| Loaded {
                path: format!("{revision}:{}", f.path),
                bytes: f.bytes,
            };
            Ok(found.into_iter().map(named).collect())
        };
        loaded.extend(below(&path)?);
        if !path.is_dir() && after.has_only_moves() {
            directories.push(below(directory)?);
        }
    }
    loaded.sort_by(|a, b| a.path.cmp(&b.path));
    loaded.dedup();
    let what = format!("the state before ({words}) cannot be used");
    let state = state(&loaded, namespace, &what)?;
    // A new file with a Move has no state of its own: its policy lies beside it.
    let mut beside = BTreeMap::new();
    for directory in directories {
        let found =
            self::state(&directory, namespace, &format!("the directory of FILE in {words} cannot be used"))?;
        beside.extend(found.policies);
    }
    Ok(Before { state, beside, removes: Removes::All, words, ..Before::default() })
}

/// The path without links, `.` and `..`; the last part need not exist any more.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    if let Ok(found) = path.canonicalize() {
        return Ok(found);
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let last = path.components().next_back();
    let (Some(Component::Normal(name)), Ok(parent)) = (last, parent.canonicalize()) else {
        bail!("{}: found no such file or directory", path.display());
    };
    Ok(parent.join(name))
}

/// FILE as it lies there; with a revision to compare with, a path that is gone is a removal.
pub fn after(paths: &[PathBuf], against: &Against) -> anyhow::Result<Vec<Loaded>> {
    let may_be_gone = matches!(against, Against::Revision(_));
    let there: Vec<PathBuf> = paths.iter().filter(|p| !may_be_gone || p.exists()).cloned().collect();
    files::read(&there, "FILE: a policy or a Move")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_against_is_never_two_things_at_once() {
        let of = |text| Against::of(Some(text)).unwrap();
        assert_eq!(Against::of(None).unwrap(), Against::Nothing);
        assert_eq!(of("live"), Against::Live);
        assert_eq!(of("git:live"), Against::Revision("live".to_owned()));
        assert_eq!(of("src"), Against::Files("src".into()), "a path that exists is a path");
        assert_eq!(of("git:src"), Against::Revision("src".to_owned()));
        assert_eq!(of("HEAD~1"), Against::Revision("HEAD~1".to_owned()));
        assert!(Against::of(Some("./main")).unwrap_err().to_string().contains("no file or directory"));
        assert!(Against::of(Some("git:")).unwrap_err().to_string().contains("git:main"));
        assert!(Against::of(Some("")).unwrap_err().to_string().contains("expected live, a file"));
    }
}
