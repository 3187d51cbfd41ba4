//! The part of the engine's `Site` port that name servers answer: one traffic target.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bascule_core::name::SiteName;
use bascule_core::observation::{Fact, TrafficAt, TrafficView};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::Dns;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::apply::Applied;
use super::observe::Answer as Asked;
use super::read::MarkFound;
use super::target::{DnsTarget, DnsTargetSpec, SiteAddresses, TargetError, TsigKey};
use super::verify::{Difference, list};
use crate::finding::{Finding, Severity};
use crate::mark::Mark;

/// How long the answer of a preflight is believed. An update is refused all the same when it no longer holds.
const PREFLIGHT_FOR: Duration = Duration::from_secs(30);

/// How long a look waits for a new preflight when it has an older one.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a preflight found, and when it was begun.
#[derive(Debug)]
struct Found {
    at: Instant,
    findings: Vec<Finding>,
}

/// One traffic target of a policy.
#[derive(Debug)]
pub struct DnsTraffic {
    target: Arc<DnsTarget>,
    found: watch::Sender<Option<Found>>,
    asking: Mutex<Option<JoinHandle<()>>>,
}

impl DnsTraffic {
    /// The target that a policy describes, with the key from its Secret.
    pub fn new(dns: &Dns, tsig: TsigKey) -> Result<Self, TargetError> {
        let entry =
            |(site, ips): (&SiteName, &Vec<IpAddr>)| SiteAddresses::new(site.clone(), ips.iter().copied());
        let target = DnsTarget::new(DnsTargetSpec {
            name: dns.name.clone(),
            zone: dns.zone.clone(),
            ttl: dns.ttl,
            update_servers: dns.update_servers.clone(),
            verify_servers: dns.verify_servers.clone(),
            tsig,
            addresses: dns.addresses.iter().map(entry).collect::<Result<_, _>>()?,
        })?;
        Ok(Self { target: Arc::new(target), found: watch::Sender::new(None), asking: Mutex::default() })
    }

    /// Looks at the target: where every authoritative server points, and what prevents moving it. The second is asked
    /// at most every 30 seconds while nothing does, and apart: servers that take long to answer, or never do, hold up
    /// only the first look. Its gates are named `item/…`.
    pub async fn look(&self, item: &str, deadline: Duration) -> TrafficView {
        let (answers, blockers) = tokio::join!(self.target.observe(deadline), self.blockers(item, deadline));
        let at = match answers {
            Fact::Unknown { reason } => Fact::Unknown { reason },
            Fact::Known { value, age } => match self.at(&value) {
                Ok(value) => Fact::Known { value, age },
                Err(reason) => Fact::Unknown { reason },
            },
        };
        TrafficView { at, blockers }
    }

    /// Points the target at `site`, once. Done means that a primary has taken it; whether every server shows it is for
    /// [`DnsTraffic::look`] to say.
    pub async fn point(&self, site: &SiteName, epoch: u64, serial: u64, deadline: Duration) -> Outcome {
        let mark = Mark { epoch, serial, site: site.clone() };
        match self.target.apply(&mark, deadline).await {
            Applied::Done { .. } => Outcome::Done,
            Applied::AlreadyNewer { server, found } => Outcome::refused(format!(
                "{server} already publishes a newer state of {}: \"{found}\"",
                self.target.name()
            )),
            Applied::Refused(refusal) => Outcome::refused(refusal.to_string()),
            Applied::Unknown { server, why } => Outcome::unknown(format!("{server}: {why}")),
        }
    }

    /// The answers held against the newest mark among them.
    fn at(&self, answers: &[Asked]) -> Result<TrafficAt, String> {
        let known = || answers.iter().filter_map(|a| a.result.value());
        let silent: Vec<String> = answers
            .iter()
            .filter_map(|a| match &a.result {
                Fact::Unknown { reason } => Some(format!("{}: {reason}", a.server)),
                Fact::Known { .. } => None,
            })
            .collect();
        if known().next().is_none() {
            return Err(silent.join("; "));
        }
        let marks = known().filter_map(|state| match &state.mark {
            MarkFound::Mark(mark) => Some(mark),
            MarkFound::None | MarkFound::Foreign(_) => None,
        });
        let newest = marks.max_by_key(|mark| (mark.epoch, mark.serial));
        let differing = self.differing(answers, newest);
        let site = newest.filter(|_| differing.is_empty()).map(|mark| mark.site.clone());
        let (epoch, serial) = newest.map_or((0, 0), |mark| (mark.epoch, mark.serial));
        Ok(TrafficAt { site, serial, epoch, differing, silent, writes: None })
    }

    fn differing(&self, answers: &[Asked], newest: Option<&Mark>) -> Vec<String> {
        let one = |answer: &Asked| {
            let words = match (&answer.result, newest) {
                (Fact::Unknown { .. }, _) => return None,
                (Fact::Known { value, .. }, None) => {
                    format!("addresses {}, and no mark of Bascule", list(&value.addresses))
                }
                (Fact::Known { value, .. }, Some(mark)) => {
                    let Some(expected) = self.target.addresses(&mark.site) else {
                        return Some(format!(
                            "{}: \"{mark}\", and the policy has no addresses of that site",
                            answer.server
                        ));
                    };
                    self.target.difference(value, expected, mark).as_ref().map(Difference::to_string)?
                }
            };
            Some(format!("{}: {words}", answer.server))
        };
        answers.iter().filter_map(one).collect()
    }

    async fn blockers(&self, item: &str, deadline: Duration) -> Fact<Vec<Gate>> {
        let mut news = self.found.subscribe();
        let known = news.borrow().is_some();
        if self.ask_again(deadline) {
            let patience = if known { deadline.min(PATIENCE) } else { deadline };
            // In time or not, what is known by then is told with its age.
            let _ = timeout(patience, news.changed()).await;
        }
        match &*news.borrow() {
            None => Fact::unknown("the update servers have not answered yet"),
            Some(Found { at, findings }) => Fact::Known {
                value: findings.iter().filter_map(|f| gate(item, f)).collect(),
                age: at.elapsed(),
            },
        }
    }

    /// Has a preflight under way when one is due; says whether one is.
    fn ask_again(&self, deadline: Duration) -> bool {
        // Only a good answer is believed for a while: whoever repairs something wants to see it at once.
        let good = |found: &Found| {
            found.at.elapsed() < PREFLIGHT_FOR && found.findings.iter().all(|f| f.severity != Severity::Block)
        };
        if self.found.borrow().as_ref().is_some_and(good) {
            return false;
        }
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if asking.as_ref().is_none_or(JoinHandle::is_finished) {
            let (target, found) = (Arc::clone(&self.target), self.found.clone());
            *asking = Some(tokio::spawn(async move {
                let at = Instant::now();
                let findings = target.preflight(deadline).await;
                found.send_replace(Some(Found { at, findings }));
            }));
        }
        true
    }
}

/// A server that does not answer now may answer later: that is unknown, not a no.
fn gate(item: &str, finding: &Finding) -> Option<Gate> {
    let blocking = if finding.code == "DnsServerUnreachable" { Answer::Unknown } else { Answer::No };
    finding.gate(item, blocking)
}
