//! Takes every fault back, whatever it was.

use anyhow::Result;
use rustix::process::Signal;

use super::cgroup::Cgroups;
use super::{OperatorOptions, Operators, Place, World, control};
use crate::process::Recorded;

impl World {
    /// Power, frozen and stopped parts, cuts, limits, clocks, full disks, arbiter members, DNS and API servers, nodes, operators and
    /// git: all of it is as after
    /// [`World::up`], with an operator in each site.
    pub async fn restore(&self) -> Result<()> {
        let powered = self.powered()?;
        let cgroups = Cgroups::detect()?;
        for place in &powered {
            cgroups.thaw_all(&place.link())?;
            for number in cgroups.processes(&place.link())? {
                if let Ok(process) = Recorded::of(number)
                    && process.stopped()
                {
                    process.signal(Signal::CONT)?;
                }
            }
        }
        self.heal()?;
        self.set_clocks_right()?;
        for site in self.sites() {
            self.empty_disk(*site)?;
        }
        for place in Place::ALL {
            if !powered.contains(&place) {
                self.boot(place).await?;
            } else if !self.runs(place, "arbiter")? && !self.left_arbiter(place)? {
                self.restart_arbiter_member(place)?;
                self.arbiter().ready(place.alone()).await?;
            }
            if !self.runs(place, "knot")? {
                self.restart_dns_server(place)?;
                self.dns().ready(place).await?;
            }
        }
        for place in Place::ALL {
            self.join_arbiter(place).await?;
        }
        self.dns().as_written(super::dns::PRIMARY)?;
        for site in self.sites().iter().copied() {
            if !self.runs(site, "apiserver")? {
                self.restart_api_server(site).await?;
            }
            self.accept_operator(site).await?;
            if !self.runs(site, "kubelet")? {
                self.boot_node(site).await?;
            }
            for replica in self.replicas() {
                if self.operators() == Operators::Processes && !self.runs(site, replica.part())? {
                    self.start_replica(site, *replica, &OperatorOptions::default())?;
                }
            }
        }
        if !self.run().load()?.and_then(|state| state.git).is_some_and(Recorded::alive) {
            self.git().start()?;
        }
        Ok(())
    }

    /// Whether a part of a place runs now.
    pub fn runs(&self, place: Place, part: &str) -> Result<bool> {
        let parts = control::parts(self.run(), place)?;
        Ok(parts.iter().any(|p| p.name == part && p.ended.is_none()))
    }
}
