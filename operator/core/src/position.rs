//! Where a database's history stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A byte position in the write-ahead log (LSN), written as PostgreSQL writes it: `16/B374D848`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(pub u64);

impl Lsn {
    /// How many bytes this position is ahead of `other`; zero when it is not ahead.
    pub const fn ahead_of(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// Why a text is not an LSN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an LSN: expected two hexadecimal numbers of at most 8 digits like 16/B374D848")]
pub struct LsnError(String);

impl FromStr for Lsn {
    type Err = LsnError;

    fn from_str(s: &str) -> Result<Self, LsnError> {
        let part = |t: &str| {
            let ok = (1..=8).contains(&t.len()) && t.bytes().all(|c| c.is_ascii_hexdigit());
            ok.then(|| u64::from_str_radix(t, 16).ok()).flatten()
        };
        match s.split_once('/').map(|(hi, lo)| (part(hi), part(lo))) {
            Some((Some(hi), Some(lo))) => Ok(Self((hi << 32) + lo)),
            _ => Err(LsnError(s.to_owned())),
        }
    }
}

impl TryFrom<String> for Lsn {
    type Error = LsnError;

    fn try_from(value: String) -> Result<Self, LsnError> {
        value.parse()
    }
}

impl From<Lsn> for String {
    fn from(value: Lsn) -> Self {
        value.to_string()
    }
}

/// PostgreSQL's database system identifier: the same on a primary and all its copies, and on nothing else.
/// Stored as text, because JSON readers round numbers above 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SystemId(pub u64);

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for SystemId {
    type Error = std::num::ParseIntError;

    fn try_from(value: String) -> Result<Self, Self::Error> {
        value.parse().map(Self)
    }
}

impl From<SystemId> for String {
    fn from(value: SystemId) -> Self {
        value.to_string()
    }
}

/// A timeline: +1 with each promotion of a copy. The number alone does not prove lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in one database's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// Whose history.
    pub system_id: SystemId,
    /// On which timeline.
    pub timeline: Timeline,
    /// Up to where.
    pub lsn: Lsn,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on timeline {}", self.lsn, self.timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_is_written_and_read_as_postgresql_does() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        assert_eq!(lsn.0, 0x16_B374_D848);
        assert_eq!(lsn.to_string(), "16/B374D848");
        for bad in ["", "16", "16/", "/1", "g/1", "1/123456789", "+1/2"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_system_identifier_survives_json() {
        let id = SystemId(7_412_345_678_901_234_567);
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(text, "\"7412345678901234567\"");
        assert_eq!(serde_json::from_str::<SystemId>(&text).unwrap(), id);
    }

    #[test]
    fn a_position_survives_json_and_reads_like_a_sentence() {
        let at = Position { system_id: SystemId(7), timeline: Timeline(3), lsn: Lsn(0x1600_0000_00FF) };
        let text = serde_json::to_string(&at).unwrap();
        assert_eq!(text, r#"{"systemId":"7","timeline":3,"lsn":"1600/FF"}"#);
        assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), at);
        assert_eq!(at.to_string(), "1600/FF on timeline 3");
    }
}
