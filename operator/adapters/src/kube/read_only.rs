//! A workload's read-only flag, wherever it is put.

use std::time::Duration;

use bascule_core::outcome::Outcome;
use bascule_core::policy::FlagPlace;

use super::client::Kube;
use super::failure::{Failure, outcome};
use super::flag::{self, Flag, FlagFacts, Position};
use super::own;
use super::ownership::Rehearsal;
use super::tell;
use super::workload::{self, WorkloadRef};

/// How long one pod has to answer a call.
const PER_CALL: Duration = Duration::from_secs(2);

/// Reads the flag. One that only the pods have is known only by asking them: see [`verify`](super::verify).
pub async fn observe(kube: &Kube, workload: &WorkloadRef, place: &FlagPlace) -> Result<FlagFacts, Failure> {
    match place {
        FlagPlace::Key(spec) => flag::observe(kube, Flag { namespace: &workload.namespace, spec }).await,
        FlagPlace::Variable(_) | FlagPlace::Annotation(_) => own::observe(kube, workload, place).await,
        FlagPlace::Calls(_) => {
            let reason =
                "its read-only flag is in its pods alone, which are told by HTTP, and asked by verify";
            Err(Failure::unfit(&workload.subject(), reason))
        }
    }
}

/// Sets the flag, never by force. Whether the pods see it is another question.
pub async fn set(kube: &Kube, workload: &WorkloadRef, place: &FlagPlace, position: Position) -> Outcome {
    match place {
        FlagPlace::Key(spec) => {
            flag::set(kube, Flag { namespace: &workload.namespace, spec }, position).await
        }
        FlagPlace::Variable(_) | FlagPlace::Annotation(_) => {
            outcome(own::set(kube, workload, place, position).await)
        }
        FlagPlace::Calls(calls) => {
            let selector = match workload::selector(kube, workload).await {
                Ok(selector) => selector,
                Err(failure) => return failure.into(),
            };
            let told = tell::tell(kube, &workload.namespace, &selector, calls, position, PER_CALL).await;
            told.map_or_else(Outcome::from, |told| tell::all(&told))
        }
    }
}

/// Tries [`set`] without doing it. A value that is there already conflicts with nobody: ask for both positions.
pub async fn rehearse(
    kube: &Kube,
    workload: &WorkloadRef,
    place: &FlagPlace,
    position: Position,
) -> Rehearsal {
    match place {
        FlagPlace::Key(spec) => {
            flag::rehearse(kube, Flag { namespace: &workload.namespace, spec }, position).await
        }
        FlagPlace::Variable(_) | FlagPlace::Annotation(_) => {
            Rehearsal::of(own::rehearse(kube, workload, place, position).await)
        }
        // Nothing is written that somebody could own, and no application rehearses.
        FlagPlace::Calls(_) => Rehearsal::Possible,
    }
}
