//! A real API server accepts the generated definitions and judges objects as the table says.

#![allow(clippy::unwrap_used, clippy::panic)]

mod cases;
mod server;

use serde_json::{Value, json};

use self::{
    cases::{Case, base, cases},
    server::ApiServer,
};

fn collection(object: &Value) -> String {
    let plural = match object["kind"].as_str().unwrap() {
        "FailoverPolicy" => "failoverpolicies",
        "Move" => "moves",
        "PolicySource" => "policysources",
        other => panic!("kind {other}"),
    };
    format!("/apis/bascule.dev/v1alpha1/namespaces/default/{plural}")
}

/// What is wrong with the API server's judgement of a case, if anything.
async fn judge(server: &ApiServer, case: &Case) -> Option<String> {
    let object = case.object();
    let path = format!("{}?dryRun=All&fieldValidation=Strict", collection(&object));
    let answer = server.call("POST", &path, "application/json", object.to_string()).await;
    match (case.refused, answer) {
        (None, Ok(_)) => None,
        (Some(words), Err(message)) if message.contains(words) => None,
        (None, Err(message)) => Some(format!("{}: expected acceptance, found: {message}", case.name)),
        (Some(words), Err(message)) => Some(format!("{}: expected '{words}', found: {message}", case.name)),
        (Some(words), Ok(_)) => Some(format!("{}: expected '{words}', found acceptance", case.name)),
    }
}

#[tokio::test]
async fn a_real_api_server_accepts_the_definitions_and_judges_objects_as_the_table_says() {
    let server = ApiServer::start().await;
    server.install_definitions().await;

    let mut wrong = Vec::new();
    for case in cases() {
        wrong.extend(judge(&server, &case).await);
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases().len(), wrong.join("\n"));

    a_move_never_changes(&server).await;
    an_unknown_field_is_refused_by_strict_validation(&server).await;
    status_is_written_apart_from_the_spec(&server).await;
}

async fn a_move_never_changes(server: &ApiServer) {
    let object = base("move");
    let created =
        server.call("POST", &collection(&object), "application/json", object.to_string()).await.unwrap();
    let mut changed = created.clone();
    changed["spec"]["to"] = json!("rome");
    let path = format!("{}/m", collection(&object));
    let refusal = server.call("PUT", &path, "application/json", changed.to_string()).await.unwrap_err();
    assert!(refusal.contains("a Move never changes after it was created"), "{refusal}");

    let mut labelled = created;
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    server.call("PUT", &path, "application/json", labelled.to_string()).await.unwrap();
}

async fn an_unknown_field_is_refused_by_strict_validation(server: &ApiServer) {
    let mut object = base("policy");
    object["spec"]["failover"]["promot"] = json!({});
    let path = format!("{}?fieldValidation=Strict", collection(&object));
    let refusal = server.call("POST", &path, "application/json", object.to_string()).await.unwrap_err();
    assert!(refusal.contains("unknown field \"spec.failover.promot\""), "{refusal}");
}

async fn status_is_written_apart_from_the_spec(server: &ApiServer) {
    let object = base("policy");
    let path = collection(&object);
    let created = server.call("POST", &path, "application/json", object.to_string()).await.unwrap();
    assert_eq!(created["spec"]["suspend"], json!(false), "defaults are stored");
    let typed: bascule_crds::FailoverPolicy = serde_json::from_value(created).unwrap();

    let mut with_status = typed.clone();
    with_status.status = Some(status());
    let body = serde_json::to_string(&with_status).unwrap();
    let path = format!("{path}/shop/status?fieldValidation=Strict");
    let stored = server.call("PUT", &path, "application/json", body).await.unwrap();
    let read: bascule_crds::FailoverPolicy = serde_json::from_value(stored).unwrap();
    assert_eq!(read.status, with_status.status);
    assert_eq!(read.spec, typed.spec);
}

/// A status in which every field says something.
fn status() -> bascule_crds::FailoverPolicyStatus {
    let loss = json!({
        "boundBytes": 4096, "boundMs": 8000, "bytes": 8192, "transactions": 12, "seconds": 3, "savedAt": "wal/5"
    });
    serde_json::from_value(json!({
        "observedGeneration": 1, "message": "lyon is active; paris follows", "activeSite": "lyon", "epoch": 4,
        "serial": 17, "phase": "Steady", "lag": "0 B", "fence": "Guard", "revision": "main@sha1:4f2c",
        "specHash": "ab", "heldUntil": "2026-11-28T14:00:00Z",
        "conditions": [{ "type": "Ready", "status": "True", "observedGeneration": 1, "lastTransitionTime": "2026-11-28T14:00:00Z", "reason": "Steady", "message": "" }],
        "gates": [{ "name": "DataLossBytes/main/paris", "verdict": "Pass", "value": "0 B", "threshold": "16 MiB", "age": "0.2s", "message": "paris has everything" }],
        "sites": [{ "name": "paris", "role": "Standby", "promotable": true, "reason": "", "specHash": "ab", "revision": "main@sha1:4f2c", "lag": { "bytes": 0, "reportAgeMs": 200 }, "fenceClass": "Guard", "fenceDoesNotCover": "a guard frozen alone", "age": "0.4s" }],
        "lastTransition": { "cause": "SiteLost", "move": "m", "from": "paris", "to": "lyon", "epoch": 4, "startedAt": "2026-11-28T14:00:00Z", "finishedAt": "2026-11-28T14:00:01Z", "phases": [{ "name": "Promote", "ms": 40 }], "writePauseMs": 120, "readOnlyMs": 900, "dataLoss": loss },
        "history": [{ "epoch": 4, "cause": "SiteLost", "move": "m", "from": "paris", "to": "lyon", "finishedAt": "2026-11-28T14:00:01Z", "ms": 1000, "dataLoss": loss }],
        "moves": [{ "name": "m", "hash": "cd", "state": "BecameFailover", "message": "the source was lost" }]
    }))
    .unwrap()
}
