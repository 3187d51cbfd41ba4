//! Policies and Moves from git, put into the API.
//!
//! An object from git carries its source and revision. What git owns of it is kept by server-side apply; edits by
//! hand are found by [`compare`] and undone by [`heal`], never silently. Moves are created once and never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use bascule_boundary::{self as boundary, Effect};
use bascule_core::outcome::Outcome;
use bascule_crds::{FailoverPolicy, Move};

use super::client::Kube;
use super::failure::{Failure, Subject, outcome};
use super::ownership::Contention;
use super::watch::Key;

/// The field manager of what comes from git.
pub const GIT_MANAGER: &str = "bascule-git";
/// The label by which the objects of a source are found.
pub const SOURCE_LABEL: &str = "bascule.dev/source";
/// The annotation with the source, as `namespace/name`.
pub const SOURCE_ANNOTATION: &str = "bascule.dev/source";
/// The annotation with the revision that the object was last read from.
pub const REVISION_ANNOTATION: &str = "bascule.dev/revision";
/// How often a write is tried when somebody else writes at the same time.
const TRIES: usize = 3;

/// The kinds that come from git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// FailoverPolicy.
    Policy,
    /// Move.
    Move,
}

impl Kind {
    /// The kind as in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "FailoverPolicy",
            Self::Move => "Move",
        }
    }

    fn resource(self) -> ApiResource {
        match self {
            Self::Policy => ApiResource::erase::<FailoverPolicy>(&()),
            Self::Move => ApiResource::erase::<Move>(&()),
        }
    }

    fn api(self, kube: &Kube, namespace: &str) -> Api<DynamicObject> {
        kube.dynamic(namespace, &self.resource())
    }

    fn subject(self, namespace: &str, name: &str) -> Subject {
        Subject::new(self.as_str(), namespace, name)
    }
}

/// Where an object comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The PolicySource's namespace.
    pub namespace: String,
    /// The PolicySource's name.
    pub name: String,
    /// The revision, as a full commit hash.
    pub revision: String,
}

impl Origin {
    /// The value of the source label: `namespace.name`, or its hash when that is too long for a label. A namespace has
    /// no dot, so two sources never share one.
    fn label(&self) -> String {
        let plain = format!("{}.{}", self.namespace, self.name);
        if plain.len() <= 63 {
            return plain;
        }
        let hash = Sha256::digest(plain.as_bytes());
        hash.iter().take(20).fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    fn annotation(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// An object as git has it: complete and valid, in a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: Key,
    /// Labels that its file gives it.
    pub labels: BTreeMap<String, String>,
    /// Annotations that its file gives it.
    pub annotations: BTreeMap<String, String>,
    /// Its spec.
    pub spec: Value,
}

impl Manifest {
    fn subject(&self) -> Subject {
        self.kind.subject(&self.key.namespace, &self.key.name)
    }

    fn api(&self, kube: &Kube) -> Api<DynamicObject> {
        self.kind.api(kube, &self.key.namespace)
    }

    fn metadata(&self, origin: &Origin) -> ObjectMeta {
        let (mut labels, mut annotations) = (self.labels.clone(), self.annotations.clone());
        labels.insert(SOURCE_LABEL.to_owned(), origin.label());
        annotations.insert(SOURCE_ANNOTATION.to_owned(), origin.annotation());
        annotations.insert(REVISION_ANNOTATION.to_owned(), origin.revision.clone());
        ObjectMeta {
            name: Some(self.key.name.clone()),
            namespace: Some(self.key.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }
    }

    fn object(&self, metadata: ObjectMeta) -> DynamicObject {
        DynamicObject {
            metadata,
            data: json!({ "spec": self.spec }),
            ..DynamicObject::new("", &self.kind.resource())
        }
    }
}

/// A field that differs from git.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// The field, as a JSON pointer: `/spec/failover/cooldown`, `/metadata/labels/tier`.
    pub field: String,
    /// What git says, defaults included; `None`: git does not have it.
    pub git: Option<Value>,
    /// What the cluster has; `None`: it was taken out.
    pub found: Option<Value>,
}

/// How an object in the cluster compares with git.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It is not there.
    Absent,
    /// Its spec is what git says, and so are the labels and annotations that git gives it.
    Same,
    /// It came from git and differs: git has changed since, or somebody has edited it.
    Edited {
        /// Which fields.
        edits: Vec<Edit>,
        /// The managers that own parts of what differs, other than git: nobody, when only git has changed.
        managers: Vec<String>,
    },
    /// Another source put it there.
    OtherSource {
        /// That source, as `namespace/name` when it says so.
        source: String,
    },
    /// It never came from git, and differs.
    ByHand {
        /// Which fields.
        edits: Vec<Edit>,
    },
}

/// What became of a Move that was to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It is there now.
    Created,
    /// It was there already, and says the same.
    AlreadyThere,
    /// An object of that name was there already and says something else. It was left alone.
    DifferentThere,
    /// It was refused.
    Refused {
        /// Why.
        reason: String,
    },
    /// Whether it is there is not known; look.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// An object that a source owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Its namespace and name.
    pub key: Key,
    /// Its identity.
    pub uid: String,
    /// The revision that it was last read from.
    pub revision: String,
}

