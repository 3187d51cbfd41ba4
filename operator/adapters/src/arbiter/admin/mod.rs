//! What a person does to the arbiter itself, as the user `root`: users and roles, members, copies of the store.
//!
//! | file | question |
//! |---|---|
//! | `roles` | which users are there, and what may each touch? |
//! | `users` | are they as they must be? Makes them so |
//! | `members` | who belongs to it? Single steps |
//! | `snapshot` | how is the store copied? |
//!
//! Each call has its own deadline and is made once.

mod members;
mod roles;
mod snapshot;
mod users;

use std::future::Future;
use std::time::Duration;

use etcd_client::{Client, Error};
use tokio::time::timeout;

pub use self::members::{Inside, Peer};
pub use self::roles::{Deed, ROOT, Right, Role, guard_user, maintenance_user, operator_user};
pub use self::snapshot::{Copied, SnapshotError};
pub use self::users::Done;
use super::failure::{Cause, Failure, Failures};
use super::{Settings, SettingsError, options};

/// Why something could not be done to the arbiter.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    /// The settings are of no use.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Nobody could be asked.
    #[error(
        "no member of the arbiter decides: {0}. Expected one that hears more than half of the members; look at the members' logs, and whether they reach each other at their peer URLs"
    )]
    Nobody(Failures),
    /// One call failed.
    #[error("{what}: {why}")]
    Call {
        /// What was to be done.
        what: String,
        /// Who answered what.
        why: Failure,
    },
}

impl AdministrationError {
    /// What the member said, when it understood and refused.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Call {
                why: Failure { cause: Cause::Refused(why) | Cause::Denied(why) | Cause::Lost(why), .. },
                ..
            } => Some(why),
            _ => None,
        }
    }
}

/// One member of the arbiter, asked as an administrator.
pub struct Administration {
    client: Client,
    endpoint: String,
    deadline: Duration,
}

impl Administration {
    /// The first of the members, in the order given, that decides together with the others and takes these credentials.
    pub async fn connect(settings: &Settings, deadline: Duration) -> Result<Self, AdministrationError> {
        let mut failures = Vec::new();
        for endpoint in &settings.endpoints {
            let member = Self::to(settings, endpoint, deadline).await?;
            // Goes through the log of the members, so only one with a leader answers; and only to an administrator.
            match member.call("asking for users", |mut client| async move { client.user_list().await }).await
            {
                Ok(_) => return Ok(member),
                Err(AdministrationError::Call { why, .. }) => failures.push(why),
                Err(other) => return Err(other),
            }
        }
        Err(AdministrationError::Nobody(Failures(failures)))
    }

    /// One member, whatever it knows of the others. Nothing is asked yet.
    pub async fn to(
        settings: &Settings,
        endpoint: &str,
        deadline: Duration,
    ) -> Result<Self, AdministrationError> {
        // A member without a leader tells about itself all the same.
        let options = options(settings)?.with_require_leader(false);
        let client = Client::connect([endpoint], Some(options))
            .await
            .map_err(|e| SettingsError::Tls { endpoint: endpoint.to_owned(), why: e.to_string() })?;
        Ok(Self { client, endpoint: endpoint.to_owned(), deadline })
    }

    /// The member that is asked.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes one call under the deadline.
    async fn call<T, F>(&self, what: &str, ask: impl FnOnce(Client) -> F) -> Result<T, AdministrationError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.call_within(self.deadline, what, ask).await
    }

    async fn call_within<T, F>(
        &self,
        deadline: Duration,
        what: &str,
        ask: impl FnOnce(Client) -> F,
    ) -> Result<T, AdministrationError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let cause = match timeout(deadline, ask(self.client.clone())).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Cause::of(&error),
            Err(_) => Cause::TimedOut(deadline),
        };
        Err(self.failed(what, cause))
    }

    fn failed(&self, what: &str, cause: Cause) -> AdministrationError {
        let why = Failure { endpoint: self.endpoint.clone(), cause };
        AdministrationError::Call { what: what.to_owned(), why }
    }
}
