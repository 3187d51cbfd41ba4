//! Clients that write and read, and remember what was acknowledged where. Their record is what the judge goes by.

use std::time::Duration;

use bascule_core::name::PolicyKey;

use super::dns::Resolver;
use super::net::Place;
use super::postgres::Token;
use crate::random::Chance;
use crate::time::Moment;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet.
    Open,
    /// The site said that it was done.
    Acked,
    /// The site said no.
    Refused,
    /// Nothing was heard: it may have been done.
    Unknown,
}

/// One write.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// Its row.
    pub token: Token,
    /// The policy whose application was asked.
    pub app: usize,
    /// When it was sent.
    pub sent: Moment,
    /// When its end was known.
    pub ended: Moment,
    /// The site that was asked.
    pub site: usize,
    /// When it was committed there, if it was.
    pub committed: Option<Moment>,
    /// How it ended.
    pub outcome: Outcome,
}

/// A client of one policy's application.
#[derive(Clone, Debug)]
pub struct Client {
    /// Whose application.
    pub policy: PolicyKey,
    /// The policy's number in the world.
    pub app: usize,
    /// Where it is.
    pub place: Place,
    /// How often it writes.
    pub every: Duration,
    /// How long it waits for an answer.
    pub patience: Duration,
    /// Its resolver.
    pub resolver: Resolver,
    /// Chance.
    pub chance: Chance,
    /// It writes.
    pub on: bool,
}
