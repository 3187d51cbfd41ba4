//! Sessions of the bench's own with the servers that are measured, for everything but the measured writes.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

use crate::client::Database;
use crate::shop::{APP, APP_PASSWORD, application_sql, table_sql};
use crate::world::Place;

/// How long a session or a statement may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The superuser of the servers that are no part of the shop.
pub(super) const SUPERUSER: &str = "postgres";
/// Its password.
pub(super) const SUPERUSER_PASSWORD: &str = "measured";

/// The application's sessions with a server at a place's own address: the same role, password and table as the shop's.
pub(super) fn database(site: Place, port: u16) -> Result<Database> {
    let parameters = format!("user={APP} password={APP_PASSWORD} dbname={APP} port={port} connect_timeout=2");
    Database::new(site.name(), site.address().into(), &parameters)
}

/// A session of the superuser.
pub(super) async fn superuser(address: Ipv4Addr, port: u16, database: &str) -> Result<Client> {
    let parameters = format!(
        "user={SUPERUSER} password={SUPERUSER_PASSWORD} dbname={database} port={port} connect_timeout=2"
    );
    session(&Database::new("bench", address.into(), &parameters)?).await
}

/// A session.
pub(super) async fn session(database: &Database) -> Result<Client> {
    let (client, connection) = timeout(ANSWER, database.config.connect(NoTls))
        .await
        .with_context(|| format!("the server at {} does not answer", database.address))??;
    tokio::spawn(async move {
        // Its end is seen by the next statement.
        let _ = connection.await;
    });
    Ok(client)
}

/// Whether a standby streams from a session's server.
pub(super) async fn ensure_streams(client: &Client) -> Result<()> {
    let question = "select count(*) from pg_stat_replication where state = 'streaming'";
    let row = timeout(ANSWER, client.query_one(question, &[])).await.context("no answer in time")??;
    ensure!(row.get::<_, i64>(0) >= 1, "no standby streams");
    Ok(())
}

/// Runs statements.
pub(super) async fn execute(client: &Client, statements: &str) -> Result<()> {
    timeout(ANSWER, client.batch_execute(statements)).await.context("no answer in time")??;
    Ok(())
}

/// Makes the roles, the database and the table that the client writes to, as the shop has them.
pub(super) async fn make_application(address: Ipv4Addr, port: u16) -> Result<()> {
    let client = superuser(address, port, "postgres").await?;
    // One by one: a database is not made in a transaction, which several statements at once would be.
    for statement in application_sql().split_inclusive(";\n") {
        execute(&client, statement).await?;
    }
    let client = superuser(address, port, APP).await?;
    execute(&client, &table_sql()).await
}

/// Whether a standby streams from a server and has replayed everything.
pub(super) async fn ensure_followed(address: Ipv4Addr, port: u16) -> Result<()> {
    let client = superuser(address, port, "postgres").await?;
    let question = "select count(*) from pg_stat_replication where state = 'streaming' \
                    and replay_lsn >= pg_current_wal_lsn()";
    let row = timeout(ANSWER, client.query_one(question, &[])).await.context("no answer in time")??;
    ensure!(row.get::<_, i64>(0) == 1, "no standby streams and has everything");
    Ok(())
}
