//! A history as it is read.

use std::fmt::Write as _;
use std::time::Duration;

use bascule_core::project::size;
use bascule_core::time::human;
use bascule_crds::DataLoss;

use super::epochs::Told;
use super::told::{History, Transition};
use crate::table;
use crate::why::text::clock;

/// All of them.
pub fn whole(all: &[History]) -> String {
    let each: Vec<String> = all.iter().map(one).collect();
    each.join("\n")
}

fn one(h: &History) -> String {
    let site = h.site.as_deref().unwrap_or("nobody");
    let at = h.written_at.map(|at| format!(" at {}", clock(at))).unwrap_or_default();
    let later = if h.stale { "; what came later is not known here: ask another site" } else { "" };
    let mut out = format!("{}/{} (told by {site}{at}{later})\n", h.namespace, h.name);
    if let Some(trouble) = &h.trouble {
        let _ = writeln!(out, "  nothing can be told: {trouble}");
        return out;
    }
    if h.transitions.is_empty() {
        out.push_str("  no transition is known\n");
    } else {
        let head =
            table::row(["EPOCH", "FINISHED", "FROM", "TO", "CAUSE", "TOOK", "NO WRITES", "LOST", "MOVE"]);
        let rows: Vec<[String; 9]> = std::iter::once(head).chain(h.transitions.iter().map(row)).collect();
        put(&mut out, &table::lines(&rows));
    }
    if !h.moves.is_empty() {
        out.push('\n');
        let head = table::row(["MOVE", "STATE", "WHY"]);
        let rows = h
            .moves
            .iter()
            .map(|m| [m.name.clone(), format!("{:?}", m.state), m.message.clone().unwrap_or_default()]);
        let rows: Vec<[String; 3]> = std::iter::once(head).chain(rows).collect();
        put(&mut out, &table::lines(&rows));
    }
    out
}

fn put(out: &mut String, lines: &[String]) {
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
}

fn row(t: &Transition) -> [String; 9] {
    let unknown = || "?".to_owned();
    let none = || "-".to_owned();
    let ms = |ms: u64| human(Duration::from_millis(ms));
    [
        t.epoch.map_or_else(unknown, |e| e.to_string()),
        if t.under_way { "under way".to_owned() } else { t.finished_at.map_or_else(unknown, clock) },
        t.from.clone().unwrap_or_else(none),
        t.to.clone(),
        t.cause.clone(),
        t.ms.map_or_else(unknown, ms),
        t.write_pause_ms.map_or_else(unknown, ms),
        // What a planned switchover loses is not measured, for it is nothing.
        t.data_loss
            .as_ref()
            .map_or_else(|| if t.cause == "Switchover" { "nothing".to_owned() } else { unknown() }, lost),
        t.by_move.clone().unwrap_or_else(none),
    ]
}

/// What was lost: as counted when the old site came back, or else as it was judged.
fn lost(loss: &DataLoss) -> String {
    match (loss.bytes, loss.transactions, loss.bound_bytes, loss.bound_ms) {
        (Some(bytes), Some(n), ..) => {
            let saved = loss.saved_at.as_ref().map(|at| format!(", saved at {at}")).unwrap_or_default();
            format!("{n} transactions, {}{saved}", size(bytes))
        }
        (Some(bytes), None, ..) => size(bytes),
        (None, _, Some(bytes), Some(time)) => {
            format!("at most {} and {} of writes", size(bytes), human(Duration::from_millis(time)))
        }
        (None, _, Some(bytes), None) => format!("at most {}", size(bytes)),
        (None, _, None, _) => "not known".to_owned(),
    }
}

/// What journals tell.
pub fn epochs(all: &[Told]) -> String {
    if all.is_empty() {
        return "The journals tell of no epoch of such a policy.\n".to_owned();
    }
    let each = all.iter().map(|told| {
        let mut out = format!("{} (told by journals)\n", told.policy);
        let head = table::row(["EPOCH", "SINCE", "TOLD BY", "FIRST LINE"]);
        let rows = told
            .epochs
            .iter()
            .map(|e| [e.number.to_string(), clock(e.since), e.site.clone(), e.what.clone()]);
        let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
        put(&mut out, &table::lines(&rows));
        out
    });
    each.collect::<Vec<_>>().join("\n")
}
