//! A map that nearly always holds none, one or two entries.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::iter::Map;
use std::marker::PhantomData;
use std::ops::Index;
use std::{slice, vec};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// A map in the order of its keys that takes no more room than its entries. A `BTreeMap` of one keeps room for eleven, which
/// for thousands of policies is most of what they need.
///
/// It is used as a `BTreeMap` is, and looks like one to whoever prints or reads it. What is put in or taken out moves all that
/// is there: not for maps that grow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Few<K, V>(Box<[(K, V)]>);

/// The entries in order.
pub type Iter<'a, K, V> = Map<slice::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;

/// The entries in order, with values that may be changed.
pub type IterMut<'a, K, V> = Map<slice::IterMut<'a, (K, V)>, fn(&'a mut (K, V)) -> (&'a K, &'a mut V)>;

/// The place of a key, filled or not.
#[derive(Debug)]
pub struct Entry<'a, K, V> {
    map: &'a mut Few<K, V>,
    key: K,
    at: Result<usize, usize>,
}

fn parts<K, V>((key, value): &(K, V)) -> (&K, &V) {
    (key, value)
}

fn parts_mut<K, V>((key, value): &mut (K, V)) -> (&K, &mut V) {
    (key, value)
}

impl<K, V> Few<K, V> {
    /// A map of nothing.
    pub fn new() -> Self {
        Self(Box::default())
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.0.iter().map(parts as fn(_) -> _)
    }

    /// The same, with values that may be changed.
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        self.0.iter_mut().map(parts_mut as fn(_) -> _)
    }

    /// The keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator + Clone {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> + ExactSizeIterator {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// The keys alone.
    pub fn into_keys(self) -> impl DoubleEndedIterator<Item = K> + ExactSizeIterator {
        self.into_iter().map(|(key, _)| key)
    }

    /// The values alone.
    pub fn into_values(self) -> impl DoubleEndedIterator<Item = V> + ExactSizeIterator {
        self.into_iter().map(|(_, value)| value)
    }

    /// The entry with the lowest key.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// The entry with the highest key.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next_back()
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.0 = Box::default();
    }

    /// Keeps those entries for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        if self.is_empty() {
            return;
        }
        self.change(|all| all.retain_mut(|(key, value)| keep(key, value)));
    }

    fn change<T>(&mut self, how: impl FnOnce(&mut Vec<(K, V)>) -> T) -> T {
        let mut all = std::mem::take(&mut self.0).into_vec();
        let done = how(&mut all);
        self.0 = all.into_boxed_slice();
        done
    }
}

impl<K: Ord, V> Few<K, V> {
    fn at<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        for (at, (here, _)) in self.0.iter().enumerate() {
            match here.borrow().cmp(key) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(at),
                Ordering::Greater => return Err(at),
            }
        }
        Err(self.0.len())
    }

    /// What is there for `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.at(key).ok().map(|at| &self.0[at].1)
    }

    /// The same, with the key as it is kept.
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.at(key).ok().map(|at| parts(&self.0[at]))
    }

    /// What is there for `key`, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.at(key).ok().map(|at| &mut self.0[at].1)
    }

    /// Whether there is anything for `key`.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.at(key).is_ok()
    }

    /// Puts `value` there for `key`; returns what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.at(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.put(at, key, value);
                None
            }
        }
    }

    fn put(&mut self, at: usize, key: K, value: V) {
        self.change(|all| {
            all.reserve_exact(1);
            all.insert(at, (key, value));
        });
    }

    /// Takes out what is there for `key`.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.at(key).ok()?;
        Some(self.change(|all| all.remove(at)).1)
    }

    /// The place of `key`, to be filled or changed.
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        let at = self.at(&key);
        Entry { map: self, key, at }
    }
}

impl<'a, K: Ord, V> Entry<'a, K, V> {
    /// Changes what is there, if anything is.
    #[must_use]
    pub fn and_modify(self, how: impl FnOnce(&mut V)) -> Self {
        if let Ok(at) = self.at {
            how(&mut self.map.0[at].1);
        }
        self
    }

    /// What is there, or `value`, which is there from now on.
    pub fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    /// What is there, or what `make` makes, which is there from now on.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'a mut V {
        let at = match self.at {
            Ok(at) => at,
            Err(at) => {
                self.map.put(at, self.key, make());
                at
            }
        };
        &mut self.map.0[at].1
    }

    /// What is there, or the default, which is there from now on.
    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Few<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Few<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut all: Vec<(K, V)> = entries.into_iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        // Of two with one key the later one counts.
        all.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Self(all.into_boxed_slice())
    }
}

