//! How far a standby is behind, asked of the active server itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio_postgres::{Config, NoTls};

use super::{OPERATOR_PASSWORD, Shop};
use crate::waiting::until;
use crate::world::Place;
use crate::world::place::POSTGRES_PORT;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Bytes that the replicas have not confirmed to have on disk, the furthest first.
const GAP: &str = "select coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn)), -1)::bigint \
                   from pg_stat_replication";

impl Shop<'_> {
    /// Bytes of log that the standby has not confirmed to the active server at `site`.
    pub async fn replication_gap(&self, site: Place) -> Result<u64> {
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
            let row = client.query_one(GAP, &[]).await?;
            driver.abort();
            Ok::<i64, tokio_postgres::Error>(row.get(0))
        };
        let gap = tokio::time::timeout(ANSWER, ask).await.context("no answer in time")??;
        u64::try_from(gap).ok().context("no replica is connected")
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
