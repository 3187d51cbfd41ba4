//! What an older version has written is understood, and what a newer one may add does no harm: records, what sites tell
//! each other, what guard and operator say, what a guard keeps beside the data. `tests/older` holds the texts, one a line,
//! as the version that its page names has written them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests are tests, too.

use bascule_core::facts::SiteFacts;
use bascule_core::guard::action::Memory;
use bascule_core::guard::contact::Kept;
use bascule_core::guard::wire::{FromGuard, FromOperator};
use bascule_core::observation::Marks;
use bascule_core::record::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const RECORDS: &str = include_str!("older/record.jsonl");
const FACTS: &str = include_str!("older/facts.jsonl");
const GUARD: &str = include_str!("older/from_guard.jsonl");
const OPERATOR: &str = include_str!("older/from_operator.jsonl");
const CONTACT: &str = include_str!("older/contact.jsonl");
const MEMORY: &str = include_str!("older/memory.jsonl");
const MARKS: &str = include_str!("older/marks.jsonl");

fn values(text: &str) -> impl Iterator<Item = Value> + '_ {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// Whether every field of `old` is in `new`, with what it had.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(name, value)| new.get(name).is_some_and(|new| holds(new, value)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| holds(new, old))
        }
        _ => new == old,
    }
}

fn is_read_whole<T: Serialize + DeserializeOwned>(text: &str) {
    for old in values(text) {
        let read: T = serde_json::from_value(old.clone()).unwrap_or_else(|e| panic!("{e}: {old}"));
        let new = serde_json::to_value(&read).unwrap();
        assert!(holds(&new, &old), "read was\n{new}\nof\n{old}");
    }
}

#[test]
fn what_an_older_version_wrote_is_read_and_nothing_of_it_is_lost() {
    is_read_whole::<Record>(RECORDS);
    is_read_whole::<SiteFacts>(FACTS);
    is_read_whole::<FromGuard>(GUARD);
    is_read_whole::<FromOperator>(OPERATOR);
    is_read_whole::<Kept>(CONTACT);
    is_read_whole::<Memory>(MEMORY);
    is_read_whole::<Marks>(MARKS);
}

#[test]
fn a_record_of_an_older_version_is_understood_well_enough_to_be_changed() {
    for old in values(RECORDS) {
        let record: Record = serde_json::from_value(old).unwrap();
        assert!(record.is_understood(), "{} of schema {}", record.phase, record.schema);
    }
}

/// The value with a field that nobody knows yet in each of these objects, where they are.
fn with_news(mut value: Value, objects: &[&str]) -> Value {
    for pointer in objects {
        if let Some(Value::Object(fields)) = value.pointer_mut(pointer) {
            fields.insert("antigravity".to_owned(), serde_json::json!({ "on": true }));
        }
    }
    value
}

fn is_read_with_news<T: Serialize + DeserializeOwned>(text: &str, objects: &[&str]) {
    for old in values(text) {
        let newer = with_news(old.clone(), objects);
        assert_ne!(newer, old, "none of {objects:?} is in {old}");
        let read: T = serde_json::from_value(newer).unwrap_or_else(|e| panic!("{e}: {old}"));
        assert!(holds(&serde_json::to_value(&read).unwrap(), &old));
    }
}

#[test]
fn fields_of_a_newer_version_keep_nobody_from_reading_the_others() {
    is_read_with_news::<Record>(
        RECORDS,
        &["", "/promise", "/transition", "/history/0", "/moves/0", "/entered"],
    );
    is_read_with_news::<SiteFacts>(FACTS, &["", "/blockers/0", "/marks"]);
    is_read_with_news::<FromGuard>(
        GUARD,
        &["", "/report", "/report/state", "/report/disk", "/report/positions"],
    );
    is_read_with_news::<FromOperator>(
        OPERATOR,
        &["", "/instruction", "/instruction/role", "/instruction/timing"],
    );
    is_read_with_news::<Kept>(CONTACT, &["", "/evidence"]);
    is_read_with_news::<Memory>(MEMORY, &["", "/highWater"]);
    is_read_with_news::<Marks>(MARKS, &[""]);
}

#[test]
fn fields_of_a_newer_record_are_kept_by_whoever_changes_it() {
    for old in values(RECORDS) {
        let newer = with_news(old, &[""]);
        let read: Record = serde_json::from_value(newer.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap()["antigravity"], newer["antigravity"]);
    }
}

/// The first value that has something at `pointer`, with a word there that nobody knows.
fn with_a_new_word(text: &str, pointer: &str) -> Value {
    let mut value = values(text).find(|v| v.pointer(pointer).is_some()).unwrap();
    *value.pointer_mut(pointer).unwrap() = "Levitate".into();
    value
}

#[test]
fn a_word_of_a_newer_version_is_not_taken_for_a_known_one() {
    fn is_refused<T: DeserializeOwned>(text: &str, pointer: &str) {
        let value = with_a_new_word(text, pointer);
        assert!(serde_json::from_value::<T>(value.clone()).is_err(), "{pointer} of {value}");
    }
    is_refused::<Record>(RECORDS, "/transition/cause");
    is_refused::<Record>(RECORDS, "/promise/fenceClass");
    is_refused::<FromGuard>(GUARD, "/kind");
    is_refused::<FromGuard>(GUARD, "/report/state/is");
    is_refused::<FromOperator>(OPERATOR, "/instruction/role/is");
    is_refused::<SiteFacts>(FACTS, "/blockers/0/answer");
    // A phase alone may be new: the record around it stands, and nobody changes it.
    let record: Record = serde_json::from_value(with_a_new_word(RECORDS, "/phase")).unwrap();
    assert!(!record.is_understood());
}
