//! Which fields of an object change. Entries of a list are the same when they have the same name or site, as in the
//! definitions.

use serde_json::{Map, Value};

use super::told::FieldChange;

/// The keys by which entries of lists are told apart.
const KEYS: [&str; 2] = ["name", "site"];

/// Every field that is not the same, in order.
pub fn changes(path: &str, old: &Value, new: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare(path, old, new, &mut found);
    found
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<FieldChange>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => objects(path, a, b, found),
        (Value::Array(a), Value::Array(b)) => match (keyed(a), keyed(b)) {
            (Some(a), Some(b)) => {
                entries(path, &a, &b, found);
                let order = |of: &[(String, &Value)], other: &[(String, &Value)]| -> Vec<String> {
                    let both = of.iter().filter(|(k, _)| other.iter().any(|(o, _)| o == k));
                    both.map(|(k, _)| k.clone()).collect()
                };
                let (was, is) = (order(&a, &b), order(&b, &a));
                if was != is {
                    // The order of sites is a preference.
                    found.push(change(&format!("{path} (order)"), &Value::from(was), &Value::from(is)));
                }
            }
            _ => found.push(change(path, old, new)),
        },
        _ => found.push(change(path, old, new)),
    }
}

fn objects(path: &str, a: &Map<String, Value>, b: &Map<String, Value>, found: &mut Vec<FieldChange>) {
    let mut keys: Vec<&String> = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))).collect();
    keys.sort();
    for key in keys {
        let at = if key.contains(['.', '/']) { format!("{path}[{key}]") } else { format!("{path}.{key}") };
        let value = |of: &Map<String, Value>| of.get(key).cloned().unwrap_or_default();
        compare(&at, &value(a), &value(b), found);
    }
}

fn entries(path: &str, a: &[(String, &Value)], b: &[(String, &Value)], found: &mut Vec<FieldChange>) {
    let get = |of: &[(String, &Value)], key: &str| {
        of.iter().find(|(k, _)| k == key).map(|(_, v)| (*v).clone()).unwrap_or_default()
    };
    let new = b.iter().filter(|(key, _)| !a.iter().any(|(k, _)| k == key));
    for (key, _) in a.iter().chain(new) {
        compare(&format!("{path}[{key}]"), &get(a, key), &get(b, key), found);
    }
}

/// The entries by their names; `None`: they have none, or two share one.
fn keyed(list: &[Value]) -> Option<Vec<(String, &Value)>> {
    let mut all: Vec<(String, &Value)> = Vec::new();
    for entry in list {
        let name = KEYS.iter().find_map(|key| entry.get(key)?.as_str())?;
        if all.iter().any(|(known, _)| known == name) {
            return None;
        }
        all.push((name.to_owned(), entry));
    }
    Some(all)
}

fn change(field: &str, old: &Value, new: &Value) -> FieldChange {
    FieldChange { field: field.to_owned(), old: old.clone(), new: new.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(old: &Value, new: &Value) -> Vec<String> {
        changes("spec", old, new).iter().map(|c| format!("{}: {} -> {}", c.field, c.old, c.new)).collect()
    }

    #[test]
    fn entries_are_told_apart_by_their_names_and_not_by_their_places() {
        let old = json!({ "workloads": [{ "name": "a", "replicas": 1 }, { "name": "b", "replicas": 2 }] });
        let new = json!({ "workloads": [{ "name": "b", "replicas": 3 }, { "name": "c", "replicas": 4 }] });
        assert_eq!(
            told(&old, &new),
            [
                r#"spec.workloads[a]: {"name":"a","replicas":1} -> null"#,
                "spec.workloads[b].replicas: 2 -> 3",
                r#"spec.workloads[c]: null -> {"name":"c","replicas":4}"#,
            ]
        );
    }

    #[test]
    fn another_order_is_a_change_and_lists_of_plain_values_change_as_a_whole() {
        let old = json!({ "sites": [{ "name": "a" }, { "name": "b" }], "ips": ["1", "2"] });
        let new = json!({ "sites": [{ "name": "b" }, { "name": "a" }], "ips": ["1", "3"] });
        assert_eq!(
            told(&old, &new),
            [r#"spec.ips: ["1","2"] -> ["1","3"]"#, r#"spec.sites (order): ["a","b"] -> ["b","a"]"#]
        );
        assert!(told(&old, &old).is_empty());
    }

    #[test]
    fn a_key_with_dots_is_told_apart_from_a_path() {
        let old = json!({ "labels": { "example.org/tier": "a" } });
        let new = json!({ "labels": { "example.org/tier": "b" } });
        assert_eq!(told(&old, &new), [r#"spec.labels[example.org/tier]: "a" -> "b""#]);
    }
}
