//! What one request came to: collected along the way, written when its response is complete or given up.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aegis_actors::metrics_aggregator::{LimitCounts, Micros, Record, method_index};
use smallvec::SmallVec;

use super::answer::{CLIENT_CLOSED_REQUEST, Cause};
use super::client_certificate::ClientCertificate;
use super::own_paths::Answers;
use super::rate_limit::LimitOutcome;
use super::request_context::{RequestId, Trace};
use super::request_parts::RequestParts;
use super::snapshot::{Meter, SnapshotRef, Target};
use super::worker::Worker;
use crate::auth::{Identity, KeyRecord, Principal};

/// The steps of one request. Nothing here allocates for a request with one try and up to two limits.
#[derive(Default)]
pub struct RequestTrace {
    pub limits: SmallVec<[LimitOutcome; 2]>,
    pub tries: SmallVec<[Try; 1]>,
    /// What decided, where the cause alone does not say.
    pub decider: Option<Decider>,
}

/// Which limit or state refused the request, where the cause alone does not say: noted then, as it cannot be found out later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// The time for the whole request.
    Timeout,
    /// The time for a try's answer to begin.
    FirstByte,
    /// The time without a byte.
    Idle,
    Breaker,
    /// The bound of tunnels, and not of requests.
    Tunnels,
    HealthCheck,
    /// Somebody who has drained targets, or holds their breakers.
    Operator,
    /// There is no token for what is reserved.
    AdminToken,
}

/// One try.
#[derive(Clone, Debug)]
pub struct Try {
    /// Position among the backend's targets.
    pub target: usize,
    /// Until the response head, or until it was given up.
    pub took: Duration,
    pub outcome: TryOutcome,
    /// On a connection that had been used before.
    pub reused: bool,
    /// What went wrong, for operators.
    pub why: Option<Box<str>>,
}

/// What came of a try.
#[derive(Clone, Copy, Debug)]
pub enum TryOutcome {
    Status(u16),
    /// The code that the client would be told.
    Failed(&'static str),
}

/// One request. Dropping it ends it: counted and logged exactly once, on every way out (see `ending`).
pub struct RequestRecord {
    pub worker: Rc<Worker>,
    pub snapshot: SnapshotRef,
    pub head: Rc<RequestParts>,
    pub started: Instant,
    /// The same moment by the wall clock, in milliseconds since the Unix epoch.
    pub arrived_ms: u64,
    pub client: std::net::IpAddr,
    pub request_id: RequestId,
    pub trace: Trace,
    /// Index into the snapshot's routes.
    pub route: Option<usize>,
    /// What the upstream is asked for where it is not what the client asked for.
    pub rewritten: Option<String>,
    /// Place among the gateway's own paths, where it is for one of them.
    pub own: Option<usize>,
    /// Position of the last target tried among its backend's.
    pub target: Option<usize>,
    pub tries: u32,
    /// From sending the last try to its response head, but for `uploading`.
    pub upstream: Option<Duration>,
    /// Waiting for upstreams and for the next try, all tries together.
    pub waited: Duration,
    /// From the arrival to the upstream's response head.
    pub answered: Option<Duration>,
    /// Its answer is one for the time limits: a tunnel, or a body that may take any time.
    pub stream: bool,
    /// The time in which the client sent its body while an upstream, or a try, waited for it.
    pub uploading: Duration,
    /// That body was a stream.
    pub streamed: bool,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Status of the answer; 0 until there is one.
    pub status: u16,
    pub cause: Option<Cause>,
    /// What the rate limits have decided so far: a client that leaves while a limit is asked leaves this behind.
    pub limits: Cell<LimitCounts>,
    /// The route wants to know who it is.
    pub asked: bool,
    /// Who it is, where that was proved.
    pub principal: Option<Principal>,
    /// The certificate that came with it.
    pub certificate: Option<Rc<ClientCertificate>>,
    /// `auth.rbac.shadow` would have refused it.
    pub shadow_denied: bool,
    /// What was wrong with a credential, or is lacking, which its client is not told.
    pub auth_detail: Option<&'static str>,
    /// How it came to its answer, step by step.
    pub request_trace: RequestTrace,
    /// The upstream's answer broke off after its head had been passed on.
    pub broken: bool,
    /// The end of a stop cut the answer off after its head had been passed on.
    pub cut: bool,
    /// The response was handed over completely.
    pub complete: bool,
}

impl RequestRecord {
    /// Whether it asks after the gateway's health.
    pub fn is_probe(&self) -> bool {
        let own = self.own.map(|own| self.snapshot.own_paths.all[own].answers);
        matches!(own, Some(Answers::Health | Answers::Ready))
    }

