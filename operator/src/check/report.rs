//! What was found, what was looked at, and what was not. Its JSON is part of the command line's interface: see
//! `docs/checks.md`.

use serde::Serialize;

use super::codes::{Code, NOT_CHECKED, Severity};

/// The number of the shape of [`Report`] as JSON. It grows when a field goes or changes its meaning; new fields may come
/// without that.
pub const VERSION: u32 = 1;

/// A check.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// What was checked, in words: a cluster, or files.
    pub of: String,
    /// Whether a finding is an error: exit code 2.
    pub failed: bool,
    /// How many findings are errors.
    pub errors: usize,
    /// How many are warnings.
    pub warnings: usize,
    /// The findings, what matters most first.
    pub findings: Vec<Finding>,
    /// What was looked at, in sentences.
    pub checked: Vec<String>,
    /// Which of several clusters is looked at now.
    #[serde(skip)]
    cluster: Option<String>,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The code's stable name.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Which cluster it is about, where several are looked at.
    pub cluster: Option<String>,
    /// The object, as `Kind namespace/name`, or a file.
    pub object: String,
    /// The field of it; empty: all of it.
    pub field: String,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: String,
    /// What to do.
    pub hint: String,
    /// Where more is written about it.
    pub docs: String,
}

impl Report {
    /// Nothing was looked at yet.
    pub fn new(of: String) -> Self {
        Self {
            version: VERSION,
            of,
            failed: false,
            errors: 0,
            warnings: 0,
            findings: Vec::new(),
            checked: Vec::new(),
            cluster: None,
        }
    }

    /// What is found and looked at in one of several clusters; it becomes part of the whole by [`Report::absorb`].
    pub fn of_cluster(name: &str) -> Self {
        Self { cluster: Some(name.to_owned()), ..Self::new(name.to_owned()) }
    }

    /// Takes what was found and looked at in one of several clusters.
    pub fn absorb(&mut self, part: Self) {
        self.findings.extend(part.findings);
        self.checked.extend(part.checked);
    }

    /// Something was found.
    pub fn find(&mut self, code: Code, object: &str, field: &str, found: String, expected: &str) {
        self.findings.push(Finding {
            code: code.name,
            severity: code.severity,
            cluster: self.cluster.clone(),
            object: object.to_owned(),
            field: field.to_owned(),
            found,
            expected: expected.to_owned(),
            hint: code.hint.to_owned(),
            docs: format!("docs/checks.md#{}", code.name.to_lowercase()),
        });
    }

    /// Something could not be looked at.
    pub fn unseen(&mut self, object: &str, field: &str, why: String) {
        self.find(NOT_CHECKED, object, field, why, "an answer");
    }

    /// Something was looked at.
    pub fn looked(&mut self, what: String) {
        self.checked.push(match &self.cluster {
            Some(cluster) => format!("{cluster}: {what}"),
            None => what,
        });
    }

    /// Counts, and brings what matters most to the front.
    pub fn finish(mut self, strict: bool) -> Self {
        // Stable: what belongs together stays so.
        self.findings.sort_by_key(|f| f.severity);
        let count = |severity| self.findings.iter().filter(|f| f.severity == severity).count();
        (self.errors, self.warnings) = (count(Severity::Error), count(Severity::Warning));
        self.failed = self.errors > 0 || (strict && self.warnings > 0);
        self
    }
}
