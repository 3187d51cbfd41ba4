//! Whether `bascule check` takes the policy, before anything is written, and what its sites still lack for it.

use anyhow::bail;
use bascule_core::policy::Policy;
use futures::future::join_all;
use jiff::Timestamp;

use super::look::Look;
use crate::check::report::Report;
use crate::check::{Installation, files, names, references, text};
use crate::plan::files::Loaded;

/// The policy as the operators will read it. What they would refuse is an error, and is not written.
pub fn taken(file: &str, text: &str, installation: &Installation) -> anyhow::Result<Policy> {
    let loaded = Loaded { path: file.to_owned(), bytes: text.as_bytes().to_vec() };
    let (report, mut policies) =
        files::of(std::slice::from_ref(&loaded), None, installation, Timestamp::now())?;
    let report = report.finish(true);
    if report.failed {
        let all: Vec<String> = report
            .findings
            .iter()
            .map(|f| {
                format!(
                    "{} {} {}: found {}, expected {}. {}",
                    f.code, f.object, f.field, f.found, f.expected, f.hint
                )
            })
            .collect();
        bail!("these answers make no policy that works; nothing was written:\n  {}", all.join("\n  "));
    }
    match (policies.pop(), policies.is_empty()) {
        (Some(one), true) => Ok(one.policy),
        _ => bail!(
            "{file}: found no single policy in what was made of the answers; this is a defect of Bascule, please report it"
        ),
    }
}

/// What each site lacks for the policy, as `bascule check` says it.
pub async fn left(policy: &Policy, looks: &[Look]) -> String {
    let all = looks.iter().map(|look| async move {
        let mut report = Report::of_cluster(look.site.as_str());
        references::check(&look.asked, policy, &look.site, &mut report).await;
        names::check(&look.asked, policy, &mut report).await;
        report
    });
    let mut whole = Report::new("What the sites have for it today".to_owned());
    for part in join_all(all).await {
        whole.absorb(part);
    }
    text::whole(&whole.finish(false))
}
