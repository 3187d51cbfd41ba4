//! The database: its guard, its server, its disk, and people who have its passwords.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, NoTls};

use crate::client::{Attempt, Kind, Outcome, Stamp, certainly_not_written};
use crate::shop::{DATABASE_POD, NAMESPACE};
use crate::torture::ground::Ground;
use crate::world::Place;

/// How long a superuser waits for an answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a superuser's lock is held, and how long the writes between two locks go on.
const LOCKED: Duration = Duration::from_millis(800);
/// What is left of a full disk: a few pages, so that the server finds out while it writes.
const LEFT: u64 = 64 << 10;

pub(super) async fn guard_frozen(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let guard = on.guard(at)?.recorded;
    let _admitted = on.guard_stands_still(at);
    ensure!(guard.signal(Signal::STOP)?, "the guard of {at} ended by itself meanwhile");
    sleep(lasts).await;
    // One that is gone was killed by another fault.
    guard.signal(Signal::CONT).map(drop)
}

pub(super) async fn database_frozen(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let guard = on.guard(at)?;
    let _admitted = on.guard_stands_still(at);
    on.world().freeze_container_of(&guard)?;
    sleep(lasts).await;
    on.world().thaw_container_of(&guard)
}

pub(super) fn guard_killed(on: &Ground<'_, '_>, at: Place) -> Result<()> {
    ensure!(on.guard(at)?.recorded.signal(Signal::KILL)?, "the guard of {at} ended by itself meanwhile");
    Ok(())
}

pub(super) async fn server_frozen(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    let server = on.server_processes(at)?;
    for process in &server {
        process.signal(Signal::STOP)?;
    }
    sleep(lasts).await;
    for process in &server {
        process.signal(Signal::CONT)?;
    }
    Ok(())
}

pub(super) fn server_killed(on: &Ground<'_, '_>, at: Place) -> Result<()> {
    ensure!(on.server(at)?.recorded.signal(Signal::KILL)?, "the server of {at} ended by itself meanwhile");
    Ok(())
}

pub(super) fn backend_killed(on: &Ground<'_, '_>, at: Place) -> Result<()> {
    ensure!(on.backend(at)?.recorded.signal(Signal::KILL)?, "the session ended by itself meanwhile");
    Ok(())
}

pub(super) fn pod_deleted(on: &Ground<'_, '_>, at: Place) -> Result<()> {
    let args = ["delete", "pod", "-n", NAMESPACE, DATABASE_POD, "--wait=false", "--request-timeout=5s"];
    on.world().kubectl(at, &args).map(drop)
}

pub(super) async fn disk_full(on: &Ground<'_, '_>, at: Place, lasts: Duration) -> Result<()> {
    on.world().fill_disk(at, LEFT)?;
    sleep(lasts).await;
    on.world().empty_disk(at)
}

/// A superuser's session.
pub(super) async fn session(on: &Ground<'_, '_>, at: Place) -> Result<Client> {
    let database = on.shop().superuser(at)?;
    let (client, connection) = timeout(ANSWER, database.config.connect(NoTls))
        .await
        .with_context(|| format!("the server of {at} does not answer"))??;
    tokio::spawn(async move {
        // Its end is seen by the next statement.
        let _ = connection.await;
    });
    Ok(client)
}

pub(super) async fn run(on: &Ground<'_, '_>, at: Place, sql: &str) -> Result<()> {
    let client = session(on, at).await?;
    timeout(ANSWER, client.batch_execute(sql)).await.with_context(|| format!("no answer to {sql}"))??;
    Ok(())
}

pub(super) async fn replay_paused(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    run(on, on.roles.standby, "select pg_wal_replay_pause()").await?;
    sleep(lasts).await;
    // Nothing is paused any more where the server was started or promoted meanwhile, or stands still.
    let _ = run(on, on.roles.standby, "select pg_wal_replay_resume()").await;
    Ok(())
}

pub(super) async fn standby_promoted(on: &Ground<'_, '_>) -> Result<()> {
    run(on, on.roles.standby, "select pg_promote(false)").await
}

pub(super) async fn slot_dropped(on: &Ground<'_, '_>) -> Result<()> {
    // The walsender must have let go of it, and its replica comes back a tenth of a second later.
    let drop = "do $$ declare s record; tries int := 30; begin
  for s in select slot_name from pg_replication_slots loop
    loop
      perform pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = s.slot_name;
      perform pg_sleep(0.01);
      begin
        perform pg_drop_replication_slot(s.slot_name);
        exit;
      exception when object_in_use then
        tries := tries - 1;
        if tries = 0 then raise; end if;
      end;
    end loop;
  end loop; end $$";
    run(on, on.roles.active, drop).await
}

pub(super) async fn superuser(on: &Ground<'_, '_>, lasts: Duration) -> Result<()> {
    let at = on.roles.active;
    let end = Instant::now() + lasts;
    let mut number = 0_u64;
    let first = Stamp::now().0;
    let mut client = session(on, at).await.ok();
    let mut locked = Instant::now();
    while Instant::now() < end {
        let Some(open) = client.take().filter(|c| !c.is_closed()) else {
            client = session(on, at).await.ok();
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        number += 1;
        let token = format!("dba-{first}-{number}");
        let start = Stamp::now();
        let outcome = write(&open, &token, at).await;
        let broken = matches!(outcome, Outcome::Unknown(_));
        on.told().attempts.push(Attempt {
            kind: Kind::Write,
            worker: usize::MAX,
            token,
            start,
            end: Stamp::now(),
            outcome,
            address: None,
        });
        if !broken && locked.elapsed() > LOCKED {
            let seconds = LOCKED.as_secs_f64();
            let lock = format!("begin; lock table rows; select pg_sleep({seconds}); commit");
            let _ = timeout(ANSWER, open.batch_execute(&lock)).await;
            locked = Instant::now();
        }
        client = (!broken).then_some(open);
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// One row, whatever the flags say.
async fn write(client: &Client, token: &str, site: Place) -> Outcome {
    let insert = "insert into rows (token, site) values ($1, $2) returning id, pg_current_xact_id()::text";
    let work = async {
        client
            .batch_execute("set default_transaction_read_only = off; set transaction_read_only = off")
            .await?;
        client.query_one(insert, &[&token, &site.name()]).await
    };
    match timeout(ANSWER, work).await {
        Ok(Ok(row)) => Outcome::Acked { site: site.name().to_owned(), id: row.get(0), xid: row.get(1) },
        Ok(Err(e)) if certainly_not_written(&e) => Outcome::Refused(format!("{site}: {e}")),
        Ok(Err(e)) => Outcome::Unknown(format!("{site}: {e}")),
        Err(_) => Outcome::Unknown(format!("{site}: no answer in time")),
    }
}
