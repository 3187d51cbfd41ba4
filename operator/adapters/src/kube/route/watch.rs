//! Hears of every change to one route while it happens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bascule_engine::ports::TargetChanged;
use futures::StreamExt;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::kube::client::WATCH_SECONDS;
use crate::kube::failure::chain;
use crate::kube::heard::Heard;

/// Two changes within this time are told as one, at its end: a controller that writes without a pause makes nobody look
/// more often.
const PAUSE: Duration = Duration::from_millis(500);

/// What a watch could not do last, and when.
type Trouble = Arc<Mutex<Option<(Instant, String)>>>;

/// A watch of one route. It ends with this.
#[derive(Debug)]
pub(super) struct Following {
    worker: AbortHandle,
    heard: Arc<Heard>,
    trouble: Trouble,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Following {
    /// Follows the object `name` of `api`, whose client notes in `heard` what it hears. Each change is told once to
    /// `told`, and the end of each listing, since what happened before it was not seen.
    pub(super) fn begin(
        api: Api<DynamicObject>,
        name: &str,
        heard: Arc<Heard>,
        changed: TargetChanged,
        told: mpsc::Sender<TargetChanged>,
    ) -> Self {
        let trouble = Trouble::default();
        let config =
            watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
        let worker = tokio::spawn(follow(api, config, changed, told, Arc::clone(&trouble)));
        Self { worker: worker.abort_handle(), heard, trouble }
    }

    /// Why nothing is heard, unless the API server was heard since.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (at, why) = trouble?;
        self.heard.age().is_none_or(|age| age > at.elapsed()).then_some(why)
    }
}

async fn follow(
    api: Api<DynamicObject>,
    config: watcher::Config,
    changed: TargetChanged,
    told: mpsc::Sender<TargetChanged>,
    trouble: Trouble,
) {
    let mut events = watcher(api, config).default_backoff().boxed();
    let (mut due, mut last): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        let event = tokio::select! {
            biased;
            () = told.closed() => return,
            () = until(due) => {
                (due, last) = (None, Some(Instant::now()));
                if told.send(changed.clone()).await.is_err() {
                    return;
                }
                continue;
            }
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Err(error)) => {
                let why = chain(&error);
                tracing::debug!(traffic = %changed.traffic, why, "the watch of a route failed; it goes on after a pause");
                *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), why));
            }
            Some(Ok(Event::Init | Event::InitApply(_))) => {}
            Some(Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_))) => {
                *trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                let now = Instant::now();
                due.get_or_insert(last.map_or(now, |at| (at + PAUSE).max(now)));
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
