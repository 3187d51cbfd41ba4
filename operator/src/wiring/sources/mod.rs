//! One task for each PolicySource: fetch, read whole, apply, say what became of it.
//!
//! A revision is taken whole or not at all. Losing git changes nothing but the source's status: no decision reads it.

mod credentials;
mod revision;
mod said;

#[cfg(test)]
#[path = "../../../adapters/tests/apiserver/mod.rs"]
mod apiserver;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bascule_adapters::git::{self, Credentials, Fetch, Fetcher, GitError, Reference, Request};
use bascule_adapters::kube::apply::{Manifest, Origin};
use bascule_adapters::kube::client::Kube;
use bascule_adapters::kube::event::{Teller, Telling, Weight};
use bascule_adapters::kube::secret::{self, SecretError};
use bascule_adapters::kube::status::{StatusDesk, StatusKey};
use bascule_adapters::kube::watch::{Key, Seen, Within, speaks_of, watch_within};
use bascule_core::name::PolicyKey;
use bascule_crds::conditions::READY;
use bascule_crds::{PolicySource, PolicySourceStatus, SourceError};
use bascule_engine::intake::read::{self, File, Limits};
use bascule_engine::intake::source::{self, Follow};
use jiff::Timestamp;
use kube::Resource;
use tokio::sync::watch as latest;

use self::revision::{Item, Taken, Taker, Trouble};
use self::said::Round;
use super::objects::Objects;
use super::unreadable;
use crate::metrics::Metrics;

/// How many changes of sources may wait.
const WAITING: usize = 64;

/// How soon a revision that was fetched and could not be applied is tried again, whatever the interval.
const AGAIN: Duration = Duration::from_secs(5);

/// How long a source that is not valid waits for a change of it; it is looked at again all the same.
const INVALID: Duration = Duration::from_mins(5);

/// A commit that a person accepts although it does not descend from the last accepted one.
const ACCEPT_REWRITE: &str = "bascule.dev/accept-rewrite";

/// What every source needs.
#[derive(Clone)]
pub struct Sources {
    /// This site's cluster.
    pub kube: Kube,
    /// In which namespaces sources are seen.
    pub within: Within,
    /// Where status goes.
    pub desk: StatusDesk,
    /// Where Events are told.
    pub teller: Teller,
    /// The objects of the cluster: Events are about them.
    pub objects: Arc<Objects>,
    /// The series of sources.
    pub metrics: Arc<Metrics>,
    /// Where repositories are kept.
    pub cache: PathBuf,
    /// Whether `file://` is allowed.
    pub allow_file: bool,
}

impl Sources {
    /// Follows all PolicySources until the process ends.
    pub async fn follow(self) -> anyhow::Result<()> {
        let (mut sources, worker) = watch_within::<PolicySource>(&self.kube, &self.within, WAITING)
            .context("PolicySources cannot be watched")?;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(worker);
        let mut running: BTreeMap<Key, latest::Sender<PolicySource>> = BTreeMap::new();
        while let Some(seen) = sources.next().await {
            match seen {
                Seen::Applied(object) => self.update(&mut running, &mut tasks, *object),
                Seen::Listed { of, objects, unreadable } => {
                    let there: BTreeSet<Key> = objects.iter().map(key_of).collect();
                    let meant = |key: &&Key| speaks_of(of.as_deref(), &key.namespace);
                    let gone: Vec<Key> =
                        running.keys().filter(meant).filter(|k| !there.contains(*k)).cloned().collect();
                    for key in gone {
                        self.end(&mut running, &key);
                    }
                    for object in objects {
                        self.update(&mut running, &mut tasks, object);
                    }
                    for bad in unreadable {
                        unreadable::say::<PolicySource>(&self.kube, &self.desk, &bad).await;
                    }
                }
                // What cannot be read is not followed; what the source applied stays.
                Seen::Unreadable(bad) => {
                    self.end(&mut running, &bad.key);
                    unreadable::say::<PolicySource>(&self.kube, &self.desk, &bad).await;
                }
                Seen::Deleted(key) => self.end(&mut running, &key),
            }
            while tasks.try_join_next().is_some() {}
        }
        anyhow::bail!("the watch of PolicySources has ended")
    }

