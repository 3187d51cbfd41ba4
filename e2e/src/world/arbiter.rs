//! The arbiter: one etcd member in each of the three places, mutual TLS, and a user per operator and per guard.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::parts::{Group, Part};
use super::pki::{Identity, Pki};
use super::place::{ARBITER_CLIENT_PORT, ARBITER_PEER_PORT, Place};
use super::replaced_member::Membership;
use super::run_folder::RunFolder;
use crate::command::{SHORT, finish};
use crate::tools::Tools;
use crate::waiting::until;

/// How long three members may take to find a leader for the first time.
const LEADER: Duration = Duration::from_mins(1);
/// All of Bascule's keys.
pub const PREFIX: &str = "/bascule/";

/// Timing of the arbiter's elections.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ArbiterTiming {
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// How long its silence lasts before another is elected.
    pub election: Duration,
}

impl Default for ArbiterTiming {
    /// What the metro profile asks for.
    fn default() -> Self {
        Self { heartbeat: Duration::from_millis(30), election: Duration::from_millis(300) }
    }
}

/// The lease key of a site.
pub fn lease_key(site: Place) -> String {
    format!("{PREFIX}v1/lease/{site}")
}

/// The URL under which clients reach a member.
pub fn endpoint(place: Place) -> String {
    format!("https://{}:{ARBITER_CLIENT_PORT}", place.address())
}

/// The three members.
#[derive(Clone, Copy, Debug)]
pub struct Arbiter<'a> {
    pub(super) run: &'a RunFolder,
    pub(super) tools: &'a Tools,
}

impl Arbiter<'_> {
    fn pki(&self) -> Pki {
        Pki::open(self.run.pki())
    }

    /// Issues the members' and users' certificates.
    pub(super) fn write_certificates(pki: &Pki, sites: &[Place]) -> Result<()> {
        for place in Place::ALL {
            let names = [place.address().to_string(), "127.0.0.1".to_owned(), "localhost".to_owned()];
            pki.issue(&format!("arbiter-{place}"), &names)?;
        }
        pki.issue("root", &[])?;
        for site in sites {
            pki.issue(&format!("operator-{site}"), &[])?;
            pki.issue(&format!("guard-{site}"), &[])?;
        }
        Ok(())
    }

    /// Starts the member of a place.
    pub(super) fn start_member(&self, place: Place, timing: ArbiterTiming) -> Result<()> {
        let pki = self.pki();
        let identity = pki.identity(&format!("arbiter-{place}"));
        let peer = |p: Place| format!("https://{}:{ARBITER_PEER_PORT}", p.address());
        let cluster = Place::ALL.iter().map(|p| format!("{p}={}", peer(*p))).collect::<Vec<_>>().join(",");
        // What is on a member's disk already counts more than this.
        let state = if Membership::of(self.run, place)? == Membership::First { "new" } else { "existing" };
        Part::new(Group::Arbiter, "arbiter", self.tools.server("etcd"))
            .flag("initial-cluster-state", state)
            .flag("name", place)
            .file("data-dir", self.run.place(place).join("arbiter"))
            .flag("initial-cluster", cluster)
            .flag("initial-cluster-token", "bascule-sandbox")
            .flag("initial-advertise-peer-urls", peer(place))
            .flag("listen-peer-urls", peer(place))
            .flag("listen-client-urls", endpoint(place))
            .flag("advertise-client-urls", endpoint(place))
            .flag("heartbeat-interval", timing.heartbeat.as_millis())
            .flag("election-timeout", timing.election.as_millis())
            .arg("--client-cert-auth")
            .file("trusted-ca-file", pki.ca())
            .file("cert-file", &identity.cert)
            .file("key-file", &identity.key)
            .arg("--peer-client-cert-auth")
            .file("peer-trusted-ca-file", pki.ca())
            .file("peer-cert-file", &identity.cert)
            .file("peer-key-file", &identity.key)
            .start(self.run, place)
    }

    /// Returns when the members at these places answer.
    pub async fn ready(&self, members: &'static [Place]) -> Result<()> {
        until("the arbiter's members", LEADER, || async {
            for place in members {
                super::control::ensure_runs(self.run, *place, "arbiter")?;
            }
            // In a thread of its own, for it waits; and only once, so that an interrupted wait ends soon.
            let (run, tools) = (self.run.clone(), self.tools.clone());
            let look =
                move || Arbiter { run: &run, tools: &tools }.ctl_at(members, "root", &["endpoint", "health"]);
            tokio::task::spawn_blocking(look).await?
        })
        .await
        .map(|_| ())
    }

    /// Makes users and roles and turns authentication on; for an arbiter that has just been born.
    pub(super) fn set_up_users(&self, sites: &[Place]) -> Result<()> {
        self.ctl("root", &["user", "add", "root", "--no-password"])?;
        self.ctl("root", &["user", "grant-role", "root", "root"])?;
        self.ctl("root", &["role", "add", "operator"])?;
        self.ctl("root", &["role", "grant-permission", "--prefix=true", "operator", "readwrite", PREFIX])?;
        for site in sites {
            let (operator, guard) = (format!("operator-{site}"), format!("guard-{site}"));
            self.ctl("root", &["user", "add", &operator, "--no-password"])?;
            self.ctl("root", &["user", "grant-role", &operator, "operator"])?;
            self.ctl("root", &["role", "add", &guard])?;
            self.ctl("root", &["role", "grant-permission", "--prefix=true", &guard, "read", PREFIX])?;
            // etcd keeps one permission per key or range: the lease's own entry may be read and written.
            self.ctl("root", &["role", "grant-permission", &guard, "readwrite", &lease_key(*site)])?;
            self.ctl("root", &["user", "add", &guard, "--no-password"])?;
            self.ctl("root", &["user", "grant-role", &guard, &guard])?;
        }
        self.ctl("root", &["auth", "enable"])?;
        Ok(())
    }

    /// Every member's URL.
    pub fn endpoints(&self) -> Vec<String> {
        Place::ALL.into_iter().map(endpoint).collect()
    }

    /// Client certificate of a user: `operator-<site>`, `guard-<site>` or `root`.
    pub fn identity(&self, user: &str) -> Identity {
        self.pki().identity(user)
    }

    /// `etcdctl` against all members, as a user.
    pub fn ctl(&self, user: &str, args: &[&str]) -> Result<String> {
        self.ctl_at(&Place::ALL, user, args)
    }

    /// `etcdctl` against some members only, as a user.
    pub fn ctl_at(&self, members: &[Place], user: &str, args: &[&str]) -> Result<String> {
        let endpoints = members.iter().map(|p| endpoint(*p)).collect::<Vec<_>>().join(",");
        let identity = self.identity(user);
        let mut command = Command::new(self.tools.server("etcdctl"));
        command
            .args(["--dial-timeout=1s", "--command-timeout=3s", "--endpoints", &endpoints, "--cacert"])
            .arg(self.pki().ca())
            .arg("--cert")
            .arg(identity.cert)
            .arg("--key")
            .arg(identity.key)
            .args(args);
        finish(command, None, SHORT)
    }
}
