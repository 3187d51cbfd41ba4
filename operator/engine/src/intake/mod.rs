//! From the bytes of files that people wrote, or objects that the API server holds, to values that
//! cannot be wrong.
//!
//! ```text
//! files of a revision ─▶ yaml (text, places) ─▶ shape (the definitions' schema) ─┐
//!                                                                                ├─▶ policy, moves ─▶ core
//! objects of the API server ─────────────────────────────────────────────────────┘
//! ```
//!
//! Both ways end in the same conversions, and the same bytes give the same object by either way. What
//! is refused is refused with the field, what was found, what was expected and what to do; from files
//! with line and column as well.

pub mod document;
pub mod hash;
pub mod moves;
pub mod policy;
pub mod read;
mod shape;
pub mod source;
mod yaml;

use std::fmt;

use bascule_core::legible::legible;
use bascule_crds::SourceError;

/// One thing that is wrong with an object, wherever it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The field, such as `spec.sites[1].name`; the object as a whole when empty.
    pub field: String,
    /// What was found, what was expected, what to do.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.field, once(&self.field, &self.reason))
    }
}

/// An object that cannot be taken: everything that is wrong with it, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Invalid {
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the file in the repository.
    pub file: String,
    /// Line, from 1; nothing when the file as a whole is meant.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// The field, such as `spec.sites[1].name`; nothing when it is not about one.
    pub field: Option<String>,
    /// What was found, what was expected, what to do.
    pub reason: String,
}

impl Problem {
    /// Something that is wrong at a place of a file, or with the file as a whole. What outsiders wrote is made legible.
    pub(crate) fn new(file: &str, place: Option<(u32, u32)>, field: &str, reason: &str) -> Self {
        Self {
            file: legible(file),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            field: Some(legible(field)).filter(|field| !field.is_empty()),
            reason: legible(reason),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.field.as_ref().map_or(&*self.reason, |field| once(field, &self.reason)))
    }
}

/// A reason beside its field. The definitions' own rules begin with the field, for API servers do not name it; where
/// both would say the same, the field with its number says it.
fn once<'a>(field: &str, reason: &'a str) -> &'a str {
    let Some((named, rest)) = reason.split_once(": ") else { return reason };
    let mut without_numbers = String::new();
    for part in field.trim_start_matches("spec.").split_inclusive(['[', ']']) {
        match part.strip_suffix(']') {
            Some(number) if number.bytes().all(|b| b.is_ascii_digit()) => without_numbers.push(']'),
            _ => without_numbers.push_str(part),
        }
    }
    if named == without_numbers { rest } else { reason }
}

impl From<Problem> for SourceError {
    fn from(problem: Problem) -> Self {
        let Problem { file, line, column, field, reason } = problem;
        let reason = field.as_ref().map_or(&*reason, |field| once(field, &reason)).to_owned();
        Self { file, line, column, field, reason }
    }
}

/// Collects what is wrong while a conversion goes on, so that one answer names everything.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, field: impl Into<String>, reason: impl fmt::Display) {
        // They quote what was found, which can be as long as a file.
        self.0.push(Finding { field: field.into(), reason: legible(&reason.to_string()) });
    }

    /// The value, or nothing after noting why not.
    fn check<T, E: fmt::Display>(&mut self, field: impl Into<String>, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(reason) => {
                self.add(field, reason);
                None
            }
        }
    }

    /// The result of a conversion: `value` is there exactly when nothing was found.
    fn finish<T>(self, value: Option<T>) -> Result<T, Invalid> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Invalid { findings: self.0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::once;

    #[test]
    fn a_field_is_named_once() {
        for (field, reason, shown) in [
            ("spec.traffic[0].dns.addresses", "traffic[].dns.addresses: found paris", "found paris"),
            ("spec.traffic[0]", "traffic[]: expected one member", "expected one member"),
            ("spec.traffic[0]", "traffic[].dns.name: found a", "traffic[].dns.name: found a"),
            ("spec.sites", "found 1 site: paris", "found 1 site: paris"),
            ("spec.sites[a]", "sites[]: found", "sites[]: found"),
        ] {
            assert_eq!(once(field, reason), shown, "{field}");
        }
    }
}
