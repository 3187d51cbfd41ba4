//! The floor: two plain servers of the same build and settings, and the same steps without asking anybody. Nothing is
//! proved, nobody agrees on anything, and the one who does it knows at once what has happened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::client::{Before, Change, Seen, back, moved, writes};
use super::series::Act;
use super::sql;
use crate::shop::{REPLICATION_PASSWORD, SETTINGS};
use crate::waiting::until;
use crate::world::guest::GUEST_HOME;
use crate::world::{Place, World};

/// Where they listen.
const PORT: u16 = 5533;
const NAME: &str = "by-hand";
/// What makes a server's files.
const MAKING: &str = "by-hand-files";
const USER: &str = "postgres";
const BIN: &str = "/usr/lib/postgresql/15/bin";
/// How long a server may take to start, to end, or to be copied.
const SERVER: Duration = Duration::from_mins(1);

/// Who may come in, here and at the peer: as in the shop's image.
pub(super) const HBA: [&str; 3] = [
    "local all all trust",
    "host replication replication all scram-sha-256",
    "host all all all scram-sha-256",
];

/// The pair.
pub(super) struct ByHand<'a> {
    world: &'a World,
    active: Place,
}

impl<'a> ByHand<'a> {
    /// Makes both servers; paris is the primary.
    pub(super) async fn start(world: &'a World) -> Result<Self> {
        let pair = Self { world, active: Place::Paris };
        let script = format!(
            "set -eu
rm -rf data
echo {password} > password
{BIN}/initdb -D data -U {user} -E UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 \
             --pwfile=password > /dev/null
printf '%s\\n' {hba} > data/pg_hba.conf",
            password = sql::SUPERUSER_PASSWORD,
            user = sql::SUPERUSER,
            hba = HBA.map(|line| format!("'{line}'")).join(" "),
        );
        pair.shell(Place::Paris, &script)?;
        pair.start_server(Place::Paris)?;
        until("the floor's first server", SERVER, || {
            sql::superuser(Place::Paris.address(), PORT, "postgres")
        })
        .await?;
        sql::make_application(Place::Paris.address(), PORT).await?;
        pair.copy(Place::Lyon).await?;
        Ok(pair)
    }

    fn folder(&self, site: Place) -> Result<PathBuf> {
        self.world.guest_folder(site, NAME, USER)
    }

    fn shell(&self, site: Place, script: &str) -> Result<()> {
        let folder = self.folder(site)?;
        let argv = ["sh", "-c", script].map(str::to_owned);
        let work = || self.world.run_guest_as(site, MAKING, &folder, USER, &argv, SERVER);
        tokio::task::block_in_place(work)
    }

    fn start_server(&self, site: Place) -> Result<()> {
        let mut argv = vec![format!("{BIN}/postgres"), "-D".to_owned(), format!("{GUEST_HOME}/data")];
        let other = site.other_site().context("a site")?;
        let primary =
            format!("host={} port={PORT} user=replication password={REPLICATION_PASSWORD}", other.address());
        let own = [
            format!("port={PORT}"),
            format!("unix_socket_directories={GUEST_HOME}"),
            // No slot is kept by hand: what a standby may still need stays for a while.
            "wal_keep_size=256MB".to_owned(),
            format!("primary_conninfo={primary}"),
        ];
        for setting in SETTINGS.iter().map(|s| (*s).to_owned()).chain(own) {
            argv.extend(["-c".to_owned(), setting]);
        }
        self.world.start_guest_as(site, NAME, &self.folder(site)?, USER, &argv)
    }

    /// Makes a site's server a copy of the other one's, and lets it follow.
    async fn copy(&self, site: Place) -> Result<()> {
        let from = site.other_site().context("a site")?;
        let script = format!(
            "set -eu
rm -rf data
PGPASSWORD={REPLICATION_PASSWORD} {BIN}/pg_basebackup -h {} -p {PORT} -U replication -D data -X stream -c fast --no-sync
touch data/standby.signal",
            from.address()
        );
        self.shell(site, &script)?;
        self.start_server(site)?;
        self.followed(from).await
    }

    async fn followed(&self, active: Place) -> Result<()> {
        until("the floor's standby", SERVER, || sql::ensure_followed(active.address(), PORT)).await
    }

    /// Lets it happen once, until the client writes again.
    pub(super) async fn measure(&mut self, act: Act) -> Result<(Place, Seen, BTreeMap<String, f64>)> {
        let from = self.active;
        let to = from.other_site().context("a site")?;
        self.followed(from).await?;
        let client = writes(vec![sql::database(from, PORT)?, sql::database(to, PORT)?], from).await?;
        let standby = sql::superuser(to.address(), PORT, "postgres").await?;
        let mut phases = BTreeMap::new();
        let promote = "select pg_promote(false)";
        let seen = match act {
            Act::Planned => {
                // Before the pause, as everybody does who knows how.
                sql::execute(&sql::superuser(from.address(), PORT, "postgres").await?, "checkpoint").await?;
                let before = Before::now();
                self.world.signal_guest(from, NAME, Signal::SIGINT)?;
                self.world.guest_ended(from, NAME, SERVER)?;
                phases.insert("stop".to_owned(), before.elapsed_ms());
                sql::execute(&standby, promote).await?;
                moved(client, before, from, to).await?
            }
            Act::DatabaseKilled => {
                let before = Before::now();
                self.world.signal_guest(from, NAME, Signal::SIGKILL)?;
                sql::execute(&standby, promote).await?;
                let seen = back(client, before, None).await?;
                self.world.guest_ended(from, NAME, SERVER)?;
                seen
            }
            Act::SiteKilled => {
                let before = Before::now();
                self.world.kill(from)?;
                phases.insert("kill".to_owned(), before.elapsed_ms());
                sql::execute(&standby, promote).await?;
                moved(client, before, from, to).await?
            }
            other => bail!("nobody does {other:?} by hand"),
        };
        self.active = to;
        Ok((from, seen, phases))
    }

    /// Lets the site that was left follow, and tells what the change was like.
    pub(super) async fn settle(
        &self,
        from: Place,
        seen: Seen,
        phases: BTreeMap<String, f64>,
    ) -> Result<Change> {
        let rows = crate::client::rows(&sql::database(self.active, PORT)?).await?;
        let (lost, two_writers) = (seen.lost(&rows), seen.two_writers(from));
        if self.world.runs(from, NAME)? {
            // After a loss of power it follows again already.
            self.followed(self.active).await?;
        } else {
            self.copy(from).await?;
        }
        Ok(Change { seen, phases, lost, two_writers })
    }

    /// Starts the server of a site that has its power again.
    pub(super) async fn power_again(&mut self, site: Place) -> Result<()> {
        if site == self.active {
            self.start_server(site)?;
            return self.followed(site).await;
        }
        self.copy(site).await
    }
}
