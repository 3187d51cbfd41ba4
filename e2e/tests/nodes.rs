//! Operators as pods, two replicas in each site, on real nodes, by the chart and the real helm: the demo's story, the death of
//! the replica that acts, an upgrade in the middle of a switchover, a rollback, one replica and two again, an uninstallation and
//! a new installation. Needs root.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bascule_crds::{FailoverPolicy, Move, MoveState};
use bascule_e2e::client::{Client, Kind, Stamp};
use bascule_e2e::kept::keep_logs;
use bascule_e2e::progress::seconds;
use bascule_e2e::shop::{MoveText, NAMESPACE, POLICY, SECRETS, Shop, WEB};
use bascule_e2e::story::{Claims, Teller, tell};
use bascule_e2e::waiting::until;
use bascule_e2e::world::Place::{Lyon, Paris};
use bascule_e2e::world::dns::WEB_NAME;
use bascule_e2e::world::{Cut, OPERATOR_PODS, Operators, Options, Place, Pod, SYSTEM, World, acts_at};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;

/// How long a transition may take before it has failed.
const TRANSITION: Duration = Duration::from_mins(1);
/// For how long writes have to go on when nobody is there who could move anything: many times the lease's length.
const ALONE: Duration = Duration::from_secs(20);
/// How many replicas each site has.
const REPLICAS: usize = 2;
/// The silence of the profile `metro` after which a spare follows a replica whose process is there: `R + p`.
const SILENCE: Duration = Duration::from_millis(1_500);
/// The chart's port of health and metrics.
const HTTP: u16 = 8080;

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_is_installed_upgraded_in_a_switchover_and_uninstalled_on_real_nodes_and_nothing_moves_that_should_not()
-> Result<()> {
    let options = Options {
        operators: Operators::Pods,
        replicas: REPLICAS,
        disks_in_memory: true,
        ..Options::default()
    };
    let world = World::up(options).await?;
    let teller = Teller::new();
    let told = async {
        let mut claims = tell(&world, &teller).await?;
        after_the_story(&world, &teller, &mut claims).await?;
        Ok::<_, anyhow::Error>(claims)
    }
    .await;
    if !told.as_ref().is_ok_and(Claims::all_hold) {
        let kept = keep_logs(&world, "nodes");
        println!("logs are kept in {}", kept.map_or_else(|e| format!("{e:#}"), |f| f.display().to_string()));
    }
    world.down()?;
    let claims = told?;
    ensure!(claims.all_hold(), "not every claim holds:\n{claims}");
    println!("{claims}");
    Ok(())
}

/// Lyon is active when the story ends.
async fn after_the_story(world: &World, teller: &Teller, claims: &mut Claims) -> Result<()> {
    let shop = Shop::of(world);
    let client = Client::start(&shop.published());
    client.works_at(Kind::Write, "lyon", Stamp::now(), TRANSITION).await?;
    footprint(world, teller).await?;
    the_acting_replica_is_killed(&shop, &client, teller, claims).await?;
    upgrade_in_a_switchover(&shop, &client, teller, claims).await?;
    rollback(&shop, &client, teller, claims).await?;
    one_replica_and_two_again(&shop, &client, teller, claims).await?;
    uninstallation(&shop, &client, teller, claims).await?;
    let history = client.stop().await;
    let rows = shop.rows(Paris).await?;
    let (lost, twice) = (history.lost(&rows).len(), history.written_twice(&rows).len());
    let refused = history.refused_but_written(&rows).len();
    claims.judge(
        "upgrade, rollback, uninstallation: no acknowledged row lost, none written twice",
        format!(
            "{} acknowledged, {lost} lost, {twice} twice, {refused} refused yet written",
            history.acked().count()
        ),
        lost == 0 && twice == 0 && refused == 0 && history.acked().count() > 0,
    );
    let one = history.one_writer_at_a_time(&["lyon", "paris"]);
    claims.judge(
        "upgrade, rollback, uninstallation: one writer at a time",
        one.as_ref().map_or_else(ToString::to_string, |()| "lyon, then paris".to_owned()),
        one.is_ok(),
    );
    Ok(())
}

/// The replicas of a site's operator, when there are exactly so many.
async fn operators(world: &World, site: Place, number: usize) -> Result<Vec<Pod>> {
    let pods = world.pods(site, SYSTEM, OPERATOR_PODS).await?;
    ensure!(pods.len() == number, "{} operators run in {site}, expected {number}", pods.len());
    Ok(pods)
}

