//! The one clock that the rules are fed with.

use std::time::Duration;

use bascule_core::time::Boottime;
use rustix::time::{ClockId, clock_gettime};

/// The present moment on `CLOCK_BOOTTIME`, which also counts the time a machine was suspended: a holder that slept
/// past its deadline must see that it did.
pub fn now() -> Boottime {
    let t = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(t.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(t.tv_nsec).unwrap_or_default();
    Boottime::new(Duration::new(secs, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boottime_is_the_uptime_of_this_machine_and_never_falls() {
        let uptime: f64 =
            std::fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
        let first = now();
        assert!((first.since_boot().as_secs_f64() - uptime).abs() < 60.0, "{first} against {uptime}");
        assert!(now() >= first);
    }
}
