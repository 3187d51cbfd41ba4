//! Waiting for something of the outside that announces nothing: asked again and again until it holds, never longer
//! than a deadline, and the error says what was seen last.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks. Only what has no event to wait for is waited for in this way.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Asks until the answer is `Ok`; past the deadline fails with the last refusal.
pub async fn until<T, F>(what: &str, deadline: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let begin = Instant::now();
    loop {
        let left = deadline.saturating_sub(begin.elapsed());
        let last = match tokio::time::timeout(left.max(LOOK_EVERY), look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(e)) => format!("{e:#}"),
            Err(_) => "no answer".to_owned(),
        };
        if begin.elapsed() + LOOK_EVERY > deadline {
            bail!("waited {:?} for {what}; last seen: {last}", begin.elapsed());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// [`until`] for code that runs outside of an async context.
pub fn until_blocking<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(e) if begin.elapsed() > deadline => {
                bail!("waited {:?} for {what}; last seen: {e:#}", begin.elapsed())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}
