//! What each command changes outside of the engine, by its stable name.
//!
//! Every `match` here is without a wildcard: a new command, step, phase or role does not compile before it is named, or
//! told apart as one that changes nothing.

use bascule_boundary::Effect;
use bascule_core::guard::wire::{Instruction, Role};
use bascule_core::plan::Step;
use bascule_core::record::Phase;

use crate::brain::Command;

/// The effect of a command; `None`: it only reads, and a crash before or after it is one before or after what follows.
pub(crate) fn effect(command: &Command) -> Option<Effect> {
    Some(match command {
        // Nothing outside can tell whether they were read.
        Command::ReadLeases
        | Command::ReadRecord(_)
        | Command::ListAndWatch
        | Command::ReadMarks
        | Command::Look { .. } => return None,
        Command::Renew => Effect::RenewLease,
        Command::Write { next, .. } => recorded(&next.phase),
        Command::WriteFacts { .. } => Effect::WriteFacts,
        Command::Answer { instruction, .. } | Command::Tell { instruction, .. } => instructed(instruction),
        Command::Refuse { .. } => Effect::RefuseGuard,
        Command::RaiseMark { .. } => Effect::RaiseMark,
        Command::Perform { step, .. } => performed(step),
        Command::Publish(_) => Effect::Publish,
        Command::Beat(_) => Effect::Beat,
        Command::Journal(_) => Effect::Journal,
        Command::Stop { .. } | Command::StandDown { .. } => Effect::Stop,
    })
}

const fn recorded(phase: &Phase) -> Effect {
    match phase {
        Phase::Unmanaged => Effect::RecordUnmanaged,
        Phase::Steady => Effect::RecordSteady,
        Phase::Requested => Effect::RecordRequested,
        Phase::Handover => Effect::RecordHandover,
        Phase::Promoting => Effect::RecordPromoting,
        Phase::ReadOnly => Effect::RecordReadOnly,
        Phase::Returning => Effect::RecordReturning,
        Phase::Offered => Effect::RecordOffered,
        Phase::Withdrawn => Effect::RecordWithdrawn,
        Phase::Unknown(_) => Effect::RecordOfNewerVersion,
    }
}

const fn instructed(instruction: &Instruction) -> Effect {
    match &instruction.role {
        _ if instruction.checkpoint => Effect::InstructCheckpoint,
        Role::Keep => Effect::InstructKeep,
        Role::Wait { .. } => Effect::InstructWait,
        Role::Follow { open: false, .. } => Effect::InstructFollow,
        Role::Follow { open: true, .. } => Effect::InstructFollowOpen,
        Role::Serve { open: false, .. } => Effect::InstructServe,
        Role::Serve { open: true, .. } => Effect::InstructServeOpen,
        Role::Lock => Effect::InstructLock,
    }
}

const fn performed(step: &Step) -> Effect {
    match step {
        Step::SetReadOnly { on: true, .. } => Effect::SetReadOnly,
        Step::SetReadOnly { on: false, .. } => Effect::ClearReadOnly,
        Step::Scale { .. } => Effect::Scale,
        Step::PointTraffic { .. } => Effect::PointTraffic,
        Step::RefuseWrites { on: true, .. } => Effect::RefuseWrites,
        Step::RefuseWrites { on: false, .. } => Effect::PassWrites,
        Step::VerifyWrite { .. } => Effect::VerifyWrite,
    }
}

#[cfg(test)]
mod tests {
    use bascule_boundary::Doer;
    use bascule_core::name::PolicyKey;

    use super::*;

    #[test]
    fn what_changes_something_is_the_operators_and_what_reads_has_no_name() {
        let policy = PolicyKey::new("web", "shop").unwrap();
        assert_eq!(effect(&Command::ReadRecord(policy)), None);
        let named = effect(&Command::Renew);
        assert_eq!(named.map(Effect::doer), Some(Doer::Operator));
    }

    #[test]
    fn each_phase_is_written_under_its_own_name() {
        let phases = [
            Phase::Unmanaged,
            Phase::Steady,
            Phase::Requested,
            Phase::Handover,
            Phase::Promoting,
            Phase::ReadOnly,
            Phase::Returning,
            Phase::Offered,
            Phase::Withdrawn,
            Phase::Unknown("Later".to_owned()),
        ];
        for phase in phases {
            let name = recorded(&phase).name().replace('-', "");
            assert!(name.starts_with("record"));
            let of = if let Phase::Unknown(_) = phase { "ofnewerversion" } else { phase.name() };
            assert_eq!(name, format!("record{}", of.to_lowercase()));
        }
    }
}
