//! What is stored in these tests.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use bascule_core::name::{PolicyKey, SiteName};
use serde_json::{Value, json};

pub(crate) fn site(name: &str) -> SiteName {
    SiteName::try_from(name).unwrap()
}

pub(crate) fn shop() -> PolicyKey {
    PolicyKey::new("shop", "web").unwrap()
}

/// A record with paris active.
pub(crate) fn record(serial: u64, word: &str) -> Vec<u8> {
    bytes(&record_of("paris", 1, serial, word))
}

pub(crate) fn record_of(active: &str, epoch: u64, serial: u64, word: &str) -> Value {
    json!({
        "schema": 1, "generation": 0, "epoch": epoch, "serial": serial, "active": active, "phase": "Steady",
        "promise": { "fences": "never", "lease": 2000, "fenceClass": "Guard", "profile": "metro" },
        "settled": true,
        "entered": { "at": "2026-11-28T03:02:00Z", "by": "paris" },
        "ofALaterVersion": { "word": word, "list": [1, null, "18446744073709551615"] },
    })
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// As a value: an API server writes the fields in its own order.
pub(crate) fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}
