//! Which whole states have been seen?

use std::fmt::{self, Debug, Write as _};
use std::hash::{DefaultHasher, Hasher as _};

/// Looked up and never iterated, so its order cannot be seen.
#[expect(clippy::disallowed_types, reason = "looked up and never iterated: its order cannot be seen")]
pub(super) type Lookup<K, V> = std::collections::HashMap<K, V>;

/// The states of one part of the world, each once. A state's number is as good as the state.
#[derive(Debug)]
pub(super) struct Interned<T> {
    items: Vec<T>,
    numbers: Lookup<(u64, u64), u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: Lookup::default() }
    }
}

/// Hashes what is written to it, twice and differently.
struct Sink(DefaultHasher, DefaultHasher);

impl fmt::Write for Sink {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.write(s.as_bytes());
        self.1.write(s.as_bytes());
        self.1.write_u8(0xA5);
        Ok(())
    }
}

impl<T: Debug> Interned<T> {
    /// The number of `item`. Two are one when their `Debug` output is: it shows every field, the private ones too. (By
    /// 128 bits of its hash; a collision would hide states, and is not to be expected before 2^60 of them.)
    pub(super) fn number(&mut self, item: T) -> u32 {
        let mut sink = Sink(DefaultHasher::new(), DefaultHasher::new());
        // Writing to this sink never fails.
        let _ = write!(sink, "{item:?}");
        let next = self.items.len() as u32;
        let number = *self.numbers.entry((sink.0.finish(), sink.1.finish())).or_insert(next);
        if number == next {
            self.items.push(item);
        }
        number
    }

    /// The state with this number.
    pub(super) fn get(&self, number: u32) -> &T {
        &self.items[number as usize]
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.items.len()
    }
}
