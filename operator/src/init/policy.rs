//! The policy as a file that a person reads: every value with what it means and what another one would do.

use std::fmt::Write as _;
use std::time::Duration;

use bascule_core::policy::WorkloadKind;
use bascule_core::timing::Timing;
use bascule_crds::FORBIDDEN_WORDS;

use super::choose::{Choice, Database, Flag, Replicas, Traffic, Workload};

/// How long a stop by Kubernetes counts as a restart. With the lease's time it has to fit into what may be unseen.
const RESTART_GRACE: Duration = Duration::from_secs(45);
/// The least silence before reads are served elsewhere.
const SERVE_READS: Duration = Duration::from_secs(10);
/// What may be unseen is a whole number of these.
const STEP: u64 = 30;
/// How wide comments are.
const WIDTH: usize = 110;

/// The file; `timing` is the installation's.
pub fn text(choice: &Choice, timing: &Timing) -> String {
    let mut out = Text(String::new());
    let names: Vec<&str> = choice.sites.iter().map(|(site, _)| site.as_str()).collect();
    out.note(
        0,
        &format!(
            "How the application in namespace {} lives on the sites {}.",
            choice.namespace,
            names.join(" and ")
        ),
    );
    out.line(0, "#");
    out.note(0, &format!(
        "Made by `bascule init`; every line may be changed. `bascule check FILE` says what is wrong with a change, `bascule plan FILE` what it would cause, and `bascule simulate FILE --fail site={}@10s` what would happen on a bad day. Bring the same file to every site, from git by a PolicySource or by kubectl apply. Editing or deleting it never moves a role.",
        choice.initial
    ));
    out.line(0, "apiVersion: bascule.dev/v1alpha1");
    out.line(0, "kind: FailoverPolicy");
    out.line(0, "metadata:");
    out.note(1, "Part of the arbiter's keys: under another name it is another policy, which begins anew.");
    out.line(1, &format!("name: {}", scalar(&choice.name)));
    out.note(
        1,
        "Everything that is named below is looked for in this namespace, by each site in its own cluster.",
    );
    out.line(1, &format!("namespace: {}", scalar(choice.namespace.as_str())));
    out.line(0, "spec:");
    out.note(1, "The names that the operators are installed with (site.name of the chart). Their order decides only between sites that could all take over.");
    out.line(1, "sites:");
    for (site, _) in &choice.sites {
        out.line(2, &format!("- name: {}", scalar(site.as_str())));
    }
    out.note(1, "Who is active at the very first start: where the data is. It is read only while the arbiter has no record of this policy; afterwards a role is moved by a Move (`bascule switchover`).");
    out.line(1, &format!("initialSite: {}", scalar(choice.initial.as_str())));
    failover(choice, timing, &mut out);
    if let Some(database) = &choice.database {
        of_database(database, &mut out);
    }
    if !choice.workloads.is_empty() {
        out.line(1, "workloads:");
        for (n, workload) in choice.workloads.iter().enumerate() {
            of_workload(workload, n == 0, &mut out);
        }
    }
    if let Some(traffic) = &choice.traffic {
        of_traffic(traffic, &mut out);
    }
    out.0
}

fn failover(choice: &Choice, timing: &Timing, out: &mut Text) {
    out.note(1, "When another site takes over by itself.");
    out.line(1, "failover:");
    out.line(2, "serveReads:");
    out.note(3, "So long the active site has to be silent before another one serves reads: its users are sent there, and everything there is told to be read-only. Never: only a person does that, by `bascule failover`.");
    out.line(3, &format!("after: {}", duration(SERVE_READS.max(timing.l()))));
    out.note(3, "When the active site comes back before anything was promoted: how long it has to be well before its users are sent back to it.");
    out.line(3, "returnAfter: 5m");
    out.line(2, "promote:");
    out.note(3, "How long reads are served before the other site is promoted and may write. What the lost site had not replicated is then not part of the data any more; it is saved and counted when that site returns. Never: only a person promotes, by `bascule failover`. 0s: at once.");
    out.line(3, &format!("after: {}", scalar(&choice.promote_after)));
    out.note(3, "The most that may be lost; both have to hold, and what is not known counts as too much. A person can accept more.");
    out.line(3, "maxDataLoss:");
    out.note(4, "What the lost site had written and the other one is known not to have.");
    out.line(4, "bytes: 16Mi");
    out.note(4, &format!(
        "The time in which something may have been written unseen. Less than {} can never hold with the timing profile of the installation.",
        bascule_core::time::human(timing.r() + timing.f())
    ));
    out.line(4, &format!("time: {}", duration(unseen(timing))));
    if choice.database.is_some() {
        out.line(2, "databaseLost:");
        out.note(3, "When only the database's server dies: how long the other site has the chance to take over before it is started again where it was. 0s: always started again where it was.");
        out.line(3, "offerFor: 10s");
        out.note(3, "A stop that Kubernetes asked for (a rollout, a drained node), or a node that is gone, is a loss only when it lasts longer than this. With the silence of a lease it fits into maxDataLoss.time, so that a dead node is taken over, too.");
        out.line(3, &format!("restartGrace: {}", duration(RESTART_GRACE)));
    }
    out.note(2, "How long a switchover may take before its point of no return, users read-only all that time; then it is taken back.");
    out.line(2, "switchoverDeadline: 2m");
    out.note(2, "So long after a role has moved none moves by itself again. A person's Move is not held up.");
    out.line(2, "cooldown: 1h");
}