/// Applies a policy: creates it, or changes what git owns of it. Done also when nothing had to change.
///
/// A field that somebody else owns with another value is not taken: the outcome is refused and names the manager. An
/// object that another source put there is refused too.
pub async fn apply(kube: &Kube, manifest: &Manifest, origin: &Origin) -> Outcome {
    outcome(apply_manifest(kube, manifest, origin, &PatchParams::apply(GIT_MANAGER)).await)
}

async fn apply_manifest(
    kube: &Kube,
    manifest: &Manifest,
    origin: &Origin,
    params: &PatchParams,
) -> Result<(), Failure> {
    let (subject, api) = (manifest.subject(), manifest.api(kube));
    let live = kube.call(&subject, api.get_metadata_opt(&manifest.key.name)).await?;
    let mut metadata = manifest.metadata(origin);
    if let Some(live) = live {
        if let Some(source) = other_source(&live.metadata, origin) {
            return Err(Failure::own(
                &subject,
                format!("it comes from the source {source} already; keep it in one"),
            ));
        }
        metadata.uid = live.metadata.uid;
    }
    let body = manifest.object(metadata);
    let patch = Patch::Apply(&body);
    let first = kube.call(&subject, api.patch_metadata(&manifest.key.name, params, &patch));
    let first = boundary::around(Effect::ApplyFromGit, first).await;
    match first {
        // An earlier healing left its own mark: taking a field from ourselves is not taking it from anybody.
        Err(Failure::Contended { contentions, .. }) if contentions.iter().all(ours) => {
            let forced = params.clone().force();
            let again = kube.call(&subject, api.patch_metadata(&manifest.key.name, &forced, &patch));
            boundary::around(Effect::ApplyFromGit, again).await.map(drop)
        }
        other => other.map(drop),
    }
}

fn ours(contention: &Contention) -> bool {
    contention.manager == GIT_MANAGER
}

/// Compares an object with git and has the API server judge what would be written. Changes nothing.
///
/// For a policy that is what [`settle`] would do with the standing that is returned; for a Move it is its creation.
pub async fn rehearse(kube: &Kube, manifest: &Manifest, origin: &Origin) -> Result<Standing, Failure> {
    let standing = compare(kube, manifest, origin).await?;
    let dry = PatchParams { dry_run: true, ..PatchParams::apply(GIT_MANAGER) };
    match (&standing, manifest.kind) {
        (Standing::Absent, Kind::Move) => create_object(kube, manifest, origin, true).await?,
        (Standing::Absent, Kind::Policy) => apply_manifest(kube, manifest, origin, &dry).await?,
        (Standing::Edited { managers, .. }, Kind::Policy) if managers.is_empty() => {
            apply_manifest(kube, manifest, origin, &dry).await?;
        }
        (Standing::Edited { .. }, Kind::Policy) => replace_spec(kube, manifest, origin, true).await?,
        _ => {}
    }
    Ok(standing)
}

/// Brings a policy to what git says from the standing that was found: creates it, changes what git has changed, and
/// heals what somebody has edited. Done also when nothing had to change.
pub async fn settle(kube: &Kube, manifest: &Manifest, origin: &Origin, standing: &Standing) -> Outcome {
    let params = PatchParams::apply(GIT_MANAGER);
    let result = match standing {
        Standing::Absent => apply_manifest(kube, manifest, origin, &params).await,
        // Nothing differs, so force takes no value from anybody, but who owned it would refuse the revision's mark.
        Standing::Same => apply_manifest(kube, manifest, origin, &params.force()).await,
        Standing::Edited { managers, .. } if managers.is_empty() => {
            apply_manifest(kube, manifest, origin, &params).await
        }
        Standing::Edited { .. } => heal_manifest(kube, manifest, origin).await,
        Standing::OtherSource { source } => {
            Err(Failure::own(&manifest.subject(), format!("it comes from the source {source}")))
        }
        Standing::ByHand { .. } => {
            Err(Failure::own(&manifest.subject(), "it was made by hand and differs from git"))
        }
    };
    outcome(result)
}