/// Their UIDs.
async fn uids(world: &World, site: Place, number: usize) -> Result<BTreeSet<String>> {
    Ok(operators(world, site, number).await?.into_iter().map(|pod| pod.uid).collect())
}

/// Whether a replica acts and holds its site's lease.
fn acts(pod: &Pod) -> bool {
    let at = pod.ip.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, HTTP));
    at.is_ok_and(|at| tokio::task::block_in_place(|| acts_at(at)))
}

/// The replica that acts and the one that does not, once it is so.
async fn acting_and_spare(world: &World, site: Place) -> Result<(Pod, Pod)> {
    until(&format!("one replica of {site} to act"), TRANSITION, || async {
        let (mut acting, mut spares): (Vec<Pod>, Vec<Pod>) =
            operators(world, site, REPLICAS).await?.into_iter().partition(acts);
        ensure!(acting.len() == 1, "{} act", acting.len());
        acting.pop().zip(spares.pop()).context("no spare")
    })
    .await
}

async fn the_acting_replica_is_killed(
    shop: &Shop<'_>,
    client: &Client,
    teller: &Teller,
    claims: &mut Claims,
) -> Result<()> {
    let world = shop.world();
    teller.chapter("7. The replica that acts is killed, in each site");
    let (view, from) = (shop.view(Lyon).await?, Stamp::now());
    for site in Place::SITES {
        let (acting, spare) = acting_and_spare(world, site).await?;
        let killed = Stamp::now();
        world.kill_process(&acting, "/bascule operator")?;
        until(&format!("the spare of {site} to act"), TRANSITION, || async {
            ensure!(acts(&spare), "it does not say so");
            Ok(())
        })
        .await?;
        let took = Stamp::now().since(killed);
        claims.judge(
            &format!("the replica that acts in {site} is killed: the next one acts, before a lease runs out"),
            format!("{} acts and holds the lease after {} ms", spare.name, took.as_millis()),
            took < SILENCE,
        );
    }
    let seen = shop.steady(Lyon, TRANSITION).await?;
    let gap = client.history().longest_gap(Kind::Write, from, Stamp::now()).length();
    claims.judge(
        "the death of the replica that acts stops no write and moves nothing",
        format!("epoch {}, no write for at most {} ms", seen.views[0].epoch(), gap.as_millis()),
        gap < Duration::from_secs(2) && seen.views[0].epoch() == view.epoch(),
    );
    Ok(())
}

/// A site goes from two replicas to one and back: a StatefulSet becomes a Deployment, and that a StatefulSet.
async fn one_replica_and_two_again(
    shop: &Shop<'_>,
    client: &Client,
    teller: &Teller,
    claims: &mut Claims,
) -> Result<()> {
    let world = shop.world();
    teller.chapter("10. A site has one replica, and two again");
    let (view, before, from) = (shop.view(Paris).await?, standing(shop).await?, Stamp::now());
    let there = |number: usize| async move {
        until(&format!("{number} replicas of paris"), TRANSITION, || async {
            operators(world, Paris, number).await.map(drop)
        })
        .await
    };
    world.upgrade_release(Paris, "replicas=1")?;
    there(1).await?;
    shop.steady(Paris, TRANSITION).await?;
    let refused = world.upgrade_release(Paris, "replicas=2").err().map(|e| format!("{e:#}"));
    let refused = refused.unwrap_or_else(|| "it was taken".to_owned());
    claims.judge(
        "several replicas after one are refused until somebody says that the arbiter's users may act",
        refused.lines().find(|l| l.contains("replicas is 2")).unwrap_or(&refused).to_owned(),
        refused.contains("bascule arbiter setup") && refused.contains("arbiter.replicasMayAct"),
    );
    world.upgrade_release(Paris, "replicas=2,arbiter.replicasMayAct=true")?;
    there(REPLICAS).await?;
    acting_and_spare(world, Paris).await?;
    let seen = shop.steady(Paris, TRANSITION).await?;
    let gap = client.history().longest_gap(Kind::Write, from, Stamp::now()).length();
    claims.judge(
        "from two replicas to one and to two again moves nothing and stops no write",
        format!("epoch {}, no write for at most {} ms", seen.views[0].epoch(), gap.as_millis()),
        seen.views[0].epoch() == view.epoch()
            && standing(shop).await? == before
            && gap < Duration::from_secs(2),
    );
    Ok(())
}

