//! A database that was there before comes into a guard's care by the steps of `docs/adopt.md`, and leaves it again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bascule_core::guard::wire::{Role, ServerState, Upstream};
use tokio_postgres::{Config, NoTls};

use crate::roles::{follows, serves};
use crate::world::{BIN, Node, World, as_nobody};

/// What its people have written into their own files.
const CONF: &str = "work_mem = '7MB'\nmax_connections = 42\nwal_log_hints = on\n";
const HBA: &str = "host shop shop 127.0.0.1/32 scram-sha-256\nlocal all admin trust\n";

/// A server as it ran before there was a guard.
struct Plain {
    data: PathBuf,
    root: PathBuf,
    port: u16,
}

fn run(program: &str, words: &[&str]) -> String {
    let out = as_nobody(&format!("{BIN}/{program}")).args(words).current_dir("/").output().unwrap();
    let said = [out.stdout, out.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    assert!(out.status.success(), "{program} {words:?}: {said}");
    said
}

impl Plain {
    fn of(node: &Node) -> Self {
        Self { data: node.root.join("data"), root: node.root.clone(), port: node.port }
    }

    fn control(&self, words: &[&str]) {
        let data = self.data.display().to_string();
        run("pg_ctl", &[&["-w", "-D", &data], words].concat());
    }

    fn start(&self) {
        let (log, root) = (self.root.join("plain.log").display().to_string(), self.root.display());
        let options =
            format!("-c port={} -c unix_socket_directories={root} -c listen_addresses=127.0.0.1", self.port);
        self.control(&["-l", &log, "-o", &options, "start"]);
    }

    fn stop(&self) {
        self.control(&["-m", "fast", "stop"]);
    }

    /// As its superuser, by the socket that its own rules let it in by.
    fn sql(&self, database: &str, statement: &str) -> Vec<String> {
        let (root, port) = (self.root.display().to_string(), self.port.to_string());
        let said = run(
            "psql",
            &[
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &root,
                "-p",
                &port,
                "-U",
                "admin",
                "-d",
                database,
                "-c",
                statement,
            ],
        );
        said.lines().map(str::to_owned).filter(|l| !l.is_empty()).collect()
    }

    /// Names in the data directory, without those that every running server makes.
    fn names(&self) -> BTreeSet<String> {
        let names =
            std::fs::read_dir(&self.data).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
        names.filter(|n| !n.starts_with("postmaster.")).collect()
    }

    fn files(&self) -> BTreeMap<&'static str, String> {
        let names = ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"];
        names.into_iter().map(|n| (n, std::fs::read_to_string(self.data.join(n)).unwrap())).collect()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if self.data.join("postmaster.pid").exists() && std::thread::panicking() {
            let data = self.data.display().to_string();
            let _ =
                as_nobody(&format!("{BIN}/pg_ctl")).args(["-D", &data, "-m", "immediate", "stop"]).output();
        }
    }
}

/// A client of the application, with its own password.
async fn shop(node: &Node) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(node.port).user("shop").password("of the shop").dbname("shop");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

async fn count(node: &Node) -> i64 {
    shop(node).await.unwrap().query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0)
}

fn follow(node: &Node, serial: u64, whom: &Node) {
    let upstream = Upstream {
        host: "127.0.0.1".into(),
        port: whom.port,
        user: "replication".into(),
        password: String::new(),
        slot: "bascule_other".into(),
        application_name: node.name.clone(),
        sslmode: "prefer".into(),
    };
    node.order(|o| {
        o.role = Role::Follow { upstream, open: true };
        o.serial = serial;
    });
}

