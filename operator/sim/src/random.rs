//! Chance, one generator for each actor: one more actor, or one more draw of one, changes nothing for the others.

use std::time::Duration;

use rand_core::{Rng, SeedableRng};
use rand_xorshift::XorShiftRng;

/// An actor's own chance.
#[derive(Clone, Debug)]
pub struct Chance(XorShiftRng);

impl Chance {
    /// The chance of the actor `name` in the world of `seed`.
    pub fn of(seed: u64, name: &str) -> Self {
        // FNV-1a: every name another stream, the same on every machine.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        Self(XorShiftRng::seed_from_u64(seed ^ hash))
    }

    /// A number below `n`; zero when `n` is.
    pub fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(n);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Whether something happens that happens so many times in a thousand.
    pub fn permille(&mut self, n: u32) -> bool {
        n > 0 && self.below(1000) < u64::from(n)
    }

    /// A time between the two, in whole microseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let (a, b) = (crate::time::micros(least), crate::time::micros(most));
        Duration::from_micros(a + self.below(b.saturating_sub(a) + 1))
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(of.len() as u64)).ok()?;
        of.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_draw_apart_and_the_same_actor_draws_the_same() {
        let draw = |seed, name| {
            let mut chance = Chance::of(seed, name);
            [(); 8].map(|()| chance.below(1000))
        };
        assert_eq!(draw(7, "guard paris"), draw(7, "guard paris"));
        assert_ne!(draw(7, "guard paris"), draw(7, "guard lyon"));
        assert_ne!(draw(7, "guard paris"), draw(8, "guard paris"));
    }
}
