//! Answers the writes that gateways refuse: 503, when to try again, and a sentence for whoever reads it.
//!
//! Gateways send here what matches the rules that [`bascule_adapters::kube::route`] puts into an HTTPRoute; a header that
//! those rules set says which policy it is about. Nothing is forwarded, nothing is changed, and nobody is asked who he is:
//! the answer holds nothing that is not meant for everybody. Every replica answers, whether it acts or not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bascule_adapters::kube::route::{POLICY_HEADER, RETRY_HEADER};
use bascule_core::name::PolicyKey;
use bascule_crds::UserNotices;
use tokio::net::TcpListener;

use crate::serve::{self, Port};
use crate::wiring::objects::Objects;

/// A gateway makes a connection for each refused write, and passes on whatever cookies its client has.
const PORT: Port = Port { name: "the responder's port", connections: 256, head: 64 << 10, headers: 128 };

/// How much of a request's body is taken before it is answered, and for how long it is waited for. A connection that is
/// closed while its peer still sends may lose the answer; whoever sends more than this waits in vain for somebody to read
/// it.
const BODY_BYTES: usize = 64 << 10;
const BODY: Duration = Duration::from_secs(2);

/// When to try again where the rule does not say.
const RETRY: u32 = 30;

/// The longest that a rule may say, in seconds.
const MOST: u32 = 3600;

/// How many languages of a client are looked at.
const LANGUAGES: usize = 16;

/// What is said where the policy has no words for it.
const WORDS: &str = "Nothing can be changed at the moment. Reading goes on; please try again later.";

/// Answers at this address until the process ends.
pub async fn serve(listen: SocketAddr, objects: Arc<Objects>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("--responder-listen {listen} cannot be used"))?;
    serve::accept_all(listener, app(objects), PORT).await;
    Ok(())
}

fn app(objects: Arc<Objects>) -> Router {
    Router::new().fallback(refuse).with_state(objects)
}

async fn refuse(State(objects): State<Arc<Objects>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    // However it ends: the answer is the same.
    let _ = tokio::time::timeout(BODY, axum::body::to_bytes(body, BODY_BYTES)).await;
    let users = policy(&head.headers).map(|policy| users(&objects, &policy)).unwrap_or_default();
    let (language, words) = said(&users, &head.headers).unwrap_or(("en", WORDS));
    answer(language, words, retry(&head.headers))
}

fn answer(language: &str, words: &str, retry: u32) -> Response {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, format!("{words}\n")).into_response();
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(retry));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A connection that waits for the next request is closed by somebody in the end, perhaps while that is on its way.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Ok(language) = HeaderValue::from_str(language) {
        headers.insert(CONTENT_LANGUAGE, language);
    }
    response
}

/// The policy that the rule names.
fn policy(headers: &HeaderMap) -> Option<PolicyKey> {
    let (namespace, name) = headers.get(POLICY_HEADER)?.to_str().ok()?.split_once('/')?;
    PolicyKey::new(namespace, name).ok()
}

/// When the rule says that clients shall try again, in seconds.
fn retry(headers: &HeaderMap) -> u32 {
    let said = headers.get(RETRY_HEADER).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    said.filter(|seconds| (1..=MOST).contains(seconds)).unwrap_or(RETRY)
}

/// What the policy has to say to its users.
fn users(objects: &Objects, policy: &PolicyKey) -> Vec<UserNotices> {
    let known = objects.lock();
    known.policies.get(policy).map(|seen| seen.users.clone()).unwrap_or_default()
}

/// The words in the language that the client likes best, or in the policy's first.
fn said<'a>(users: &'a [UserNotices], headers: &HeaderMap) -> Option<(&'a str, &'a str)> {
    let all: Vec<(&str, &str)> =
        users.iter().filter_map(|u| Some((u.language.as_str(), u.read_only.as_deref()?.trim()))).collect();
    let liked = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    languages(liked)
        .into_iter()
        .find_map(|wanted| {
            let exactly = |of: &str| of.eq_ignore_ascii_case(wanted);
            let nearly = |of: &str| primary(of).eq_ignore_ascii_case(primary(wanted));
            all.iter().find(|(of, _)| exactly(of)).or_else(|| all.iter().find(|(of, _)| nearly(of)))
        })
        .or_else(|| all.first())
        .copied()
}

/// `pt-br` is a kind of `pt`.
fn primary(language: &str) -> &str {
    language.split('-').next().unwrap_or(language)
}

/// The languages of an `Accept-Language`, the one that is liked best first; those with the weight 0 are not liked at all.
fn languages(header: &str) -> Vec<&str> {
    let mut all: Vec<(&str, u32)> = header.split(',').take(LANGUAGES).filter_map(liked).collect();
    // Of two that are liked as much, the one that stands first.
    all.sort_by_key(|(_, thousandths)| std::cmp::Reverse(*thousandths));
    all.into_iter().map(|(language, _)| language).collect()
}

/// One language with how much it is liked, in thousandths.
fn liked(part: &str) -> Option<(&str, u32)> {
    let (language, weight) = part.split_once(';').unwrap_or((part, "q=1"));
    let weight = weight.trim().strip_prefix("q=").and_then(thousandths)?;
    let language = language.trim();
    (weight > 0 && !language.is_empty()).then_some((language, weight))
}

