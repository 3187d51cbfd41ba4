//! How an effect ended.

use serde::{Deserialize, Serialize};

/// How an effect on the outside ended. There is no fourth way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// It took effect.
    Done,
    /// It was refused and had no effect.
    Refused {
        /// Who refused it and why, for the person who must act.
        reason: String,
    },
    /// It may or may not have taken effect. It is resolved by observing, never by trying again blindly.
    Unknown {
        /// What was lost: the answer, the connection, the time.
        reason: String,
    },
}

impl Outcome {
    /// A refusal with its reason.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    /// An unknown outcome with its reason.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into() }
    }

    /// Whether it is known to have taken effect.
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_have_taken_effect_is_done() {
        assert!(Outcome::Done.is_done());
        assert!(!Outcome::refused("x").is_done() && !Outcome::unknown("x").is_done());
    }
}
