//! What `bascule simulate --why` prints, held against `bascule why` and a real API server that has the same status.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::live::apiserver::ApiServer;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(kubeconfig: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bascule"));
    command.args(arguments).current_dir(repository());
    command.env("KUBECONFIG", kubeconfig).env_remove("KUBERNETES_SERVICE_HOST");
    let Output { stdout, stderr, .. } = command.output().unwrap();
    assert!(stderr.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn json_of(kubeconfig: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&text(kubeconfig, &[arguments, &["-o", "json"]].concat())).unwrap()
}

/// A text without its numbers and their units, line by line: what is left does not depend on when it was asked.
fn words(text: &str) -> Vec<String> {
    let number = |word: &str| word.contains(|c: char| c.is_ascii_digit());
    let unit =
        |word: &str| matches!(word.trim_matches([',', ')', ';', '.']), "ms" | "s" | "m" | "h" | "days");
    let kept = |line: &str| line.split(' ').filter(|w| !number(w) && !unit(w)).collect::<Vec<_>>().join(" ");
    text.lines().map(kept).collect()
}

/// Every time in it, as the status and the answer write them, is so much later.
fn later(value: &Value, by: SignedDuration) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, v)| (name.clone(), later(v, by))).collect(),
        Value::Array(items) => items.iter().map(|v| later(v, by)).collect(),
        Value::String(text) if text.len() == "2026-11-25T08:00:28Z".len() => {
            match text.parse::<Timestamp>() {
                Ok(at) => json!((at + by).to_string()),
                Err(_) => value.clone(),
            }
        }
        // As a Lease has it, with all its places.
        Value::String(text) if text.len() == "2026-11-25T08:00:28.000000Z".len() => {
            match text.parse::<Timestamp>() {
                Ok(at) => json!((at + by).strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()),
                Err(_) => value.clone(),
            }
        }
        other => other.clone(),
    }
}

/// The same without ages, and the ages.
fn parted(value: &Value) -> (Value, Vec<Option<u64>>) {
    let mut ages = Vec::new();
    let rest = part(value, &mut ages);
    (rest, ages)
}

fn part(value: &Value, ages: &mut Vec<Option<u64>>) -> Value {
    match value {
        Value::Object(fields) => {
            let mut kept = serde_json::Map::new();
            for (name, v) in fields {
                if name == "ageMs" || name == "vouchedAgeMs" {
                    ages.push(v.as_u64());
                } else {
                    kept.insert(name.clone(), part(v, ages));
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(|v| part(v, ages)).collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn the_simulator_answers_what_why_answers_of_the_same_status_in_a_real_cluster() {
    let server = ApiServer::start().await;
    let file = server.kubeconfig();
    let definitions = repository().join("crds/generated").display().to_string();
    server.kubectl(&["apply", "--server-side", "-f", &definitions], "");
    server.shell("for i in $(seq 150); do kubectl get fop -A && exit 0; sleep 0.2; done; exit 1");
    server.kubectl(&["create", "namespace", "shop"], "");
    server.kubectl(&["create", "namespace", "bascule-system"], "");
    let policy = std::fs::read_to_string(repository().join("examples/shop.yaml")).unwrap();
    server.kubectl(&["apply", "--server-side", "-f", "-"], &policy);

    let cases: [&[&str]; 4] = [
        // All is well, a takeover waits for its time, it has taken place, and a switchover was carried out.
        &["--why=lyon@8s"],
        &["--why=lyon@25s"],
        &["--why=lyon@70s"],
        &["--move=examples/move.yaml@5s", "--why=paris@30s"],
    ];
    for arguments in cases {
        let arguments = [&["simulate", "examples/shop.yaml"], arguments].concat();
        let simulated = json_of(&file, &arguments);
        let asked = &simulated["why"][0];
        assert_eq!(asked["noAnswer"], Value::Null, "{asked}");
        let there: Timestamp = asked["time"].as_str().unwrap().parse().unwrap();

        // The same status, as if that moment were now: in whole seconds, as the API keeps times.
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let by = SignedDuration::from_secs(now.as_second() - there.as_second());
        let status = later(&asked["status"], by);
        let patch = file.with_file_name("status.json");
        std::fs::write(&patch, json!([{ "op": "add", "path": "/status", "value": status }]).to_string())
            .unwrap();
        server.shell(&format!(
            "kubectl patch fop shop -n shop --subresource=status --type=json --patch-file={}",
            patch.display()
        ));
        let heartbeat = later(&asked["heartbeat"], by).to_string();
        server.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &heartbeat);
        let read = json_of(&file, &["why", "shop/shop"]);
        let took = Timestamp::now().duration_since(now).as_millis();

        // And so for people: what follows after the line that says when and where it is asked.
        let story = text(&file, &arguments);
        let (_, printed) = story.split_once("\nbascule why shop/shop, asked at ").unwrap();
        let (_, answer) = printed.split_once(":\n\n").unwrap();
        let live = words(&text(&file, &["why", "shop/shop"]));
        assert!(live.len() > 6, "{live:?}");
        assert_eq!(words(answer)[..live.len()], live, "{arguments:?}");

        let (expected, then) = parted(&later(&asked["answer"], by));
        let (found, ages) = parted(&read);
        assert_eq!(found, expected, "{arguments:?}");
        assert_eq!(ages.len(), then.len());
        for (age, then) in ages.iter().zip(&then) {
            let (Some(age), Some(then)) = (age, then) else {
                assert_eq!(age, then, "{arguments:?}");
                continue;
            };
            // Both count from the same time: what lies between is how long this test took to ask.
            let more = i128::from(*age) - i128::from(*then);
            assert!((-1000..=took + 1000).contains(&more), "{arguments:?}: {age} ms and not {then} ms");
        }
    }
}
