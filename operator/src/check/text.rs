//! A check as it is read.

use std::fmt::Write as _;

use super::codes::Severity;
use super::report::{Finding, Report};

/// Where the words of an entry begin.
const INDENT: &str = "            ";

/// The whole check.
pub fn whole(report: &Report) -> String {
    let mut out = format!("{}\n\n", verdict(report));
    for found in &report.findings {
        one(found, &mut out);
    }
    for what in &report.checked {
        let _ = writeln!(out, "looked at   {what}");
    }
    out
}

fn verdict(report: &Report) -> String {
    let count = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let infos = report.findings.iter().filter(|f| f.severity == Severity::Info).count();
    let words = [
        (report.errors, count(report.errors, "error", "errors")),
        (report.warnings, count(report.warnings, "warning", "warnings")),
        (infos, count(infos, "note", "notes")),
    ];
    let words: Vec<String> = words.into_iter().filter(|(n, _)| *n > 0).map(|(_, words)| words).collect();
    let sum = if words.is_empty() { "nothing is wrong".to_owned() } else { words.join(", ") };
    format!("{}: {sum}.", report.of)
}

fn one(f: &Finding, out: &mut String) {
    let field = if f.field.is_empty() { String::new() } else { format!(", {}", f.field) };
    let cluster = f.cluster.as_ref().map(|c| format!("{c}: ")).unwrap_or_default();
    let _ = writeln!(out, "{:<12}{} {cluster}{}{field}", f.severity.name(), f.code, f.object);
    let mut entry = |name: &str, text: &str| {
        let text = text.trim_end().replace('\n', &format!("\n{INDENT}"));
        let _ = writeln!(out, "  {name:<10}{text}");
    };
    entry("found", &f.found);
    entry("expected", &f.expected);
    entry("hint", &f.hint);
    entry("more", &f.docs);
    out.push('\n');
}
