//! `bascule check --pre`: what has to hold before anything is installed. Every cluster that is named is looked at, all at
//! the same time; one that does not answer is a finding and keeps nobody from the others.
//!
//! | file | question |
//! |---|---|
//! | `sites` | which clusters, and whose are they? |
//! | `cluster` | what is asked of one cluster, in which order? |
//! | `install` | may the person create what the chart creates? |
//! | `admission` | would the operator's pod be admitted? |
//! | `storage` | would the journal's volume be made? |
//! | `clocks` | do the clusters' clocks agree? |
//! | `arbiter` | is the arbiter whole and near enough, and are the sites' names free? |

mod admission;
mod arbiter;
mod clocks;
mod cluster;
mod install;
mod sites;
mod storage;

use std::cell::RefCell;
use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use bascule_core::name::{Namespace, SiteName};
use futures::future::join_all;
use jiff::Timestamp;

use self::cluster::Seen;
use self::sites::Named;
use super::codes::{SAME_CLUSTER, SITE_UNKNOWN};
use super::files::counted;
use super::policies::{Labelled, named};
use super::report::Report;
use super::{CheckArgs, Installation, files};
use crate::telling::aloud;

/// How progress calls it.
const ABOUT: &str = "bascule check --pre";
/// Where the chart is installed unless somebody says otherwise: as its own documentation does.
pub const RELEASE_NAMESPACE: &str = "bascule-system";

/// Looks at everything. An error means that nothing could be looked at: an option or a kubeconfig is wrong.
pub async fn check(
    args: &CheckArgs,
    installation: &Installation,
    otherwise: Option<&Namespace>,
) -> anyhow::Result<Report> {
    let release = Namespace::try_from(args.release_namespace.as_deref().unwrap_or(RELEASE_NAMESPACE))
        .context("--release-namespace")?;
    let all = sites::named(&args.site, &args.context)?;
    let (mut report, policies) = if args.files.is_empty() {
        let mut report = Report::new(String::new());
        installation.check(&mut report);
        (report, Vec::new())
    } else {
        files::read(&args.files, otherwise, installation, Timestamp::now())?
    };
    known(&all, &policies)?;
    report.of = format!("{}, before an installation", counted(all.len(), "cluster", "clusters"));
    let clusters = sites::connect(args.kubeconfig.as_deref(), all, *installation).await?;

    let waiting = RefCell::new(clusters.iter().map(|c| c.label.clone()).collect::<BTreeSet<_>>());
    let (place, given, left) = (&release, &policies, &waiting);
    let looks = clusters.iter().map(|one| async move {
        let seen = cluster::look(one, place, given).await;
        left.borrow_mut().remove(&one.label);
        seen
    });
    let mut seen = aloud(ABOUT, join_all(looks), || {
        format!("waiting for {}", waiting.borrow().iter().cloned().collect::<Vec<_>>().join(", "))
    })
    .await;
    for one in &mut seen {
        let part = std::mem::replace(&mut one.report, Report::new(String::new()));
        report.absorb(part);
    }
    same(&seen, &mut report);
    clocks::between(&seen, &mut report);
    for Labelled { policy, .. } in &policies {
        for site in policy.sites.iter().filter(|s| !seen.iter().any(|c| c.site.as_ref() == Some(*s))) {
            let expected = format!("--site {site}=CONTEXT: what the policy names there is not looked at");
            report.find(
                SITE_UNKNOWN,
                &named(policy),
                "spec.sites",
                format!("no context for {site}"),
                &expected,
            );
        }
    }
    if !args.arbiter_endpoints.is_empty() {
        let asked = arbiter::check(args, installation, &seen, &mut report);
        aloud(ABOUT, asked, || "waiting for the arbiter".to_owned()).await?;
    }
    if let Some(kubeconfig) = &args.arbiter_kubeconfig {
        let asked = arbiter::check_witness(kubeconfig, installation, &seen, &mut report);
        aloud(ABOUT, asked, || "waiting for the witness".to_owned()).await?;
    }
    Ok(report)
}

/// A site that no policy has was mistyped.
fn known(all: &[Named], policies: &[Labelled]) -> anyhow::Result<()> {
    let of_policies: BTreeSet<&SiteName> = policies.iter().flat_map(|p| &p.policy.sites).collect();
    if of_policies.is_empty() {
        return Ok(());
    }
    for site in all.iter().filter_map(|n| n.site.as_ref()) {
        if !of_policies.contains(site) {
            let names: Vec<&str> = of_policies.iter().map(|s| s.as_str()).collect();
            bail!(
                "--site {site}: found no such site in the policies of FILE, expected one of {}",
                names.join(", ")
            );
        }
    }
    Ok(())
}

/// Two sites in one cluster.
fn same(seen: &[Seen], report: &mut Report) {
    for (at, one) in seen.iter().enumerate() {
        let Some(uid) = &one.uid else { continue };
        if let Some(other) = seen.iter().take(at).find(|o| o.uid.as_ref() == Some(uid)) {
            let object = format!("{} and {}", other.label, one.label);
            let found = format!("both lead to the cluster {uid}");
            report.find(SAME_CLUSTER, &object, "--site", found, "a cluster of its own for each site");
        }
    }
}
