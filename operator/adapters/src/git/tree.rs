//! Reading files from a commit's tree, by object id, within limits. What the sizes say is looked at before an
//! object is read.

use git2::{ObjectType, Odb, Oid, Repository};

use super::child::Trouble;
use super::{File, GitError, Limits};

const DIRECTORY: i32 = 0o040_000;
const FILES: [i32; 3] = [0o100_644, 0o100_755, 0o100_664];
const SYMLINK: i32 = 0o120_000;
const SUBMODULE: i32 = 0o160_000;

/// The largest directory or commit object that is read, in bytes.
const STRUCTURE_LIMIT: usize = 4 << 20;

/// An object that was fetched and cannot be read: the cache's fault, not the revision's.
fn broken(path: &str, e: &git2::Error) -> Trouble {
    Trouble::Cache(format!("{path}: {}", e.message()))
}

fn forbidden(path: &str, why: &str) -> Trouble {
    Trouble::Final(GitError::Forbidden { path: path.to_owned(), why: why.to_owned() })
}

/// Checks that a commit or directory object is not larger than what such objects are.
pub(super) fn check_structure(odb: &Odb<'_>, id: Oid, path: &str) -> Result<(), Trouble> {
    let (size, _) = odb.read_header(id).map_err(|e| broken(path, &e))?;
    if size > STRUCTURE_LIMIT {
        return Err(GitError::TooLarge {
            what: format!("object {id} at {path:?}"),
            limit: format!("{STRUCTURE_LIMIT} bytes"),
        }
        .into());
    }
    Ok(())
}

/// The sub-path's parts; refused when it is not plainly a path below the root.
pub(super) fn parts(path: &str) -> Result<Vec<&str>, GitError> {
    let below = path.strip_prefix("./").unwrap_or(path);
    if below.is_empty() || below == "." {
        return Ok(Vec::new());
    }
    let parts: Vec<_> = below.strip_suffix('/').unwrap_or(below).split('/').collect();
    if parts.iter().any(|part| !is_plain(part)) {
        return Err(GitError::Request {
            field: "path".to_owned(),
            why: format!("{path:?} is not a path below the repository's root: as \"sites/shop\""),
        });
    }
    Ok(parts)
}

/// Whether a name can be nothing but a name.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && !name.eq_ignore_ascii_case(".git")
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
}

/// The id of the directory at `parts` below the tree `root`.
pub(super) fn descend(repo: &Repository, root: Oid, parts: &[&str]) -> Result<Oid, Trouble> {
    let odb = repo.odb().map_err(|e| broken("", &e))?;
    let mut id = root;
    let mut path = String::new();
    for part in parts {
        check_structure(&odb, id, &path)?;
        let tree = repo.find_tree(id).map_err(|e| broken(&path, &e))?;
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
        let Some(entry) = tree.get_name_bytes(part.as_bytes()) else {
            return Err(GitError::NotFound { what: format!("path {path}"), hint: String::new() }.into());
        };
        match entry.filemode_raw() {
            DIRECTORY => id = entry.id(),
            SYMLINK => return Err(forbidden(&path, "is a symbolic link, which is not followed")),
            SUBMODULE => return Err(forbidden(&path, "is a submodule, which is not read")),
            _ => {
                return Err(GitError::NotFound {
                    what: format!("path {path}"),
                    hint: "; there is a file of that name, a directory is expected".to_owned(),
                }
                .into());
            }
        }
    }
    Ok(id)
}

