//! `bascule status` as people run it, against a real API server.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::live::{Cluster, program, reads, steady};

/// How long a change may take to be told.
const SOON: Duration = Duration::from_secs(20);

/// Reads lines until one has these words.
fn until(lines: &Receiver<String>, words: &str) -> String {
    let begun = Instant::now();
    let mut all = Vec::new();
    while begun.elapsed() < SOON {
        let Ok(line) = lines.recv_timeout(Duration::from_millis(100)) else { continue };
        if line.contains(words) {
            return line;
        }
        all.push(line);
    }
    panic!("{words:?} was not said within {SOON:?}: {all:#?}");
}

#[tokio::test]
async fn where_a_policy_stands_is_told_in_a_sentence_and_followed_and_a_dead_cluster_is_named_in_time() {
    let mut cluster = Cluster::start().await;
    let shop = &["status", "shop"][..];

    // Nobody has said anything, then all is well.
    cluster
        .run(shop)
        .says(2, &["shop/shop: Nothing is known here: no operator has written", "Next: bascule why shop"]);
    cluster.write("shop", &steady(Timestamp::now()));
    let said = cluster.run(shop);
    said.says(0, &["paris writes (epoch 3)", "*  paris  Primary", "Next: nothing to do."]);
    for way in [&["status", "shop/shop"][..], &["status"], &["status", "-A"], &["status", "-n", "shop"]] {
        assert_eq!(cluster.run(way).out.lines().next(), said.out.lines().next(), "{way:?}");
    }
    let json = cluster.run(&["status", "shop", "-o", "json"]);
    assert_eq!((json.code, &json.json()["attention"]), (0, &json!(false)), "{json:?}");

    // Followed: each change once, with the way on.
    let mut following = program(&cluster.file());
    following.args(["status", "shop", "-w"]).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut following = following.spawn().unwrap();
    let (into, lines) = channel();
    let out = BufReader::new(following.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| into.send(line).is_ok()));
    until(&lines, "paris writes (epoch 3)");
    cluster.write("shop", &reads(Timestamp::now()));
    until(&lines, "Reads served from lyon since 03:02. Promotes 03:32 unless held.");
    until(&lines, "Next: bascule hold shop --reason WHY");
    // The same again, written later, is no news; what comes after it is.
    cluster.write("shop", &reads(Timestamp::now()));
    let mut held = reads(Timestamp::now());
    held["message"] = json!("Reads served from lyon since 03:02. Held until 06:00.");
    held["heldUntil"] = json!((Timestamp::now() + 3.hours()).to_string());
    cluster.write("shop", &held);
    let next = until(&lines, "Reads served from lyon");
    assert!(next.contains("Held until 06:00"), "{next}");
    cluster.server.stop();
    until(&lines, "no answer since");
    until(&lines, "Held until 06:00");
    cluster.server.start_again().await;
    cluster.write("shop", &steady(Timestamp::now()));
    until(&lines, "paris writes (epoch 3)");
    kill_process(Pid::from_child(&following), Signal::INT).unwrap();
    assert!(following.wait().unwrap().success(), "Ctrl-C is the way to end it");

    // Several of them.
    cluster.make("eu");
    let said = cluster.run(&["status"]);
    said.says(
        2,
        &["2 policies, one needs attention.", "! eu/shop: Nothing is known", "*  shop/shop  paris  Primary"],
    );
    cluster.run(&["status", "-n", "eu"]).says(2, &["Next: bascule why shop -n eu"]);
    cluster.run(shop).fails(&["several policies", "eu/shop, shop/shop"]);
    cluster.run(&["status", "shpo"]).fails(&["no FailoverPolicy shpo; did you mean"]);
    cluster.run(&["status", "-n", "none", "-w"]).fails(&["there is no namespace none"]);
    let nobody = cluster.changed("nobody", "test-admin-token}", "test-admin-token, as: nobody}");
    Cluster::run_as(&nobody, shop)
        .fails(&["you may not list failoverpolicies.bascule.dev", "ask for a role"]);

    // Nobody who answers, and nobody there.
    cluster.server.freeze();
    cluster.run(&["status", "shop/shop"]).fails(&["no answer when asked to get", "--context"]).in_time();
    cluster.run(shop).fails(&["no answer when asked to list", "--context"]).in_time();
    cluster.run(&["why", "shop"]).fails(&["no answer when asked to list", "--context"]).in_time();
    cluster.server.thaw();
    cluster.server.stop();
    cluster.run(shop).fails(&["no connection: tcp connect error", "--context"]).in_time();
}
