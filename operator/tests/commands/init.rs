//! `bascule init` as people run it, against the API servers of two sites.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::live::apiserver::ApiServer;
use crate::live::{Said, answered, program, repository};

/// A kubeconfig with other names in it, so that several can be used together.
fn named(server: &ApiServer, name: &str) -> PathBuf {
    let from = server.kubeconfig();
    let text = fs::read_to_string(&from).unwrap();
    let text = text
        .replace("name: test", &format!("name: {name}"))
        .replace("name: user", &format!("name: {name}"))
        .replace("cluster: test, user: user", &format!("cluster: {name}, user: {name}"))
        .replace("current-context: test", &format!("current-context: {name}"));
    let path = from.with_file_name(format!("kubeconfig-of-{name}"));
    fs::write(&path, text).unwrap();
    path
}

fn init(kubeconfig: &Path, arguments: &[&str]) -> Said {
    answered(program(kubeconfig).arg("init").args(arguments), "")
}

/// What the application is in a site. `count`: of its web pods; `outside`: where its database is reached.
fn application(count: u32, outside: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{ name: shop }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{ name: main, namespace: shop }}
spec:
  serviceName: main
  selector: {{ matchLabels: {{ app: main }} }}
  template:
    metadata: {{ labels: {{ app: main }} }}
    spec:
      containers:
        - {{ name: postgres, image: 'postgres:17', command: [/opt/bascule/bascule, guard, postgres, --, postgres] }}
