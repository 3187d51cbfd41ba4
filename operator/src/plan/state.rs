//! The objects before and after, and what differs between them, policy by policy.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use bascule_core::moves::Move;
use bascule_core::name::PolicyKey;
use bascule_core::similar::nearest;
use bascule_crds::FailoverPolicy;
use bascule_engine::intake::moves::{self, Command};
use bascule_engine::intake::read::Revision;
use serde_json::Value;

use super::fields;
use super::files::Loaded;
use super::live::Live;
use super::told::{Change, FieldChange};

/// Policies and Moves of one namespace.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The policies.
    pub policies: BTreeMap<PolicyKey, FailoverPolicy>,
    /// The Moves, by name.
    pub moves: BTreeMap<String, SeenMove>,
}

/// A Move with its place.
#[derive(Clone, Debug)]
pub struct SeenMove {
    /// What it says.
    pub command: Command,
    /// Where it stands, for people.
    pub place: String,
}

impl State {
    /// The objects of a revision, all of them valid.
    pub fn of(revision: Revision) -> anyhow::Result<Self> {
        let mut state = Self::default();
        for (name, sourced) in revision.policies {
            let namespace = sourced.object.metadata.namespace.clone().unwrap_or_default();
            let key = PolicyKey::new(&namespace, &name).context(name)?;
            state.policies.insert(key, sourced.object);
        }
        for (name, sourced) in revision.moves {
            let place = format!("{}:{}: Move {name}", sourced.file, sourced.line);
            let command = moves::convert(&sourced.object).with_context(|| place.clone())?;
            state.moves.insert(name, SeenMove { command, place });
        }
        Ok(state)
    }

    /// Whether there is nothing in it but Moves.
    pub fn has_only_moves(&self) -> bool {
        self.policies.is_empty() && !self.moves.is_empty()
    }
}

/// What FILE is held against.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// The objects before; a policy that is there and not in FILE any more is removed, if `complete`.
    pub state: State,
    /// Policies that are in force beside what FILE replaces.
    pub beside: BTreeMap<PolicyKey, FailoverPolicy>,
    /// What FILE lacks of `state` is removed.
    pub removes: Removes,
    /// What the cluster says, by policy.
    pub live: BTreeMap<PolicyKey, Live>,
    /// What it is, in words.
    pub words: String,
    /// Nothing is known: what FILE says is new, or in force when a Move is for it.
    pub cold: bool,
}

/// Which objects of the state before are removed when FILE does not have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Removes {
    /// None.
    #[default]
    Nothing,
    /// All.
    All,
    /// These.
    These(BTreeSet<PolicyKey>),
}

/// One policy with everything that is merged for it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Which.
    pub key: PolicyKey,
    /// What becomes of it.
    pub change: Change,
    /// As it was.
    pub before: Option<FailoverPolicy>,
    /// As it will be.
    pub after: Option<FailoverPolicy>,
    /// Which of its fields change.
    pub fields: Vec<FieldChange>,
    /// Moves that are new.
    pub moves: Vec<Move>,
    /// Moves whose name is taken by another Move that stands: nothing is done on them.
    pub taken: Vec<String>,
    /// What else is to be said.
    pub notes: Vec<String>,
}

/// What differs, and the policies that stay as they are.
pub fn cases(after: &State, before: &Before) -> anyhow::Result<(Vec<Case>, Vec<String>)> {
    let mut cases: BTreeMap<PolicyKey, Case> = BTreeMap::new();
    let keys = || before.state.policies.keys().chain(before.beside.keys()).chain(after.policies.keys());
    for key in keys() {
        cases.entry(key.clone()).or_insert_with(|| case(key, after, before));
    }
    for (name, seen) in &after.moves {
        let known = before.state.moves.get(name);
        let meant = |case: &&mut Case| {
            let object = case.after.as_ref().or(case.before.as_ref());
            let labels = object.and_then(|o| o.metadata.labels.clone()).unwrap_or_default();
            seen.command.target.covers(&case.key, &labels)
        };
        let mut found = false;
        for case in cases.values_mut().filter(meant) {
            found = true;
            let command = &seen.command.command;
            match known.map(|k| &k.command.command.hash) {
                Some(hash) if *hash == command.hash => {}
                Some(_) => case.taken.push(name.clone()),
                None => case.moves.push(command.clone()),
            }
            // Without anything to compare with, a policy that a Move is for is taken to be in force.
            if before.cold && case.change == Change::New {
                case.before.clone_from(&case.after);
                case.change = Change::None;
                case.fields.clear();
            }
        }
        if !found {
            let known: Vec<&str> = cases.keys().map(|k| k.name.as_str()).collect();
            return Err(for_nobody(seen, &known, before));
        }
    }
    for (name, seen) in before.state.moves.iter().filter(|(name, _)| !after.moves.contains_key(*name)) {
        if before.removes != Removes::All {
            break;
        }
        for case in cases.values_mut().filter(|c| seen.command.target.covers(&c.key, &labels(c))) {
            case.notes.push(format!(
                "Move {name} is gone: if it has not begun it is withdrawn; what was done on it stays, and it never acts again."
            ));
        }
    }
    let (changed, same): (Vec<Case>, Vec<Case>) = cases.into_values().partition(is_changed);
    let same = same.into_iter().filter(|c| after.policies.contains_key(&c.key));
    Ok((changed, same.map(|c| c.key.to_string()).collect()))
}

