//! The identity of a spec and of a Move: a hash over what they say, not over how it was written.

use std::fmt::Write as _;

use bascule_core::moves::MoveHash;
use bascule_crds::{FailoverPolicySpec, MoveSpec};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The hash of a policy's spec: 64 hexadecimal digits.
///
/// Defaults are part of it, written out or not; order of keys, comments, quotes and anchors are not.
/// The same text gives the same hash by git and by `kubectl apply`. The order of lists counts: the
/// order of sites is a preference.
pub fn spec_hash(spec: &FailoverPolicySpec) -> String {
    digest(spec)
}

/// The identity of a Move: its namespace, its name and everything it says. A copy under another name
/// is another command.
pub fn move_hash(namespace: &str, name: &str, spec: &MoveSpec) -> MoveHash {
    MoveHash(digest(&json!({ "namespace": namespace, "name": name, "spec": spec })))
}

fn digest(value: &impl Serialize) -> String {
    // The types of the API always become JSON: no map has keys other than text.
    let value = serde_json::to_value(value).unwrap_or(Value::Null);
    let mut text = String::new();
    write_canonical(&value, &mut text);
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// JSON without spaces and with sorted keys, whatever order the map type of the day keeps.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (i, value) in list.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(value, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: Value) -> FailoverPolicySpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_default_written_out_hashes_as_a_default_left_out() {
        let short = spec(json!({ "sites": [{ "name": "a" }, { "name": "b" }], "initialSite": "a" }));
        let long = spec(json!({
            "suspend": false, "initialSite": "a", "sites": [{ "name": "a" }, { "name": "b" }], "databases": [],
            "failover": { "cooldown": "1h", "promote": { "after": "Never" } }
        }));
        assert_eq!(spec_hash(&short), spec_hash(&long));
        assert_eq!(spec_hash(&short).len(), 64);
    }

    #[test]
    fn every_word_of_a_spec_and_the_order_of_sites_count() {
        let a = spec(json!({ "sites": [{ "name": "a" }, { "name": "b" }], "initialSite": "a" }));
        let b = spec(json!({ "sites": [{ "name": "b" }, { "name": "a" }], "initialSite": "a" }));
        let c = spec(json!({ "sites": [{ "name": "a" }, { "name": "b" }], "initialSite": "b" }));
        assert_ne!(spec_hash(&a), spec_hash(&b));
        assert_ne!(spec_hash(&a), spec_hash(&c));
    }

    #[test]
    fn keys_are_sorted_and_text_is_quoted() {
        let mut text = String::new();
        write_canonical(&json!({ "b": [1, null, true], "a": "x\"\n" }), &mut text);
        assert_eq!(text, r#"{"a":"x\"\n","b":[1,null,true]}"#);
    }

    #[test]
    fn a_move_is_known_by_its_name_and_by_every_word_of_it() {
        let spec: MoveSpec = serde_json::from_value(
            json!({ "policyRef": { "name": "shop" }, "type": "Abort", "epoch": 3, "reason": "changed our minds" }),
        )
        .unwrap();
        let mut other = spec.clone();
        other.epoch = Some(4);
        let hash = move_hash("shop", "m", &spec);
        assert_eq!(hash, move_hash("shop", "m", &spec));
        assert_ne!(hash, move_hash("shop", "m2", &spec));
        assert_ne!(hash, move_hash("other", "m", &spec));
        assert_ne!(hash, move_hash("shop", "m", &other));
    }
}
