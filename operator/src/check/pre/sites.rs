//! Which clusters are looked at, and whose they are.

use std::path::Path;

use anyhow::{Context as _, bail};
use bascule_core::name::SiteName;

use crate::check::Installation;
use crate::check::live::Asked;
use crate::why::ask::Cluster;

/// A cluster that was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The site that it shall be; `None`: not said.
    pub site: Option<SiteName>,
    /// The kubeconfig's context; `None`: its current one.
    pub context: Option<String>,
}

impl Named {
    /// How findings call it.
    fn label(&self) -> String {
        match (&self.site, &self.context) {
            (Some(site), _) => site.to_string(),
            (None, Some(context)) => format!("context {context}"),
            (None, None) => "the current context".to_owned(),
        }
    }
}

/// A cluster that can be asked.
pub struct Asking {
    /// How findings call it.
    pub label: String,
    /// The site that it shall be.
    pub site: Option<SiteName>,
    /// The connection.
    pub asked: Asked,
}

/// Reads every `--site` and `--context`. Without any it is the current context.
pub fn named(sites: &[String], contexts: &[String]) -> anyhow::Result<Vec<Named>> {
    let mut all: Vec<Named> = Vec::new();
    for text in sites {
        let Some((site, context)) = text.split_once('=').filter(|(_, context)| !context.is_empty()) else {
            bail!("--site: found {text:?}, expected NAME=CONTEXT: with --pre each site needs its context");
        };
        let site = SiteName::try_from(site).with_context(|| format!("--site {text}"))?;
        if all.iter().any(|n| n.site.as_ref() == Some(&site)) {
            bail!("--site {site}: found it twice, expected each site once");
        }
        all.push(Named { site: Some(site), context: Some(context.to_owned()) });
    }
    for context in contexts {
        if all.iter().any(|n| n.context.as_ref() == Some(context)) {
            bail!("--context {context}: found it twice, expected each context once (--site names one, too)");
        }
        all.push(Named { site: None, context: Some(context.clone()) });
    }
    if all.is_empty() {
        all.push(Named { site: None, context: None });
    }
    Ok(all)
}

/// Prepares the connections. A context that is not there is an error; that nobody answers is not known yet.
pub async fn connect(
    kubeconfig: Option<&Path>,
    all: Vec<Named>,
    installation: Installation,
) -> anyhow::Result<Vec<Asking>> {
    let mut ready = Vec::with_capacity(all.len());
    for one in all {
        let label = one.label();
        let cluster = Cluster::connect(kubeconfig, one.context.as_deref()).await?;
        let asked = Asked { cluster, namespace: None, site: one.site.clone(), operator: None, installation };
        ready.push(Asking { label, site: one.site, asked });
    }
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sites: &[&str], contexts: &[&str]) -> Result<Vec<String>, String> {
        let own = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        named(&own(sites), &own(contexts))
            .map(|all| all.iter().map(Named::label).collect())
            .map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn each_cluster_is_named_once_by_its_site_or_its_context() {
        assert_eq!(read(&[], &[]).unwrap(), ["the current context"]);
        assert_eq!(read(&["paris=a"], &["b"]).unwrap(), ["paris", "context b"]);
        for (sites, contexts, says) in [
            (&["paris"][..], &[][..], "--site: found \"paris\", expected NAME=CONTEXT"),
            (&["paris="], &[], "expected NAME=CONTEXT"),
            (&["Paris=a"], &[], "site name \"Paris\" is not a name"),
            (&["paris=a", "paris=b"], &[], "--site paris: found it twice"),
            (&["paris=a"], &["a"], "--context a: found it twice"),
        ] {
            let said = read(sites, contexts).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }
}
