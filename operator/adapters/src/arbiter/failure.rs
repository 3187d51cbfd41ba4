//! Why a call to a member failed, and whether it can have had an effect.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bascule_core::time::human;
use etcd_client::Error;
use tonic::{Code, ConnectError};

/// Why one member gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection could be made: the request never left this machine.
    NotConnected(String),
    /// The member understood the request and refused it.
    Refused(String),
    /// The member refused it because this client's user has no right to it.
    Denied(String),
    /// No answer within the deadline.
    TimedOut(Duration),
    /// The connection broke, or the member answered that it cannot tell (no leader, leader changed, no space).
    Lost(String),
}

impl Cause {
    /// Whether it is certain that the request had and will have no effect.
    pub const fn is_without_effect(&self) -> bool {
        matches!(self, Self::NotConnected(_) | Self::Refused(_) | Self::Denied(_))
    }

    /// Whether this says that the member, rather than the request, is in trouble.
    pub(super) const fn blames_member(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::Denied(_))
    }

    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::GRpcStatus(status) => {
                if let Some(why) = connect_error(status) {
                    return Self::NotConnected(why);
                }
                match status.code() {
                    // ResourceExhausted is missing on purpose: etcd may apply a write and then report "no space".
                    Code::PermissionDenied => Self::Denied(status.message().to_owned()),
                    Code::Unauthenticated | Code::InvalidArgument | Code::NotFound => {
                        Self::Refused(status.message().to_owned())
                    }
                    _ => Self::Lost(with_sources(status.message(), status)),
                }
            }
            Error::InvalidArgs(why) | Error::EndpointError(why) => Self::Refused(why.clone()),
            other => Self::Lost(with_sources(&other.to_string(), other)),
        }
    }
}

/// What went wrong while connecting, when that is what went wrong: then the request was never handed to a
/// connection.
fn connect_error(status: &tonic::Status) -> Option<String> {
    let mut next = status.source();
    while let Some(error) = next {
        if let Some(connect) = error.downcast_ref::<ConnectError>() {
            let outer = connect.0.as_ref();
            return Some(with_sources(&outer.to_string(), outer));
        }
        next = error.source();
    }
    None
}

/// `first` followed by each deeper cause that says something new.
fn with_sources(first: &str, error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = first.to_owned();
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

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(why) => write!(f, "cannot connect ({why})"),
            Self::Refused(why) | Self::Denied(why) => write!(f, "refused ({why})"),
            // Rounded: what is left of a deadline is another number each time, and each would be news.
            Self::TimedOut(after) => {
                let after = Duration::from_millis(
                    u64::try_from(after.as_micros().div_ceil(1000)).unwrap_or(u64::MAX),
                );
                write!(f, "no answer within {}", human(after))
            }
            Self::Lost(why) => write!(f, "answer lost ({why})"),
        }
    }
}

/// What happened at one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The member's address; empty when no member was involved.
    pub endpoint: String,
    /// What happened.
    pub cause: Cause,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.endpoint.is_empty() {
            self.cause.fmt(f)
        } else {
            write!(f, "{}: {}", self.endpoint, self.cause)
        }
    }
}

/// What happened at each member that was asked; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures(pub Vec<Failure>);

impl Failures {
    /// A refusal that needed no member.
    pub(super) fn local(why: impl Into<String>) -> Self {
        Self(vec![Failure { endpoint: String::new(), cause: Cause::Refused(why.into()) }])
    }

    /// Whether it is certain that nothing was and will be written.
    pub fn is_without_effect(&self) -> bool {
        self.0.iter().all(|f| f.cause.is_without_effect())
    }

    /// Whether a member said that this client's user has no right to it.
    pub fn is_denied(&self) -> bool {
        self.0.iter().any(|f| matches!(f.cause, Cause::Denied(_)))
    }
}

impl From<Failure> for Failures {
    fn from(value: Failure) -> Self {
        Self(vec![value])
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, failure) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            failure.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_sent_or_was_refused_is_without_effect() {
        let status = |code| Error::GRpcStatus(tonic::Status::new(code, "x"));
        for (code, without_effect) in [
            (Code::PermissionDenied, true),
            (Code::InvalidArgument, true),
            (Code::Unauthenticated, true),
            (Code::Unavailable, false),
            (Code::ResourceExhausted, false),
            (Code::Cancelled, false),
            (Code::DeadlineExceeded, false),
            (Code::Unknown, false),
            (Code::Internal, false),
        ] {
            assert_eq!(Cause::of(&status(code)).is_without_effect(), without_effect, "{code:?}");
        }
        assert!(!Cause::TimedOut(Duration::from_secs(1)).is_without_effect());
        let denied = |code| {
            let cause = Cause::of(&status(code));
            Failures::from(Failure { endpoint: String::new(), cause }).is_denied()
        };
        assert!(denied(Code::PermissionDenied) && !denied(Code::InvalidArgument));
    }
}
