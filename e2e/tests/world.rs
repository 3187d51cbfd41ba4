//! The sandbox itself, on this machine: needs root. Each test has a world of its own, one after the other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bascule_e2e::client::{Database, dns};
use bascule_e2e::command::{finish, outcome, run};
use bascule_e2e::waiting::{until, until_blocking};
use bascule_e2e::world::Place::{Lyon, Paris, Third};
use bascule_e2e::world::dns::{KEY_NAME, WEB_NAME, ZONE};
use bascule_e2e::world::git::{GIT_PASSWORD, GIT_USER};
use bascule_e2e::world::run_folder::{MachineLock, RunFolder};
use bascule_e2e::world::{Cut, End, Options, Place, Pod, Scope, World};

const POSTGRES: &str = include_str!("postgres.yaml");
const SOON: Duration = Duration::from_mins(1);

fn options() -> Options {
    Options { with_binaries: false, disks_in_memory: true, ..Options::default() }
}

async fn postgres(world: &World) -> [Pod; 2] {
    for site in Place::SITES {
        world.apply(site, POSTGRES).unwrap();
    }
    let pods = [Paris, Lyon].map(|site| world.pod_ready(site, "default", "pg-0", SOON));
    let [paris, lyon] = pods;
    [paris.await.unwrap(), lyon.await.unwrap()]
}

/// One query from the host, as psql would.
async fn query(address: &str, sql: &str) -> Result<String> {
    let config = Database::new("any", address.parse()?, "user=postgres dbname=postgres")?.config;
    let work = async {
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        let driver = tokio::spawn(connection);
        let row = client.query_one(sql, &[]).await?;
        driver.abort();
        Ok(row.get::<_, String>(0))
    };
    tokio::time::timeout(Duration::from_secs(2), work).await?
}

/// Whether a TCP connection from inside a place gets through within a second.
fn reaches(world: &World, from: Place, to: impl Into<IpAddr>, port: u16) -> bool {
    let to = to.into();
    let mut command = world.within(from, "timeout").unwrap();
    command.args(["1", "bash", "-c", &format!("exec 3<>/dev/tcp/{to}/{port}")]);
    outcome(command, None, Duration::from_secs(10)).unwrap().0.success()
}

