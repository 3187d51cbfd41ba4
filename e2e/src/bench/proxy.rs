//! A proxy that asks each site whether it takes writes, the same for Bascule and for the peer: it runs at the third place,
//! as a proxy of a person would run beside his application.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use super::sql;
use crate::client::Database;
use crate::shop::{APP, APP_PASSWORD};
use crate::waiting::until;
use crate::world::guest::GUEST_HOME;
use crate::world::{Place, World};

const NAME: &str = "haproxy";
const USER: &str = "postgres";
const STARTS: Duration = Duration::from_secs(20);

/// One list of servers behind one port of the proxy.
pub(super) struct Listed {
    /// What the proxy calls it.
    pub(super) name: &'static str,
    /// The port that clients know.
    pub(super) port: u16,
    /// Whom it asks, by HTTP, for this path.
    pub(super) path: String,
    /// The servers: where they take sessions, and where they are asked.
    pub(super) servers: Vec<(Place, SocketAddr, SocketAddr)>,
}

/// Starts the proxy, and waits until it takes sessions.
pub(super) async fn start(world: &World, lists: &[Listed]) -> Result<()> {
    let folder = world.guest_folder(Place::Third, NAME, USER)?;
    std::fs::write(folder.join("haproxy.cfg"), configuration(lists))?;
    let argv = ["/usr/sbin/haproxy", "-W", "-db", "-f", &format!("{GUEST_HOME}/haproxy.cfg")];
    world.start_guest_as(Place::Third, NAME, &folder, USER, &argv.map(str::to_owned))?;
    for list in lists {
        until("the proxy to take sessions", STARTS, || async {
            TcpStream::connect((Place::Third.address(), list.port)).await.context("it does not listen")
        })
        .await?;
    }
    Ok(())
}

/// The database behind a port of the proxy, wherever it is.
pub(super) fn database(port: u16) -> Result<Database> {
    let parameters = format!("user={APP} password={APP_PASSWORD} dbname={APP} port={port} connect_timeout=2");
    Database::new("the proxy", Place::Third.address().into(), &parameters)
}

/// Asked every tenth of a second, and every twentieth while a server changes; a server that says no loses its sessions at
/// once. A connection waits for a second until some server says yes.
fn configuration(lists: &[Listed]) -> String {
    let mut text = "global
  maxconn 200
defaults
  mode tcp
  timeout connect 500ms
  timeout queue 1s
  timeout client 1m
  timeout server 1m
  timeout check 200ms
  retries 2
"
    .to_owned();
    for Listed { name, port, path, servers } in lists {
        let address = Place::Third.address();
        let _ = write!(
            text,
            "listen {name}
  bind {address}:{port}
  option httpchk GET {path}
  http-check expect status 200
  default-server inter 100ms fastinter 50ms downinter 100ms fall 1 rise 1 on-marked-down shutdown-sessions
"
        );
        for (site, at, asked) in servers {
            let _ = writeln!(text, "  server {site} {at} check addr {} port {}", asked.ip(), asked.port());
        }
    }
    text
}

/// Whether the proxy sends sessions to a server that takes them.
pub(super) async fn works(port: u16) -> Result<()> {
    let client = sql::session(&database(port)?).await?;
    sql::execute(&client, "select 1").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_asked_where_its_operator_answers() {
        let list = Listed {
            name: "bascule",
            port: 5601,
            path: "/primary/shop/shop".to_owned(),
            servers: vec![(
                Place::Lyon,
                "10.96.2.10:5432".parse().unwrap(),
                "10.90.0.12:8081".parse().unwrap(),
            )],
        };
        let text = configuration(&[list]);
        assert!(text.contains("  bind 10.90.0.13:5601\n  option httpchk GET /primary/shop/shop\n"), "{text}");
        assert!(text.ends_with("  server lyon 10.96.2.10:5432 check addr 10.90.0.12 port 8081\n"), "{text}");
    }
}
