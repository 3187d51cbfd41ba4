//! Takes a revision, whole or not at all: everything is rehearsed before anything is written.

use std::collections::BTreeSet;

use bascule_adapters::kube::Failure;
use bascule_adapters::kube::apply::{self, Creation, Edit, Kind, Manifest, Origin, Owned, Standing};
use bascule_adapters::kube::client::Kube;
use bascule_adapters::kube::watch::Key;
use bascule_core::outcome::Outcome;
use bascule_crds::SourceError;
use bascule_engine::intake::read;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// An object of a revision, with the place where it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The object.
    pub manifest: Manifest,
    /// Path of its file in the repository.
    pub file: String,
    /// Line where it begins, from 1.
    pub line: u32,
}

impl Item {
    fn error(&self, reason: String) -> SourceError {
        SourceError { file: self.file.clone(), line: Some(self.line), column: None, field: None, reason }
    }
}

/// Why a revision is not in force, or not as git says.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// Nothing changes before a person acts.
    Refused {
        /// What is wrong, in one sentence.
        why: String,
        /// The same, by file.
        errors: Vec<SourceError>,
    },
    /// It may pass; the next try begins anew.
    Passing {
        /// What is wrong.
        why: String,
    },
}

/// A policy that somebody had changed or deleted, and that is as git says again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutBack {
    /// Which policy.
    pub policy: Key,
    /// What was found, by whom, in words.
    pub what: String,
}

/// What was done to make the cluster as git says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// Hand edits that were taken back.
    pub put_back: Vec<PutBack>,
    /// Moves of the revision whose names are taken by other Moves. They stand; the files are not acted on.
    pub conflicts: Vec<SourceError>,
}

/// The objects of a revision as they go to the API server.
pub fn items(revision: read::Revision) -> Result<Vec<Item>, serde_json::Error> {
    let item = |kind, meta: ObjectMeta, spec, file, line| Item {
        manifest: Manifest {
            kind,
            key: Key { namespace: meta.namespace.unwrap_or_default(), name: meta.name.unwrap_or_default() },
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            spec,
        },
        file,
        line,
    };
    let mut found = Vec::new();
    for policy in revision.policies.into_values() {
        let spec = serde_json::to_value(&policy.object.spec)?;
        found.push(item(Kind::Policy, policy.object.metadata, spec, policy.file, policy.line));
    }
    for mv in revision.moves.into_values() {
        let spec = serde_json::to_value(&mv.object.spec)?;
        found.push(item(Kind::Move, mv.object.metadata, spec, mv.file, mv.line));
    }
    Ok(found)
}

/// Puts revisions of one source into the API.
pub struct Taker<'a> {
    /// This site's cluster.
    pub kube: &'a Kube,
    /// The source, and the revision that is taken.
    pub origin: Origin,
}

/// What is going to be done, after everything was rehearsed.
struct Rehearsed<'a> {
    policies: Vec<(&'a Manifest, Standing)>,
    moves: Vec<&'a Item>,
    gone: Vec<(Kind, Owned)>,
    conflicts: Vec<SourceError>,
}