/// The role goes from one to the other, with nothing lost, and the old one follows.
async fn switch(from: &Node, to: &Node, serial: u64, epoch: u64) {
    from.lock(serial);
    let locked = from.until("locked", |r| r.locked == Some(serial)).await;
    let stopped = locked.stopped.expect("a stop that was reported");
    assert!(stopped.clean, "{stopped:?}");
    to.until("everything replayed", |r| {
        r.positions.as_ref().is_some_and(|p| p.replay > Some(stopped.checkpoint))
    })
    .await;
    to.serve(serial + 1, epoch);
    to.until("the new primary", serves).await;
    follow(from, serial + 2, to);
    from.until("the old primary follows", follows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_there_before_comes_into_care_with_its_data_and_leaves_it_as_it_was() {
    let world = World::new().await;
    let superuser = ["--superuser", "admin"];
    let (mut a, mut b) = (world.node_with("a", false, &superuser), world.node_with("b", false, &superuser));
    let plain = Plain::of(&a);
    run("initdb", &["-U", "admin", "-A", "trust", "-N", "-D", &plain.data.display().to_string()]);
    let conf = std::fs::read_to_string(plain.data.join("postgresql.conf")).unwrap();
    std::fs::write(plain.data.join("postgresql.conf"), format!("{conf}{CONF}")).unwrap();
    std::fs::write(plain.data.join("pg_hba.conf"), HBA).unwrap();
    plain.start();
    plain.sql("postgres", "CREATE ROLE shop LOGIN PASSWORD 'of the shop'");
    plain.sql("postgres", "CREATE DATABASE shop OWNER shop");
    plain.sql(
        "shop",
        "SET ROLE shop; CREATE TABLE orders(n int); INSERT INTO orders SELECT generate_series(1, 1000)",
    );
    // The step before: the role by which the other site follows.
    plain.sql("postgres", "CREATE ROLE replication LOGIN REPLICATION");
    assert_eq!(count(&a).await, 1000);
    plain.stop();
    let (names, files) = (plain.names(), plain.files());

    // Into care: the same folder, the guard before the server's own command.
    a.start();
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    assert_eq!(count(&a).await, 1000);
    let client = shop(&a).await.unwrap();
    client.execute("INSERT INTO orders VALUES (1001)", &[]).await.unwrap();
    for (setting, value) in [("work_mem", "7MB"), ("max_connections", "42")] {
        let row = client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), value, "its own settings stay in force");
    }
    b.start();
    follow(&b, 2, &a);
    b.until("the other site's copy, cloned by its guard", follows).await;

    // There and back, as a planned switchover goes.
    switch(&a, &b, 3, 2).await;
    shop(&b).await.unwrap().execute("INSERT INTO orders VALUES (1002)", &[]).await.unwrap();
    assert_eq!(count(&b).await, 1002);
    switch(&b, &a, 7, 3).await;
    assert_eq!(count(&a).await, 1002);
    let back = a.last_report().unwrap();
    assert_eq!((back.diverged, b.last_report().unwrap().diverged), (None, None), "no rewind was needed");

    // Out of care: the guard stops its server cleanly, and the plain one starts in the same folder.
    for node in [&mut b, &mut a] {
        node.signal(nix::sys::signal::Signal::SIGTERM);
        node.ended().await;
    }
    plain.start();
    assert_eq!(plain.sql("postgres", "SELECT pg_is_in_recovery()"), ["f"]);
    let slots = "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'bascule\\_%'";
    assert_eq!(
        plain.sql("postgres", slots),
        ["bascule_other"],
        "it holds the log for nobody: the page says to drop it"
    );
    plain.sql("postgres", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'bascule\\_%'");
    assert_eq!(plain.sql("postgres", "SELECT count(*) FROM pg_replication_slots"), ["0"]);
    plain.sql("postgres", "DROP ROLE replication");
    let mut client = shop(&a).await.unwrap();
    client.transaction().await.unwrap().execute("INSERT INTO orders VALUES (1003)", &[]).await.unwrap();
    assert_eq!(count(&a).await, 1002, "it was rolled back");
    client.execute("INSERT INTO orders VALUES (1003)", &[]).await.unwrap();
    assert_eq!(count(&a).await, 1003);
    let settings = "SELECT name FROM pg_settings WHERE setting LIKE '%bascule%'";
    assert_eq!(plain.sql("postgres", settings), Vec::<String>::new());
    let mut stranger = Config::new();
    stranger.host("127.0.0.1").port(a.port).user("admin").dbname("shop");
    assert!(stranger.connect(NoTls).await.is_err(), "its own rules for clients are in force again");
    drop(client);
    plain.stop();
    assert_eq!(plain.files(), files, "its people's files are as they were");
    assert_eq!(plain.names(), names, "nothing else lies in the folder");
    std::fs::remove_dir_all(a.root.join("bascule")).unwrap();
    plain.start();
    assert_eq!(count(&a).await, 1003);
    plain.stop();

    // The other site's copy is still a replica: without its guard it follows nobody, and takes no writes.
    let other = Plain::of(&b);
    other.start();
    assert_eq!(other.sql("postgres", "SELECT pg_is_in_recovery()"), ["t"]);
    assert_eq!(count(&b).await, 1002);
    other.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_killed_before_it_came_into_care_is_recovered_and_has_its_rows() {
    let world = World::new().await;
    let mut a = world.node_with("a", false, &["--superuser", "admin"]);
    let plain = Plain::of(&a);
    run("initdb", &["-U", "admin", "-A", "trust", "-N", "-D", &plain.data.display().to_string()]);
    std::fs::write(plain.data.join("pg_hba.conf"), HBA).unwrap();
    plain.start();
    plain.sql("postgres", "CREATE ROLE shop LOGIN PASSWORD 'of the shop'");
    plain.sql("postgres", "CREATE DATABASE shop OWNER shop");
    plain.sql(
        "shop",
        "SET ROLE shop; CREATE TABLE orders(n int); INSERT INTO orders SELECT generate_series(1, 1000)",
    );
    plain.control(&["-m", "immediate", "stop"]);
    a.start();
    let report = a.until("a report", |r| r.state == ServerState::Down).await;
    assert!(matches!(report.disk, bascule_core::guard::wire::Disk::Cluster(_)), "{:?}", report.disk);
    a.serve(2, 1);
    a.until("an open primary", serves).await;
    assert_eq!(count(&a).await, 1000);
}
