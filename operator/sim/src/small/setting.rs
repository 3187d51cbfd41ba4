//! Which flow, which faults, which timing, which rule is left out?

use std::time::Duration;

use bascule_core::decide::Installation;
use bascule_core::moves::{Move, MoveHash, Order};
use bascule_core::name::{ItemName, SiteName};
use bascule_core::policy::{After, Policy};
use bascule_core::time::{Boottime, Millis};
use bascule_core::timing::{Profile, Timing};

use crate::sample;

/// One tick: every operator renews, reads the leases and hears its guard once in it. A little shorter than the renewal
/// period, so that a call of which the answer waits over one tick is not late yet.
pub(super) const TICK: Duration = Duration::from_secs(9);
/// The order of what one operator sends and hears within a tick, on its own clock.
pub(super) const STEP: Duration = Duration::from_millis(10);
/// The present, for ever. What lies further back than the machine's start is not told apart: longer than any deadline
/// of the rules that matters here.
pub(super) const NOW: Boottime = Boottime::from_millis(63_000);

/// What people want, or what happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Nothing but what silence leads to, whichever site is silent.
    Silence,
    /// A person orders a switchover, once.
    Planned,
    /// The active site's server may die at any time, once; it is no fault that counts.
    Offered,
}

impl Flow {
    /// Every flow.
    pub const ALL: [Self; 3] = [Self::Silence, Self::Planned, Self::Offered];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Planned => "planned",
            Self::Offered => "offered",
        }
    }
}

/// What goes wrong, at any moment; each counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An operator restarts: it knows nothing, and what it had sent may still arrive.
    OperatorRestarts,
    /// A guard restarts, its server with it.
    GuardRestarts,
    /// A message is lost, on the way or on the way back. A write that was lost on the way may arrive later.
    MessageLost,
    /// An operator hears and does nothing for as long as one likes.
    OperatorFreezes,
    /// The arbiter is put back to what it was one change of the record ago.
    ArbiterRestored,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 5] = [
        Self::OperatorRestarts,
        Self::GuardRestarts,
        Self::MessageLost,
        Self::OperatorFreezes,
        Self::ArbiterRestored,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OperatorRestarts => "operator",
            Self::GuardRestarts => "guard",
            Self::MessageLost => "loss",
            Self::OperatorFreezes => "freeze",
            Self::ArbiterRestored => "restore",
        }
    }
}

/// A rule that is left out around the core, to see that the search finds what it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// A role is granted without having been re-claimed since the last gap.
    Reclaim,
    /// A renewal counts from the receipt of its answer, not from its sending.
    CountFromSending,
    /// The silence that a record asks for covers what its holder may still do: half of it is asked for.
    WholeSilence,
    /// A guard's step that needs the record to be read for it is allowed without reading it.
    FreshAnswer,
    /// A guard stops its server a tick later than its grant ends.
    StopInTime,
}

impl LeftOut {
    /// Every rule that can be left out.
    pub const ALL: [Self; 5] =
        [Self::Reclaim, Self::CountFromSending, Self::WholeSilence, Self::FreshAnswer, Self::StopInTime];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reclaim => "reclaim",
            Self::CountFromSending => "count-from-sending",
            Self::WholeSilence => "whole-silence",
            Self::FreshAnswer => "fresh-answer",
            Self::StopInTime => "stop-in-time",
        }
    }
}

/// Where a search ends although it has not seen everything.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most states.
    pub states: usize,
    /// The most steps from the start.
    pub depth: usize,
}

/// One search.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The flow.
    pub flow: Flow,
    /// Which faults happen.
    pub faults: Vec<Fault>,
    /// How many of them in one run.
    pub most: u8,
    /// The rule that is left out, if one is.
    pub without: Option<LeftOut>,
    /// Whether a renewal, a read of the leases and a guard's regular question are steps of their own; otherwise an
    /// operator that works has all three in one step of each tick, unless one of them is lost; one that goes on hears at
    /// once what came while it was frozen; and a server does within the tick what its guard wants.
    pub fine: bool,
    /// Where it ends.
    pub limits: Limits,
}

/// The two sites; the first one begins.
pub(super) fn sites() -> [SiteName; 2] {
    let policy = sample::policy();
    [0, 1].map(|i| policy.sites[i].clone())
}

/// The one database.
#[expect(clippy::expect_used, reason = "the sample policy is a constant with one database")]
pub(super) fn database() -> ItemName {
    sample::policy().databases.keys().next().cloned().expect("the sample policy has a database")
}

/// The sample policy with its database alone; every wait is a few ticks.
pub(super) fn policy() -> Policy {
    let mut p = sample::policy();
    p.workloads.clear();
    p.traffic.clear();
    p.failover.serve_reads_after = After::Elapsed(TICK);
    p.failover.promote_after = After::Elapsed(Duration::ZERO);
    p.failover.return_after = TICK;
    p.failover.max_data_loss.seconds = Duration::from_hours(1);
    p.failover.switchover_deadline = TICK * 5;
    p.failover.offer_for = TICK * 2;
    p.failover.restart_grace = TICK * 2;
    p
}

impl Setting {
    /// The shortest timing that the inequalities allow for this tick: a holder acts in the tick of its renewal and two
    /// more, its server is gone in the third, and three ticks of silence are enough for a taker.
    pub(super) fn installation(&self) -> Installation {
        let lease = if self.without == Some(LeftOut::WholeSilence) { 13_300 } else { 26_550 };
        Installation {
            profile: Profile::Metro,
            timing: Timing {
                renewals_that_may_be_lost: 0,
                period: Millis(10_000),
                call: Millis(10_000),
                holder: Millis(20_000),
                fence: Millis(6_000),
                scheduling: Millis(0),
                lease: Millis(lease),
            },
            generation: 0,
            places: bascule_core::decide::Places::Several,
        }
    }

    /// The Moves that lie there.
    pub(super) fn moves(&self) -> Vec<Move> {
        let Ok(name) = "go".try_into() else { return Vec::new() };
        let [_, to] = sites();
        let order = Order::Switchover { to };
        let mv = Move {
            hash: MoveHash("go".to_owned()),
            name,
            order,
            from: None,
            epoch: Some(1),
            serial: None,
            not_before: None,
            not_after: None,
            reason: "maintenance".to_owned(),
        };
        if self.flow == Flow::Planned { vec![mv] } else { Vec::new() }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(without: Option<LeftOut>) -> Setting {
        let limits = Limits { states: 0, depth: 0 };
        Setting { flow: Flow::Silence, faults: vec![], most: 0, without, fine: false, limits }
    }

    #[test]
    fn the_timing_of_small_worlds_is_one_that_an_installation_may_have() {
        assert_eq!(setting(None).installation().timing.violations(Duration::ZERO), []);
        let half = setting(Some(LeftOut::WholeSilence)).installation().timing;
        assert_eq!(half.violations(Duration::ZERO).len(), 1);
    }
}
