//! Every effect of the operator and of the guard by a stable name.
//!
//! A crash can only matter where something outside of the process has changed and the rest has not. Those places are the
//! boundaries of the [`Effect`]s: before and after each. The engine and the guard name what they do by an exhaustive
//! `match`, so that a new command, action, step or mark does not compile before it has a name; the lints of the guard's
//! crate refuse a file written or a process signalled by another way than one that asks for a name. The suite
//! `make test-boundaries` passes through all of them on real parts, and kills the process at each.
//!
//! Without the feature `boundaries`, which nothing that is published is built with, [`begin`] does nothing.

mod effect;
#[cfg(feature = "boundaries")]
mod hook;

pub use effect::{Doer, Effect};

/// Whether this build can be killed at a boundary.
pub const BUILT_IN: bool = cfg!(feature = "boundaries");

/// The variable that names the folder of the files below. Nothing is noted and nobody is killed without it.
pub const FOLDER: &str = "BASCULE_BOUNDARIES";
/// Each passed [`Boundary`] becomes a line of this file while it exists.
pub const TRACE: &str = "trace";
/// Lines of a [`Boundary`] and a number in this file are passed one after the other, each at the so-manieth time; the
/// process dies at the last one.
pub const ARMED: &str = "armed";
/// What [`ARMED`] becomes in the moment before the death, so that the next process does not die as well.
pub const FIRED: &str = "fired";

/// One side of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// It is about to begin.
    Before,
    /// It is over, well or badly, or was given up; nobody has been told yet.
    After,
}

/// A place where a process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boundary {
    /// Of which effect.
    pub effect: Effect,
    /// On which side of it.
    pub side: Side,
}

impl std::fmt::Display for Boundary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(f, "{side} {}", self.effect.name())
    }
}

impl std::str::FromStr for Boundary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown =
            || format!("{text:?} is no boundary; one is `before` or `after` and the name of an effect");
        let (side, name) = text.split_once(' ').ok_or_else(unknown)?;
        let side = match side {
            "before" => Side::Before,
            "after" => Side::After,
            _ => return Err(unknown()),
        };
        let effect = Effect::ALL.iter().copied().find(|e| e.name() == name).ok_or_else(unknown)?;
        Ok(Self { effect, side })
    }
}

/// An effect that is under way. It is over when this is dropped: a task that is given up drops it, too.
#[derive(Debug)]
#[must_use = "the effect is over when this is dropped"]
pub struct Underway {
    #[cfg(feature = "boundaries")]
    effect: Option<Effect>,
}

/// An effect begins. `None`: what follows changes nothing outside.
#[cfg_attr(not(feature = "boundaries"), inline)]
pub fn begin(effect: impl Into<Option<Effect>>) -> Underway {
    #[cfg(feature = "boundaries")]
    {
        let effect = effect.into();
        if let Some(effect) = effect {
            hook::pass(Boundary { effect, side: Side::Before });
        }
        Underway { effect }
    }
    #[cfg(not(feature = "boundaries"))]
    {
        drop(effect);
        Underway {}
    }
}

/// Does something that is one effect; `None`: it changes nothing outside.
#[inline]
pub fn during<T>(effect: impl Into<Option<Effect>>, act: impl FnOnce() -> T) -> T {
    let underway = begin(effect);
    let done = act();
    drop(underway);
    done
}

/// The same for something that takes its time.
#[inline]
pub async fn around<T>(effect: impl Into<Option<Effect>>, work: impl Future<Output = T>) -> T {
    let underway = begin(effect);
    let done = work.await;
    drop(underway);
    done
}

#[cfg(feature = "boundaries")]
impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(effect) = self.effect {
            hook::pass(Boundary { effect, side: Side::After });
        }
    }
}

#[cfg(not(feature = "boundaries"))]
impl Drop for Underway {
    #[inline]
    fn drop(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_boundary_has_words_of_its_own_and_is_found_by_them() {
        let mut words = BTreeSet::new();
        for effect in Effect::ALL.iter().copied() {
            for side in [Side::Before, Side::After] {
                let boundary = Boundary { effect, side };
                assert_eq!(boundary.to_string().parse(), Ok(boundary));
                assert!(words.insert(boundary.to_string()), "{boundary} twice");
            }
        }
    }

    #[test]
    fn what_is_no_boundary_is_refused_by_its_words() {
        for text in ["", "before", "during renew-lease", "before nothing"] {
            let refused = text.parse::<Boundary>().unwrap_err();
            assert!(refused.contains(&format!("{text:?}")), "{refused}");
        }
    }
}
