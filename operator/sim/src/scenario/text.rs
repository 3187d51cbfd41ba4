//! How it is read: by people, and by programs.

use std::fmt::Write as _;
use std::time::Duration;

use bascule_core::policy::Policy;
use serde_json::{Value, json};

use super::play::latency;
use super::{Judgement, Line, Outage, Played, Promised, Scenario, What, length};

/// The number of the shape of the JSON. It grows when a field goes or changes its meaning.
pub const VERSION: u32 = 1;

/// What is going to be played: the first lines, before anything is played.
pub fn head(policy: &Policy, scenario: &Scenario) -> String {
    let sites: Vec<&str> = policy.sites.iter().map(bascule_core::name::SiteName::as_str).collect();
    let mut out = format!(
        "{}: sites {}; profile {} (L {}), {} from place to place, a write every {}, seed {}\n",
        policy.key,
        sites.join(", "),
        scenario.profile,
        length(scenario.profile.timing().l()),
        length(latency(scenario.profile)),
        length(scenario.writes_every),
        scenario.seed,
    );
    let mut events: Vec<_> = scenario.events.iter().collect();
    events.sort_by_key(|e| e.at);
    for event in events {
        line(&mut out, format_args!("  at {}: {}", length(event.at), event.words()));
    }
    if scenario.events.is_empty() {
        out.push_str("  nothing goes wrong\n");
    }
    let mut questions: Vec<_> = scenario.why.iter().collect();
    questions.sort_by_key(|q| q.at);
    for question in questions {
        line(&mut out, format_args!("  {}", question.words()));
    }
    out
}

/// How wide the sum of a run is: it is read in terminals, in files and in requests for changes.
const WIDTH: usize = 100;

/// A text in lines of at most so many characters, broken between words; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Adds a line.
fn line(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{what}");
}

