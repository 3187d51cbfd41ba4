//! The API server of a witness beside the model of an arbiter: compare-and-swap, leases, the watch, and a server that stands
//! still.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bascule_adapters::arbiter::{Identity, SiteArbiter};
use bascule_core::name::SiteName;
use bascule_engine::ports::{Arbiter, ArbiterChange, Renewed};
use bascule_sim::side_by_side::{Subject, compare};
use tokio::sync::mpsc;

use crate::etcd::Member::{Leader, Other};
use crate::etcd::Site::{Lyon, Paris};
use crate::etcd::{Do, From, Model, Said, Site, facts, record, shop};
use crate::witness::Witness;

/// Shorter than the tests' own: a server that stands still costs it each time.
const TQ: Duration = Duration::from_secs(2);

/// Members of the model that may stand still while it decides.
const MINORITY: usize = 1;

struct Real {
    witness: Witness,
    said: Said,
    ports: BTreeMap<Site, Arc<SiteArbiter>>,
    watches: BTreeMap<Site, mpsc::Receiver<ArbiterChange>>,
    /// How many of the model's members stand still.
    still: usize,
}

impl Real {
    async fn at(witness: Witness) -> Self {
        let mut real = Self {
            witness,
            said: Said::default(),
            ports: BTreeMap::new(),
            watches: BTreeMap::new(),
            still: 0,
        };
        real.connect(Paris, "uid-paris").await;
        real.connect(Lyon, "uid-lyon").await;
        real
    }

    async fn connect(&mut self, site: Site, uid: &str) {
        let identity =
            Identity { site: site.name(), cluster: uid.to_owned(), instance: "i".to_owned(), by: "operator" };
        let arbiter = self.witness.arbiter(&format!("operator-{}", site.name())).await;
        self.ports.insert(site, Arc::new(SiteArbiter::new(arbiter, identity, TQ)));
    }

    async fn write(
        &mut self,
        site: Site,
        from: From,
        serial: u64,
        unchanged: Option<(SiteName, i64)>,
    ) -> String {
        let expected = self.said.memory(site).from(from);
        let next = record(site, serial);
        let result = self.ports[&site].write(&shop(), expected, &next, unchanged.as_ref(), TQ).await;
        self.said.written(site, &result)
    }

    /// A witness answers as long as a majority of the model's members does.
    fn stand_still(&mut self, now: usize) {
        match (self.still <= MINORITY, now <= MINORITY) {
            (true, false) => self.witness.server.freeze(),
            (false, true) => self.witness.server.thaw(),
            _ => {}
        }
        self.still = now;
    }
}

impl Subject<Do> for Real {
    async fn play(&mut self, step: &Do) -> Vec<String> {
        match step {
            Do::Renew(site) => vec![Said::renewed(&self.ports[site].renew(TQ).await)],
            Do::RenewAgain(site) => {
                let end = Instant::now() + Duration::from_mins(1);
                while Instant::now() < end {
                    if self.ports[site].renew(TQ).await == Renewed::Applied {
                        return vec!["applied".to_owned()];
                    }
                }
                vec!["never".to_owned()]
            }
            // A renewal is sent once: nothing of it comes late.
            Do::Settle | Do::AwaitLeader => vec![],
            Do::Leases(site) => {
                let result = self.ports[site].leases(TQ).await;
                self.said.leases(*site, result)
            }
            Do::Read(site) => {
                let result = self.ports[site].record(&shop(), TQ).await;
                vec![self.said.record(*site, result)]
            }
            Do::Write(site, from, serial) => vec![self.write(*site, *from, *serial, None).await],
            Do::Take(site, from, serial) => {
                let unchanged = self.said.memory(*site).unchanged(site.other());
                vec![self.write(*site, *from, *serial, Some(unchanged)).await]
            }
            Do::Facts(site, question) => {
                let facts = facts(*site, *question);
                vec![Said::outcome(&self.ports[site].put_facts(&shop(), &facts, TQ).await)]
            }
            Do::Watch(site) => {
                let result = self.ports[site].list(TQ * 4).await;
                if let Ok(listed) = &result {
                    let port = Arc::clone(&self.ports[site]);
                    let (send, changes) = mpsc::channel(64);
                    let revision = listed.revision;
                    tokio::spawn(async move { port.watch(revision, send).await });
                    self.watches.insert(*site, changes);
                }
                self.said.listed(&result)
            }
            Do::Changes(site, count) => {
                let mut lines = Vec::new();
                for _ in 0..*count {
                    let watch = self.watches.get_mut(site).unwrap();
                    let change = tokio::time::timeout(Duration::from_mins(1), watch.recv()).await;
                    let line = match change {
                        Ok(Some(change)) => self.said.change(&change),
                        Ok(None) => "the watch has ended".to_owned(),
                        Err(_) => "nothing within a minute".to_owned(),
                    };
                    lines.push(line);
                }
                lines.sort();
                lines
            }
            Do::Freeze(_) => {
                self.stand_still(self.still + 1);
                vec![]
            }
            Do::Thaw(_) => {
                self.stand_still(self.still - 1);
                vec![]
            }
            Do::Reinstall(site) => {
                self.connect(*site, "uid-of-another").await;
                vec![]
            }
            other => panic!("a witness has no members for {other:?}"),
        }
    }
}

