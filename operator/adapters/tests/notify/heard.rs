//! What became of notices, and the channels that tests have.

use std::sync::Arc;
use std::time::Duration;

use bascule_adapters::notify::{Entries, Heard, Patience, Post, check};
use bascule_core::name::PolicyKey;
use bascule_core::notice::{Audience, Kind, Notice};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// The longest that a test waits for anything.
const LONG: Duration = Duration::from_mins(1);

/// What is heard, in order: the notice's id, and why it was lost if it was.
pub struct Ears(mpsc::UnboundedReceiver<(String, Option<String>)>);

struct Told(mpsc::UnboundedSender<(String, Option<String>)>);

impl Heard for Told {
    fn delivered(&self, notice: &Notice) {
        self.0.send((notice.id.clone(), None)).unwrap();
    }

    fn lost(&self, notice: &Notice, why: &str) {
        self.0.send((notice.id.clone(), Some(why.to_owned()))).unwrap();
    }
}

impl Ears {
    pub async fn next(&mut self) -> (String, Option<String>) {
        tokio::time::timeout(LONG, self.0.recv()).await.expect("nothing is heard").unwrap()
    }

    pub async fn delivered(&mut self) -> String {
        let (id, why) = self.next().await;
        assert_eq!(why, None, "{id}");
        id
    }

    pub async fn lost(&mut self) -> (String, String) {
        let (id, why) = self.next().await;
        (id, why.expect("it was delivered"))
    }

    pub fn silent(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// A little patience: tests wait for real time.
pub fn patience() -> Patience {
    Patience {
        attempt: Duration::from_secs(5),
        tries: Duration::from_secs(20),
        pause: Duration::from_millis(50),
        longest_pause: Duration::from_millis(200),
        room: 4,
    }
}

/// A post with these channels, working, and the Secret's folder.
pub fn post(channels: &Value, secrets: &[(&str, &str)], patience: Patience) -> (Post, Ears, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (key, value) in secrets {
        std::fs::write(folder.path().join(key), value).unwrap();
    }
    let entries: Entries = serde_json::from_value(serde_json::json!({ "channels": channels })).unwrap();
    let channels = check(&entries, Some(folder.path())).unwrap_or_else(|wrong| panic!("{wrong}"));
    let (into, out) = mpsc::unbounded_channel();
    let (post, work) = Post::new(channels, patience, Arc::new(Told(into)));
    tokio::spawn(work);
    (post, Ears(out), folder)
}

/// A notice to administrators.
pub fn notice(id: &str, channel: &str) -> Notice {
    Notice {
        id: id.to_owned(),
        kind: Kind::Moved,
        policy: PolicyKey::new("shop", "orders").unwrap(),
        epoch: 4,
        serial: 31,
        site: "lyon".try_into().unwrap(),
        since: "2026-11-28T03:02:10Z".parse().unwrap(),
        channel: channel.try_into().unwrap(),
        audience: Audience::Administrators,
        subject: "shop/orders: moved: lyon writes, paris does not any more".to_owned(),
        text: "lyon writes.\n\nWhat to do next:\n  bascule status shop/orders\n".to_owned(),
    }
}
