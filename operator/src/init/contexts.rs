//! Which clusters the kubeconfig knows, to choose from.

use std::path::Path;

use kube::config::Kubeconfig;

/// The names of its contexts; none where it cannot be read, which is told when it is used.
pub fn known(kubeconfig: Option<&Path>) -> Vec<String> {
    let file = match kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    file.map(|f| f.contexts.into_iter().map(|c| c.name).collect()).unwrap_or_default()
}
