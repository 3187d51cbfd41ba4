//! Authoritative DNS: a Knot primary at the third place, a secondary at each site, updates signed with TSIG.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::parts::{Group, Part};
use super::place::{DNS_PORT, Place};
use super::run_folder::RunFolder;
use super::within;
use crate::client::dns;
use crate::command::{SHORT, finish, outcome};
use crate::waiting::until;

/// The zone that is published.
pub const ZONE: &str = "shop.example.";
/// The name under which the demo's web application is published.
pub const WEB_NAME: &str = "www.shop.example.";
/// Name of the key that signs updates (hmac-sha256).
pub const KEY_NAME: &str = "bascule-update.";
/// Name of the key by which secondaries ask for the zone, and where it is kept in the run's folder.
const TRANSFER_KEY: &str = "transfer.";
const TRANSFER_FILE: &str = "transfer.key";
/// The place of the primary.
pub const PRIMARY: Place = Place::Third;

/// How long the servers may take to answer for the zone.
const READY: Duration = Duration::from_secs(30);

/// The zone's servers.
#[derive(Clone, Copy, Debug)]
pub struct Dns<'a> {
    pub(super) run: &'a RunFolder,
}

impl Dns<'_> {
    /// Every authoritative server, the primary first.
    pub fn servers(&self) -> Vec<SocketAddr> {
        [PRIMARY, Place::Paris, Place::Lyon].into_iter().map(|p| self.server(p)).collect()
    }

    /// The server at a place.
    pub fn server(&self, place: Place) -> SocketAddr {
        (place.address(), DNS_PORT).into()
    }

    /// The update key's secret, in base64 as Knot and a Secret hold it.
    pub fn secret(&self) -> Result<String> {
        let file = self.run.root().join("dns.key");
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// Writes keys, zone and configuration of all servers.
    pub(super) fn write_files(&self) -> Result<()> {
        let (update, transfer) = (random_secret()?, random_secret()?);
        fs::write(self.run.root().join("dns.key"), &update)?;
        fs::write(self.run.root().join(TRANSFER_FILE), &transfer)?;
        for place in Place::ALL {
            let folder = self.run.place(place).join("dns");
            fs::create_dir_all(folder.join("zones"))?;
            fs::create_dir_all(folder.join("db"))?;
            fs::write(folder.join("knot.conf"), self.config(place, &update, &transfer))?;
        }
        // A secondary asks every two seconds: after a cut it does not depend on a notification that was lost in it, nor
        // on one that waits behind a server that is dead.
        let mut zone = format!(
            "$ORIGIN {ZONE}\n$TTL 60\n@ SOA ns1 hostmaster 1 2 1 3600 5\n@ NS ns1\n@ NS ns2\n@ NS ns3\n"
        );
        for (number, place) in [PRIMARY, Place::Paris, Place::Lyon].into_iter().enumerate() {
            zone += &format!("ns{} A {}\n", number + 1, place.address());
        }
        fs::write(self.run.place(PRIMARY).join("dns/zones").join(format!("{ZONE}zone")), zone)?;
        Ok(())
    }

    fn config(&self, place: Place, update: &str, transfer: &str) -> String {
        let folder = self.run.place(place).join("dns");
        let folder = folder.display();
        let mut text = format!(
            "server:
    rundir: /run/knot
    listen: {address}@{DNS_PORT}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stdout
    any: info
database:
    storage: {folder}/db
    journal-db-max-size: 64M
    kasp-db-max-size: 16M
    timer-db-max-size: 16M
    catalog-db-max-size: 16M
key:
  - id: {KEY_NAME}
    algorithm: hmac-sha256
    secret: {update}
  - id: {TRANSFER_KEY}
    algorithm: hmac-sha256
    secret: {transfer}
remote:
",
            address = place.address(),
        );
        for other in Place::ALL.into_iter().filter(|p| *p != place) {
            text += &format!(
                "  - id: {other}\n    address: {}@{DNS_PORT}\n    key: {TRANSFER_KEY}\n",
                other.address()
            );
        }
        text += &format!(
            "acl:
  - id: update
    key: {KEY_NAME}
    action: update
  - id: transfer
    key: {TRANSFER_KEY}
    action: [transfer, notify]
zone:
  - domain: {ZONE}
    storage: {folder}/zones
    file: {ZONE}zone
    zonefile-sync: 0
    serial-policy: increment
"
        );
        text += &if place == PRIMARY {
            "    acl: [update, transfer]\n    notify: [paris, lyon]\n".to_owned()
        } else {
            format!("    acl: [transfer]\n    master: {PRIMARY}\n")
        };
        text
    }

    /// From now on the primary refuses every update of the zone, until [`Dns::as_written`] or its death; returns when it
    /// does.
    pub fn refuse_updates(&self) -> Result<()> {
        self.change(PRIMARY, &[&["conf-unset", &zone_item("acl"), "update"]])?;
        let secret = self.secret()?;
        let key = format!("hmac-sha256:{KEY_NAME}:{}", secret.trim());
        let mut update = Command::new("knsupdate");
        update.args(["-t", "2", "-r", "0", "-y", &key]);
        let address = PRIMARY.address();
        let lines = format!(
            "server {address} {DNS_PORT}\nzone {ZONE}\nupdate add refused.{ZONE} 1 TXT refused\nsend\n"
        );
        let (status, out, err) = outcome(update, Some(lines.as_bytes()), SHORT)?;
        let said = format!("{} {}", out.trim(), err.trim());
        ensure!(!status.success(), "the primary takes updates all the same: {said}");
        ensure!(said.contains("opcode: UPDATE; status:"), "the primary did not answer: {said}");
        Ok(())
    }

    /// From now on the primary gives the zone to nobody at this place, until [`Dns::as_written`] or the primary's death;
    /// returns when it does.
    pub fn refuse_transfers(&self, to: Place) -> Result<()> {
        let address = to.address().to_string();
        let name = format!("kept-from-{to}");
        let rule = |item: &str| format!("acl[{name}]{item}");
        let acl = zone_item("acl");
        self.change(
            PRIMARY,
            &[
                &["conf-set", &rule("")],
                &["conf-set", &rule(".address"), &address],
                &["conf-set", &rule(".key"), TRANSFER_KEY],
                &["conf-set", &rule(".action"), "transfer"],
                &["conf-set", &rule(".deny"), "on"],
                &["conf-unset", &acl],
                &["conf-set", &acl, &name, "update", "transfer"],
            ],
        )?;
        let secret = fs::read_to_string(self.run.root().join(TRANSFER_FILE))?;
        let key = format!("hmac-sha256:{TRANSFER_KEY}:{}", secret.trim());
        let primary = format!("@{}", PRIMARY.address());
        let mut ask = within(self.run, to, "kdig")?;
        ask.args([&primary, "+time=2", "+retry=0", ZONE, "AXFR", "-y", &key]);
        let (_, out, err) = outcome(ask, None, SHORT)?;
        ensure!(!out.contains("SOA"), "{to} gets the zone all the same: {}", out.trim());
        ensure!(err.contains("TSIG") || out.contains("AXFR"), "no answer: {}", err.trim());
        Ok(())
    }

    /// What was changed in a server's memory counts no more: its configuration is that of its file.
    pub fn as_written(&self, place: Place) -> Result<()> {
        self.control(place, &["reload"])
    }

    /// One change of the running configuration, whole or not at all.
    fn change(&self, place: Place, steps: &[&[&str]]) -> Result<()> {
        self.control(place, &["conf-begin"])?;
        let all = steps.iter().try_for_each(|step| self.control(place, step));
        match all {
            Ok(()) => self.control(place, &["conf-commit"]),
            Err(e) => {
                self.control(place, &["conf-abort"])?;
                Err(e)
            }
        }
    }

    fn control(&self, place: Place, args: &[&str]) -> Result<()> {
        let mut command = within(self.run, place, "knotc")?;
        command.args(["-t", "3", "-s", "/run/knot/knot.sock"]).args(args);
        finish(command, None, SHORT).map(drop)
    }

    /// Starts the server of a place.
    pub(super) fn start(&self, place: Place) -> Result<()> {
        Part::new(Group::Dns, "knot", "/usr/sbin/knotd")
            .arg("-c")
            .arg(self.run.place(place).join("dns/knot.conf").display().to_string())
            .start(self.run, place)
    }

    /// Returns when the server of a place answers for the zone.
    pub async fn ready(&self, place: Place) -> Result<()> {
        until(&format!("the DNS server of {place}"), READY, || async {
            super::control::ensure_runs(self.run, place, "knot")?;
            let serial = dns::soa_serial(self.server(place), ZONE, Duration::from_millis(500)).await?;
            ensure!(serial.is_some(), "it does not serve {ZONE}");
            Ok(())
        })
        .await
    }
}

/// An item of the zone's configuration.
fn zone_item(name: &str) -> String {
    format!("zone[{ZONE}].{name}")
}

fn random_secret() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(STANDARD.encode(bytes))
}
