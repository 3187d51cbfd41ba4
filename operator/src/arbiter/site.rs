//! What a site's operator gets for the chart `charts/bascule`, and what the site's guards get.

use bascule_core::name::SiteName;
use serde_json::json;

use super::certificates::Client;
use super::cluster::{secret, yaml};
use super::description::{Description, written};
use super::folder::File;

/// The Secret of a site's operator, in its namespace.
pub const SECRET: &str = "bascule-arbiter";
/// The Secret of a site's guards, in the namespaces of their databases.
pub const GUARD_SECRET: &str = "bascule-guard-arbiter";

/// All files of a site.
pub fn files(
    about: &Description,
    site: &SiteName,
    operator: &Client,
    guard: &Client,
) -> anyhow::Result<Vec<File>> {
    let folder = format!("sites/{site}");
    let mut files = operator.files(&folder);
    files.push(secret(&format!("{folder}/secret.yaml"), SECRET, &operator.parts())?);
    let values = json!({
        "site": { "name": site },
        "arbiter": {
            "endpoints": about.endpoints(Some(site)),
            "secretName": SECRET,
            "election": written(about.timing().election),
        },
        "profile": about.profile.name(),
    });
    let head = format!(
        "# What the operator of {site} has to know of the arbiter, for `helm install … charts/bascule -f values.yaml`; made by\n# `bascule arbiter init`.\n"
    );
    files.push(File::open(format!("{folder}/values.yaml"), head + &yaml(&values)?));
    files.extend(guard.files(&format!("{folder}/guard")));
    files.push(secret(&format!("{folder}/guard/secret.yaml"), GUARD_SECRET, &guard.parts())?);
    Ok(files)
}