/// What may be unseen: a node that dies, its grace and the silence of a lease, in whole half minutes.
fn unseen(timing: &Timing) -> Duration {
    let needed = (RESTART_GRACE + timing.l()).max(timing.r() + timing.f());
    Duration::from_secs(needed.as_secs().div_ceil(STEP) * STEP)
}

fn of_database(database: &Database, out: &mut Text) {
    out.note(1, "Databases whose role to write follows the active site.");
    out.line(1, "databases:");
    out.note(2, "The entry's name in status, metrics and the journal.");
    out.line(2, &format!("- name: {}", scalar(&database.name)));
    out.line(3, "postgresql:");
    out.note(4, "Guard: `bascule guard postgres` is the first process of the server's container and stops it when its permission to write runs out. That is what keeps two sites from writing.");
    out.line(4, "fence: Guard");
    out.note(4, "The server of each site.");
    out.line(4, "instances:");
    for (n, one) in database.instances.iter().enumerate() {
        out.line(5, &format!("- site: {}", scalar(one.site.as_str())));
        if n == 0 {
            out.note(6, "It runs the server, with one replica. Its container's command begins with `bascule guard postgres --`.");
        }
        out.line(6, &format!("statefulSet: {}", scalar(&database.set)));
        if !one.seen {
            out.note(
                6,
                &format!(
                    "No Service that leads to its pods was seen in {}: make one, or correct this.",
                    one.site
                ),
            );
        } else if n == 0 {
            out.note(6, "Where the site's own operator reaches the server, from inside the cluster.");
        }
        out.line(6, &format!("host: {}", scalar(&one.host)));
        if one.port != 5432 {
            out.line(6, &format!("port: {}", one.port));
        }
        if n == 0 {
            out.note(6, "Where the other sites' servers reach it to replicate from it. An address outlives a DNS that is down with a site. The way there must be open to them alone.");
        }
        out.line(6, &format!("replicationHost: {}", scalar(&one.replication_host)));
        if one.replication_port != 5432 {
            out.line(6, &format!("replicationPort: {}", one.replication_port));
        }
        if n == 0 {
            out.note(6, "The Secret with username and password of the role that the operator asks with; it cannot read or change any table.");
        }
        out.line(6, &format!("secretRef: {{ name: {} }}", scalar(&database.secret)));
        if n == 0 {
            out.note(6, "The Secret with username and password of the role that this server replicates with from whichever server is active.");
        }
        out.line(6, &format!("replicationSecretRef: {{ name: {} }}", scalar(&database.replication_secret)));
    }
}

/// `first`: what holds for all of them is said there.
fn of_workload(workload: &Workload, first: bool, out: &mut Text) {
    let kind = match workload.named.kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
    };
    out.line(2, &format!("- name: {}", scalar(&workload.name)));
    if first {
        out.note(3, "It has this name in every site.");
    }
    out.line(
        3,
        &format!(
            "targetRef: {{ apiVersion: apps/v1, kind: {kind}, name: {} }}",
            scalar(&workload.named.name)
        ),
    );
    match &workload.replicas {
        Replicas::Autoscaled(scaler) => out.note(
            3,
            &format!(
                "No replicas: HorizontalPodAutoscaler {scaler} sets them, and two would undo each other."
            ),
        ),
        Replicas::Counted { active, standby, why } if first => {
            out.note(3, &format!(
                "How many pods it has while its site is active, serves reads only, or stands by ({why}). standby: 0 is a pilot light, which costs nothing and takes longer to start. The {kind} itself leaves out `replicas`, in git and in Helm, too: the number belongs to Bascule."
            ));
            out.line(3, &counts(*active, *standby));
        }
        Replicas::Counted { active, standby, why } => {
            out.note(3, &format!("The numbers: {why}."));
            out.line(3, &counts(*active, *standby));
        }
    }
    if let Some(flag) = &workload.flag {
        of_flag(flag, first, out);
    }
}

fn counts(active: u32, standby: u32) -> String {
    format!("replicas: {{ active: {active}, readOnly: {active}, standby: {standby} }}")
}

