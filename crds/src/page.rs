//! A page for people about each kind: every field with the values that it takes, and what is refused in which words.
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "a page is put together once, by a generator: what is easy to read is fast enough"
)]

use serde_json::Value;

use crate::{API_VERSION, Definition};

const HEAD: &str = "<!-- Generated from the types in crds/src by `make crds`; do not edit. -->";
const REFUSED: &str = "Refused by the API server otherwise, with these words:\n\n";
/// The value of a field that no version takes yet.
const NONE: &str = "none";

impl Definition {
    /// Name of the page in `docs/reference/`.
    pub fn page_file(&self) -> String {
        format!("{}.md", self.names()["singular"].as_str().unwrap_or_default())
    }

    /// The text of the page.
    pub fn page(&self) -> String {
        let (names, schema) = (self.names(), self.schema());
        let name = |key: &str| names[key].as_str().unwrap_or_default();
        let kind = name("kind");
        let short = names["shortNames"][0].as_str().map(|short| format!(" (`{short}`)")).unwrap_or_default();
        let mut text = format!("{HEAD}\n# {kind}\n\n");
        text += &described(schema);
        text += &format!(
            "`apiVersion: {API_VERSION}`, in a namespace; `kubectl get {}`{short}. The same words are in `kubectl explain {}.spec`.\n\n{}\n\n",
            name("plural"),
            name("singular"),
            besides(kind)
        );
        text += &refused(&rules(schema));
        section(&mut text, "spec", &schema["properties"]["spec"], true);
        section(&mut text, "status", &schema["properties"]["status"], false);
        format!("{}\n", text.trim_end())
    }

    fn names(&self) -> &Value {
        &self.json["spec"]["names"]
    }
}

/// What else there is to read about a kind.
fn besides(kind: &str) -> &'static str {
    match kind {
        "FailoverPolicy" => {
            "Examples: [two sites](../../examples/shop.yaml), [three sites](../../examples/three-sites.yaml). What each state means:\n[conditions](../conditions.md). `bascule check FILE` reads a policy as the operator will, and `bascule init` writes one."
        }
        "Move" => {
            "Examples: [a switchover](../../examples/move.yaml), [a failover](../../examples/move-failover.yaml). `bascule plan FILE` says what it would\ncause; `bascule switchover`, `failover`, `hold`, `resume` and `abort` write one."
        }
        "PolicySource" => {
            "Example: [a source](../../examples/source.yaml). It is applied in each site, and lies outside of the folder that it names."
        }
        _ => "",
    }
}

/// An object with its fields, and after it those within it. `needs`: people write it, and some of it must be there.
fn section(text: &mut String, path: &str, schema: &Value, needs: bool) {
    *text += &format!("## {path}\n\n{}| Field | Value | What it is |\n|---|---|---|\n", described(schema));
    let needed: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (mut within, mut rules_of_all) = (Vec::new(), rules(schema));
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let need = if needs && needed.contains(&name.as_str()) { ", needed" } else { "" };
        let what = paragraphs(field).join("<br>");
        *text += &format!("| `{name}`{need} | {} | {} |\n", value(&path, field), what.replace('|', "\\|"));
        let (mut path, mut field) = (path, field);
        while field["type"] == "array" {
            rules_of_all.extend(rules(field));
            path += "[]";
            field = &field["items"];
        }
        if field["properties"].is_object() {
            within.push((path, field));
        }
    }
    text.push('\n');
    *text += &refused(&rules_of_all);
    for (path, field) in within {
        section(text, &path, field, needs);
    }
}

fn refused(rules: &[String]) -> String {
    if rules.is_empty() {
        return String::new();
    }
    let lines: String = rules.iter().map(|rule| format!("- {}\n", outside_of_code(rule))).collect();
    format!("{REFUSED}{lines}\n")
}

/// Which values a field takes.
fn value(path: &str, schema: &Value) -> String {
    match schema["type"].as_str().unwrap_or_default() {
        "array" => {
            let each = value(&format!("{path}[]"), &schema["items"]);
            if each == NONE {
                return each;
            }
            let most = schema["maxItems"].as_u64().map(|n| format!(", at most {n}")).unwrap_or_default();
            format!("list{most}: {each}")
        }
        "object" if schema["properties"].is_object() => format!("[fields](#{})", anchor(path)),
        "object" if schema["additionalProperties"].is_object() => "texts by name".to_owned(),
        "object" => NONE.to_owned(),
        _ => simple(schema),
    }
}

