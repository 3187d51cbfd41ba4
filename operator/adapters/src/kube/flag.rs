//! The read-only flag of a workload: a key of a ConfigMap or a Secret that its pods mount.
//!
//! A kubelet notices a changed ConfigMap only after a minute or more; it looks at once when the pod itself changes.
//! So after the flag is set, [`refresh`] touches an annotation of each pod that mounts it. That restarts nothing.

use futures::{StreamExt, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Secret, Volume};
use kube::ResourceExt;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};

use bascule_core::outcome::Outcome;
use bascule_core::policy::{FlagKey, FlagStore, FlagValues};

use super::client::Kube;
use super::failure::{Failure, Subject, outcome};
use super::ownership::{Field, Owner, Part, Rehearsal, owners, with_release};

/// The field manager of read-only flags in ConfigMaps and Secrets; those in a workload have one each, which begins so.
pub const FLAG_MANAGER: &str = "bascule-read-only";
/// The field manager of the annotation that makes kubelets look.
pub const REFRESH_MANAGER: &str = "bascule-flag-refresh";
/// The annotation that makes a pod's kubelet look at its mounts.
pub const REFRESH_ANNOTATION: &str = "bascule.dev/flag-serial";
/// How often a flag is tried whose holder is changed by others just then: each try loses to one change.
const TRIES: usize = 16;
/// How many pods are touched at the same time.
const AT_ONCE: usize = 16;

/// A read-only flag in the namespace of its policy.
#[derive(Clone, Copy, Debug)]
pub struct Flag<'a> {
    /// The policy's own namespace.
    pub namespace: &'a str,
    /// The holder, the key and its two values.
    pub spec: &'a FlagKey,
}

/// A position of the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// The application should refuse writes.
    ReadOnly,
    /// The application may write.
    ReadWrite,
}

impl Position {
    /// The value that means it.
    pub(super) fn of(self, values: &FlagValues) -> &str {
        match self {
            Self::ReadOnly => &values.read_only,
            Self::ReadWrite => &values.read_write,
        }
    }
}

/// What the flag says now. A value that is neither of the two is not repeated: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlagValue {
    /// One of the two values.
    At(Position),
    /// Some other value.
    Other,
    /// It is not there.
    Absent,
}

impl FlagValue {
    /// What a value that was found means.
    pub(super) fn of(values: &FlagValues, found: Option<&[u8]>) -> Self {
        match found {
            None => Self::Absent,
            Some(v) if v == values.read_only.as_bytes() => Self::At(Position::ReadOnly),
            Some(v) if v == values.read_write.as_bytes() => Self::At(Position::ReadWrite),
            Some(_) => Self::Other,
        }
    }
}

/// A flag as it was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagFacts {
    /// What it says.
    pub value: FlagValue,
    /// Who owns the key. Empty when it is absent.
    pub owners: Vec<Owner>,
    /// Whether what holds it is marked immutable: then it can never change.
    pub immutable: bool,
}

const fn kind_name(store: FlagStore) -> &'static str {
    match store {
        FlagStore::ConfigMap => "ConfigMap",
        FlagStore::Secret => "Secret",
    }
}

impl Flag<'_> {
    fn name(&self) -> &str {
        self.spec.name.as_str()
    }

    fn subject(&self) -> Subject {
        Subject::new(kind_name(self.spec.store), self.namespace, self.name())
    }

    fn json(&self, position: Position) -> Value {
        let text = position.of(&self.spec.values);
        match self.spec.store {
            FlagStore::ConfigMap => json!(text),
            FlagStore::Secret => json!(ByteString(text.as_bytes().to_vec())),
        }
    }
}

fn key(key: &str) -> [Part<'_>; 2] {
    [Part::Member("data"), Part::Member(key)]
}

/// Reads the flag.
pub async fn observe(kube: &Kube, flag: Flag<'_>) -> Result<FlagFacts, Failure> {
    let subject = flag.subject();
    let path = key(&flag.spec.key);
    Ok(match flag.spec.store {
        FlagStore::ConfigMap => {
            let found = kube.call(&subject, kube.api::<ConfigMap>(flag.namespace).get(flag.name())).await?;
            let value = found.data.as_ref().and_then(|data| data.get(&flag.spec.key));
            FlagFacts {
                value: FlagValue::of(&flag.spec.values, value.map(String::as_bytes)),
                owners: owners(found.managed_fields(), Field(&path)),
                immutable: found.immutable == Some(true),
            }
        }
        FlagStore::Secret => {
            let found = kube.call(&subject, kube.api::<Secret>(flag.namespace).get(flag.name())).await?;
            let value = found.data.as_ref().and_then(|data| data.get(&flag.spec.key));
            FlagFacts {
                value: FlagValue::of(&flag.spec.values, value.map(|v| v.0.as_slice())),
                owners: owners(found.managed_fields(), Field(&path)),
                immutable: found.immutable == Some(true),
            }
        }
    })
}

