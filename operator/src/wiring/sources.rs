//! One task for each PolicySource: fetch, read whole, apply, say what became of it.
//!
//! A revision is taken whole or not at all. Losing git changes nothing but the source's status: no decision reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bascule_adapters::git::{self, Credentials, Fetch, Fetcher, Reference, Request};
use bascule_adapters::kube::apply::{self, Creation, Kind, Manifest, Origin, Standing};
use bascule_adapters::kube::client::Kube;
use bascule_adapters::kube::secret;
use bascule_adapters::kube::status::{StatusDesk, StatusKey};
use bascule_adapters::kube::watch::{Key, Seen, watch};
use bascule_core::name::Namespace;
use bascule_core::outcome::Outcome;
use bascule_crds::conditions::{FETCHED, READY, STALLED};
use bascule_crds::{PolicySource, PolicySourceStatus, SourceError};
use bascule_engine::intake::read::{self, File, Limits};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use secrecy::ExposeSecret;
use tokio::sync::watch as latest;

use super::conditions;

/// How many changes of sources may wait.
const WAITING: usize = 64;

/// A commit that a person accepts although it does not descend from the last accepted one.
const ACCEPT_REWRITE: &str = "bascule.dev/accept-rewrite";

/// What every source needs.
#[derive(Clone)]
pub struct Sources {
    /// This site's cluster.
    pub kube: Kube,
    /// Where status goes.
    pub desk: StatusDesk,
    /// Where repositories are kept.
    pub cache: PathBuf,
    /// Whether `file://` is allowed.
    pub allow_file: bool,
}

impl Sources {
    /// Follows all PolicySources until the process ends.
    pub async fn follow(self) -> anyhow::Result<()> {
        let (mut sources, worker) =
            watch::<PolicySource>(&self.kube, &(), WAITING).context("PolicySources cannot be watched")?;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(worker);
        let mut running: BTreeMap<Key, latest::Sender<PolicySource>> = BTreeMap::new();
        while let Some(seen) = sources.next().await {
            match seen {
                Seen::Applied(object) => self.update(&mut running, &mut tasks, *object),
                Seen::Listed { objects, unreadable } => {
                    let there: BTreeSet<Key> =
                        objects.iter().map(key_of).chain(unreadable.into_iter().map(|u| u.key)).collect();
                    running.retain(|key, _| there.contains(key));
                    for object in objects {
                        self.update(&mut running, &mut tasks, object);
                    }
                }
                Seen::Unreadable(bad) => {
                    tracing::warn!(key = %bad.key, reason = bad.reason, "a PolicySource cannot be read");
                }
                // Dropping the sender ends the task; what the source applied stays.
                Seen::Deleted(key) => drop(running.remove(&key)),
            }
        }
        anyhow::bail!("the watch of PolicySources has ended")
    }

    fn update(
        &self,
        running: &mut BTreeMap<Key, latest::Sender<PolicySource>>,
        tasks: &mut tokio::task::JoinSet<()>,
        object: PolicySource,
    ) {
        let key = key_of(&object);
        if let Some(sender) = running.get(&key) {
            let changed = sender.borrow().metadata.generation != object.metadata.generation
                || sender.borrow().metadata.annotations != object.metadata.annotations;
            if !changed || sender.send(object.clone()).is_ok() {
                return;
            }
        }
        let (sender, newest) = latest::channel(object);
        running.insert(key, sender);
        tasks.spawn(
            Source { shared: self.clone(), newest, accepted: None, errors: Vec::new(), said: None }.run(),
        );
    }
}

