//! The grammars of the texts in the API: durations, sizes, names, addresses.
//!
//! Each is written once, as a bound or a kind with two faces: `rule()`, the CEL rule that goes into
//! the generated definitions and that the API server enforces, and `parse()`, which the operator
//! uses for every object however it arrived. Both refuse with the same words.

mod git;
mod names;
mod net;

use std::{fmt, time::Duration};

use kube::core::{Message, Rule};
use schemars::{Schema, SchemaGenerator, json_schema};

pub use self::{
    git::{commit, folder, ref_name, url},
    names::{annotation_key, data_key, label, language, object_name, said, variable},
    net::{fqdn, host, ip, media_type, socket, url_path},
};

/// Why a text was refused: what was found and what was expected. Says nothing about where; the
/// caller knows the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The text as written.
    pub found: String,
    /// What would have been accepted, with an example.
    pub expected: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found '{}', expected {}", self.found, self.expected)
    }
}

impl std::error::Error for Refusal {}

fn refusal(found: &str, expected: &str) -> Refusal {
    Refusal { found: found.to_owned(), expected: expected.to_owned() }
}

/// A CEL rule that refuses with the same words as [`Refusal`].
fn refusing(condition: String, expected: &str) -> Rule {
    Rule {
        rule: condition,
        message: Some(Message::Expression(format!("\"found '\" + self + \"', expected {expected}\""))),
        ..Rule::default()
    }
}

/// A length of time as people write it, or `Never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// This long.
    For(Duration),
    /// Not by itself: a person decides.
    Never,
}

/// The durations that one field accepts.
///
/// Grammar: hours, minutes, seconds and milliseconds in this order, each at most once, whole
/// numbers: `10s`, `30m`, `1h30m`, `250ms`. Bounds are inclusive.
#[derive(Clone, Copy, Debug)]
pub struct DurationBounds {
    shortest: &'static str,
    longest: &'static str,
    never: bool,
}

/// Longest text of a duration.
const DURATION_LENGTH: usize = 24;
const DURATION_PATTERN: &str = "^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?$";

impl DurationBounds {
    /// Accepts durations from `shortest` to `longest`.
    pub const fn between(shortest: &'static str, longest: &'static str) -> Self {
        Self { shortest, longest, never: false }
    }

    /// Accepts `Never` too.
    pub const fn or_never(self) -> Self {
        Self { never: true, ..self }
    }

    fn expected(self) -> String {
        let Self { shortest, longest, never } = self;
        let never = if never { ", or Never" } else { "" };
        format!("a duration from {shortest} to {longest} such as 10s, 5m or 1h30m{never}")
    }

    /// What the API server checks.
    pub fn rule(self) -> Rule {
        let Self { shortest, longest, never } = self;
        let never = if never { "self == 'Never' || " } else { "" };
        refusing(
            format!(
                "{never}(self.matches('{DURATION_PATTERN}') && size(self) > 1 && duration(self) >= duration('{shortest}') && duration(self) <= duration('{longest}'))"
            ),
            &self.expected(),
        )
    }

    /// What the operator checks: the same.
    pub fn parse(self, text: &str) -> Result<Wait, Refusal> {
        if self.never && text == "Never" {
            return Ok(Wait::Never);
        }
        let refused = || refusal(text, &self.expected());
        let found = duration(text).ok_or_else(refused)?;
        let within = duration(self.shortest).is_some_and(|shortest| found >= shortest)
            && duration(self.longest).is_some_and(|longest| found <= longest);
        if within { Ok(Wait::For(found)) } else { Err(refused()) }
    }
}

/// The bounds of every duration in the API, by field.
pub mod bounds {
    use super::DurationBounds;

    /// `failover.serveReads.after`.
    pub const SERVE_READS_AFTER: DurationBounds = DurationBounds::between("0s", "24h").or_never();
    /// `failover.serveReads.returnAfter`.
    pub const RETURN_AFTER: DurationBounds = DurationBounds::between("0s", "24h");
    /// `failover.promote.after`.
    pub const PROMOTE_AFTER: DurationBounds = DurationBounds::between("0s", "168h").or_never();
    /// `failover.promote.maxDataLoss.time`.
    pub const DATA_LOSS_TIME: DurationBounds = DurationBounds::between("0s", "24h");
    /// `failover.databaseLost.offerFor`.
    pub const OFFER_FOR: DurationBounds = DurationBounds::between("0s", "1h");
    /// `failover.databaseLost.restartGrace`.
    pub const RESTART_GRACE: DurationBounds = DurationBounds::between("0s", "1h");
    /// `failover.cooldown`.
    pub const COOLDOWN: DurationBounds = DurationBounds::between("0s", "168h");
    /// `failover.switchoverDeadline`.
    pub const SWITCHOVER_DEADLINE: DurationBounds = DurationBounds::between("5s", "1h");
    /// `traffic[].dns.ttl`.
    pub const TTL: DurationBounds = DurationBounds::between("1s", "1h");
    /// `traffic[].httpRoute.refuseWrites.retryAfter`.
    pub const RETRY_AFTER: DurationBounds = DurationBounds::between("1s", "1h");
    /// `PolicySource` `interval`.
    pub const INTERVAL: DurationBounds = DurationBounds::between("1s", "24h");
    /// `PolicySource` `timeout`.
    pub const TIMEOUT: DurationBounds = DurationBounds::between("1s", "10m");
}

