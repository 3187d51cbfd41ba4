//! Whether the arbiter's members answer from here.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bascule_adapters::arbiter::{EtcdArbiter, Settings, Status, Tls};
use secrecy::SecretSlice;

use super::codes::{ARBITER_MEMBER, ARBITER_QUORUM};
use super::files::counted;
use super::report::Report;
use super::{CheckArgs, Installation};

/// How long a member may take from a workstation, which may be farther away than an operator.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// The members and certificates of the command line.
pub fn settings(args: &CheckArgs) -> anyhow::Result<Settings> {
    let file = |option: &str, path: Option<&Path>| -> anyhow::Result<Vec<u8>> {
        let path = path.with_context(|| format!("{option} is missing: found none, expected a PEM file"))?;
        std::fs::read(path).with_context(|| format!("{option} {} cannot be read", path.display()))
    };
    let tls = Tls {
        ca: file("--arbiter-ca", args.arbiter_ca.as_deref())?,
        cert: file("--arbiter-cert", args.arbiter_cert.as_deref())?,
        key: SecretSlice::from(file("--arbiter-key", args.arbiter_key.as_deref())?),
    };
    Ok(Settings { endpoints: args.arbiter_endpoints.clone(), tls, connect_timeout: PATIENCE })
}

/// A client for them. Nothing is sent yet.
pub async fn client(settings: Settings) -> anyhow::Result<EtcdArbiter> {
    EtcdArbiter::new(settings).await.context("--arbiter-endpoints")
}

/// Asks every member what it says of itself; what they said.
pub async fn check(
    args: &CheckArgs,
    installation: &Installation,
    report: &mut Report,
) -> anyhow::Result<Status> {
    let arbiter = client(settings(args)?).await?;
    let status = arbiter.status(PATIENCE).await;
    let all = status.members.len();
    let mut well = 0;
    let mut clusters = std::collections::BTreeSet::new();
    for member in &status.members {
        let object = format!("arbiter member {}", member.endpoint);
        match &member.state {
            Ok(facts) => {
                clusters.insert(facts.cluster);
                well += 1;
                let leaderless = facts.details.as_ref().is_ok_and(|d| d.leader.is_none());
                if leaderless {
                    let found = "it sees no leader".to_owned();
                    report.find(
                        ARBITER_MEMBER,
                        &object,
                        "leader",
                        found,
                        "a leader: more than half of the members hear each other",
                    );
                }
                for error in facts.details.iter().flat_map(|d| &d.errors) {
                    report.find(ARBITER_MEMBER, &object, "errors", error.clone(), "none");
                }
            }
            Err(why) => {
                report.find(ARBITER_MEMBER, &object, "", why.to_string(), "an answer");
            }
        }
    }
    if clusters.len() > 1 {
        let found = format!("{} different etcd clusters", clusters.len());
        report.find(ARBITER_QUORUM, "arbiter", "--arbiter-endpoints", found, "members of one cluster");
    }
    if well * 2 <= all {
        let found = format!("{well} of {all} answer");
        let expected = format!(
            "more than half, for leases to be renewed every {}",
            bascule_core::time::human(installation.profile.timing().p())
        );
        report.find(ARBITER_QUORUM, "arbiter", "--arbiter-endpoints", found, &expected);
    }
    report.looked(counted(all, "member of the arbiter", "members of the arbiter"));
    Ok(status)
}
