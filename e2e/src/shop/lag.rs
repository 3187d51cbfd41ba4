//! What a server says itself: how far its standby is behind, and what time it is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio_postgres::{Config, NoTls};

use super::{OPERATOR_PASSWORD, Shop};
use crate::waiting::until;
use crate::world::Place;
use crate::world::place::POSTGRES_PORT;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How long [`Shop::writes_more`] may take.
const MORE: Duration = Duration::from_secs(30);
/// Bytes that the replicas have not confirmed to have on disk, the furthest first.
const GAP: &str = "select coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn)), -1)::bigint \
                   from pg_stat_replication";

/// Bytes of one message of [`Shop::writes_more`]: little enough to pass a thin line within the receiver's patience.
const MESSAGE: usize = 1024;

impl Shop<'_> {
    /// The application writes so many bytes of log more at `site`, in small commits: on a busy machine the client's own
    /// rows may be too few.
    pub async fn writes_more(&self, site: Place, bytes: usize) -> Result<()> {
        let database = self.database(site)?;
        let work = async {
            let (client, connection) = database.config.connect(NoTls).await?;
            let driver = tokio::spawn(connection);
            let message = "x".repeat(MESSAGE);
            for _ in 0..bytes.div_ceil(MESSAGE) {
                client.query_one("select pg_logical_emit_message(true, 'more', $1)", &[&message]).await?;
            }
            driver.abort();
            Ok::<(), tokio_postgres::Error>(())
        };
        tokio::time::timeout(MORE, work).await.context("the rest was not written in time")??;
        Ok(())
    }

    /// Bytes of log that the standby has not confirmed to the active server at `site`.
    pub async fn replication_gap(&self, site: Place) -> Result<u64> {
        let gap = self.says(site, GAP).await?;
        u64::try_from(gap).ok().context("no replica is connected")
    }

    /// How many seconds the server of `site` is ahead of this machine.
    pub async fn database_is_ahead(&self, site: Place) -> Result<i64> {
        let shown = self.says(site, "select extract(epoch from clock_timestamp())::bigint").await?;
        Ok(shown - jiff::Timestamp::now().as_second())
    }

    /// A number that the operator's role may ask for.
    async fn says(&self, site: Place, query: &str) -> Result<i64> {
        let mut config = Config::new();
        config
            .host(Self::replication_address(site))
            .port(POSTGRES_PORT)
            .user("bascule")
            .password(OPERATOR_PASSWORD)
            .dbname("postgres")
            .connect_timeout(ANSWER);
        let ask = async {
            let (client, connection) = config.connect(NoTls).await?;
            let driver = tokio::spawn(connection);
            let row = client.query_one(query, &[]).await?;
            driver.abort();
            Ok::<i64, tokio_postgres::Error>(row.get(0))
        };
        Ok(tokio::time::timeout(ANSWER, ask).await.context("no answer in time")??)
    }

    /// Waits until the standby is at least this far behind the active server at `site`; answers how far.
    pub async fn falls_behind(&self, site: Place, bytes: u64, deadline: Duration) -> Result<u64> {
        until(&format!("the standby of {site} to fall {bytes} bytes behind"), deadline, || async {
            let gap = self.replication_gap(site).await?;
            ensure!(gap >= bytes, "it is {gap} bytes behind");
            Ok(gap)
        })
        .await
    }
}
