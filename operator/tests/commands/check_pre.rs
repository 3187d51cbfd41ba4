//! `bascule check --pre` as people run it, against two real API servers on which nothing is installed yet.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::live::apiserver::ApiServer;
use crate::live::{Said, answered, program, repository};

/// A kubeconfig with other names in it, so that several can be used together.
fn named(from: &Path, name: &str) -> PathBuf {
    let text = fs::read_to_string(from).unwrap();
    let text = text
        .replace("name: test", &format!("name: {name}"))
        .replace("name: user", &format!("name: {name}"))
        .replace("cluster: test, user: user", &format!("cluster: {name}, user: {name}"))
        .replace("current-context: test", &format!("current-context: {name}"));
    let path = from.with_file_name(format!("kubeconfig-of-{name}"));
    fs::write(&path, text).unwrap();
    path
}

fn together(files: &[&Path]) -> PathBuf {
    std::env::join_paths(files).unwrap().into()
}

fn check(kubeconfig: &Path, arguments: &[&str]) -> Said {
    answered(program(kubeconfig).args(["check", "--pre", "-o", "json"]).args(arguments), "")
}

/// `cluster code object` of every finding that matters more than a note.
fn codes(said: &Said) -> Vec<String> {
    let report = said.json();
    let text = |f: &Value, key: &str| f[key].as_str().unwrap_or("-").to_owned();
    let all = report["findings"].as_array().unwrap().iter().filter(|f| f["severity"] != "info");
    all.map(|f| format!("{} {} {}", text(f, "cluster"), text(f, "code"), text(f, "object"))).collect()
}

fn found(said: &Said, code: &str) -> Vec<String> {
    let report = said.json();
    let all = report["findings"].as_array().unwrap().iter().filter(|f| f["code"] == code);
    all.map(|f| format!("{} {}", f["field"].as_str().unwrap(), f["found"].as_str().unwrap())).collect()
}

/// An API server applies its admission policies and roles some time after they were changed: the first that `is` as wanted, or
/// the last of twenty seconds.
async fn until(said: impl Fn() -> Said, is: impl Fn(&Said) -> bool) -> Said {
    let mut last = said();
    for _ in 0..100 {
        if is(&last) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        last = said();
    }
    last
}

