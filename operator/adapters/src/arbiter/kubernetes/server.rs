//! The witness's API server: one call at a time, and whole listings.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::{Api, DynamicObject, ListParams, PostParams, WatchEvent, WatchParams};
use tokio::time::timeout;

use super::super::failure::{Cause, Failure, Failures};
use super::super::{ReadError, Revision};
use super::MANAGER;
use super::object::{self, Kind};
use crate::kube::Kube;
use crate::kube::failure::{Failure as Answer, Subject};

/// Objects per page of a listing.
const PAGE: u32 = 128;

/// Objects per listing: far above any fleet, so that a damaged store cannot fill the memory.
const LISTING_LIMIT: usize = 100_000;

/// How long the API server keeps one watch request open, in seconds. Its end and the next one's start are signs of life,
/// which a quiet watch does not give.
pub(super) const WATCH_SECONDS: u32 = 5;

/// The changes of one kind of objects.
pub(super) type Events = BoxStream<'static, kube::Result<WatchEvent<DynamicObject>>>;

/// Why a call brought nothing that can be used.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The object is not there. Nothing was written.
    Missing,
    /// The API server refused with this status. Nothing was written.
    Refused {
        /// The HTTP status.
        code: u16,
        /// Its own words.
        reason: String,
    },
    /// Anything else.
    Other(Cause),
}

impl Trouble {
    pub(super) fn cause(self) -> Cause {
        match self {
            Self::Missing => Cause::Refused("the object does not exist".to_owned()),
            Self::Refused { code, reason } => Cause::Refused(format!("{code}: {reason}")),
            Self::Other(cause) => cause,
        }
    }

    pub(super) fn of(answer: Answer) -> Self {
        match answer {
            Answer::Missing { .. } => Self::Missing,
            Answer::Refused { code, reason, .. } => Self::Refused { code, reason },
            Answer::NotSent { reason, .. } => Self::Other(Cause::NotConnected(reason)),
            Answer::Unknown { reason, .. } => Self::Other(Cause::Lost(reason)),
            Answer::Contended { .. } | Answer::Unfit { .. } => {
                Self::Other(Cause::Refused(answer.to_string()))
            }
        }
    }
}

/// The witness, over connections that are made when they are needed.
pub(super) struct Server {
    endpoint: String,
    namespace: String,
    state: Mutex<State>,
}

struct State {
    kube: Kube,
    /// Counts handles, so that several calls that time out together replace one handle once.
    handle: u64,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("endpoint", &self.endpoint)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Server {
    pub(super) fn new(kube: Kube) -> Self {
        Self {
            endpoint: kube.server(),
            namespace: kube.own_namespace().to_owned(),
            state: Mutex::new(State { kube, handle: 0 }),
        }
    }

    /// Its address.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The handle of the present connections.
    pub(super) fn kube(&self) -> Kube {
        self.with_state(|s| s.kube.clone())
    }

    fn with_state<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What went wrong, and where.
    pub(super) fn failures(&self, cause: Cause) -> Failures {
        Failure { endpoint: self.endpoint.clone(), cause }.into()
    }

    /// Makes one call about one object within `tq`. After a timeout the next calls use new connections: TCP retries a cut
    /// one for many minutes, in steps of up to two.
    pub(super) async fn call<T, F>(
        &self,
        kind: Kind,
        name: &str,
        tq: Duration,
        call: impl FnOnce(Api<DynamicObject>) -> F,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let (kube, handle) = self.with_state(|s| (s.kube.clone(), s.handle));
        let api = kube.dynamic(&self.namespace, &kind.resource());
        match timeout(tq, call(api)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let subject = Subject::new(kind.name(), &self.namespace, name);
                Err(Trouble::of(Answer::of(&subject, &error)))
            }
            Err(_) => {
                self.replace(handle, &kube);
                Err(Trouble::Other(Cause::TimedOut(tq)))
            }
        }
    }

    /// Replaces the connections, unless that was done since `handle`.
    fn replace(&self, handle: u64, kube: &Kube) {
        // What was a client once is one again: its configuration has not changed.
        let Ok(fresh) = kube.anew() else { return };
        self.with_state(|s| {
            if s.handle == handle {
                s.kube = fresh;
                s.handle += 1;
            }
        });
    }

    /// One object, read linearizably; none when it is not there.
    pub(super) async fn get(
        &self,
        kind: Kind,
        name: &str,
        tq: Duration,
    ) -> Result<Option<DynamicObject>, Cause> {
        match self.call(kind, name, tq, |api| async move { api.get(name).await }).await {
            Ok(found) => Ok(Some(found)),
            Err(Trouble::Missing) => Ok(None),
            Err(other) => Err(other.cause()),
        }
    }

    /// Makes an object that was not there.
    pub(super) async fn create(
        &self,
        kind: Kind,
        object: &DynamicObject,
        tq: Duration,
    ) -> Result<DynamicObject, Trouble> {
        let name = object::name(object);
        self.call(kind, name, tq, |api| async move { api.create(&params(), object).await }).await
    }

    /// Replaces an object, if it is still at the resource version that `object` carries.
    pub(super) async fn replace_object(
        &self,
        kind: Kind,
        object: &DynamicObject,
        tq: Duration,
    ) -> Result<DynamicObject, Trouble> {
        let name = object::name(object);
        self.call(kind, name, tq, |api| async move { api.replace(name, &params(), object).await }).await
    }

    /// Changes an object by a JSON patch: all of its operations, or none.
    pub(super) async fn patch(
        &self,
        kind: Kind,
        name: &str,
        operations: Vec<serde_json::Value>,
        tq: Duration,
    ) -> Result<DynamicObject, Trouble> {
        use kube::api::{Patch, PatchParams};

        let operations = match serde_json::from_value(serde_json::Value::Array(operations)) {
            Ok(operations) => operations,
            Err(error) => return Err(Trouble::Other(Cause::Refused(error.to_string()))),
        };
        let patch: Patch<()> = Patch::Json(operations);
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.call(kind, name, tq, |api| async move { api.patch(name, &params, &patch).await }).await
    }

    /// All objects of a kind at one revision, which is given too. Each page has its own deadline.
    pub(super) async fn list(
        &self,
        kind: Kind,
        tq: Duration,
    ) -> Result<(Revision, Vec<DynamicObject>), ReadError> {
        let failed = |cause| ReadError::NoAnswer(self.failures(cause));
        let (mut revision, mut all, mut token) = (None, Vec::new(), None);
        loop {
            let params =
                ListParams { limit: Some(PAGE), continue_token: token.take(), ..ListParams::default() };
            let page = self
                .call(kind, "", tq, |api| async move { api.list(&params).await })
                .await
                .map_err(|trouble| failed(trouble.cause()))?;
            if revision.is_none() {
                let found = object::number(page.metadata.resource_version.as_deref());
                revision = Some(found.map_err(|why| failed(Cause::Lost(why)))?);
            }
            all.extend(page.items);
            token = page.metadata.continue_.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok((revision.unwrap_or(Revision(0)), all));
            }
            if all.len() >= LISTING_LIMIT {
                return Err(ReadError::TooMany { prefix: kind.plural(), limit: LISTING_LIMIT });
            }
        }
    }

    /// Opens a watch of a kind: everything after `after`.
    pub(super) async fn watch(&self, kind: Kind, after: Revision, tq: Duration) -> Result<Events, Trouble> {
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let version = after.to_string();
        let opened = self.call(kind, "", tq, |api| async move { api.watch(&params, &version).await }).await?;
        Ok(opened.boxed())
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}
