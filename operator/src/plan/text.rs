//! A plan as it is read.

use std::time::Duration;

use bascule_core::time::human;
use serde_json::Value;

use super::told::{Act, Change, Expected, MovePlan, Object, Plan, PolicyPlan, Step};
use crate::why::explain::Finding;

/// Where the words of an entry begin.
const INDENT: &str = "             ";

/// The whole plan.
pub fn whole(plan: &Plan) -> String {
    let text = written(plan, "When it is merged:");
    if plan.changes { format!("{text}\nHeld against {}.\n", plan.against) } else { text }
}

/// The whole plan; `when` is what stands before what happens at once.
pub fn written(plan: &Plan, when: &'static str) -> String {
    let mut out = Out { text: String::new(), when };
    if !plan.changes {
        out.line(&format!("Nothing changes: FILE says what {} says.", plan.against));
    }
    for (i, policy) in plan.policies.iter().enumerate() {
        if i > 0 {
            out.line("");
        }
        one(policy, &mut out);
    }
    if !plan.unchanged.is_empty() && plan.changes {
        out.line("");
        out.line(&format!("As before: {}.", plan.unchanged.join(", ")));
    }
    for note in &plan.notes {
        out.line("");
        out.line(note);
    }
    out.text
}

fn one(p: &PolicyPlan, out: &mut Out) {
    out.line(&format!("{}: {}", p.policy, sum(p)));
    out.line("");
    out.entry("Now", &now(p));
    if !p.fields.is_empty() {
        let names: Vec<String> = p.fields.iter().map(|f| f.field.clone()).collect();
        let width = names.iter().map(|n| n.chars().count()).max().unwrap_or_default();
        let lines = p
            .fields
            .iter()
            .map(|f| format!("{:<width$}  {} -> {}", f.field, value_of(&f.old), value_of(&f.new)));
        out.entry("Changes", &lines.collect::<Vec<_>>().join("\n"));
    }
    for act in &p.acts {
        one_act(p, act, out);
    }
    if is_idle(p) {
        out.entry("Steps", idle_words(p));
    }
    if !p.let_go.is_empty() {
        out.entry(
            "Let go",
            &format!("nobody acts on these any longer; they stay as they are:\n{}", p.let_go.join("\n")),
        );
    }
    if let Some(lost) = &p.if_lost {
        let width = lost.changes.iter().map(|l| l.what.len()).max().unwrap_or_default();
        let lines = lost.changes.iter().map(|l| format!("{:<width$}  {} -> {}", l.what, l.old, l.new));
        let head = format!(
            "when {} is lost afterwards (simulated with both; `bascule simulate` tells the whole):",
            lost.site
        );
        out.entry("Later", &format!("{head}\n{}", lines.collect::<Vec<_>>().join("\n")));
    }
    for note in &p.notes {
        out.entry("Note", note);
    }
    if !p.unknown.is_empty() {
        let head = if p.now.told_by.is_none() {
            "no cluster was asked; --against live knows most of it:\n"
        } else {
            ""
        };
        out.entry("Not known", &format!("{head}{}", p.unknown.join("\n")));
    }
}

/// Whether nothing is done at any time.
fn is_idle(p: &PolicyPlan) -> bool {
    p.acts.iter().all(|a| a.steps.is_empty() && a.moves.is_empty())
}

const fn idle_words(p: &PolicyPlan) -> &'static str {
    match p.change {
        Change::None => "none",
        Change::New | Change::Changed | Change::Removed => {
            "none now: nothing in the clusters, at the arbiter or in DNS is touched before a role moves"
        }
    }
}

/// The plan in half a line.
pub(super) fn sum(p: &PolicyPlan) -> String {
    let mut words = Vec::new();
    match p.change {
        Change::None => {}
        Change::New => words.push("new".to_owned()),
        Change::Removed => words.push("deleted".to_owned()),
        Change::Changed => words.push(count(p.fields.len(), "field changes", "fields change")),
    }
    words.extend(p.acts.iter().flat_map(|a| &a.moves).map(in_short));
    let steps: usize = p.acts.iter().map(|a| a.steps.len()).sum();
    words.push(match steps {
        0 => "nothing is done".to_owned(),
        n => count(n, "step", "steps"),
    });
    let blockers: usize = p.acts.iter().map(|a| a.blockers.len()).sum();
    if blockers > 0 {
        words.push(count(blockers, "blocker", "blockers").to_uppercase());
    }
    words.join(", ")
}

/// A Move in half a line.
fn in_short(mv: &MovePlan) -> String {
    match (mv.verdict.as_deref(), &mv.to) {
        (Some("Done" | "BecameFailover"), Some(to)) => format!("{to} becomes active"),
        (Some("Done"), None) => format!("a {} takes effect", mv.kind),
        (Some(end), _) => format!("Move {} comes to nothing ({end})", mv.name),
        (None, _) => format!("Move {} waits", mv.name),
    }
}

pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

pub(super) fn now(p: &PolicyPlan) -> String {
    let n = &p.now;
    let Some(active) = &n.active else { return "nobody is active: there is no record yet".to_owned() };
    let mut words = vec![format!("{active} is active")];
    words.extend(n.epoch.map(|e| format!("epoch {e}")));
    words.extend(n.serial.map(|s| format!("serial {s}")));
    words.extend(n.phase.clone());
    if n.lost {
        words.push(format!("{active} is silent"));
    }
    let by = n.told_by.as_ref().map_or_else(|| "assumed".to_owned(), |by| format!("told by {by}"));
    format!("{} ({by})", words.join(", "))
}

