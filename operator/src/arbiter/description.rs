//! What is known of an arbiter that was made: `arbiter.json`, beside its certificates. Nothing in it is secret.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bascule_adapters::arbiter::MemberTiming;
use bascule_core::name::SiteName;
use bascule_core::timing::Profile;
use serde::{Deserialize, Serialize};

/// Its name in the folder.
pub const FILE: &str = "arbiter.json";
/// The form that this program writes.
const FORM: u32 = 1;

/// Where a member runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Where {
    /// In a Kubernetes cluster, by the chart.
    Cluster,
    /// On a machine of its own, by systemd.
    Machine,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// A DNS name or an address.
    pub host: String,
    /// Where clients reach it.
    pub client_url: String,
    /// Where the other members reach it.
    pub peer_url: String,
    /// Where it runs.
    pub runs: Where,
}

impl Described {
    /// The port of a URL that this program wrote.
    fn port(url: &str) -> u16 {
        url.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    /// Where it listens for clients.
    pub fn client_port(&self) -> u16 {
        Self::port(&self.client_url)
    }

    /// Where it listens for the other members.
    pub fn peer_port(&self) -> u16 {
        Self::port(&self.peer_url)
    }
}

/// The whole arbiter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Description {
    /// The form of this file.
    pub form: u32,
    /// What keeps members of two arbiters apart: etcd's `--initial-cluster-token`.
    pub token: String,
    /// The timing profile of the installation.
    pub profile: Profile,
    /// The day until which the authorities, and at the latest the certificates, are valid.
    pub authorities_until: String,
    /// The day until which the certificates are valid.
    pub certificates_until: String,
    /// The members.
    pub members: Vec<Described>,
    /// The sites.
    pub sites: Vec<SiteName>,
}

impl Description {
    /// The form that this program writes.
    pub const fn form() -> u32 {
        FORM
    }

    /// Reads the one in a folder that `init` made.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join(FILE);
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!("{} cannot be read; expected a folder that `bascule arbiter init` made", file.display())
        })?;
        let found: Self = serde_json::from_str(&text).with_context(|| {
            format!("{} is not what `bascule arbiter init` writes; take the file as it was", file.display())
        })?;
        if found.form != FORM {
            bail!(
                "{}: form: found {}, expected {FORM}: another version of bascule wrote it; use that one",
                file.display(),
                found.form
            );
        }
        Ok(found)
    }

    /// How fast its members elect.
    pub const fn timing(&self) -> MemberTiming {
        MemberTiming::of(self.profile)
    }

    /// The members as etcd wants to be told: `name=peer-url,…`.
    pub fn initial_cluster(&self) -> String {
        let members: Vec<String> =
            self.members.iter().map(|m| format!("{}={}", m.name, m.peer_url)).collect();
        members.join(",")
    }

    /// Where clients reach the members; the one that has the site's name first, for it is the nearest.
    pub fn endpoints(&self, site: Option<&SiteName>) -> Vec<String> {
        let near = |m: &&Described| site.is_some_and(|s| s.as_str() == m.name);
        let (near, far): (Vec<_>, Vec<_>) = self.members.iter().partition(near);
        near.into_iter().chain(far).map(|m| m.client_url.clone()).collect()
    }

    /// The member of this name.
    pub fn member(&self, name: &str) -> anyhow::Result<&Described> {
        let names = || self.members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ");
        self.members
            .iter()
            .find(|m| m.name == name)
            .with_context(|| format!("--member: found {name:?}, expected one of the members {}", names()))
    }
}

/// A length of time as etcd and the charts take it: whole milliseconds or seconds.
pub fn written(time: Duration) -> String {
    let ms = time.as_millis();
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}
