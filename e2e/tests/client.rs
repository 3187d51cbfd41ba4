//! The client against the demo's web application in both sites: needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use bascule_e2e::client::{
    Client, ClientOptions, Database, Kind, Outcome, PATIENCE, Published, Stamp, Target, rows,
};
use bascule_e2e::command::finish;
use bascule_e2e::waiting::until;
use bascule_e2e::world::Place::{Lyon, Paris};
use bascule_e2e::world::dns::{KEY_NAME, WEB_NAME, ZONE};
use bascule_e2e::world::place::WEB_PORT;
use bascule_e2e::world::{Options, Place, World};

const POSTGRES: &str = include_str!("postgres.yaml");
const WEB: &str = include_str!("web.yaml");
const SOON: Duration = Duration::from_mins(1);

/// Points the published name at a site.
fn publish(world: &World, site: Place) {
    let mut command = Command::new("knsupdate");
    command.args(["-y", &format!("hmac-sha256:{KEY_NAME}:{}", world.dns().secret().unwrap())]);
    let server = world.dns().servers()[0].ip();
    let address = site.address();
    let script = format!(
        "server {server}\nzone {ZONE}\nupdate del {WEB_NAME} A\nupdate add {WEB_NAME} 1 A {address}\nsend\nquit\n"
    );
    finish(command, Some(script.as_bytes()), Duration::from_secs(10)).unwrap();
}

fn set_read_only(world: &World, site: Place, on: bool) {
    let value = u8::from(on);
    let patch = format!("{{\"data\":{{\"READ_ONLY\":\"{value}\"}}}}");
    world.kubectl(site, &["patch", "configmap", "web-flags", "--type=merge", "-p", &patch]).unwrap();
    // A touched annotation makes the kubelet look at the ConfigMap at once.
    let touch = format!("touched={}", Stamp::now().0);
    world.kubectl(site, &["annotate", "pod", "-l", "app=web", "--overwrite", &touch]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_follows_the_published_name_and_its_record_tells_the_truth() -> Result<()> {
    let world = World::up(Options::default()).await?;
    for site in Place::SITES {
        world.apply(site, POSTGRES)?;
        world.apply(site, &WEB.replace("value: SITE", &format!("value: {site}")))?;
    }
    let mut databases = Vec::new();
    for site in Place::SITES {
        let pod = world.pod_ready(site, "default", "pg-0", SOON).await?;
        databases.push(Database::new(site.name(), pod.ip.parse()?, "user=postgres dbname=postgres")?);
        until("the web application", SOON, || async {
            let pods = world.pods(site, "default", "app=web").await?;
            ensure!(!pods.is_empty(), "no pod");
            world.pod_ready(site, "default", &pods[0].name, SOON).await
        })
        .await?;
    }
    publish(&world, Paris);
    let published = Published {
        servers: world.dns().servers(),
        name: WEB_NAME.to_owned(),
        port: WEB_PORT,
        patience: PATIENCE,
    };
    let client = Client::start(&ClientOptions::new(Target::Web(published)));
    let begin = Stamp::now();
    client.works_at(Kind::Read, "paris", begin, SOON).await?;
    client
        .wait_for("refusal in read-only mode", SOON, |a| {
            a.kind == Kind::Write && matches!(&a.outcome, Outcome::Refused(why) if why.contains("read-only"))
        })
        .await?;

    set_read_only(&world, Paris, false);
    client.works_at(Kind::Write, "paris", Stamp::now(), SOON).await?;
    let flagged = Stamp::now();
    set_read_only(&world, Paris, true);
    client
        .wait_for("refusal after the flag", SOON, |a| {
            a.start > flagged && matches!(&a.outcome, Outcome::Refused(why) if why.contains("read-only"))
        })
        .await?;
    set_read_only(&world, Lyon, false);
    publish(&world, Lyon);
    let moved = client.works_at(Kind::Write, "lyon", Stamp::now(), SOON).await?;
    world.kill_process(&world.pod(Lyon, "default", "pg-0").await?, "postgres -c")?;
    client.works_at(Kind::Write, "lyon", Stamp::now(), SOON).await?;
    let history = client.stop().await;

    history.one_writer_at_a_time(&["paris", "lyon"])?;
    assert!(history.one_writer_at_a_time(&["lyon", "paris"]).is_err());
    let mut all = rows(&databases[0]).await?;
    let pod = world.pod_ready(Lyon, "default", "pg-0", SOON).await?;
    all.extend(rows(&Database::new("lyon", pod.ip.parse()?, "user=postgres dbname=postgres")?).await?);
    assert!(history.acked().count() > 10);
    assert_eq!(history.lost(&all), Vec::<&_>::new());
    assert!(!history.lost(&all[..1]).is_empty());
    assert_eq!(history.written_twice(&all), Vec::<String>::new());
    assert_eq!(history.refused_but_written(&all), Vec::<&_>::new());
    let gap = history.longest_gap(Kind::Write, begin, moved.end);
    assert!(gap.length() > Duration::ZERO && gap.to <= moved.end);
    world.down()
}
