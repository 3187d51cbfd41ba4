//! Passwords that are rotated: in the server, and in the Secrets of both sites.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{sleep, timeout};
use tokio_postgres::NoTls;

use super::database::run;
use crate::shop::{NAMESPACE, OPERATOR_PASSWORD, REPLICATION_PASSWORD};
use crate::torture::ground::Ground;
use crate::waiting::until;
use crate::world::Place;

/// A role whose password a Secret holds.
pub(super) struct Login {
    role: &'static str,
    secret: &'static str,
    at_first: &'static str,
}

/// The operator's role.
pub(super) const OPERATOR: Login =
    Login { role: "bascule", secret: "main-bascule", at_first: OPERATOR_PASSWORD };
/// The role of replication.
pub(super) const REPLICATION: Login =
    Login { role: "replication", secret: "main-replication", at_first: REPLICATION_PASSWORD };

/// The password that is in force meanwhile.
const ROTATED: &str = "another-one";
/// How long whoever rotates tries, while other faults are in the way.
const TRIES: Duration = Duration::from_secs(40);
/// How long a server may take to let somebody in.
const ANSWER: Duration = Duration::from_secs(2);

pub(super) async fn rotated(on: &Ground<'_, '_>, login: &Login, lasts: Duration) -> Result<()> {
    on.told().rotated = true;
    let at = rotate(on, login, ROTATED).await?;
    let old = lets_in(on, at, login.role, login.at_first).await;
    ensure!(old.is_err(), "{at} still takes the old password of {}", login.role);
    sleep(lasts).await;
    rotate(on, login, login.at_first).await.map(drop)
}

/// What was left half done by other faults.
pub(in crate::torture) async fn as_at_first(on: &Ground<'_, '_>) -> Result<()> {
    for login in [&OPERATOR, &REPLICATION] {
        rotate(on, login, login.at_first).await?;
    }
    Ok(())
}

/// Answers the site in whose server it was changed.
async fn rotate(on: &Ground<'_, '_>, login: &Login, password: &str) -> Result<Place> {
    let Login { role, secret, .. } = login;
    let sql = format!("alter role {role} password '{password}'");
    let at = until(&format!("somebody to change the password of {role}"), TRIES, || async {
        let (active, _) = on.read_status().await?;
        run(on, active, &sql).await?;
        lets_in(on, active, role, password).await?;
        Ok(active)
    })
    .await?;
    let patch = format!("{{\"stringData\":{{\"password\":\"{password}\"}}}}");
    let args = ["patch", "secret", "-n", NAMESPACE, secret, "--type=merge", "-p", &patch];
    let args = [&args[..], &["--request-timeout=3s"]].concat();
    for site in Place::SITES {
        until(&format!("Secret {secret} of {site} to be changed"), TRIES, || async {
            on.world().kubectl(site, &args)
        })
        .await?;
    }
    Ok(at)
}

async fn lets_in(on: &Ground<'_, '_>, at: Place, role: &str, password: &str) -> Result<()> {
    let mut config = on.shop().superuser(at)?.config;
    config.user(role).password(password).dbname("postgres");
    let (_, connection) = timeout(ANSWER, config.connect(NoTls)).await.context("no answer in time")??;
    drop(connection);
    Ok(())
}
