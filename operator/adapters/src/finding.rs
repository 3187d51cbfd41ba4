//! What a preflight found, in a form that a person can act on.

use std::fmt;

use bascule_core::plan::{Answer, Gate};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing needs to be done.
    Info,
    /// Works, but costs time, safety margin or money when it is needed.
    Warn,
    /// A transition cannot work, or cannot be safe, as it stands.
    Block,
}

/// One thing that a preflight found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable name of the kind of finding, for metrics and tests, like `WalSenderTimeout`.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Where it is: a setting, a grant, a server, a record.
    pub field: String,
    /// What is there.
    pub found: String,
    /// What should be there.
    pub expected: String,
    /// What to do about it: a statement or a line to change, when there is one.
    pub hint: String,
}

impl Finding {
    /// The finding as the gate `item/code`: what blocks is answered with `blocking`, and a warning is passed and says
    /// in words what would be better. What is only worth knowing is no gate.
    pub fn gate(&self, item: &str, blocking: Answer) -> Option<Gate> {
        let (answer, kind) = match self.severity {
            Severity::Block => (blocking, ""),
            Severity::Warn => (Answer::Yes, "advice: "),
            Severity::Info => return None,
        };
        let hint = if self.hint.is_empty() { String::new() } else { format!("; {}", self.hint) };
        let name = format!("{item}/{}", self.code);
        let found = format!("{kind}{}: {}", self.field, self.found);
        Some(Gate::new(&name, answer, found, format!("{}{hint}", self.expected)))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.field, self.found, self.expected)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}
