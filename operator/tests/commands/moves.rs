//! `bascule switchover`, `failover`, `hold`, `resume` and `abort` as people run them, against a real API server. The
//! operator's part, which is to judge a Move, is played by hand.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use git2::{Repository, Signature};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::live::{Cluster, Said, answered, gate, program, reads, steady};

const WHY: [&str; 2] = ["--reason", "ticket 4711"];

fn with<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().chain(&WHY).copied().collect()
}

/// The Moves that are there.
fn moves(cluster: &Cluster) -> Vec<Value> {
    let all = cluster.server.kubectl(&["get", "moves", "-n", "shop", "-o", "json"], "");
    let all: Value = serde_json::from_str(&all).unwrap();
    all["items"].as_array().unwrap().clone()
}

/// Runs a command that makes a Move, judges that Move as an operator would, and removes it.
fn judged(cluster: &Cluster, arguments: &[&str], state: &str, message: &str) -> (Said, Value) {
    let status = json!({ "status": { "state": state, "message": message } }).to_string();
    let kubeconfig = cluster.file();
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let running = std::thread::spawn(move || answered(program(&kubeconfig).args(arguments), ""));
    cluster.server.shell(&format!(
        "for i in $(seq 300); do m=$(kubectl get moves -n shop -o name) && [ -n \"$m\" ] && \
         exec kubectl patch $m -n shop --subresource=status --type=merge -p '{status}'; sleep 0.1; done; exit 1"
    ));
    let said = running.join().unwrap();
    let made = moves(cluster);
    assert_eq!(made.len(), 1, "{said:#?}");
    cluster.server.kubectl(&["delete", "moves", "--all", "-n", "shop"], "");
    (said, made[0].clone())
}

/// What is printed, without what is different each time: names and times of now, ages, where the cluster is.
fn lasting(said: &Said) -> String {
    let words = |line: &str| -> String {
        let volatile = |w: &str| {
            w.contains("kubeconfig") || w.starts_with("(https") || w.contains("20") && w.contains('-')
        };
        let mut words: Vec<&str> = line.split(' ').map(|w| if volatile(w) { "…" } else { w }).collect();
        let mut ages = false;
        for i in 2..words.len() {
            if words[i].trim_end_matches(',') == "ms" {
                // By where in their beats the sites are found.
                words[i - 1] = "…";
            }
            if words[i].starts_with("ago") || words[i].starts_with("old") {
                (words[i - 2], words[i - 1]) = ("…", "…");
                ages = true;
            }
        }
        if ages || words.contains(&"HEARD") {
            // A column is as wide as its ages, under its name too.
            words.retain(|w| !w.is_empty());
        }
        words.join(" ")
    };
    said.out.lines().map(|line| words(line) + "\n").collect()
}

/// A run with a terminal, and what it shows.
struct Terminal {
    child: Child,
    shown: String,
}

impl Terminal {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Self {
        let words: Vec<String> = std::iter::once(env!("CARGO_BIN_EXE_bascule"))
            .chain(arguments.iter().copied())
            .map(|w| format!("'{w}'"))
            .collect();
        let mut command = Command::new("script");
        command.args(["-qefc", &words.join(" "), "/dev/null"]).env("KUBECONFIG", cluster.file());
        command.env_remove("KUBERNETES_SERVICE_HOST").stdin(Stdio::piped()).stdout(Stdio::piped());
        Self { child: command.spawn().unwrap(), shown: String::new() }
    }

    /// Reads until something is asked.
    fn until(&mut self, words: &str) -> &mut Self {
        let out = self.child.stdout.as_mut().unwrap();
        let mut byte = [0];
        while !self.shown.contains(words) {
            assert_eq!(out.read(&mut byte).unwrap(), 1, "{words:?} was not shown: {}", self.shown);
            self.shown.push(char::from(byte[0]));
        }
        self
    }

    /// Answers and reads the rest; the exit code, and all that was shown.
    fn answer(mut self, answer: &str) -> (i32, String) {
        self.child.stdin.as_mut().unwrap().write_all(format!("{answer}\r").as_bytes()).unwrap();
        let mut rest = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap(), self.shown + &rest)
    }
}

