//! What a standby knew of its primary when it lost it: the evidence for the loss gate.

use serde::{Deserialize, Serialize};

use super::wire::{ContactLost, Positions, Stopped};
use crate::position::Timeline;
use crate::time::{Boottime, Millis};

/// The timeline on which a standby last received. The server itself forgets it when its primary stops, and that is
/// just when a switchover asks for it.
#[derive(Clone, Debug, Default)]
pub struct Received(Option<Timeline>);

impl Received {
    /// Remembers the reading's timeline, or gives it the remembered one. Only while everything that was replayed had
    /// been received: what comes from an archive may be of another timeline.
    pub fn complete(&mut self, in_recovery: bool, at: &mut Positions) {
        if !in_recovery {
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
pub struct Kept {
    evidence: ContactLost,
    machine: String,
    noticed: Millis,
}

/// The evidence for the loss gate.
#[derive(Clone, Debug)]
pub struct Contact {
    /// The last positions while the receiver streamed.
    streaming: Option<(Positions, Boottime)>,
    lost: Option<Kept>,
    machine: String,
}

impl Contact {
    /// With what was kept beside the data, if anything. `machine` names this life of the machine: a moment of its clock
    /// means nothing in another one.
    pub const fn new(kept: Option<Kept>, machine: String) -> Self {
        Self { streaming: None, lost: kept, machine }
    }

    /// What has to be kept beside the data; `None`: nothing is lost, and what was kept is to be removed.
    pub const fn kept(&self) -> Option<&Kept> {
        self.lost.as_ref()
    }

    /// What was known when contact was lost; `None` while it streams or never streamed.
    pub fn lost(&self, now: Boottime) -> Option<ContactLost> {
        self.lost.as_ref().map(|kept| {
            let here = kept.machine == self.machine;
            let noticed = Boottime::from_millis(kept.noticed.0);
            ContactLost { since: here.then(|| Millis::from(now.since(noticed))), ..kept.evidence.clone() }
        })
    }

    /// Whether contact is lost.
    pub const fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Takes a reading of a standby. `true`: contact was lost or found, so it has to be written and told.
    pub fn take(&mut self, positions: &Positions, at: Boottime) -> bool {
        if positions.streams() {
            // PostgreSQL calls a receiver streaming before its primary has answered, and also when it is refused. Only the
            // first message is news.
            if positions.upstream.as_ref().is_none_or(|u| u.reported_end.is_none()) {
                return false;
            }
            self.streaming = Some((positions.clone(), at));
            return self.lost.take().is_some();
        }
        self.end(at)
    }

    /// The standby stops or becomes a primary: from now on it hears nothing.
    pub fn end(&mut self, at: Boottime) -> bool {
        let Some((last, read)) = self.streaming.take() else { return false };
        let upstream = last.upstream.as_ref();
        let age = upstream.and_then(|u| u.message_age);
        let evidence = ContactLost {
            timeline: upstream.and_then(|u| u.timeline),
            reported_end: upstream.and_then(|u| u.reported_end),
            received: last.held(),
            // The loss happened somewhere between the last good reading and this one.
            report_age: age.map(|age| Millis(age.0 + Millis::from(at.since(read)).0)),
            since: None,
        };
        self.lose(evidence, at);
        true
    }

    /// A primary has stopped cleanly: until then nobody else wrote, and its copy has all of it. Should another site take
    /// the role and fall silent before this copy streams from it, only what was written there is missing here.
    ///
    /// `lived` is when it was last seen to run: another one may write from the moment of its stop, which is not later than
    /// the moment at which the stop is noticed.
    pub fn stopped(&mut self, stop: &Stopped, lived: Boottime, at: Boottime) {
        let evidence = ContactLost {
            timeline: Some(stop.timeline),
            reported_end: Some(stop.checkpoint),
            received: Some(stop.checkpoint),
            report_age: Some(Millis::from(at.since(lived))),
            since: None,
        };
        self.streaming = None;
        self.lose(evidence, at);
    }

    fn lose(&mut self, evidence: ContactLost, at: Boottime) {
        let noticed = Millis::from(at.since_boot());
        self.lost = Some(Kept { evidence, machine: self.machine.clone(), noticed });
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::wire::UpstreamView;
    use crate::position::Lsn;

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
        let mut timeline = |in_recovery, status, replay| {
            let mut p = positions(status, 1000);
            (p.timeline, p.replay) = (status.map(|_| Timeline(3)), Some(Lsn(replay)));
            received.complete(in_recovery, &mut p);
            p.timeline
        };
        assert_eq!(timeline(true, None, 900), None, "never received");
        assert_eq!(timeline(true, Some("streaming"), 800), Some(Timeline(3)));
        assert_eq!(timeline(true, None, 900), Some(Timeline(3)));
        assert_eq!(timeline(true, None, 901), None, "replayed more than was received");
        assert_eq!(timeline(false, None, 900), None);
        assert_eq!(timeline(true, None, 900), None, "forgotten with the promotion");
    }

    #[test]
    fn what_was_replayed_had_been_received_whatever_the_receiver_says() {
        // A receiver that has begun and received nothing yet stands at the beginning of its segment.
        let mut c = contact();
        let mut p = positions(Some("streaming"), 1000);
        (p.receive, p.replay) = (Some(Lsn(512)), Some(Lsn(1000)));
        c.take(&p, Boottime::from_millis(5000));
        assert!(c.end(Boottime::from_millis(5050)));
        assert_eq!(c.lost(Boottime::from_millis(6050)).unwrap().received, Some(Lsn(1000)));
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
    fn a_primary_that_stopped_cleanly_lacks_only_what_was_written_since_it_was_last_seen_to_run() {
        let mut c = contact();
        let stop = Stopped {
            serial: 7,
            system_id: crate::position::SystemId(1),
            timeline: Timeline(3),
            checkpoint: Lsn(1000),
            clean: true,
        };
        c.stopped(&stop, Boottime::from_millis(4800), Boottime::from_millis(5000));
        let lost = c.lost(Boottime::from_millis(6000)).unwrap();
        assert_eq!((lost.reported_end, lost.received), (Some(Lsn(1000)), Some(Lsn(1000))));
        assert_eq!((lost.report_age, lost.since), (Some(Millis(200)), Some(Millis(1000))));
        assert!(!c.take(&positions(None, 0), Boottime::from_millis(7000)), "a receiver that hears nobody");
        assert!(c.is_lost());
        assert!(c.take(&positions(Some("streaming"), 2000), Boottime::from_millis(8000)));
        assert!(!c.is_lost());
    }

    #[test]
    fn a_standby_that_never_streamed_has_no_evidence() {
        let mut c = contact();
        assert!(!c.take(&positions(None, 0), Boottime::from_millis(1)));
        assert_eq!(c.lost(Boottime::from_millis(2)), None);
    }

    #[test]
    fn a_receiver_that_has_heard_nothing_yet_takes_no_evidence_away() {
        let unheard = || {
            let mut p = positions(Some("streaming"), 0);
            p.upstream.as_mut().unwrap().reported_end = None;
            p
        };
        let mut c = contact();
        assert!(!c.take(&unheard(), Boottime::from_millis(1)));
        assert!(!c.take(&positions(None, 0), Boottime::from_millis(2)), "there was no contact to lose");
        c.take(&positions(Some("streaming"), 1000), Boottime::from_millis(5000));
        assert!(c.take(&positions(None, 0), Boottime::from_millis(5050)));
        let first = c.lost.clone();
        assert!(!c.take(&unheard(), Boottime::from_millis(9000)));
        assert!(!c.take(&positions(None, 0), Boottime::from_millis(9050)));
        assert_eq!(c.lost, first, "what was known last is what was heard last");
        c.take(&positions(Some("streaming"), 2000), Boottime::from_millis(9100));
        assert!(!c.take(&unheard(), Boottime::from_millis(9200)), "a receiver that begins anew");
        assert!(c.take(&positions(None, 0), Boottime::from_millis(9300)));
        let lost = c.lost(Boottime::from_millis(9300)).unwrap();
        assert_eq!((lost.reported_end, lost.report_age), (Some(Lsn(2000)), Some(Millis(320))));
    }

    #[test]
    fn what_is_kept_beside_the_data_is_known_again_by_the_next_process_and_its_age_only_in_the_same_life_of_the_machine()
     {
        let mut c = contact();
        c.take(&positions(Some("streaming"), 1000), Boottime::from_millis(5000));
        assert!(!c.is_lost());
        assert_eq!(c.kept(), None);
        c.take(&positions(None, 0), Boottime::from_millis(5050));
        assert!(c.is_lost());
        let since = |machine: &str| {
            let again = Contact::new(c.kept().cloned(), machine.to_owned());
            again.lost(Boottime::from_millis(6050)).unwrap().since
        };
        assert_eq!((since("m"), since("another life")), (Some(Millis(1000)), None));
    }
}
