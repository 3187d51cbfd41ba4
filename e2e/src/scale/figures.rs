//! The figures of a run: one flat object of numbers, and what was asked for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What is measured for each size of the fleet, with its unit and, for the largest fleet, the most that it may be.
pub const FIGURES: [Figure; 22] = [
    Figure::asked("cold-start", "s", 2.0, "lists arrived to the last policy decided"),
    Figure::seen("cold-start-lists", "s", "operator started to the last list arrived"),
    Figure::seen("cold-start-ready", "s", "operator started to the last policy shown as ready"),
    Figure::asked("changed-1000", "s", 5.0, "1,000 policies changed to the last one shown"),
    Figure::seen("changed-1000-told", "s", "of that, until the last change was made and the operator had it"),
    Figure::asked(
        "dead-site-decision-p99",
        "ms",
        50.0,
        "silence is proved to the change of the record sent, p99",
    ),
    Figure::asked(
        "dead-site-last-started",
        "s",
        1.0,
        "silence is proved to the last policy's first effect begun",
    ),
    Figure::seen("dead-site-last-granted", "s", "silence is proved to the last database's leave to write"),
    Figure::asked(
        "dead-site-starved",
        "policies",
        0.0,
        "policies without an effect while the steps of one hang",
    ),
    Figure::asked("rest-cpu", "% of a core", 1.0, "processor time at rest, guards asking"),
    Figure::asked("rest-writes", "a minute", 0.0, "writes to the arbiter at rest, but the site lease"),
    Figure::asked("rest-requests", "a minute", 10.0, "requests to the API server at rest"),
    Figure::seen("rest-looks", "a minute", "looks at workloads, DNS, databases at rest (simulated here)"),
    Figure::seen("rest-questions", "a second", "questions of guards at rest"),
    Figure::asked("memory", "MiB", 51.0, "resident memory at rest: 12 MiB and 4 KiB for each policy"),
    Figure::seen("memory-own", "MiB", "of that, not a file's"),
    Figure::asked(
        "memory-per-policy",
        "B",
        4096.0,
        "resident memory beyond the smallest fleet's, for each policy more",
    ),
    Figure::asked("restart", "s", 5.0, "operator started again to the last record re-claimed"),
    Figure::seen("restart-granted", "s", "operator started again to the last leave to write"),
    Figure::asked("restart-expired", "grants", 0.0, "leaves that ended before the next one came"),
    Figure::seen("most-calls-at-once", "calls", "to the arbiter, of any kind, until all were ready"),
    Figure::seen("failed-calls", "calls", "to the arbiter, until all were ready"),
];

/// The fleet that was asked for: a smaller one holds nothing that a target says.
const ASKED: usize = 10_000;

/// A figure's name and meaning.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The most that it may be with ten thousand policies.
    pub most: Option<f64>,
    /// In words.
    pub words: &'static str,
}

impl Figure {
    const fn asked(name: &'static str, unit: &'static str, most: f64, words: &'static str) -> Self {
        Self { name, unit, most: Some(most), words }
    }

    const fn seen(name: &'static str, unit: &'static str, words: &'static str) -> Self {
        Self { name, unit, most: None, words }
    }
}

/// The numbers of one size.
pub type Measured = BTreeMap<&'static str, f64>;

/// All sizes.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// By the number of policies.
    pub sizes: BTreeMap<usize, Measured>,
    /// Where, when, of which commit.
    pub about: Vec<(&'static str, String)>,
}

impl Figures {
    /// Adds a size; memory for each policy follows from the smallest one.
    pub fn add(&mut self, n: usize, mut measured: Measured) {
        let mib = |m: &Measured| m.get("memory").copied();
        if let Some((least, first)) = self.sizes.first_key_value().filter(|(least, _)| **least < n)
            && let (Some(now), Some(then)) = (mib(&measured), mib(first))
        {
            let bytes = (now - then) * f64::from(1 << 20);
            measured.insert("memory-per-policy", (bytes / (n - least) as f64).round());
        }
        self.sizes.insert(n, measured);
    }

