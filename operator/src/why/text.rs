//! An explanation as text: readable without colour, at any width, in a chat or a mail.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::explain::{Explanation, Finding, since, words};
use crate::table;

/// Where the evidence of a finding begins.
const INDENT: &str = "       ";

/// One policy in full, at `now`.
pub fn one(e: &Explanation, now: Timestamp) -> String {
    let mut out = Out(String::new());
    let message = e.message.as_deref().unwrap_or("Nothing is known of this policy here.");
    out.line(&format!("{}/{}: {message}", e.namespace, e.name));
    out.line("");
    out.entry("Active", &active(e, now));
    out.entry("Phase", e.phase.as_deref().unwrap_or("not known"));
    out.entry("Told by", &told_by(e));
    for note in &e.notes {
        out.entry("Note", note);
    }
    out.line("");
    blocker(e, &mut out);
    gates(e, &mut out);
    conditions(e, &mut out);
    out.0
}

/// Who may write, since when and by what.
pub fn active(e: &Explanation, now: Timestamp) -> String {
    let Some(active) = &e.active else { return "nobody, as far as is known here".to_owned() };
    let mut text = active.site.clone();
    for (word, number) in [("epoch", active.epoch), ("serial", active.serial)] {
        if let Some(number) = number {
            let _ = write!(text, ", {word} {number}");
        }
    }
    if let Some(at) = active.since {
        let _ = write!(text, ", since {} ({} ago)", clock(at), words(since(at, now)));
    }
    match (&active.cause, &active.by_move) {
        (Some(cause), Some(by)) => {
            let _ = write!(text, ", by {cause} (Move {by})");
        }
        (Some(cause), None) => {
            let _ = write!(text, ", by {cause}");
        }
        (None, _) => {}
    }
    if active.since.is_none() && active.cause.is_some() {
        text.push_str(", not finished");
    }
    text
}

/// Who says so, and how long ago.
pub fn told_by(e: &Explanation) -> String {
    let site = e.site.as_deref().unwrap_or("an operator");
    match (e.age_ms, &e.message, &e.phase) {
        (Some(age), ..) => {
            let ago = |ms: u64| format!("{} ago", words(Duration::from_millis(ms)));
            let later = e.vouched_age_ms.filter(|_| e.vouched_at > e.written_at).map(ago);
            let then = match later {
                _ if e.stale => "; TOO OLD to be believed".to_owned(),
                Some(later) => format!("; still so {later}, by its heartbeat"),
                None => String::new(),
            };
            format!("{site}, {}{then}", ago(age))
        }
        (None, None, None) => "nobody".to_owned(),
        (None, ..) => format!("{site}, at a time that is not known"),
    }
}

fn blocker(e: &Explanation, out: &mut Out) {
    let Some(first) = &e.first_blocker else {
        let waiting = e.gates.iter().any(|g| !g.blocks && g.change.is_some());
        out.line(if waiting {
            "Nothing blocks. What is marked with ~ only waits for its time, as it should."
        } else {
            "Nothing blocks."
        });
        return;
    };
    out.line(&format!("First blocker: {}", head(first)));
    evidence(first, out);
    if let Some(change) = &first.change {
        out.field("change", change);
    }
}

fn gates(e: &Explanation, out: &mut Out) {
    if e.gates.is_empty() {
        return;
    }
    out.line("");
    out.line(
        "Gates, in the order in which they are asked (-> first blocker, x blocks too, ~ waits for its time):",
    );
    for gate in &e.gates {
        let first = e.first_blocker.as_ref() == Some(gate);
        let mark = match (first, gate.blocks, gate.change.is_some()) {
            (true, ..) => "->",
            (_, true, _) => " x",
            (_, _, true) => " ~",
            _ => "  ",
        };
        if first {
            out.line(&format!("  {mark} {} (see above)", head(gate)));
        } else if gate.change.is_none() {
            let text = format!("{}: {} (needed: {})", head(gate), gate.found, gate.needed);
            out.line(&format!("  {mark} {}", indented(&text)));
        } else {
            out.line(&format!("  {mark} {}", head(gate)));
            evidence(gate, out);
        }
    }
}

fn conditions(e: &Explanation, out: &mut Out) {
    if e.conditions.is_empty() {
        return;
    }
    out.line("");
    out.line("Conditions that are not as they should be:");
    for c in &e.conditions {
        let age = c.age_ms.map(|ms| format!(", for {}", words(Duration::from_millis(ms))));
        let text = format!("{}={} ({}{})", c.kind, c.status, c.reason, age.unwrap_or_default());
        out.line(&format!("     {text}"));
        out.line(&format!("{INDENT}{}", indented(&c.message)));
    }
}

/// A finding's name, answer and age.
pub fn head(f: &Finding) -> String {
    let age = f.age_ms.map(|ms| format!(", {} old", words(Duration::from_millis(ms))));
    format!("{}: {}{}", f.code, f.answer.name(), age.unwrap_or_default())
}

fn evidence(f: &Finding, out: &mut Out) {
    out.field("found", &f.found);
    out.field("needed", &f.needed);
}

/// Further lines of a text, such as commands to run, stand under the first one.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', &format!("\n{INDENT}        "))
}

/// A moment with its date.
pub fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The text so far.
struct Out(String);

impl Out {
    fn line(&mut self, text: &str) {
        self.0.push_str(text.trim_end());
        self.0.push('\n');
    }

    fn entry(&mut self, name: &str, text: &str) {
        self.line(&format!("  {name:<9}{}", indented(text)));
    }

    fn field(&mut self, name: &str, text: &str) {
        self.line(&format!("{INDENT}{name:<8}{}", indented(text)));
    }
}

/// All policies, one line each.
pub fn table(all: &[Explanation]) -> String {
    let head = ["POLICY", "ACTIVE", "EPOCH", "PHASE", "TOLD", "FIRST BLOCKER"].map(ToOwned::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(all.iter().map(row)).collect();
    table::lines(&rows).join("\n") + "\n"
}

fn row(e: &Explanation) -> [String; 6] {
    let unknown = || "?".to_owned();
    let age = e.vouched_age_ms.map(|ms| format!("{} ago", words(Duration::from_millis(ms))));
    let blocker =
        e.first_blocker.as_ref().map_or_else(|| "-".to_owned(), |f| format!("{}: {}", f.code, f.found));
    [
        format!("{}/{}", e.namespace, e.name),
        e.active.as_ref().map_or_else(unknown, |a| a.site.clone()),
        e.active.as_ref().and_then(|a| a.epoch).map_or_else(unknown, |n| n.to_string()),
        e.phase.clone().unwrap_or_else(unknown),
        age.unwrap_or_else(unknown),
        blocker,
    ]
}
