//! A scenario file: small YAML that says what happens, and when.

use std::time::Duration;

use bascule_core::moves::Move;
use bascule_core::name::SiteName;
use bascule_core::timing::Profile;
use bascule_engine::intake::Problem;
use bascule_engine::intake::document::{Document, one};
use bascule_engine::intake::read::{File, Limits};
use serde_json::Value;

use super::kind::About;
use super::{Event, Question, What, length, word};

/// The shape of a scenario file, as JSON Schema.
pub const SCHEMA: &str = include_str!("schema.json");

/// The shortest time between two writes: below it a run takes minutes.
pub const FASTEST_WRITES: Duration = Duration::from_millis(5);

/// The longest time between two writes: an outage is told by them, and of a longer one little is seen.
pub const SLOWEST_WRITES: Duration = Duration::from_secs(5);

/// What a file says; what it leaves out is the caller's to fill in.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The timing profile.
    pub profile: Option<Profile>,
    /// The seed.
    pub seed: Option<u64>,
    /// How long the world is watched.
    pub lasts: Option<Duration>,
    /// How often a client writes.
    pub writes_every: Option<Duration>,
    /// What happens.
    pub events: Vec<Event>,
    /// What is asked meanwhile.
    pub why: Vec<Question>,
}

/// Reads a scenario for a policy with these sites; `moves` are those that an event may name.
///
/// # Errors
/// Everything that is wrong with it, each with its place and field.
pub fn read(file: &File<'_>, sites: &[SiteName], moves: &[Move]) -> Result<Said, Vec<Problem>> {
    // The text is part of the program and a test reads it.
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
    let document = one(file, &schema, &Limits::default())?;
    let mut reader = Reader { document: &document, sites, moves, problems: Vec::new() };
    let said = reader.all();
    if reader.problems.is_empty() { Ok(said) } else { Err(reader.problems) }
}

