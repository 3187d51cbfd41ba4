//! The bridge between the places, their cables, and the filter that cuts them.

use std::path::Path;

use anyhow::{Context, Result};

use super::place::{CLUSTER_DNS, HOST_ADDRESS, Place};
use crate::command::{run, run_with_input};

/// Name of the bridge.
pub(super) const BRIDGE: &str = "bascule0";
/// Name of the filter's table, on the host (family bridge) and inside each place (family inet).
pub(super) const TABLE: &str = "bascule";

/// The filter of the host. Nothing routed over the host: every frame between two places passes `forward`.
const HOST_FILTER: &str = "
table bridge bascule {
  set cut { type ifname . ifname; }
  set cut_port { type ifname . ifname . inet_service; }
  set to_host { type ifname; }
  set to_host_port { type ifname . inet_service; }
  set from_host { type ifname; }
  set from_host_port { type ifname . inet_service; }
  chain forward {
    type filter hook forward priority 0;
    iifname . oifname @cut drop
    iifname . oifname . tcp dport @cut_port drop
    iifname . oifname . tcp sport @cut_port drop
  }
  chain input {
    type filter hook input priority 0;
    iifname @to_host drop
    iifname . tcp dport @to_host_port drop
    iifname . tcp sport @to_host_port drop
  }
  chain output {
    type filter hook output priority 0;
    oifname @from_host drop
    oifname . tcp dport @from_host_port drop
    oifname . tcp sport @from_host_port drop
  }
}
";

/// The filter inside a place: what a machine must not reach on itself.
const PLACE_FILTER: &str = "
table inet bascule {
  set closed { type inet_service; }
  chain input { type filter hook input priority -300; tcp dport @closed drop; tcp sport @closed drop; }
}
";

/// Makes the bridge and the host's filter. `owner` is written beside the bridge for a person who wonders.
pub(super) fn create_bridge(owner: &Path) -> Result<()> {
    let batch = format!(
        "link add {BRIDGE} type bridge\nlink set {BRIDGE} alias {}\naddr add {HOST_ADDRESS}/24 dev {BRIDGE}\n\
         link set {BRIDGE} up\n",
        owner.display()
    );
    run_with_input("ip", ["-batch", "-"], &batch).context("cannot make the bridge")?;
    run_with_input("nft", ["-f", "-"], HOST_FILTER).context("cannot load the filter")?;
    Ok(())
}

/// Who made the bridge, when there is one.
pub(super) fn bridge_owner() -> Option<String> {
    let alias = std::fs::read_to_string(format!("/sys/class/net/{BRIDGE}/ifalias")).ok()?;
    Some(alias.trim().to_owned())
}

/// Removes bridge and filter; what is not there is no error.
pub(super) fn remove_bridge() -> Result<()> {
    if bridge_owner().is_some() {
        run("ip", ["link", "del", BRIDGE])?;
    }
    // One transaction that holds whether or not the table is there.
    run_with_input("nft", ["-f", "-"], "table bridge bascule\ndelete table bridge bascule\n")?;
    Ok(())
}

/// Makes a place's network namespace and its cable to the bridge, with routes to the places that are sites.
pub(super) fn connect(place: Place, sites: &[Place]) -> Result<()> {
    let link = place.link();
    let mac = place.mac();
    run("ip", ["netns", "add", &link])?;
    let mut host = format!(
        "link add {link} type veth peer name eth0 address {mac} netns {link}\n\
         link set {link} master {BRIDGE} up\n"
    );
    let mut inside = format!(
        "addr add {}/24 dev eth0\nlink set lo up\nlink set eth0 up\naddr add {CLUSTER_DNS}/32 dev lo\n",
        place.address()
    );
    // No default route: everything between places goes over the bridge and its cuts, never through the host.
    for site in sites {
        if *site == place {
            // Only so that a packet for a service is routed at all and kube-proxy gets to see it.
            inside += &format!("route add {} dev eth0\n", site.services());
        } else {
            inside += &format!("route add {} via {}\n", site.pods(), site.address());
            inside += &format!("route add {} via {}\n", site.services(), site.address());
        }
    }
    if sites.contains(&place) {
        host += &format!("route replace {} via {}\n", place.pods(), place.address());
        host += &format!("route replace {} via {}\n", place.services(), place.address());
    }
    run_with_input("ip", ["-batch", "-"], &host).with_context(|| format!("cannot connect {place}"))?;
    run_with_input("ip", ["-n", &link, "-batch", "-"], &inside)
        .with_context(|| format!("cannot set up the network of {place}"))?;
    within(place, "nft", &["-f", "-"], PLACE_FILTER)?;
    Ok(())
}

/// Pulls or plugs the place's cable.
pub(super) fn set_link(place: Place, up: bool) -> Result<()> {
    run("ip", ["link", "set", &place.link(), if up { "up" } else { "down" }])?;
    Ok(())
}

/// Numbers of all processes in a place's network namespace; none when there is no such namespace.
pub(super) fn processes(place: Place) -> Result<Vec<i32>> {
    let link = place.link();
    if !Path::new("/run/netns").join(&link).exists() {
        return Ok(Vec::new());
    }
    Ok(run("ip", ["netns", "pids", &link])?.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Removes a place's namespace, cable and the host's routes to it; what is not there is no error.
pub(super) fn disconnect(place: Place) -> Result<()> {
    let link = place.link();
    if Path::new("/sys/class/net").join(&link).exists() {
        run("ip", ["link", "del", &link])?;
    }
    if Path::new("/run/netns").join(&link).exists() {
        run("ip", ["netns", "del", &link])?;
    }
    // The host's routes end with the cable's bridge; while the bridge stays, they have to be taken out.
    if bridge_owner().is_some() {
        for net in [place.pods(), place.services()] {
            if !run("ip", ["route", "show", &net])?.trim().is_empty() {
                run("ip", ["route", "del", &net])?;
            }
        }
    }
    Ok(())
}

/// Runs a program in the place's network namespace only, with text on standard input.
pub(super) fn within(place: Place, program: &str, args: &[&str], input: &str) -> Result<String> {
    let netns = format!("--net=/run/netns/{}", place.link());
    let args = [netns.as_str(), "--", program].into_iter().chain(args.iter().copied());
    run_with_input("nsenter", args, input)
}
