//! High-water marks: the highest epoch, serial and generation that this site has ever seen of each policy's record, and who
//! had the role then.
//!
//! They are what a site believes when the arbiter comes back with less than it had. They live in the ConfigMap
//! `bascule-marks` of the operator's own namespace, one key per policy, and never fall.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bascule_core::name::PolicyKey;
use bascule_core::observation::{Kept, Marks, RoleSeen};
use bascule_core::outcome::Outcome;
use bascule_core::policy::FenceClass;
use bascule_core::record::{Fences, Promise};
use bascule_core::timing::Profile;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;

use super::client::Kube;
use super::failure::{Failure, Subject};

/// The ConfigMap's name.
pub const MARKS: &str = "bascule-marks";
/// The field manager of the marks.
pub const MARKS_MANAGER: &str = "bascule-marks";
/// How often a write is tried when somebody else writes at the same time.
const TRIES: usize = 5;

/// All marks of this site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredMarks {
    /// Each policy's mark.
    pub marks: BTreeMap<PolicyKey, Kept>,
    /// Keys whose value cannot be read, with the reason. They are never overwritten: what they held may be higher.
    pub unreadable: BTreeMap<String, String>,
}

/// A policy's key in the ConfigMap. A namespace has no dot, so the first one divides.
fn key(policy: &PolicyKey) -> String {
    format!("{}.{}", policy.namespace, policy.name)
}

fn policy(key: &str) -> Option<PolicyKey> {
    let (namespace, name) = key.split_once('.')?;
    PolicyKey::new(namespace, name).ok()
}

fn subject(kube: &Kube) -> Subject {
    Subject::new("ConfigMap", kube.own_namespace(), MARKS)
}

/// A mark as it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(flatten)]
    marks: Marks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
}

/// Who had the role. A ConfigMap has a mebibyte, and the marks of ten thousand policies share one: what is as in every
/// installation without special cases takes two words.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Role {
    /// The active site and its profile: seen at these marks, under the promise of a guard, not held.
    Usual(String),
    Whole(Box<RoleSeen>),
}

fn usual(marks: Marks, site: &str, profile: &str) -> Option<RoleSeen> {
    let profile: Profile = profile.parse().ok()?;
    let t = profile.timing();
    let promise = Promise {
        fences: Fences::Within { holder: t.holder, fence: t.fence },
        lease: t.lease,
        fence_class: FenceClass::Guard,
        profile: profile.name().to_owned(),
    };
    Some(RoleSeen { at: marks, active: site.try_into().ok()?, promise, hold: None })
}

fn text(kept: &Kept) -> String {
    let role = kept.role.as_ref().map(|role| {
        let (site, profile) = (role.active.as_str(), role.promise.profile.as_str());
        match usual(kept.marks, site, profile) {
            Some(short) if short == **role => Role::Usual(format!("{site} {profile}")),
            _ => Role::Whole(Box::new(RoleSeen::clone(role))),
        }
    });
    json!(Written { marks: kept.marks, role }).to_string()
}

fn parse(value: &str) -> Result<Kept, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("{value:?} is not a mark: {e}");
    let Written { marks, role } = serde_json::from_str(value).map_err(|e| wrong(&e))?;
    let role = match role {
        None => None,
        Some(Role::Whole(role)) => Some(*role),
        Some(Role::Usual(words)) => {
            let known = words.split_once(' ').and_then(|(site, profile)| usual(marks, site, profile));
            Some(known.ok_or_else(|| wrong(&format!("role {words:?} is not a site and a timing profile")))?)
        }
    };
    Ok(Kept { marks, role: role.map(Arc::new) })
}

