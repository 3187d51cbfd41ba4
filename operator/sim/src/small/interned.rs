//! Which whole states have been seen?

use std::fmt::{self, Debug, Write as _};
use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

/// A quick hash for numbers that nobody chooses in order to make them collide.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }
}

/// Looked up and never iterated, so its order cannot be seen.
#[expect(clippy::disallowed_types, reason = "looked up and never iterated: its order cannot be seen")]
pub(super) type Lookup<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Quick>>;

/// The same for what is only there or not.
#[expect(clippy::disallowed_types, reason = "looked up and never iterated: its order cannot be seen")]
pub(super) type Known<K> = std::collections::HashSet<K, BuildHasherDefault<Quick>>;

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
