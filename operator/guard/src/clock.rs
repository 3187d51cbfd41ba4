//! The one clock of the guard.

use std::time::Duration;

use bascule_core::time::Boottime;
use rustix::time::{ClockId, clock_gettime};

/// The present moment on `CLOCK_BOOTTIME`, which goes on while the machine is suspended: a guard that slept past its
/// deadline must see that it did.
pub(crate) fn now() -> Boottime {
    let t = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(t.tv_sec).unwrap_or_default();
    Boottime::new(Duration::new(secs, u32::try_from(t.tv_nsec).unwrap_or_default()))
}
