//! Each story with the rule left out that its row is about: it has to fail then, in the words that belong to that rule. A
//! story that goes well either way would prove nothing. Rules can be left out in a build with the feature `mutants` only.

/// What becomes of a story without its rule.
#[cfg_attr(not(feature = "mutants"), expect(dead_code, reason = "no rule can be left out in this build"))]
pub enum Without {
    /// It fails.
    Fails {
        /// The rule, as `bascule_core::mutant::forgets` names it.
        rule: &'static str,
        /// Other rules that hold the same: left out with it. Without these alone the story goes well.
        held_too: &'static [&'static str],
        /// The words in which it fails.
        because: &'static str,
    },
    /// There is no rule to leave out by itself: why.
    Stands(#[expect(dead_code, reason = "for who reads the table")] &'static str),
}

use Without::{Fails, Stands};

/// The second opinion on every plan, which holds most rules once more.
const TWICE: &str = "a second opinion";

/// Each row of the model's table.
pub const ROWS: &[(&str, Without)] = &[
    (
        "record read before the silence window ends",
        Fails {
            rule: "the last look comes after the record",
            held_too: &["a take compares the lease", TWICE],
            because: "invariant: S",
        },
    ),
    (
        "re-claim after a gap",
        Fails {
            rule: "a role is re-claimed after a gap",
            held_too: &[],
            because: "it wrote before its re-claim was applied",
        },
    ),
    (
        "a guard granting itself after expiry",
        Stands(
            "a guard whose time has run out stops its server before it looks at any answer, and starts it only on its operator's fresh word",
        ),
    ),
    (
        "re-claim sent only after the renewal that ended the gap",
        Stands("no answer is heard later than Tq after its question, and the next gap is longer: L - R > Tq"),
    ),
    (
        "gap judged when the reply is processed",
        Fails {
            rule: "a gap is judged when the reply is processed",
            held_too: &["a deadline counts from the sending"],
            because: "granted on a renewal that was looked at too late",
        },
    ),
    (
        "window from receipt of the first read",
        Fails { rule: "a silence begins with a receipt", held_too: &[], because: "invariant: S3" },
    ),
    (
        "window to send of the last read",
        Fails {
            rule: "a silence ends with a sending",
            held_too: &["a take compares the lease", TWICE],
            because: "invariant: S3",
        },
    ),
    (
        "last read after the record's reply",
        Stands(
            "left out, lyon still takes nothing here, and the world has no closer interleaving: the rule by itself is held by the tests of `ballot::silence`",
        ),
    ),
    (
        "a failed read is not unchanged",
        Fails {
            rule: "a failed read is not unchanged",
            held_too: &[],
            because: "a failed read was taken for silence",
        },
    ),
    (
        "deadline from send, not receipt",
        Fails { rule: "a deadline counts from the sending", held_too: &[], because: "after the sending" },
    ),
    (
        "L one tick short, also with drift",
        Fails { rule: "the last tick of L", held_too: &[TWICE], because: "invariant: S3" },
    ),
    (
        "phase looked at before granting",
        Fails {
            rule: "the phase is looked at before granting",
            held_too: &["a role is re-claimed after a gap", TWICE],
            because: "in Handover",
        },
    ),
    (
        "grants and locks carry the serial",
        Fails {
            rule: "what is older than the lock frees nothing",
            held_too: &[],
            because: "an old grant took the lock off",
        },
    ),
    (
        "rollback by CAS only",
        Fails {
            rule: "rolling back is a compare-and-swap",
            held_too: &[
                "giving up begins with the sending",
                "what is older than the lock frees nothing",
                TWICE,
            ],
            because: "it opened with its handover on the way",
        },
    ),
    (
        "no unlocking while an own Handover is in flight",
        Fails {
            rule: "giving up begins with the sending",
            held_too: &[
                "rolling back is a compare-and-swap",
                "what is older than the lock frees nothing",
                TWICE,
            ],
            because: "with its handover on the way",
        },
    ),
    (
        "Offered only after the lock",
        Fails {
            rule: "a role is offered only after the lock",
            held_too: &[TWICE],
            because: "offered without the guard's word",
        },
    ),
    (
        "opening is a step of its own",
        Stands(
            "a promotion is killed when the grant runs out, so that none outlives the grant it began with",
        ),
    ),
    (
        "sourceStopped names the serial",
        Fails {
            rule: "a statement names the serial",
            held_too: &[TWICE],
            because: "an old statement counted",
        },
    ),
    (
        "guard alone frozen while its server runs",
        Stands("a limit of the fence class Guard: the story shows the two writers"),
    ),
    (
        "a take allowed from Requested too",
        Fails { rule: "a take is allowed from Requested too", held_too: &[], because: "lyon's take" },
    ),
    (
        "fallback reads the record at all",
        Fails { rule: "the fallback goes by the record", held_too: &[], because: "the end of its writes" },
    ),
    (
        "fallback's deadline from the send of its record read",
        Fails { rule: "an extension counts from the reading", held_too: &[], because: "after the reading" },
    ),
    (
        "R+F+G after withdrawing counted from the CAS's reply",
        Fails {
            rule: "a withdrawn grant is waited out",
            held_too: &[TWICE],
            because: "offered while it wrote",
        },
    ),
    (
        "that wait one tick short",
        Fails { rule: "a withdrawal's last tick", held_too: &[TWICE], because: "after the withdrawal" },
    ),
    (
        "nothing was opened, kept over the guard's restart",
        Fails {
            rule: "what was opened is never denied",
            held_too: &[TWICE],
            because: "it was said that nothing was opened",
        },
    ),
    (
        "that offer excuses only the site whose hold came just before",
        Fails {
            rule: "only a hold that settled is excused",
            held_too: &[TWICE],
            because: "a hold that never settled was excused",
        },
    ),
    (
        "the new holder's guard removes the trigger before it confirms",
        Fails {
            rule: "a lock is reported once nothing runs",
            held_too: &[TWICE],
            because: "the server that was becoming a primary lives on",
        },
    ),
];

