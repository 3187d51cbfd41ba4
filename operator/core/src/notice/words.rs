//! What administrators read.

use std::fmt::Write;

use jiff::Timestamp;

use super::{Case, Kind};
use crate::name::SiteName;
use crate::project::transition_words;
use crate::record::{Fences, Transition};

/// What is known of a transition, under way or over.
pub(super) fn of_transition(transition: Option<&Transition>) -> Vec<(&'static str, String)> {
    transition.map(|t| vec![("Transition", transition_words(t))]).unwrap_or_default()
}

/// The whole text: the state, the facts, and what to do next.
pub(super) fn administrators(
    kind: Kind,
    facts: &[(&'static str, String)],
    since: Timestamp,
    me: &SiteName,
    case: &Case,
) -> String {
    let policy = &case.policy.key;
    let mut text = format!("{}\n\n", case.sentence);
    let mut line = |what: &str, words: &dyn std::fmt::Display| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{what}: {words}");
    };
    line("Policy", policy);
    line("Epoch", &format!("{}, serial {}", case.epoch(), case.serial()));
    line("Told by", me);
    line(if kind == Kind::Planned { "Planned" } else { "Since" }, &format!("{since:.0}"));
    for (what, words) in facts {
        line(what, words);
    }
    text.push_str("\nWhat to do next:\n");
    for (command, what) in next(kind, facts, me, case) {
        let _ = writeln!(text, "  {command}\n      {what}");
    }
    text
}

/// The commands, each with what it is for.
fn next(kind: Kind, facts: &[(&'static str, String)], me: &SiteName, case: &Case) -> Vec<(String, String)> {
    let policy = &case.policy.key;
    let command = |verb: &str, options: &str| format!("bascule {verb} {policy}{options}");
    let say = |verb: &str, options: &str, what: &str| (command(verb, options), what.to_owned());
    match kind {
        Kind::ReadOnly => {
            let mut all =
                vec![say("hold", " --reason WHY", "keeps it as it is: nobody is promoted meanwhile")];
            all.extend(failover(me, case).map(|(options, what)| say("failover", &options, what)));
            all.push(say("why", "", "what stands between now and a promotion"));
            all
        }
        Kind::Moved => vec![
            say("status", "", "where it stands; the old site comes back as a replica by itself"),
            say("history", "", "how long each part took, and what was lost"),
        ],
        Kind::Back => vec![say("status", "", "where it stands")],
        Kind::DecisionNeeded => {
            let mut all = vec![say("why", "", "what is waited for, and what would change the answer")];
            all.extend(failover(me, case).map(|(options, what)| say("failover", &options, what)));
            all
        }
        Kind::Unprotected => vec![
            say("why", "", "what stands in the way of a takeover"),
            say("status", "", "how far each site is behind"),
        ],
        Kind::Planned => vec![
            say("status", " -w", "follows it"),
            (
                format!("kubectl -n {} delete move {}", policy.namespace, named(facts)),
                "takes the Move back before it begins (or remove it from git)".to_owned(),
            ),
        ],
    }
}

/// The Move that the facts name.
fn named<'a>(facts: &'a [(&'static str, String)]) -> &'a str {
    facts.iter().find(|(what, _)| *what == "Move").map_or("NAME", |(_, name)| name)
}

/// A promotion of the site that speaks, where the record allows one to be asked for.
fn failover(me: &SiteName, case: &Case) -> Option<(String, &'static str)> {
    let record = case.record.as_ref().filter(|r| r.active != *me)?;
    Some(match record.promise.fences {
        Fences::Within { .. } => (
            format!(" --to {me} --reason WHY"),
            "promotes it now; what is at risk is shown and has to be accepted",
        ),
        Fences::Never => (
            format!(" --to {me} --source-stopped WHO-SAW-IT --reason WHY"),
            "promotes it now, on your word that the other site is off",
        ),
    })
}