/// What an operator takes of its node, for the chart's requests.
async fn footprint(world: &World, teller: &Teller) -> Result<()> {
    for site in Place::SITES {
        let mut processes = Vec::new();
        for pod in operators(world, site, REPLICAS).await? {
            processes.extend(world.processes(&pod)?);
        }
        for process in processes.into_iter().filter(|p| p.command.starts_with("/bascule operator")) {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.recorded.pid))?;
            let line = |name: &str| {
                let found = status.lines().find_map(|l| l.strip_prefix(name));
                found
                    .map(|l| l.trim().to_owned())
                    .with_context(|| format!("no {name} in the process's status"))
            };
            teller.say(&format!(
                "{site}: the operator has {} of memory, at most {}; user {}, capabilities {}",
                line("VmRSS:")?,
                line("VmHWM:")?,
                line("Uid:")?.split_whitespace().next().unwrap_or("?"),
                line("CapEff:")?
            ));
            ensure!(line("CapEff:")?.chars().all(|c| c == '0'), "the operator has capabilities");
            ensure!(line("NoNewPrivs:")? == "1", "the operator could gain privileges");
        }
    }
    Ok(())
}

/// What no upgrade and no uninstallation may change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    /// By site: the web application's replicas, its read-only flag, the UID of the policy.
    sites: Vec<(Option<i32>, Option<String>, Option<String>)>,
    /// Where the published name points.
    addresses: Vec<std::net::Ipv4Addr>,
}

async fn standing(shop: &Shop<'_>) -> Result<Standing> {
    let world = shop.world();
    let mut sites = Vec::new();
    for site in Place::SITES {
        let kube = world.kube(site).await?;
        let web = Api::<Deployment>::namespaced(kube.clone(), NAMESPACE).get(WEB).await?;
        let flag = Api::<ConfigMap>::namespaced(kube.clone(), NAMESPACE).get("web-flags").await?;
        let policy = Api::<FailoverPolicy>::namespaced(kube, NAMESPACE).get(POLICY).await?;
        sites.push((
            web.spec.and_then(|s| s.replicas),
            flag.data.and_then(|d| d.get("READ_ONLY").cloned()),
            policy.metadata.uid,
        ));
    }
    let server = *world.dns().servers().first().context("the zone has no server")?;
    let answer = bascule_e2e::client::dns::addresses(server, WEB_NAME, Duration::from_secs(2)).await?;
    let mut addresses = answer.addresses;
    addresses.sort();
    Ok(Standing { sites, addresses })
}

async fn upgrade_in_a_switchover(
    shop: &Shop<'_>,
    client: &Client,
    teller: &Teller,
    claims: &mut Claims,
) -> Result<()> {
    let world = shop.world();
    teller.chapter("8. Both operators are upgraded in the middle of a switchover");
    let before = shop.view(Lyon).await?;
    let old = (uids(world, Paris, REPLICAS).await?, uids(world, Lyon, REPLICAS).await?);
    // It cannot go on as long as the target does not follow.
    world.cut(&Cut::replication())?;
    let cut = |v: &bascule_e2e::shop::View| {
        ensure!(v.condition("ReplicationHealthy") != "True", "replication is still healthy");
        Ok(())
    };
    shop.view_when(Lyon, "lyon to see that replication is cut", TRANSITION, cut).await?;
    let text =
        MoveText::switchover("during-an-upgrade", Lyon, Paris, before.epoch(), "new version of Bascule");
    let from = Stamp::now();
    shop.commit_move(&text)?;
    let requested = |v: &bascule_e2e::shop::View| {
        ensure!(v.phase() == "Requested", "phase {:?}", v.phase());
        Ok(())
    };
    shop.view_when(Lyon, "the switchover to be under way", TRANSITION, requested).await?;
    teller.say("a switchover to paris is under way, and cannot go on: replication is cut");
    for site in [Lyon, Paris] {
        let begin = Stamp::now();
        world.upgrade_release(site, "log.level=info\\,bascule=debug")?;
        teller.say(&format!(
            "{site}: upgraded, the new replicas ready after {}",
            seconds(Stamp::now().since(begin))
        ));
    }
    let new = (uids(world, Paris, REPLICAS).await?, uids(world, Lyon, REPLICAS).await?);
    let message = shop.move_ended(Lyon, "during-an-upgrade", MoveState::RolledBack, TRANSITION).await?;
    let still = shop.view(Lyon).await?;
    claims.judge(
        "an upgrade replaces both operators in the middle of a switchover: the role stays, and the Move says why",
        format!("active {:?}, epoch {}, RolledBack: {message}", still.active(), still.epoch()),
        old.0.is_disjoint(&new.0)
            && old.1.is_disjoint(&new.1)
            && still.active() == Some(Lyon)
            && still.epoch() == before.epoch()
            && message.contains("operator was away"),
    );
    let history = client.history();
    let gap = history.longest_gap(Kind::Write, from, Stamp::now()).length();
    claims.judge(
        "an upgrade of both operators stops no write",
        format!("no write for at most {} ms", gap.as_millis()),
        gap < Duration::from_secs(2),
    );
    world.heal()?;
    shop.steady(Lyon, TRANSITION).await?;
    teller.say("replication is whole again, and lyon as before");
    let again =
        MoveText::switchover("after-the-upgrade", Lyon, Paris, before.epoch(), "new version of Bascule");
    let from = Stamp::now();
    shop.commit_move(&again)?;
    client.works_at(Kind::Write, "paris", from, TRANSITION).await?;
    let message = shop.move_ended(Paris, "after-the-upgrade", MoveState::Done, TRANSITION).await?;
    let seen = shop.steady(Paris, TRANSITION).await?;
    claims.judge(
        "the new operators do the same switchover by a new Move",
        format!("epoch {}, Move Done: {message}", seen.views[0].epoch()),
        seen.views[0].epoch() == before.epoch() + 1,
    );
    Ok(())
}