/// A duration by the grammar of [`DurationBounds`], without bounds.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, usize, u64); 4] =
        [("h", 5, 3_600_000), ("m", 5, 60_000), ("s", 6, 1_000), ("ms", 6, 1)];
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        let (_, most, milliseconds) = units.find(|(name, _, _)| *name == unit)?;
        if digits > *most {
            return None;
        }
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*milliseconds)?)?;
        rest = tail;
    }
    Some(Duration::from_millis(total))
}

/// A list of texts without order or repetition.
pub(crate) fn set_schema(items: &Schema, most: u32) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": most,
        "items": items,
        "x-kubernetes-list-type": "set"
    })
}

pub(crate) fn duration_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": DURATION_LENGTH })
}

/// An amount of bytes: a whole number, alone or with `Ki`, `Mi`, `Gi` or `Ti`.
pub mod bytes {
    use super::{Refusal, Schema, SchemaGenerator, json_schema, refusal, refusing};

    const EXPECTED: &str = "a size such as 0, 500Ki, 16Mi or 2Gi";

    /// The number of bytes that a text names.
    pub fn parse(text: &str) -> Result<u64, Refusal> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let shift = match unit {
            "" => Some(0),
            "Ki" => Some(10),
            "Mi" => Some(20),
            "Gi" => Some(30),
            "Ti" => Some(40),
            _ => None,
        };
        shift
            .filter(|_| (1..=6).contains(&digits) || (unit.is_empty() && (1..=15).contains(&digits)))
            .and_then(|shift| Some(number.parse::<u64>().ok()? << shift))
            .ok_or_else(|| refusal(text, EXPECTED))
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        let rule = refusing("self.matches('^([0-9]{1,15}|[0-9]{1,6}(Ki|Mi|Gi|Ti))$')".to_owned(), EXPECTED);
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 16, "x-kubernetes-validations": [rule] })
    }
}

/// Words for people: reasons and statements.
pub mod words {
    use super::{Schema, SchemaGenerator, json_schema};

    /// Longest text, in characters.
    pub const LONGEST: usize = 1024;

    /// Whether a text says anything at all.
    pub fn blank(text: &str) -> bool {
        text.trim().is_empty()
    }

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": LONGEST })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DurationBounds, Wait, bytes, duration, fqdn, host, label, object_name, socket};

    #[test]
    fn a_duration_is_whole_hours_minutes_seconds_and_milliseconds_in_this_order() {
        let table = [
            ("10s", Some(10_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("0s", Some(0)),
            ("5m250ms", Some(300_250)),
            ("", None),
            ("s", None),
            ("10", None),
            ("1.5h", None),
            ("1m1h", None),
            ("1s1s", None),
            ("-1s", None),
            ("1S", None),
            ("1 s", None),
            ("1d", None),
            ("9999999s", None),
            ("١s", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn bounds_are_inclusive_and_never_is_accepted_only_where_it_is_allowed() {
        let bounds = DurationBounds::between("1s", "1h");
        assert_eq!(bounds.parse("1s"), Ok(Wait::For(Duration::from_secs(1))));
        assert_eq!(bounds.parse("60m"), Ok(Wait::For(Duration::from_hours(1))));
        for text in ["999ms", "1h1ms", "Never"] {
            let refused = bounds.parse(text).unwrap_err().to_string();
            assert_eq!(
                refused,
                format!("found '{text}', expected a duration from 1s to 1h such as 10s, 5m or 1h30m")
            );
        }
        assert_eq!(bounds.or_never().parse("Never"), Ok(Wait::Never));
        assert!(bounds.or_never().parse("never").is_err());
    }

    #[test]
    fn sizes_names_and_addresses_are_accepted_or_refused_as_a_whole() {
        for (text, expected) in [
            ("0", Some(0)),
            ("16Mi", Some(16 << 20)),
            ("1000", Some(1000)),
            ("999999Ti", Some(999_999 << 40)),
        ] {
            assert_eq!(bytes::parse(text).ok(), expected, "{text}");
        }
        for text in ["", "Mi", "16MB", "16mi", "1.5Gi", "-1", "1234567Ki", "1e6"] {
            assert!(bytes::parse(text).is_err(), "{text}");
        }
        for text in ["paris", "a", "0", "a-b"] {
            assert!(label::check(text).is_ok(), "{text}");
        }
        for text in ["", "Paris", "-a", "a-", "a.b", "é"] {
            assert!(label::check(text).is_err(), "{text}");
        }
        assert!(object_name::check("a.b-c").is_ok());
        assert!(object_name::check("a..b").is_err());
        for (text, valid) in [
            ("www.shop.example.", true),
            ("www.shop.example", false),
            (".", false),
            ("a..", false),
            ("WWW.", false),
        ] {
            assert_eq!(fqdn::check(text).is_ok(), valid, "{text}");
        }
        for (text, valid) in [
            ("192.0.2.53:53", true),
            ("[2001:db8::53]:53", true),
            ("ns1.example:53", false),
            ("192.0.2.53", false),
            ("192.0.2.53:0", false),
            ("192.0.2.53:65536", false),
        ] {
            assert_eq!(socket::parse(text).is_ok(), valid, "{text}");
        }
        for (text, valid) in [
            ("main.shop.svc", true),
            ("203.0.113.10", true),
            ("2001:db8::1", true),
            ("main:5432", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(host::check(text).is_ok(), valid, "{text}");
        }
    }
}
