//! The objects of this site's cluster as last seen: what intent is made of, and where status goes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bascule_core::moves::MoveHash;
use bascule_core::name::PolicyKey;
use bascule_crds::{FailoverPolicy, Move};
use bascule_engine::intake::moves::Command;

/// The objects, shared between those who watch them and those who write their status.
#[derive(Debug, Default)]
pub struct Objects {
    inner: Mutex<Inner>,
}

/// What is known.
#[derive(Debug, Default)]
pub struct Inner {
    /// Policies as they are in the API server, valid or not.
    pub policies: BTreeMap<PolicyKey, FailoverPolicy>,
    /// Moves by namespace and name.
    pub moves: BTreeMap<(String, String), SeenMove>,
}

/// A Move as it is in the API server.
#[derive(Clone, Debug)]
pub struct SeenMove {
    /// The object.
    pub object: Move,
    /// What it means, or why it means nothing.
    pub command: Result<Command, String>,
}

impl Objects {
    /// Exclusive access; never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held leaves plain maps behind: every entry is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The valid Moves that mean this policy.
    pub fn moves_of(&self, key: &PolicyKey) -> Vec<bascule_core::moves::Move> {
        let none = BTreeMap::new();
        let labels = self.policies.get(key).and_then(|p| p.metadata.labels.as_ref()).unwrap_or(&none);
        self.moves
            .values()
            .filter_map(|m| m.command.as_ref().ok())
            .filter(|c| c.target.covers(key, labels))
            .map(|c| c.command.clone())
            .collect()
    }

    /// The Move object with this hash, if it still exists.
    pub fn move_with(&self, hash: &MoveHash) -> Option<&Move> {
        let same = |m: &&SeenMove| m.command.as_ref().is_ok_and(|c| c.command.hash == *hash);
        self.moves.values().find(same).map(|m| &m.object)
    }
}