fn of_flag(flag: &Flag, first: bool, out: &mut Text) {
    out.0.push('\n');
    if first {
        out.note(3, &format!(
            "How it is told that it may not write now, so that users get a correct error; what keeps the data safe is the database's fence. The values: {}. The ConfigMap is made if it is not there; pods that mount it see a change within a second.",
            flag.why
        ));
    } else {
        out.note(3, "The same flag as above, and how its effect is proved here.");
    }
    out.line(3, "readOnly:");
    out.line(
        4,
        &format!(
            "configMapKey: {{ name: {}, key: {}, readOnlyValue: {}, readWriteValue: {} }}",
            scalar(&flag.map),
            scalar(&flag.key),
            quoted(&flag.read_only),
            quoted(&flag.read_write)
        ),
    );
    if first {
        out.note(4, "How the effect is proved, asked in every running pod: without it a switchover does not wait until writes are really refused. Where the application says its mode by HTTP, take the # away and correct port, path and body.");
    }
    out.line(4, "# verify:");
    out.line(4, "#   httpGet: { port: 8080, path: /mode, expectBody: read-only }");
}

fn of_traffic(traffic: &Traffic, out: &mut Text) {
    out.note(1, "Where users are sent: first a site has to be able to serve them, and never nowhere.");
    out.line(1, "traffic:");
    out.line(2, "- name: public");
    out.line(3, "dns:");
    out.note(4, "The name that users ask for. Its A and AAAA records belong to Bascule, and a TXT record beside it says so.");
    out.line(4, &format!("name: {}", scalar(&traffic.name)));
    out.note(4, "The zone that it is in, as its servers have it.");
    out.line(4, &format!("zone: {}", scalar(&traffic.zone)));
    out.note(4, "How long resolvers keep an answer: users are so much later at the new site.");
    out.line(4, "ttl: 30s");
    out.note(4, "Servers that take updates (RFC 2136), tried in this order. At least one has to outlive the loss of either site.");
    out.line(4, &format!("updateServers: [{}]", list(&traffic.servers)));
    out.note(
        4,
        "A change is complete when these answer with it; left out: the servers of the zone's NS records.",
    );
    out.line(4, &format!("# verifyServers: [{}]", list(&traffic.servers)));
    out.note(4, "The Secret with name, algorithm and secret of the TSIG key. It may change A, AAAA and TXT of the name and of its mark, and nothing else.");
    out.line(4, &format!("tsigSecretRef: {{ name: {} }}", scalar(&traffic.key)));
    out.note(4, "Where each site serves users.");
    out.line(4, "addresses:");
    for (site, values) in &traffic.addresses {
        out.line(5, &format!("- {{ site: {}, values: [{}] }}", scalar(site.as_str()), list(values)));
    }
}

fn list(values: &[String]) -> String {
    values.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(", ")
}

/// A length of time as the API takes it.
fn duration(d: Duration) -> String {
    match d.as_secs() {
        s if s >= 60 && s.is_multiple_of(60) => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// A text that YAML reads as this text: quoted where it could be read as something else.
pub fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        && !FORBIDDEN_WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

/// A text in quotes. JSON's are YAML's, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Lines with their indentation.
struct Text(String);

impl Text {
    fn line(&mut self, depth: usize, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{:depth$}{text}", "", depth = depth * 2);
    }

    /// A comment, in as many lines as it needs.
    fn note(&mut self, depth: usize, text: &str) {
        for line in wrapped(text, WIDTH.saturating_sub(depth * 2 + 2)) {
            self.line(depth, &format!("# {line}"));
        }
    }
}

/// Words in lines that are not longer than `width`, unless a word is.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use bascule_core::timing::Profile;

    use super::*;

    #[test]
    fn a_text_is_read_back_as_itself() {
        for text in [
            "shop",
            "on",
            "No",
            "1",
            "1e3",
            "0x1f",
            "null",
            "a: b",
            "203.0.113.10",
            "it's",
            "",
            "a#b",
            "\"",
            "~",
        ] {
            let yaml = format!("value: {}\n", scalar(text));
            let read: serde_json::Value = serde_yaml::from_str(&yaml).unwrap();
            assert_eq!(read["value"], text, "{yaml}");
        }
    }

    #[test]
    fn what_may_be_unseen_holds_with_every_profile() {
        for (profile, written) in [
            (Profile::Metro, "1m"),
            (Profile::Region, "1m"),
            (Profile::Wan, "1m"),
            (Profile::Conservative, "90s"),
        ] {
            let timing = profile.timing();
            assert_eq!(duration(unseen(&timing)), written, "{profile}");
            assert!(
                unseen(&timing) >= RESTART_GRACE + timing.l() && unseen(&timing) >= timing.r() + timing.f()
            );
        }
    }
}