/// The source that an object comes from, when it is not `origin`. One mark of `origin` is enough: the other may have
/// been edited.
fn other_source(live: &ObjectMeta, origin: &Origin) -> Option<String> {
    let label = live.labels.as_ref()?.get(SOURCE_LABEL)?;
    let named = live.annotations.as_ref().and_then(|a| a.get(SOURCE_ANNOTATION)).unwrap_or(label);
    (*label != origin.label() && *named != origin.annotation()).then(|| named.clone())
}

/// Compares an object with git, defaults filled in. Changes nothing.
pub async fn compare(kube: &Kube, manifest: &Manifest, origin: &Origin) -> Result<Standing, Failure> {
    let (subject, api) = (manifest.subject(), manifest.api(kube));
    let Some(live) = kube.call(&subject, api.get_opt(&manifest.key.name)).await? else {
        return Ok(Standing::Absent);
    };
    if let Some(source) = other_source(&live.metadata, origin) {
        return Ok(Standing::OtherSource { source });
    }
    let wanted = with_defaults(kube, manifest).await?;
    let mut edits = edits(&wanted, spec(&live));
    let spec_differs = !edits.is_empty();
    edits.extend(marks(&manifest.labels, &manifest.annotations, &live));
    let from_git = came_from_git(&live, origin);
    if from_git {
        let label = [(SOURCE_LABEL.to_owned(), origin.label())].into();
        edits.extend(marks(&label, &[(SOURCE_ANNOTATION.to_owned(), origin.annotation())].into(), &live));
    }
    if edits.is_empty() {
        return Ok(Standing::Same);
    }
    if !from_git {
        return Ok(Standing::ByHand { edits });
    }
    let marks_differ = edits.iter().any(|edit| edit.field.starts_with("/metadata/"));
    let concerned = |fields: &Value| {
        let metadata = &fields["f:metadata"];
        (spec_differs && fields.get("f:spec").is_some())
            || (marks_differ
                && (metadata.get("f:labels").is_some() || metadata.get("f:annotations").is_some()))
    };
    let managers: BTreeSet<String> = live
        .managed_fields()
        .iter()
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| concerned(&fields.0)))
        .filter_map(|entry| entry.manager.clone())
        .filter(|manager| manager != GIT_MANAGER)
        .collect();
    Ok(Standing::Edited { edits, managers: managers.into_iter().collect() })
}

/// Whether git has ever written the object, whatever became of its label since.
fn came_from_git(live: &DynamicObject, origin: &Origin) -> bool {
    live.labels().get(SOURCE_LABEL) == Some(&origin.label())
        || live.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(GIT_MANAGER))
}

/// The labels and annotations that the object does not have, or has with another value.
fn marks(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    live: &DynamicObject,
) -> Vec<Edit> {
    let of = |place: &str, git: &BTreeMap<String, String>, found: &BTreeMap<String, String>| -> Vec<Edit> {
        git.iter()
            .filter(|(name, value)| found.get(*name) != Some(*value))
            .map(|(name, value)| Edit {
                field: format!("/metadata/{place}/{}", pointer(name)),
                git: Some(value.clone().into()),
                found: found.get(name).cloned().map(Value::from),
            })
            .collect()
    };
    let mut edits = of("labels", labels, live.labels());
    edits.extend(of("annotations", annotations, live.annotations()));
    edits
}

/// A name as a part of a JSON pointer.
fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn spec(object: &DynamicObject) -> &Value {
    object.data.get("spec").unwrap_or(&Value::Null)
}

/// The spec as the API server would store it, from a dry run under a name of its own.
async fn with_defaults(kube: &Kube, manifest: &Manifest) -> Result<Value, Failure> {
    let metadata = ObjectMeta {
        generate_name: Some("bascule-compare-".to_owned()),
        namespace: Some(manifest.key.namespace.clone()),
        ..ObjectMeta::default()
    };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let object = manifest.object(metadata);
    let made = kube.call(&manifest.subject(), manifest.api(kube).create(&params, &object)).await?;
    Ok(spec(&made).clone())
}