struct Reader<'a> {
    document: &'a Document,
    sites: &'a [SiteName],
    moves: &'a [Move],
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn all(&mut self) -> Said {
        let value = self.document.value();
        let profile = text(value, "profile").and_then(|p| p.parse().ok());
        let seed = value["seed"].as_u64();
        let lasts = self.time(value, "", "for");
        let writes_every = self.time(value, "", "writesEvery");
        if writes_every.is_some_and(|d| d < FASTEST_WRITES) {
            self.wrong("writesEvery", "expected at least 5ms");
        }
        if writes_every.is_some_and(|d| d > SLOWEST_WRITES) {
            self.wrong("writesEvery", "expected at most 5s: outages are told by the writes");
        }
        let list = value["events"].as_array().map_or(&[][..], Vec::as_slice);
        let events =
            list.iter().enumerate().filter_map(|(i, event)| self.event(event, &format!("events[{i}]")));
        let events: Vec<Event> = events.collect();
        self.reverted_after_merged(&events);
        if let Some((late, end)) = events.iter().map(|e| e.at).max().zip(lasts).filter(|(at, end)| at >= end)
        {
            let (late, end) = (length(late), length(end));
            self.wrong("for", format!("found {end}, expected more: something happens at {late}"));
        }
        let list = value["why"].as_array().map_or(&[][..], Vec::as_slice);
        let why = list.iter().enumerate().filter_map(|(i, asked)| self.question(asked, &format!("why[{i}]")));
        let why = why.collect();
        Said { profile, seed, lasts, writes_every, events, why }
    }

    /// A merge can be reverted only after it was made.
    fn reverted_after_merged(&mut self, events: &[Event]) {
        for event in events {
            let What::Revert(reverted) = &event.what else { continue };
            let merged =
                |e: &Event| e.at < event.at && matches!(&e.what, What::Move(mv) if mv.name == reverted.name);
            if !events.iter().any(merged) {
                let name = &reverted.name;
                self.wrong(
                    "events",
                    format!("found revert: {name}, expected an earlier event move: {name} that merges it"),
                );
            }
        }
    }

    fn question(&mut self, value: &Value, path: &str) -> Option<Question> {
        let at = self.time(value, path, "at");
        let site = match text(value, "site") {
            Some(name) => Some(self.check(&format!("{path}.site"), word::site(name, self.sites))?.1),
            None => None,
        };
        Some(Question { at: at?, site })
    }

    fn event(&mut self, value: &'a Value, path: &str) -> Option<Event> {
        let at = self.time(value, path, "at");
        let lasts = self.time(value, path, "for");
        let given: Vec<&str> =
            ["fail", "switchTo", "move", "revert"].into_iter().filter(|f| text(value, f).is_some()).collect();
        let &[what] = given.as_slice() else {
            let found = if given.is_empty() { "none of them".to_owned() } else { given.join(" and ") };
            self.wrong(path, format!("found {found}, expected exactly one of fail, switchTo, move, revert"));
            return None;
        };
        if what != "fail" {
            for field in ["site", "for"].into_iter().filter(|f| text(value, f).is_some()) {
                self.wrong(&format!("{path}.{field}"), format!("belongs to fail, not to {what}: remove it"));
            }
        }
        let name = text(value, what)?;
        let field = format!("{path}.{what}");
        match what {
            "fail" => {
                let kind = self.check(&field, word::kind(name));
                let site = text(value, "site");
                let (kind, at) = kind.zip(at)?;
                if kind.about == About::Site && site.is_none() {
                    let names: Vec<&str> = self.sites.iter().map(SiteName::as_str).collect();
                    let reason = format!(
                        "{name} needs a site, expected a field site beside it with one of {}",
                        names.join(", ")
                    );
                    self.wrong(&field, reason);
                    return None;
                }
                let event = word::of_kind(kind, site, at, lasts, self.sites);
                let wrong_site = site.is_some_and(|s| self.sites.iter().all(|known| known.as_str() != s));
                let at_field = if wrong_site { format!("{path}.site") } else { field };
                self.check(&at_field, event)
            }
            "switchTo" => {
                let (_, to) = self.check(&field, word::site(name, self.sites))?;
                Some(Event { at: at?, lasts: None, what: What::Switch(to) })
            }
            _ => {
                let moves = self.moves;
                let Some(mv) = moves.iter().find(|m| m.name.as_str() == name) else {
                    let known: Vec<&str> = moves.iter().map(|m| m.name.as_str()).collect();
                    let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
                    self.wrong(
                        &field,
                        format!("found {name:?}, expected the name of a Move beside the policy or of --move ({known})"),
                    );
                    return None;
                };
                let mv = Box::new(mv.clone());
                let what = if what == "revert" { What::Revert(mv) } else { What::Move(mv) };
                Some(Event { at: at?, lasts: None, what })
            }
        }
    }

    fn time(&mut self, value: &Value, path: &str, field: &str) -> Option<Duration> {
        let found = text(value, field)?;
        let at = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
        let parsed = word::time(field, found);
        // The field is named by the problem itself.
        let parsed = parsed.map_err(|why| why.strip_prefix(&format!("{field}: ")).unwrap_or(&why).to_owned());
        self.check(&at, parsed)
    }

    fn check<T>(&mut self, field: &str, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(why) => {
                self.wrong(field, why);
                None
            }
        }
    }

    fn wrong(&mut self, field: &str, reason: impl Into<String>) {
        self.problems.push(self.document.problem(field, reason));
    }
}

fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value[field].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites() -> Vec<SiteName> {
        ["paris", "lyon"].iter().map(|s| (*s).try_into().unwrap()).collect()
    }

    fn parse(text: &str) -> Result<Said, Vec<String>> {
        let file = File { path: "night.yaml", bytes: text.as_bytes() };
        read(&file, &sites(), &[]).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_schema_is_json() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        assert_eq!(schema["required"][0], "events");
    }

    #[test]
    fn a_scenario_is_read() {
        let said = parse(
            "profile: metro\nseed: 7\nfor: 2m\nwritesEvery: 20ms\nevents:\n  - { at: 10s, fail: site, site: paris, for: 30s }\n  - { at: 5s, fail: link }\n  - { at: 1m, switchTo: lyon }\n",
        )
        .unwrap();
        assert_eq!((said.profile, said.seed), (Some(Profile::Metro), Some(7)));
        assert_eq!(
            (said.lasts, said.writes_every),
            (Some(Duration::from_mins(2)), Some(Duration::from_millis(20)))
        );
        let words: Vec<String> = said.events.iter().map(Event::words).collect();
        assert_eq!(
            words,
            [
                "paris loses power, for 30 s",
                "the line between the sites is cut, for good",
                "a Move Switchover to lyon is merged"
            ]
        );
    }

    #[test]
    fn a_merge_is_reverted_only_after_it_was_made() {
        let mv = Move {
            hash: bascule_core::moves::MoveHash("h".to_owned()),
            name: "night".try_into().unwrap(),
            order: bascule_core::moves::Order::Switchover { to: "lyon".try_into().unwrap() },
            from: None,
            epoch: None,
            serial: None,
            not_before: None,
            not_after: None,
            reason: "a test".to_owned(),
        };
        let parse = |text: &str| {
            let file = File { path: "night.yaml", bytes: text.as_bytes() };
            read(&file, &sites(), std::slice::from_ref(&mv))
        };
        let said = parse("events:\n  - { at: 2s, revert: night }\n  - { at: 1s, move: night }\n").unwrap();
        assert_eq!(said.events[0].words(), "the merge of the Move night is reverted");
        let wrong =
            parse("events:\n  - { at: 1s, revert: night }\n  - { at: 2s, move: night }\n").unwrap_err();
        assert!(
            wrong[0].to_string().contains("found revert: night, expected an earlier event move: night"),
            "{wrong:?}"
        );
    }

    #[test]
    fn everything_wrong_is_named_with_line_field_found_and_expected() {
        let wrong = parse(
            "events:\n  - at: 10s\n    fail: siet\n    site: paris\n  - at: soon\n    fail: site\n    site: lyno\n  - at: 1s\n    fail: link\n    switchTo: lyon\n  - at: 1s\n    move: night\n  - at: 2s\n    switchTo: paris\n    for: 3s\n",
        )
        .unwrap_err();
        let starts = [
            "night.yaml:3:11: events[0].fail: found \"siet\", expected a kind of fault; did you mean site?",
            "night.yaml:5:9: events[1].at: found \"soon\", expected a duration such as",
            "night.yaml:8:5: events[2]: found fail and switchTo, expected exactly one of",
            "night.yaml:12:11: events[3].move: found \"night\", expected the name of a Move",
            "night.yaml:15:10: events[4].for: belongs to fail, not to switchTo",
        ];
        assert_eq!(wrong.len(), starts.len(), "{wrong:#?}");
        for (found, start) in wrong.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}\n{start}");
        }
        let wrong = parse("events:\n  - at: 10s\n    fial: site\n").unwrap_err();
        assert_eq!(
            wrong[0],
            "night.yaml:3:11: events[0].fial: unknown field 'fial', expected one of: at, fail, for, move, revert, site, switchTo"
        );
        for (text, says) in [
            (
                "events:\n  - { at: 10s, fail: site }\n",
                "night.yaml:2:22: events[0].fail: site needs a site, expected a field site beside it with one of paris, lyon",
            ),
            (
                "for: 5s\nevents:\n  - { at: 10s, fail: link }\n",
                "night.yaml:1:6: for: found 5 s, expected more: something happens at 10 s",
            ),
            (
                "writesEvery: 3h\nevents:\n  - { at: 10s, fail: link }\n",
                "night.yaml:1:14: writesEvery: expected at most 5s: outages are told by the writes",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), [says]);
        }
        let wrong = parse("profile: galaxy\nevents: []\n").unwrap_err();
        assert!(
            wrong.iter().any(|w| w.contains("profile") && w.contains("metro, region, wan, conservative"))
        );
        assert!(
            wrong.iter().any(|w| w.contains("events: found 0 entries, expected at least 1")),
            "{wrong:?}"
        );
        let wrong = parse("events:\n  - { at: 10s, fail: site, site: lyno }\n").unwrap_err();
        assert!(
            wrong[0].contains("events[0].site: found \"lyno\"") && wrong[0].contains("mean lyon?"),
            "{wrong:?}"
        );
    }
}
