//! How a Move gets into the cluster, and what becomes of it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bascule_adapters::kube::failure::chain;
use bascule_crds::{Move, MoveState, MoveStatus};
use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};

use crate::telling::Progress;
use crate::why::ask::Cluster;
use crate::why::trouble::Asked;

/// Who the field manager of a Move is that this program makes.
const MANAGER: &str = "bascule-cli";
/// How long the API server keeps one watch request open, in seconds.
const WATCH_SECONDS: u32 = 10;

/// What became of a Move while it was looked at.
pub enum Followed {
    /// It is over.
    Ended {
        /// How.
        state: String,
        /// Why, in the operator's words.
        message: String,
        /// What was asked for was done.
        done: bool,
    },
    /// It goes on, or has not begun.
    Waits {
        /// Where it is.
        state: String,
        /// What it waits for, in the operator's words.
        message: String,
    },
    /// The API server said no more.
    Unseen {
        /// Why.
        why: String,
    },
    /// The person has seen enough.
    Left,
}

/// Lets the API server judge it, and makes nothing.
pub async fn try_out(cluster: &Cluster, mv: &Move) -> anyhow::Result<()> {
    create(cluster, mv, true).await
}

/// Makes it.
pub async fn make(cluster: &Cluster, mv: &Move) -> anyhow::Result<()> {
    create(cluster, mv, false).await
}

async fn create(cluster: &Cluster, mv: &Move, dry_run: bool) -> anyhow::Result<()> {
    let (namespace, name) = of(mv);
    let api = Api::<Move>::namespaced(cluster.kube().client(), namespace);
    let params = PostParams { dry_run, field_manager: Some(MANAGER.to_owned()) };
    let what = format!("moves.bascule.dev {name} in namespace {namespace}");
    let asked = Asked { place: cluster.place().clone(), verb: "create", what };
    let deadline = cluster.kube().deadline();
    let unknown = || {
        format!(
            "whether the Move was made is not known; kubectl get move {name} -n {namespace} tells. It acts at most once: the same command with --name {name} makes no second one"
        )
    };
    match tokio::time::timeout(deadline, api.create(&params, mv)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => bail!(
            "Move {namespace}/{name}: metadata.name: found one of that name, expected a new one; choose another with --name"
        ),
        Ok(Err(kube::Error::Api(status))) if status.code == 422 || status.code == 400 => {
            bail!("the API server refuses it: {}. Nothing was made", status.message)
        }
        Ok(Err(error @ kube::Error::Api(_))) => Err(asked.failed(&error).into()),
        Ok(Err(error)) if dry_run => Err(asked.failed(&error).into()),
        Ok(Err(error)) => Err(asked.failed(&error)).with_context(unknown),
        Err(_) if dry_run => Err(asked.silence(deadline).into()),
        Err(_) => Err(asked.silence(deadline)).with_context(unknown),
    }
}

fn of(mv: &Move) -> (&str, &str) {
    let namespace = mv.metadata.namespace.as_deref().unwrap_or_default();
    (namespace, mv.metadata.name.as_deref().unwrap_or_default())
}

/// Looks at it until it is over, for at most `wait`.
pub async fn follow(cluster: &Cluster, mv: &Move, wait: Duration) -> Followed {
    let (namespace, name) = of(mv);
    let kind = ApiResource::erase::<Move>(&());
    let api = Api::<DynamicObject>::namespaced_with(cluster.kube().client(), namespace, &kind);
    let config = Config::default().timeout(WATCH_SECONDS).fields(&format!("metadata.name={name}"));
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut progress = Progress::of(&format!("Move {namespace}/{name}"));
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let end = tokio::time::sleep(wait);
    tokio::pin!(end);
    let mut last = MoveStatus::default();
    let mut trouble = None;
    let followed = loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::InitApply(object) | Event::Apply(object))) => {
                    trouble = None;
                    let status = object.data.get("status").cloned().unwrap_or_default();
                    // One that this version does not know says nothing; the next may.
                    last = serde_json::from_value(status).unwrap_or_default();
                    if let Some(ended) = ended(&last) {
                        break ended;
                    }
                }
                Some(Ok(Event::Delete(_))) => {
                    break Followed::Unseen { why: "it was deleted; one that is pending is cancelled by that".to_owned() };
                }
                Some(Ok(_)) => trouble = None,
                Some(Err(error)) => trouble = Some(chain(&error)),
                None => break Followed::Unseen { why: "the watch ended".to_owned() },
            },
            _ = tick.tick() => progress.is_at(&words(&last)),
            () = &mut end => break match trouble {
                Some(why) => Followed::Unseen { why },
                None => Followed::Waits { state: state(&last), message: last.message.clone().unwrap_or_else(unseen) },
            },
            _ = tokio::signal::ctrl_c() => break Followed::Left,
        }
    };
    progress.ends();
    followed
}

fn state(status: &MoveStatus) -> String {
    status.state.map_or_else(|| "not seen yet".to_owned(), |s| format!("{s:?}"))
}

fn unseen() -> String {
    "no operator has said anything about it; `bascule status` says whether one speaks here".to_owned()
}

fn words(status: &MoveStatus) -> String {
    match &status.message {
        Some(message) => format!("{}: {message}", state(status)),
        None => state(status),
    }
}

/// How it ended, if it has.
fn ended(status: &MoveStatus) -> Option<Followed> {
    let found = status.state?;
    let done = match found {
        MoveState::Pending | MoveState::Requested => return None,
        MoveState::Done => true,
        MoveState::Refused | MoveState::RolledBack | MoveState::Stale | MoveState::BecameFailover => false,
    };
    Some(Followed::Ended { state: state(status), message: status.message.clone().unwrap_or_default(), done })
}