/// `0.8` is 800.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let part: u32 = format!("{part:0<3}").parse().ok()?;
    match whole {
        "0" => Some(part),
        "1" => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::wiring::objects::SeenPolicy;
    use crate::wiring::samples;

    /// The policy `shop/orders`, whose users are told this in these languages.
    fn told(words: &[(&str, Option<&str>)]) -> Arc<Objects> {
        let mut object = samples::policy("orders", 1);
        let users = words
            .iter()
            .map(|(language, read_only)| UserNotices {
                language: (*language).to_owned(),
                read_only: read_only.map(ToOwned::to_owned),
                ..UserNotices::default()
            })
            .collect();
        object.spec.notifications =
            Some(bascule_crds::Notifications { users, ..bascule_crds::Notifications::default() });
        let objects = Objects::default();
        let seen = Box::new(SeenPolicy::new(object, None));
        objects.lock().policies.insert(samples::key("orders"), seen);
        Arc::new(objects)
    }

    async fn asked(objects: &Arc<Objects>, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let mut request = axum::http::Request::builder().method("POST").uri("/cart?item=1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = refuse(State(Arc::clone(objects)), request.body(Body::from("x=1")).unwrap()).await;
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (head.status, head.headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn whatever_is_asked_is_refused_for_now_with_when_to_try_again() {
        let nobody = Arc::new(Objects::default());
        let (status, headers, body) = asked(&nobody, &[]).await;
        assert_eq!((status, body.trim()), (StatusCode::SERVICE_UNAVAILABLE, WORDS));
        assert_eq!(headers[RETRY_AFTER], "30");
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        for (said, given) in [("120", "120"), ("0", "30"), ("3601", "30"), ("-1", "30"), ("soon", "30")] {
            let (_, headers, _) = asked(&nobody, &[(RETRY_HEADER, said)]).await;
            assert_eq!(headers[RETRY_AFTER], given, "{said}");
        }
    }

    #[tokio::test]
    async fn the_policys_users_read_its_own_words_in_their_language() {
        let shop = told(&[("fr", Some("Lecture seule.")), ("pt-br", Some("Somente leitura.")), ("de", None)]);
        let named = (POLICY_HEADER, "shop/orders");
        for (liked, language, words) in [
            ("", "fr", "Lecture seule."),
            ("pt-BR", "pt-br", "Somente leitura."),
            ("pt", "pt-br", "Somente leitura."),
            ("en, fr-CH;q=0.9, pt-br;q=0.95", "pt-br", "Somente leitura."),
            ("de", "fr", "Lecture seule."),
            ("pt-br;q=0, fr;q=0.1", "fr", "Lecture seule."),
            ("garbage;;q=,,;q=9", "fr", "Lecture seule."),
        ] {
            let (_, headers, body) = asked(&shop, &[named, ("accept-language", liked)]).await;
            assert_eq!(
                (body.trim(), headers[CONTENT_LANGUAGE].to_str().unwrap()),
                (words, language),
                "{liked}"
            );
        }
        for other in ["shop/other", "shop", "/", "Shop/Orders!", ""] {
            let (_, _, body) = asked(&shop, &[(POLICY_HEADER, other)]).await;
            assert_eq!(body.trim(), WORDS, "{other}");
        }
    }

    #[test]
    fn languages_are_taken_in_the_order_in_which_they_are_liked() {
        assert_eq!(languages("da, en-gb;q=0.8, en;q=0.75, fr;q=0"), ["da", "en-gb", "en"]);
        assert_eq!(languages("en;q=0.5,de;q=1.000,fr;q=1"), ["de", "fr", "en"]);
        assert_eq!(languages(&"x,".repeat(1000)).len(), LANGUAGES);
        assert!(languages("").is_empty());
    }

    #[tokio::test]
    async fn over_the_wire_every_method_gets_the_same_answer_and_the_connection_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve::accept_all(listener, app(Arc::new(Objects::default())), PORT));
        let long = "x".repeat(200_000);
        for (method, body) in
            [("GET", ""), ("POST", "x=1"), ("PUT", long.as_str()), ("DELETE", ""), ("PROPFIND", "")]
        {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            let head = format!(
                "{method} /any/where HTTP/1.1\r\nHost: x\r\n{RETRY_HEADER}: 7\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            tcp.write_all(head.as_bytes()).await.unwrap();
            // It may have been answered before everything was sent.
            let _ = tcp.write_all(body.as_bytes()).await;
            let mut said = Vec::new();
            // A body that was not taken to its end may end the connection by force, behind the answer.
            let _ = tokio::time::timeout(Duration::from_secs(20), tcp.read_to_end(&mut said))
                .await
                .expect("the connection ends");
            let said = String::from_utf8_lossy(&said).to_lowercase();
            assert!(said.starts_with("http/1.1 503"), "{method}: {said:?}");
            assert!(
                said.contains("retry-after: 7") && said.contains("connection: close"),
                "{method}: {said:?}"
            );
        }
        server.abort();
    }
}
