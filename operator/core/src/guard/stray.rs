//! A standby that does not stream: when is it worth a look whether it ever can again?

use std::time::Duration;

use crate::time::Boottime;

/// The first and the longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// How long it has to stream to count: a standby past its upstream's fork connects again and again for a moment.
const STEADY: Duration = Duration::from_secs(2);

/// How long it has not streamed and when it was looked at.
#[derive(Clone, Debug)]
pub struct Stray {
    quiet: Option<Boottime>,
    streaming: Option<Boottime>,
    pause: Duration,
    looking: bool,
}

impl Default for Stray {
    fn default() -> Self {
        Self { quiet: None, streaming: None, pause: PAUSE.0, looking: false }
    }
}

impl Stray {
    /// Whether to look now; [`Stray::looked`] says when that is done.
    pub fn is_due(&mut self, follows: bool, streams: bool, now: Boottime) -> bool {
        if !follows {
            // The pause stays: a standby that is started again and again is still the same one.
            (self.quiet, self.streaming) = (None, None);
            return false;
        }
        if streams {
            let since = *self.streaming.get_or_insert(now);
            if now.since(since) >= STEADY {
                (self.quiet, self.pause) = (None, PAUSE.0);
                return false;
            }
        } else {
            self.streaming = None;
        }
        let since = *self.quiet.get_or_insert(now);
        if self.looking || now.since(since) < self.pause {
            return false;
        }
        (self.looking, self.quiet) = (true, Some(now));
        self.pause = (self.pause * 2).min(PAUSE.1);
        true
    }

    /// It streams and goes on, or it follows nobody.
    pub const fn is_settled(&self) -> bool {
        self.quiet.is_none()
    }

    /// The look is over.
    pub fn looked(&mut self) {
        self.looking = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a standby is looked at over ten minutes, in seconds, if every look is over at once.
    fn looks(streams: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut stray = Stray::default();
        let at = |tenths: u64| {
            let due = stray.is_due(true, streams(tenths), Boottime::from_millis(tenths * 100));
            stray.looked();
            due.then_some(tenths / 10)
        };
        (0..6000).filter_map(at).collect()
    }

    #[test]
    fn a_standby_that_does_not_stream_is_looked_at_with_growing_pauses() {
        assert_eq!(looks(|_| false)[..6], [5, 15, 35, 75, 135, 195]);
    }

    #[test]
    fn a_standby_that_streams_is_not_looked_at_and_one_that_only_connects_for_moments_is() {
        assert_eq!(looks(|_| true), Vec::<u64>::new());
        assert_eq!(looks(|tenths| tenths % 15 != 0)[..2], [5, 15]);
        assert_eq!(looks(|tenths| tenths < 100)[..2], [15, 25]);
    }

    #[test]
    fn one_look_at_a_time() {
        let mut stray = Stray::default();
        let mut due = |ms| stray.is_due(true, false, Boottime::from_millis(ms));
        assert_eq!([0, 5_000, 60_000].map(&mut due), [false, true, false]);
    }
}
