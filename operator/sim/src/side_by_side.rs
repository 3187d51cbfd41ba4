//! A model beside the real thing: the same steps for both, and what each step came to, line by line.
//!
//! A script says nothing of what is right. The real server says it, and the model has to say the same.

use std::fmt::{Debug, Write as _};
use std::future::Future;

/// A step of a script.
pub trait Step: Debug {
    /// Whether something goes wrong in this step: a crash, a cut, a refusal, a lost race.
    fn fails(&self) -> bool;
}

/// What a script is played on: a model, or the real thing.
pub trait Subject<S> {
    /// Does a step and says what came of it, as whoever depends on it would see it. What legitimately differs between
    /// two runs is left out or replaced: positions by which of them are equal, durations by what came first.
    fn play(&mut self, step: &S) -> impl Future<Output = Vec<String>>;
}

/// Plays a script on both and panics where they differ, with everything that was said on both sides.
///
/// # Panics
/// When they differ, and when nothing goes wrong in the script: a model is told apart from the real thing by failures.
pub async fn compare<S: Step>(script: &[S], mut model: impl Subject<S>, mut real: impl Subject<S>) {
    assert!(script.iter().any(Step::fails), "nothing goes wrong in this script");
    let (mut table, mut same) = (String::new(), true);
    for (number, step) in script.iter().enumerate() {
        let said = (model.play(step).await, real.play(step).await);
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{:3}. {step:?}", number + 1);
        for line in 0..said.0.len().max(said.1.len()) {
            let (model, real) = (said.0.get(line), said.1.get(line));
            let mark = if model == real { ' ' } else { '!' };
            same &= model == real;
            let text = |line: Option<&String>| line.map_or("(nothing)", String::as_str).to_owned();
            if model == real {
                let _ = writeln!(table, "   {mark} both:  {}", text(model));
            } else {
                let _ = writeln!(table, "   {mark} model: {}\n   {mark} real:  {}", text(model), text(real));
            }
        }
        if !same {
            break;
        }
    }
    assert!(same, "the model and the real thing differ\n{table}");
}

/// Numbers whose values differ between two runs, told as letters in the order in which they were met.
#[derive(Debug, Default)]
pub struct Letters(Vec<i64>);

impl Letters {
    /// The letter of a number, and whether it is the greatest so far.
    pub fn of(&mut self, number: i64) -> String {
        let greatest = self.0.iter().all(|n| *n <= number);
        let at = self.0.iter().position(|n| *n == number).unwrap_or_else(|| {
            self.0.push(number);
            self.0.len() - 1
        });
        let letter = u8::try_from(at).ok().and_then(|at| b'A'.checked_add(at)).map_or('?', char::from);
        format!("{letter}{}", if greatest { "" } else { " (older)" })
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[derive(Debug)]
    enum Act {
        Add(i64),
        Break,
    }

    impl Step for Act {
        fn fails(&self) -> bool {
            matches!(self, Self::Break)
        }
    }

    struct Sum(i64, bool);

    impl Subject<Act> for Sum {
        fn play(&mut self, step: &Act) -> impl Future<Output = Vec<String>> {
            match step {
                Act::Add(n) => self.0 += n,
                Act::Break if self.1 => self.0 = 0,
                Act::Break => {}
            }
            ready(vec![self.0.to_string()])
        }
    }

    fn played<T>(what: impl Future<Output = T>) -> T {
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        match std::pin::pin!(what).poll(&mut context) {
            std::task::Poll::Ready(done) => done,
            std::task::Poll::Pending => panic!("nothing here waits"),
        }
    }

    #[test]
    fn two_that_say_the_same_pass() {
        played(compare(&[Act::Add(2), Act::Break, Act::Add(1)], Sum(0, true), Sum(0, true)));
    }

    #[test]
    #[should_panic(expected = "! model: 0\n   ! real:  2")]
    fn a_difference_fails_and_shows_both_sides() {
        played(compare(&[Act::Add(2), Act::Break, Act::Add(1)], Sum(0, true), Sum(0, false)));
    }

    #[test]
    #[should_panic(expected = "nothing goes wrong")]
    fn a_script_without_a_failure_is_none() {
        played(compare(&[Act::Add(2)], Sum(0, true), Sum(0, true)));
    }

    #[test]
    fn numbers_become_letters_and_an_older_one_shows() {
        let mut letters = Letters::default();
        assert_eq!(letters.of(700), "A");
        assert_eq!(letters.of(900), "B");
        assert_eq!(letters.of(700), "A (older)");
        assert_eq!(letters.of(800), "C (older)");
    }
}