/// Sets the flag: just this key, never by force. A holder that does not exist is created, and is then Bascule's alone:
/// pods that mount it wait for it, and those of an application that has none yet find it read-only from the start.
pub async fn set(kube: &Kube, flag: Flag<'_>, position: Position) -> Outcome {
    let set = match apply(kube, flag, position, false).await {
        Err(Failure::Missing { .. }) => match create_holder(kube, flag, false).await {
            Ok(()) => apply(kube, flag, position, false).await,
            Err(failure) => Err(failure),
        },
        other => other,
    };
    outcome(set)
}

/// Tries [`set`] without doing it. A value that is there already conflicts with nobody: ask for both positions.
pub async fn rehearse(kube: &Kube, flag: Flag<'_>, position: Position) -> Rehearsal {
    Rehearsal::of(match apply(kube, flag, position, true).await {
        Err(Failure::Missing { .. }) => create_holder(kube, flag, true).await,
        other => other,
    })
}

/// Creates the holder. Refused when it is there already.
async fn create_holder(kube: &Kube, flag: Flag<'_>, rehearse: bool) -> Result<(), Failure> {
    let subject = flag.subject();
    let params = PostParams { field_manager: Some(FLAG_MANAGER.to_owned()), dry_run: rehearse };
    let metadata = ObjectMeta {
        name: Some(flag.name().to_owned()),
        namespace: Some(flag.namespace.to_owned()),
        labels: Some([("app.kubernetes.io/managed-by".to_owned(), "bascule".to_owned())].into()),
        ..ObjectMeta::default()
    };
    // Without the key: a create does not count as an apply, and its fields would be contended with ourselves.
    match flag.spec.store {
        FlagStore::ConfigMap => {
            let holder = ConfigMap { metadata, ..ConfigMap::default() };
            kube.call(&subject, kube.api(flag.namespace).create(&params, &holder)).await.map(drop)
        }
        FlagStore::Secret => {
            let holder = Secret { metadata, ..Secret::default() };
            kube.call(&subject, kube.api(flag.namespace).create(&params, &holder)).await.map(drop)
        }
    }
}

async fn apply(kube: &Kube, flag: Flag<'_>, position: Position, rehearse: bool) -> Result<(), Failure> {
    let mut applied = apply_once(kube, flag, position, rehearse).await;
    for _ in 1..TRIES {
        if !applied.as_ref().is_err_and(Failure::is_conflict) {
            break;
        }
        applied = apply_once(kube, flag, position, rehearse).await;
    }
    applied
}

async fn apply_once(kube: &Kube, flag: Flag<'_>, position: Position, rehearse: bool) -> Result<(), Failure> {
    match flag.spec.store {
        FlagStore::ConfigMap => apply_to::<ConfigMap>(kube, flag, position, rehearse).await,
        FlagStore::Secret => apply_to::<Secret>(kube, flag, position, rehearse).await,
    }
}

/// What holds flags: each key is one, or is somebody else's.
trait Holder:
    kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
    + serde::de::DeserializeOwned
    + Clone
    + std::fmt::Debug
{
    /// The values of all keys, as they stand in JSON.
    fn data(&self) -> Map<String, Value>;
}

impl Holder for ConfigMap {
    fn data(&self) -> Map<String, Value> {
        self.data.iter().flatten().map(|(key, value)| (key.clone(), json!(value))).collect()
    }
}

impl Holder for Secret {
    fn data(&self) -> Map<String, Value> {
        self.data.iter().flatten().map(|(key, value)| (key.clone(), json!(value))).collect()
    }
}

async fn apply_to<K: Holder>(
    kube: &Kube,
    flag: Flag<'_>,
    position: Position,
    rehearse: bool,
) -> Result<(), Failure> {
    let subject = flag.subject();
    let api = kube.api::<K>(flag.namespace);
    let seen = kube.call(&subject, api.get(flag.name())).await?;
    // What an apply leaves out goes away with it: the other flags in this holder are sent along, as they stand.
    let mut data: Map<String, Value> = seen
        .data()
        .into_iter()
        .filter(|(key, _)| is_ours(&owners(seen.managed_fields(), Field(&self::key(key)))))
        .collect();
    data.insert(flag.spec.key.clone(), flag.json(position));
    let body = json!({
        "apiVersion": "v1",
        "kind": kind_name(flag.spec.store),
        "metadata": {
            "name": flag.name(),
            "namespace": flag.namespace,
            // With the identity an apply neither creates the object nor touches one that replaced it meanwhile.
            "uid": seen.meta().uid,
            // With the version it is refused when another flag was set meanwhile, which it would set back.
            "resourceVersion": seen.meta().resource_version,
        },
        "data": data,
    });
    let params = PatchParams { dry_run: rehearse, ..PatchParams::apply(FLAG_MANAGER) };
    let applied = kube.call(&subject, api.patch_metadata(flag.name(), &params, &Patch::Apply(&body))).await;
    let path = key(&flag.spec.key);
    applied.map(drop).map_err(|failure| with_release(failure, "", seen.managed_fields(), Field(&path)))
}

fn is_ours(owners: &[Owner]) -> bool {
    owners.iter().any(|owner| owner.manager == FLAG_MANAGER && owner.operation == "Apply")
}