impl Played {
    /// The story and its sum, for people: what follows after [`head`] and comes before [`Played::verdict`].
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.story(&mut out);
        self.sum(&mut out);
        self.table(&mut out);
        if !self.not_simulated.is_empty() {
            out.push_str("\nnot simulated:\n");
            for what in &self.not_simulated {
                line(&mut out, format_args!("  {what}"));
            }
        }
        out
    }

    /// The last line: whether the policy kept its word.
    pub fn verdict(&self) -> String {
        let not_known = |p: &&Judgement| p.promised == Promised::Unknown;
        let not_known: Vec<&str> = self.promises.iter().filter(not_known).map(|p| p.name).collect();
        let verdict = match self.promises.iter().filter(|p| p.is_broken()).count() {
            0 if !not_known.is_empty() => {
                format!("no promise was broken, watched too short to know: {}", not_known.join(", "))
            }
            0 => match self.account.goes_on() {
                Some(_) if self.is_stuck() => {
                    "every promise was held, and nobody can write: a person has to act".to_owned()
                }
                Some(_) => "every promise was held, and nobody can write".to_owned(),
                None => "every promise was held".to_owned(),
            },
            1 => "1 promise was broken".to_owned(),
            n => format!("{n} promises were broken"),
        };
        format!("\n{}: {verdict}\n", self.policy)
    }

    fn story(&self, out: &mut String) {
        let width = self.lines.iter().map(|l| l.who.chars().count()).max().unwrap_or_default().max(7);
        let others = if self.account.traffic.is_empty() { "" } else { ", users are sent there" };
        let steady = format!(
            "{} is active and writes, the others follow{others} (from nothing in {})",
            self.account.active_before,
            length(self.start_took)
        );
        line(out, format_args!("\n{}  {:<width$}  {steady}", clock(Duration::ZERO), "steady"));
        for Line { at, who, what, again, until } in &self.lines {
            let again = match again {
                0 => String::new(),
                1 => format!(" (again at {})", clock(*until).trim_start()),
                n => format!(" (again {n} times, until {})", clock(*until).trim_start()),
            };
            line(out, format_args!("{}  {who:<width$}  {what}{again}", clock(*at)));
        }
        line(out, format_args!("{}  {:<width$}  {}", clock(self.watched), "end", self.ended));
    }

    fn sum(&self, out: &mut String) {
        let a = &self.account;
        out.push('\n');
        let mut row = |name: &str, text: String| {
            for (i, part) in wrapped(&text, WIDTH - 14).iter().enumerate() {
                line(out, format_args!("{:<13} {part}", if i == 0 { name } else { "" }));
            }
        };
        let moved = match (a.has_moved(), a.active == a.active_before) {
            (false, _) => format!("{}, as before", a.active),
            (true, false) => format!("{}, before it was {}", a.active, a.active_before),
            (true, true) if a.moves == 1 => {
                format!("{}, as before: the role moved once, and the arbiter has forgotten it", a.active)
            }
            (true, true) => format!("{}, as before; the role moved {} times", a.active, a.moves),
        };
        if a.active.is_empty() {
            row("active", format!("nobody: the arbiter has no record; before it was {}", a.active_before));
        } else {
            row("active", format!("{moved}; the record is in {}", a.phase));
        }
        row("writes go to", a.writer.clone().unwrap_or_else(|| "nobody".to_owned()));
        match a.longest_outage() {
            None => row("write outage", "none".to_owned()),
            Some(outage) => {
                let more = a.outages.len() - 1;
                let more = if more == 0 { String::new() } else { format!("; {more} more, shorter") };
                row("write outage", format!("{}{more}", outage_words(outage)));
            }
        }
        let lost = match a.lost {
            0 => "none lost".to_owned(),
            n if a.lost_but_saved == n => {
                format!("{n} lost, all of them in the log that the old site has saved")
            }
            n if a.lost_but_saved > 0 => {
                format!("{n} lost, {} of them in the log that the old site has saved", a.lost_but_saved)
            }
            n => format!(
                "{n} lost ({}); the old site has not come back to save them",
                bascule_core::project::size(a.lost_bytes)
            ),
        };
        row(
            "rows",
            format!(
                "{} acknowledged, {lost}; {} writes refused, {} without an answer",
                a.acknowledged, a.refused, a.unanswered
            ),
        );
        if let Some(bound) = &a.loss_bound {
            row("loss gate", bound.words());
        }
        for (i, phase) in a.phases.iter().enumerate() {
            let goes_on = if phase.goes_on { ", and goes on" } else { "" };
            let text =
                format!("{} from {} for {}{goes_on}", phase.phase, length(phase.from), length(phase.took));
            row(if i == 0 { "phases" } else { "" }, text);
        }
        if !a.steps.is_empty() {
            let steps: Vec<String> = a
                .steps
                .iter()
                .map(|(name, site, took)| format!("{} {} ({site})", measured_words(name), length(*took)))
                .collect();
            row("measured", steps.join(", "));
        }
        for traffic in &a.traffic {
            let (up, all) = traffic.answering;
            let silent =
                if up == all { String::new() } else { format!("; {} of {all} servers are gone", all - up) };
            let sites = traffic.sites.join(" and ");
            let from = a.clients_moved.map(|at| format!(", a client first asked there at {}", length(at)));
            row("traffic", format!("{} points at {sites}{}{silent}", traffic.name, from.unwrap_or_default()));
        }
        for verdict in &a.verdicts {
            let end = verdict.end.as_deref().unwrap_or("pending");
            row("Move", format!("{} ({}): {end}: {}", verdict.name, verdict.kind, verdict.message));
        }
        for why in &a.why_not {
            row(
                "not moved",
                format!(
                    "{}: gate {} {}: {}; needed: {}",
                    why.site, why.gate, why.answer, why.found, why.needed
                ),
            );
        }
        for (site, says) in &a.says {
            row("status", format!("{site}: {says}"));
        }
    }

    fn table(&self, out: &mut String) {
        out.push_str("\npromises\n");
        let width = |text: fn(&Judgement) -> &str| {
            self.promises.iter().map(|p| text(p).chars().count()).max().unwrap_or_default()
        };
        let (names, measured) = (width(|p| p.name), width(|p| &p.measured).min(44));
        for p in &self.promises {
            let head = format!("  {:<names$}  {:<12}  ", p.name, p.promised.word());
            let short = format!("{head}{:<measured$}  {}", p.measured, p.bound);
            if short.chars().count() <= WIDTH {
                line(out, format_args!("{short}"));
                continue;
            }
            // What does not fit beside what was measured stands below it.
            let indent = head.chars().count();
            let below = [&p.measured, &p.bound].map(|text| wrapped(text, WIDTH - indent)).concat();
            for (i, part) in below.iter().enumerate() {
                line(out, format_args!("{:<indent$}{part}", if i == 0 { &*head } else { "" }));
            }
        }
    }

    /// All of it, for programs. Times are in milliseconds.
    pub fn json(&self) -> Value {
        let a = &self.account;
        let outage = |o: &Outage| json!({ "fromMs": ms(o.from), "toMs": o.to.map(ms), "tookMs": ms(o.took), "by": o.by });
        let promised = |p: Promised| match p {
            Promised::Held => "held",
            Promised::Broken => "broken",
            Promised::Nothing => "notPromised",
            Promised::Unknown => "notKnown",
        };
        let events = self.scenario.events.iter().map(|e| {
            // The names are those of a scenario file, so that a program can write one from the answer.
            let (kind, name, site) = match &e.what {
                What::Fault { kind, site } => ("fail", kind.name, site.as_ref().map(|(_, site)| site.as_str())),
                What::Switch(to) => ("switchTo", to.as_str(), None),
                What::Move(mv) => ("move", mv.name.as_str(), None),
                What::Revert(mv) => ("revert", mv.name.as_str(), None),
            };
            json!({ "atMs": ms(e.at), "what": e.words(), kind: name, "site": site, "lastsMs": e.lasts.map(ms) })
        });
        let lines = self.lines.iter().map(|l| {
            json!({ "atMs": ms(l.at), "who": l.who, "what": l.what, "again": l.again, "untilMs": ms(l.until) })
        });
        let phases = a.phases.iter().map(
            |p| json!({ "phase": p.phase, "fromMs": ms(p.from), "tookMs": ms(p.took), "goesOn": p.goes_on }),
        );
        let steps = a
            .steps
            .iter()
            .map(|(name, site, took)| json!({ "name": name, "site": site, "tookMs": ms(*took) }));
        let traffic = a.traffic.iter().map(|t| {
            json!({ "name": t.name, "sites": t.sites, "answering": t.answering.0, "servers": t.answering.1 })
        });
        let says = a.says.iter().map(|(site, says)| json!({ "site": site, "sentence": says }));
        let violations = a.violations.iter().map(|(at, what)| json!({ "atMs": ms(*at), "what": what }));
        let promises = self.promises.iter().map(|p| {
            json!({ "name": p.name, "promised": promised(p.promised), "measured": p.measured, "bound": p.bound })
        });
        json!({
            "version": VERSION,
            "policy": self.policy,
            "profile": self.scenario.profile.name(),
            "seed": self.scenario.seed,
            "latencyMs": ms(self.latency),
            "writesEveryMs": ms(self.scenario.writes_every),
            "events": events.collect::<Vec<_>>(),
            "startTookMs": ms(self.start_took),
            "watchedMs": ms(self.watched),
            "ended": self.ended,
            "timeline": lines.collect::<Vec<_>>(),
            "activeBefore": a.active_before,
            "active": a.active,
            "phase": a.phase,
            "moves": a.moves,
            "writer": a.writer,
            "longestOutage": a.longest_outage().map(outage),
            "outages": a.outages.iter().map(outage).collect::<Vec<_>>(),
            "rows": {
                "acknowledged": a.acknowledged,
                "refused": a.refused,
                "unanswered": a.unanswered,
                "lost": a.lost,
                "lostButSaved": a.lost_but_saved,
                "lostTimeMs": ms(a.lost_time),
                "lostBytes": a.lost_bytes,
            },
            "lossBound": a.loss_bound.map(|b| json!({ "bytes": b.bytes, "unseenMs": b.unseen.map(ms) })),
            "phases": phases.collect::<Vec<_>>(),
            "measured": steps.collect::<Vec<_>>(),
            "traffic": traffic.collect::<Vec<_>>(),
            "clientsMovedMs": a.clients_moved.map(ms),
            "whyNotMoved": a.why_not,
            "moveVerdicts": a.verdicts,
            "status": says.collect::<Vec<_>>(),
            "violations": violations.collect::<Vec<_>>(),
            "promises": promises.collect::<Vec<_>>(),
            "held": self.held(),
            "notSimulated": self.not_simulated,
        })
    }
}

