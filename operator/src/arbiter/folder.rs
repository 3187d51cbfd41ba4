//! Files come to the disk together or not at all, and never over what is there.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A file that is to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Where, below the folder.
    pub path: String,
    /// What is in it.
    pub text: String,
    /// Whether nobody but its owner may read it.
    pub secret: bool,
}

impl File {
    /// One that anybody may read.
    pub fn open(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), secret: false }
    }

    /// One with a key in it.
    pub fn secret(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), secret: true }
    }
}

/// Whether a file of this name holds a private key.
pub fn is_key(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending == "key")
}

/// Refuses a folder that is there, whatever is in it: it may hold the only copy of an arbiter's keys.
pub fn refuse(folder: &Path) -> anyhow::Result<()> {
    let found = match fs::symlink_metadata(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => {
            return Err(e).with_context(|| format!("--out {}: it cannot be looked at", folder.display()));
        }
        Ok(found) => found,
    };
    let what = if found.is_dir() {
        let names = fs::read_dir(folder)
            .with_context(|| format!("--out {}: it is there and cannot be read", folder.display()))?;
        let mut names: Vec<String> =
            names.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
        names.sort_unstable();
        let (count, some) = (names.len(), names.into_iter().take(4).collect::<Vec<_>>().join(", "));
        match count {
            0 => "an empty folder".to_owned(),
            1..=4 => format!("a folder with {some}"),
            _ => format!("a folder with {some} and {} more", count - 4),
        }
    } else {
        "a file".to_owned()
    };
    bail!(
        "--out {}: found {what}, expected nothing at that place: an arbiter's keys are never written over. Nothing was made; name another folder, or, to sign anew with the authorities of that one, name it in --from and another in --out",
        folder.display()
    )
}

/// Writes all files below a folder that is made for them.
pub fn write(folder: &Path, files: &[File]) -> anyhow::Result<()> {
    refuse(folder)?;
    let partial = partial(folder)?;
    let all = (|| -> anyhow::Result<()> {
        make(&partial)?;
        for file in files {
            write_one(&partial, file)?;
        }
        fs::rename(&partial, folder)
            .with_context(|| format!("{} cannot be made {}", partial.display(), folder.display()))
    })();
    if all.is_err() {
        // What it was is in the error; a half-made folder only misleads.
        let _ = fs::remove_dir_all(&partial);
    }
    all
}

/// Beside it, on the same disk, so that it can be renamed.
fn partial(folder: &Path) -> anyhow::Result<PathBuf> {
    let name = folder.file_name().with_context(|| {
        format!("--out {}: expected the name of a folder that is to be made", folder.display())
    })?;
    let mut name = name.to_owned();
    name.push(format!(".partial-{}", std::process::id()));
    Ok(folder.with_file_name(name))
}

fn make(folder: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the folder {} cannot be made", folder.display()))
}

fn write_one(folder: &Path, file: &File) -> anyhow::Result<()> {
    let path = folder.join(&file.path);
    if let Some(parent) = path.parent() {
        make(parent)?;
    }
    let mode = if file.secret { 0o600 } else { 0o644 };
    let mut open = fs::OpenOptions::new();
    open.write(true).create_new(true).mode(mode);
    let written = open.open(&path).and_then(|mut to| {
        to.write_all(file.text.as_bytes())?;
        to.sync_all()
    });
    written.with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_for_their_owner_and_nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("arbiter");
        let files = [File::open("a/x.crt", "x"), File::secret("a/x.key", "y")];
        write(&folder, &files).unwrap();
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a/x.key"), mode("a"), mode("")), (0o600, 0o700, 0o700));
        let why = format!("{:#}", write(&folder, &files).unwrap_err());
        assert!(why.contains("found a folder with a") && why.contains("--from"), "{why}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half-made is left");
    }

    #[test]
    fn what_cannot_be_written_whole_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("arbiter");
        let clash = [File::open("a", "x"), File::open("a/b", "y")];
        assert!(write(&folder, &clash).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
