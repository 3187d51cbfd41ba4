//! Whether the clusters' clocks agree with each other. Each was read by way of this machine, so its own clock falls out.

use std::time::Duration;

use bascule_core::time::human;
use jiff::SignedDuration;

use super::cluster::Seen;
use crate::check::codes::CLOCK;
use crate::check::live::{CLOCKS_AGREE, Clock};
use crate::check::report::Report;
use crate::why::explain::words;

/// An API server says whole seconds.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Compares each with each.
pub fn between(seen: &[Seen], report: &mut Report) {
    let read: Vec<(&str, Clock)> = seen.iter().filter_map(|s| Some((s.label.as_str(), s.clock?))).collect();
    for (at, (name, clock)) in read.iter().enumerate() {
        for (other, theirs) in read.iter().take(at) {
            let apart = apart(*clock, *theirs);
            if apart > CLOCKS_AGREE {
                let object = format!("API servers of {other} and {name}");
                let found = format!("their clocks are at least {} apart", words(apart));
                report.find(CLOCK, &object, "Date", found, &format!("at most {}", human(CLOCKS_AGREE)));
            }
        }
    }
    if read.len() > 1 {
        let names: Vec<&str> = read.iter().map(|(name, _)| *name).collect();
        report.looked(format!("the clocks of {} against each other", names.join(", ")));
    }
}

/// How far ahead of the clock here it is: at least, and at most.
fn ahead(clock: Clock) -> (SignedDuration, SignedDuration) {
    (clock.there.duration_since(clock.after), clock.there.duration_since(clock.before) + SECOND)
}

/// How far two clocks are apart at least.
fn apart(one: Clock, other: Clock) -> Duration {
    let (one, other) = (ahead(one), ahead(other));
    let gap = (one.0 - other.1).max(other.0 - one.1);
    Duration::try_from(gap).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn only_what_is_certain_counts() {
        let at = |text: &str| -> Timestamp { format!("2026-11-28T03:00:{text}Z").parse().unwrap() };
        let clock = |there: &str, before: &str, after: &str| Clock {
            there: at(there),
            before: at(before),
            after: at(after),
        };
        // Read at different times, both right.
        assert_eq!(apart(clock("10", "10.1", "10.2"), clock("20", "20.8", "20.9")), Duration::ZERO);
        // The second is half a minute ahead; up to a second of it is not certain.
        let found = apart(clock("10", "10.1", "10.2"), clock("40", "10.1", "10.2"));
        assert!((Duration::from_secs(28)..Duration::from_secs(30)).contains(&found), "{found:?}");
        assert_eq!(found, apart(clock("40", "10.1", "10.2"), clock("10", "10.1", "10.2")));
        // A slow answer says little.
        assert_eq!(apart(clock("10", "10", "13"), clock("13", "10", "13")), Duration::ZERO);
    }
}