#[cfg(not(feature = "mutants"))]
pub const fn all_rules() {}

#[cfg(not(feature = "mutants"))]
pub const fn the_rules_left_out() {}

#[cfg(feature = "mutants")]
pub use switched::{all_rules, fails, the_rules_left_out};

#[cfg(feature = "mutants")]
mod switched {
    use std::cell::RefCell;
    use std::panic;

    use bascule_core::mutant::leave_out;

    thread_local! {
        static LEFT_OUT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// A world settles by every rule, whatever is left out later.
    pub fn all_rules() {
        leave_out(&[]);
    }

    /// From here on the story goes without them.
    pub fn the_rules_left_out() {
        LEFT_OUT.with_borrow(|rules| leave_out(rules));
    }

    /// Plays a story without these rules: why it fails, if it does.
    fn without(story: fn(), rules: &[&str]) -> Option<String> {
        LEFT_OUT.set(rules.iter().map(|r| (*r).to_owned()).collect());
        let told = panic::catch_unwind(story);
        LEFT_OUT.set(Vec::new());
        leave_out(&[]);
        let said = told.err()?;
        let words = said.downcast_ref::<String>().cloned();
        words.or_else(|| said.downcast_ref::<&str>().map(|s| (*s).to_owned())).or_else(|| Some(String::new()))
    }

    /// Why a story does not fail as it should without its rule; nothing when it does.
    pub fn fails(story: fn(), rule: &str, held_too: &[&str], because: &str) -> Option<String> {
        let all: Vec<&str> = [rule].into_iter().chain(held_too.iter().copied()).collect();
        let Some(said) = without(story, &all) else {
            return Some(format!("without {all:?} it goes just as well"));
        };
        let line = said.lines().next().unwrap_or_default();
        if !line.contains(because) {
            return Some(format!("without {all:?} it fails otherwise, expected {because:?}: {line}"));
        }
        if held_too.is_empty() {
            return None;
        }
        let other = without(story, held_too)?;
        let line = other.lines().next().unwrap_or_default();
        Some(format!("without {held_too:?} alone it fails as well: {line}"))
    }
}
