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

/// The option that names two revisions.
const GIT_OPTION: &str = "--git";

/// What each side of `--git` is.
const A_REVISION: &str = "a git revision of the repository that holds FILE, such as main or HEAD~1";

const EXPECTED: &str = "live, a file or directory, or a git revision such as main, HEAD~1 or git:main";

/// Files from before, not read yet.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// What they are, in words.
    pub words: String,
    /// The files that FILE takes the place of.
    pub files: Vec<Loaded>,
    /// Files of the same directories, with policies that Moves in FILE may be for.
    pub beside: Vec<Loaded>,
    /// They are the same paths as FILE, so that what FILE has not is removed, whatever else is in it.
    pub same_paths: bool,
}

impl Given {
    /// All files.
    pub fn all(&self) -> impl Iterator<Item = &Loaded> {
        self.files.iter().chain(&self.beside)
    }

    /// The objects in them.
    pub fn before(self, after: &State, namespace: &Namespace) -> anyhow::Result<Before> {
        let what = format!("the state before ({}) cannot be used", self.words);
        let state = state(&self.files, namespace, &what)?;
        let needed = after.has_only_moves() && state.policies.is_empty();
        let beside =
            if needed { self::state(&self.beside, namespace, &what)?.policies } else { BTreeMap::new() };
        // A file with Moves alone adds to what is there.
        let adds = after.has_only_moves() && !self.same_paths;
        let removes = if adds { Removes::Nothing } else { Removes::All };
        let nothing = state.policies.is_empty() && state.moves.is_empty() && beside.is_empty();
        let words = if nothing { format!("{}, in which there is no object", self.words) } else { self.words };
        Ok(Before { state, beside, removes, words, ..Before::default() })
    }
}

fn state(loaded: &[Loaded], namespace: &Namespace, what: &str) -> anyhow::Result<State> {
    let files: Vec<File<'_>> = loaded.iter().map(Loaded::as_file).collect();
    State::of(given::intake(&files, namespace, what)?)
}

/// Files that lie somewhere else.
pub fn files(path: &Path) -> anyhow::Result<Given> {
    let files = files::read(&[path.to_owned()], "--against: the state before")?;
    Ok(Given { words: path.display().to_string(), files, ..Given::default() })
}

/// The two revisions of `BASE..HEAD`.
pub fn between(text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once("..") {
        // Three dots mean the base that both have in common, which takes the whole history to find.
        Some((base, head)) if !base.is_empty() && !head.is_empty() && !head.starts_with('.') => {
            Ok((base.to_owned(), head.to_owned()))
        }
        _ => bail!("--git {text}: expected two revisions with two dots between them, such as main..HEAD"),
    }
}

/// The same paths in a revision; `between`: what was said after `--git`, of which it is one side.
pub fn revision(revision: &str, between: Option<&str>, paths: &[PathBuf]) -> anyhow::Result<Given> {
    let option = || match between {
        Some(both) => format!("{GIT_OPTION} {both}"),
        None => format!("--against {revision}"),
    };
    // Of two revisions, neither need be what lies there now, and neither can be anything else.
    let (or_file, expected) = match between {
        Some(_) => (format!("{revision}: found no revision of that name"), A_REVISION),
        None => ("found no file or directory and no revision of that name".to_owned(), EXPECTED),
    };
    let mut given = Given { same_paths: true, ..Given::default() };
    for path in paths {
        let path = absolute(path)?;
        let directory = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(&path) };
        let Some(repository) = Local::holding(directory).with_context(option)? else {
            let nor = if between.is_none() { "found no file or directory of that name, and " } else { "" };
            bail!("{}: {nor}{} lies in no git repository; expected {expected}", option(), path.display());
        };
        let commit = repository
            .commit(revision)
            .with_context(|| format!("{}: {or_file}; expected {expected}", option()))?;
        let id = commit.to_string();
        let is_id = revision.starts_with(&id) || id.starts_with(revision);
        given.words =
            if is_id { format!("the revision {id}") } else { format!("the revision {revision} ({id})") };
        let below = |path: &Path| -> anyhow::Result<Vec<Loaded>> {
            let inside = path.strip_prefix(repository.top()).with_context(|| {
                format!("{} lies outside of {}", path.display(), repository.top().display())
            })?;
            let found = repository.files(commit, inside, &Limits::default()).with_context(option)?;
            let named = |f: bascule_adapters::git::File| Loaded {
                path: format!("{revision}:{}", f.path),
                bytes: f.bytes,
            };
            Ok(found.into_iter().map(named).collect())
        };
        let found = below(&path)?;
        if found.is_empty() && between.is_none() && !path.exists() {
            bail!(
                "FILE: found nothing at {}, neither now nor in {}; expected a file or directory that is there, or was and is deleted",
                path.display(),
                given.words
            );
        }
        given.files.extend(found);
        if !path.is_dir() {
            given.beside.extend(below(directory)?);
        }
    }
    for files in [&mut given.files, &mut given.beside] {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup();
    }
    Ok(given)
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
    fn two_revisions_have_two_dots_between_them() {
        assert_eq!(between("main..HEAD").unwrap(), ("main".to_owned(), "HEAD".to_owned()));
        for wrong in ["main", "..HEAD", "main..", "main...HEAD", ".."] {
            assert!(between(wrong).unwrap_err().to_string().contains("main..HEAD"), "{wrong}");
        }
    }

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
