//! One queue for each channel, and one worker for each queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_core::name::{ItemName, Namespace};
use bascule_core::notice::Notice;
use futures::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Undelivered;
use super::settings::{Channel, Way};
use super::smtp::Progress;

/// How patient deliveries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long one attempt may take.
    pub attempt: Duration,
    /// For how long a notice is tried.
    pub tries: Duration,
    /// The pause after the first attempt; each one is twice as long as the one before.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How many notices may wait in one channel: one more drops the oldest.
    pub room: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(10),
            tries: bascule_core::notice::FRESH,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_mins(1),
            room: 64,
        }
    }
}

/// Who hears what became of notices. Called by the workers and by [`Post::put`]; it must not wait.
pub trait Heard: Send + Sync + 'static {
    /// It was taken by whoever is at the other end of the channel.
    fn delivered(&self, notice: &Notice);
    /// It will not be delivered any more.
    fn lost(&self, notice: &Notice, why: &str);
}

/// Takes notices without ever waiting.
#[derive(Clone)]
pub struct Post {
    boxes: Arc<BTreeMap<ItemName, Arc<Letterbox>>>,
    heard: Arc<dyn Heard>,
}

struct Letterbox {
    channel: Channel,
    room: usize,
    waiting: Mutex<VecDeque<Notice>>,
    arrived: Notify,
}

impl Letterbox {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Notice>> {
        // Every notice in it is whole, whatever happened to who held it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a notice; the oldest one goes where there is no room.
    fn put(&self, notice: Notice) -> Option<Notice> {
        let mut waiting = self.waiting();
        waiting.push_back(notice);
        let dropped = if waiting.len() > self.room { waiting.pop_front() } else { None };
        drop(waiting);
        self.arrived.notify_one();
        dropped
    }

    async fn next(&self) -> Notice {
        loop {
            let arrived = self.arrived.notified();
            if let Some(notice) = self.waiting().pop_front() {
                return notice;
            }
            arrived.await;
        }
    }
}

impl Post {
    /// A post for these channels, and the workers, which must be run for as long as notices are put.
    pub fn new(
        channels: Vec<Channel>,
        patience: Patience,
        heard: Arc<dyn Heard>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let letterbox = |channel: Channel| {
            let name = channel.name.clone();
            let empty = Mutex::default();
            (
                name,
                Arc::new(Letterbox { channel, room: patience.room, waiting: empty, arrived: Notify::new() }),
            )
        };
        let boxes: BTreeMap<ItemName, Arc<Letterbox>> = channels.into_iter().map(letterbox).collect();
        let workers: Vec<_> =
            boxes.values().map(|from| work(Arc::clone(from), patience, Arc::clone(&heard))).collect();
        let work = async move {
            join_all(workers).await;
        };
        (Self { boxes: Arc::new(boxes), heard }, work)
    }

    /// Why nobody would be told by this channel of what happens to policies of this namespace; `None`: somebody would.
    pub fn refusal(&self, channel: &ItemName, namespace: &Namespace) -> Option<String> {
        self.letterbox(channel, namespace).err()
    }

    fn letterbox(&self, channel: &ItemName, namespace: &Namespace) -> Result<&Letterbox, String> {
        let Some(to) = self.boxes.get(channel) else {
            let there: Vec<&str> = self.boxes.keys().map(ItemName::as_str).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            return Err(format!(
                "this site has no channel {channel}, expected one of: {there}; correct spec.notifications of the policy, or add the channel to this site's notifications.channels"
            ));
        };
        let allowed = &to.channel.namespaces;
        if !allowed.is_empty() && !allowed.contains(namespace) {
            return Err(format!(
                "policies of the namespace {namespace} may not use the channel {channel}; name another one in spec.notifications, or add the namespace to that channel's namespaces in this site's notifications.channels"
            ));
        }
        Ok(to)
    }

    /// Hands over a notice. Never waits; what becomes of it is heard.
    pub fn put(&self, notice: Notice) {
        let to = match self.letterbox(&notice.channel, &notice.policy.namespace) {
            Ok(to) => to,
            Err(why) => return self.heard.lost(&notice, &why),
        };
        if let Some(dropped) = to.put(notice) {
            let why = format!("{} others wait in the channel already, and the oldest gives way", to.room);
            self.heard.lost(&dropped, &why);
        }
    }
}

async fn work(from: Arc<Letterbox>, patience: Patience, heard: Arc<dyn Heard>) {
    loop {
        let notice = from.next().await;
        match deliver(&from.channel.way, &notice, patience).await {
            Ok(()) => heard.delivered(&notice),
            Err(why) => heard.lost(&notice, &why),
        }
    }
}

/// Tries to deliver until it is done, refused for good, or too late.
async fn deliver(way: &Way, notice: &Notice, patience: Patience) -> Result<(), String> {
    let began = Instant::now();
    let mut pause = patience.pause;
    let mut progress = Progress::default();
    loop {
        let attempt = async {
            match way {
                Way::Smtp(smtp) => smtp.carry(notice, &mut progress).await,
                Way::Webhook(webhook) => webhook.carry(notice).await,
                Way::Chat(chat) => chat.carry(notice).await,
            }
        };
        let why = match tokio::time::timeout(patience.attempt, attempt).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Undelivered::Final(why))) => return Err(why),
            Ok(Err(Undelivered::Passing(why))) => why,
            Err(_) => format!("no answer within {} s", patience.attempt.as_secs_f32()),
        };
        tracing::info!(channel = %notice.channel, id = notice.id, why, "a notice was not delivered yet");
        if began.elapsed() + pause > patience.tries {
            let tried = bascule_core::time::human(patience.tries);
            return Err(format!("tried for {tried}; the last time: {why}"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(patience.longest_pause);
    }
}