impl Taker<'_> {
    /// Takes a revision: rehearses all of it, then applies the policies, deletes what the revision no longer has, and
    /// creates the Moves that are not there. A Move for which `handled` says yes is left as it is, present or absent:
    /// its creation was an earlier revision's, and a person may have deleted it since.
    pub async fn take(&self, items: &[Item], handled: impl Fn(&Manifest) -> bool) -> Result<Taken, Trouble> {
        let rehearsed = self.rehearse(items, handled).await?;
        let mut taken = Taken { conflicts: rehearsed.conflicts, ..Taken::default() };
        let all = rehearsed.policies.len();
        for (done, (manifest, standing)) in rehearsed.policies.into_iter().enumerate() {
            let outcome = apply::settle(self.kube, manifest, &self.origin, &standing).await;
            not_done(outcome).map_err(|why| Trouble::Passing {
                why: format!(
                    "revision {} is being taken, {done} of {all} policies are in force: {why}",
                    self.origin.revision
                ),
            })?;
            taken.put_back.extend(put_back(manifest, &standing, false));
        }
        self.prune(&rehearsed.gone).await?;
        for item in rehearsed.moves {
            match apply::create_move(self.kube, &item.manifest, &self.origin).await {
                Creation::Created | Creation::AlreadyThere => {}
                Creation::DifferentThere => taken.conflicts.push(item.error(other_move(&item.manifest))),
                Creation::Refused { reason } | Creation::Unknown { reason } => {
                    return Err(Trouble::Passing {
                        why: format!("revision {} is being taken: {reason}", self.origin.revision),
                    });
                }
            }
        }
        Ok(taken)
    }

    async fn rehearse<'a>(
        &self,
        items: &'a [Item],
        handled: impl Fn(&Manifest) -> bool,
    ) -> Result<Rehearsed<'a>, Trouble> {
        let mut rehearsed =
            Rehearsed { policies: Vec::new(), moves: Vec::new(), gone: Vec::new(), conflicts: Vec::new() };
        let mut errors = Vec::new();
        for item in items {
            let manifest = &item.manifest;
            if manifest.kind == Kind::Move && handled(manifest) {
                continue;
            }
            let standing = match apply::rehearse(self.kube, manifest, &self.origin).await {
                Ok(standing) => standing,
                Err(failure) if needs_person(&failure) => {
                    errors.push(item.error(failure.to_string()));
                    continue;
                }
                Err(failure) => return Err(passing(&failure)),
            };
            match (manifest.kind, standing) {
                (Kind::Policy, standing) => match obstacle(manifest, &standing) {
                    Some(why) => errors.push(item.error(why)),
                    None => rehearsed.policies.push((manifest, standing)),
                },
                (Kind::Move, Standing::Absent) => rehearsed.moves.push(item),
                (Kind::Move, Standing::Same) => {}
                (Kind::Move, Standing::OtherSource { source }) => {
                    rehearsed.conflicts.push(item.error(format!(
                        "Move {} comes from the source {source} already; keep it in one",
                        manifest.key
                    )));
                }
                // Labels and annotations of a Move are nobody's business here.
                (Kind::Move, Standing::Edited { edits, .. } | Standing::ByHand { edits }) => {
                    if edits.iter().any(|edit| edit.field.starts_with("/spec")) {
                        rehearsed.conflicts.push(item.error(other_move(manifest)));
                    }
                }
            }
        }
        rehearsed.gone = self.gone(items).await?;
        if let Some(first) = errors.first() {
            let why = format!(
                "revision {} is refused ({} problems): {}: {}",
                self.origin.revision,
                errors.len(),
                first.file,
                first.reason
            );
            return Err(Trouble::Refused { why, errors });
        }
        Ok(rehearsed)
    }

    /// What this source put there and the revision no longer has, Moves first: cancelling one must not wait.
    async fn gone(&self, items: &[Item]) -> Result<Vec<(Kind, Owned)>, Trouble> {
        let mut gone = Vec::new();
        for kind in [Kind::Move, Kind::Policy] {
            let owned = apply::owned(self.kube, kind, &self.origin).await.map_err(|f| passing(&f))?;
            let wanted: BTreeSet<&Key> =
                items.iter().map(|i| &i.manifest).filter(|m| m.kind == kind).map(|m| &m.key).collect();
            if kind == Kind::Policy && wanted.is_empty() && !owned.is_empty() {
                let why = format!(
                    "revision {} is refused: it has no policy, and {} came from this source; an empty revision deletes nothing. Delete the policies with kubectl if that is meant, or correct spec.path",
                    self.origin.revision,
                    owned.len()
                );
                return Err(Trouble::Refused { why, errors: Vec::new() });
            }
            gone.extend(owned.into_iter().filter(|o| !wanted.contains(&o.key)).map(|owned| (kind, owned)));
        }
        Ok(gone)
    }

    async fn prune(&self, gone: &[(Kind, Owned)]) -> Result<(), Trouble> {
        let mut troubles = Vec::new();
        for (kind, owned) in gone {
            let outcome = apply::delete(self.kube, *kind, owned, &self.origin).await;
            troubles.extend(not_done(outcome).err());
        }
        if troubles.is_empty() {
            return Ok(());
        }
        let why = format!(
            "revision {} is being taken, what it no longer has is still there: {}",
            self.origin.revision,
            troubles.join("; ")
        );
        Err(Trouble::Passing { why })
    }

    /// Takes back what was edited or deleted by hand since the revision was taken. Moves are never healed. One
    /// policy's trouble does not keep the others back.
    pub async fn heal(&self, items: &[Item]) -> (Taken, Option<Trouble>) {
        let (mut taken, mut refused, mut failed) = (Taken::default(), Vec::new(), Vec::new());
        for item in items.iter().filter(|i| i.manifest.kind == Kind::Policy) {
            let manifest = &item.manifest;
            let standing = match apply::compare(self.kube, manifest, &self.origin).await {
                Ok(Standing::Same) => continue,
                Ok(standing) => standing,
                Err(failure) if needs_person(&failure) => {
                    refused.push(item.error(failure.to_string()));
                    continue;
                }
                Err(failure) => {
                    failed.push(failure.to_string());
                    // The API server does not answer: the others would each wait for it as well.
                    break;
                }
            };
            if let Some(why) = obstacle(manifest, &standing) {
                refused.push(item.error(why));
                continue;
            }
            // Git has not changed since: whoever it was, it was not git.
            let outcome = match &standing {
                Standing::Edited { .. } => apply::heal(self.kube, manifest, &self.origin).await,
                other => apply::settle(self.kube, manifest, &self.origin, other).await,
            };
            let found = put_back(manifest, &standing, true);
            match (not_done(outcome), found) {
                (Ok(()), found) => taken.put_back.extend(found),
                (Err(why), Some(found)) => failed.push(format!(
                    "FailoverPolicy {}: {} and cannot be put back: {why}",
                    found.policy, found.what
                )),
                (Err(why), None) => failed.push(why),
            }
        }
        let trouble = match refused.first() {
            Some(first) => {
                let why = format!("{}: {}", first.file, first.reason);
                Some(Trouble::Refused { why, errors: refused })
            }
            None => (!failed.is_empty()).then(|| Trouble::Passing { why: failed.join("; ") }),
        };
        (taken, trouble)
    }
}

