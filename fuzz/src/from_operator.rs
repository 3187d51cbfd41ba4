//! What an operator says to its guard.

use bascule_core::guard::action::{Action, Event, Memory};
use bascule_core::guard::rules::Rules;
use bascule_core::guard::wire::{Cluster, ClusterState, Disk, FromOperator, ServerState};
use bascule_core::position::{Lsn, SystemId, Timeline};
use bascule_core::time::Boottime;
use bascule_guard::fuzz::operator_said;

use crate::{in_words, wait};

/// What one moment may cause at most: rules that order more never rest.
const MOST: usize = 200;

/// Hears `bytes`, frames as they come over a connection, and lets a guard's rules live with them: beside a primary's
/// data, beside a standby's, and beside an empty directory.
///
/// # Panics
/// When the end of the connection is not said in words, or when the guard does not rest.
pub fn run(bytes: &[u8]) {
    let (messages, why) = wait(operator_said(bytes));
    in_words(&why);
    if messages.is_empty() {
        return;
    }
    for disk in [cluster(ClusterState::ShutDown), cluster(ClusterState::ShutDownInRecovery), Disk::Empty] {
        let mut guard = Guard::new(disk);
        guard.hear(Event::Connected);
        for message in &messages {
            let event = match message.clone() {
                // Its nonce is the question's: an answer to nothing is not heard at all.
                FromOperator::Answer { instruction, .. } => {
                    Event::Answered { nonce: guard.asked, instruction }
                }
                FromOperator::Tell { instruction } => Event::Told { instruction },
                FromOperator::Refuse { .. } => Event::Disconnected,
            };
            guard.hear(event);
            guard.live(2);
        }
        guard.hear(Event::Disconnected);
        guard.live(20);
        guard.hear(Event::Sigterm);
        guard.live(5);
    }
}

fn cluster(state: ClusterState) -> Disk {
    Disk::Cluster(Cluster {
        system_id: SystemId(7),
        timeline: Timeline(1),
        state,
        checkpoint: Lsn(0x0100_0028),
        standby_signal: state == ClusterState::ShutDownInRecovery,
        half_rewound: false,
    })
}

struct Guard {
    rules: Rules,
    now: Boottime,
    asked: u64,
}

impl Guard {
    fn new(disk: Disk) -> Self {
        let now = Boottime::from_millis(1_000_000);
        Self { rules: Rules::new(Memory::default(), disk, now).with_arbiter(true), now, asked: 0 }
    }

    fn hear(&mut self, event: Event) {
        let mut due = vec![event];
        let mut handled = 0;
        while let Some(event) = due.pop() {
            handled += 1;
            assert!(handled < MOST, "it never rests: {event:?}");
            for action in self.rules.step(event, self.now) {
                due.extend(self.obey(&action));
            }
        }
    }

    /// Lets time pass, from one moment that the rules ask for to the next.
    fn live(&mut self, moments: usize) {
        for _ in 0..moments {
            let next = self.rules.wakes(self.now);
            self.now = next.max(Boottime::from_millis(1) + self.now.since_boot());
            self.hear(Event::Tick { tell: false });
        }
    }

    fn obey(&mut self, action: &Action) -> Option<Event> {
        let server = |state| Some(Event::Server { state, died: None });
        match action {
            Action::Kill | Action::Stop { .. } => server(ServerState::Down),
            Action::StartPrimary | Action::Promote { .. } => server(ServerState::Primary { open: false }),
            Action::StartOrphan | Action::Join { .. } | Action::Close => {
                server(ServerState::Standby { open: false })
            }
            Action::Clone { .. } => Some(Event::Failed),
            Action::Open { .. } => server(ServerState::Primary { open: true }),
            Action::OpenStandby => server(ServerState::Standby { open: true }),
            Action::Checkpoint { serial } => Some(Event::CheckpointFailed { serial: *serial }),
            Action::Ask { nonce, .. } => {
                self.asked = *nonce;
                None
            }
            Action::ReadRecord { number } => Some(Event::RecordRead { number: *number, view: None }),
            Action::RenewLease { number } => Some(Event::LeaseRenewed { number: *number, done: false }),
            Action::Watch(_) | Action::RemoveTrigger | Action::Remember(_) | Action::Exit => None,
        }
    }
}
