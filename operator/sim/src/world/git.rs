//! The repository with people's intent.

use super::cluster::Objects;

/// The repository.
#[derive(Clone, Debug, Default)]
pub struct Git {
    /// What its head says; objects that a site takes whole or not at all.
    pub head: Objects,
    /// The head is no valid revision: why.
    pub invalid: Option<String>,
    /// The server does not answer.
    pub down: bool,
    /// What its head said before the flow.
    pub remembered: Option<Box<Objects>>,
    /// Sites that see an old head.
    pub hidden_from: Vec<usize>,
}

impl Git {
    /// What its head said before the flow.
    pub fn before(&self) -> Objects {
        self.remembered.as_deref().cloned().unwrap_or_default()
    }
}
