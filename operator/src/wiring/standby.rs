//! A replica of the site's operator that does not act: it follows what people want, and waits for its turn.
//!
//! What it has learned counts when it acts: people's wishes, so that it can act also while the site's API server does not
//! answer, and the other sites' leases, so that a silence need not be waited for anew. It writes nothing, grants nothing,
//! listens for no guard and does no step; a proxy's question goes to the replica that acts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bascule_adapters::arbiter::{Election, NameTaken, Standing};
use bascule_adapters::{boottime, replica};
use bascule_core::ballot::silence::Observer;
use bascule_core::moves::Move;
use bascule_core::name::PolicyKey;
use bascule_core::policy::Policy;
use bascule_engine::ports::Intent;
use bascule_engine::run::{Asked, Pulse};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How many proxies' questions may be under way: as many as may be connected.
const QUESTIONS: usize = crate::serve::CONNECTIONS;

/// How often it is shown that the process lives, while nothing comes.
const BEAT: Duration = Duration::from_secs(1);

/// What a replica has learned while it stood by.
pub struct Learned {
    /// Of the other sites' leases.
    pub observer: Observer,
    /// Of what people want, in an order in which the engine can take it.
    pub wishes: Vec<Intent>,
}

/// Stands by until this replica acts. It does not stand for it before policies and Moves have been listed once: one that
/// does not know what people want would do less than the one it replaces.
pub async fn stand_by(
    election: &Election,
    intents: &mut mpsc::Receiver<Intent>,
    proxies: &mut mpsc::Receiver<Asked>,
    pulse: &watch::Sender<Pulse>,
) -> Result<Learned, NameTaken> {
    let mut wishes = Wishes::default();
    let mut questions = JoinSet::new();
    let (told, mut standing) = watch::channel(Standing::Unknown);
    // Nothing is written before everything is listed; until then there is nothing that a person would have to know.
    let mut beats = tokio::time::interval(BEAT);
    while !wishes.listed {
        tokio::select! {
            Some(intent) = intents.recv() => wishes.take(intent),
            Some(asked) = proxies.recv() => refuse(asked, "policies have not been listed yet"),
            _ = beats.tick() => {}
        }
        beat(pulse, false);
    }
    tracing::info!("this replica of the operator stands by");
    let won = election.win(&told);
    tokio::pin!(won);
    let mut before = Standing::Unknown;
    loop {
        tokio::select! {
            won = &mut won => return Ok(Learned { observer: won?, wishes: wishes.all() }),
            Ok(()) = standing.changed() => {
                let now = standing.borrow_and_update().clone();
                if now != before {
                    say(&now);
                }
                beat(pulse, matches!(now, Standing::Another(_)));
                before = now;
            }
            Some(intent) = intents.recv() => wishes.take(intent),
            Some(asked) = proxies.recv() => {
                let acts = match &*standing.borrow() {
                    Standing::Another(replica) => Some(replica.address),
                    _ => None,
                };
                match acts {
                    Some(address) if questions.len() < QUESTIONS => {
                        questions.spawn(async move {
                            let answer = replica::takes_writes(address, &asked.policy).await;
                            // Who has gone meanwhile needs no answer.
                            let _ = asked.answer.send(answer);
                        });
                    }
                    Some(_) => refuse(asked, "too many questions are under way"),
                    None => refuse(asked, "which replica of this site's operator acts is not known"),
                }
            }
            Some(_) = questions.join_next(), if !questions.is_empty() => {}
        }
    }
}

fn say(standing: &Standing) {
    match standing {
        Standing::Unknown => {}
        Standing::Another(replica) => {
            tracing::info!(%replica, "another replica of this site's operator acts");
        }
        Standing::Trouble(why) => {
            tracing::warn!(why, "this replica of the operator does not act, and could not");
        }
    }
}

fn refuse(asked: Asked, why: &str) {
    let _ = asked.answer.send(Err(why.to_owned()));
}

fn beat(pulse: &watch::Sender<Pulse>, ready: bool) {
    pulse.send_modify(|pulse| {
        *pulse = Pulse { ready, events: pulse.events + 1, at: boottime::now(), ..Pulse::default() };
    });
}

/// What people want, as it has become: what came in between is not told again.
#[derive(Default)]
struct Wishes {
    listed: bool,
    /// The last valid one of each.
    policies: BTreeMap<PolicyKey, Box<Policy>>,
    invalid: BTreeMap<PolicyKey, String>,
    moves: BTreeMap<PolicyKey, Vec<Move>>,
}

impl Wishes {
    fn take(&mut self, intent: Intent) {
        match intent {
            Intent::Policy(policy) => {
                self.invalid.remove(&policy.key);
                self.policies.insert(policy.key.clone(), policy);
            }
            Intent::Invalid { policy, reason } => {
                self.invalid.insert(policy, reason);
            }
            Intent::PolicyGone(policy) => {
                self.policies.remove(&policy);
                self.invalid.remove(&policy);
            }
            Intent::Moves { policy, moves } => {
                self.moves.insert(policy, moves);
            }
            // Whoever begins to act shows everything.
            Intent::ShowAgain(_) => {}
            Intent::Listed => self.listed = true,
        }
    }

    fn all(self) -> Vec<Intent> {
        let known: BTreeSet<PolicyKey> = self.policies.keys().chain(self.invalid.keys()).cloned().collect();
        let policies = self.policies.into_values().map(Intent::Policy);
        let invalid = self.invalid.into_iter().map(|(policy, reason)| Intent::Invalid { policy, reason });
        let moves =
            self.moves.into_iter().filter(|(policy, moves)| known.contains(policy) || !moves.is_empty());
        let moves = moves.map(|(policy, moves)| Intent::Moves { policy, moves });
        policies.chain(invalid).chain(moves).chain(self.listed.then_some(Intent::Listed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::samples;

    fn told(intents: Vec<Intent>) -> Vec<String> {
        let mut wishes = Wishes::default();
        for intent in intents {
            wishes.take(intent);
        }
        let word = |intent: Intent| match intent {
            Intent::Policy(policy) => format!("policy {}", policy.spec_hash),
            Intent::Invalid { reason, .. } => format!("invalid {reason}"),
            Intent::PolicyGone(_) => "gone".to_owned(),
            Intent::ShowAgain(_) => "show again".to_owned(),
            Intent::Moves { moves, .. } => format!("{} moves", moves.len()),
            Intent::Listed => "listed".to_owned(),
        };
        wishes.all().into_iter().map(word).collect()
    }

    fn policy(hash: &str) -> Intent {
        let policy = samples::shown().policy.unwrap();
        Intent::Policy(Box::new(Policy { spec_hash: hash.to_owned(), ..(*policy).clone() }))
    }

    fn invalid(why: &str) -> Intent {
        Intent::Invalid { policy: samples::shown().key, reason: why.to_owned() }
    }

    #[test]
    fn the_newest_wishes_are_told_and_the_last_valid_policy_stays_in_force() {
        assert_eq!(told(vec![policy("a"), Intent::Listed, policy("b")]), ["policy b", "listed"]);
        assert_eq!(
            told(vec![policy("a"), Intent::Listed, invalid("x")]),
            ["policy a", "invalid x", "listed"]
        );
        assert_eq!(told(vec![policy("a"), invalid("x"), policy("c")]), ["policy c"]);
    }

    #[test]
    fn a_policy_that_is_gone_is_absent() {
        let key = samples::shown().key;
        let none = Intent::Moves { policy: key.clone(), moves: Vec::new() };
        assert_eq!(told(vec![policy("a"), none, Intent::PolicyGone(key), Intent::Listed]), ["listed"]);
    }
}