fn looked(said: &Said, words: &str) {
    let report = said.json();
    let all = report["checked"].as_array().unwrap();
    assert!(all.iter().any(|line| line.as_str().unwrap().contains(words)), "{words}: {all:#?}");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anybody_is_asked() {
    let nowhere = Path::new("/nowhere/config");
    let example = repository().join("examples/shop.yaml").display().to_string();
    check(nowhere, &["--site", "paris"]).fails(&["--site: found \"paris\", expected NAME=CONTEXT"]);
    check(nowhere, &["--site", "paris=a", "--site", "paris=b"]).fails(&["--site paris: found it twice"]);
    check(nowhere, &["--site", "lille=a", &example])
        .fails(&["--site lille: found no such site in the policies of FILE, expected one of lyon, paris"]);
    check(nowhere, &["--release-namespace", "Not A Name"]).fails(&["--release-namespace", "is not a name"]);
    check(nowhere, &["--operator", "a/b"]).refuses(&["--operator"]);
    check(nowhere, &["--profile", "galaxy"]).fails(&["--profile"]);
    let plain = |arguments: &[&str]| answered(program(nowhere).arg("check").args(arguments), "");
    plain(&["--site", "a", "--site", "b"]).fails(&["--site: found a and b, expected one"]);
    plain(&["--context", "a", "--context", "b"]).fails(&["only with --pre several are named"]);
    plain(&[&example, "--site", "paris"]).fails(&["with FILE nobody is"]);
    plain(&["--release-namespace", "x"]).refuses(&["--pre"]);
}

/// A default StorageClass, and the namespace of the release with the strictest level.
const READY: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: bascule-system, labels: { pod-security.kubernetes.io/enforce: restricted } }
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: local, annotations: { storageclass.kubernetes.io/is-default-class: \"true\" } }
provisioner: example.org/local
";

/// Nobody may run images from elsewhere.
const ONLY_OWN_IMAGES: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: { name: own-images }
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{ apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods] }]
  validations:
    - { expression: \"object.spec.containers.all(c, c.image.startsWith('registry.example.org/'))\", message: only images of registry.example.org }
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: { name: own-images }
spec: { policyName: own-images, validationActions: [Deny] }
";

#[tokio::test]
async fn clusters_are_checked_before_an_installation_and_each_thing_that_is_wrong_has_its_code() {
    let (mut paris, lyon) = (ApiServer::start().await, ApiServer::start().await);
    let plain = named(&lyon.plain_kubeconfig(lyon.address().port()), "plain");
    let files = [named(&paris.kubeconfig(), "one"), named(&lyon.kubeconfig(), "two")];
    let kubeconfig = together(&[&files[0], &files[1], &plain]);
    let both = ["--site", "paris=one", "--site", "lyon=two"];
    let run = |more: &[&str]| check(&kubeconfig, &[&both[..], more].concat());

    // Two clusters as they should be: definitions are not there, and that is no error.
    paris.kubectl(&["apply", "-f", "-"], READY);
    lyon.kubectl(&["apply", "-f", "-"], READY);
    let said = run(&[]);
    assert_eq!((said.code, codes(&said)), (0, Vec::new()), "{said:?}");
    for words in [
        "paris: the API server v",
        "lyon: the definitions: none yet",
        "paris: namespace bascule-system: it takes a pod like the operator's; it enforces the Pod Security level restricted",
        "lyon: 22 rights of yours",
        "paris: a dry run of the operator's role",
        "paris: the default StorageClass local",
        "the clocks of paris, lyon against each other",
    ] {
        looked(&said, words);
    }
    let text = answered(program(&kubeconfig).args(["check", "--pre"]).args(both), "");
    text.says(
        0,
        &["2 clusters, before an installation: nothing is wrong.", "looked at   paris: the API server"],
    );
    let pods = paris.kubectl(&["get", "pods,clusterroles", "-A", "-o", "name"], "");
    assert!(!pods.contains("bascule"), "nothing was made: {pods}");

    // The namespace is missing, and so is a default class.
    lyon.kubectl(&["delete", "storageclass", "local"], "");
    let said = run(&["--release-namespace", "elsewhere"]);
    assert_eq!(
        (said.code, codes(&said)),
        (0, vec!["lyon NoDefaultStorageClass StorageClass".to_owned()]),
        "{said:?}"
    );
    looked(&said, "paris: namespace elsewhere: not there yet");
    looked(&said, "paris: 23 rights of yours");
    assert_eq!(run(&["--strict"]).code, 2);
    lyon.kubectl(&["apply", "-f", "-"], READY);

    // Definitions: those of this version, another one, and half of them.
    let definitions = repository().join("crds/generated").display().to_string();
    lyon.kubectl(&["apply", "--server-side", "-f", &definitions], "");
    let said = run(&[]);
    assert_eq!((said.code, codes(&said)), (0, Vec::new()), "{said:?}");
    looked(&said, "lyon: 3 definitions that are there already");
    let patch = json!([{ "op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "another" }]);
    lyon.kubectl(&["patch", "crd", "moves.bascule.dev", "--type=json", "-p", &patch.to_string()], "");
    lyon.kubectl(&["delete", "crd", "policysources.bascule.dev"], "");
    let said = run(&[]);
    let differ = ["moves", "policysources"]
        .map(|kind| format!("lyon DefinitionsDiffer CustomResourceDefinition {kind}.bascule.dev"));
    assert_eq!((said.code, codes(&said)), (0, differ.to_vec()), "{said:?}");
    lyon.kubectl(&["delete", "crd", "moves.bascule.dev", "failoverpolicies.bascule.dev"], "");

    // A pod like the operator's is refused.
    lyon.kubectl(&["apply", "-f", "-"], ONLY_OWN_IMAGES);
    let said = until(|| run(&[]), |said| !found(said, "PodRefused").is_empty()).await;
    assert_eq!(
        (said.code, codes(&said)),
        (2, vec!["lyon PodRefused Namespace bascule-system".to_owned()]),
        "{said:?}"
    );
    assert!(found(&said, "PodRefused")[0].contains("only images of registry.example.org"), "{said:?}");
    lyon.kubectl(&["delete", "validatingadmissionpolicybinding", "own-images"], "");
    until(|| run(&[]), |said| found(said, "PodRefused").is_empty()).await;

    // Somebody who may do nothing, then everything but what the operator's role gives away.
    let mine = check(&kubeconfig, &["--context", "plain"]);
    assert_eq!(mine.code, 2, "{mine:?}");
    let missing = found(&mine, "InstallRightMissing");
    assert_eq!(missing.len(), 22, "the namespace is not known to be missing: {missing:#?}");
    assert!(
        missing.iter().any(|m| m.starts_with("create clusterroles.rbac.authorization.k8s.io ")),
        "{missing:#?}"
    );
    assert!(codes(&mine)[0].starts_with("context plain InstallRightMissing your rights"), "{mine:?}");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "installs" },
        "rules": [
            { "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["get", "create", "patch"] },
            { "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles", "clusterrolebindings", "roles", "rolebindings"], "verbs": ["get", "create", "patch"] },
            { "apiGroups": ["", "apps", "networking.k8s.io", "policy"], "resources": ["secrets", "serviceaccounts", "services", "statefulsets", "poddisruptionbudgets", "networkpolicies"], "verbs": ["create", "patch"] },
            { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "create"] },
            { "apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["list"] },
        ],
    });
    lyon.kubectl(&["create", "-f", "-"], &role.to_string());
    lyon.kubectl(&["create", "clusterrolebinding", "installs", "--clusterrole=installs", "--user=plain"], "");
    let plain = || check(&kubeconfig, &["--context", "plain"]);
    let mine = until(plain, |mine| found(mine, "InstallRightMissing").len() == 1).await;
    let missing = found(&mine, "InstallRightMissing");
    assert_eq!((mine.code, missing.len()), (2, 1), "{mine:?}");
    assert!(missing[0].contains("attempting to grant RBAC permissions not currently held"), "{missing:?}");
    assert!(mine.out.contains("you may not create pods, so none was tried"), "{mine:?}");

    // Two sites in one cluster.
    let said = check(&kubeconfig, &["--site", "paris=two", "--site", "lyon=plain"]);
    assert!(codes(&said).iter().any(|c| c == "- SameCluster paris and lyon"), "{said:?}");

    // Nobody listens, nobody answers, and somebody who does not know the token: the other one is looked at all the same.
    paris.freeze();
    let said = run(&[]);
    assert_eq!(
        (said.code, codes(&said)),
        (2, vec!["paris ApiServerUnreachable API server".to_owned()]),
        "{said:?}"
    );
    assert!(found(&said, "ApiServerUnreachable")[0].contains("nothing came within 4 s"), "{said:?}");
    assert!(said.err.contains("bascule check --pre: waiting for paris …"), "{said:?}");
    assert!(said.took < Duration::from_secs(8), "{said:?}");
    looked(&said, "lyon: the default StorageClass local");
    paris.thaw();
    paris.stop();
    let said = run(&[]);
    assert_eq!(
        (said.code, codes(&said)),
        (2, vec!["paris ApiServerUnreachable API server".to_owned()]),
        "{said:?}"
    );
    assert!(found(&said, "ApiServerUnreachable")[0].contains("no connection"), "{said:?}");
    let stranger = fs::read_to_string(&files[1]).unwrap().replace("test-admin-token", "another-token");
    let path = files[1].with_file_name("stranger");
    fs::write(&path, stranger).unwrap();
    let said = check(&path, &[]);
    assert_eq!((said.code, codes(&said).len()), (2, 1), "{said:?}");
    assert!(found(&said, "ApiServerUnreachable")[0].contains("does not accept the credentials"), "{said:?}");
    check(&kubeconfig, &["--context", "three"]).fails(&["no context three"]);
}
