//! What the members say of themselves.

use std::time::Duration;

use etcd_client::ResponseHeader;

use super::{EtcdArbiter, Failure, Failures, Revision};

/// The arbiter's members as seen from here.
#[derive(Clone, Debug)]
pub struct Status {
    /// Each configured endpoint, in the configured order.
    pub members: Vec<MemberStatus>,
    /// The members the store itself knows, from the first endpoint that answered.
    pub listed: Result<Vec<MemberListed>, Failures>,
}

/// One configured endpoint.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Its address as configured.
    pub endpoint: String,
    /// What it answered.
    pub state: Result<MemberFacts, Failure>,
}

/// What a member says of itself. It answers this alone, without the others: that it answers does not mean that the
/// arbiter decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberFacts {
    /// The etcd cluster it belongs to; different ones mean that the endpoints are not one arbiter.
    pub cluster: u64,
    /// Its own identifier.
    pub id: u64,
    /// The election term it has seen.
    pub raft_term: u64,
    /// How far its own copy of the store is.
    pub revision: Revision,
    /// What etcd tells only to users with the role `root` once users are enabled.
    pub details: Result<MemberDetails, Failure>,
}

/// What a member says of its inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDetails {
    /// Its version. What it must be: [`VersionFound::of`](super::VersionFound::of).
    pub version: String,
    /// Whom it takes for the leader; none when it sees none.
    pub leader: Option<u64>,
    /// Whether it has no vote.
    pub learner: bool,
    /// The size of its database in bytes.
    pub db_bytes: i64,
    /// Alarms and errors it reports.
    pub errors: Vec<String>,
}

/// A member as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberListed {
    /// Its identifier.
    pub id: u64,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

impl EtcdArbiter {
    /// Asks every member about itself, all at once, within `tq`.
    pub async fn status(&self, tq: Duration) -> Status {
        let asked = self.members.all().iter().map(|member| async move {
            let state = member.describe_itself(tq).await.map(|(read, status)| MemberFacts {
                cluster: read.header().map_or(0, ResponseHeader::cluster_id),
                id: read.header().map_or(0, ResponseHeader::member_id),
                raft_term: read.header().map_or(0, ResponseHeader::raft_term),
                revision: Revision(read.header().map_or(0, ResponseHeader::revision)),
                details: status.map(|s| MemberDetails {
                    version: s.version().to_owned(),
                    leader: Some(s.leader()).filter(|id| *id != 0),
                    learner: s.is_learner(),
                    db_bytes: s.db_size(),
                    errors: s.errors().to_vec(),
                }),
            });
            MemberStatus { endpoint: member.endpoint.clone(), state }
        });
        let listed = self.members.ask_two(tq, |mut client| async move { client.member_list().await });
        let (members, listed) = futures::join!(futures::future::join_all(asked), listed);
        Status {
            members,
            listed: listed.map(|answer| {
                let listed = |m: &etcd_client::Member| MemberListed {
                    id: m.id(),
                    name: m.name().to_owned(),
                    client_urls: m.client_urls().to_vec(),
                };
                answer.members().iter().map(listed).collect()
            }),
        }
    }
}