/// Which values a field without fields takes.
fn simple(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> =
            values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    let expected: Vec<String> = rules(schema)
        .iter()
        .map(|rule| rule.split_once("expected ").map_or(rule.as_str(), |(_, expected)| expected))
        .map(|expected| outside_of_code(expected).replace('|', "\\|"))
        .collect();
    if !expected.is_empty() {
        return expected.join("; ");
    }
    let bound = |key: &str| schema[key].as_f64();
    match (schema["type"].as_str().unwrap_or_default(), bound("minimum"), bound("maximum")) {
        ("boolean", ..) => "`true` or `false`".to_owned(),
        // The largest number that every reader of JSON has is no bound for people.
        ("integer", Some(least), Some(most)) if most < 1e9 => format!("{least:.0} to {most:.0}"),
        ("integer", Some(least), _) => format!("a number, at least {least:.0}"),
        ("integer", ..) => "a number".to_owned(),
        _ if schema["format"] == "date-time" => "a time such as `2026-11-28T12:00:00Z`".to_owned(),
        _ => match schema["maxLength"].as_u64() {
            Some(most) => format!("a text of at most {most} characters"),
            None => "a text".to_owned(),
        },
    }
}

/// The words of everything that is refused.
fn rules(schema: &Value) -> Vec<String> {
    schema["x-kubernetes-validations"].as_array().into_iter().flatten().map(said).collect()
}

/// What a rule says: what it takes from the object is an ellipsis, and a list is one.
fn said(rule: &Value) -> String {
    let Some(expression) = rule["messageExpression"].as_str() else {
        return rule["message"].as_str().unwrap_or_default().to_owned();
    };
    let (mut text, mut rest) = (String::new(), expression);
    while !rest.is_empty() {
        let (code, literal) = rest.split_at(rest.find(['"', '\'']).unwrap_or(rest.len()));
        if code.contains("self") {
            text.push('…');
        }
        let quoted = literal.chars().next().and_then(|quote| literal.strip_prefix(quote)?.split_once(quote));
        let (words, after) = quoted.unwrap_or_default();
        text += words;
        rest = after;
    }
    let mut parts = text.split('…').peekable();
    let mut short = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() || !part.chars().all(|c| ", ".contains(c)) {
            short.push('…');
            short += part;
        }
    }
    short
}

/// What is said of a schema, its paragraphs apart.
fn described(schema: &Value) -> String {
    paragraphs(schema).iter().map(|paragraph| format!("{paragraph}\n\n")).collect()
}

fn paragraphs(schema: &Value) -> Vec<String> {
    let text = schema["description"].as_str().unwrap_or_default();
    let lines = |paragraph: &str| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    text.split("\n\n").filter(|p| !p.is_empty()).map(|p| outside_of_code(&lines(p))).collect()
}

/// What a browser would take for a tag is none, but within code it is left as it is.
fn outside_of_code(text: &str) -> String {
    let part = |(number, part): (usize, &str)| {
        if number % 2 == 0 { part.replace('<', "&lt;") } else { part.to_owned() }
    };
    text.split('`').enumerate().map(part).collect::<Vec<_>>().join("`")
}

/// The anchor of a section, as it is made of its title.
fn anchor(path: &str) -> String {
    path.to_lowercase().chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_said_without_what_it_takes_from_the_object() {
        let of = |expression: &str| said(&json!({ "rule": "x", "messageExpression": expression }));
        assert_eq!(of(r#""found '" + self + "', expected a size""#), "found '…', expected a size");
        let list = r"'one of (' + self.sites[0].name + ', ' + self.sites[1].name + (size(self.sites) > 2 ? ', ' + self.sites[2].name : '') + '); and no other'";
        assert_eq!(of(list), "one of (…); and no other");
        assert_eq!(of("self.name"), "…");
        assert_eq!(said(&json!({ "rule": "x", "message": "it is wrong" })), "it is wrong");
    }

    #[test]
    fn a_field_shows_the_values_that_it_takes() {
        let of = |schema: Value| value("spec.a", &schema);
        assert_eq!(of(json!({ "type": "integer", "minimum": 1.0, "maximum": 65535.0 })), "1 to 65535");
        assert_eq!(
            of(json!({ "type": "integer", "minimum": 0.0, "maximum": 9_007_199_254_740_991.0 })),
            "a number, at least 0"
        );
        assert_eq!(of(json!({ "type": "string", "enum": ["Guard", "Gate"] })), "`Guard`, `Gate`");
        let names = json!({ "type": "string", "maxLength": 63, "x-kubernetes-validations": [
            { "rule": "x", "messageExpression": "'found ' + self + ', expected a<b | `a<b`'" },
        ] });
        assert_eq!(
            of(json!({ "type": "array", "maxItems": 5, "items": names })),
            "list, at most 5: a&lt;b \\| `a<b`"
        );
        let objects = json!({ "type": "array", "items": { "type": "object", "properties": {} } });
        assert_eq!(of(objects), "list: [fields](#speca)");
        let none = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        assert_eq!(of(json!({ "type": "array", "maxItems": 5, "items": none })), "none");
    }
}
