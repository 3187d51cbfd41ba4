//! What a server answers, without the network that it came by.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use super::bounded::Bounded;
use super::connect::{Session, describe};
use super::preflight::{self, ExpectedRole, Thresholds};
use super::write::commit;
use super::{Facts, WriteCheck, facts};
use crate::finding::Finding;

/// The deadline of each of the calls, as whoever makes them sets one.
const WITHIN: Duration = Duration::from_secs(5);

/// Opens a session over a stream, asks everything that is asked of a server, and commits: as the operator does, or
/// why there is no session.
pub async fn asked(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(Vec<Finding>, Facts, Option<WriteCheck>), String> {
    let mut config = Config::new();
    config.user("bascule").password("secret").dbname("postgres").ssl_mode(SslMode::Disable);
    let start = Instant::now();
    let until = start + WITHIN;
    let opened = timeout_at(until, Session::over(Bounded::new(stream), &config, NoTls)).await;
    let session = opened.map_err(|_| "no answer in time".to_owned())?.map_err(|e| describe(&e))?;
    let limits = Thresholds {
        dead_link_within: Duration::from_secs(4),
        retry_at_most: Duration::from_secs(1),
        wal_senders_at_least: 2,
        slots_at_least: 2,
        replicas_change_primary: true,
    };
    let (findings, facts) = tokio::join!(
        timeout_at(until, preflight::examine(&session, ExpectedRole::Either, &limits)),
        facts::read(&session, start, until)
    );
    let until = Instant::now() + WITHIN;
    let committed = timeout_at(until, commit(&session)).await;
    Ok((findings.unwrap_or_default(), facts, committed.ok().and_then(Result::err)))
}
