//! The incoming webhooks of chats.

use std::sync::Arc;
use std::time::Duration;

use bascule_adapters::notify::Patience;
use bascule_core::notice::Notice;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::heard::{notice, patience, post};
use crate::hook::Hook;

/// A server's side of TLS for localhost, and who signed it.
fn tls() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

fn called(id: &str, channel: &str) -> Notice {
    Notice { subject: "a < b & <!channel>".to_owned(), text: "text".to_owned(), ..notice(id, channel) }
}

#[tokio::test]
async fn a_chat_is_told_over_tls_and_no_text_can_call_everybody() {
    for (way, expected) in
        [("slack", "a &lt; b &amp; &lt;!channel&gt;\n\ntext"), ("matrix", "a < b & <!channel>\n\ntext")]
    {
        let (acceptor, ca) = tls();
        let hook = Hook::secret(vec![200], acceptor).await;
        let url = format!("https://localhost:{}/services/T/B/secret", hook.address.port());
        let mut channel = json!({ "name": "chat" });
        channel[way] = json!({ "urlKey": "url", "caKey": "ca" });
        let (post, mut ears, _folder) = post(&json!([channel]), &[("url", &url), ("ca", &ca)], patience());
        post.put(called("one", "chat"));
        ears.delivered().await;
        let [request] = &hook.requests()[..] else { panic!("{way}: {:?}", hook.requests()) };
        assert_eq!(request.line, "POST /services/T/B/secret HTTP/1.1");
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body, json!({ "text": expected }));
    }
}

#[tokio::test]
async fn a_server_that_nobody_trusts_is_told_nothing_and_its_address_is_not_shown() {
    let (acceptor, _) = tls();
    let (_, other) = tls();
    let hook = Hook::secret(vec![200], acceptor).await;
    let url = format!("https://localhost:{}/services/T/B/secret", hook.address.port());
    let channel = json!([{ "name": "chat", "slack": { "urlKey": "url", "caKey": "ca" } }]);
    let short = Patience { tries: Duration::from_millis(300), ..patience() };
    let (post, mut ears, _folder) = post(&channel, &[("url", &url), ("ca", &other)], short);
    post.put(called("one", "chat"));
    let (_, why) = ears.lost().await;
    assert!(why.contains("certificate") && !why.contains("services"), "{why}");
    assert_eq!(hook.requests().len(), 0);
}
