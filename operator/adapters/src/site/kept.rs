//! Adapters that are made once and used for many looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bascule_core::name::{ItemName, PolicyKey};

/// An adapter that nobody asked for this long belongs to a policy that is gone: every thing of a policy is looked at
/// several times a minute.
const UNUSED_FOR: Duration = Duration::from_mins(10);

/// Which thing of which policy.
pub(super) type Key = (PolicyKey, ItemName);

struct Made<F, A> {
    from: F,
    adapter: Arc<A>,
    used: Instant,
}

/// The adapters made so far. Each keeps its last answers; from something else another one is made.
pub(super) struct Kept<F, A> {
    made: Mutex<BTreeMap<Key, Made<F, A>>>,
}

impl<F, A> Default for Kept<F, A> {
    fn default() -> Self {
        Self { made: Mutex::default() }
    }
}

impl<F: PartialEq, A> Kept<F, A> {
    /// The adapter of `key`, if it was made from this.
    pub(super) fn get(&self, key: &Key, from: &F) -> Option<Arc<A>> {
        self.with(|all| {
            let made = all.get_mut(key).filter(|made| made.from == *from)?;
            made.used = Instant::now();
            Some(Arc::clone(&made.adapter))
        })
    }

    /// Keeps a new adapter, in the place of one that was made from something else.
    pub(super) fn keep(&self, key: Key, from: F, adapter: A) -> Arc<A> {
        let adapter = Arc::new(adapter);
        let made = Made { from, adapter: Arc::clone(&adapter), used: Instant::now() };
        self.with(|all| all.insert(key, made));
        adapter
    }

    /// How many there are beside the one of `key`.
    pub(super) fn count_others(&self, key: &Key) -> usize {
        self.with(|all| all.keys().filter(|other| *other != key).count())
    }

    /// Lets those go that have not been used for long.
    pub(super) fn forget_unused(&self, now: Instant) {
        self.with(|all| all.retain(|_, made| now.saturating_duration_since(made.used) < UNUSED_FOR));
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<Key, Made<F, A>>) -> T) -> T {
        f(&mut self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_lives_while_it_is_used_and_made_from_the_same() {
        let kept = Kept::default();
        let key = |name: &str| (PolicyKey::new("web", "shop").unwrap(), ItemName::try_from(name).unwrap());
        kept.keep(key("main"), 1, "first");
        kept.keep(key("gone"), 1, "of a deleted policy");
        assert_eq!(kept.get(&key("main"), &1).as_deref(), Some(&"first"));
        assert_eq!(kept.get(&key("main"), &2), None, "it was made from something else");
        assert_eq!(*kept.keep(key("main"), 2, "second"), "second");
        assert_eq!((kept.count_others(&key("main")), kept.count_others(&key("new"))), (1, 2));
        let begun = Instant::now();
        kept.forget_unused(begun + UNUSED_FOR / 2);
        assert!(kept.get(&key("gone"), &1).is_some());
        kept.with(|all| all.get_mut(&key("gone")).unwrap().used = begun.checked_sub(UNUSED_FOR / 2).unwrap());
        kept.forget_unused(begun + UNUSED_FOR / 2);
        assert_eq!(kept.get(&key("gone"), &1), None);
        assert_eq!(kept.get(&key("main"), &2).as_deref(), Some(&"second"));
    }
}
