//! Whether the arbiter is whole and near enough for the timing profile, and the sites' names are free in it.

use std::path::Path;
use std::time::Duration;

use bascule_adapters::arbiter::{RoundTrip, Store, VersionFound, Versions};
use bascule_core::time::human;

use super::cluster::Seen;
use crate::check::arbiter::{self, PATIENCE};
use crate::check::codes::{ARBITER_SIZE, ARBITER_SLOW, ARBITER_VERSION, SITE_NAME_TAKEN};
use crate::check::report::Report;
use crate::check::witness;
use crate::check::{CheckArgs, Installation};
use crate::why::explain::words;

/// How many questions a measurement asks at most one after the other, each with the patience of one.
const MEASURED: Duration = Duration::from_secs(8);

/// Asks the members what they are, how long they take, and whose the sites' names are.
pub async fn check(
    args: &CheckArgs,
    installation: &Installation,
    seen: &[Seen],
    report: &mut Report,
) -> anyhow::Result<()> {
    let status = arbiter::check(args, installation, report).await?;
    // etcd may tell it to root alone.
    let listed = status.listed.as_ref().ok().map(Vec::len);
    size(&args.arbiter_endpoints, listed, report);
    let settings = arbiter::settings(args)?;
    let versions = Versions::new(&settings);
    let client = arbiter::client(settings).await?;
    match versions {
        Ok(versions) => of_version(versions.ask().await, report),
        Err(why) => report.unseen("arbiter", "/version", why.to_string()),
    }
    let measured = client.round_trips(MEASURED).await;
    for (endpoint, found) in measured {
        // Whoever does not answer is a finding already.
        let Ok(found) = found else { continue };
        far(&format!("arbiter member {endpoint}"), found, installation, report);
    }
    let store = Store::from(client);
    for one in seen {
        free(&store, one, report).await;
    }
    Ok(())
}

/// The same of a witness that is the arbiter. What store it has, it does not tell.
pub async fn check_witness(
    kubeconfig: &Path,
    installation: &Installation,
    seen: &[Seen],
    report: &mut Report,
) -> anyhow::Result<()> {
    let before = report.findings.len();
    let client = witness::check(kubeconfig, report).await?;
    // Whoever does not answer is a finding already.
    if report.findings.len() > before {
        return Ok(());
    }
    let object = format!("witness {}", client.endpoint());
    match client.round_trip(MEASURED).await {
        Ok(found) => far(&object, found, installation, report),
        Err(why) => report.unseen(&object, "", why.to_string()),
    }
    let store = Store::from(client);
    for one in seen {
        free(&store, one, report).await;
    }
    Ok(())
}

/// Whether there are as many members as an arbiter has, and every one is named; `listed`: how many it knows itself.
fn size(endpoints: &[String], listed: Option<usize>, report: &mut Report) {
    let (named, all) = (endpoints.len(), endpoints.join(", "));
    if let Some(listed) = listed.filter(|listed| *listed != named) {
        let found = format!("{named} ({all}), and the arbiter knows {listed} members");
        let expected = "every member named once, three or five of them";
        return report.find(ARBITER_SIZE, "arbiter", "--arbiter-endpoints", found, expected);
    }
    if !matches!(named, 3 | 5) {
        let found = format!("{named}: {all}");
        report.find(ARBITER_SIZE, "arbiter", "--arbiter-endpoints", found, "three or five members");
    }
}

fn of_version(asked: Vec<(String, VersionFound)>, report: &mut Report) {
    for (endpoint, found) in asked {
        let object = format!("arbiter member {endpoint}");
        match found {
            VersionFound::Good { version } => report.looked(format!("{object}: etcd {version}")),
            VersionFound::Bad { version } => {
                let expected = "a later 3.5 from 3.5.28 on, a later 3.6 from 3.6.9 on, or 3.7 and later";
                report.find(ARBITER_VERSION, &object, "/version", format!("etcd {version}"), expected);
            }
            VersionFound::Unknown { reason } => report.unseen(&object, "/version", reason),
        }
    }
}

/// Whether a member is too far away. A profile that bears any round trip still has its deadline of one call.
fn far(object: &str, found: RoundTrip, installation: &Installation, report: &mut Report) {
    let (profile, timing) = (installation.profile, installation.profile.timing());
    let said =
        format!("{} there and back, {} until a majority agrees", words(found.own), words(found.agreed));
    let longest = profile.longest_round_trip().filter(|longest| found.own > *longest);
    if longest.is_some() || found.agreed > timing.tq() {
        let way = profile
            .longest_round_trip()
            .map(|longest| format!("at most {} there and back and ", human(longest)))
            .unwrap_or_default();
        let expected = format!(
            "{way}at most {} for an agreed answer, as the profile {profile} needs",
            human(timing.tq())
        );
        report.find(ARBITER_SLOW, object, "--profile", said, &expected);
    } else {
        report.looked(format!("{object}: {said}; the profile {profile} bears that"));
    }
}

/// Whether the name of a site is free, or belongs to its cluster already.
async fn free(client: &Store, one: &Seen, report: &mut Report) {
    let Some(site) = &one.site else { return };
    let object = format!("site name {site}");
    match (client.owner(site, PATIENCE).await, &one.uid) {
        (Err(why), _) => report.unseen(&object, "arbiter", why.to_string()),
        (Ok(None), _) => report.looked(format!("{object}: free at the arbiter")),
        (Ok(Some(owner)), Some(uid)) if owner == *uid => {
            report.looked(format!("{object}: this cluster has it at the arbiter already"));
        }
        (Ok(Some(owner)), None) => {
            let why =
                format!("the cluster {owner} has it, and which cluster {} is could not be read", one.label);
            report.unseen(&object, "arbiter", why);
        }
        (Ok(Some(owner)), Some(uid)) => {
            let found = format!("the cluster {owner} has it");
            let expected = format!("free, or the cluster of {} ({uid})", one.label);
            report.find(SITE_NAME_TAKEN, &object, "arbiter", found, &expected);
        }
    }
}

#[cfg(test)]
mod tests {
    use bascule_core::timing::Profile;

    use super::*;

    #[test]
    fn a_member_is_too_far_for_a_profile_by_its_way_or_by_its_answers() {
        let slow = |profile, own, agreed| {
            let installation = Installation { profile, election: Duration::from_millis(300) };
            let found = RoundTrip { own: Duration::from_millis(own), agreed: Duration::from_millis(agreed) };
            let mut report = Report::new(String::new());
            far("https://a:2379", found, &installation, &mut report);
            report.findings.iter().any(|f| f.code == "ArbiterSlow")
        };
        assert!(!slow(Profile::Metro, 5, 20));
        assert!(slow(Profile::Metro, 6, 20));
        assert!(!slow(Profile::Region, 50, 120));
        assert!(slow(Profile::Region, 51, 120));
        assert!(slow(Profile::Region, 40, 501));
        assert!(!slow(Profile::Conservative, 1500, 2000));
        assert!(slow(Profile::Conservative, 1500, 2001));
    }

    #[test]
    fn an_arbiter_has_three_or_five_members() {
        for (n, well) in [(1, false), (2, false), (3, true), (4, false), (5, true), (6, false)] {
            for (listed, known) in [(None, true), (Some(n), true), (Some(n + 2), false)] {
                let mut report = Report::new(String::new());
                size(&vec!["https://a:2379".to_owned(); n], listed, &mut report);
                let found = report.findings.len();
                assert_eq!(found, usize::from(!(well && known)), "{n} named, {listed:?} listed");
            }
        }
    }
}
