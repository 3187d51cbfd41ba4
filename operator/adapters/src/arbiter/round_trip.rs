//! How long questions to the members take from here.

use std::time::Duration;

use etcd_client::{Error, GetOptions};
use tokio::time::{Instant, timeout};

use super::failure::Cause;
use super::member::{Member, kv};
use super::{EtcdArbiter, Failure, key};

/// How often each question is asked. Odd: the median is one of them.
const ASKED: usize = 5;

/// How long one member takes from here, over a connection that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// The shortest answer that the member gave by itself: the way there and back.
    pub own: Duration,
    /// The median of answers that a majority agreed on first: what every decision waits for.
    pub agreed: Duration,
}

impl EtcdArbiter {
    /// Measures every member, all at the same time; in the configured order. `within` is for all questions to a member
    /// together.
    pub async fn round_trips(&self, within: Duration) -> Vec<(String, Result<RoundTrip, Failure>)> {
        let measured = self.members.all().iter().map(|member| async move {
            let failure = |cause| Failure { endpoint: member.endpoint.clone(), cause };
            let found = match timeout(within, measure(member)).await {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(error)) => Err(failure(Cause::of(&error))),
                Err(_) => Err(failure(Cause::TimedOut(within))),
            };
            (member.endpoint.clone(), found)
        });
        futures::future::join_all(measured).await
    }
}

async fn measure(member: &Member) -> Result<RoundTrip, Error> {
    let client = member.connect().await?;
    let ask = async |options: GetOptions| {
        let begun = Instant::now();
        kv(&client).get(key::PREFIX, Some(options.with_keys_only())).await?;
        Ok::<_, Error>(begun.elapsed())
    };
    // The first one makes the connection.
    ask(GetOptions::new().with_serializable()).await?;
    let (mut own, mut agreed) = (Duration::MAX, Vec::with_capacity(ASKED));
    for _ in 0..ASKED {
        own = own.min(ask(GetOptions::new().with_serializable()).await?);
        agreed.push(ask(GetOptions::new()).await?);
    }
    agreed.sort_unstable();
    Ok(RoundTrip { own, agreed: agreed.get(ASKED / 2).copied().unwrap_or(own) })
}
