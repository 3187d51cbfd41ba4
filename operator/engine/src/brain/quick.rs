//! A quick hash, for what is compared with every event and is compared in full now and then.
//!
//! What two different things would share one by chance once in 2^64 comparisons is shown some seconds later.

use std::hash::Hasher;

/// Folds what is written, eight bytes at a time, by multiplication.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quick(u64);

/// Odd numbers without a pattern: digits of the golden ratio and of pi.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const NOISE: u64 = 0x2436_f6a8_885a_308d;

impl Quick {
    const fn fold(&mut self, word: u64) {
        let product = ((self.0 ^ word ^ NOISE) as u128) * (FACTOR as u128);
        self.0 = (product as u64 ^ (product >> 64) as u64).rotate_left(23).wrapping_add(word);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            // How many there are stands where none of them is.
            word[7] = rest.len() as u8;
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.fold(u64::from(byte));
    }

    fn write_u32(&mut self, word: u32) {
        self.fold(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.fold(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.fold(word as u64);
    }

    fn finish(&self) -> u64 {
        let product = (u128::from(self.0 ^ NOISE)) * u128::from(FACTOR);
        product as u64 ^ (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::Hash;

    use super::*;

    fn hash(what: impl Hash) -> u64 {
        let mut quick = Quick::default();
        what.hash(&mut quick);
        quick.finish()
    }

    #[test]
    fn what_differs_a_little_has_another_hash() {
        let mut seen = BTreeSet::new();
        for n in 0_u32..50_000 {
            assert!(seen.insert(hash(format!("database/main/{n}"))), "{n}");
            assert!(seen.insert(hash((n, Some(true)))), "{n}");
            assert!(seen.insert(hash((n, None::<bool>))), "{n}");
            assert!(seen.insert(hash((Some(n), "open", n))), "{n}");
        }
        for (a, b) in [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("abc\0", ""), ("abc", "\0")] {
            assert!(seen.insert(hash((a, b))), "{a:?} {b:?}");
        }
    }

    #[test]
    fn every_bit_of_what_is_hashed_changes_about_half_of_the_hash() {
        let (mut bits, mut tries) = (0, 0);
        for n in 0..500_u64 {
            let before = hash((n, "steady", n * 7));
            for bit in 0..64 {
                bits += (before ^ hash((n ^ (1 << bit), "steady", n * 7))).count_ones();
                tries += 1;
            }
        }
        let each = f64::from(bits) / f64::from(tries);
        assert!((30.0..34.0).contains(&each), "{each}");
    }
}