---
apiVersion: v1
kind: Service
metadata: {{ name: main, namespace: shop }}
spec: {{ selector: {{ app: main }}, ports: [{{ port: 5432 }}] }}
---
apiVersion: v1
kind: Service
metadata: {{ name: main-outside, namespace: shop }}
spec: {{ selector: {{ app: main }}, ports: [{{ port: 5432 }}], externalIPs: [\"{outside}\"] }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web, namespace: shop }}
spec:
  replicas: {count}
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec: {{ containers: [{{ name: web, image: web }}] }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: search, namespace: shop }}
spec:
  selector: {{ matchLabels: {{ app: search }} }}
  template:
    metadata: {{ labels: {{ app: search }} }}
    spec: {{ containers: [{{ name: search, image: search }}] }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{ name: search, namespace: shop }}
spec: {{ scaleTargetRef: {{ apiVersion: apps/v1, kind: Deployment, name: search }}, maxReplicas: 5 }}
---
apiVersion: v1
kind: ConfigMap
metadata: {{ name: web-flags, namespace: shop }}
data: {{ READ_ONLY: \"false\", MODE: planted-value }}
---
apiVersion: v1
kind: Secret
metadata: {{ name: main-bascule, namespace: shop }}
stringData: {{ username: bascule, password: planted-secret }}
"
    )
}

/// Everything that a policy with all parts needs to be said.
const WHOLE: &[&str] = &[
    "--site",
    "paris=one",
    "--site",
    "lyon=two",
    "--namespace",
    "shop",
    "--initial-site",
    "paris",
    "--database",
    "main",
    "--replication-host",
    "paris=203.0.113.10",
    "--replication-host",
    "lyon=198.51.100.10:5433",
    "--workload",
    "deployment/web",
    "--workload",
    "deployment/search",
    "--read-only-flag",
    "web-flags/READ_ONLY",
    "--dns-name",
    "www.shop.example",
    "--dns-server",
    "127.0.0.1:9",
    "--dns-key",
    "dns-key",
    "--address",
    "paris=192.0.2.10",
    "--address",
    "lyon=198.51.100.10",
    "--git-url",
    "https://git.example.org/ops/policies.git",
    "--git-path",
    "shop",
];

#[test]
fn without_a_terminal_everything_that_is_missing_is_told_at_once() {
    let nowhere = Path::new("/nowhere/config");
    let said =
        init(nowhere, &["--database", "main", "--dns-name", "www.shop.example", "--git-branch", "main"]);
    said.refuses(&[
        "nobody can be asked; nothing was written",
        "--site NAME=CONTEXT: found 0, expected one for each of at least two sites",
        "--namespace NAMESPACE",
        "--initial-site SITE",
        "--out DIRECTORY",
        "--dns-server ADDRESS",
        "--dns-key SECRET",
        "--git-url URL: found a branch",
    ]);
    init(nowhere, &["--site", "paris=one", "--site", "lyon=two"]).refuses(&[
        "--initial-site SITE: the site where the data is and that writes first: one of paris, lyon",
        "--database STATEFULSET, --workload KIND/NAME or --dns-name NAME: found none, expected at least one",
    ]);
    let wrong = init(
        nowhere,
        &[
            "--site",
            "paris",
            "--site",
            "lyon=two",
            "--initial-site",
            "lille",
            "--workload",
            "web",
            "--address",
            "lyon=here",
            "--dns-server",
            "ns1.example",
            "--promote-after",
            "soon",
            "--read-only-values",
            "1",
            "--git-url",
            "https://me:planted@git.example.org/x",
        ],
    );
    wrong.refuses(&[
        "--site paris: found \"paris\", expected NAME=CONTEXT",
        "--initial-site lille: found \"lille\", expected one of the sites lyon",
        "--workload web: found \"web\", expected deployment/NAME or statefulset/NAME",
        "--address lyon=here: found 'here', expected an IP address",
        "--dns-server ns1.example: found 'ns1.example', expected an address and a port",
        "--promote-after: found 'soon'",
        "--read-only-values 1: found \"1\"",
        "--git-url: expected an address that begins with https://",
    ]);
    assert!(!wrong.err.contains("planted"), "{wrong:?}");
}

/// The part of a page between a line that begins a document and the one that ends it.
fn manifest(page: &str) -> &str {
    page.split("<<'YAML'\n").nth(1).unwrap().split("\nYAML").next().unwrap()
}

/// `code object field` of what `bascule check` says that is more than a note.
fn codes(said: &Said) -> Vec<String> {
    let report = said.json();
    let all = report["findings"].as_array().unwrap().iter().filter(|f| f["severity"] != "info");
    let text = |f: &Value, key: &str| f[key].as_str().unwrap_or("-").to_owned();
    all.map(|f| format!("{} {} {}", text(f, "cluster"), text(f, "code"), text(f, "field"))).collect()
}

#[tokio::test]
async fn a_policy_is_made_of_two_clusters_and_works_as_it_is() {
    let (paris, mut lyon) = (ApiServer::start().await, ApiServer::start().await);
    let apply = ["apply", "--server-side", "--field-manager=test", "-f", "-"];
    paris.kubectl(&apply, &application(3, "203.0.113.10"));
    lyon.kubectl(&apply, &application(1, "198.51.100.10"));
    lyon.kubectl(&["delete", "secret", "main-bascule", "-n", "shop"], "");
    let files = [named(&paris, "one"), named(&lyon, "two"), named(&paris, "again")];
    let kubeconfig: PathBuf = std::env::join_paths(files).unwrap().into();
    let directory = tempfile::tempdir().unwrap();
    let out = |name: &str| directory.path().join(name).display().to_string();

    // What is offered where something is missing.
    let few = ["--site", "paris=one", "--site", "lyon=two", "--namespace", "shop"];
    init(&kubeconfig, &few).refuses(&[
        "what looks like PostgreSQL there: main",
        "workloads there: deployment/search, deployment/web",
    ]);
    init(&kubeconfig, &[&few[..], &["--database", "main"]].concat()).refuses(&[
        "--replication-host paris=HOST",
        "its Services there are reached at 203.0.113.10",
        "its Services there are reached at 198.51.100.10",
    ]);

    // The whole policy. Its text is the promise; nothing of a Secret is in it.
    let whole = out("whole");
    let said = init(&kubeconfig, &[WHOLE, &["--out", &whole]].concat());
    said.says(0, &["wrote ", "shop.yaml", "NEXT.md", "What the sites have for it today:"]);
    let file = format!("{whole}/shop.yaml");
    let (text, page) =
        (fs::read_to_string(&file).unwrap(), fs::read_to_string(format!("{whole}/NEXT.md")).unwrap());
    insta::assert_snapshot!("init-policy", text);
    insta::assert_snapshot!("init-next", page);
    assert!(![&said.out, &text, &page].iter().any(|t| t.contains("planted")), "{said:?}");
    for line in [
        "#   paris has it already: kubectl --context one -n shop create secret generic main-bascule",
        "\nkubectl --context two -n shop create secret generic main-bascule",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    for words in [
        "lyon: FailoverPolicy shop/shop, spec.databases[main].postgresql.instances[lyon].secretRef",
        "Secret shop/main-replication",
        "Contended",
    ] {
        assert!(said.out.contains(words), "{words}: {said:?}");
    }

    // Unedited it passes the check of files, alone and with its directory, and so does what the simulator makes of it.
    let check = |arguments: &[&str]| answered(program(&kubeconfig).arg("check").args(arguments), "");
    check(&[&file, "--strict"]).says(0, &["nothing is wrong"]);
    check(&[&whole, "--strict"]).says(0, &["nothing is wrong"]);
    for profile in ["metro", "region", "conservative"] {
        check(&[&file, "--profile", profile, "--arbiter-election", "300ms"]).says(0, &[]);
    }
    let lost = answered(program(&kubeconfig).args(["simulate", &file, "--fail", "site=paris@10s"]), "");
    lost.says(0, &["held"]);

    // The API servers take it, with the source, and say nothing of it.
    let definitions = repository().join("crds/generated").display().to_string();
    for server in [&paris, &lyon] {
        server.kubectl(&["apply", "--server-side", "-f", &definitions], "");
        server.shell("for i in $(seq 150); do kubectl get fop,moves,policysources -A && exit 0; sleep 0.2; done; exit 1");
        let answer = server.kubectl(&["apply", "-f", &file], "");
        assert!(answer.contains("failoverpolicy.bascule.dev/shop created"), "{answer}");
        let answer = server.kubectl(&["apply", "-f", "-"], manifest(&page));
        assert!(answer.contains("policysource.bascule.dev/policies created"), "{answer}");
        // As it is remembered it is what was written: no field was left out or made up.
        let kept = server.kubectl(&["get", "fop", "shop", "-n", "shop", "-o", "json"], "");
        let kept: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept["spec"]["databases"][0]["postgresql"]["instances"][1]["replicationPort"], 5433);
        assert_eq!(kept["spec"]["workloads"][0]["replicas"]["active"], 3);
        assert_eq!(kept["spec"]["workloads"][0]["replicas"]["standby"], 1);
        assert!(kept["spec"]["workloads"][1]["replicas"].is_null(), "an autoscaler has the number");
        assert_eq!(kept["spec"]["workloads"][0]["readOnly"]["configMapKey"]["readOnlyValue"], "true");
    }

    // What is left is what the page and the file say: Secrets to make, fields to hand over.
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: { name: NAME, namespace: shop }\nstringData: { username: a, password: b, name: bascule., algorithm: hmac-sha256, secret: c2VjcmV0 }\n";
    for server in [&paris, &lyon] {
        for name in ["main-bascule", "main-replication", "dns-key"] {
            server.kubectl(&["apply", "-f", "-"], &secret.replace("NAME", name));
        }
        let without = application(1, "203.0.113.10")
            .replace("  replicas: 1\n", "")
            .replace("data: { READ_ONLY: \"false\", MODE: planted-value }\n", "");
        server.kubectl(&apply, &without);
        let flag = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: web-flags, namespace: shop }\ndata: { READ_ONLY: \"false\" }\n";
        server.kubectl(&["apply", "--server-side", "--field-manager=bascule-read-only", "-f", "-"], flag);
    }
    let said = check(&["--pre", "--site", "paris=one", "--site", "lyon=two", "-o", "json", &file]);
    let left: Vec<String> = codes(&said)
        .into_iter()
        .filter(|c| !c.contains(" Dns") && !c.contains("NoDefaultStorageClass"))
        .collect();
    assert_eq!(left, [""; 0], "{said:?}");
    check(&["--context", "one", "-o", "json"]).says(2, &["OperatorSilent"]);

    // Two contexts of one cluster are no two sites.
    let twice = [
        "--site",
        "paris=one",
        "--site",
        "lyon=again",
        "--namespace",
        "shop",
        "--workload",
        "deployment/web",
    ];
    let rest = ["--initial-site", "paris", "--out", &out("twice")];
    init(&kubeconfig, &[&twice[..], &rest].concat())
        .refuses(&["--site lyon: found the cluster of paris again", "nothing was written"]);

    // Nothing is overwritten, whatever was said.
    fs::write(&file, "mine").unwrap();
    init(&kubeconfig, &[WHOLE, &["--out", &whole]].concat()).fails(&[
        "shop.yaml and ",
        "NEXT.md",
        "a file is never overwritten",
    ]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");

    // Other answers: what is not there, what cannot work, and what says too little.
    let with = |more: &[&str]| {
        init(&kubeconfig, &[&few[..], &["--initial-site", "paris", "--out", &out("other")], more].concat())
    };
    with(&["--workload", "deployment/wbe"])
        .refuses(&["found no such workload", "did you mean deployment/web?"]);
    with(&["--database", "mian", "--replication-host", "paris=a", "--replication-host", "lyon=b"]).refuses(
        &["--database mian: found no such StatefulSet in namespace shop of any site", "did you mean main?"],
    );
    with(&["--database", "main", "--replication-host", "paris=a", "--replication-host", "lyon=a"])
        .refuses(&["these answers make no policy that works", "SameReplicationHost"]);
    with(&["--workload", "deployment/search"])
        .refuses(&["HorizontalPodAutoscaler shop/search", "--read-only-flag"]);
    with(&[
        "--workload",
        "statefulset/main",
        "--database",
        "main",
        "--replication-host",
        "paris=a",
        "--replication-host",
        "lyon=b",
    ])
    .refuses(&["found the database's StatefulSet"]);
    paris.kubectl(
        &[
            "patch",
            "configmap",
            "web-flags",
            "-n",
            "shop",
            "--type=merge",
            "-p",
            "{\"data\":{\"MODE\":\"planted-value\"}}",
        ],
        "",
    );
    let odd = with(&["--workload", "deployment/web", "--read-only-flag", "web-flags/MODE"]);
    odd.refuses(&["a value at paris whose opposite is not known", "--read-only-values READONLY,READWRITE"]);
    assert!(!odd.err.contains("planted"), "{odd:?}");
    assert!(!Path::new(&out("other")).exists(), "nothing was written");
    with(&["--workload", "deployment/web", "--promote-after", "30m", "--name", "no"]).says(0, &["wrote "]);
    check(&[&out("other/no.yaml"), "--strict"]).says(0, &["nothing is wrong"]);
    assert!(
        fs::read_to_string(out("other/no.yaml")).unwrap().contains("name: \"no\"\n"),
        "a name that YAML reads as something else"
    );

    // On a terminal it asks for the rest, and offers what is there.
    let answers = "1\n203.0.113.10\n198.51.100.10\n2\n\n1\n\nlyon\n\n";
    let line = format!(
        "{} init --site paris=one --site lyon=two --namespace shop --out {}",
        env!("CARGO_BIN_EXE_bascule"),
        out("asked")
    );
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("KUBECONFIG", &kubeconfig);
    let said = answered(&mut terminal, answers);
    said.says(
        0,
        &[
            "Which StatefulSet is the PostgreSQL database",
            "1  main",
            "1  deployment/search",
            "2  deployment/web",
            "1  203.0.113.10",
            "1  web-flags/READ_ONLY",
            "wrote ",
        ],
    );
    let asked = fs::read_to_string(out("asked/shop.yaml")).unwrap();
    assert!(
        asked.contains("initialSite: lyon\n") && asked.contains("active: 1, readOnly: 1, standby: 1"),
        "{asked}"
    );
    check(&[&out("asked"), "--strict"]).says(0, &["nothing is wrong"]);

    // A site that is dead is named, and nothing is written.
    lyon.stop();
    init(&kubeconfig, &[WHOLE, &["--out", &out("dead")]].concat())
        .refuses(&["a cluster cannot be looked at", "lyon: context two of kubeconfig", "no connection"])
        .in_time();
    assert!(!Path::new(&out("dead")).exists());
}
