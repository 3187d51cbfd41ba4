//! The part of the engine's `Site` port that name servers answer: one traffic target.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bascule_core::name::SiteName;
use bascule_core::observation::{Fact, TrafficAt, TrafficView};
use bascule_core::outcome::Outcome;
use bascule_core::plan::{Answer, Gate};
use bascule_core::policy::Dns;
use tokio::time::Instant;

use super::apply::Applied;
use super::mark::Mark;
use super::observe::Answer as Asked;
use super::read::MarkFound;
use super::target::{DnsTarget, DnsTargetSpec, SiteAddresses, TargetError, TsigKey};
use super::verify::Difference;
use crate::finding::{Finding, Severity};

/// How long the answer of a preflight is believed. An update is refused all the same when it no longer holds.
const PREFLIGHT_FOR: Duration = Duration::from_secs(30);

/// One traffic target of a policy.
#[derive(Debug)]
pub struct DnsTraffic {
    target: DnsTarget,
    good_since: Mutex<Option<Instant>>,
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
        Ok(Self { target, good_since: Mutex::default() })
    }

    /// Looks at the target: where every authoritative server points, and what prevents moving it. The second is asked
    /// at most every 30 seconds while nothing does; its gates are named `item/…`.
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
        Ok(TrafficAt { site, serial, epoch, differing, silent })
    }

    fn differing(&self, answers: &[Asked], newest: Option<&Mark>) -> Vec<String> {
        let one = |answer: &Asked| {
            let words = match (&answer.result, newest) {
                (Fact::Unknown { .. }, _) => return None,
                (Fact::Known { value, .. }, None) => {
                    let addresses: Vec<String> = value.addresses.iter().map(ToString::to_string).collect();
                    format!("addresses {}, and no mark of Bascule", addresses.join(", "))
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
        // Only a good answer is kept: whoever repairs something wants to see it at once.
        let good = *self.good_since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = good.filter(|at| at.elapsed() < PREFLIGHT_FOR) {
            return Fact::Known { value: Vec::new(), age: at.elapsed() };
        }
        let start = Instant::now();
        let findings = self.target.preflight(deadline).await;
        let gates: Vec<Gate> = findings.iter().filter_map(|f| gate(item, f)).collect();
        *self.good_since.lock().unwrap_or_else(PoisonError::into_inner) = gates.is_empty().then_some(start);
        Fact::Known { value: gates, age: start.elapsed() }
    }
}

/// A finding that blocks, as a gate. A server that does not answer now may answer later: that is unknown, not a no.
fn gate(item: &str, finding: &Finding) -> Option<Gate> {
    let answer = match finding.code {
        _ if finding.severity != Severity::Block => return None,
        "DnsServerUnreachable" => Answer::Unknown,
        _ => Answer::No,
    };
    Some(finding.gate(item, answer))
}