/// Every YAML file below the directory `top` at `prefix`, sorted by path.
pub(super) fn read(
    repo: &Repository,
    top: Oid,
    prefix: &[&str],
    limits: &Limits,
) -> Result<Vec<File>, Trouble> {
    let odb = repo.odb().map_err(|e| broken("", &e))?;
    let mut files = Vec::new();
    let mut total: u64 = 0;
    let mut entries = 0;
    let mut open = vec![(top, prefix.join("/"), 0)];
    while let Some((id, path, depth)) = open.pop() {
        check_structure(&odb, id, &path)?;
        let tree = repo.find_tree(id).map_err(|e| broken(&path, &e))?;
        for entry in &tree {
            entries += 1;
            if entries > limits.entries {
                return Err(GitError::TooLarge {
                    what: "the number of files and directories".to_owned(),
                    limit: limits.entries.to_string(),
                }
                .into());
            }
            let lossy = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            let here = if path.is_empty() { lossy.clone() } else { format!("{path}/{lossy}") };
            let Some(name) = entry.name().ok().filter(|name| is_plain(name)) else {
                return Err(forbidden(&here.escape_debug().to_string(), "is not a usable name"));
            };
            if name.starts_with('.') {
                continue;
            }
            match entry.filemode_raw() {
                DIRECTORY if depth >= limits.depth => {
                    return Err(GitError::TooLarge {
                        what: format!("the depth of {here}"),
                        limit: format!("{} directories", limits.depth),
                    }
                    .into());
                }
                DIRECTORY => open.push((entry.id(), here, depth + 1)),
                mode if FILES.contains(&mode) => {
                    if !(has_extension(name, "yaml") || has_extension(name, "yml")) {
                        continue;
                    }
                    let bytes = blob(repo, &odb, entry.id(), &here, limits)?;
                    total += bytes.len() as u64;
                    if total > limits.total_bytes {
                        return Err(GitError::TooLarge {
                            what: "the size of all files together".to_owned(),
                            limit: format!("{} bytes", limits.total_bytes),
                        }
                        .into());
                    }
                    files.push(File { path: here, bytes });
                    if files.len() > limits.files {
                        return Err(GitError::TooLarge {
                            what: "the number of YAML files".to_owned(),
                            limit: limits.files.to_string(),
                        }
                        .into());
                    }
                }
                SYMLINK => return Err(forbidden(&here, "is a symbolic link, which is not followed")),
                SUBMODULE => return Err(forbidden(&here, "is a submodule, which is not read")),
                mode => return Err(forbidden(&here, &format!("has the unknown mode {mode:o}"))),
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The file of one entry of a directory.
pub(super) fn one(
    repo: &Repository,
    entry: &git2::TreeEntry<'_>,
    path: &str,
    limits: &Limits,
) -> Result<File, Trouble> {
    match entry.filemode_raw() {
        mode if FILES.contains(&mode) => {
            let odb = repo.odb().map_err(|e| broken(path, &e))?;
            let bytes = blob(repo, &odb, entry.id(), path, limits)?;
            Ok(File { path: path.to_owned(), bytes })
        }
        SYMLINK => Err(forbidden(path, "is a symbolic link, which is not followed")),
        SUBMODULE => Err(forbidden(path, "is a submodule, which is not read")),
        mode => Err(forbidden(path, &format!("has the unknown mode {mode:o}"))),
    }
}

fn has_extension(name: &str, extension: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|e| e == extension)
}

fn blob(repo: &Repository, odb: &Odb<'_>, id: Oid, path: &str, limits: &Limits) -> Result<Vec<u8>, Trouble> {
    let (size, kind) = odb.read_header(id).map_err(|e| broken(path, &e))?;
    if kind != ObjectType::Blob {
        return Err(forbidden(path, "is listed as a file and is none"));
    }
    if size as u64 > limits.file_bytes {
        return Err(GitError::TooLarge {
            what: format!("the size of {path} ({size} bytes)"),
            limit: format!("{} bytes", limits.file_bytes),
        }
        .into());
    }
    Ok(repo.find_blob(id).map_err(|e| broken(path, &e))?.content().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_stays_below_the_root() {
        let none: [&str; 0] = [];
        for (path, expected) in
            [("", &none[..]), (".", &[]), ("./", &[]), ("a", &["a"]), ("a/b/", &["a", "b"]), ("./a", &["a"])]
        {
            assert_eq!(parts(path).unwrap(), expected, "{path}");
        }
        for bad in ["/", "/a", "..", "a/../b", "a//b", "a\\b", ".git", ".GIT/x", "a\nb", "./.."] {
            assert!(matches!(parts(bad), Err(GitError::Request { .. })), "{bad:?}");
        }
    }
}