fn edits(git: &Value, found: &Value) -> Vec<Edit> {
    let mut edits = Vec::new();
    collect(Some(git), Some(found), "/spec".to_owned(), &mut edits);
    edits
}

fn collect(git: Option<&Value>, found: Option<&Value>, field: String, edits: &mut Vec<Edit>) {
    match (git, found) {
        (git, found) if git == found => {}
        (Some(Value::Object(git)), Some(Value::Object(found))) => {
            for name in git.keys().chain(found.keys().filter(|k| !git.contains_key(*k))) {
                let below = format!("{field}/{}", pointer(name));
                collect(git.get(name), found.get(name), below, edits);
            }
        }
        (Some(Value::Array(git)), Some(Value::Array(found))) if git.len() == found.len() => {
            for (place, (git, found)) in git.iter().zip(found).enumerate() {
                collect(Some(git), Some(found), format!("{field}/{place}"), edits);
            }
        }
        (git, found) => edits.push(Edit { field, git: git.cloned(), found: found.cloned() }),
    }
}

/// Makes a policy's spec what git says again, edits by hand included: what was added is taken out, what was changed
/// is changed back, from whatever manager. Refused when the object changed meanwhile, or has another source.
pub async fn heal(kube: &Kube, manifest: &Manifest, origin: &Origin) -> Outcome {
    outcome(heal_manifest(kube, manifest, origin).await)
}

async fn heal_manifest(kube: &Kube, manifest: &Manifest, origin: &Origin) -> Result<(), Failure> {
    replace_spec(kube, manifest, origin, false).await?;
    apply_manifest(kube, manifest, origin, &PatchParams::apply(GIT_MANAGER).force()).await
}

/// Server-side apply cannot remove what another manager added, so a spec that differs is replaced as a whole.
async fn replace_spec(
    kube: &Kube,
    manifest: &Manifest,
    origin: &Origin,
    dry_run: bool,
) -> Result<(), Failure> {
    let (subject, api) = (manifest.subject(), manifest.api(kube));
    let Some(live) = kube.call(&subject, api.get_opt(&manifest.key.name)).await? else { return Ok(()) };
    if let Some(source) = other_source(&live.metadata, origin) {
        return Err(Failure::own(&subject, format!("it comes from the source {source}; it was left alone")));
    }
    let wanted = with_defaults(kube, manifest).await?;
    if wanted == *spec(&live) {
        return Ok(());
    }
    let uid = json!({ "op": "test", "path": "/metadata/uid", "value": live.metadata.uid });
    // The API server refuses when anything changed since it was read. A status is written at any time: no reason to
    // refuse a rehearsal.
    let read = (!dry_run).then(|| {
        let version = live.metadata.resource_version;
        json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version })
    });
    let replace = json!({ "op": "replace", "path": "/spec", "value": wanted });
    let patch = Value::Array([Some(uid), read, Some(replace)].into_iter().flatten().collect());
    let params =
        PatchParams { dry_run, field_manager: Some(GIT_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = json_patch(patch, &subject)?;
    let patched = kube.call(&subject, api.patch_metadata(&manifest.key.name, &params, &patch));
    boundary::around((!dry_run).then_some(Effect::WriteFromGit), patched).await.map(drop)
}

fn json_patch(patch: Value, subject: &Subject) -> Result<Patch<Value>, Failure> {
    let patch = serde_json::from_value(patch).map_err(|e| Failure::own(subject, e.to_string()))?;
    Ok(Patch::Json(patch))
}

/// Creates a Move if there is none of that name. One that is there is left exactly as it is.
pub async fn create_move(kube: &Kube, manifest: &Manifest, origin: &Origin) -> Creation {
    match create(kube, manifest, origin).await {
        Ok(creation) => creation,
        Err(failure) if failure.is_unknown() => Creation::Unknown { reason: failure.to_string() },
        Err(failure) => Creation::Refused { reason: failure.to_string() },
    }
}

async fn create(kube: &Kube, manifest: &Manifest, origin: &Origin) -> Result<Creation, Failure> {
    let (subject, api) = (manifest.subject(), manifest.api(kube));
    // Looked at first: a Move that is there is the usual case, on every reading of git.
    if let Some(live) = kube.call(&subject, api.get_opt(&manifest.key.name)).await? {
        let same = with_defaults(kube, manifest).await? == *spec(&live);
        return Ok(if same { Creation::AlreadyThere } else { Creation::DifferentThere });
    }
    create_object(kube, manifest, origin, false).await?;
    Ok(Creation::Created)
}

async fn create_object(
    kube: &Kube,
    manifest: &Manifest,
    origin: &Origin,
    dry_run: bool,
) -> Result<(), Failure> {
    let params = PostParams { dry_run, field_manager: Some(GIT_MANAGER.to_owned()) };
    let (object, subject, api) =
        (manifest.object(manifest.metadata(origin)), manifest.subject(), manifest.api(kube));
    let created = kube.call(&subject, api.create(&params, &object));
    boundary::around((!dry_run).then_some(Effect::WriteFromGit), created).await.map(drop)
}

/// Everything of a kind that a source owns: its objects lie in its own namespace, and no other is asked.
pub async fn owned(kube: &Kube, kind: Kind, origin: &Origin) -> Result<Vec<Owned>, Failure> {
    let api = kind.api(kube, &origin.namespace);
    let selector = format!("{SOURCE_LABEL}={}", origin.label());
    let params = ListParams::default().labels(&selector);
    let subject = Subject::all(kind.as_str(), &origin.namespace);
    let found = kube.call(&subject, api.list_metadata(&params)).await?;
    Ok(found
        .into_iter()
        .map(|object| Owned {
            key: Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() },
            uid: object.uid().unwrap_or_default(),
            revision: object.annotations().get(REVISION_ANNOTATION).cloned().unwrap_or_default(),
        })
        .collect())
}

