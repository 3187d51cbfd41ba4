//! Mail.

use bascule_adapters::notify::Patience;
use bascule_core::notice::{Audience, Notice};
use serde_json::{Value, json};
use std::time::Duration;

use crate::heard::{notice, patience, post};
use crate::mail_server::{MailServer, PASSWORD, USER};

fn channel(server: &MailServer, to: &[&str]) -> Value {
    json!([{ "name": "mail", "smtp": {
        "host": "localhost", "port": server.port(), "from": "Bascule <bascule@example.org>", "to": to,
        "username": USER, "passwordKey": "password", "caKey": "ca",
    } }])
}

#[tokio::test]
async fn mail_arrives_at_a_real_server_over_tls_with_a_password() {
    let server = MailServer::start();
    let secrets = [("password", PASSWORD), ("ca", &server.certificate)];
    let to = ["Ops <ops@example.org>", "night@example.org"];
    let (post, mut ears, _folder) = post(&channel(&server, &to), &secrets, patience());
    post.put(notice("one", "mail"));
    assert_eq!(ears.delivered().await, "one");
    let mail = server.mail("bascule status shop/orders");
    for words in [
        "Subject: shop/orders: moved: lyon writes, paris does not any more",
        "From: Bascule <bascule@example.org>",
        "Auto-Submitted: auto-generated",
        "X-Bascule-Kind: moved",
        "esmtpsa",
        "Envelope-to: ops@example.org",
    ] {
        assert!(mail.contains(words), "{words}: {mail}");
    }
    // The same notice again, as another site would tell it, is the same mail.
    post.put(notice("one", "mail"));
    ears.delivered().await;
    let ids = |mail: &str| -> Vec<String> {
        mail.lines().filter(|l| l.starts_with("Message-ID:")).map(str::to_owned).collect()
    };
    let twice = loop {
        let found = ids(&server.mail("Message-ID:"));
        if found.len() >= 2 {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(twice.iter().all(|id| *id == twice[0] && id.ends_with("@example.org>")), "{twice:?}");
}

#[tokio::test]
async fn users_read_their_language_and_do_not_see_each_other_s_addresses() {
    let server = MailServer::start();
    let secrets = [("password", PASSWORD), ("ca", &server.certificate)];
    let to = ["anne@example.org", "zoe@example.org"];
    let (post, mut ears, _folder) = post(&channel(&server, &to), &secrets, patience());
    post.put(Notice {
        audience: Audience::Users("fr".to_owned()),
        subject: "Boutique fermée".to_owned(),
        text: "La boutique est en lecture seule.\n".to_owned(),
        ..notice("fr", "mail")
    });
    ears.delivered().await;
    let mail = server.mail("lecture seule");
    let headers = mail.split("\n\n").next().unwrap();
    let seen: Vec<&str> = headers
        .lines()
        .filter(|l| l.starts_with("To:") || l.starts_with("Bcc:") || l.starts_with("Cc:"))
        .collect();
    assert_eq!(seen, [""; 0], "{mail}");
    assert!(mail.contains("Subject: Boutique =?utf-8?b?"), "{mail}");
}

#[tokio::test]
async fn an_address_that_is_refused_keeps_nobody_else_from_the_mail_and_is_said() {
    let server = MailServer::start();
    let secrets = [("password", PASSWORD), ("ca", &server.certificate)];
    let to = ["ops@example.org", "nobody@example.org"];
    let (post, mut ears, _folder) = post(&channel(&server, &to), &secrets, patience());
    post.put(notice("one", "mail"));
    let (_, why) = ears.lost().await;
    assert!(
        why.contains("1 of 2") && why.contains("nobody@example.org") && why.contains("no such person here"),
        "{why}"
    );
    assert!(server.mail("bascule status shop/orders").contains("Envelope-to: ops@example.org"));
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_again_and_is_said() {
    let server = MailServer::start();
    let secrets = [("password", "guess"), ("ca", &server.certificate)];
    let (post, mut ears, folder) = post(&channel(&server, &["ops@example.org"]), &secrets, patience());
    post.put(notice("one", "mail"));
    let (_, why) = ears.lost().await;
    assert!(why.contains("535") && !why.contains("tried for") && !why.contains("guess"), "{why}");
    // A Secret that is corrected needs no restart.
    std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
    post.put(notice("two", "mail"));
    assert_eq!(ears.delivered().await, "two");
}

#[tokio::test]
async fn a_server_that_nobody_trusts_gets_no_mail_and_no_password() {
    let server = MailServer::start();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let secrets = [("password", PASSWORD), ("ca", other.as_str())];
    let short = Patience { tries: Duration::from_secs(1), ..patience() };
    let (post, mut ears, _folder) = post(&channel(&server, &["ops@example.org"]), &secrets, short);
    post.put(notice("one", "mail"));
    let (_, why) = ears.lost().await;
    assert!(why.contains("certificate"), "{why}");
}
