//! Limits in Redis: one server, a master that sentinels know, or a cluster. Redis 5 or later, or what speaks like it.
//!
//! | file | holds |
//! |---|---|
//! | `connect` | what a URL means, and how to connect there |
//! | `link` | the one connection: made when needed, replaced when it fails |
//! | `unresponsive` | which parts of a cluster are not there |
//! | `scripts`, `*.lua` | what is asked and answered, and why limits hold |
//! | `mod` | the store: batches of questions within the patience of the settings |
//!
//! Everything is bounded. A batch that is not answered within the patience of the settings fails, and with one server its connection is
//! given up: so answers that come too late come to nobody, and what a frozen server has not read is not added to. At
//! most [`BATCHES`] are on their way at a time; more wait for their turn, within the same time. A question that failed
//! may still have been charged, which makes a limit tighter for a moment, never looser.
//!
//! The bound is as good as the server's memory. One that evicts keys (a `maxmemory-policy` other than `noeviction`) or is
//! restarted forgets what was granted; a failover forgets what the replica had not yet got.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_redis::redis::aio::ConnectionLike;
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use deadpool_redis::redis::{Pipeline, RedisError, ServerErrorKind, Value, cmd};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::super::settings::RedisSettings;
use super::{Answer, GiveBack, SharedStore, StoreError, Take, Taken};

mod connect;
mod link;
mod scripts;
mod unresponsive;

#[cfg(test)]
mod tests;

use connect::{Pipe, Source};
use link::{Current, Link};
use scripts::{Call, Scripts};
use unresponsive::UnresponsiveNodes;

/// Batches on their way at a time.
const BATCHES: usize = 256;

/// An instance that has not told for so long that it lives is not counted.
const SILENCE: Duration = Duration::from_secs(5);

/// A cluster's connection that has answered nothing for so long is made anew from the nodes of the URL. It repairs itself
/// where it can; a node that is merely silent must not cost the others their connections.
const UNANSWERED: Duration = Duration::from_secs(1);

/// [`SharedStore`] on Redis. May be made and moved anywhere; asked within a tokio runtime.
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    link: Arc<Link>,
    scripts: Scripts,
    prefix: String,
    instance: String,
    batches: Semaphore,
    unresponsive: UnresponsiveNodes,
    /// An answer that takes longer has failed.
    patience: Duration,
    /// Since when a cluster's connection, of that number, has answered nothing that it was asked.
    unanswered: Mutex<Option<(u64, Instant)>>,
}

impl RedisStore {
    /// A store for the instance of that id, which must be its own among all that share the server. Connects when first
    /// asked.
    ///
    /// # Errors
    ///
    /// The URL is not one of those in `connect`'s table. The message does not repeat it.
    pub fn new(settings: &RedisSettings, instance_id: String) -> Result<Self, StoreError> {
        let patience = settings.patience;
        let shared = Shared {
            link: Arc::new(Link::new(Source::new(settings, patience)?, patience)),
            scripts: Scripts::new(),
            prefix: settings.key_prefix.clone(),
            instance: instance_id,
            batches: Semaphore::new(BATCHES),
            unresponsive: UnresponsiveNodes::new(),
            patience,
            unanswered: Mutex::new(None),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("instance", &self.shared.instance).finish_non_exhaustive()
    }
}

impl SharedStore for RedisStore {
    fn take(&self, takes: Vec<Take>) -> Answer<Vec<Result<Taken, StoreError>>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let calls = takes.iter().map(|take| shared.scripts.take(&shared.prefix, take)).collect();
            let values = shared.ask(calls).await;
            values.into_iter().map(|value| value.and_then(scripts::taken)).collect()
        })
    }

    fn give_back(&self, unspent: Vec<GiveBack>) -> Answer<()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let calls =
                unspent.iter().map(|unspent| shared.scripts.give_back(&shared.prefix, unspent)).collect();
            let failed = shared.ask(calls).await.into_iter().find_map(Result::err);
            if let Some(why) = failed {
                log::debug!("unspent leases were not given back: {why}");
            }
        })
    }

    fn register(&self) -> Answer<Result<u64, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let call = shared.scripts.register(&shared.prefix, &shared.instance, SILENCE);
            shared.ask_one(call).await.and_then(scripts::count)
        })
    }

    fn unregister(&self) -> Answer<()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let call = shared.scripts.unregister(&shared.prefix, &shared.instance);
            if let Err(why) = shared.ask_one(call).await {
                log::debug!("this instance is still counted for {} s: {why}", SILENCE.as_secs());
            }
        })
    }
}

type Reply = Result<Value, Failure>;

/// Why there is no answer to a question.
#[derive(Clone, Debug)]
enum Failure {
    /// An error came.
    Error(RedisError),
    /// Nothing came in time.
    Silent,
    /// Its node takes no connection.
    Refused(RedisError),
    /// It was not sent, for its node is away.
    Unsent,
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Error(error)
    }
}

