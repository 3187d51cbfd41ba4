//! Rules that are left out on purpose, so that it can be shown that leaving one out is noticed.
//!
//! Everywhere but in the simulator's own build (`make mutants`) [`forgets`] is the constant `false`, and the compiler
//! leaves exactly the rule. The programs that are released refuse to be compiled with the feature (see [`BUILT_IN`]).

/// Whether this build can leave rules out. A released program asserts at compile time that it cannot.
pub const BUILT_IN: bool = cfg!(feature = "mutants");

/// Whether the rule of this name is left out.
#[cfg(not(feature = "mutants"))]
#[inline]
pub const fn forgets(_rule: &'static str) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use switched::{forgets, leave_out};

/// The switch. It is the one exception to a core without state: a test build plays hundreds of mutants, and each of them
/// as an argument of every rule would make the rules unreadable. It belongs to a thread, so that two threads can play two.
#[cfg(feature = "mutants")]
mod switched {
    use std::cell::{Cell, RefCell};

    thread_local! {
        static LEFT_OUT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
        static ANY: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether the rule of this name is left out in this thread.
    pub fn forgets(rule: &'static str) -> bool {
        ANY.get() && LEFT_OUT.with_borrow(|rules| rules.iter().any(|r| r == rule))
    }

    /// From now on this thread leaves out these rules and no others.
    pub fn leave_out(rules: &[String]) {
        ANY.set(!rules.is_empty());
        LEFT_OUT.with_borrow_mut(|left_out| rules.clone_into(left_out));
    }
}