    /// The flat object: each figure of the largest fleet by its name, of every fleet by its name and `-at-N`, with the
    /// targets and whether they hold.
    pub fn json(&self) -> Value {
        let mut flat = Map::new();
        for (name, text) in &self.about {
            flat.insert((*name).to_owned(), json!(text));
        }
        if let Some((n, largest)) = self.sizes.last_key_value() {
            flat.insert("policies".to_owned(), json!(n));
            for figure in FIGURES {
                let Some(found) = largest.get(figure.name) else { continue };
                flat.insert(figure.name.to_owned(), json!(found));
                if let Some(most) = figure.most.filter(|_| *n >= ASKED) {
                    flat.insert(format!("{}-target", figure.name), json!(most));
                    flat.insert(format!("{}-holds", figure.name), json!(*found <= most));
                }
            }
        }
        for (n, measured) in &self.sizes {
            flat.extend(measured.iter().map(|(name, found)| (format!("{name}-at-{n}"), json!(found))));
        }
        Value::Object(flat)
    }

    /// The table for people, as Markdown.
    pub fn table(&self) -> String {
        let sizes: Vec<usize> = self.sizes.keys().copied().collect();
        let heads: Vec<String> = sizes.iter().map(|n| format!("{n}")).collect();
        let mut text = format!("| | | {} | at most with 10,000 | grows |\n", heads.join(" | "));
        text += &format!("|---|---|{}--:|---|\n", "--:|".repeat(sizes.len()));
        for figure in FIGURES {
            let found: Vec<Option<f64>> =
                self.sizes.values().map(|measured| measured.get(figure.name).copied()).collect();
            if found.iter().all(Option::is_none) {
                continue;
            }
            let cells: Vec<String> = found.iter().map(|f| f.map_or_else(String::new, number)).collect();
            let last = found.last().copied().flatten();
            let verdict = match (figure.most, last) {
                (Some(most), Some(last)) if last > most && sizes.last() >= Some(&ASKED) => {
                    format!("{}: **missed**", number(most))
                }
                (Some(most), _) => number(most),
                (None, _) => String::new(),
            };
            text += &format!(
                "| {} | {} | {} | {verdict} | {} |\n",
                figure.words,
                figure.unit,
                cells.join(" | "),
                self.growth(figure.name).unwrap_or_default()
            );
        }
        text
    }

    /// How a figure grows over the last two sizes, as the power of the number of policies: 1 is linear.
    fn growth(&self, name: &str) -> Option<String> {
        let mut last = self.sizes.iter().rev().map(|(n, m)| (*n as f64, m.get(name).copied()));
        let ((n, now), (less, then)) = (last.next()?, last.next()?);
        let (now, then) = (now?, then?);
        (now > 0.0 && then > 0.0).then(|| format!("n^{:.1}", (now / then).ln() / (n / less).ln()))
    }
}

fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        x if x < 0.1 => format!("{x:.3}"),
        x if x < 10.0 => format!("{x:.2}"),
        x if x < 100.0 => format!("{x:.1}"),
        _ => format!("{x:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::default();
        figures.add(10, BTreeMap::from([("memory", 12.0), ("cold-start", 0.01)]));
        figures.add(ASKED, BTreeMap::from([("memory", 14.0), ("cold-start", 3.0)]));
        figures
    }

    #[test]
    fn the_named_figures_are_those_of_the_largest_fleet_and_say_whether_they_hold() {
        let json = figures().json();
        assert_eq!(json["policies"], ASKED);
        assert_eq!((&json["cold-start"], &json["cold-start-at-10"]), (&json!(3.0), &json!(0.01)));
        assert_eq!((&json["cold-start-target"], &json["cold-start-holds"]), (&json!(2.0), &json!(false)));
        assert!(json.as_object().unwrap().values().all(|v| !v.is_object() && !v.is_array()), "it is flat");
    }

    #[test]
    fn a_smaller_fleet_holds_no_target() {
        let mut small = Figures::default();
        small.add(1000, BTreeMap::from([("cold-start", 3.0)]));
        assert_eq!(small.json().get("cold-start-holds"), None);
        assert!(!small.table().contains("missed"));
    }

    #[test]
    fn memory_for_each_policy_is_what_more_policies_need_more() {
        let json = figures().json();
        assert_eq!(json["memory-per-policy"], (2.0 * 1_048_576.0 / 9990.0_f64).round());
    }

    #[test]
    fn growth_is_a_power_of_the_number_of_policies() {
        let figures = figures();
        assert_eq!(figures.growth("cold-start").as_deref(), Some("n^0.8"));
        assert!(figures.table().contains("**missed**"));
    }
}