impl Shared {
    async fn ask_one(self: &Arc<Self>, call: Call<'_>) -> Result<Value, StoreError> {
        self.ask(vec![call]).await.pop().unwrap_or_else(|| Err(self.told(Failure::Silent)))
    }

    /// As many answers as questions, in their order, within the patience of the settings.
    async fn ask(self: &Arc<Self>, calls: Vec<Call<'_>>) -> Vec<Result<Value, StoreError>> {
        if calls.is_empty() {
            return Vec::new();
        }
        let deadline = Instant::now() + self.patience;
        let all = |error: StoreError| vec![Err(error); calls.len()];
        let Ok(permit) = timeout_at(deadline, self.batches.acquire()).await else {
            return all(StoreError::new(format!("redis: {BATCHES} batches of questions wait for an answer")));
        };
        let mut again = true;
        let replies = loop {
            let current = match self.link.current(deadline).await {
                Ok(current) => current,
                Err(error) => return all(error),
            };
            let replies = match &current.pipe {
                Pipe::One(connection) => {
                    let replies = in_time(deadline, pipelined(connection.clone(), &calls)).await;
                    replies.unwrap_or(Err(Failure::Silent))
                }
                Pipe::Cluster(connection) => {
                    let questions = calls.iter().map(|call| self.of_node(connection, call, deadline));
                    let replies = join_all(questions).await;
                    self.learn(connection, current.number, &replies);
                    Ok(replies)
                }
            };
            // The server has closed the connection, most often long before: it is asked once more over another one. What
            // it had heard all the same is charged twice.
            let closed = matches!(&replies, Err(Failure::Error(error)) if error.is_connection_dropped());
            let replies = replies.unwrap_or_else(|failure| vec![Err(failure); calls.len()]);
            self.judge(&current, &replies);
            if !closed || !std::mem::take(&mut again) {
                break replies;
            }
        };
        drop(permit);
        let answers = replies.into_iter().map(|reply| reply.map_err(|failure| self.told(failure)));
        // A server that answers fewer questions than it was asked.
        let missing = std::iter::repeat_with(|| Err(self.told(Failure::Silent)));
        answers.chain(missing).take(calls.len()).collect()
    }

    /// Asks the node of the call's key, unless that is away.
    async fn of_node(&self, connection: &ClusterConnection, call: &Call<'_>, deadline: Instant) -> Reply {
        let slot = unresponsive::slot(call.key());
        if !self.unresponsive.may_ask(slot, Instant::now()) {
            return Err(Failure::Unsent);
        }
        let reply = match in_time(deadline, single(connection.clone(), call)).await {
            None => Err(Failure::Silent),
            Some(Err(Failure::Error(error))) if error.is_timeout() => Err(Failure::Silent),
            Some(Err(Failure::Error(error))) if leads_nowhere(&error) => Err(Failure::Refused(error)),
            Some(reply) => reply,
        };
        match reply {
            Err(Failure::Silent) => self.unresponsive.was_silent(slot, Instant::now()),
            Err(Failure::Refused(_)) => self.unresponsive.was_refused(slot, Instant::now()),
            _ => self.unresponsive.answered(slot),
        }
        reply
    }

    /// Has the cluster asked for its ranges of slots where they may be others than is known.
    fn learn(self: &Arc<Self>, connection: &ClusterConnection, number: u64, replies: &[Reply]) {
        let amiss = replies.iter().any(|reply| matches!(reply, Err(Failure::Silent | Failure::Refused(_))));
        if self.unresponsive.may_learn(number, amiss, Instant::now()) {
            let (shared, mut connection) = (Arc::clone(self), connection.clone());
            tokio::spawn(async move {
                let mut question = cmd("CLUSTER");
                question.arg("SLOTS");
                let any_node = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                let told = connection.route_command(question, any_node).await.and_then(Value::extract_error);
                if let Some(ranges) = told.ok().and_then(scripts::ranges) {
                    shared.unresponsive.learn(&ranges);
                }
            });
        }
    }

    /// Gives the connection up where what came shows that it does not lead anywhere.
    fn judge(&self, current: &Current, replies: &[Reply]) {
        let fault = match replies.iter().find_map(|reply| reply.as_ref().err()) {
            Some(Failure::Error(error)) => breaks(error).then(|| error.to_string()),
            Some(failure) => Some(self.told(failure.clone()).why),
            None => None,
        };
        let answered = replies.iter().any(Result::is_ok);
        if matches!(current.pipe, Pipe::Cluster(_)) && !self.is_unanswered(current.number, answered) {
            return;
        }
        if let Some(why) = fault {
            self.link.discard(current.number, &why);
        }
    }