/// A clone with one commit and somebody's name.
fn clone_at(directory: &Path) -> Repository {
    std::fs::create_dir_all(directory.join("shop")).unwrap();
    std::fs::write(directory.join("shop/README.md"), "policies\n").unwrap();
    let repository = Repository::init(directory).unwrap();
    let mut config = repository.config().unwrap();
    config.set_str("user.name", "A. Martin").unwrap();
    config.set_str("user.email", "a.martin@example.org").unwrap();
    let mut index = repository.index().unwrap();
    index.add_path(Path::new("shop/README.md")).unwrap();
    index.write().unwrap();
    {
        let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
        let author = Signature::now("A. Martin", "a.martin@example.org").unwrap();
        repository.commit(Some("HEAD"), &author, &author, "begin", &tree, &[]).unwrap();
    }
    repository
}

#[tokio::test]
async fn a_move_is_shown_asked_for_made_and_followed_or_refused_with_the_way_out() {
    let mut cluster = Cluster::start().await;
    let run = |arguments: &[&str]| cluster.run(&with(arguments));

    // Before anybody has said which epoch it is.
    run(&["hold", "shop", "--yes"]).fails(&["shop/shop: status.epoch: found none", "`bascule why shop`"]);
    cluster.write("shop", &steady(Timestamp::now()));

    // What is shown, and that nothing is made by it.
    let shown = [
        "Before:",
        "paris writes (epoch 3)",
        "*  paris  Primary",
        "type: Switchover",
        "to: lyon",
        "lyon becomes active",
    ];
    run(&["switchover", "shop", "--dry-run"])
        .says(0, &shown)
        .says(0, &["At risk    none", "Dry run: the API server takes it"]);
    run(&["switchover", "shop"]).refuses(&[
        "standard input is not a terminal",
        "add --yes",
        "Nothing was made",
    ]);
    cluster.run(&["hold", "shop", "--yes"]).refuses(&["--reason <TEXT>"]);
    cluster.run(&["hold", "shop", "--yes", "--reason", " "]).fails(&[
        "Move shop/",
        "spec.reason",
        "for colleagues",
    ]);
    run(&["switchover", "shop", "--to", "lyn", "--yes"])
        .fails(&["--to: found lyn, expected one of its sites: lyon; did you mean lyon?"]);
    run(&["hold", "shop", "--for", "1y", "--yes"])
        .refuses(&["found '1y', expected a duration from 1m to 720h"]);
    run(&["hold", "shpo", "--yes"]).fails(&["no FailoverPolicy shpo; did you mean"]);
    // What the operators would refuse is not made.
    run(&["failover", "shop", "--yes", "--accept-data-loss", "shop"]).refuses(&[
        "Failover of shop: found Refused: paris is active and its lease lives",
        "use Switchover",
        "Nothing was made",
    ]);
    insta::assert_snapshot!("moves-switchover", lasting(&run(&["switchover", "shop", "--dry-run"])));
    insta::assert_snapshot!("moves-hold", lasting(&run(&["hold", "shop", "--dry-run"])));
    run(&["abort", "shop", "--dry-run"]).says(0, &["type: Abort", "point of no return"]);
    assert_eq!(moves(&cluster), [] as [Value; 0]);

    // Made, and followed to each of its ends.
    let (said, made) = judged(
        &cluster,
        &with(&["switchover", "shop", "--yes"]),
        "Done",
        "the role moved from paris to lyon (epoch 4)",
    );
    said.says(
        0,
        &[
            "Made: Move shop/",
            "Done: the role moved from paris to lyon (epoch 4)",
            "After:\nshop/shop: paris writes",
        ],
    );
    assert_eq!(made["spec"]["epoch"], 3, "{made}");
    assert_eq!((&made["spec"]["from"], &made["spec"]["to"]), (&json!("paris"), &json!("lyon")), "{made}");
    let (said, _) =
        judged(&cluster, &with(&["switchover", "shop", "--yes"]), "RolledBack", "lyon did not catch up");
    said.says(2, &["RolledBack: lyon did not catch up", "After:"]);
    let (said, made) = judged(
        &cluster,
        &with(&["hold", "shop", "--for", "2h", "--yes", "--name", "night"]),
        "Done",
        "held until six",
    );
    said.says(0, &["Nothing begins by itself until", "Made: Move shop/night.", "Done: held until six"]);
    assert_eq!(made["spec"]["reason"], "ticket 4711");
    assert!(made["spec"]["notAfter"].is_string(), "{made}");
    let said = run(&["resume", "shop", "--yes", "--wait", "1s", "--name", "unheard"]);
    said.says(
        2,
        &[
            "no hold is known here",
            "not over after 1 s: not seen yet",
            "no operator has said anything about it",
        ],
    );
    run(&["resume", "shop", "--yes", "--name", "unheard"])
        .refuses(&["Move shop/unheard: metadata.name: found one of that name", "--name"]);
    run(&["abort", "shop", "--yes", "--wait", "0s"]).says(2, &["Made: Move shop/", "kubectl get move"]);
    cluster.server.kubectl(&["delete", "moves", "--all", "-n", "shop"], "");

    // Data at risk is accepted by name, and only what has to be is accepted in the Move.
    cluster.write("shop", &reads(Timestamp::now()));
    let risk = "data is at risk: what was not replicated when the site was lost; as far as is known now: 2202009 bytes known, 6 s unseen";
    run(&["failover", "shop", "--yes"]).refuses(&[risk, "add --accept-data-loss shop", "Nothing was made"]);
    run(&["failover", "shop", "--yes", "--accept-data-loss", "shpo"]).refuses(&["found shpo, expected shop"]);
    run(&["failover", "shop"]).refuses(&["for a script add --yes --accept-data-loss shop"]);
    let accepted = with(&["failover", "shop", "--yes", "--accept-data-loss", "shop"]);
    let (said, made) = judged(&cluster, &accepted, "Done", "the role moved");
    said.says(0, &["Done: the role moved"]);
    assert_eq!(made["spec"].get("acceptDataLoss"), None, "the policy allows that much: {made}");
    let mut too_much = reads(Timestamp::now());
    too_much["gates"][2] =
        gate("loss", "Block", "25165824 bytes known, 8 s unseen", "at most 16777216 bytes and 60 s unseen");
    cluster.write("shop", &too_much);
    insta::assert_snapshot!("moves-failover", lasting(&run(&["failover", "shop", "--dry-run"])));
    let (_, made) = judged(&cluster, &accepted, "Done", "the role moved");
    assert_eq!(made["spec"]["acceptDataLoss"], true, "{made}");

    // Where nobody would carry it out.
    let mut elsewhere = reads(Timestamp::now());
    elsewhere["site"] = json!("metz");
    cluster.write("shop", &elsewhere);
    run(&["failover", "shop", "--to", "lyon", "--yes", "--accept-data-loss", "shop"]).refuses(&[
        "this is the cluster of metz, expected that of lyon",
        "--context",
        "Nothing was made",
    ]);
    cluster.write("shop", &too_much);

    // A person at a terminal.
    let start = |arguments: &[&str]| Terminal::start(&cluster, &with(arguments));
    let mut asked = start(&["failover", "shop", "--wait", "0s"]);
    asked.until("Type the name of the policy to go on: ");
    let (code, shown) = asked.answer("yes");
    assert!(
        code == 1 && shown.contains("found the answer \"yes\", expected \"shop\". Nothing was made"),
        "{shown}"
    );
    assert_eq!(moves(&cluster).len(), 0);
    let mut asked = start(&["hold", "shop", "--wait", "0s"]);
    asked.until("Type yes to go on with the hold: ");
    cluster.write("shop", &steady(Timestamp::now()));
    let (code, shown) = asked.answer("yes");
    assert!(
        code == 1 && shown.contains("while you decided it went from \"paris active, epoch 3, ReadOnly\" to"),
        "{shown}"
    );
    cluster.write("shop", &reads(Timestamp::now()));
    let mut asked = start(&["failover", "shop", "--wait", "0s"]);
    asked.until("Type the name of the policy to go on: ");
    let (code, shown) = asked.answer("shop");
    assert!(code == 2 && shown.contains("Made: Move shop/"), "{shown}");
    assert_eq!(moves(&cluster).len(), 1);
    cluster.server.kubectl(&["delete", "moves", "--all", "-n", "shop"], "");

    // An operator that is dead keeps nobody from a Move, and is named.
    cluster.write("shop", &steady("2026-11-20T12:00:00Z".parse().unwrap()));
    run(&["hold", "shop", "--dry-run"])
        .says(0, &["Not known since 2026-11-20 12:00:00 UTC", "status/stale", "Dry run"]);

    // Onto a branch instead.
    cluster.write("shop", &steady(Timestamp::now()));
    let directory = tempfile::tempdir().unwrap();
    let clone = directory.path().join("policies");
    let repository = clone_at(&clone);
    let head = repository.head().unwrap().peel_to_commit().unwrap().id();
    let inside = clone.join("shop").display().to_string();
    let said = run(&["switchover", "shop", "--git", &inside, "--yes", "--name", "kernel"]);
    said.says(0, &["Committed: shop/kernel.yaml on branch bascule/kernel", "push -u origin bascule/kernel"]);
    let tip = repository
        .find_branch("bascule/kernel", git2::BranchType::Local)
        .unwrap()
        .get()
        .peel_to_commit()
        .unwrap();
    assert_eq!(tip.parent_id(0).unwrap(), head);
    assert!(tip.message().unwrap().contains("ticket 4711"));
    let entry = tip.tree().unwrap().get_path(Path::new("shop/kernel.yaml")).unwrap();
    let blob = repository.find_blob(entry.id()).unwrap();
    let file = clone.join("planned.yaml");
    std::fs::write(&file, blob.content()).unwrap();
    let planned = cluster.run(&["plan", &file.display().to_string(), "--against", "live"]);
    planned.says(2, &["kernel (Switchover to lyon): Done"]);
    std::fs::remove_file(&file).unwrap();
    assert!(tip.tree().unwrap().get_path(Path::new("shop/README.md")).is_ok(), "what was there stays");
    assert_eq!(
        repository.head().unwrap().peel_to_commit().unwrap().id(),
        head,
        "nothing else is checked out"
    );
    assert_eq!(repository.statuses(None).unwrap().len(), 0, "no file was touched");
    assert_eq!(moves(&cluster).len(), 0, "nothing was made in the cluster");
    run(&["switchover", "shop", "--git", &inside, "--yes", "--name", "kernel"])
        .refuses(&["branch bascule/kernel: it exists already"]);
    let outside = directory.path().display().to_string();
    run(&["hold", "shop", "--git", &outside, "--yes"]).refuses(&["found no git repository there"]);
    run(&["hold", "shop", "--git", "/nowhere", "--yes"])
        .refuses(&["--git /nowhere: found no such directory"]);

    // Rights.
    let nobody = cluster.changed("nobody", "test-admin-token}", "test-admin-token, as: nobody}");
    cluster.server.kubectl(
        &[
            "create",
            "clusterrole",
            "looks",
            "--verb=get,list,watch",
            "--resource=failoverpolicies.bascule.dev,moves.bascule.dev",
        ],
        "",
    );
    cluster
        .server
        .kubectl(&["create", "clusterrolebinding", "looks", "--clusterrole=looks", "--user=nobody"], "");
    Cluster::run_as(&nobody, &with(&["hold", "shop", "--yes"])).refuses(&[
        "you may not create moves.bascule.dev",
        "in namespace shop",
        "ask for a role",
    ]);

    // Nobody who answers, and nobody there.
    cluster.server.freeze();
    let said = cluster.run(&with(&["hold", "shop/shop", "--yes"]));
    said.fails(&["no answer when asked to get", "--context"]).in_time();
    cluster.server.thaw();
    cluster.server.stop();
    let said = cluster.run(&with(&["hold", "shop/shop", "--yes"]));
    said.fails(&["no connection: tcp connect error", "--context"]).in_time();
}
