//! Looks at the running server, several times a second, and notes what it knew when it lost its primary.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bascule_core::guard::wire::{Behind, ContactLost, Positions, UpstreamView};
use bascule_core::position::Timeline;
use bascule_core::time::{Boottime, Millis};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::clock;
use crate::replicas::Flushed;
use crate::server::Server;
use crate::session::{Reading, Session};

/// How often the server is looked at: a primary that nobody made one is found within this.
const EVERY: Duration = Duration::from_millis(20);

/// A reading and when it was made.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) reading: Reading,
    /// How far each replica of this primary is behind, by its slot.
    pub(crate) replicas: BTreeMap<String, Behind>,
    pub(crate) at: Boottime,
}

impl Seen {
    /// Whether it is a standby that receives.
    pub(crate) fn streams(&self) -> bool {
        self.reading.in_recovery && streams(&self.reading.positions)
    }
}

fn streams(positions: &Positions) -> bool {
    positions.upstream.as_ref().is_some_and(UpstreamView::streams)
}

/// Reads until the receiver goes away. Between two servers there is nothing to read, and it waits.
pub(crate) async fn run(server: Arc<Server>, seen: mpsc::Sender<Seen>) {
    let mut session: Option<Session> = None;
    let (mut received, mut flushed) = (Received::default(), Flushed::default());
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !seen.is_closed() {
        ticks.tick().await;
        if server.running().is_none() {
            (session, received, flushed) = (None, Received::default(), Flushed::default());
            continue;
        }
        if session.is_none() {
            session = server.session().await.ok();
        }
        let Some(open) = &session else { continue };
        let at = clock::now();
        match open.read().await {
            Ok(mut reading) => {
                received.complete(&mut reading);
                let own = reading.positions.flush;
                let replicas = own.map(|own| flushed.take(own, &reading.confirmed, at)).unwrap_or_default();
                if seen.send(Seen { reading, replicas, at }).await.is_err() {
                    return;
                }
            }
            // The server went, or ended this session with the clients': looked at again with a new one.
            Err(_) => session = None,
        }
    }
}

/// The timeline on which a standby last received. The server itself forgets it when its primary stops, and that is
/// just when a switchover asks for it.
#[derive(Debug, Default)]
struct Received(Option<Timeline>);

impl Received {
    /// Remembers the reading's timeline, or gives it the remembered one. Only while everything that was replayed had
    /// been received: what comes from an archive may be of another timeline.
    fn complete(&mut self, reading: &mut Reading) {
        let at = &mut reading.positions;
        if !reading.in_recovery {
            self.0 = None;
        } else if at.timeline.is_some() {
            self.0 = at.timeline;
        } else if at.replay.is_some() && at.replay <= at.receive {
            at.timeline = self.0;
        }
    }
}

/// What is kept of a lost contact: the evidence and the machine's life in which it was noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    evidence: ContactLost,
    machine: String,
    noticed: Millis,
}

/// The evidence for the loss gate.
#[derive(Debug)]
pub(crate) struct Contact {
    /// The last positions while the receiver streamed.
    streaming: Option<(Positions, Boottime)>,
    lost: Option<Kept>,
    machine: String,
}

impl Contact {
    /// With what was kept beside the data, if anything.
    pub(crate) fn load(server: &Server) -> Result<Self, crate::store::StoreError> {
        let machine = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let lost = server.store.read(crate::store::CONTACT)?;
        Ok(Self { streaming: None, lost, machine: machine.trim().to_owned() })
    }

    /// What was known when contact was lost; `None` while it streams or never streamed.
    pub(crate) fn lost(&self, now: Boottime) -> Option<ContactLost> {
        self.lost.as_ref().map(|kept| {
            let here = kept.machine == self.machine;
            let noticed = Boottime::from_millis(kept.noticed.0);
            ContactLost { since: here.then(|| Millis::from(now.since(noticed))), ..kept.evidence.clone() }
        })
    }

    /// Whether contact is lost.
    pub(crate) const fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Takes a reading of a standby. `true`: contact was lost or found, so it has to be written and told.
    pub(crate) fn take(&mut self, positions: &Positions, at: Boottime) -> bool {
        if streams(positions) {
            self.streaming = Some((positions.clone(), at));
            return self.lost.take().is_some();
        }
        self.end(at)
    }