    /// Dropping the sender ends the task; what the source applied stays.
    fn end(&self, running: &mut BTreeMap<Key, latest::Sender<PolicySource>>, key: &Key) {
        if let Some(sender) = running.remove(key) {
            self.desk.forget(&StatusKey::of(&*sender.borrow()));
            self.metrics.source_gone(&key.namespace, &key.name);
        }
    }

    fn update(
        &self,
        running: &mut BTreeMap<Key, latest::Sender<PolicySource>>,
        tasks: &mut tokio::task::JoinSet<()>,
        object: PolicySource,
    ) {
        let key = key_of(&object);
        if running.get(&key).is_some_and(|s| s.borrow().metadata.uid != object.metadata.uid) {
            self.end(running, &key);
        }
        if let Some(sender) = running.get(&key) {
            let changed = sender.borrow().metadata.generation != object.metadata.generation
                || sender.borrow().metadata.annotations != object.metadata.annotations;
            if !changed || sender.send(object.clone()).is_ok() {
                return;
            }
        }
        let (sender, newest) = latest::channel(object);
        running.insert(key, sender);
        tasks.spawn(Source { shared: self.clone(), newest, accepted: None, said: None }.run());
    }
}

fn key_of(object: &PolicySource) -> Key {
    Key {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

/// What a revision was read from: another one of these may have other files under the same commit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    url: String,
    reference: Reference,
    path: String,
}

/// A revision in force.
#[derive(Clone)]
struct Accepted {
    commit: String,
    place: Place,
    items: Vec<Item>,
    conflicts: Vec<SourceError>,
}

impl Accepted {
    fn in_force(&self) -> Round {
        Round::InForce { commit: self.commit.clone(), conflicts: self.conflicts.clone() }
    }
}

struct Source {
    shared: Sources,
    newest: latest::Receiver<PolicySource>,
    accepted: Option<Accepted>,
    /// The status as it was last said: an object in hand may be older.
    said: Option<PolicySourceStatus>,
}

impl Source {
    async fn run(mut self) {
        loop {
            let object = self.newest.borrow_and_update().clone();
            let (round, wait) = match source::convert(&object) {
                Err(invalid) => {
                    let why = invalid.to_string();
                    (Round::NotFetched { reason: "Invalid", why, person: true }, INVALID)
                }
                Ok(source) if source.suspend => (Round::Suspended, source.interval),
                Ok(source) => {
                    let round = self.once(&object, &source).await.unwrap_or_else(|ended| ended);
                    let passing = matches!(&round, Round::NotTaken { trouble: Trouble::Passing { .. }, .. });
                    (round, if passing { source.interval.min(AGAIN) } else { source.interval })
                }
            };
            self.say(&object, &round);
            match tokio::time::timeout(wait, self.newest.changed()).await {
                Err(_) | Ok(Ok(())) => {}
                Ok(Err(_)) => return,
            }
        }
    }

    /// One round. The error is how it ended instead of with a revision in force.
    async fn once(&mut self, object: &PolicySource, source: &source::Source) -> Result<Round, Round> {
        let request = self.request(object, source).await?;
        let fetched = Fetcher::this_program()
            .fetch(&request, source.timeout)
            .await
            .map_err(|error| not_fetched(&error))?;
        match (fetched, &self.accepted) {
            (Fetch::Fetched(revision), _) => {
                let accepted = self.take(object, source, &request, revision).await?;
                Ok(self.accepted.insert(accepted).in_force())
            }
            (Fetch::Unchanged, Some(accepted)) => self.heal(object, accepted).await,
            (Fetch::Unchanged, None) => Err(Round::NotFetched {
                reason: "FetchFailed",
                why: "the fetch says that nothing has changed, and nothing was accepted yet".to_owned(),
                person: false,
            }),
        }
    }

    async fn take(
        &self,
        object: &PolicySource,
        source: &source::Source,
        request: &Request,
        fetched: git::Revision,
    ) -> Result<Accepted, Round> {
        let commit = fetched.commit.clone();
        let not_taken = |trouble| Round::NotTaken { commit: commit.clone(), trouble };
        let refused = |why, errors| not_taken(Trouble::Refused { why, errors });
        if fetched.descends_from_last == Some(false) && annotation(object, ACCEPT_REWRITE) != Some(&commit) {
            let last = request.last_accepted.clone().unwrap_or_default();
            let why = format!(
                "{commit} does not descend from the accepted {last}: history was rewritten, or spec.url or spec.ref was changed; the accepted revision stays in force. To accept it: kubectl -n {} annotate --overwrite policysource {} {ACCEPT_REWRITE}={commit}",
                source.namespace, source.name
            );
            return Err(refused(why, Vec::new()));
        }
        let files: Vec<File<'_>> =
            fetched.files.iter().map(|f| File { path: &f.path, bytes: &f.bytes }).collect();
        let objects = read::revision(&files, &source.namespace, &Limits::default()).map_err(|problems| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            let why = format!("revision {commit} is refused ({} problems): {first}", problems.len());
            refused(why, problems.into_iter().map(Into::into).collect())
        })?;
        let items = revision::items(objects).map_err(|e| refused(e.to_string(), Vec::new()))?;
        let origin = origin(source, &commit);
        let earlier: Vec<&Manifest> =
            self.accepted.iter().flat_map(|a| &a.items).map(|item| &item.manifest).collect();
        // After a restart nothing is remembered: what the status calls applied was applied, Moves included.
        let before = self.accepted.is_none() && was_applied(object, &commit);
        let handled = |manifest: &Manifest| before || earlier.contains(&manifest);
        let taken =
            Taker { kube: &self.shared.kube, origin }.take(&items, handled).await.map_err(not_taken)?;
        self.report(object, &commit, &taken);
        let place = Place {
            url: request.url.clone(),
            reference: request.reference.clone(),
            path: request.path.clone(),
        };
        Ok(Accepted { commit: commit.clone(), place, items, conflicts: taken.conflicts })
    }

    async fn heal(&self, object: &PolicySource, accepted: &Accepted) -> Result<Round, Round> {
        let key = key_of(object);
        let origin = Origin { namespace: key.namespace, name: key.name, revision: accepted.commit.clone() };
        let (taken, trouble) = Taker { kube: &self.shared.kube, origin }.heal(&accepted.items).await;
        self.report(object, &accepted.commit, &taken);
        match trouble {
            Some(trouble) => Err(Round::NotTaken { commit: accepted.commit.clone(), trouble }),
            None => Ok(accepted.in_force()),
        }
    }

    /// Says what was taken back: to those who look at the policy, and in the log.
    fn report(&self, object: &PolicySource, commit: &str, taken: &Taken) {
        for put_back in &taken.put_back {
            let (policy, what) = (&put_back.policy, &put_back.what);
            tracing::warn!(%policy, what, commit, "a policy from git was changed by hand; git's version is put back");
            let known = PolicyKey::new(policy.namespace.clone(), policy.name.clone())
                .ok()
                .and_then(|key| Some(self.shared.objects.lock().policies.get(&key)?.reference(&key)));
            self.shared.teller.tell(Telling {
                about: known.unwrap_or_else(|| object.object_ref(&())),
                weight: Weight::Warning,
                reason: "EditTakenBack".to_owned(),
                action: "Heal".to_owned(),
                note: format!("FailoverPolicy {policy}: {what}; it is as revision {commit} of PolicySource {} says again. Change it in git", key_of(object)),
            });
        }
    }

    async fn request(&self, object: &PolicySource, source: &source::Source) -> Result<Request, Round> {
        let invalid = |why: String| Round::NotFetched { reason: "Invalid", why, person: true };
        if source.url.starts_with("file:") && !self.shared.allow_file {
            return Err(invalid(
                "spec.url: file:// is not allowed by this installation (--allow-file-urls)".to_owned(),
            ));
        }
        let (credentials, ca) = match &source.secret {
            None => (Credentials::None, None),
            Some(name) => {
                let found =
                    secret::read(&self.shared.kube, source.namespace.as_str(), name.as_str(), &[]).await;
                let found = found.map_err(|error| match error {
                    SecretError::Missing { namespace, name, .. } => {
                        invalid(credentials::missing(&source.url, &namespace, &name))
                    }
                    error => Round::NotFetched {
                        reason: "SecretNotRead",
                        why: format!("spec.secretRef: {error}"),
                        person: false,
                    },
                })?;
                credentials::of(&source.url, &found).map_err(invalid)?
            }
        };
        let place = Place {
            url: source.url.clone(),
            reference: match &source.follow {
                Follow::Branch(name) => Reference::Branch(name.clone()),
                Follow::Tag(name) => Reference::Tag(name.clone()),
                Follow::Semver(range) => Reference::Semver(range.clone()),
                Follow::Commit(id) => Reference::Commit(id.clone()),
            },
            path: folder(&source.path),
        };
        let last = self
            .accepted
            .as_ref()
            .map(|a| a.commit.clone())
            .or_else(|| object.status.as_ref()?.last_accepted_revision.clone());
        Ok(Request {
            unless: unless(self.accepted.as_ref(), &place),
            url: place.url,
            reference: place.reference,
            path: place.path,
            credentials,
            ca,
            limits: git::Limits::default(),
            cache: self.shared.cache.join(format!("{}.{}", source.namespace, source.name)),
            last_accepted: last,
            history: None,
            allow_http: false,
        })
    }

    fn say(&mut self, object: &PolicySource, round: &Round) {
        if self.newest.has_changed().is_err() {
            // The source is gone: what is known of it was forgotten.
            return;
        }
        let old = self.said.take().or_else(|| object.status.clone()).unwrap_or_default();
        let in_force = self.accepted.as_ref().map(|a| a.commit.as_str());
        let status = said::status(&old, object.metadata.generation, round, in_force, Timestamp::now());
        self.said = Some(status.clone());
        let ready = status.conditions.iter().any(|c| c.type_ == READY && c.status == "True");
        let key = key_of(object);
        self.shared.metrics.source(&key.namespace, &key.name, ready);
        match serde_json::to_value(&status) {
            Ok(status) => {
                if let Err(full) = self.shared.desk.put(&StatusKey::of(object), status) {
                    tracing::warn!(%full, "the status of a PolicySource was not taken");
                }
            }
            Err(error) => tracing::error!(%error, "the status of a PolicySource cannot be written as JSON"),
        }
    }
}

