//! Reaches the databases directly: for measurements that must not wait for DNS, and for the final count of rows.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;
use tokio_postgres::{Config, NoTls};

use super::history::{Kind, Outcome};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_millis(500);
/// How long it may take for the final count of rows: nothing is measured by it, and a password's proof is work.
const CONNECT_TO_COUNT: Duration = Duration::from_secs(4);
/// How long a statement may take.
const STATEMENT: Duration = Duration::from_secs(2);

/// One site's database.
#[derive(Clone, Debug)]
pub struct Database {
    /// The site.
    pub site: String,
    /// Address of the pod.
    pub address: IpAddr,
    /// User, password, name of the database, port.
    pub config: Config,
}

impl Database {
    /// A database at an address, with the other parameters as in a connection string.
    pub fn new(site: &str, address: IpAddr, parameters: &str) -> Result<Self> {
        let mut config: Config = parameters.parse().context("not a connection string")?;
        config.hostaddr(address).host(address.to_string());
        Ok(Self { site: site.to_owned(), address, config })
    }

    async fn connect(&self, within: Duration) -> Result<tokio_postgres::Client> {
        let (client, connection) = timeout(within, self.config.connect(NoTls))
            .await
            .with_context(|| format!("the database of {} does not answer", self.site))??;
        tokio::spawn(async move {
            // Its end is seen by the next statement.
            let _ = connection.await;
        });
        Ok(client)
    }
}

/// A row of the demo's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: i64,
    /// The token it was written with.
    pub token: String,
    /// The site that wrote it.
    pub site: String,
}

/// True when a statement's error proves that it did nothing: the server itself said no, and not because it was
/// leaving or broken, for that it may say after the commit.
pub fn certainly_not_written(error: &tokio_postgres::Error) -> bool {
    error
        .code()
        .is_some_and(|code| !["57", "08", "58", "XX"].iter().any(|class| code.code().starts_with(class)))
}

/// Every row of the demo's table, in order.
pub async fn rows(database: &Database) -> Result<Vec<Row>> {
    let client = database.connect(CONNECT_TO_COUNT).await?;
    let found =
        timeout(Duration::from_secs(30), client.query("select id, token, site from rows order by id", &[]))
            .await
            .context("the rows did not come in time")??;
    Ok(found.iter().map(|r| Row { id: r.get(0), token: r.get(1), site: r.get(2) }).collect())
}

/// One session that moves on to the next database when its own refuses or is gone.
#[derive(Debug)]
pub(super) struct Sql {
    databases: Vec<Database>,
    current: usize,
    sessions: BTreeMap<usize, tokio_postgres::Client>,
}

impl Sql {
    pub(super) fn new(databases: Vec<Database>) -> Self {
        Self { databases, current: 0, sessions: BTreeMap::new() }
    }

    pub(super) async fn attempt(&mut self, kind: Kind, token: &str) -> (Outcome, Option<IpAddr>) {
        let Some(database) = self.databases.get(self.current).cloned() else {
            return (Outcome::Refused("no database was named".to_owned()), None);
        };
        let outcome = match self.session(&database).await {
            Ok(client) => statement(client, kind, token, &database.site).await,
            Err(e) => Outcome::Refused(format!("{e:#}")),
        };
        if !matches!(outcome, Outcome::Acked { .. } | Outcome::Answered { .. }) {
            self.sessions.remove(&self.current);
            self.current = (self.current + 1) % self.databases.len();
        }
        (outcome, Some(database.address))
    }

    async fn session(&mut self, database: &Database) -> Result<&tokio_postgres::Client> {
        if self.sessions.get(&self.current).is_none_or(tokio_postgres::Client::is_closed) {
            let client = database.connect(CONNECT).await?;
            self.sessions.insert(self.current, client);
        }
        self.sessions.get(&self.current).context("no session")
    }
}

async fn statement(client: &tokio_postgres::Client, kind: Kind, token: &str, site: &str) -> Outcome {
    let site_text = site.to_owned();
    let result = match kind {
        Kind::Write => {
            let insert =
                "insert into rows (token, site) values ($1, $2) returning id, pg_current_xact_id()::text";
            timeout(STATEMENT, client.query_one(insert, &[&token, &site])).await
        }
        Kind::Read => {
            timeout(STATEMENT, client.query_one("select coalesce(max(id), 0), '' from rows", &[])).await
        }
    };
    match (kind, result) {
        (Kind::Write, Ok(Ok(row))) => Outcome::Acked { site: site_text, id: row.get(0), xid: row.get(1) },
        (Kind::Read, Ok(Ok(row))) => Outcome::Answered { site: site_text, last: row.get(0) },
        (_, Ok(Err(e))) => {
            let text = format!("{site}: {e}");
            if certainly_not_written(&e) { Outcome::Refused(text) } else { Outcome::Unknown(text) }
        }
        (_, Err(_)) => Outcome::Unknown(format!("{site}: no answer in time")),
    }
}