fn nothing_is_left(run_folder: &Path) {
    assert!(!Path::new("/sys/class/net/bascule0").exists(), "the bridge is left");
    assert!(!run("ip", ["-br", "link"]).unwrap().contains("bascule-"), "a cable is left");
    assert!(!run("ip", ["netns"]).unwrap().contains("bascule-"), "a network namespace is left");
    assert!(!run("nft", ["list", "tables"]).unwrap().contains("bascule"), "a filter is left");
    assert!(!run("ip", ["route"]).unwrap().contains("10.244."), "a route is left");
    let cgroups = run("find", ["/sys/fs/cgroup", "-maxdepth", "2", "-name", "bascule-*"]).unwrap();
    assert_eq!(cgroups, "", "cgroups are left");
    assert!(!run_folder.exists(), "files are left");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&*run_folder.to_string_lossy()), "mounts are left");
    let processes = run("ps", ["-eo", "args"]).unwrap();
    let folder = run_folder.to_string_lossy().into_owned();
    assert!(!processes.lines().any(|line| line.contains(&folder)), "processes are left:\n{processes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_run_in_both_sites_and_every_fault_hits_what_it_names_and_nothing_else() {
    let world = World::up(options()).await.unwrap();
    let [paris, lyon] = postgres(&world).await;
    for pod in [&paris, &lyon] {
        assert!(query(&pod.ip, "select version()").await.unwrap().starts_with("PostgreSQL 15"));
    }
    let address = world.exec(
        &paris,
        "postgres",
        &["psql", "-h", &lyon.ip, "-U", "postgres", "-Atc", "select host(inet_server_addr())"],
    );
    assert_eq!(address.unwrap().trim(), lyon.ip, "a pod reaches a pod of the other site");

    let lyon_ip: IpAddr = lyon.ip.parse().unwrap();
    let paris_ip: IpAddr = paris.ip.parse().unwrap();
    world.cut(&Cut::between(Paris, Lyon)).unwrap();
    assert!(!reaches(&world, Paris, lyon_ip, 5432) && !reaches(&world, Lyon, paris_ip, 5432));
    assert!(reaches(&world, Paris, Third.address(), 2479) && reaches(&world, Lyon, Third.address(), 2479));
    query(&lyon.ip, "select 'from the host'").await.unwrap();
    world.heal().unwrap();
    assert!(reaches(&world, Paris, lyon_ip, 5432));

    world.cut(&Cut::replication()).unwrap();
    assert!(!reaches(&world, Paris, lyon_ip, 5432) && reaches(&world, Paris, Lyon.address(), 6443));
    world.uncut(&Cut::replication()).unwrap();
    assert!(reaches(&world, Paris, lyon_ip, 5432));

    world.cut(&Cut::from_arbiter(Paris)).unwrap();
    for member in Place::ALL {
        assert!(!reaches(&world, Paris, member.address(), 2479), "{member} must be out of reach");
    }
    assert!(reaches(&world, Lyon, Third.address(), 2479) && reaches(&world, Paris, lyon_ip, 5432));
    world.heal().unwrap();
    for member in Place::ALL {
        assert!(reaches(&world, Paris, member.address(), 2479), "{member} must be in reach again");
    }

    world.cut(&Cut::between(Lyon, End::Host)).unwrap();
    assert!(query(&lyon.ip, "select ''").await.is_err());
    query(&paris.ip, "select ''").await.unwrap();
    assert!(reaches(&world, Paris, lyon_ip, 5432));
    world.heal().unwrap();
    query(&lyon.ip, "select ''").await.unwrap();

    for scope in [Scope::Pods, Scope::Whole] {
        world.freeze(Lyon, scope).unwrap();
        assert!(world.frozen(Lyon, scope));
        assert!(query(&lyon.ip, "select ''").await.is_err(), "{scope:?} is frozen");
        query(&paris.ip, "select ''").await.unwrap();
        world.thaw(Lyon, scope).unwrap();
        query(&lyon.ip, "select ''").await.unwrap();
    }
    world.freeze_pod(&paris).unwrap();
    assert!(query(&paris.ip, "select ''").await.is_err());
    world.thaw_pod(&paris).unwrap();
    query(&paris.ip, "select ''").await.unwrap();

    let big = "select repeat('x', 3000000)";
    let far = ["psql", "-h", &lyon.ip, "-U", "postgres", "-Atc", big];
    let timed = || {
        let begin = Instant::now();
        assert_eq!(world.exec(&paris, "postgres", &far).unwrap().trim().len(), 3_000_000);
        begin.elapsed()
    };
    world.limit(Lyon, Paris, 5432, 1_000_000).unwrap();
    let limited = timed();
    world.heal().unwrap();
    assert!(limited > Duration::from_millis(2500), "3 MB at 1 MB/s took {limited:?}");
    assert!(timed() < Duration::from_secs(2));

    let killed = world.kill_process(&paris, "postgres -c").unwrap();
    assert!(killed.contains("listen_addresses"), "the postmaster was killed, not {killed}");
    let restarted = until("the kubelet to start it again", SOON, || async {
        let pod = world.pod_ready(Paris, "default", "pg-0", SOON).await?;
        ensure!(pod.restarts > paris.restarts, "not restarted yet");
        Ok(pod)
    });
    assert_eq!(restarted.await.unwrap().uid, paris.uid);

    world.kill_part(Lyon, "scheduler").unwrap();
    assert!(world.status().unwrap().to_string().contains("scheduler"));
    let folder = world.run().root().to_owned();
    world.down().unwrap();
    nothing_is_left(&folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_arbiter_keeps_its_quorum_when_any_one_place_dies_and_a_place_boots_from_its_disk() {
    let world = World::up(options()).await.unwrap();
    let [_, lyon] = postgres(&world).await;
    query(&lyon.ip, "select 'ok' from (select set_config('x.y', '1', false)) _").await.unwrap();
    world
        .exec(
            &lyon,
            "postgres",
            &["psql", "-U", "postgres", "-c", "create table t as select 42 as n; checkpoint"],
        )
        .unwrap();
    for (round, place) in [Lyon, Third, Paris].into_iter().enumerate() {
        world.kill(place).unwrap();
        assert_eq!(world.powered().unwrap().len(), 2);
        let others: Vec<_> = Place::ALL.into_iter().filter(|p| *p != place).collect();
        let (key, value) = ("/bascule/v1/test", round.to_string());
        until_blocking("the arbiter without one place", SOON, || {
            world.arbiter().ctl_at(&others, "operator-paris", &["put", key, &value])
        })
        .unwrap();
        world.boot(place).await.unwrap();
        let read =
            world.arbiter().ctl_at(&[place], "operator-lyon", &["get", "--print-value-only", key]).unwrap();
        assert_eq!(read.trim(), value, "{place} has caught up");
    }
    let pod = until("PostgreSQL of lyon after the power loss", SOON, || async {
        let pod = world.pod_ready(Lyon, "default", "pg-0", SOON).await?;
        ensure!(pod.restarts > 0, "still the status from before");
        ensure!(query(&pod.ip, "select n::text from t").await? == "42", "another row");
        Ok(pod)
    });
    pod.await.unwrap();
    let folder = world.run().root().to_owned();
    drop(world);
    nothing_is_left(&folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_the_arbiter_dns_and_git_are_told_apart() {
    let world = World::up(options()).await.unwrap();

    let arbiter = world.arbiter();
    arbiter.ctl("operator-paris", &["put", "/bascule/v1/policy/shop", "x"]).unwrap();
    arbiter.ctl("guard-lyon", &["put", "/bascule/v1/lease/lyon", "x"]).unwrap();
    arbiter.ctl("guard-lyon", &["get", "/bascule/v1/policy/shop"]).unwrap();
    for denied in ["/bascule/v1/lease/paris", "/bascule/v1/policy/shop", "/bascule/v1/lease/lyon2"] {
        let e = arbiter.ctl("guard-lyon", &["put", denied, "x"]).unwrap_err().to_string();
        assert!(e.contains("permission denied"), "{denied}: {e}");
    }
    assert!(arbiter.ctl("operator-paris", &["put", "/other", "x"]).is_err());

    let update = |key: &str| {
        let mut command = Command::new("knsupdate");
        command.args(["-y", &format!("hmac-sha256:{KEY_NAME}:{key}")]);
        let server = world.dns().servers()[0];
        let script = format!(
            "server {}\nzone {ZONE}\nupdate add {WEB_NAME} 5 A {}\nsend\nquit\n",
            server.ip(),
            Paris.address()
        );
        finish(command, Some(script.as_bytes()), Duration::from_secs(10))
    };
    assert!(update("bm90IHRoZSBrZXk=").is_err());
    update(&world.dns().secret().unwrap()).unwrap();
    for server in world.dns().servers() {
        let ask = || dns::addresses(server, WEB_NAME, Duration::from_secs(1));
        let answer = until(&format!("{server} to know the address"), SOON, ask).await.unwrap();
        assert_eq!(answer.addresses, vec![Paris.address()]);
        assert_eq!(answer.ttl, Duration::from_secs(5));
    }

    let git = world.git();
    let commit = git.commit("a policy", &[("shop/policy.yaml", "kind: FailoverPolicy\n")]).unwrap();
    let clone = |user: &str, password: &str| {
        let target = tempfile::tempdir().unwrap();
        let url =
            git.url().replacen("https://", &format!("https://{user}:{password}@"), 1).replace(' ', "%20");
        let mut command = world.within(Lyon, "git").unwrap();
        command.args(["clone", "-q", &url]).arg(target.path());
        command.env("GIT_SSL_CAINFO", git.ca()).env("GIT_TERMINAL_PROMPT", "0");
        finish(command, None, Duration::from_secs(20)).map(|_| target)
    };
    let target = clone(GIT_USER, GIT_PASSWORD).unwrap();
    let head = run("git", ["-C", &target.path().to_string_lossy(), "rev-parse", "HEAD"]).unwrap();
    assert_eq!(head.trim(), commit);
    assert!(clone(GIT_USER, "wrong").is_err());
    let reverted = git.revert(&commit).unwrap();
    assert_ne!(reverted, commit);
    git.freeze().unwrap();
    let mut ask = tokio::net::TcpStream::connect(SocketAddr::from(([10, 90, 0, 1], 8443))).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut ask, b"hello").await.unwrap();
    git.thaw().unwrap();
    git.stop().unwrap();
    assert!(clone(GIT_USER, GIT_PASSWORD).is_err());
    git.start().unwrap();
    clone(GIT_USER, GIT_PASSWORD).unwrap();
    world.down().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_the_owner_nothing_is_left() {
    let folder = RunFolder::default_path().unwrap();
    for signal in ["-INT", "-TERM", "-KILL"] {
        {
            let _lock = tokio::task::spawn_blocking(|| MachineLock::take(|_| ())).await.unwrap().unwrap();
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_bascule-sandbox"))
            .args(["up", "--no-binaries"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let places = || {
            let state = RunFolder::at(folder.clone())?.load()?.unwrap_or_default();
            ensure!(state.places.len() == 3, "{:?} have power", state.places.keys().collect::<BTreeSet<_>>());
            Ok(())
        };
        until_blocking("three places to have power", SOON, places).unwrap();
        run("kill", [signal, &child.id().to_string()]).unwrap();
        child.wait().unwrap();
        // Whoever cleans up holds the lock until nothing is left.
        tokio::task::spawn_blocking(|| MachineLock::take(|_| ())).await.unwrap().unwrap();
        nothing_is_left(&folder);
    }
}
