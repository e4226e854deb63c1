//! What the actor understands, and what it answers.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use super::key::OwnedKey;
use super::limit::{Refusal, Standing};
use super::settings::RedisSettings;
use super::shared_limit::{LimitId, Mode, SharedLimit};
use super::top::Entry;

/// All limits that there are, and where they are kept. Those that are not listed are forgotten.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Watch {
    pub limits: Vec<Arc<SharedLimit>>,
    /// Buckets at most, over all limits.
    pub max_keys: usize,
    /// `None`: in this process alone.
    pub redis: Option<RedisSettings>,
}

/// Requests that need more than this instance has leased: all of one turn of a worker's event loop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Asks(pub Vec<Ask>);

/// One request's question for one limit.
pub struct Ask {
    pub limit: Arc<SharedLimit>,
    /// The fingerprint of `owner`.
    pub key: u64,
    pub owner: OwnedKey,
    pub cost: u64,
    /// Other limits are asked as well, and may refuse.
    pub returnable: bool,
    /// Dropped without an answer when the actor dies. `None`: it has passed by this instance's share already, and the shared
    /// store is to be told.
    pub reply: Option<oneshot::Sender<Reply>>,
}

/// The answer to an [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `cost` has been charged and is the asker's. What it does not need it may put back into the lease until `until`.
    Granted {
        standing: Standing,
        until: u64,
    },
    Refused(Refusal),
    /// The shared store did not answer. `charged`: it was asked, and if it is only slow it will count the request.
    Unavailable {
        charged: bool,
    },
}

/// Whom a worker has let pass and refused since it last told, most frequent only.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Sightings {
    /// Those that were decided on, in estimated requests.
    pub busiest: Vec<Entry<Sighted>>,
    /// Those that were refused.
    pub limited: Vec<Entry<Sighted>>,
}

impl Sightings {
    /// Nothing seen.
    pub fn is_empty(&self) -> bool {
        self.busiest.is_empty() && self.limited.is_empty()
    }
}

/// A client of a limit.
#[derive(Clone, Debug, Eq)]
pub struct Sighted {
    pub limit: LimitId,
    pub name: Arc<str>,
    pub key: u64,
    pub owner: OwnedKey,
}

impl PartialEq for Sighted {
    fn eq(&self, other: &Self) -> bool {
        self.limit == other.limit && self.key == other.key
    }
}

/// Asks for everything that the status and rate limit pages show of the actor.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Report")]
pub struct Inspect;

/// The answer to [`Inspect`].
#[derive(Clone, Debug)]
pub struct Report {
    pub mode: Mode,
    /// Instances that share the store, this one included; 1 without one.
    pub instances: u64,
    /// Why the store was given up, while it is.
    pub error: Option<String>,
    /// Buckets and leases in memory, and at most.
    pub keys: usize,
    pub max_keys: usize,
    /// Requests leased and neither spent nor given back.
    pub leased: u64,
    /// Calls of the shared store since this instance of the actor started.
    pub store_calls: u64,
    /// Over the last one to two minutes, most frequent first.
    pub busiest: Vec<Entry<Sighted>>,
    pub limited: Vec<Entry<Sighted>>,
}

/// The shared store was lost or has come back.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ModeChanged {
    pub mode: Mode,
    /// Why it was lost.
    pub error: Option<String>,
}
