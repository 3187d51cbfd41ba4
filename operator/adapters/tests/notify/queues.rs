//! Servers that do not answer, and queues that are full.

use std::net::SocketAddr;
use std::time::Duration;

use bascule_adapters::notify::Patience;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::heard::{notice, patience, post};
use crate::hook::Hook;

fn mail(port: u16) -> Value {
    json!({ "name": "mail", "smtp": {
        "host": "127.0.0.1", "port": port, "security": "none", "from": "b@example.org", "to": ["ops@example.org"],
    } })
}

fn hook(address: SocketAddr) -> Value {
    json!({ "name": "hook", "webhook": { "url": format!("http://{address}/"), "secretKey": "hook" } })
}

const SECRET: (&str, &str) = ("hook", "0123456789abcdef");

/// Accepts connections, and never says a word.
async fn mute() -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            open.push(connection);
        }
    });
    (port, task)
}

#[tokio::test]
async fn a_server_that_never_answers_delays_neither_who_tells_nor_other_channels() {
    let (port, _mute) = mute().await;
    let hooks = Hook::start(vec![200]).await;
    let short = Patience { attempt: Duration::from_secs(1), tries: Duration::from_secs(3), ..patience() };
    let (post, mut ears, _folder) = post(&json!([mail(port), hook(hooks.address)]), &[SECRET], short);
    let began = Instant::now();
    post.put(notice("dead", "mail"));
    post.put(notice("alive", "hook"));
    let handed_over = began.elapsed();
    assert!(handed_over < Duration::from_millis(500), "{handed_over:?}");
    assert_eq!(ears.delivered().await, "alive");
    let (id, why) = ears.lost().await;
    assert_eq!(id, "dead");
    assert!(why.contains("tried for 3 s") && why.contains("no answer within 1 s"), "{why}");
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_gets_the_notice_when_it_is() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let (post, mut ears, _folder) = post(&json!([hook(address)]), &[SECRET], patience());
    post.put(notice("one", "hook"));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(ears.silent());
    let hooks = Hook::at(address, vec![200]).await;
    assert_eq!(ears.delivered().await, "one");
    drop(hooks);
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_named_in_the_end() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let short = Patience { tries: Duration::from_millis(300), ..patience() };
    let (post, mut ears, _folder) = post(&json!([mail(port)]), &[], short);
    post.put(notice("one", "mail"));
    let (_, why) = ears.lost().await;
    assert!(why.contains(&format!("127.0.0.1 port {port}")) && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn where_too_many_wait_the_oldest_gives_way() {
    let (port, _mute) = mute().await;
    let (post, mut ears, _folder) = post(&json!([mail(port)]), &[], patience());
    post.put(notice("under way", "mail"));
    // The worker takes it up.
    tokio::time::sleep(Duration::from_millis(200)).await;
    for id in ["1", "2", "3", "4"] {
        post.put(notice(id, "mail"));
    }
    assert!(ears.silent());
    post.put(notice("5", "mail"));
    let (id, why) = ears.lost().await;
    assert_eq!(id, "1");
    assert!(why.contains("4 others wait"), "{why}");
}

#[tokio::test]
async fn a_channel_that_is_not_there_or_not_meant_for_the_namespace_is_said_at_once() {
    let hooks = Hook::start(vec![200]).await;
    let mut only_blog = hook(hooks.address);
    only_blog["namespaces"] = json!(["blog"]);
    let (post, mut ears, _folder) = post(&json!([only_blog]), &[SECRET], patience());
    post.put(notice("one", "pager"));
    let (_, why) = ears.lost().await;
    assert!(why.contains("no channel pager, expected one of: hook"), "{why}");
    post.put(notice("two", "hook"));
    let (_, why) = ears.lost().await;
    assert!(why.contains("namespace shop may not use the channel hook"), "{why}");
    assert_eq!(hooks.requests().len(), 0);
}
