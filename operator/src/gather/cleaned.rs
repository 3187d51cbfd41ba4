//! What of an object may leave the cluster: its shape and its names; of values that may be secret the fingerprints.

use std::fmt::Write as _;

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::fingerprint::Fingerprints;

/// Annotations with this prefix are Bascule's own, and no secrets.
const OURS: &str = "bascule.dev/";

/// The object without what may be secret.
pub fn cleaned(object: &DynamicObject, prints: &Fingerprints) -> Value {
    // An object that was read can be written.
    let mut value = serde_json::to_value(object).unwrap_or_default();
    let kind = object.types.as_ref().map(|t| t.kind.clone()).unwrap_or_default();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if value.get("kind").is_none() {
        value["kind"] = json!(kind);
    }
    // A list says its kind once, so what holds data is told by having it.
    for member in ["data", "stringData", "binaryData"] {
        if let Some(data) = value.get_mut(member).and_then(Value::as_object_mut) {
            for value in data.values_mut() {
                *value = print(value, prints);
            }
        }
    }
    walk(&mut value, prints);
    value
}

fn print(value: &Value, prints: &Fingerprints) -> Value {
    match value {
        Value::String(text) => json!(prints.of(text.as_bytes())),
        other => json!(prints.of(other.to_string().as_bytes())),
    }
}

/// Everything below, by the names under which Kubernetes keeps what people put in.
fn walk(value: &mut Value, prints: &Fingerprints) {
    match value {
        Value::Object(all) => {
            environment(all, prints);
            for (name, below) in all.iter_mut() {
                match name.as_str() {
                    "annotations" => annotations(below, prints),
                    "command" | "args" => {
                        below.as_array_mut().into_iter().flatten().for_each(|w| word(w, prints));
                    }
                    "httpHeaders" => *below = print(below, prints),
                    _ => walk(below, prints),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|v| walk(v, prints)),
        Value::String(text) => {
            if let Some(clean) = without_credentials(text, prints) {
                *text = clean;
            }
        }
        _ => {}
    }
}

fn environment(object: &mut Map<String, Value>, prints: &Fingerprints) {
    let Some(all) = object.get_mut("env").and_then(Value::as_array_mut) else { return };
    for entry in all {
        if let Some(value) = entry.get_mut("value") {
            *value = print(value, prints);
        }
    }
}

fn annotations(all: &mut Value, prints: &Fingerprints) {
    for (name, value) in all.as_object_mut().into_iter().flatten() {
        if !name.starts_with(OURS) {
            *value = print(value, prints);
        }
    }
}

/// A word of a command line: a program or an option stays, what it is given does not.
fn word(word: &mut Value, prints: &Fingerprints) {
    let Some(text) = word.as_str() else { return };
    let is_plain = |t: &str| t.len() <= 64 && t.chars().all(|c| c.is_ascii_lowercase() || "-_/.".contains(c));
    let clean = match text.split_once('=') {
        Some((option, value)) if option.starts_with('-') && is_plain(option) => {
            format!("{option}={}", prints.of(value.as_bytes()))
        }
        None if is_plain(text) && (text.starts_with('-') || PROGRAMS.contains(&last(text))) => return,
        _ => prints.of(text.as_bytes()),
    };
    *word = json!(clean);
}

/// Words of command lines that say whether a guard runs a server.
const PROGRAMS: [&str; 6] = ["bascule", "guard", "postgres", "operator", "sh", "bash"];

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Every `scheme://user:password@host` without user and password; `None`: there is none.
fn without_credentials(text: &str, prints: &Fingerprints) -> Option<String> {
    let mut clean = String::new();
    let mut rest = text;
    let mut changed = false;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || c == '"').unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((user, host)) => {
                changed = true;
                // A String takes every letter.
                let _ = write!(clean, "[{}]@{host}", prints.of(user.as_bytes()));
            }
            None => clean.push_str(authority),
        }
        rest = tail;
    }
    clean.push_str(rest);
    changed.then_some(clean)
}