async fn rollback(shop: &Shop<'_>, client: &Client, teller: &Teller, claims: &mut Claims) -> Result<()> {
    let world = shop.world();
    teller.chapter("9. Both releases are rolled back");
    let (view, before, from) = (shop.view(Paris).await?, standing(shop).await?, Stamp::now());
    for site in Place::SITES {
        world.roll_release_back(site)?;
    }
    let seen = shop.steady(Paris, TRANSITION).await?;
    let gap = client.history().longest_gap(Kind::Write, from, Stamp::now()).length();
    claims.judge(
        "a rollback moves nothing",
        format!("epoch {}, no write for at most {} ms", seen.views[0].epoch(), gap.as_millis()),
        seen.views[0].epoch() == view.epoch()
            && standing(shop).await? == before
            && gap < Duration::from_secs(2),
    );
    Ok(())
}

async fn uninstallation(
    shop: &Shop<'_>,
    client: &Client,
    teller: &Teller,
    claims: &mut Claims,
) -> Result<()> {
    let world = shop.world();
    teller.chapter("11. Bascule is uninstalled from both sites, and installed again");
    let (view, before) = (shop.view(Paris).await?, standing(shop).await?);
    let moves_before = moves(world).await?;
    let from = Stamp::now();
    for site in Place::SITES {
        world.uninstall_release(site)?;
        until(&format!("the operator of {site} to be gone"), TRANSITION, || async {
            let pods = world.pods(site, SYSTEM, OPERATOR_PODS).await?;
            ensure!(pods.is_empty(), "{} are there", pods.len());
            Ok(())
        })
        .await?;
    }
    let gone = Stamp::now();
    teller.say("no operator runs anywhere");
    client
        .wait_for("write at paris long after the last operator has gone", ALONE * 2, |a| {
            a.kind == Kind::Write && a.worked() && a.site() == Some("paris") && a.start.since(gone) >= ALONE
        })
        .await?;
    let gap = client.history().longest_gap(Kind::Write, from, Stamp::now()).length();
    let after = standing(shop).await?;
    claims.judge(
        "without any operator the database goes on, and flags, replicas, addresses, policies and Moves stay as they are",
        format!("no write for at most {} ms in {}", gap.as_millis(), seconds(Stamp::now().since(from))),
        gap < Duration::from_secs(2) && after == before && moves(world).await? == moves_before,
    );
    for site in Place::SITES {
        world.install_release(site, &[NAMESPACE], &SECRETS)?;
    }
    let seen = shop.steady(Paris, TRANSITION).await?;
    let gap = client.history().longest_gap(Kind::Write, from, Stamp::now()).length();
    claims.judge(
        "installed again, Bascule goes on from its records",
        format!(
            "epoch {} and {}, no write for at most {} ms",
            view.epoch(),
            seen.views[0].epoch(),
            gap.as_millis()
        ),
        seen.views[0].epoch() == view.epoch()
            && gap < Duration::from_secs(2)
            && standing(shop).await? == before,
    );
    Ok(())
}

/// The Moves of both sites, by their UID.
async fn moves(world: &World) -> Result<Vec<Option<String>>> {
    let mut found = Vec::new();
    for site in Place::SITES {
        let api: Api<Move> = Api::namespaced(world.kube(site).await?, NAMESPACE);
        let mut uids: Vec<_> =
            api.list(&ListParams::default()).await?.into_iter().map(|m| m.metadata.uid).collect();
        uids.sort();
        found.extend(uids);
    }
    Ok(found)
}
