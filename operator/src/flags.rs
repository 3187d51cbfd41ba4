//! Options that every command about a cluster has.

use std::path::PathBuf;

use clap::Args;

use crate::why::ask::Cluster;
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
