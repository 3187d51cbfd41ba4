//! Who belongs to the arbiter.

use std::time::Duration;

use etcd_client::{AlarmAction, AlarmOptions, AlarmType, Member, MemberAddOptions};

use super::{Administration, AdministrationError};

/// A member as the others list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its identifier.
    pub id: u64,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
}

impl Peer {
    fn of(member: &Member) -> Self {
        Self {
            id: member.id(),
            name: member.name().to_owned(),
            peer_urls: member.peer_urls().to_vec(),
            client_urls: member.client_urls().to_vec(),
        }
    }
}

/// What a member says of itself to an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Its identifier.
    pub id: u64,
    /// Whom it takes for the leader; none when it sees none.
    pub leader: Option<u64>,
    /// The size of its store on disk, in bytes.
    pub bytes: i64,
    /// How much of that is in use; the rest is given back by defragmentation.
    pub used: i64,
    /// How large it may become, in bytes; 0 when it does not tell.
    pub quota: i64,
}

impl Administration {
    /// Every member.
    pub async fn members(&self) -> Result<Vec<Peer>, AdministrationError> {
        let list = self.call("asking for members", |mut c| async move { c.member_list().await }).await?;
        Ok(list.members().iter().map(Peer::of).collect())
    }

    /// Takes a member out. The others refuse while they are not sure that enough of them are left.
    pub async fn remove(&self, member: &Peer) -> Result<(), AdministrationError> {
        let what = format!("removing the member {} ({:x})", member.name, member.id);
        let id = member.id;
        self.call(&what, |mut c| async move { c.member_remove(id).await }).await.map(|_| ())
    }

    /// Lets a new member in, which the others will reach at `peer_url`. It counts from now on, before it has started.
    pub async fn add(&self, peer_url: &str) -> Result<(), AdministrationError> {
        let what = format!("adding a member at {peer_url}");
        let options: Option<MemberAddOptions> = None;
        self.call(&what, |mut c| async move { c.member_add([peer_url], options).await }).await.map(|_| ())
    }

    /// What this one member says of itself, alone.
    pub async fn inside(&self) -> Result<Inside, AdministrationError> {
        let status = self.call("asking for its status", |mut c| async move { c.status().await }).await?;
        Ok(Inside {
            id: status.header().map_or(0, etcd_client::ResponseHeader::member_id),
            leader: Some(status.leader()).filter(|id| *id != 0),
            bytes: status.db_size(),
            used: status.raft_used_db_size(),
            quota: status.db_size_quota(),
        })
    }

    /// Gives the space back that this member's store does not use. It answers nobody meanwhile.
    pub async fn defragment(&self, deadline: Duration) -> Result<(), AdministrationError> {
        self.call_within(deadline, "defragmenting", |mut c| async move { c.defragment().await })
            .await
            .map(|_| ())
    }

    /// Whether one of the members has said that its store is full: then no member takes a write.
    pub async fn full(&self) -> Result<Vec<u64>, AdministrationError> {
        let asked = self.call("asking for alarms", |mut c| async move {
            c.alarm(AlarmAction::Get, AlarmType::None, None).await
        });
        let alarms = asked.await?;
        let full = alarms.alarms().iter().filter(|a| a.alarm() == AlarmType::Nospace);
        Ok(full.map(etcd_client::AlarmMember::member_id).collect())
    }

    /// Takes back that a member's store is full; it says so again when it is.
    pub async fn not_full(&self, member: u64) -> Result<(), AdministrationError> {
        let what = format!("taking back that the store of member {member:x} is full");
        let mut options = AlarmOptions::new();
        options.with_member(member);
        self.call(&what, |mut c| async move {
            c.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(options)).await
        })
        .await
        .map(|_| ())
    }
}