async fn stored(kube: &Kube, api: &Api<ConfigMap>) -> Result<Option<ConfigMap>, Failure> {
    match kube.call(&subject(kube), api.get(MARKS)).await {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Missing { .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Reads all marks. An absent ConfigMap holds none.
pub async fn read(kube: &Kube) -> Result<StoredMarks, Failure> {
    let api = kube.api::<ConfigMap>(kube.own_namespace());
    let mut marks = StoredMarks::default();
    for (key, value) in stored(kube, &api).await?.and_then(|found| found.data).unwrap_or_default() {
        match (policy(&key), parse(&value)) {
            (Some(policy), Ok(mark)) => {
                marks.marks.insert(policy, mark);
            }
            (None, _) => {
                marks.unreadable.insert(key, "the key is not NAMESPACE.NAME of a policy".to_owned());
            }
            (_, Err(reason)) => {
                marks.unreadable.insert(key, reason);
            }
        }
    }
    Ok(marks)
}

/// Raises a policy's mark to at least `mark`; each of its numbers stays where it is when that is higher. Done also
/// when nothing had to be written. Refused when the stored mark cannot be read.
pub async fn raise(kube: &Kube, policy: &PolicyKey, mark: &Kept) -> Outcome {
    let mut outcomes = raise_all(kube, &[(policy.clone(), mark.clone())].into()).await;
    outcomes.remove(policy).unwrap_or_else(|| Outcome::unknown("the mark was not written"))
}

/// The same for several policies in one write, however many: all marks lie in one object, and writes one after the other
/// would take turns that never end when a thousand policies change together.
async fn raise_all(kube: &Kube, marks: &BTreeMap<PolicyKey, Kept>) -> BTreeMap<PolicyKey, Outcome> {
    let all = |outcome: &Outcome| marks.keys().map(|policy| (policy.clone(), outcome.clone())).collect();
    for _ in 0..TRIES {
        match raise_once(kube, marks).await {
            Ok(outcomes) => return outcomes,
            // Somebody else wrote between our read and our write: look again.
            Err(failure) if failure.is_conflict() => {}
            Err(failure) => return all(&failure.into()),
        }
    }
    all(&Outcome::refused(format!("{}: it changed {TRIES} times while it was to be written", subject(kube))))
}

async fn raise_once(
    kube: &Kube,
    marks: &BTreeMap<PolicyKey, Kept>,
) -> Result<BTreeMap<PolicyKey, Outcome>, Failure> {
    let api = kube.api::<ConfigMap>(kube.own_namespace());
    let subject = subject(kube);
    let done = |policy: &PolicyKey| (policy.clone(), Outcome::Done);
    let Some(found) = stored(kube, &api).await? else {
        let params = PostParams { field_manager: Some(MARKS_MANAGER.to_owned()), ..PostParams::default() };
        let first = ConfigMap {
            metadata: ObjectMeta { name: Some(MARKS.to_owned()), ..ObjectMeta::default() },
            data: Some(marks.iter().map(|(policy, mark)| (key(policy), text(mark))).collect()),
            ..ConfigMap::default()
        };
        kube.call(&subject, api.create(&params, &first)).await?;
        return Ok(marks.keys().map(done).collect());
    };
    let (mut outcomes, mut data) = (BTreeMap::new(), BTreeMap::new());
    for (policy, mark) in marks {
        let key = key(policy);
        let before =
            found.data.as_ref().and_then(|data| data.get(&key)).map(|value| parse(value)).transpose();
        match before {
            Err(reason) => {
                let why = format!("data.{key}: {reason}; put the highest epoch and serial you know there");
                outcomes.insert(policy.clone(), Failure::own(&subject, why).into());
            }
            Ok(before) => {
                let after = before.clone().unwrap_or_default().higher(mark.clone());
                if before.as_ref() != Some(&after) {
                    data.insert(key, text(&after));
                }
                outcomes.extend([done(policy)]);
            }
        }
    }
    if data.is_empty() {
        return Ok(outcomes);
    }
    // The resource version makes the API server refuse when anything changed since the read.
    let patch = json!({
        "metadata": { "resourceVersion": found.metadata.resource_version, "uid": found.metadata.uid },
        "data": data,
    });
    let params = PatchParams { field_manager: Some(MARKS_MANAGER.to_owned()), ..PatchParams::default() };
    kube.call(&subject, api.patch_metadata(MARKS, &params, &Patch::Merge(&patch))).await?;
    Ok(outcomes)
}

/// A mark that waits to be written, and who waits for it.
#[derive(Debug, Default)]
struct Waiting {
    mark: Kept,
    askers: Vec<oneshot::Sender<Outcome>>,
}

/// Raises marks, one write at a time: what is asked for while one is under way goes into the next one together.
#[derive(Debug)]
pub struct Raising {
    kube: Kube,
    waiting: Mutex<BTreeMap<PolicyKey, Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

impl Raising {
    /// For the marks behind `kube`.
    pub fn new(kube: Kube) -> Self {
        Self { kube, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// [`raise`], together with whatever else is asked for at the same time. Who asks waits for at most the write that is
    /// under way and the next one.
    pub async fn raise(&self, policy: &PolicyKey, mark: &Kept) -> Outcome {
        let (asker, mut told) = oneshot::channel();
        self.with(|waiting| {
            let entry = waiting.entry(policy.clone()).or_default();
            entry.mark = std::mem::take(&mut entry.mark).higher(mark.clone());
            entry.askers.push(asker);
        });
        let _turn = self.turn.lock().await;
        if let Ok(outcome) = told.try_recv() {
            return outcome;
        }
        let batch = self.with(std::mem::take);
        let marks = batch.iter().map(|(policy, waiting)| (policy.clone(), waiting.mark.clone())).collect();
        let outcomes = raise_all(&self.kube, &marks).await;
        for (policy, waiting) in batch {
            let outcome = outcomes.get(&policy).cloned();
            let outcome = outcome.unwrap_or_else(|| Outcome::unknown("the mark was not written"));
            for asker in waiting.askers {
                // Who has gone meanwhile needs no answer.
                let _ = asker.send(outcome.clone());
            }
        }
        // Whoever had this turn before and was broken off took the question with it.
        told.try_recv().unwrap_or_else(|_| Outcome::unknown("the write of the mark was broken off"))
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<PolicyKey, Waiting>) -> T) -> T {
        f(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_role_takes_two_words_and_every_other_is_kept_whole() {
        let marks = Marks { generation: 0, epoch: 3, serial: 17 };
        let role = usual(marks, "lyon", "metro").unwrap();
        let kept = Kept { marks, role: Some(role.clone().into()) };
        assert_eq!(text(&kept), r#"{"epoch":3,"generation":0,"role":"lyon metro","serial":17}"#);
        assert_eq!(parse(&text(&kept)).unwrap(), kept);
        let older = RoleSeen { at: Marks { serial: 16, ..marks }, ..role.clone() };
        let never = RoleSeen { promise: Promise { fences: Fences::Never, ..role.promise.clone() }, ..role };
        for role in [older, never] {
            let kept = Kept { marks, role: Some(role.into()) };
            assert_eq!(parse(&text(&kept)).unwrap(), kept);
        }
        assert_eq!(parse(r#"{"epoch":3,"generation":0,"serial":17}"#).unwrap(), marks.into());
        assert!(
            parse(r#"{"epoch":3,"generation":0,"role":"lyon","serial":17}"#)
                .unwrap_err()
                .contains("\"lyon\"")
        );
    }

    #[test]
    fn ten_thousand_usual_marks_fit_into_a_config_map() {
        let marks = Marks { generation: 0, epoch: 12, serial: 345 };
        let kept = Kept { marks, role: usual(marks, "frankfurt", "metro").map(Arc::new) };
        let key = "a-namespace.a-policy-of-a-shop";
        assert!((key.len() + text(&kept).len()) * 10_000 < 1 << 20, "{}", text(&kept).len());
    }
}