fn key_of(object: &PolicySource) -> Key {
    Key {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

/// A revision in force.
#[derive(Clone)]
struct Accepted {
    commit: String,
    manifests: Vec<Manifest>,
}

struct Source {
    shared: Sources,
    newest: latest::Receiver<PolicySource>,
    accepted: Option<Accepted>,
    errors: Vec<SourceError>,
    /// The status as it was last said: an object in hand may be older.
    said: Option<PolicySourceStatus>,
}

impl Source {
    async fn run(mut self) {
        loop {
            let object = self.newest.borrow_and_update().clone();
            let interval = duration(&object.spec.interval).unwrap_or(Duration::from_mins(1));
            if !object.spec.suspend {
                let result = self.once(&object).await;
                self.say(&object, &result);
            }
            match tokio::time::timeout(interval, self.newest.changed()).await {
                Err(_) | Ok(Ok(())) => {}
                Ok(Err(_)) => return,
            }
        }
    }

    /// One round. What went wrong is said in words; `true`: a person must act.
    async fn once(&mut self, object: &PolicySource) -> Result<String, (bool, String)> {
        let key = key_of(object);
        let namespace = Namespace::try_from(key.namespace.clone()).map_err(|e| (true, e.to_string()))?;
        let request = self.request(object, &key).await.map_err(|e| (false, e))?;
        let deadline = duration(&object.spec.timeout).unwrap_or(Duration::from_mins(1));
        let fetched =
            Fetcher::this_program().fetch(&request, deadline).await.map_err(|e| (false, e.to_string()))?;
        let revision = match fetched {
            Fetch::Unchanged => {
                let accepted = self.accepted.clone().ok_or((false, "nothing was accepted yet".to_owned()))?;
                self.errors.clear();
                self.heal(&key, &accepted).await.map_err(|e| (false, e))?;
                return Ok(accepted.commit);
            }
            Fetch::Fetched(revision) => revision,
        };
        if revision.descends_from_last == Some(false)
            && annotation(object, ACCEPT_REWRITE) != Some(&revision.commit)
        {
            let last = request.last_accepted.unwrap_or_default();
            return Err((
                true,
                format!(
                    "history was rewritten: {} does not descend from the accepted {last}; the accepted revision stays in force. To accept it: kubectl -n {} annotate --overwrite policysource {} {ACCEPT_REWRITE}={}",
                    revision.commit, key.namespace, key.name, revision.commit
                ),
            ));
        }
        let files: Vec<File<'_>> =
            revision.files.iter().map(|f| File { path: &f.path, bytes: &f.bytes }).collect();
        let objects = match read::revision(&files, &namespace, &Limits::default()) {
            Ok(objects) => objects,
            Err(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                let count = problems.len();
                self.errors = problems.into_iter().map(Into::into).collect();
                return Err((
                    true,
                    format!("revision {} is refused ({count} problems): {first}", revision.commit),
                ));
            }
        };
        self.errors.clear();
        let accepted = Accepted { commit: revision.commit.clone(), manifests: manifests(objects)? };
        let origin = Origin {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            revision: revision.commit.clone(),
        };
        self.apply(&origin, &accepted).await.map_err(|e| (false, e))?;
        self.prune(&origin, &accepted).await.map_err(|e| (true, e))?;
        self.accepted = Some(accepted);
        Ok(revision.commit)
    }

    async fn request(&self, object: &PolicySource, key: &Key) -> Result<Request, String> {
        let spec = &object.spec;
        if spec.url.starts_with("file:") && !self.shared.allow_file {
            return Err(
                "spec.url: file:// is not allowed by this installation (--allow-file-urls)".to_owned()
            );
        }
        let r = &spec.git_ref;
        let reference = match (&r.branch, &r.tag, &r.semver, &r.commit) {
            (Some(b), None, None, None) => Reference::Branch(b.clone()),
            (None, Some(t), None, None) => Reference::Tag(t.clone()),
            (None, None, Some(s), None) => Reference::Semver(s.clone()),
            (None, None, None, Some(c)) => Reference::Commit(c.clone()),
            _ => return Err("spec.ref: expected exactly one of branch, tag, semver, commit".to_owned()),
        };
        let mut credentials = Credentials::None;
        let mut ca = None;
        if let Some(reference) = &spec.secret_ref {
            let found = secret::read(&self.shared.kube, &key.namespace, &reference.name, &[])
                .await
                .map_err(|e| format!("spec.secretRef: {e}"))?;
            let text = |name| found.text(name).map_err(|e| format!("spec.secretRef: {e}"));
            if found.has("username") {
                credentials = Credentials::Password {
                    username: text("username")?.expose_secret().to_owned(),
                    password: text("password")?,
                };
            } else if found.has("identity") {
                credentials = Credentials::Ssh {
                    identity: text("identity")?,
                    known_hosts: text("known_hosts")?.expose_secret().to_owned(),
                };
            }
            if found.has("ca.crt") {
                ca = Some(text("ca.crt")?.expose_secret().to_owned());
            }
        }
        let last = self
            .accepted
            .as_ref()
            .map(|a| a.commit.clone())
            .or_else(|| object.status.as_ref()?.last_accepted_revision.clone());
        Ok(Request {
            url: spec.url.clone(),
            reference,
            path: folder(&spec.path),
            credentials,
            ca,
            limits: git::Limits::default(),
            cache: self.shared.cache.join(format!("{}.{}", key.namespace, key.name)),
            unless: self.accepted.as_ref().map(|a| a.commit.clone()),
            last_accepted: last,
            history: None,
            allow_http: false,
        })
    }

    /// Applies policies and creates Moves that are not there yet. One object's trouble does not keep the others back.
    async fn apply(&self, origin: &Origin, accepted: &Accepted) -> Result<(), String> {
        let mut troubles = Vec::new();
        for manifest in &accepted.manifests {
            match manifest.kind {
                Kind::Policy => match apply::apply(&self.shared.kube, manifest, origin).await {
                    Outcome::Done => {}
                    Outcome::Refused { reason } | Outcome::Unknown { reason } => troubles.push(reason),
                },
                Kind::Move => match apply::create_move(&self.shared.kube, manifest, origin).await {
                    Creation::Created | Creation::AlreadyThere => {}
                    Creation::DifferentThere => troubles.push(format!(
                        "Move {} exists with other content; a Move is immutable: give the new one another name",
                        manifest.key
                    )),
                    Creation::Refused { reason } | Creation::Unknown { reason } => troubles.push(reason),
                },
            }
        }
        if troubles.is_empty() { Ok(()) } else { Err(troubles.join("; ")) }
    }

    /// Deletes what this source put there and the revision no longer has. An empty revision deletes nothing.
    async fn prune(&self, origin: &Origin, accepted: &Accepted) -> Result<(), String> {
        for kind in [Kind::Policy, Kind::Move] {
            let owned = apply::owned(&self.shared.kube, kind, origin).await.map_err(|e| e.to_string())?;
            let wanted: BTreeSet<&Key> =
                accepted.manifests.iter().filter(|m| m.kind == kind).map(|m| &m.key).collect();
            if kind == Kind::Policy && wanted.is_empty() && !owned.is_empty() {
                return Err(format!(
                    "the revision has no policy, and {} came from this source: nothing is deleted. Delete the policies by kubectl if that is meant",
                    owned.len()
                ));
            }
            for gone in owned.iter().filter(|o| !wanted.contains(&o.key)) {
                let outcome = apply::delete(&self.shared.kube, kind, gone, origin).await;
                if let Outcome::Refused { reason } | Outcome::Unknown { reason } = outcome {
                    return Err(reason);
                }
            }
        }
        Ok(())
    }

    /// Takes hand edits of policies back. Moves are never healed.
    async fn heal(&self, key: &Key, accepted: &Accepted) -> Result<(), String> {
        let origin = Origin {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            revision: accepted.commit.clone(),
        };
        for manifest in accepted.manifests.iter().filter(|m| m.kind == Kind::Policy) {
            match apply::compare(&self.shared.kube, manifest, &origin).await.map_err(|e| e.to_string())? {
                Standing::Same => {}
                Standing::Absent => drop(apply::apply(&self.shared.kube, manifest, &origin).await),
                Standing::Edited { edits, managers } => {
                    let fields: Vec<&str> = edits.iter().map(|e| e.field.as_str()).collect();
                    tracing::warn!(policy = %manifest.key, ?fields, ?managers, "a policy from git was edited by hand; git's version is put back");
                    let outcome = apply::heal(&self.shared.kube, manifest, &origin).await;
                    if let Outcome::Refused { reason } | Outcome::Unknown { reason } = outcome {
                        return Err(format!(
                            "hand edit of {} ({fields:?}) cannot be taken back: {reason}",
                            manifest.key
                        ));
                    }
                }
                Standing::OtherSource { source } => {
                    return Err(format!(
                        "{} comes from the source {source} too; keep it in one",
                        manifest.key
                    ));
                }
            }
        }
        Ok(())
    }

    fn say(&mut self, object: &PolicySource, result: &Result<String, (bool, String)>) {
        let old = self.said.take().or_else(|| object.status.clone()).unwrap_or_default();
        let generation = object.metadata.generation;
        let now = Timestamp::now();
        let mut set = conditions::Set::new(&old.conditions, generation, now);
        let (accepted, fetched_at) = match result {
            Ok(commit) => {
                set.put(READY, Some(true), "Applied", &format!("revision {commit} is in force"));
                set.put(FETCHED, Some(true), "Fetched", "the last fetch worked");
                (Some(commit.clone()), Some(Time(now)))
            }
            Err((person, why)) => {
                let reason = if *person { "Refused" } else { "Failed" };
                set.put(READY, Some(false), reason, why);
                if *person {
                    set.put(STALLED, Some(true), reason, why);
                } else {
                    set.put(FETCHED, Some(false), reason, why);
                }
                (self.accepted.as_ref().map(|a| a.commit.clone()), None)
            }
        };
        // The time of a fetch that changed nothing is not worth a write.
        let accepted = accepted.or(old.last_accepted_revision.clone());
        let fetched_at = if accepted == old.last_accepted_revision {
            old.last_fetched_at.clone().or(fetched_at)
        } else {
            fetched_at.or(old.last_fetched_at.clone())
        };
        let status = PolicySourceStatus {
            observed_generation: generation,
            last_fetched_revision: accepted.clone(),
            last_accepted_revision: accepted,
            last_fetched_at: fetched_at,
            conditions: set.done(),
            errors: self.errors.clone(),
        };
        self.said = Some(status.clone());
        match serde_json::to_value(&status) {
            Ok(status) => {
                if let Err(full) = self.shared.desk.put(StatusKey::of(object), status) {
                    tracing::warn!(%full, "the status of a PolicySource was not taken");
                }
            }
            Err(error) => tracing::error!(%error, "the status of a PolicySource cannot be written as JSON"),
        }
    }
}

fn manifests(revision: read::Revision) -> Result<Vec<Manifest>, (bool, String)> {
    let spec = |value: Result<serde_json::Value, serde_json::Error>| value.map_err(|e| (true, e.to_string()));
    let mut found = Vec::new();
    for (_, sourced) in revision.policies {
        let meta = sourced.object.metadata;
        found.push(Manifest {
            kind: Kind::Policy,
            key: Key { namespace: meta.namespace.unwrap_or_default(), name: meta.name.unwrap_or_default() },
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            spec: spec(serde_json::to_value(&sourced.object.spec))?,
        });
    }
    for (_, sourced) in revision.moves {
        let meta = sourced.object.metadata;
        found.push(Manifest {
            kind: Kind::Move,
            key: Key { namespace: meta.namespace.unwrap_or_default(), name: meta.name.unwrap_or_default() },
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            spec: spec(serde_json::to_value(&sourced.object.spec))?,
        });
    }
    Ok(found)
}

/// The folder as git knows it: `.` is the root, which has no name.
fn folder(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path).trim_matches('/');
    if path == "." { String::new() } else { path.to_owned() }
}

fn annotation<'a>(object: &'a PolicySource, name: &str) -> Option<&'a String> {
    object.metadata.annotations.as_ref()?.get(name)
}

fn duration(text: &str) -> Option<Duration> {
    Duration::try_from(text.parse::<jiff::SignedDuration>().ok()?).ok()
}
