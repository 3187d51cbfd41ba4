//! The files on the disk. What is there already is never touched.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A file that shall be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// Its name in the directory.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Refuses where one of them is there already.
pub fn free(directory: &Path, names: &[String]) -> anyhow::Result<()> {
    let there: Vec<String> = names
        .iter()
        .map(|name| directory.join(name))
        .filter(|path| fs::symlink_metadata(path).is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if there.is_empty() {
        return Ok(());
    }
    bail!(
        "--out {}: found {}, expected nothing of that name: a file is never overwritten; choose another directory, or move it away. Nothing was written",
        directory.display(),
        there.join(" and ")
    )
}

/// Writes all of them, into a directory that is made if it is not there; their paths.
pub fn all(directory: &Path, files: &[New]) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(directory).with_context(|| {
        format!("--out {}: the directory cannot be made; nothing was written", directory.display())
    })?;
    let names: Vec<String> = files.iter().map(|f| f.name.clone()).collect();
    free(directory, &names)?;
    let mut written: Vec<PathBuf> = Vec::new();
    for file in files {
        let path = directory.join(&file.name);
        let done: Vec<String> = written.iter().map(|p| p.display().to_string()).collect();
        let done = if done.is_empty() {
            "nothing was written".to_owned()
        } else {
            format!("only {} was written", done.join(", "))
        };
        // Made anew or not at all, whoever else writes here.
        let mut open = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(open) => open,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
                "{}: found a file that came meanwhile, expected none: it is not overwritten; {done}",
                path.display()
            ),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be made; {done}", path.display()));
            }
        };
        open.write_all(file.text.as_bytes())
            .with_context(|| format!("{} cannot be written to its end; remove it; {done}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_as_it_is_and_then_nothing_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| New { name: name.to_owned(), text: format!("new {name}") };
        let inner = directory.path().join("a/b");
        assert_eq!(all(&inner, &[file("one"), file("two")]).unwrap(), [inner.join("one"), inner.join("two")]);
        fs::write(directory.path().join("two"), "old").unwrap();
        let why = all(directory.path(), &[file("one"), file("two")]).unwrap_err().to_string();
        assert!(why.contains("two") && why.contains("never overwritten"), "{why}");
        assert!(!directory.path().join("one").exists());
        assert_eq!(fs::read_to_string(directory.path().join("two")).unwrap(), "old");
    }
}
