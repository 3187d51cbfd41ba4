//! Whose functions a guard calls: its sessions are a superuser's.

use std::time::{Duration, Instant};

use crate::roles::serves;
use crate::world::World;

/// Far above what a guard needs to connect again.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_somebody_called_as_the_server_calls_its_own_is_not_run_by_the_guard() {
    let world = World::new().await;
    let mut a = world.node("a", true);
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    // It leaves a trace, and would make a primary look like a standby.
    for statement in [
        "CREATE SCHEMA trap",
        "CREATE TABLE trap.ran(who text)",
        "CREATE FUNCTION trap.pg_is_in_recovery() RETURNS boolean LANGUAGE plpgsql AS \
            $$ BEGIN INSERT INTO trap.ran VALUES (current_user); RETURN true; END $$",
        "ALTER DATABASE postgres SET search_path = trap, pg_catalog",
    ] {
        a.sql(statement).await;
    }
    // The trap works for whoever does not look after himself, and is set again.
    assert_eq!(a.sql("SELECT pg_is_in_recovery()").await, ["t"]);
    assert_eq!(a.sql("SELECT who FROM trap.ran").await, ["postgres"]);
    a.sql("TRUNCATE trap.ran").await;
    let since = a.sql("SELECT clock_timestamp()").await.remove(0);
    let own = "application_name = 'bascule guard'";
    let ended =
        a.sql(&format!("SELECT pg_terminate_backend(pid), pid FROM pg_stat_activity WHERE {own}")).await;
    assert!(!ended.is_empty(), "the guard has a session");
    let asked = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE {own} AND backend_start > '{since}' \
            AND state = 'idle' AND query LIKE '%pg_is_in_recovery()%'"
    );
    let started = Instant::now();
    while a.sql(&asked).await == ["0"] {
        assert!(started.elapsed() < PATIENCE, "the guard asks again\n{}", a.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(a.sql("SELECT who FROM trap.ran").await, Vec::<String>::new());
    a.until("an open primary", serves).await;
}
