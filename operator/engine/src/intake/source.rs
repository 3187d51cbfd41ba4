//! From a `PolicySource` of the API to a source that can be read: parsed once, checked whole.

use std::time::Duration;

use bascule_core::name::{Namespace, ObjectName};
use bascule_crds::{
    GitRef, PolicySource, PolicySourceSpec,
    text::{DurationBounds, Wait, bounds, commit, folder, ref_name, url},
};

use super::{Findings, Invalid};

/// A valid source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The namespace of the source and of every object that comes from it.
    pub namespace: Namespace,
    /// Its name.
    pub name: ObjectName,
    /// Kubernetes' `metadata.generation`, for `observedGeneration`.
    pub generation: i64,
    /// Where the repository is. Never put it into a message.
    pub url: String,
    /// What to follow.
    pub follow: Follow,
    /// The folder that is read, relative to the repository's root.
    pub path: String,
    /// How often the repository is asked.
    pub interval: Duration,
    /// After how long one attempt is given up.
    pub timeout: Duration,
    /// The Secret with credentials, in the same namespace.
    pub secret: Option<ObjectName>,
    /// Do not read; what was accepted stays in force.
    pub suspend: bool,
}

/// What to follow in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The newest commit of this branch.
    Branch(String),
    /// This tag.
    Tag(String),
    /// The highest tag in this range; its grammar is checked by whoever reads the tags.
    Semver(String),
    /// This commit, by its full hash.
    Commit(String),
}

/// Makes a source of an object of the API server.
///
/// # Errors
/// Everything that is wrong with it, by field.
pub fn convert(object: &PolicySource) -> Result<Source, Invalid> {
    let mut findings = Findings::default();
    let PolicySourceSpec { url, git_ref, path, interval, timeout, secret_ref, suspend, verify } =
        &object.spec;
    if verify.is_some() {
        findings.add(
            "spec.verify",
            "verify is not supported by this version of Bascule yet; remove it, and protect the branch at the git server",
        );
    }
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let namespace = findings.check("metadata.namespace", Namespace::try_from(namespace));
    let name = findings
        .check("metadata.name", ObjectName::try_from(object.metadata.name.clone().unwrap_or_default()));
    let address = findings.check("spec.url", url::check(url));
    let folder = findings.check("spec.path", folder::check(path));
    let follow = follow(git_ref, &mut findings);
    let mut duration = |field: &str, text: &str, bounds: DurationBounds| match findings
        .check(format!("spec.{field}"), bounds.parse(text))?
    {
        Wait::For(duration) => Some(duration),
        Wait::Never => None,
    };
    let interval = duration("interval", interval, bounds::INTERVAL);
    let timeout = duration("timeout", timeout, bounds::TIMEOUT);
    let secret = match secret_ref {
        None => Some(None),
        Some(secret) => {
            findings.check("spec.secretRef.name", ObjectName::try_from(secret.name.as_str())).map(Some)
        }
    };
    let source = (|| {
        address.and(folder)?;
        Some(Source {
            namespace: namespace?,
            name: name?,
            generation: object.metadata.generation.unwrap_or_default(),
            url: url.clone(),
            follow: follow?,
            path: path.clone(),
            interval: interval?,
            timeout: timeout?,
            secret: secret?,
            suspend: *suspend,
        })
    })();
    findings.finish(source)
}

fn follow(git_ref: &GitRef, findings: &mut Findings) -> Option<Follow> {
    let GitRef { branch, tag, semver, commit } = git_ref;
    match (branch, tag, semver, commit) {
        (Some(branch), None, None, None) => findings
            .check("spec.ref.branch", ref_name::check(branch))
            .map(|()| Follow::Branch(branch.clone())),
        (None, Some(tag), None, None) => {
            findings.check("spec.ref.tag", ref_name::check(tag)).map(|()| Follow::Tag(tag.clone()))
        }
        (None, None, Some(range), None) => Some(Follow::Semver(range.clone())),
        (None, None, None, Some(id)) => {
            findings.check("spec.ref.commit", commit::check(id)).map(|()| Follow::Commit(id.clone()))
        }
        _ => {
            findings.add("spec.ref", "ref: expected exactly one of branch, tag, semver, commit");
            None
        }
    }
}