    /// Who it is.
    pub fn identity(&self) -> Option<&Identity> {
        self.principal.as_ref()?.identity(self.snapshot.auth.as_ref()?)
    }

    /// Its API key, be it who it is or beside that.
    pub fn key(&self) -> Option<&KeyRecord> {
        self.snapshot.auth.as_ref()?.key(self.principal.as_ref()?.key()?)
    }

    /// Notes the answer that the gateway makes itself.
    pub fn refuse(&mut self, cause: Cause) {
        self.cause = Some(cause);
        // A client that is gone reads no answer; the log has 499 for it.
        self.status =
            if cause == Cause::ClientGone { CLIENT_CLOSED_REQUEST } else { cause.status().as_u16() };
    }

    /// What the metrics count of it; `took` since its arrival.
    pub fn counted(&self, status: u16, took: Duration) -> Record {
        let latency = self.latency(took);
        let stream = took.saturating_sub(latency);
        Record {
            ended_ms: self.arrived_ms + took.as_millis() as u64,
            route: self.route.map(|route| route as u32),
            method: method_index(self.head.method.as_str()),
            status,
            reason: self.reason().filter(|_| !self.is_abandoned()),
            duration_us: latency.as_micros() as u64,
            upstream_us: self.upstream.map(micros),
            overhead_us: self.answered.map(|answered| micros(answered.saturating_sub(self.waited))),
            stream_us: (self.stream || self.streamed).then(|| micros(stream)),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            limits: self.limits.get(),
        }
    }

    /// Path and query that upstreams are asked for.
    pub fn asked_for(&self) -> &str {
        self.rewritten.as_deref().unwrap_or_else(|| self.head.target.path_and_query())
    }

    /// For the bytes that its client sends.
    pub fn meter(&self) -> Option<Meter> {
        Some(Meter::new(self.snapshot.clone(), self.route?, self.worker.index))
    }

    /// Bytes of the answer have gone to the client.
    pub fn sent(&mut self, bytes: u64) {
        self.bytes_out += bytes;
        let counters = match self.route {
            Some(route) => &self.snapshot.routes[route].counters,
            // No traffic.
            None if self.own.is_some() => return,
            None => &self.snapshot.unrouted,
        };
        counters.bytes_out.add(self.worker.index, bytes);
    }

    /// How long its client had to wait, of the time that it `took`. A stream lives for as long as its ends please: an answer
    /// that is one counts to its head, and sending one does not count.
    pub fn latency(&self, took: Duration) -> Duration {
        self.answered.filter(|_| self.stream).unwrap_or(took).saturating_sub(self.uploading)
    }

    /// What went wrong with the last try, where that decided the answer.
    pub fn why(&self) -> Option<&str> {
        self.reason()?;
        self.request_trace.tries.last()?.why.as_deref()
    }

    pub fn target(&self) -> Option<&Target> {
        let backend = &self.snapshot.routes[self.route?].backend;
        Some(&backend.targets[self.target?])
    }

    /// The gateway has answered it by itself, and somebody was there to be told why.
    pub fn is_refused(&self) -> bool {
        self.cause.is_some() && !self.is_abandoned()
    }

    /// The client has left before its answer was complete: neither the gateway's answer nor a failure of anybody's.
    pub fn is_abandoned(&self) -> bool {
        self.cause == Some(Cause::ClientGone)
    }

    /// Why the gateway answered itself, or the answer was cut off.
    pub fn reason(&self) -> Option<&'static str> {
        match self.cause {
            Some(cause) => Some(cause.code()),
            None if self.broken => Some(Cause::UpstreamReset.code()),
            None if self.cut => Some(Cause::Draining.code()),
            None => None,
        }
    }
}

fn micros(duration: Duration) -> Micros {
    aegis_actors::metrics_aggregator::micros(duration.as_micros() as u64)
}
