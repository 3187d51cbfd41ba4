//! The demo's application as two sites run it: a guarded PostgreSQL, a web application with a read-only flag, and the
//! policy that keeps both in their roles. Everything is what a user would write; nothing here knows a decision.

mod database;
mod install;
mod lag;
mod objects;
mod policy;
mod view;
mod wal;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bascule_core::journal::seal;
use rustix::process::Signal;

pub(crate) use database::{SETTINGS, application_sql, table_sql};
pub use install::{INSTALL, SECRETS};
pub use policy::{MoveText, PolicyText};
pub use view::{Seen, View};
pub use wal::{Saved, saved_commits};

use crate::client::{ClientOptions, Database, PATIENCE, Published, Target};
use crate::world::dns::WEB_NAME;
use crate::world::place::{POSTGRES_PORT, WEB_PORT};
use crate::world::{Place, World};

/// Namespace of the application.
pub const NAMESPACE: &str = "shop";
/// Name of the policy.
pub const POLICY: &str = "shop";
/// Name of the database's StatefulSet, of its Service and of the policy's entry.
pub const DATABASE: &str = "main";
/// The database's pod.
pub const DATABASE_POD: &str = "main-0";
/// The container with guard and server.
pub const DATABASE_CONTAINER: &str = "postgres";
/// Name of the web application's Deployment and of the policy's entry.
pub const WEB: &str = "web";
/// Folder in the git repository that the policies are read from.
pub const FOLDER: &str = "shop";

/// The application's own database and role.
pub(crate) const APP: &str = "shop";
pub(crate) const APP_PASSWORD: &str = "the-shop-s-own";
/// The person who may do everything at the database, and does.
const DBA: &str = "dba";
const DBA_PASSWORD: &str = "anything-goes";
pub(crate) const OPERATOR_PASSWORD: &str = "only-facts";
pub(crate) const REPLICATION_PASSWORD: &str = "copy-me";

/// How long the final count of rows may take, with every attempt that fails.
const ROWS: Duration = Duration::from_mins(1);

/// The application in a world.
#[derive(Clone, Copy, Debug)]
pub struct Shop<'a> {
    world: &'a World,
}

impl<'a> Shop<'a> {
    /// The application of this world, installed or not.
    pub fn of(world: &'a World) -> Self {
        Self { world }
    }

    /// The world.
    pub fn world(&self) -> &'a World {
        self.world
    }

    /// The fixed address under which a site's server is reached for replication.
    pub fn replication_address(site: Place) -> String {
        format!("10.96.{}.10", site.number())
    }

    /// Folder of a site's disk that holds the database and the guard's marks.
    pub fn volume(&self, site: Place) -> PathBuf {
        self.world.run().place(site).join("volume/main")
    }

    /// Where the guard of a site looks for the boundary at which it has to die, as the host sees it.
    pub fn guard_boundaries(&self, site: Place) -> PathBuf {
        self.volume(site).join(database::BOUNDARIES)
    }

    /// The user that the guard and its server run as.
    pub fn database_user() -> u32 {
        database::UID
    }

    /// The web application, as it is published.
    pub fn web(&self) -> Published {
        Published {
            servers: self.world.dns().servers(),
            name: WEB_NAME.to_owned(),
            port: WEB_PORT,
            patience: PATIENCE,
        }
    }

    /// A published client, two writers and two readers.
    pub fn published(&self) -> ClientOptions {
        ClientOptions::new(Target::Web(self.web()))
    }

    /// Every database, reached directly at their pods' present addresses.
    pub fn databases(&self) -> Result<Vec<Database>> {
        let mut found = Vec::new();
        for site in self.world.sites().iter().copied() {
            found.push(self.database(site)?);
        }
        Ok(found)
    }

    /// One site's database, reached directly: by the replication Service's fixed address, which outlives its pod.
    pub fn database(&self, site: Place) -> Result<Database> {
        let address = Self::replication_address(site).parse().context("an address")?;
        let parameters =
            format!("user={APP} password={APP_PASSWORD} dbname={APP} port={POSTGRES_PORT} connect_timeout=2");
        Database::new(site.name(), address, &parameters)
    }

    /// The same as a superuser, who has no part in Bascule.
    pub fn superuser(&self, site: Place) -> Result<Database> {
        let address = Self::replication_address(site).parse().context("an address")?;
        let parameters =
            format!("user={DBA} password={DBA_PASSWORD} dbname={APP} port={POSTGRES_PORT} connect_timeout=2");
        Database::new(site.name(), address, &parameters)
    }

    /// Every row in a site's database.
    pub async fn rows(&self, site: Place) -> Result<Vec<crate::client::Row>> {
        crate::waiting::until(&format!("the rows of {site}"), ROWS, || async {
            crate::client::rows(&self.database(site)?).await
        })
        .await
    }

    /// Takes the guard out of a site's StatefulSet: the server runs by its own command.
    pub async fn without_guard(&self, site: Place) -> Result<()> {
        self.apply(site, &database::plain(self, site)).await
    }

    /// Kills the server's first process, under its guard.
    pub async fn kill_server(&self, site: Place) -> Result<()> {
        let pod = self.world.pod(site, NAMESPACE, DATABASE_POD).await?;
        let processes = self.world.processes(&pod)?;
        // The guard's own command line ends with the server's.
        let server = processes.iter().find(|p| p.command.starts_with("postgres -c"));
        let server = server.with_context(|| format!("no server runs in {site}"))?;
        ensure!(server.recorded.signal(Signal::KILL)?, "the server of {site} ended by itself meanwhile");
        Ok(())
    }

    /// The lines of a site's operator and of its database's guard, by their time.
    pub fn journals(&self, site: Place) -> Vec<String> {
        let guard = self.volume(site).join("bascule");
        // The older one first: lines of one moment stay in their order.
        let files = ["journal.1.log", "journal.log"].map(|name| guard.join(name));
        let text = files.iter().map(|f| std::fs::read_to_string(f).unwrap_or_default()).collect::<String>();
        let mut lines = self.journal(site);
        lines.extend(text.lines().map(str::to_owned));
        lines.sort_by(|a, b| a.split(' ').next().cmp(&b.split(' ').next()));
        lines
    }

    /// The lines that a site's operator has written into its journal, without their seals; of several replicas all of
    /// them, by their time.
    pub fn journal(&self, site: Place) -> Vec<String> {
        let folders = self.world.journals(site);
        let mut lines: Vec<String> = folders.iter().flat_map(|folder| journal_in(folder)).collect();
        if folders.len() > 1 {
            lines.sort_by(|a, b| a.split(' ').next().cmp(&b.split(' ').next()));
        }
        lines
    }
}

/// The lines of one journal, without their seals.
pub fn journal_in(folder: &Path) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.filter_map(|f| Some(f.ok()?.path())).collect();
    paths.sort();
    let text = |p: &PathBuf| std::fs::read_to_string(p).unwrap_or_default();
    let plain = |line: &str| seal::split(line).0.to_owned();
    paths.iter().flat_map(|p| text(p).lines().map(plain).collect::<Vec<_>>()).collect()
}
