//! The tree itself: pure, of a policy, its status and the Moves beside it.

use std::fmt::Write as _;
use std::time::Duration;

use bascule_core::project::size;
use bascule_crds::{FailoverPolicy, FailoverPolicySpec};
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::Value;

use crate::status::glance::{self, Glance, SiteGlance};
use crate::why::explain::{Finding, Seen, words};

/// A line with what hangs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Branch {
    /// What it is, such as `site lyon`.
    pub name: String,
    /// What is known of it.
    pub words: String,
    /// Whether something is wrong here or below.
    pub wrong: bool,
    /// What hangs on it.
    pub below: Vec<Branch>,
}

impl Branch {
    fn leaf(name: String, words: String) -> Self {
        Self { name, words, wrong: false, below: Vec::new() }
    }

    fn with(name: String, words: String, below: Vec<Self>) -> Self {
        let wrong = below.iter().any(|b| b.wrong);
        Self { name, words, wrong, below }
    }

    fn finding(f: &Finding) -> Self {
        let found = format!("{}: {} (needed: {})", f.answer.name(), f.found, f.needed);
        Self { wrong: true, ..Self::leaf(f.code.clone(), found) }
    }

    /// The tree, one line for each branch.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.line());
        self.draw("", &mut out);
        out
    }

    fn line(&self) -> String {
        let mark = if self.wrong && self.below.is_empty() { "x " } else { "" };
        // A line is a line, whatever a finding quotes.
        let words = self.words.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() {
            format!("{mark}{}", self.name)
        } else {
            format!("{mark}{}  {words}", self.name)
        }
    }

    fn draw(&self, indent: &str, out: &mut String) {
        for (i, branch) in self.below.iter().enumerate() {
            let last = i + 1 == self.below.len();
            let (fork, more) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            // A String takes every letter.
            let _ = writeln!(out, "{indent}{fork}{}", branch.line());
            branch.draw(&format!("{indent}{more}"), out);
        }
    }
}

/// The tree of a policy; `object` may have a shape that this program does not know.
pub fn of(
    seen: &Seen,
    object: &Result<FailoverPolicy, String>,
    moves: &[DynamicObject],
    now: Timestamp,
) -> Branch {
    let g = glance::of(seen, now);
    let mut below = Vec::new();
    match object {
        Err(why) => {
            let words = format!("it has another shape: {why}");
            below.push(Branch { wrong: true, ..Branch::leaf("spec".to_owned(), words) });
        }
        Ok(object) => {
            below.extend(object.spec.sites.iter().map(|site| one_site(&g, &object.spec, &site.name)));
            below.extend(object.spec.traffic.iter().map(|t| {
                let about = findings(&g, &[&format!("traffic/{}", t.name)]);
                let words = match (&t.dns, &t.http_route) {
                    (Some(dns), _) => format!("DNS {}", dns.name),
                    (None, Some(route)) => format!("HTTPRoute {}", route.name),
                    (None, None) => String::new(),
                };
                Branch::with(format!("traffic {}", t.name), words, about)
            }));
        }
    }
    let rest = g.explained.gates.iter().filter(|f| f.blocks && !f.code.contains('/'));
    let status =
        g.first_blocker.iter().filter(|f| f.code.contains("status/") || f.code.contains("condition/"));
    below.extend(rest.chain(status).map(Branch::finding));
    below.extend(moves.iter().filter_map(|mv| one_move(mv, &seen.name)));
    Branch::with(format!("FailoverPolicy {}/{}", seen.namespace, seen.name), g.verdict.clone(), below)
}

fn one_site(g: &Glance, spec: &FailoverPolicySpec, name: &str) -> Branch {
    let row = g.sites.iter().find(|s| s.name == name);
    let speaks = g.site.as_deref() == Some(name);
    let mut below = Vec::new();
    for database in &spec.databases {
        let instances = database.postgresql.iter().flat_map(|p| &p.instances);
        for instance in instances.filter(|i| i.site == name) {
            let about =
                if speaks { findings(g, &[&format!("database/{}", database.name)]) } else { Vec::new() };
            let words = format!("StatefulSet {}", instance.stateful_set);
            below.push(Branch::with(format!("database {}", database.name), words, about));
        }
    }
    for workload in &spec.workloads {
        let names = [format!("workload/{}", workload.name), format!("contended/{}", workload.name)];
        let about = if speaks { findings(g, &[&names[0], &names[1]]) } else { Vec::new() };
        let target = &workload.target_ref;
        let words = format!("{:?} {}", target.kind, target.name);
        below.push(Branch::with(format!("workload {}", workload.name), words, about));
    }
    let reason = row.and_then(|s| s.reason.clone()).filter(|_| !speaks);
    below
        .extend(reason.map(|why| Branch { wrong: true, ..Branch::leaf("cannot take over".to_owned(), why) }));
    Branch::with(
        format!("site {name}"),
        row.map_or_else(|| "nothing is known of it".to_owned(), site_words),
        below,
    )
}

fn site_words(s: &SiteGlance) -> String {
    let mut words_of = vec![s.role.clone()];
    if s.active {
        words_of.insert(0, "ACTIVE".to_owned());
    }
    words_of.extend(s.behind_bytes.map(|bytes| format!("{} behind", size(bytes))));
    words_of.push(match s.heard_ms {
        Some(ms) => format!("heard {} ago", words(Duration::from_millis(ms))),
        None => "not heard".to_owned(),
    });
    if s.same_spec == Some(false) {
        words_of.push("another spec".to_owned());
    }
    words_of.join(", ")
}

/// What blocks about one of several things: `database/main` and everything below it.
fn findings(g: &Glance, names: &[&String]) -> Vec<Branch> {
    let about = |f: &&Finding| {
        f.blocks
            && names
                .iter()
                .any(|n| f.code.strip_prefix(n.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/')))
    };
    g.explained.gates.iter().filter(about).map(Branch::finding).collect()
}

/// A Move for this policy that is not over.
fn one_move(mv: &DynamicObject, policy: &str) -> Option<Branch> {
    let text = |pointer: &str| mv.data.pointer(pointer).and_then(Value::as_str);
    let state = text("/status/state").unwrap_or("not seen yet");
    let over = ["Done", "Refused", "RolledBack", "Stale", "BecameFailover"].contains(&state);
    if over || text("/spec/policyRef/name") != Some(policy) {
        return None;
    }
    let name = format!("Move {}", mv.metadata.name.as_deref().unwrap_or_default());
    let message = text("/status/message").map(|m| format!(": {m}")).unwrap_or_default();
    Some(Branch::leaf(name, format!("{}, {state}{message}", text("/spec/type").unwrap_or("?"))))
}