    /// The standby stops or becomes a primary: from now on it hears nothing.
    pub(crate) fn end(&mut self, at: Boottime) -> bool {
        let Some((last, read)) = self.streaming.take() else { return false };
        let upstream = last.upstream.as_ref();
        let age = upstream.and_then(|u| u.message_age);
        let evidence = ContactLost {
            timeline: upstream.and_then(|u| u.timeline),
            reported_end: upstream.and_then(|u| u.reported_end),
            received: last.receive,
            // The loss happened somewhere between the last good reading and this one.
            report_age: age.map(|age| Millis(age.0 + Millis::from(at.since(read)).0)),
            since: None,
        };
        let noticed = Millis::from(at.since_boot());
        self.lost = Some(Kept { evidence, machine: self.machine.clone(), noticed });
        true
    }

    /// Writes it beside the data.
    pub(crate) fn write(&self, server: &Server) -> Result<(), crate::store::StoreError> {
        match &self.lost {
            Some(kept) => server.store.write(crate::store::CONTACT, kept),
            None => server.store.remove(crate::store::CONTACT),
        }
    }
}

#[cfg(test)]
mod tests {
    use bascule_core::guard::wire::UpstreamView;
    use bascule_core::position::Lsn;

    use super::*;

    fn positions(status: Option<&str>, reported: u64) -> Positions {
        Positions {
            timeline: Some(Timeline(1)),
            flush: None,
            receive: Some(Lsn(900)),
            replay: Some(Lsn(800)),
            upstream: status.map(|s| UpstreamView {
                status: s.into(),
                timeline: Some(Timeline(1)),
                reported_end: Some(Lsn(reported)),
                message_age: Some(Millis(120)),
            }),
            age: Millis(0),
        }
    }

    fn contact() -> Contact {
        Contact { streaming: None, lost: None, machine: "m".into() }
    }

    #[test]
    fn a_standby_whose_primary_stopped_still_knows_the_timeline_that_it_received() {
        let mut received = Received::default();
        let reading = |in_recovery, status, replay| {
            let mut p = positions(status, 1000);
            (p.timeline, p.replay) = (status.map(|_| Timeline(3)), Some(Lsn(replay)));
            Reading { in_recovery, positions: p, confirmed: Vec::new() }
        };
        let mut timeline = |mut r: Reading| {
            received.complete(&mut r);
            r.positions.timeline
        };
        assert_eq!(timeline(reading(true, None, 900)), None, "never received");
        assert_eq!(timeline(reading(true, Some("streaming"), 800)), Some(Timeline(3)));
        assert_eq!(timeline(reading(true, None, 900)), Some(Timeline(3)));
        assert_eq!(timeline(reading(true, None, 901)), None, "replayed more than was received");
        assert_eq!(timeline(reading(false, None, 900)), None);
        assert_eq!(timeline(reading(true, None, 900)), None, "forgotten with the promotion");
    }

    #[test]
    fn what_was_known_when_contact_was_lost_is_the_last_report_with_its_age_rounded_up() {
        let mut c = contact();
        assert!(!c.take(&positions(Some("streaming"), 1000), Boottime::from_millis(5000)));
        assert!(c.take(&positions(None, 0), Boottime::from_millis(5050)));
        let lost = c.lost(Boottime::from_millis(6050)).unwrap();
        assert_eq!((lost.reported_end, lost.received), (Some(Lsn(1000)), Some(Lsn(900))));
        assert_eq!(lost.report_age, Some(Millis(170)));
        assert_eq!(lost.since, Some(Millis(1000)));
    }

    #[test]
    fn evidence_stays_as_it_was_until_replication_streams_again() {
        let mut c = contact();
        c.take(&positions(Some("streaming"), 1000), Boottime::from_millis(5000));
        c.take(&positions(None, 0), Boottime::from_millis(5050));
        let first = c.lost.clone();
        assert!(!c.take(&positions(Some("waiting"), 7777), Boottime::from_millis(9000)));
        assert_eq!(c.lost, first);
        assert!(c.take(&positions(Some("streaming"), 2000), Boottime::from_millis(9100)));
        assert_eq!(c.lost(Boottime::from_millis(9200)), None);
    }

    #[test]
    fn a_standby_that_never_streamed_has_no_evidence() {
        let mut c = contact();
        assert!(!c.take(&positions(None, 0), Boottime::from_millis(1)));
        assert_eq!(c.lost(Boottime::from_millis(2)), None);
    }
}