/// Deletes an object that a source owns. Done also when it is gone already. Refused when it is not that source's any
/// more.
pub async fn delete(kube: &Kube, kind: Kind, owned: &Owned, origin: &Origin) -> Outcome {
    for _ in 0..TRIES {
        match delete_once(kube, kind, owned, origin).await {
            Ok(()) => return Outcome::Done,
            // Its status was written between our look and our delete: look again.
            Err(failure) if failure.is_conflict() => {}
            Err(failure) => return failure.into(),
        }
    }
    let subject = kind.subject(&owned.key.namespace, &owned.key.name);
    Outcome::refused(format!("{subject}: it changed {TRIES} times while it was to be deleted"))
}

async fn delete_once(kube: &Kube, kind: Kind, owned: &Owned, origin: &Origin) -> Result<(), Failure> {
    let subject = kind.subject(&owned.key.namespace, &owned.key.name);
    let api = kind.api(kube, &owned.key.namespace);
    let Some(live) = kube.call(&subject, api.get_metadata_opt(&owned.key.name)).await? else { return Ok(()) };
    if live.metadata.uid.as_deref() != Some(&owned.uid) {
        return Ok(());
    }
    if live.labels().get(SOURCE_LABEL) != Some(&origin.label()) {
        return Err(Failure::own(
            &subject,
            format!("it does not belong to the source {}", origin.annotation()),
        ));
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: live.metadata.uid,
            resource_version: live.metadata.resource_version,
        }),
        ..DeleteParams::default()
    };
    let deleted = kube.call(&subject, api.delete(&owned.key.name, &params));
    match boundary::around(Effect::DeleteGoneFromGit, deleted).await {
        Ok(_) | Err(Failure::Missing { .. }) => Ok(()),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_named_by_its_field() {
        let git = json!({ "a": 1, "list": [{ "x": 1 }, { "x": 2 }], "gone": true });
        let found = json!({ "a": 2, "list": [{ "x": 1 }, { "x": 3 }], "added": "y" });
        let fields: Vec<String> = edits(&git, &found).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["/spec/a", "/spec/gone", "/spec/list/1/x", "/spec/added"]);
    }

    #[test]
    fn a_source_with_a_long_name_still_has_a_label_of_its_own() {
        let origin = |name: String| Origin { namespace: "shop".to_owned(), name, revision: String::new() };
        let (a, b) = (origin("a".repeat(80)), origin("a".repeat(81)));
        assert_eq!(a.label().len(), 40);
        assert_ne!(a.label(), b.label());
        assert_eq!(origin("main".to_owned()).label(), "shop.main");
    }
}
