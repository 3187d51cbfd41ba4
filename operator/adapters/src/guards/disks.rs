//! Which database lies on this site's disks, as the guards beside them tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bascule_core::guard::wire::Disk;
use bascule_core::name::{ItemName, PolicyKey};
use bascule_core::position::SystemId;
use bascule_engine::ports::GuardSession;

type Told = BTreeMap<(PolicyKey, ItemName), (GuardSession, SystemId)>;

/// The databases on this site's disks, for as long as their guards are connected. Clones share what is known.
#[derive(Clone, Debug, Default)]
pub struct Disks(Arc<Mutex<Told>>);

impl Disks {
    /// The system identifier of what lies on the disk; `None` while no connected guard tells.
    pub fn system(&self, policy: &PolicyKey, database: &ItemName) -> Option<SystemId> {
        self.with(|told| told.get(&(policy.clone(), database.clone())).map(|(_, system)| *system))
    }

    pub(super) fn tell(&self, session: GuardSession, policy: &PolicyKey, database: &ItemName, disk: &Disk) {
        let key = (policy.clone(), database.clone());
        self.with(|told| match disk {
            Disk::Cluster(cluster) => drop(told.insert(key, (session, cluster.system_id))),
            Disk::Empty | Disk::Unreadable { .. } => drop(told.remove(&key)),
        });
    }

    pub(super) fn forget(&self, session: GuardSession) {
        self.with(|told| told.retain(|_, (by, _)| *by != session));
    }

    fn with<T>(&self, f: impl FnOnce(&mut Told) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