/// Why a policy cannot be made what git says by anybody but a person.
fn obstacle(manifest: &Manifest, standing: &Standing) -> Option<String> {
    match standing {
        Standing::OtherSource { source } => Some(format!(
            "FailoverPolicy {} comes from the source {source} already; keep it in one",
            manifest.key
        )),
        Standing::ByHand { edits } => Some(format!(
            "FailoverPolicy {} was made by hand and differs from git ({}); make it equal to git's, or delete it, then git's takes its place",
            manifest.key,
            fields(edits)
        )),
        Standing::Absent | Standing::Same | Standing::Edited { .. } => None,
    }
}

/// What was taken back. `always`: whatever differs, since git has not changed.
fn put_back(manifest: &Manifest, standing: &Standing, always: bool) -> Option<PutBack> {
    let what = match standing {
        Standing::Edited { edits, managers } if always || !managers.is_empty() => {
            let by = if managers.is_empty() { "somebody".to_owned() } else { managers.join(", ") };
            format!("it differed from git in {}, changed or owned by {by}", fields(edits))
        }
        Standing::Absent if always => "it was deleted by hand".to_owned(),
        _ => return None,
    };
    Some(PutBack { policy: manifest.key.clone(), what })
}

fn fields(edits: &[Edit]) -> String {
    const SHOWN: usize = 10;
    let mut list: Vec<&str> = edits.iter().take(SHOWN).map(|edit| edit.field.as_str()).collect();
    if edits.len() > SHOWN {
        list.push("…");
    }
    list.join(", ")
}

fn other_move(manifest: &Manifest) -> String {
    format!(
        "Move {} exists with other content; a Move never changes: give the new one another name",
        manifest.key
    )
}

/// Whether trying again cannot help: the API server has judged what git says.
fn needs_person(failure: &Failure) -> bool {
    match failure {
        Failure::Contended { .. } => true,
        // Somebody else wrote at the same moment, or too many ask.
        Failure::Refused { code, .. } => !matches!(code, 409 | 429),
        Failure::Missing { .. }
        | Failure::Unfit { .. }
        | Failure::NotSent { .. }
        | Failure::Unknown { .. } => false,
    }
}

fn passing(failure: &Failure) -> Trouble {
    Trouble::Passing { why: failure.to_string() }
}

fn not_done(outcome: Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Refused { reason } | Outcome::Unknown { reason } => Err(reason),
    }
}
