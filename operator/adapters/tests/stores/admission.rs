//! What the accounts of a witness may do, and what nobody may.

use bascule_adapters::arbiter::{Cas, Claim, KubernetesArbiter, Put, Renewal, Taken, WitnessSettings};
use serde_json::{Value, json};

use crate::stored::{bytes, record_of, shop, site};
use crate::witness::{TQ, Witness};

/// A lease of paris that was renewed, a record and facts of paris about it.
async fn ready() -> Witness {
    let witness = Witness::start().await;
    let paris = witness.arbiter("operator-paris").await;
    assert_eq!(paris.claim_site(&site("paris"), "uid", TQ).await, Claim::Ours);
    assert!(matches!(paris.renew(&site("paris"), "uid", b"1", TQ).await, Renewal::Applied { .. }));
    let first = bytes(&record_of("paris", 3, 7, "first"));
    assert!(matches!(paris.cas(&shop(), None, first, None, TQ).await, Cas::Applied { .. }));
    let facts = bytes(&json!({ "word": "said" }));
    assert!(matches!(paris.put_facts(&shop(), &site("paris"), facts, TQ).await, Put::Applied { .. }));
    witness
}

/// Writes a record as lyon; what it was refused with.
async fn refused(witness: &Witness, next: &Value) -> String {
    let lyon = witness.arbiter("operator-lyon").await;
    let before = lyon.record(&shop(), TQ).await.unwrap().unwrap();
    let said = match lyon.cas(&shop(), Some(before.revision), bytes(next), None, TQ).await {
        Cas::Refused { why } => why.to_string(),
        other => panic!("{next}: {other:?}"),
    };
    assert_eq!(lyon.record(&shop(), TQ).await.unwrap(), Some(before), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_serials_and_generations_never_fall_and_the_active_site_changes_with_a_higher_epoch_only() {
    let witness = ready().await;
    for (next, words) in [
        (
            record_of("paris", 3, 7, "same serial"),
            "spec.record.serial is raised with every change: found 7 after 7",
        ),
        (record_of("paris", 3, 6, "lower serial"), "found 6 after 7"),
        (record_of("paris", 2, 8, "lower epoch"), "spec.record.epoch would fall from 3 to 2"),
        (record_of("lyon", 3, 8, "the same epoch"), "spec.record.active changes from paris to lyon"),
    ] {
        let said = refused(&witness, &next).await;
        assert!(said.contains(words), "{said}");
    }
    let lyon = witness.arbiter("operator-lyon").await;
    let before = lyon.record(&shop(), TQ).await.unwrap().unwrap();
    let mut next = record_of("lyon", 4, 8, "taken");
    next["generation"] = 1.into();
    let taken = lyon.cas(&shop(), Some(before.revision), bytes(&next), None, TQ).await;
    assert!(matches!(taken, Cas::Applied { .. }), "{taken:?}");
    let said = refused(&witness, &record_of("lyon", 4, 9, "lower generation")).await;
    assert!(said.contains("spec.record.generation would fall from 1 to 0"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_columns_could_not_tell_is_refused_with_the_field() {
    let witness = ready().await;
    let mut next = record_of("paris", 3, 8, "");
    next["serial"] = "8".into();
    let said = refused(&witness, &next).await;
    assert!(said.contains("spec.record.serial"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_renews_only_its_own_sites_lease() {
    let witness = ready().await;
    let paris = site("paris");
    let lyon = witness.arbiter("operator-lyon").await;
    match lyon.renew(&paris, "uid", b"2", TQ).await {
        Renewal::Refused { why } => assert!(why.to_string().contains("403"), "{why}"),
        other => panic!("{other:?}"),
    }
    // A role cannot keep it from making one by another name, and the rule does.
    match lyon.claim_site(&site("nice"), "uid-2", TQ).await {
        Claim::Refused { why } => {
            assert!(why.to_string().contains("is made by the account operator-nice"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    match lyon.put_facts(&shop(), &paris, bytes(&json!({ "word": "forged" })), TQ).await {
        Put::Refused { why } => assert!(why.to_string().contains("the facts of paris"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(lyon.claim_site(&site("lyon"), "uid-2", TQ).await, Claim::Ours);
    assert!(matches!(lyon.renew(&site("lyon"), "uid-2", b"1", TQ).await, Renewal::Applied { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_reads_the_record_and_renews_its_own_sites_lease_and_nothing_else() {
    let witness = ready().await;
    let paris = site("paris");
    let guard = witness.arbiter("guard-paris").await;
    assert!(guard.record(&shop(), TQ).await.unwrap().is_some());
    assert!(matches!(guard.renew(&paris, "uid", b"guard 1", TQ).await, Renewal::Applied { .. }));
    let stranger = guard.renew(&paris, "uid-2", b"guard 2", TQ).await;
    assert_eq!(stranger, Renewal::NameTaken { owner: "uid".to_owned() });
    let before = guard.record(&shop(), TQ).await.unwrap().unwrap();
    let next = bytes(&record_of("paris", 3, 8, "a guard's"));
    match guard.cas(&shop(), Some(before.revision), next, None, TQ).await {
        Cas::Refused { why } => assert!(why.to_string().contains("403"), "{why}"),
        other => panic!("{other:?}"),
    }
    match guard.take_acting(&paris, "uid", b"guard", None, TQ).await {
        Taken::Refused { why } => {
            assert!(why.to_string().contains("change neither its owner nor who acts"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    match guard.put_facts(&shop(), &paris, bytes(&json!({})), TQ).await {
        Put::Refused { why } => assert!(why.to_string().contains("403"), "{why}"),
        other => panic!("{other:?}"),
    }
    match guard.claim_site(&site("lyon"), "uid", TQ).await {
        Claim::Refused { why } => assert!(why.to_string().contains("403"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_for_the_accounts_holds_for_administrators_who_may_still_label_and_delete() {
    let witness = ready().await;
    let ours = ["-n", witness.namespace.as_str()];
    let as_admin = |arguments: &[&str]| witness.server.kubectl_says(&[&ours[..], arguments].concat(), "");
    for (what, patch, words) in [
        ("sitelease/paris", r#"{"spec":{"owner":"another"}}"#, "this is admin"),
        (
            "policyrecord/shop.web",
            r#"{"spec":{"record":{"epoch":9,"serial":9}}}"#,
            "records are written by operators",
        ),
        ("sitefacts/paris.shop.web", r#"{"spec":{"facts":{"word":"x"}}}"#, "the facts of paris"),
    ] {
        let said = as_admin(&["patch", what, "--type=merge", "-p", patch]).unwrap_err();
        assert!(said.contains(words), "{what}: {said}");
        as_admin(&["label", what, "kept=yes"]).unwrap();
    }
    // A name goes over to another cluster only by its lease's end, which no account may bring about.
    let delete = ["delete", "sitelease", "paris"];
    for account in ["operator-paris", "operator-lyon", "guard-paris"] {
        let said = witness.kubectl_as(account, &delete, "").unwrap_err();
        assert!(said.contains("cannot delete"), "{account}: {said}");
    }
    as_admin(&delete).unwrap();
    let paris = witness.arbiter("operator-paris").await;
    assert_eq!(paris.claim_site(&site("paris"), "uid-new", TQ).await, Claim::Ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_of_who_acts_never_falls_and_the_owner_never_changes() {
    let witness = ready().await;
    let paris = witness.arbiter("operator-paris").await;
    assert!(matches!(paris.take_acting(&site("paris"), "uid", b"a", None, TQ).await, Taken::Applied { .. }));
    for (patch, words) in [
        (r#"{"spec":{"acting":{"count":0}}}"#, "spec.acting.count would fall from 1 to 0"),
        (r#"{"spec":{"owner":"another"}}"#, "belongs to the cluster uid"),
    ] {
        let patch = ["patch", "sitelease", "paris", "--type=merge", "-p", patch];
        let said = witness.kubectl_as("operator-paris", &patch, "").unwrap_err();
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_what_is_explained_and_shown() {
    let witness = ready().await;
    let explained = witness.server.kubectl(&["explain", "policyrecord.spec.record"], "");
    for words in ["epoch", "It never falls", "The site that may write"] {
        assert!(explained.contains(words), "{explained}");
    }
    let shown = witness.server.kubectl(&["-n", &witness.namespace, "get", "policyrecords"], "");
    let (head, row) = shown.split_once('\n').unwrap();
    assert!(head.starts_with("NAME") && head.contains("ACTIVE") && head.contains("EPOCH"), "{shown}");
    assert!(row.starts_with("shop.web") && row.contains("paris") && row.contains("Steady"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_the_rules_are_obeyed_is_told_and_nothing_is_left_of_the_question() {
    let witness = ready().await;
    let paris = witness.arbiter("operator-paris").await;
    assert_eq!(paris.is_ruled(TQ).await, Ok(true));
    assert!(paris.version(TQ).await.unwrap().starts_with('v'));
    let took = paris.round_trip(TQ).await.unwrap();
    assert!(took.own <= took.agreed && took.agreed < TQ, "{took:?}");
    // Who may not make any lease cannot tell.
    let why = witness.arbiter("guard-paris").await.is_ruled(TQ).await.unwrap_err();
    assert!(why.to_string().contains("cannot create"), "{why}");
    // A namespace that the chart was never installed in has no rules; whoever looks there has all rights.
    let kubeconfig = witness.server.kubeconfig();
    let elsewhere = KubernetesArbiter::new(&WitnessSettings { kubeconfig }).await.unwrap();
    assert_eq!(elsewhere.is_ruled(TQ).await, Ok(false));
    for namespace in [witness.namespace.as_str(), "default"] {
        let left = witness.server.kubectl(&["-n", namespace, "get", "siteleases", "-o", "name"], "");
        assert!(!left.contains("no-site"), "{left}");
    }
}
