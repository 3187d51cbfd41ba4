//! Whether an object has the shape that the generated definitions ask for: the structural half of what
//! the API server checks, from the same schema, with everything wrong named at once. Unknown fields,
//! which the API server drops without a word, are refused.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Findings, yaml::field};

/// Notes everything about `value` that `schema` does not allow. `path` is the field that holds it.
pub(super) fn check(path: &str, value: &Value, schema: &Value, findings: &mut Findings) {
    match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(object)) => check_object(path, object, schema, findings),
        (Some("array"), Value::Array(list)) => check_list(path, list, schema, findings),
        (Some("string"), Value::String(text)) => check_text(path, text, schema, findings),
        (Some("integer"), Value::Number(number)) => check_integer(path, number, schema, findings),
        (Some("boolean"), Value::Bool(_)) => {}
        (Some(expected), found) => findings.add(path, mismatch(expected, found)),
        (None, _) => findings.add(path, "the definition says nothing about this field"),
    }
}

/// A type of the schema, for a person who writes YAML.
fn words(kind: &str) -> &str {
    match kind {
        "object" => "fields (key: value)",
        "array" => "a list",
        "string" => "text",
        "integer" => "a whole number",
        "boolean" => "true or false",
        other => other,
    }
}

fn mismatch(expected: &str, found: &Value) -> String {
    let shown = match found {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the truth value {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text '{text}'"),
        Value::Array(_) => words("array").to_owned(),
        Value::Object(_) => words("object").to_owned(),
    };
    let way_out = match (expected, found) {
        ("string", Value::Bool(_)) => format!("; quote it: \"{found}\""),
        ("string", Value::Number(_)) => {
            format!(
                "; quote it: \"{found}\", or give it a unit where the field takes one: {found}s, {found}Mi"
            )
        }
        // Text that cannot be meant so was not quoted by mistake.
        ("integer", Value::String(text)) if text.parse::<i64>().is_ok() => "; remove the quotes".to_owned(),
        ("boolean", Value::String(text)) if matches!(text.as_str(), "true" | "false") => {
            "; remove the quotes".to_owned()
        }
        _ => String::new(),
    };
    format!("found {shown}, expected {}{way_out}", words(expected))
}

fn check_object(path: &str, object: &Map<String, Value>, schema: &Value, findings: &mut Findings) {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    if let Some(most) = schema["maxProperties"].as_u64()
        && object.len() as u64 > most
    {
        findings.add(path, format!("found {} entries, expected at most {most}", object.len()));
    }
    let known = schema["properties"].as_object();
    for (key, value) in object {
        let at = field(path, key);
        match (known.and_then(|known| known.get(key)), &schema["additionalProperties"]) {
            (Some(inner), _) => check(&at, value, inner, findings),
            (None, Value::Object(_)) => check(&at, value, &schema["additionalProperties"], findings),
            (None, _) => {
                let names: Vec<_> = known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                let expected = names.join(", ");
                findings.add(at, format!("unknown field '{key}', expected one of: {expected}"));
            }
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            let expected = schema["properties"][name]["type"].as_str().map_or("a value", words);
            findings.add(field(path, name), format!("is missing, expected {expected}"));
        }
    }
}

fn check_list(path: &str, list: &[Value], schema: &Value, findings: &mut Findings) {
    let found = list.len() as u64;
    let least = schema["minItems"].as_u64().unwrap_or(0);
    let most = schema["maxItems"].as_u64().unwrap_or(u64::MAX);
    if found < least || found > most {
        let expected = if found < least { format!("at least {least}") } else { format!("at most {most}") };
        findings.add(path, format!("found {found} entries, expected {expected}"));
        return;
    }
    for (i, item) in list.iter().enumerate() {
        check(&format!("{path}[{i}]"), item, &schema["items"], findings);
    }
    let keys: Vec<_> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let identity = |item: &Value| match schema["x-kubernetes-list-type"].as_str() {
        Some("map") => Some(keys.iter().map(|key| item[key].to_string()).collect::<Vec<_>>().join(", ")),
        Some("set") => Some(item.to_string()),
        _ => None,
    };
    let mut seen = BTreeSet::new();
    for (i, item) in list.iter().enumerate() {
        if let Some(identity) = identity(item)
            && !seen.insert(identity.clone())
        {
            findings.add(
                format!("{path}[{i}]"),
                format!("Duplicate value: {identity} stands earlier in the list: remove one of the two"),
            );
        }
    }
}

fn check_text(path: &str, text: &str, schema: &Value, findings: &mut Findings) {
    let length = text.chars().count() as u64;
    if let Some(most) = schema["maxLength"].as_u64()
        && length > most
    {
        findings.add(path, format!("found a text of {length} characters, expected at most {most}"));
    }
    if let Some(least) = schema["minLength"].as_u64()
        && length < least
    {
        findings.add(path, format!("found a text of {length} characters, expected at least {least}"));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.iter().any(|value| value == text)
    {
        let supported: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        findings
            .add(path, format!("Unsupported value: \"{text}\", expected one of: {}", supported.join(", ")));
    }
    if schema["format"] == "date-time" && !is_time(text) {
        findings
            .add(path, format!("found '{text}', expected a time with its zone such as 2026-11-28T12:00:00Z"));
    }
}

/// RFC 3339, as in the schema's pattern: date and time with a zone, and nothing else that our own
/// reader of times would take.
fn is_time(text: &str) -> bool {
    let zone =
        text.ends_with('Z') || text.len() > 6 && matches!(text.as_bytes()[text.len() - 6], b'+' | b'-');
    let characters =
        text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | ':' | '.' | 'T' | 'Z'));
    text.len() >= 20 && text.as_bytes()[10] == b'T' && zone && characters && text.parse::<Timestamp>().is_ok()
}

fn check_integer(path: &str, number: &serde_json::Number, schema: &Value, findings: &mut Findings) {
    let Some(found) = number.as_i64() else {
        findings.add(path, format!("found the number {number}, expected a whole number"));
        return;
    };
    let bound = |key: &str| schema[key].as_i64().or_else(|| schema[key].as_f64().map(|bound| bound as i64));
    if let Some(least) = bound("minimum")
        && found < least
    {
        findings.add(path, format!("found {found}, expected at least {least}"));
    }
    if let Some(most) = bound("maximum")
        && found > most
    {
        findings.add(path, format!("found {found}, expected at most {most}"));
    }
}

#[cfg(test)]
mod tests {
    use super::is_time;

    #[test]
    fn a_time_has_a_date_a_time_of_day_and_a_zone() {
        for (text, expected) in [
            ("2026-11-28T12:00:00Z", true),
            ("2026-11-28T12:00:00.5+01:00", true),
            ("2026-11-28T12:00:00", false),
            ("2026-11-28 12:00:00Z", false),
            ("2026-11-28", false),
            ("2026-13-28T12:00:00Z", false),
            ("2026-11-28T12:00:00+01[Europe/Paris]", false),
            ("tomorrow", false),
            ("", false),
        ] {
            assert_eq!(is_time(text), expected, "{text}");
        }
    }
}
