//! Signed JSON.

use bascule_adapters::notify::{SIGNATURE, TIMESTAMP, signature};
use serde_json::{Value, json};

use crate::heard::{notice, patience, post};
use crate::hook::Hook;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn channel(hook: &Hook) -> Value {
    json!([{ "name": "hook", "webhook": {
        "url": format!("http://{}/bascule?a=b", hook.address), "secretKey": "hook",
    } }])
}

#[tokio::test]
async fn a_request_is_signed_with_its_time_and_says_everything() {
    let hook = Hook::start(vec![204]).await;
    // The line break that editors leave at the end of a file is no part of the secret.
    let (post, mut ears, _folder) = post(&channel(&hook), &[("hook", &format!("{SECRET}\n"))], patience());
    post.put(notice("shop/orders/4/moved/4/administrators", "hook"));
    ears.delivered().await;
    let [request] = &hook.requests()[..] else { panic!("{:?}", hook.requests()) };
    assert_eq!(request.line, "POST /bascule?a=b HTTP/1.1");
    let timestamp = &request.headers[TIMESTAMP];
    let age = jiff::Timestamp::now().as_second() - timestamp.parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "{timestamp}");
    let expected = signature(SECRET.as_bytes(), timestamp, &request.body).unwrap();
    assert_eq!(request.headers[SIGNATURE], format!("sha256={expected}"));
    assert_ne!(expected, signature(SECRET.as_bytes(), "0", &request.body).unwrap());
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let notice = notice("", "hook");
    assert_eq!(
        body,
        json!({
            "schema": 1, "id": "shop/orders/4/moved/4/administrators", "kind": "moved",
            "policy": { "namespace": "shop", "name": "orders" }, "epoch": 4, "serial": 31, "site": "lyon",
            "since": "2026-11-28T03:02:10Z", "channel": "hook", "audience": "administrators", "language": null,
            "subject": notice.subject, "text": notice.text,
        })
    );
}

#[tokio::test]
async fn what_fails_for_now_is_tried_again_and_a_refusal_is_not() {
    let hook = Hook::start(vec![500, 503, 200]).await;
    let (post_, mut ears, _folder) = post(&channel(&hook), &[("hook", SECRET)], patience());
    post_.put(notice("one", "hook"));
    ears.delivered().await;
    assert_eq!(hook.requests().len(), 3);
    for (status, words) in [(404, "404"), (302, "redirects are not followed")] {
        let hook = Hook::start(vec![status]).await;
        let (post, mut ears, _folder) = post(&channel(&hook), &[("hook", SECRET)], patience());
        post.put(notice("one", "hook"));
        let (_, why) = ears.lost().await;
        assert!(why.contains(words), "{why}");
        assert_eq!(hook.requests().len(), 1);
    }
}