fn is_changed(case: &Case) -> bool {
    let moves = !case.moves.is_empty() || !case.taken.is_empty();
    case.change != Change::None || moves || !case.notes.is_empty()
}

fn labels(case: &Case) -> BTreeMap<String, String> {
    let object = case.after.as_ref().or(case.before.as_ref());
    object.and_then(|o| o.metadata.labels.clone()).unwrap_or_default()
}

fn case(key: &PolicyKey, after: &State, before: &Before) -> Case {
    let was = before.state.policies.get(key).or_else(|| before.beside.get(key));
    let is = after.policies.get(key);
    let gone = match &before.removes {
        Removes::Nothing => false,
        Removes::All => before.state.policies.contains_key(key),
        Removes::These(keys) => keys.contains(key),
    };
    let (change, is, fields) = match (was, is) {
        (None, Some(is)) => (Change::New, Some(is), Vec::new()),
        (Some(was), Some(is)) => {
            let fields = compare(was, is);
            (if fields.is_empty() { Change::None } else { Change::Changed }, Some(is), fields)
        }
        (Some(_), None) if gone => (Change::Removed, None, Vec::new()),
        (was, None) => (Change::None, was, Vec::new()),
    };
    Case {
        key: key.clone(),
        change,
        before: was.cloned(),
        after: is.cloned(),
        fields,
        moves: Vec::new(),
        taken: Vec::new(),
        notes: Vec::new(),
    }
}

/// The fields that a person writes and that differ.
fn compare(was: &FailoverPolicy, is: &FailoverPolicy) -> Vec<FieldChange> {
    let own = |o: &FailoverPolicy| -> Value {
        let labels = o.metadata.labels.clone().unwrap_or_default();
        // What the operator itself adds to an object from git is nobody's change.
        let labels: BTreeMap<_, _> =
            labels.into_iter().filter(|(k, _)| !k.starts_with("bascule.dev/")).collect();
        // Labels are text, which always becomes JSON.
        serde_json::to_value(labels).unwrap_or_default()
    };
    let spec = |o: &FailoverPolicy| serde_json::to_value(&o.spec).unwrap_or_default();
    let mut found = fields::changes("metadata.labels", &own(was), &own(is));
    found.extend(fields::changes("spec", &spec(was), &spec(is)));
    found
}

fn for_nobody(seen: &SeenMove, known: &[&str], before: &Before) -> anyhow::Error {
    use bascule_engine::intake::moves::Target;
    let place = &seen.place;
    match &seen.command.target {
        Target::Policy(key) => {
            let near = nearest(key.name.as_str(), known.iter().copied());
            let meant = near.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
            let there = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
            let where_not = if before.cold {
                "not in FILE".to_owned()
            } else {
                format!("neither in FILE nor in {}", before.words)
            };
            let hint = if before.cold {
                "give the file with the policy too, or say what it is held against: --against live, --against FILES or --against REV"
            } else {
                "give the file with the policy too, or the directory that has both"
            };
            anyhow::anyhow!(
                "{place}: it is for the policy {key}, which is {where_not}{meant} (known: {there}); {hint}"
            )
        }
        Target::Labelled { labels, .. } => {
            let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            anyhow::anyhow!(
                "{place}: no policy that is known has the labels {}; expected spec.policySelector.matchLabels to fit metadata.labels of one: {}",
                labels.join(", "),
                if known.is_empty() {
                    "there is none; give its file too".to_owned()
                } else {
                    known.join(", ")
                }
            )
        }
    }
}

/// Refuses what names nothing at all.
pub fn expect_something(after: &State, before: &Before, files: &[Loaded]) -> anyhow::Result<()> {
    let nothing = after.policies.is_empty() && after.moves.is_empty();
    let gone = before.removes == Removes::All && !before.state.policies.is_empty();
    if nothing && !gone {
        let found = match files {
            [one] => one.path.clone(),
            all => format!("{} files", all.len()),
        };
        bail!(
            "found no FailoverPolicy and no Move in {found}, expected at least one; nor is there any in {}",
            before.words
        );
    }
    Ok(())
}
