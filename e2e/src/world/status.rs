//! What a person sees of the sandbox at a glance.

use std::fmt;

use anyhow::{Context, Result};

use super::World;
use super::control;
use super::faults::Scope;
use super::place::{HOST_ADDRESS, Place};
use crate::command::run;

/// The state of everything, as a table when displayed.
#[derive(Clone, Debug)]
pub struct Status {
    places: Vec<PlaceStatus>,
    git: String,
    cuts: Vec<String>,
}

#[derive(Clone, Debug)]
struct PlaceStatus {
    place: Place,
    power: &'static str,
    api: String,
    arbiter: String,
    ended: Vec<String>,
    frozen: Vec<String>,
}

impl World {
    /// Looks at everything.
    pub fn status(&self) -> Result<Status> {
        let powered = self.powered()?;
        let places = Place::ALL.map(|place| {
            let power = powered.contains(&place);
            let mut status = PlaceStatus {
                place,
                power: if power { "on" } else { "off" },
                api: "-".to_owned(),
                arbiter: "-".to_owned(),
                ended: Vec::new(),
                frozen: Vec::new(),
            };
            if power {
                self.look_at(&mut status);
            }
            status
        });
        let git = self.run().load()?.context("the sandbox is gone")?.git;
        let git = if git.is_some_and(crate::process::Recorded::alive) {
            self.git().url()
        } else {
            "down".to_owned()
        };
        Ok(Status { places: places.to_vec(), git, cuts: cuts()? })
    }

    fn look_at(&self, status: &mut PlaceStatus) {
        let place = status.place;
        if self.is_site(place) {
            let answer = self.kubectl(place, &["get", "--raw", "/readyz", "--request-timeout=2s"]);
            status.api = if answer.is_ok() { "ready".to_owned() } else { "no answer".to_owned() };
        }
        let member = self.arbiter().ctl_at(&[place], "root", &["endpoint", "status", "--write-out=json"]);
        status.arbiter = match member.ok().and_then(|text| leader(&text)) {
            Some(true) => "leader".to_owned(),
            Some(false) => "follower".to_owned(),
            None => "no answer".to_owned(),
        };
        match control::parts(self.run(), place) {
            Ok(parts) => {
                status.ended = parts.into_iter().filter(|p| p.ended.is_some()).map(|p| p.name).collect();
            }
            Err(_) => status.ended.push("process 1 does not answer".to_owned()),
        }
        let scopes = [
            ("whole", Scope::Whole),
            ("cp", Scope::ControlPlane),
            ("node", Scope::Node),
            ("pods", Scope::Pods),
            ("operator", Scope::Operator),
            ("arbiter", Scope::Arbiter),
            ("dns", Scope::Dns),
        ];
        status.frozen = scopes
            .into_iter()
            .filter(|(_, scope)| self.frozen(place, *scope))
            .map(|(name, _)| name.to_owned())
            .collect();
    }
}

fn leader(text: &str) -> Option<bool> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let status = value.get(0)?.get("Status")?;
    let leader = status.get("leader")?.as_u64()?;
    (leader != 0).then_some(leader == status.get("header")?.get("member_id")?.as_u64()?)
}

/// What the filter drops, in words.
fn cuts() -> Result<Vec<String>> {
    let text = run("nft", ["-j", "list", "table", "bridge", super::network::TABLE])?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    let mut cuts = Vec::new();
    for set in value["nftables"].as_array().into_iter().flatten().filter_map(|entry| entry.get("set")) {
        let name = set["name"].as_str().unwrap_or_default();
        for element in set["elem"].as_array().into_iter().flatten() {
            let words: Vec<String> = match element.get("concat").and_then(|c| c.as_array()) {
                Some(parts) => parts.iter().map(word).collect(),
                None => vec![word(element)],
            };
            let (ends, port): (Vec<_>, Vec<_>) = words.into_iter().partition(|w| w.parse::<u16>().is_err());
            let (from, to) = match (name.starts_with("to_host"), name.starts_with("from_host")) {
                (true, _) => (ends.first().cloned().unwrap_or_default(), "host".to_owned()),
                (_, true) => ("host".to_owned(), ends.first().cloned().unwrap_or_default()),
                _ => (ends.first().cloned().unwrap_or_default(), ends.get(1).cloned().unwrap_or_default()),
            };
            let port = port.first().map(|p| format!(" (TCP {p})")).unwrap_or_default();
            cuts.push(format!("{from} -> {to}{port}"));
        }
    }
    cuts.sort();
    Ok(cuts)
}

fn word(value: &serde_json::Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.trim_start_matches("bascule-").to_owned()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, cells: [&str; 7]| {
            let [place, power, address, api, arbiter, ended, frozen] = cells;
            writeln!(f, "{place:<8} {power:<6} {address:<12} {api:<10} {arbiter:<10} {ended:<24} {frozen}")
        };
        row(f, ["PLACE", "POWER", "ADDRESS", "API", "ARBITER", "ENDED", "FROZEN"])?;
        for p in &self.places {
            let join = |list: &[String]| if list.is_empty() { "-".to_owned() } else { list.join(",") };
            let address = p.place.address().to_string();
            row(
                f,
                [p.place.name(), p.power, &address, &p.api, &p.arbiter, &join(&p.ended), &join(&p.frozen)],
            )?;
        }
        writeln!(f, "\nhost     {HOST_ADDRESS}   git: {}", self.git)?;
        match self.cuts.as_slice() {
            [] => writeln!(f, "cuts     none"),
            cuts => cuts.iter().try_for_each(|cut| writeln!(f, "cut      {cut}")),
        }
    }
}