fn one_act(p: &PolicyPlan, act: &Act, out: &mut Out) {
    out.line("");
    let when = match act.begins {
        Some(at) => format!("At {at}, its notBefore:"),
        None => out.when.to_owned(),
    };
    out.line(&when);
    for mv in &act.moves {
        let blocked = act.blockers.iter().any(|f| f.code == format!("move/{}", mv.name));
        out.entry("Move", &moved(mv, blocked));
    }
    for blocker in &act.blockers {
        out.entry("Blocker", &blocked(blocker));
    }
    if !act.steps.is_empty() {
        out.entry("Steps", &steps(&act.steps));
    } else if act.moves.is_empty() && act.blockers.is_empty() && !is_idle(p) {
        out.entry("Steps", idle_words(p));
    }
    if !act.objects.is_empty() {
        out.entry("Objects", &objects(&act.objects));
    }
    if !act.steps.is_empty() {
        out.entry("Takes", &takes(&act.expected));
    }
    if !act.moves.is_empty() || !act.steps.is_empty() || p.change == Change::Removed {
        out.entry("At risk", &act.risk.words);
    }
}

pub(super) fn moved(mv: &MovePlan, blocked: bool) -> String {
    let to = mv.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
    let end = mv.verdict.as_deref().unwrap_or("waits");
    // What stands in the way is told there.
    let message = if blocked { "" } else { &mv.message };
    format!("{} ({}{to}): {end}\n{message}", mv.name, mv.kind)
}

fn blocked(f: &Finding) -> String {
    let mut lines = vec![format!("{}: {}", f.code, f.answer.name())];
    lines.push(format!("found   {}", f.found));
    lines.push(format!("needed  {}", f.needed));
    lines.extend(f.change.as_ref().map(|c| format!("change  {c}")));
    lines.join("\n")
}

pub(super) fn steps(all: &[Step]) -> String {
    let width = all.iter().map(|s| s.site.chars().count()).max().unwrap_or_default();
    let line = |s: &Step| {
        let at = format!("+{:.1} s", Duration::from_millis(s.at_ms).as_secs_f64());
        let change = match (&s.old, &s.new) {
            (None, None) => format!("{}: {}", s.object, s.what),
            (old, new) if s.kind == super::told::Kind::Record => {
                format!(
                    "{}: {} -> {}\n{:>8}  {:<width$}  because {}",
                    s.object,
                    or_none(old.as_ref()),
                    or_none(new.as_ref()),
                    "",
                    "",
                    s.what
                )
            }
            (old, new) => format!("{}: {} -> {}", s.object, or_none(old.as_ref()), or_none(new.as_ref())),
        };
        let fails = s.fails.as_ref().map(|why| format!(" FAILS: {why}")).unwrap_or_default();
        format!("{at:>8}  {:<width$}  {change}{fails}", s.site)
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn objects(all: &[Object]) -> String {
    let site = |o: &Object| o.site.clone().unwrap_or_else(|| "-".to_owned());
    let sites = all.iter().map(|o| site(o).chars().count()).max().unwrap_or_default();
    let names = all.iter().map(|o| o.what.chars().count()).max().unwrap_or_default();
    let line = |o: &Object| {
        let values = if o.old == o.new {
            o.values.iter().map(|v| or_none(v.as_ref())).collect::<Vec<_>>().join(" -> ")
        } else {
            format!("{} -> {}", or_none(o.old.as_ref()), or_none(o.new.as_ref()))
        };
        format!("{:<sites$}  {:<names$}  {values}", site(o), o.what)
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn or_none(value: Option<&String>) -> String {
    value.cloned().unwrap_or_else(|| "nothing".to_owned())
}

pub(super) fn takes(e: &Expected) -> String {
    let ms = |ms: u64| human(Duration::from_millis(ms));
    let mut words = Vec::new();
    // What users notice comes first; the database's own pause is a part of it.
    words.extend(e.read_only_ms.map(|wait| format!("users cannot write for {}", ms(wait))));
    words.extend(e.write_pause_ms.map(|pause| format!("the database pauses for {} of it", ms(pause))));
    if let Some(after) = e.writes_after_ms {
        words.push(format!("users can write again after {}", ms(after)));
    }
    if let Some(ttl) = e.dns_ttl_ms.filter(|t| *t > 0) {
        words.push(format!("resolvers may keep the old addresses for {} more", ms(ttl)));
    }
    words.push(if e.goes_on {
        format!("not over after {}", ms(e.took_ms))
    } else {
        format!("all of it {}", ms(e.took_ms))
    });
    let text = format!("{} (in the simulated world, from when every site has read it)", words.join(", "));
    match &e.last_here {
        Some(last) => format!("{text}\nlast one here: {last}"),
        None => text,
    }
}

/// A field's value as in YAML, in one line.
pub(super) fn value_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(value_of).collect::<Vec<_>>().join(", ")),
        Value::Object(all) => {
            let fields = all.iter().map(|(k, v)| format!("{k}: {}", value_of(v)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The text so far.
struct Out {
    text: String,
    /// What stands before what happens at once.
    when: &'static str,
}

impl Out {
    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    fn entry(&mut self, name: &str, text: &str) {
        let mut lines = text.trim_end().lines();
        let first = lines.next().unwrap_or_default();
        self.line(&format!("  {name:<11}{first}"));
        for more in lines {
            self.line(&format!("{INDENT}{more}"));
        }
    }
}
