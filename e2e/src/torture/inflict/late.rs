//! Servers that answer late: they stand still for a moment, again and again.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep, timeout};

use crate::client::dns::soa_serial;
use crate::torture::ground::Ground;
use crate::world::dns::ZONE;
use crate::world::{Place, Scope};

/// How long a server stands still, and how long it then goes on.
const STILL: Duration = Duration::from_millis(400);
const ON: Duration = Duration::from_millis(100);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn api_slow(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let client = on.world().kube(at).await?;
    let ask = || async {
        let ask = http::Request::get("/readyz").body(Vec::new())?;
        timeout(ANSWER, client.request_text(ask)).await??;
        Ok(())
    };
    late(on, at, Scope::ApiServer, ask, lasts).await
}

pub(super) async fn dns_slow(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let ask = || async { soa_serial(on.world().dns().server(at), ZONE, ANSWER).await.map(drop) };
    late(on, at, Scope::Dns, ask, lasts).await
}

async fn late<F>(
    on: &Ground<'_, '_>,
    at: Place,
    scope: Scope,
    ask: impl Fn() -> F,
    lasts: Duration,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let end = Instant::now() + lasts;
    let cycles = async {
        while Instant::now() < end {
            on.world().freeze(at, scope)?;
            sleep(STILL).await;
            on.world().thaw(at, scope)?;
            sleep(ON).await;
        }
        Ok::<(), anyhow::Error>(())
    };
    let asked = async {
        let (mut answers, mut longest) = (0_u32, Duration::ZERO);
        while Instant::now() < end {
            let begin = Instant::now();
            // Another fault may keep the answer away; that proves nothing.
            if ask().await.is_ok() {
                answers += 1;
                longest = longest.max(begin.elapsed());
            }
            sleep(ON).await;
        }
        (answers, longest)
    };
    let (done, (answers, longest)) = tokio::join!(cycles, asked);
    done?;
    ensure!(
        answers == 0 || lasts < 2 * STILL || longest >= STILL / 2,
        "each of {answers} answers came within {longest:?}"
    );
    on.scene.note(&format!("{answers} answers, the latest after {longest:?}"));
    Ok(())
}