/// How a pod takes the flag in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intake {
    /// As a file of a mounted volume: it changes while the pod runs.
    Mounted,
    /// As a file mounted by `subPath`: it never changes while the pod runs.
    SubPath,
    /// As an environment variable: it never changes while the pod runs.
    Environment,
    /// Not at all; the application may read it through the API.
    Absent,
}

/// How `pod` takes in the flag. The weakest way counts: a copy that cannot change is a finding.
pub fn intake(pod: &Pod, flag: Flag<'_>) -> Intake {
    let Some(spec) = pod.spec.as_ref() else { return Intake::Absent };
    let volumes: Vec<&str> = volumes(spec).filter(|v| holds(v, flag)).map(|v| v.name.as_str()).collect();
    let mut found = Intake::Absent;
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        if in_environment(container, flag) {
            return Intake::Environment;
        }
        for mount in container.volume_mounts.iter().flatten().filter(|m| volumes.contains(&m.name.as_str())) {
            let by_sub_path = mount.sub_path.is_some() || mount.sub_path_expr.is_some();
            found = match (by_sub_path, found) {
                (true, _) | (_, Intake::SubPath) => Intake::SubPath,
                (false, _) => Intake::Mounted,
            };
        }
    }
    found
}

fn volumes(spec: &PodSpec) -> impl Iterator<Item = &Volume> {
    spec.volumes.iter().flatten()
}

fn holds(volume: &Volume, flag: Flag<'_>) -> bool {
    let projected = || volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    match flag.spec.store {
        FlagStore::ConfigMap => {
            volume.config_map.as_ref().is_some_and(|c| c.name == flag.name())
                || projected().any(|s| s.config_map.as_ref().is_some_and(|c| c.name == flag.name()))
        }
        FlagStore::Secret => {
            volume.secret.as_ref().is_some_and(|s| s.secret_name.as_deref() == Some(flag.name()))
                || projected().any(|s| s.secret.as_ref().is_some_and(|s| s.name == flag.name()))
        }
    }
}

fn in_environment(container: &Container, flag: Flag<'_>) -> bool {
    let by_key =
        container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()).any(|v| match flag.spec.store {
            FlagStore::ConfigMap => {
                v.config_map_key_ref.as_ref().is_some_and(|r| r.name == flag.name() && r.key == flag.spec.key)
            }
            FlagStore::Secret => {
                v.secret_key_ref.as_ref().is_some_and(|r| r.name == flag.name() && r.key == flag.spec.key)
            }
        });
    let whole = container.env_from.iter().flatten().any(|e| match flag.spec.store {
        FlagStore::ConfigMap => e.config_map_ref.as_ref().is_some_and(|r| r.name == flag.name()),
        FlagStore::Secret => e.secret_ref.as_ref().is_some_and(|r| r.name == flag.name()),
    });
    by_key || whole
}

/// What became of one pod when its kubelet was to be made to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// The pod.
    pub pod: String,
    /// How it takes in the flag.
    pub intake: Intake,
    /// Whether its annotation was touched; `None` when touching would change nothing for it.
    pub touched: Option<Outcome>,
}

/// Makes the kubelet of each running pod that mounts the flag look at it now.
///
/// `selector` is the workload's; `serial` must differ from the last call's, or nothing changes and nobody looks.
pub async fn refresh(
    kube: &Kube,
    flag: Flag<'_>,
    selector: &str,
    serial: &str,
) -> Result<Vec<Refreshed>, Failure> {
    let api = kube.api::<Pod>(flag.namespace);
    let params = ListParams::default().labels(selector);
    let listed = kube.call(&Subject::all("Pod", flag.namespace), api.list(&params)).await?;
    let pods = listed_running(listed.items);
    let mut refreshed: Vec<Refreshed> = stream::iter(pods)
        .map(|pod| {
            let api = api.clone();
            async move {
                let intake = intake(&pod, flag);
                let touched = match intake {
                    Intake::Mounted => Some(touch(kube, &api, &pod, serial).await),
                    Intake::SubPath | Intake::Environment | Intake::Absent => None,
                };
                Refreshed { pod: pod.name_any(), intake, touched }
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    refreshed.sort_by(|a, b| a.pod.cmp(&b.pod));
    Ok(refreshed)
}

/// The pods whose containers may be running, those on their way out included: they still serve.
pub(super) fn listed_running(pods: Vec<Pod>) -> Vec<Pod> {
    pods.into_iter()
        .filter(|pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running"))
        .collect()
}

async fn touch(kube: &Kube, api: &kube::Api<Pod>, pod: &Pod, serial: &str) -> Outcome {
    let name = pod.name_any();
    let subject = Subject::new("Pod", pod.namespace().as_deref().unwrap_or_default(), &name);
    // The identity keeps the patch away from a pod that has taken the name since.
    let patch = json!({ "metadata": { "uid": pod.uid(), "annotations": { REFRESH_ANNOTATION: serial } } });
    let params = PatchParams { field_manager: Some(REFRESH_MANAGER.to_owned()), ..PatchParams::default() };
    outcome(kube.call(&subject, api.patch_metadata(&name, &params, &Patch::Merge(&patch))).await)
}
