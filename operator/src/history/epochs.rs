//! What journals tell of who was active when: the first line of each epoch.

use std::collections::BTreeMap;

use bascule_core::journal::Line;
use jiff::Timestamp;
use serde::Serialize;

use crate::logbook::files::Placed;
use crate::why::ask::Wanted;

/// What journals tell of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The policy, as `namespace/name`.
    pub policy: String,
    /// Its epochs, newest first.
    pub epochs: Vec<Epoch>,
}

/// An epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Epoch {
    /// Its number.
    #[serde(rename = "epoch")]
    pub number: u64,
    /// When a line named it first, by the clock of the site that wrote the line.
    pub since: Timestamp,
    /// That site.
    pub site: String,
    /// What the line says.
    pub what: String,
}

/// The epochs of the policies that are wanted.
pub fn of(lines: &[Placed<'_>], wanted: &Wanted) -> Vec<Told> {
    let mut all: BTreeMap<&str, BTreeMap<u64, Epoch>> = BTreeMap::new();
    for placed in lines {
        let Some(Line::Entry(e)) = &placed.line else { continue };
        let Some(policy) = e.policy.filter(|p| is_wanted(p, wanted)) else { continue };
        // Before there is a record, no epoch has begun.
        if e.epoch == 0 {
            continue;
        }
        all.entry(policy).or_default().entry(e.epoch).or_insert_with(|| Epoch {
            number: e.epoch,
            since: e.at,
            site: e.site.to_owned(),
            what: e.what.to_owned(),
        });
    }
    all.into_iter()
        .map(|(policy, epochs)| Told {
            policy: policy.to_owned(),
            epochs: epochs.into_values().rev().collect(),
        })
        .collect()
}

fn is_wanted(policy: &str, wanted: &Wanted) -> bool {
    let Some((of, name)) = policy.split_once('/') else { return false };
    match wanted {
        Wanted::All { namespace } => namespace.as_ref().is_none_or(|n| n == of),
        Wanted::One { namespace, name: one } => one == name && namespace.as_ref().is_none_or(|n| n == of),
    }
}
