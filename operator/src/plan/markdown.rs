//! A plan as the comment of a pull request.
//!
//! What a person decides by stands open: what moves, what blocks, how long, what is at risk. The rest is folded. Values come
//! from files that anybody may have written: they stand in code, so that none of them is taken for markup.

use std::fmt::Write as _;

use super::text;
use super::told::{Act, Plan, PolicyPlan};

/// The mark by which a job finds its own comment again, to change it instead of adding one.
pub const MARK: &str = "<!-- bascule plan -->";

/// The whole plan.
pub fn whole(plan: &Plan) -> String {
    let mut out = format!("{MARK}\n## Bascule: what this change does\n");
    if !plan.changes {
        put(&mut out, format_args!("\nNothing changes: the files say what {} says.", code(&plan.against)));
    }
    for policy in &plan.policies {
        one(policy, &mut out);
    }
    if !plan.unchanged.is_empty() && plan.changes {
        let names: Vec<String> = plan.unchanged.iter().map(|name| code(name)).collect();
        put(&mut out, format_args!("\nAs before: {}.", names.join(", ")));
    }
    for note in &plan.notes {
        put(&mut out, format_args!("\n> **Note:** {}", plain(note)));
    }
    if plan.changes {
        put(&mut out, format_args!("\nHeld against {}.", code(&plan.against)));
    }
    out
}

fn one(p: &PolicyPlan, out: &mut String) {
    put(out, format_args!("\n### {}: {}\n", code(&p.policy), plain(&text::sum(p))));
    put(out, format_args!("Now: {}", plain(&text::now(p))));
    for act in &p.acts {
        one_act(act, out);
    }
    for note in &p.notes {
        put(out, format_args!("\n> **Note:** {}", plain(note)));
    }
    if let Some(lost) = &p.if_lost {
        put(out, format_args!("\nWhen {} is lost afterwards:\n", code(&lost.site)));
        table(out, ["what", "before", "after"], lost.changes.iter().map(|l| [&*l.what, &*l.old, &*l.new]));
    }
    if !p.let_go.is_empty() {
        put(out, format_args!("\nLet go (nobody acts on these any longer; they stay as they are):\n"));
        list(out, &p.let_go);
    }
    if !p.fields.is_empty() {
        let rows: Vec<(String, String)> =
            p.fields.iter().map(|f| (text::value_of(&f.old), text::value_of(&f.new))).collect();
        folded(out, &text::count(p.fields.len(), "field changes", "fields change"), |out| {
            let rows = p.fields.iter().zip(&rows).map(|(f, (old, new))| [&*f.field, &**old, &**new]);
            table(out, ["field", "before", "after"], rows);
        });
    }
    if !p.unknown.is_empty() {
        folded(out, "Not known, and what is assumed instead", |out| list(out, &p.unknown));
    }
}

fn one_act(act: &Act, out: &mut String) {
    if let Some(at) = act.begins {
        put(out, format_args!("\n**At {at}**, its `notBefore`:"));
    }
    for mv in &act.moves {
        let blocked = act.blockers.iter().any(|f| f.code == format!("move/{}", mv.name));
        put(out, format_args!("\n- Move {}", plain(&one_line(&text::moved(mv, blocked)))));
    }
    for f in &act.blockers {
        put(out, format_args!("\n> **Blocked by {}** ({})", code(&f.code), f.answer.name()));
        put(out, format_args!("> - found: {}\n> - needed: {}", code(&f.found), code(&f.needed)));
        if let Some(change) = &f.change {
            put(out, format_args!("> - what to do: {}", plain(change)));
        }
    }
    if !act.steps.is_empty() {
        put(out, format_args!("\n**Takes:** {}", plain(&one_line(&text::takes(&act.expected)))));
    }
    if !act.moves.is_empty() || !act.steps.is_empty() {
        put(out, format_args!("\n**At risk:** {}", plain(&act.risk.words)));
    }
    if !act.steps.is_empty() {
        folded(out, &text::count(act.steps.len(), "step", "steps"), |out| {
            block(out, &text::steps(&act.steps));
        });
    }
    if !act.objects.is_empty() {
        let title = text::count(act.objects.len(), "object is touched", "objects are touched");
        folded(out, &title, |out| block(out, &text::objects(&act.objects)));
    }
}

/// A line. Writing to a `String` cannot fail.
fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{line}");
}

fn folded(out: &mut String, title: &str, inside: impl FnOnce(&mut String)) {
    put(out, format_args!("\n<details><summary>{}</summary>\n", plain(title)));
    inside(out);
    put(out, format_args!("\n</details>"));
}

fn list(out: &mut String, lines: &[String]) {
    for line in lines {
        put(out, format_args!("- {}", plain(line)));
    }
}

fn table<'a>(out: &mut String, head: [&str; 3], rows: impl Iterator<Item = [&'a str; 3]>) {
    put(out, format_args!("| {} |\n|---|---|---|", head.join(" | ")));
    for row in rows {
        // A bar ends a cell even in code.
        let cells: Vec<String> = row.iter().map(|cell| code(cell).replace('|', "\\|")).collect();
        put(out, format_args!("| {} |", cells.join(" | ")));
    }
}

/// Text in a block, fenced by more backticks than are in it.
fn block(out: &mut String, text: &str) {
    let fence = "`".repeat(longest(text).max(2) + 1);
    put(out, format_args!("{fence}text\n{}\n{fence}", text.trim_end()));
}

/// A value as code, between more backticks than are in it.
fn code(text: &str) -> String {
    let text = one_line(text);
    if text.is_empty() {
        return "` `".to_owned();
    }
    let fence = "`".repeat(longest(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// The longest run of backticks.
fn longest(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A sentence that stays one: what could be markup, a link or a mention in it is not.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in one_line(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // Without a space between them nobody is called and nothing is linked.
            '@' => out.push_str("@\u{200b}"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{block, code, plain};

    #[test]
    fn a_value_with_backticks_stays_one() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code(""), "` `");
        let mut out = String::new();
        block(&mut out, "x\n```\n");
        assert_eq!(out, "````text\nx\n```\n````\n");
    }

    #[test]
    fn a_sentence_calls_nobody_and_marks_nothing() {
        assert_eq!(
            plain("see [x](y) <b> @all *now* a_b\nnext"),
            "see \\[x\\](y) &lt;b&gt; @\u{200b}all \\*now\\* a\\_b; next"
        );
    }
}
