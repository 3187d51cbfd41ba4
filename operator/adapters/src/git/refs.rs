//! From a wanted reference and the server's list to one commit.

use semver::{Version, VersionReq};

use super::{GitError, Reference};

/// A reference as the server lists it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) id: git2::Oid,
}

/// The reference to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Its full name.
    pub(super) name: String,
    /// The commit it stands for, as far as the list tells: a tag object's commit is listed beside it.
    pub(super) commit: git2::Oid,
}

const PEELED: &str = "^{}";

fn invalid(why: String) -> GitError {
    GitError::Request { field: "reference".to_owned(), why }
}

fn lookup(listed: &[Listed], name: &str) -> Option<git2::Oid> {
    listed.iter().find(|l| l.name == name).map(|l| l.id)
}

fn tag(listed: &[Listed], name: &str) -> Option<Chosen> {
    let id = lookup(listed, name)?;
    let commit = lookup(listed, &format!("{name}{PEELED}")).unwrap_or(id);
    Some(Chosen { name: name.to_owned(), commit })
}

/// The commit id of a reference by id.
pub(super) fn commit_id(text: &str) -> Result<git2::Oid, GitError> {
    let ok = text.len() == 40 && text.bytes().all(|c| c.is_ascii_hexdigit());
    let id = ok.then(|| git2::Oid::from_str(text).ok()).flatten();
    id.ok_or_else(|| invalid(format!("commit {text:?} is not a full commit id of 40 hexadecimal digits")))
}

/// Checks what can be checked without the server.
pub(super) fn check(reference: &Reference) -> Result<(), GitError> {
    let name_ok = |full: String| git2::Reference::is_valid_name(&full);
    match reference {
        Reference::Branch(name) if !name_ok(format!("refs/heads/{name}")) => {
            Err(invalid(format!("branch {name:?} is not a branch name")))
        }
        Reference::Tag(name) if !name_ok(format!("refs/tags/{name}")) => {
            Err(invalid(format!("tag {name:?} is not a tag name")))
        }
        Reference::Semver(range) => parse_range(range).map(|_| ()),
        Reference::Commit(id) => commit_id(id).map(|_| ()),
        Reference::Branch(_) | Reference::Tag(_) => Ok(()),
    }
}

fn parse_range(range: &str) -> Result<VersionReq, GitError> {
    VersionReq::parse(range)
        .map_err(|e| invalid(format!("semver {range:?} is not a version range ({e}): as \">=1.2, <2\"")))
}

/// Picks from the server's list; none for a commit by id, which no list tells.
pub(super) fn choose(reference: &Reference, listed: &[Listed]) -> Result<Option<Chosen>, GitError> {
    let chosen = match reference {
        Reference::Branch(name) => {
            let name = format!("refs/heads/{name}");
            lookup(listed, &name).map(|commit| Chosen { name, commit })
        }
        Reference::Tag(name) => tag(listed, &format!("refs/tags/{name}")),
        Reference::Semver(range) => {
            let range = parse_range(range)?;
            let versions = listed.iter().filter_map(|l| {
                let name = l.name.strip_prefix("refs/tags/")?;
                let version = Version::parse(name.strip_prefix('v').unwrap_or(name)).ok()?;
                range.matches(&version).then_some((version, l.name.as_str()))
            });
            // Build metadata takes part in this order; the tag's name settles what is left.
            versions.max().and_then(|(_, name)| tag(listed, name))
        }
        Reference::Commit(_) => return Ok(None),
    };
    chosen.map(Some).ok_or_else(|| {
        let prefix = if matches!(reference, Reference::Branch(_)) { "refs/heads/" } else { "refs/tags/" };
        let mut there: Vec<_> = listed
            .iter()
            .filter_map(|l| l.name.strip_prefix(prefix).filter(|n| !n.ends_with(PEELED)))
            .collect();
        there.sort_unstable();
        there.truncate(5);
        let hint = if there.is_empty() {
            String::new()
        } else {
            format!("; there is for example {}", there.join(", "))
        };
        GitError::NotFound { what: reference.to_string(), hint }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Vec<Listed> {
        [
            "refs/heads/main",
            "refs/tags/v1.2.0",
            "refs/tags/v1.2.0^{}",
            "refs/tags/1.10.0",
            "refs/tags/v2.0.0-rc.1",
        ]
        .iter()
        .enumerate()
        .map(|(i, name)| Listed {
            name: (*name).to_owned(),
            id: git2::Oid::from_str(&format!("{:040x}", i + 1)).unwrap(),
        })
        .collect()
    }

    #[test]
    fn a_reference_stands_for_one_commit() {
        for (wanted, name, commit) in [
            (Reference::Branch("main".into()), "refs/heads/main", 1),
            (Reference::Tag("v1.2.0".into()), "refs/tags/v1.2.0", 3),
            (Reference::Tag("1.10.0".into()), "refs/tags/1.10.0", 4),
            (Reference::Semver(">=1.0, <2".into()), "refs/tags/1.10.0", 4),
            (Reference::Semver("~1.2".into()), "refs/tags/v1.2.0", 3),
            (Reference::Semver(">=2.0.0-rc".into()), "refs/tags/v2.0.0-rc.1", 5),
        ] {
            let chosen = choose(&wanted, &listed()).unwrap().unwrap();
            assert_eq!(chosen.name, name, "{wanted}");
            assert_eq!(chosen.commit.to_string(), format!("{commit:040x}"), "{wanted}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_there() {
        let e = choose(&Reference::Branch("prod".into()), &listed()).unwrap_err().to_string();
        assert_eq!(e, "branch prod was not found; there is for example main");
        assert!(choose(&Reference::Semver(">=3".into()), &listed()).is_err());
    }

    #[test]
    fn references_that_cannot_exist_are_refused_before_the_server_is_asked() {
        for bad in [
            Reference::Branch("a..b".into()),
            Reference::Branch(String::new()),
            Reference::Tag("x y".into()),
            Reference::Semver("latest".into()),
            Reference::Commit("abc".into()),
            Reference::Commit("g".repeat(40)),
        ] {
            assert!(matches!(check(&bad), Err(GitError::Request { .. })), "{bad}");
        }
    }
}