impl<K: Ord, V> Extend<(K, V)> for Few<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Few<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Ord + Borrow<Q>, Q: Ord + ?Sized, V> Index<&Q> for Few<K, V> {
    type Output = V;

    fn index(&self, key: &Q) -> &V {
        let at = self.at(key);
        // As for a `BTreeMap`: whoever asks so says that it is there.
        &self.0[at.unwrap_or(usize::MAX)].1
    }
}

impl<'a, K, V> IntoIterator for &'a Few<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut Few<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<K, V> IntoIterator for Few<K, V> {
    type Item = (K, V);
    type IntoIter = vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl<K: Serialize, V: Serialize> Serialize for Few<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for Few<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
            type Value = Few<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    found.push(entry);
                }
                Ok(found.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What is done to a map.
    #[derive(Clone, Debug)]
    enum Act {
        Insert(u8, u16),
        Remove(u8),
        Add(u8, u16),
        Keep(u8),
        Extend(Vec<(u8, u16)>),
        Clear,
    }

    fn act() -> impl Strategy<Value = Act> {
        let (key, value) = (|| 0_u8..6, any::<u16>);
        prop_oneof![
            4 => (key(), value()).prop_map(|(k, v)| Act::Insert(k, v)),
            2 => key().prop_map(Act::Remove),
            2 => (key(), value()).prop_map(|(k, v)| Act::Add(k, v)),
            1 => key().prop_map(Act::Keep),
            1 => prop::collection::vec((key(), value()), 0..5).prop_map(Act::Extend),
            1 => Just(Act::Clear),
        ]
    }

    proptest! {
        #[test]
        fn it_is_the_map_that_it_stands_for(acts in prop::collection::vec(act(), 0..24)) {
            let (mut few, mut map) = (Few::new(), BTreeMap::new());
            for act in acts {
                match act {
                    Act::Insert(k, v) => prop_assert_eq!(few.insert(k, v), map.insert(k, v)),
                    Act::Remove(k) => prop_assert_eq!(few.remove(&k), map.remove(&k)),
                    Act::Add(k, v) => {
                        let few = few.entry(k).and_modify(|at| *at = at.wrapping_add(v)).or_insert(v);
                        let map = map.entry(k).and_modify(|at: &mut u16| *at = at.wrapping_add(v)).or_insert(v);
                        prop_assert_eq!(few, map);
                    }
                    Act::Keep(at) => {
                        few.retain(|k, _| *k <= at);
                        map.retain(|k, _| *k <= at);
                    }
                    Act::Extend(entries) => {
                        few.extend(entries.clone());
                        map.extend(entries);
                    }
                    Act::Clear => {
                        few.clear();
                        map.clear();
                    }
                }
                prop_assert!(few.iter().eq(map.iter()));
                prop_assert_eq!(few.len(), map.len());
                prop_assert_eq!(few.first_key_value(), map.first_key_value());
                prop_assert_eq!(few.last_key_value(), map.last_key_value());
                for key in 0..6 {
                    prop_assert_eq!(few.get(&key), map.get(&key));
                    prop_assert_eq!(few.contains_key(&key), map.contains_key(&key));
                }
                prop_assert_eq!(format!("{few:#?}"), format!("{map:#?}"));
                let text = serde_json::to_string(&map).unwrap();
                prop_assert_eq!(&serde_json::to_string(&few).unwrap(), &text);
                prop_assert_eq!(&serde_json::from_str::<Few<u8, u16>>(&text).unwrap(), &few);
            }
        }

        #[test]
        fn of_two_with_one_key_the_later_one_counts(entries in prop::collection::vec((0_u8..4, any::<u16>()), 0..9)) {
            let map: BTreeMap<u8, u16> = entries.iter().copied().collect();
            let few: Few<u8, u16> = entries.into_iter().collect();
            prop_assert!(few.into_iter().eq(map));
        }
    }

    #[test]
    fn what_is_not_kept_is_asked_about_once() {
        let mut few = Few::from([(1, 'a'), (2, 'b'), (3, 'c')]);
        let mut asked = Vec::new();
        few.retain(|key, _| {
            asked.push(*key);
            *key != 2
        });
        assert_eq!((asked, few.keys().copied().collect::<Vec<_>>()), (vec![1, 2, 3], vec![1, 3]));
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn what_is_not_there_is_not_asked_for_by_index() {
        let _ = Few::from([(1, 'a')])[&2];
    }
}