    /// A failure as it is told.
    fn told(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Error(error) => {
                let hint = match error.code() {
                    Some("MOVED" | "ASK" | "CROSSSLOT") => {
                        " (this is a cluster: its url begins with redis-cluster://)"
                    }
                    _ if is_of_replica(&error) => {
                        " (this is a replica: name the master, or the sentinels that know it)"
                    }
                    _ if is_forbidden(&error) => {
                        " (its ACL keeps this user from a command or a key that limits need: see `redis` in the reference)"
                    }
                    _ => "",
                };
                let refused = error.code().is_some() && !breaks(&error);
                StoreError { refused, ..StoreError::new(format!("redis: {error}{hint}")) }
            }
            Failure::Silent => {
                let why = format!("redis did not answer within {} ms", self.patience.as_millis());
                StoreError { sent: true, ..StoreError::new(why) }
            }
            Failure::Refused(error) => {
                StoreError::new(format!("redis: a node of the cluster is away: {error}"))
            }
            Failure::Unsent => StoreError::new("redis: a node of the cluster is away"),
        }
    }

    fn is_unanswered(&self, connection: u64, answered: bool) -> bool {
        let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        *unanswered = match *unanswered {
            _ if answered => None,
            Some((number, since)) if number == connection => Some((number, since)),
            _ => Some((connection, Instant::now())),
        };
        unanswered.is_some_and(|(_, since)| since.elapsed() >= UNANSWERED)
    }
}

/// All questions in one write, and once more those whose script the server did not have.
async fn pipelined(mut connection: impl ConnectionLike, calls: &[Call<'_>]) -> Result<Vec<Reply>, Failure> {
    let mut pipeline = Pipeline::with_capacity(calls.len());
    for call in calls {
        pipeline.add_command(call.by_hash());
    }
    let values = connection.req_packed_commands(&pipeline, 0, calls.len()).await?;
    let told = |value: Value| value.extract_error().map_err(Failure::from);
    let mut replies: Vec<Reply> = values.into_iter().map(told).collect();
    let unknown: Vec<usize> = (0..replies.len()).filter(|at| is_unknown(&replies[*at])).collect();
    if !unknown.is_empty() {
        let mut pipeline = Pipeline::with_capacity(unknown.len());
        for at in &unknown {
            pipeline.add_command(calls[*at].by_text());
        }
        let values = connection.req_packed_commands(&pipeline, 0, unknown.len()).await?;
        for (at, value) in unknown.into_iter().zip(values) {
            replies[at] = told(value);
        }
    }
    Ok(replies)
}

/// The same for one question: in a cluster each goes its own way.
async fn single(mut connection: impl ConnectionLike, call: &Call<'_>) -> Reply {
    let reply = connection.req_packed_command(&call.by_hash()).await.and_then(Value::extract_error);
    let reply = reply.map_err(Failure::from);
    if is_unknown(&reply) {
        return Ok(connection.req_packed_command(&call.by_text()).await.and_then(Value::extract_error)?);
    }
    reply
}

fn is_unknown(reply: &Reply) -> bool {
    matches!(reply, Err(Failure::Error(error)) if error.kind() == ServerErrorKind::NoScript.into())
}

/// Whether another connection might answer what this one refused: one that is broken, or leads to a server that is not
/// the master any more.
fn breaks(error: &RedisError) -> bool {
    let elsewhere = matches!(error.code(), Some("MASTERDOWN" | "NOAUTH" | "UNBLOCKED"));
    elsewhere
        || is_of_replica(error)
        || error.is_io_error()
        || error.is_timeout()
        || error.is_unrecoverable_error()
}

/// Whether a cluster's connection has not got to the node of a key: it could not connect, or was still sent on after its
/// last retry, to a node that it cannot connect to.
fn leads_nowhere(error: &RedisError) -> bool {
    error.is_io_error() || matches!(error.code(), Some("MOVED" | "ASK"))
}

fn is_of_replica(error: &RedisError) -> bool {
    // Before Redis 7 the error of a command in a script is told within the script's.
    error.code() == Some("READONLY") || error.detail().is_some_and(|detail| detail.contains("-READONLY "))
}

fn is_forbidden(error: &RedisError) -> bool {
    // Of a command in a script, each version tells it in other words.
    let text = error.to_string();
    ["NOPERM", "ACL failure", "can't run this command", "can't access at least one of the keys"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// What came before the deadline. A thread that was kept from running finds the time over and the answer waiting: that
/// one counts, too.
async fn in_time<T>(deadline: Instant, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    if let Ok(answer) = timeout_at(deadline, &mut answer).await {
        return Some(answer);
    }
    for _ in 0..4 {
        // The connection's own task reads what has arrived.
        tokio::task::yield_now().await;
        if let Some(answer) = answer.as_mut().now_or_never() {
            return Some(answer);
        }
    }
    None
}
