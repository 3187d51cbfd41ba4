//! A status as it is read: at three in the morning, without colour, at any width.

use std::fmt::Write as _;
use std::time::Duration;

use bascule_core::project::size;
use jiff::Timestamp;

use super::glance::{Glance, SiteGlance};
use crate::table;
use crate::why::explain::words;
use crate::why::text as why;

/// Where the words of an entry begin.
const INDENT: &str = "           ";

/// One policy, at `now`; `named` is what stands in a command for it.
pub fn one(g: &Glance, named: &str, now: Timestamp) -> String {
    let mut out = standing(g, now);
    out.push('\n');
    let commands: Vec<String> = g.next.iter().map(|n| n.command(named)).collect();
    let width = commands.iter().map(|c| c.chars().count()).max().unwrap_or_default();
    if commands.is_empty() {
        out.push_str("Next: nothing to do.\n");
    }
    for (i, (command, next)) in commands.iter().zip(&g.next).enumerate() {
        let head = if i == 0 { "Next:" } else { "     " };
        // The way out of a failed write is never to fail: a String takes every letter.
        let _ = writeln!(out, "{head} {command:<width$}  {}", next.what.replace('\n', "\n      "));
    }
    out
}

/// Where a policy stands, without what can be done.
pub fn standing(g: &Glance, now: Timestamp) -> String {
    let mut out = format!("{}/{}: {}\n\n", g.namespace, g.name, g.verdict);
    entry(&mut out, "Active", &why::active(&g.explained, now));
    entry(&mut out, "Phase", g.phase.as_deref().unwrap_or("not known"));
    entry(&mut out, "Told by", &why::told_by(&g.explained));
    if let Some(first) = &g.first_blocker {
        let text = format!("{}\nfound   {}\nneeded  {}", why::head(first), first.found, first.needed);
        entry(&mut out, "Blocks", &text);
    }
    for note in &g.notes {
        entry(&mut out, "Note", note);
    }
    if !g.sites.is_empty() {
        out.push('\n');
        let head = table::row(["", "SITE", "ROLE", "BEHIND", "HEARD", "SPEC", "TAKES OVER"]);
        let rows = g.sites.iter().map(|s| {
            let [name, role, behind, heard, spec, takes] = cells(s);
            [mark(s), name, role, behind, heard, spec, takes]
        });
        let rows: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
        indented(&mut out, &table::lines(&rows));
    }
    out
}

/// Every policy in a sentence, then every site of all of them in one table.
pub fn all(all: &[Glance], named: impl Fn(&Glance) -> String) -> String {
    let bad = all.iter().filter(|g| g.attention).count();
    let mut out = match (all.len(), bad) {
        (n, 0) => format!("{n} policies, all is well.\n\n"),
        (n, 1) => format!("{n} policies, one needs attention.\n\n"),
        (n, bad) => format!("{n} policies, {bad} need attention.\n\n"),
    };
    for g in all {
        let mark = if g.attention { "!" } else { " " };
        let _ = writeln!(out, "{mark} {}/{}: {}", g.namespace, g.name, g.verdict);
    }
    out.push('\n');
    let head = table::row(["", "POLICY", "SITE", "ROLE", "BEHIND", "HEARD", "SPEC", "TAKES OVER"]);
    let rows = all.iter().flat_map(|g| {
        g.sites.iter().map(move |s| {
            let [name, role, behind, heard, spec, takes] = cells(s);
            [mark(s), format!("{}/{}", g.namespace, g.name), name, role, behind, heard, spec, takes]
        })
    });
    let rows: Vec<[String; 8]> = std::iter::once(head).chain(rows).collect();
    indented(&mut out, &table::lines(&rows));
    out.push('\n');
    match all.iter().find(|g| g.attention) {
        Some(g) => {
            let _ = writeln!(out, "Next: bascule status {}", named(g));
        }
        None => out.push_str("Next: nothing to do.\n"),
    }
    out
}

fn indented(out: &mut String, lines: &[String]) {
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
}

fn mark(s: &SiteGlance) -> String {
    if s.active { "*" } else { "" }.to_owned()
}

fn cells(s: &SiteGlance) -> [String; 6] {
    let unknown = || "?".to_owned();
    let ago = |ms: u64| format!("{} ago", words(Duration::from_millis(ms)));
    let behind = if s.active { "-".to_owned() } else { s.behind_bytes.map_or_else(unknown, size) };
    let spec = match s.same_spec {
        Some(true) => "same",
        Some(false) => "differs",
        None => "?",
    };
    let because =
        |text: &str| s.reason.as_ref().map_or_else(|| text.to_owned(), |why| format!("{text}: {why}"));
    let takes = match s.promotable {
        _ if s.active => "active".to_owned(),
        Some(true) => "yes".to_owned(),
        Some(false) => because("no"),
        None => because("not known"),
    };
    [s.name.clone(), s.role.clone(), behind, s.heard_ms.map_or_else(unknown, ago), spec.to_owned(), takes]
}

fn entry(out: &mut String, name: &str, text: &str) {
    let text = text.trim_end().replace('\n', &format!("\n{INDENT}"));
    let _ = writeln!(out, "  {name:<9}{text}");
}
