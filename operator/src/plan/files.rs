//! The files that are planned, as they lie on the disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bascule_engine::intake::read::File;

/// A file with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its path, for people.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Loaded {
    /// The file as intake takes it.
    pub fn as_file(&self) -> File<'_> {
        File { path: &self.path, bytes: &self.bytes }
    }
}

/// How many files are read at most.
const MOST_FILES: usize = 1000;
/// How deep directories are followed.
const DEPTH: usize = 16;
/// The largest file that is read, in bytes; what intake takes is less.
const LARGEST: u64 = 1 << 20;

/// Every YAML file at or below these paths, each once, in order of their paths. As from git: names that begin with a
/// dot are not read, and symbolic links in directories are refused.
pub fn read(paths: &[PathBuf], what: &str) -> anyhow::Result<Vec<Loaded>> {
    let mut found = Vec::new();
    for path in paths {
        let kind = fs::metadata(path).with_context(|| {
            format!("{what} was expected at {}: a YAML file, or a directory with some", path.display())
        })?;
        if kind.is_dir() {
            below(path, 0, &mut found)?;
        } else {
            found.push(path.clone());
        }
    }
    found.sort();
    found.dedup();
    found.into_iter().map(|path| load(&path, what)).collect()
}

fn below(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if depth > DEPTH {
        bail!("{}: found directories more than {DEPTH} deep, which are not read", directory.display());
    }
    let listed = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in listed {
        let entry = entry.with_context(|| directory.display().to_string())?;
        let (path, name) = (entry.path(), entry.file_name());
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        let kind = entry.file_type().with_context(|| path.display().to_string())?;
        if kind.is_dir() {
            below(&path, depth + 1, found)?;
        } else if kind.is_symlink() {
            bail!(
                "{}: found a symbolic link, which is not followed from git either: put the file there",
                path.display()
            );
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
        if found.len() > MOST_FILES {
            bail!("{}: found more than {MOST_FILES} YAML files, expected fewer", directory.display());
        }
    }
    Ok(())
}

fn load(path: &Path, what: &str) -> anyhow::Result<Loaded> {
    let shown = path.display().to_string();
    let size = fs::metadata(path).map(|m| m.len()).unwrap_or_default();
    if size > LARGEST {
        bail!("{shown}: found {size} bytes, expected at most {LARGEST}: split the file");
    }
    let bytes = fs::read(path).with_context(|| format!("{what} was expected at {shown}"))?;
    Ok(Loaded { path: shown, bytes })
}
