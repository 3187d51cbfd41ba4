//! Options that every command about a cluster has.

use std::path::PathBuf;

use clap::Args;

use crate::why::ask::{Cluster, Wanted};
use crate::why::trouble::Trouble;

/// Which cluster is asked, with whose credentials.
#[derive(Clone, Debug, Default, Args)]
pub struct Access {
    /// The kubeconfig; left out: $KUBECONFIG, or ~/.kube/config, or in a pod its service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The kubeconfig's context; left out: its current one.
    #[arg(long)]
    pub context: Option<String>,
}

impl Access {
    /// The cluster that is meant. Nothing is asked yet.
    pub async fn connect(&self) -> Result<Cluster, Trouble> {
        Cluster::connect(self.kubeconfig.as_deref(), self.context.as_deref()).await
    }

    /// The options as they would be typed again, with a space before each.
    pub fn typed(&self) -> String {
        let file = self.kubeconfig.as_ref().map(|f| format!(" --kubeconfig {}", f.display()));
        let context = self.context.as_ref().map(|c| format!(" --context {c}"));
        [file, context].into_iter().flatten().collect()
    }
}

/// Which policies are asked about, and where.
#[derive(Clone, Debug, Default, Args)]
pub struct Which {
    /// The policy, as NAME or NAMESPACE/NAME; left out: all of them.
    #[arg(value_name = "POLICY")]
    pub policy: Option<String>,

    /// The namespace; left out: all of them.
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// Look in all namespaces, as it does when none is named.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,

    /// Which cluster is asked.
    #[command(flatten)]
    pub access: Access,
}

impl Which {
    /// What is meant by the policy and its namespace.
    pub fn wanted(&self) -> Result<Wanted, Trouble> {
        Wanted::of(self.policy.as_deref(), self.namespace.as_deref())
    }
}
