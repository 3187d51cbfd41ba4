//! How a call to the API server failed, and what that says about its effect.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bascule_core::outcome::Outcome;
use kube::core::response::Status;

use super::ownership::{Contention, contentions};

/// The object that a call is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Its kind, as in a manifest.
    pub kind: String,
    /// Its namespace; `None` for what lives in no namespace.
    pub namespace: Option<String>,
    /// Its name; empty for all objects of the kind.
    pub name: String,
}

impl Subject {
    /// An object in a namespace.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: Some(namespace.to_owned()), name: name.to_owned() }
    }

    /// All objects of a kind in a namespace.
    pub(super) fn all(kind: &str, namespace: &str) -> Self {
        Self::new(kind, namespace, "")
    }

    /// An object that lives in no namespace.
    pub(super) fn cluster(kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: None, name: name.to_owned() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.namespace, self.name.as_str()) {
            (Some(namespace), "") => write!(f, "{} objects of namespace {namespace}", self.kind),
            (Some(namespace), name) => write!(f, "{} {namespace}/{name}", self.kind),
            (None, name) => write!(f, "{} {name}", self.kind),
        }
    }
}

/// Why a call brought no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The object is not there. A write to it had no effect.
    #[error("{subject} does not exist")]
    Missing {
        /// The object.
        subject: Subject,
    },
    /// The API server said no. A write had no effect.
    #[error("{subject}: the API server refused with {code}: {reason}")]
    Refused {
        /// The object.
        subject: Subject,
        /// The HTTP status.
        code: u16,
        /// The API server's own words.
        reason: String,
        /// The fields that it named.
        fields: Vec<String>,
    },
    /// Other managers own fields that the write would change. It had no effect.
    #[error("{subject}: {}", listed(contentions))]
    Contended {
        /// The object.
        subject: Subject,
        /// Who owns which field, and what would release it.
        contentions: Vec<Contention>,
    },
    /// The object is not as a write needs it, so none was made.
    #[error("{subject}: {reason}")]
    Unfit {
        /// The object.
        subject: Subject,
        /// The field, what was found in it, and what is expected.
        reason: String,
    },
    /// No connection, or no request that could be sent. A write had no effect.
    #[error("{subject}: nothing was sent to the API server: {reason}")]
    NotSent {
        /// The object.
        subject: Subject,
        /// What stood in the way.
        reason: String,
    },
    /// The answer was lost, came too late, or cannot be understood. A write may or may not have taken effect.
    #[error("{subject}: the API server's answer is not known: {reason}")]
    Unknown {
        /// The object.
        subject: Subject,
        /// What was lost.
        reason: String,
    },
}

fn listed(contentions: &[Contention]) -> String {
    let each: Vec<String> = contentions.iter().map(ToString::to_string).collect();
    each.join("; ")
}

impl Failure {
    /// Reads what kube reports.
    pub(crate) fn of(subject: &Subject, error: &kube::Error) -> Self {
        let subject = subject.clone();
        match error {
            kube::Error::Api(status) => Self::answered(subject, status),
            kube::Error::Auth(_) | kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => {
                Self::NotSent { subject, reason: chain(error) }
            }
            other if before_sending(other) => Self::NotSent { subject, reason: chain(other) },
            other => Self::Unknown { subject, reason: chain(other) },
        }
    }

    fn answered(subject: Subject, status: &Status) -> Self {
        let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
        let contentions = contentions(&subject, causes);
        if !contentions.is_empty() {
            return Self::Contended { subject, contentions };
        }
        // A 404 may also be about the namespace, or about a kind whose CRD is not installed.
        let about_itself = status.details.as_ref().is_some_and(|details| details.name == subject.name);
        match status.code {
            404 if about_itself && !subject.name.is_empty() => Self::Missing { subject },
            // 408: the server gave up waiting, with the request possibly on its way to the store. 429: it is busy, which
            // says nothing of what it would answer.
            code @ 400..=499 if code != 408 && code != 429 => Self::Refused {
                subject,
                code,
                reason: status.message.clone(),
                fields: causes.iter().map(|c| c.field.clone()).filter(|f| !f.is_empty()).collect(),
            },
            // What does not fit the schema is turned away before anything is done, with this status all the same.
            500 if status.message.starts_with("failed to create typed patch object") => {
                Self::Refused { subject, code: 500, reason: status.message.clone(), fields: Vec::new() }
            }
            // A 5xx may come from a proxy, or from a server that lost its store after it had sent the write.
            code => Self::Unknown { subject, reason: format!("it answered {code}: {}", status.message) },
        }
    }

    /// No answer came within the deadline.
    pub(super) fn silence(subject: &Subject, deadline: Duration) -> Self {
        Self::Unknown { subject: subject.clone(), reason: format!("no answer within {deadline:?}") }
    }

    /// A refusal of our own, made before or after asking.
    pub(super) fn own(subject: &Subject, reason: impl Into<String>) -> Self {
        Self::NotSent { subject: subject.clone(), reason: reason.into() }
    }

    /// The object is not as a write needs it.
    pub(super) fn unfit(subject: &Subject, reason: impl Into<String>) -> Self {
        Self::Unfit { subject: subject.clone(), reason: reason.into() }
    }

    /// Whether the object is known to be absent.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// Whether a write may have taken effect all the same.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    pub(super) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        let reason = failure.to_string();
        if failure.is_unknown() { Self::unknown(reason) } else { Self::refused(reason) }
    }
}

/// The outcome of a write.
pub(super) fn outcome<T>(result: Result<T, Failure>) -> Outcome {
    result.map_or_else(Outcome::from, |_| Outcome::Done)
}

/// Whether the request certainly never left: the connection was never made.
fn before_sending(error: &kube::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
        {
            return true;
        }
        next = cause.source();
    }
    false
}

/// An error with its causes, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
