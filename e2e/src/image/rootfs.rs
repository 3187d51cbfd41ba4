//! A root filesystem out of this machine's own programs, with the shared libraries they need.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use bascule_image::Layer;

/// Adds files and folders at the paths they have here, and every library that one of the programs needs.
pub(super) fn add(layer: &mut Layer, sources: &[PathBuf]) -> Result<()> {
    for folder in
        ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "root", "run", "var", "proc", "sys", "dev"]
    {
        layer.folder(folder, 0o755, 0)?;
    }
    for folder in ["tmp", "var/tmp"] {
        layer.folder(folder, 0o1777, 0)?;
    }
    // As on the host, where /bin is /usr/bin.
    for name in ["bin", "sbin", "lib", "lib64"] {
        layer.symlink(name, &format!("usr/{name}"))?;
    }
    layer.symlink("var/run", "../run")?;
    let mut files = BTreeSet::new();
    for source in sources {
        collect(source, &mut files)?;
    }
    let programs: Vec<_> = files.iter().filter(|f| is_elf(f)).cloned().collect();
    files.extend(libraries(&programs)?);
    for file in &files {
        let mode = fs::metadata(file)?.permissions().mode() & 0o7777;
        layer.file(file, &inside(file), mode)?;
    }
    Ok(())
}

fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    // Follows links: an image holds what a link shows here.
    let Ok(meta) = fs::metadata(path) else { return Ok(()) };
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if meta.is_file() {
        files.insert(path.to_owned());
    }
    Ok(())
}

fn is_elf(file: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    fs::File::open(file).and_then(|mut f| f.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// What `ldd` says the programs need, with the paths at which the loader looks for it.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    // Its exit code only says that some file was static.
    let output = Command::new("ldd").args(programs).output().context("cannot start ldd")?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| !line.ends_with(':'))
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/') && word.contains(".so")))
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .collect())
}

/// The path in the image: `/lib/x` is `usr/lib/x`, since `/lib` is a link there.
fn inside(file: &Path) -> String {
    let path = file.to_string_lossy();
    let path = path.trim_start_matches('/');
    let merged = ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|prefix| path.starts_with(prefix));
    if merged { format!("usr/{path}") } else { path.to_owned() }
}
