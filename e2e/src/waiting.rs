//! Waiting for something of the outside that announces nothing: asked again and again until it holds, never longer
//! than a deadline, and the error says what was seen last.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks. Only what has no event to wait for is waited for in this way.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How long one look may take: one that hangs is given up and asked anew.
const ONE_LOOK: Duration = Duration::from_secs(5);

/// Asks until the answer is `Ok`; past the deadline fails with the last refusal.
pub async fn until<T, F>(what: &str, deadline: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let begin = Instant::now();
    let mut last = "no answer".to_owned();
    loop {
        let left = deadline.saturating_sub(begin.elapsed());
        match tokio::time::timeout(left.clamp(LOOK_EVERY, ONE_LOOK), look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(e)) => last = format!("{e:#}"),
            // A look that the deadline cuts short says less than the one before it.
            Err(_) if left < ONE_LOOK => {}
            Err(_) => last = format!("no answer within {ONE_LOOK:?}"),
        }
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

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn a_last_look_that_is_cut_short_does_not_hide_what_was_seen_before() {
        let begin = Instant::now();
        let answer = until("it", Duration::from_millis(100), || async {
            if begin.elapsed() > Duration::from_millis(50) {
                std::future::pending::<()>().await;
            }
            bail!("not yet: 3 of 4") as Result<()>
        });
        let error = answer.await.unwrap_err();
        assert!(format!("{error:#}").contains("3 of 4"), "{error:#}");
    }
}
