//! Standing by until this replica of the site's operator acts. The rule is [`Spare`]'s; here it is fed.
//!
//! While it stands by, a replica writes nothing. It reads who acts and all leases, and asks the machine of the acting
//! replica whether its process is there. The site's own API server has no part in it.

use std::net::SocketAddr;
use std::time::Duration;

use bascule_core::ballot::silence::Observer;
use bascule_core::ballot::spare::{Acts, Machine, Spare, Turn};
use bascule_core::name::SiteName;
use bascule_core::timing::Timing;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::acting::Taken;
use super::{Claim, Put, Replica, Revision, Store};
use crate::{boottime, replica};

/// How often who acts is read, at most: what is handed over waits no longer.
const LOOK: Duration = Duration::from_millis(250);

/// How things stand while this replica stands by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The arbiter has not told yet.
    Unknown,
    /// Another replica acts.
    Another(Replica),
    /// Who acts cannot be read, or this replica may not take over: why.
    Trouble(String),
}

/// The site's name is not this cluster's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the site name {site} belongs to another cluster (UID {owner}): one of the two was installed with the wrong site.name; if that cluster is gone for good, delete from the arbiter the key that ends in site/{site}, or the SiteLease {site} of a witness"
)]
pub struct NameTaken {
    /// Which name.
    pub site: SiteName,
    /// The UID of the cluster that owns it.
    pub owner: String,
}

/// One replica that stands for acting in its site.
#[derive(Debug)]
pub struct Election {
    store: Store,
    site: SiteName,
    cluster: String,
    me: Replica,
    value: Vec<u8>,
    timing: Timing,
}

impl Election {
    /// The replica `me` of the operator of `site`, which the cluster with the UID `cluster` owns.
    ///
    /// # Errors
    /// The replica cannot be written down.
    pub fn new(
        store: impl Into<Store>,
        site: SiteName,
        cluster: String,
        me: Replica,
        timing: Timing,
    ) -> Result<Self, serde_json::Error> {
        let value = serde_json::to_vec(&me)?;
        Ok(Self { store: store.into(), site, cluster, me, value, timing })
    }

    /// The arbiter as this replica may use it once it acts: everything that it writes is refused as soon as it does not.
    pub fn arbiter(&self) -> Store {
        self.store.only_while_acting(&self.site, &self.value)
    }

    /// Stands by until this replica acts; answers what it has read of all leases meanwhile. `standing` is told how things
    /// stand after each look.
    ///
    /// # Errors
    /// The site's name is not this cluster's.
    pub async fn win(&self, standing: &watch::Sender<Standing>) -> Result<Observer, NameTaken> {
        let tq = self.timing.tq();
        let mut looks = tokio::time::interval(LOOK.min(self.timing.p()));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut spare = Spare::new(&self.timing);
        let mut observer = Observer::new(tq);
        let mut leases_at = boottime::now();
        let mut other: Option<Replica> = None;
        let mut claimed = false;
        loop {
            looks.tick().await;
            let sent = boottime::now();
            let leases_due = sent >= leases_at;
            let leases = async {
                if leases_due { Some((self.store.leases(tq).await, boottime::now())) } else { None }
            };
            let machine = async {
                match &other {
                    Some(it) => self.is_there(it.address).await,
                    None => Machine::Silent,
                }
            };
            let (found, leases, machine) = tokio::join!(self.store.acting(&self.site, tq), leases, machine);
            let received = boottime::now();
            if let Some((read, received)) = leases {
                leases_at = sent + self.timing.p();
                match read {
                    Ok(listing) => {
                        let leases = listing.items.into_iter().map(|l| (l.site, l.beat.revision.0)).collect();
                        observer.read(sent, received, &leases);
                    }
                    Err(_) => observer.failed(),
                }
            }
            let found = match found {
                Ok(found) => found,
                Err(why) => {
                    spare.failed();
                    standing.send_replace(Standing::Trouble(why.to_string()));
                    continue;
                }
            };
            if found.as_ref().is_some_and(|found| found.value == self.value) {
                return Ok(observer);
            }
            let acts = found.as_ref().map(|found| found.parse::<Replica>().ok());
            // What was asked of the machine was asked about the replica of the look before.
            let asked = acts.as_ref().is_some_and(|it| it.is_some() && *it == other);
            other = acts.clone().flatten();
            let seen = found.map(|found| Acts {
                // One that cannot be read is never reached.
                replica: other.as_ref().map_or("", |it| it.instance.as_str()),
                revision: found.revision.0,
                machine: if asked { machine } else { Machine::Silent },
            });
            match (spare.read(sent, received, seen), acts) {
                (Turn::Take(expected), _) => match self.take(expected.map(Revision), &mut claimed).await? {
                    Ok(()) => return Ok(observer),
                    Err(Some(trouble)) => {
                        standing.send_replace(Standing::Trouble(trouble));
                    }
                    Err(None) => {}
                },
                (Turn::Wait, Some(Some(replica))) => {
                    standing.send_replace(Standing::Another(replica));
                }
                (Turn::Wait, _) => {
                    let why = "who acts cannot be read: a replica of another version?".to_owned();
                    standing.send_replace(Standing::Trouble(why));
                }
            }
        }
    }

    /// Takes over once. `Err(None)`: somebody was first, or the next look tells. The site's name is claimed once: a try
    /// that fails under load is made again with less to do.
    async fn take(
        &self,
        expected: Option<Revision>,
        claimed: &mut bool,
    ) -> Result<Result<(), Option<String>>, NameTaken> {
        let tq = self.timing.tq();
        let taken = |owner| NameTaken { site: self.site.clone(), owner };
        if !*claimed {
            match self.store.claim_site(&self.site, &self.cluster, tq).await {
                Claim::Ours => *claimed = true,
                Claim::NameTaken { owner } => return Err(taken(owner)),
                Claim::Refused { why } | Claim::Unknown { why } => {
                    return Ok(Err(Some(format!("claiming the site's name: {why}"))));
                }
            }
        }
        Ok(match self.store.take_acting(&self.site, &self.cluster, &self.value, expected, tq).await {
            Taken::Applied { .. } => Ok(()),
            Taken::Conflict => Err(None),
            Taken::NotOurs { owner: None } => {
                // The arbiter was emptied meanwhile.
                *claimed = false;
                Err(None)
            }
            Taken::NotOurs { owner: Some(owner) } => return Err(taken(owner)),
            Taken::Refused { why } if why.is_denied() => Err(Some(format!(
                "this site's user at the arbiter may not write which replica acts ({why}): it was made by an earlier version. Run `bascule arbiter setup arbiter` again, with the folder that `bascule arbiter init` has made (where the arbiter is a witness, upgrade its chart); a replica acts as soon as it is done. Until then databases keep their roles under their guards, and nothing moves by itself here"
            ))),
            Taken::Refused { why } => Err(Some(format!("the arbiter refused that this replica acts: {why}"))),
            Taken::Unknown { why } => Err(Some(format!("it is not known whether this replica acts: {why}"))),
        })
    }

    /// Hands over: the next look of another replica finds that nobody acts. To be called when nothing is done any more.
    pub async fn give_up(&self) -> Put {
        self.store.give_up_acting(&self.site, &self.value, self.timing.tq()).await
    }

    /// What is said of the process that acted at `address`.
    async fn is_there(&self, address: SocketAddr) -> Machine {
        if address == self.me.address { Machine::IsOurs } else { replica::is_there(address).await }
    }
}