/// Plays a script on both.
async fn play(script: &[Do]) {
    compare(script, Model::new(), Real::at(Witness::start().await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_of_one_record_one_wins_and_the_loser_conflicts_until_it_has_read() {
    play(&[
        Do::Read(Paris),
        Do::Write(Paris, From::Nothing, 1),
        Do::Write(Lyon, From::Nothing, 1),
        Do::Read(Lyon),
        Do::Write(Lyon, From::Read, 2),
        Do::Write(Paris, From::Read, 2),
        Do::Read(Paris),
        Do::Write(Paris, From::Stale, 3),
        Do::Write(Paris, From::Read, 3),
        Do::Read(Lyon),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_conflicts_when_the_lease_moved_and_is_applied_when_it_stands_still() {
    play(&[
        Do::Renew(Paris),
        Do::Renew(Lyon),
        Do::Write(Paris, From::Nothing, 1),
        Do::Settle,
        Do::Read(Lyon),
        Do::Leases(Lyon),
        Do::Renew(Paris),
        Do::Take(Lyon, From::Read, 2),
        Do::Settle,
        Do::Leases(Lyon),
        Do::Leases(Lyon),
        Do::Take(Lyon, From::Stale, 2),
        Do::Take(Lyon, From::Read, 2),
        Do::Write(Lyon, From::Stale, 3),
        Do::Read(Paris),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_the_first_clusters_and_another_one_with_the_same_name_is_told_so() {
    play(&[
        Do::Renew(Paris),
        Do::Renew(Lyon),
        Do::Reinstall(Paris),
        Do::Renew(Paris),
        Do::Settle,
        Do::Leases(Lyon),
        Do::Renew(Paris),
        Do::Leases(Lyon),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_witness_stands_still_nothing_is_known_and_then_everything_goes_on() {
    let script = [
        Do::Renew(Paris),
        Do::Write(Paris, From::Nothing, 1),
        Do::Freeze(Other),
        Do::Renew(Paris),
        Do::Read(Lyon),
        Do::Freeze(Leader),
        Do::Renew(Paris),
        Do::Leases(Paris),
        Do::Read(Paris),
        Do::Facts(Paris, 1),
        Do::Thaw(Leader),
        Do::Thaw(Other),
        Do::RenewAgain(Paris),
        Do::Read(Paris),
        Do::Write(Paris, From::Read, 2),
        Do::Read(Lyon),
    ];
    compare(&script, Model::new(), Real::at(Witness::alone().await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_records_and_facts_in_their_order_and_no_leases() {
    play(&[
        Do::Write(Paris, From::Nothing, 1),
        Do::Facts(Lyon, 1),
        Do::Watch(Paris),
        Do::Renew(Lyon),
        Do::Facts(Lyon, 2),
        Do::Read(Lyon),
        Do::Write(Lyon, From::Read, 2),
        Do::Changes(Paris, 2),
        Do::Write(Paris, From::Stale, 3),
        Do::Read(Paris),
    ])
    .await;
}