/// The commit at which nothing is new: none when what is read has changed, for the commit alone does not tell.
fn unless(accepted: Option<&Accepted>, place: &Place) -> Option<String> {
    accepted.filter(|a| a.place == *place).map(|a| a.commit.clone())
}

fn not_fetched(error: &GitError) -> Round {
    let person = match error {
        GitError::Timeout { .. }
        | GitError::Remote { .. }
        | GitError::Cache { .. }
        | GitError::Child { .. } => false,
        GitError::Request { .. }
        | GitError::AuthFailed { .. }
        | GitError::NotFound { .. }
        | GitError::HostKey { .. }
        | GitError::Tls { .. }
        | GitError::Redirected { .. }
        | GitError::TooLarge { .. }
        | GitError::Forbidden { .. } => true,
    };
    Round::NotFetched { reason: "FetchFailed", why: error.to_string(), person }
}

fn origin(source: &source::Source, commit: &str) -> Origin {
    Origin {
        namespace: source.namespace.to_string(),
        name: source.name.to_string(),
        revision: commit.to_owned(),
    }
}

/// Whether the status says that this commit was applied whole, for the spec as it is now.
fn was_applied(object: &PolicySource, commit: &str) -> bool {
    let Some(status) = &object.status else { return false };
    let ready = |c: &bascule_crds::conditions::Condition| {
        c.type_ == READY && c.status == "True" && c.reason == "Applied"
    };
    status.last_accepted_revision.as_deref() == Some(commit)
        && status.observed_generation == object.metadata.generation
        && status.conditions.iter().any(ready)
}

/// The folder as git knows it: `.` is the root, which has no name.
fn folder(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path).trim_matches('/');
    if path == "." { String::new() } else { path.to_owned() }
}

fn annotation<'a>(object: &'a PolicySource, name: &str) -> Option<&'a String> {
    object.metadata.annotations.as_ref()?.get(name)
}