/// What the operators call a time that they measure, in words.
fn measured_words(name: &str) -> &str {
    match name {
        "detect" => "until the loss was certain",
        "readOnly" => "reads only",
        "flagsSeen" => "until every pod was read-only",
        "stop" => "stopping the old database",
        "promote" => "promoting",
        "open" => "opening for clients",
        "verify" => "verifying a write",
        "traffic" => "pointing the names",
        "flagsOff" => "taking the read-only flags off",
        "writePause" => "the database's pause",
        other => other,
    }
}

fn outage_words(outage: &Outage) -> String {
    let from = clock(outage.from);
    let from = from.trim_start();
    match (outage.to, &outage.by) {
        (Some(to), Some(by)) => {
            format!(
                "{}: from {from} until {by} acknowledged one at {}",
                length(outage.took),
                clock(to).trim_start()
            )
        }
        _ => format!("since {from}, and goes on ({} so far)", length(outage.took)),
    }
}

fn ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// A time of the story: seconds with milliseconds.
fn clock(at: Duration) -> String {
    format!("{:>9.3} s", at.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn a_long_text_is_broken_between_words_and_nowhere_else() {
        assert_eq!(wrapped("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrapped("abcdef g", 3), ["abcdef", "g"]);
        assert_eq!(wrapped("short", 80), ["short"]);
        assert_eq!(wrapped("", 80), [""]);
    }
}
